// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What doctors and networks have earned, by specialty
/// @notice 0..10000. Cannot be bought, sold or moved; newcomers start at `START`; it drifts back to `START`, half the way
///         in a `HALF_LIFE`. Only `Cases` moves it, and only when it settles or refunds a case.
/// @dev Everybody learns every value.
interface IReputation {
    /// @notice A case moved a reputation. `subject` is the doctor's address, or the network's hash.
    event Moved(
        uint256 indexed caseId, bytes32 indexed subject, bytes32 indexed specialty, uint16 before, uint16 afterwards
    );

    /// @notice The caller is not `Cases`.
    error OnlyCases();

    /// @notice Scores a verdict by its stated confidence against the panel's outcome; see `Scoring.reading`.
    /// @param agreed Whether the verdict was the panel's.
    /// @param confidence Stated probability, in percent, that it would be.
    function scoreReading(uint256 caseId, address doctor, bytes32 specialty, bool agreed, uint8 confidence)
        external
        returns (uint16 before, uint16 afterwards);

    /// @notice Scores a seat that was accepted and not revealed.
    function scoreAbsence(uint256 caseId, address doctor, bytes32 specialty)
        external
        returns (uint16 before, uint16 afterwards);

    /// @notice Scores a network's bucket against the panel's agreement; see `Scoring.forecast`.
    /// @param forecastPercent Agreement that the bucket forecasts.
    /// @param agreeing Seats behind the verdict.
    /// @param revealed Seats that revealed.
    function scoreNetwork(
        uint256 caseId,
        bytes32 network,
        bytes32 specialty,
        uint8 forecastPercent,
        uint8 agreeing,
        uint8 revealed
    ) external returns (uint16 before, uint16 afterwards);

    /// @notice Reputation of a doctor now, drift included.
    function ofDoctor(address account, bytes32 specialty) external view returns (uint16);

    /// @notice Reputation of a network now, drift included.
    function ofNetwork(bytes32 network, bytes32 specialty) external view returns (uint16);

    /// @notice Reputation of a doctor now, and how many verdicts of it were scored.
    function standing(address account, bytes32 specialty) external view returns (uint16 value, uint32 scored);

    /// @notice The one contract that moves reputation.
    function CASES() external view returns (address);
}
