// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Proper scoring of stated confidence (Brier 1950)
/// @notice Points of reputation, of a scale of 0..10000. A quadratic score plus a term that does not depend on the stated
///         probability p: whatever a reader believes, saying so gives the highest expected score.
library Scoring {
    /// @dev Weight of the quadratic term.
    int256 private constant WEIGHT = 240;
    /// @dev Gained by agreeing, before the quadratic term.
    int256 private constant AGREED = 160;
    /// @dev Lost by dissenting, before the quadratic term. With p = 1/2 a coin flip earns nothing on average.
    int256 private constant DISSENTED = 40;
    /// @notice Lost by accepting a seat and not revealing: more than the surest dissent loses (280).
    int256 internal constant ABSENT = 500;
    /// @dev Scale of a network's score.
    int256 private constant FORECAST = 100;

    /// @notice Score of a verdict stated with p percent.
    /// @dev Agreed: 160 - 240 (1-p)^2, from -80 to 160. Dissented: -40 - 240 p^2, from -40 to -280. At p = 1/2: 100, -100.
    function reading(bool agreed, uint8 p) internal pure returns (int256) {
        int256 miss = agreed ? int256(100) - int256(uint256(p)) : int256(uint256(p));
        return (agreed ? AGREED : -DISSENTED) - WEIGHT * miss * miss / 10_000;
    }

    /// @notice Score of a bucket that forecasts p percent agreement, when the share `agreeing / revealed` agreed.
    /// @dev 100 - 400 (p - share)^2, from -300 to 100: highest in expectation when p is the mean share. It scores how well
    ///      the bucket foretells the panel's agreement, not whether the model's label was right: codes are secret.
    function forecast(uint8 p, uint8 agreeing, uint8 revealed) internal pure returns (int256) {
        int256 miss = int256(uint256(p)) * 100 - int256(uint256(agreeing)) * 10_000 / int256(uint256(revealed));
        return FORECAST - 4 * FORECAST * miss * miss / 100_000_000;
    }
}
