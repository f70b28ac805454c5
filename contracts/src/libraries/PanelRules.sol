// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title When a panel agrees, and how large it is
library PanelRules {
    /// @notice Fewest accepted seats with which a round goes on when no more doctors come: a majority of the seats
    ///         wanted, and at least 3. So one missing doctor cannot stop a case, and those who sit were drawn at random.
    function fewestSeats(uint8 wanted) internal pure returns (uint8) {
        uint8 majority = wanted / 2 + 1;
        return majority < 3 ? 3 : majority;
    }

    /// @notice Seats that must be behind one code: more than half of all accepted seats (the quorum) and two thirds of
    ///         those that revealed (the supermajority).
    function neededToAgree(uint8 seated, uint8 revealed) internal pure returns (uint8) {
        uint8 quorum = seated / 2 + 1;
        uint8 supermajority = uint8((2 * uint256(revealed) + 2) / 3);
        return quorum > supermajority ? quorum : supermajority;
    }

    /// @notice Seats of the round after one with n seats.
    function nextPanel(uint8 n) internal pure returns (uint8) {
        return 2 * n + 1;
    }

    /// @notice Seats of all rounds that there may be.
    function allSeats(uint8 n, uint8 rounds) internal pure returns (uint256 seats) {
        for (uint8 round; round < rounds; ++round) {
            seats += n;
            n = nextPanel(n);
        }
    }
}
