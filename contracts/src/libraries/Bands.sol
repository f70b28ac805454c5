// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The scale of reputation, its bands and pools
library Bands {
    /// @notice Top of the scale.
    uint16 internal constant TOP = 10_000;
    /// @notice Where newcomers start, and whereto reputation drifts.
    uint16 internal constant START = 2_500;
    /// @notice Bands 0..3, equal parts of the scale.
    uint8 internal constant BANDS = 4;
    /// @notice The band of newcomers.
    uint8 internal constant START_BAND = 1;
    /// @notice Pools: 0 holds newcomers, band + 1 the others.
    uint8 internal constant POOLS = 5;
    /// @notice Scored verdicts after which a doctor is no newcomer any more.
    uint32 internal constant NEWCOMER_CASES = 5;

    /// @notice The band of a reputation.
    function bandOf(uint16 reputation) internal pure returns (uint8) {
        uint8 band = uint8(reputation / (TOP / BANDS));
        return band < BANDS ? band : BANDS - 1;
    }

    /// @notice The pool of a doctor.
    function poolOf(uint16 reputation, uint32 scored) internal pure returns (uint8) {
        return scored < NEWCOMER_CASES ? 0 : bandOf(reputation) + 1;
    }

    /// @notice The band in which a pool stands.
    function bandOfPool(uint8 pool) internal pure returns (uint8) {
        return pool == 0 ? START_BAND : pool - 1;
    }

    /// @notice The band that a bucket's bounty asks for: the less sure the model, the higher the bounty, the higher the band.
    function bandOfBucket(uint8 bucket) internal pure returns (uint8) {
        return BANDS - 1 - bucket;
    }
}
