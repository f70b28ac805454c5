// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReputation} from "./interfaces/IReputation.sol";
import {Bands} from "./libraries/Bands.sol";
import {Scoring} from "./libraries/Scoring.sol";

/// @title What doctors and networks have earned, by specialty
/// @notice See `IReputation`; scores are in `Scoring`, the scale in `Bands`.
contract Reputation is IReputation {
    // ------------------------------------------------------------------------------------------------ parameters

    /// @notice The one contract that moves reputation.
    address public immutable CASES;

    /// @notice Top of the scale.
    uint16 public constant TOP = Bands.TOP;

    /// @notice Where everybody starts.
    uint16 public constant START = Bands.START;

    /// @notice Scored verdicts after which a doctor is no newcomer any more.
    uint32 public constant NEWCOMER_CASES = Bands.NEWCOMER_CASES;

    /// @notice Time in which half the way back to `START` is drifted.
    uint64 public constant HALF_LIFE = 365 days;

    // ----------------------------------------------------------------------------------------------------- state

    /// @dev What one subject earned in one specialty.
    struct Standing {
        bool known; // false: stands at START
        uint16 value; // at `since`
        uint32 scored; // verdicts or receipts scored, absences not counted
        uint64 since; // unix second of the last move
    }

    /// @dev Of doctors. Apart from networks, as a network's hash is chosen by whoever registers it.
    mapping(address doctor => mapping(bytes32 specialty => Standing)) private _doctors;

    /// @dev Of networks.
    mapping(bytes32 network => mapping(bytes32 specialty => Standing)) private _networks;

    // ---------------------------------------------------------------------------------------------------- making

    /// @param cases Address at which `Cases` will be made; `Cases` checks it.
    constructor(address cases) {
        CASES = cases;
    }

    // ------------------------------------------------------------------------------------ calls between contracts

    /// @inheritdoc IReputation
    function scoreReading(uint256 caseId, address doctor, bytes32 specialty, bool agreed, uint8 confidence)
        external
        returns (uint16 before, uint16 afterwards)
    {
        (before, afterwards) = _move(_doctors[doctor][specialty], Scoring.reading(agreed, confidence), true);
        emit Moved(caseId, _subject(doctor), specialty, before, afterwards);
    }

    /// @inheritdoc IReputation
    function scoreAbsence(uint256 caseId, address doctor, bytes32 specialty)
        external
        returns (uint16 before, uint16 afterwards)
    {
        (before, afterwards) = _move(_doctors[doctor][specialty], -Scoring.ABSENT, false);
        emit Moved(caseId, _subject(doctor), specialty, before, afterwards);
    }

    /// @inheritdoc IReputation
    function scoreNetwork(
        uint256 caseId,
        bytes32 network,
        bytes32 specialty,
        uint8 forecastPercent,
        uint8 agreeing,
        uint8 revealed
    ) external returns (uint16 before, uint16 afterwards) {
        int256 points = Scoring.forecast(forecastPercent, agreeing, revealed);
        (before, afterwards) = _move(_networks[network][specialty], points, true);
        emit Moved(caseId, network, specialty, before, afterwards);
    }

    // ----------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IReputation
    function ofDoctor(address account, bytes32 specialty) external view returns (uint16) {
        return _valueOf(_doctors[account][specialty]);
    }

    /// @inheritdoc IReputation
    function ofNetwork(bytes32 network, bytes32 specialty) external view returns (uint16) {
        return _valueOf(_networks[network][specialty]);
    }

    /// @inheritdoc IReputation
    function standing(address account, bytes32 specialty) external view returns (uint16 value, uint32 scored) {
        Standing storage s = _doctors[account][specialty];
        return (_valueOf(s), s.scored);
    }

    // ---------------------------------------------------------------------------------------------------- inside

    /// @dev Moves a standing by so many points, within the scale.
    function _move(Standing storage s, int256 points, bool counts)
        private
        returns (uint16 before, uint16 afterwards)
    {
        if (msg.sender != CASES) revert OnlyCases();
        before = _valueOf(s);
        int256 moved = int256(uint256(before)) + points;
        if (moved < 0) moved = 0;
        if (moved > int256(uint256(TOP))) moved = int256(uint256(TOP));
        afterwards = uint16(uint256(moved));
        s.known = true;
        s.value = afterwards;
        s.since = uint64(block.timestamp);
        if (counts) ++s.scored;
    }

    /// @dev The value now. The distance to START is halved every HALF_LIFE, on a straight line in between.
    function _valueOf(Standing storage s) private view returns (uint16) {
        if (!s.known) return START;
        uint256 value = s.value;
        bool above = value > START;
        uint256 distance = above ? value - START : START - value;
        uint256 elapsed = block.timestamp - s.since;
        uint256 halvings = elapsed / HALF_LIFE;
        distance = halvings > 14 ? 0 : distance >> halvings;
        distance -= distance * (elapsed % HALF_LIFE) / (2 * HALF_LIFE);
        return uint16(above ? START + distance : START - distance);
    }

    function _subject(address account) private pure returns (bytes32) {
        return bytes32(uint256(uint160(account)));
    }
}
