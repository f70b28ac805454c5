// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICases} from "../interfaces/ICases.sol";
import {IDoctors} from "../interfaces/IDoctors.sol";
import {IModels} from "../interfaces/IModels.sol";
import {IReputation} from "../interfaces/IReputation.sol";
import {Bands} from "../libraries/Bands.sol";
import {PanelRules} from "../libraries/PanelRules.sol";
import {Case, CaseView, Outcome, Phase, Seat, SeatStatus, SeatView} from "../types/CaseTypes.sol";
import {Terms} from "../types/Terms.sol";
import {Credits} from "./Credits.sol";

/// @title The cases' parameters, storage and views
abstract contract CaseBook is ICases, Credits {
    // ------------------------------------------------------------------------------------------------ parameters

    /// @notice Who is a doctor, and the draw.
    IDoctors public immutable DOCTORS;
    /// @notice Whose receipts set the bounty.
    IModels public immutable MODELS;
    /// @notice What a settlement moves.
    IReputation public immutable REPUTATION;

    /// @notice Wei to accept a seat.
    uint256 public immutable SEAT_DEPOSIT;
    /// @notice Seconds of the phases.
    uint32 public immutable SEATING_SECONDS;
    uint32 public immutable COMMIT_SECONDS;
    uint32 public immutable REVEAL_SECONDS;
    /// @notice A reading fee, in hundredths of a percent of the seat fee.
    uint16 public immutable READING_SHARE_BPS;
    /// @notice 1 or 2.
    uint8 public immutable MAX_ROUNDS;
    /// @notice Draws a round, at most.
    uint8 public immutable DRAW_ATTEMPTS;

    // ----------------------------------------------------------------------------------------------------- state

    /// @dev The parameters as given; never written after the constructor.
    Terms internal _terms;

    /// @dev All cases.
    mapping(uint256 caseId => Case) internal _cases;

    /// @dev Seats of each case, all rounds in one list.
    mapping(uint256 caseId => Seat[]) internal _seats;

    /// @dev Index of a doctor's one seat in a case, plus one.
    mapping(uint256 caseId => mapping(address doctor => uint256)) internal _seatPlusOne;

    /// @dev What each closed round decided and paid.
    mapping(uint256 caseId => mapping(uint8 round => Outcome)) internal _outcomes;

    /// @dev Sum of the escrow of all cases.
    uint256 internal _heldBounties;

    /// @dev Sum of the seat deposits of rounds not yet closed.
    uint256 internal _heldDeposits;

    // ---------------------------------------------------------------------------------------------------- making

    constructor(Terms memory t, IDoctors doctors, IModels models, IReputation reputation) {
        _demandSane(t);
        DOCTORS = doctors;
        MODELS = models;
        REPUTATION = reputation;
        SEAT_DEPOSIT = t.seatDeposit;
        SEATING_SECONDS = t.seatingSeconds;
        COMMIT_SECONDS = t.commitSeconds;
        REVEAL_SECONDS = t.revealSeconds;
        READING_SHARE_BPS = t.readingShareBps;
        MAX_ROUNDS = t.maxRounds;
        DRAW_ATTEMPTS = t.drawAttempts;
        _terms = t;
    }

    // ----------------------------------------------------------------------------------------------------- views

    /// @inheritdoc ICases
    function view_(uint256 caseId) external view returns (CaseView memory v) {
        Case storage c = _cases[caseId];
        v.phase = c.phase;
        v.round = c.round;
        v.attempt = c.attempt;
        v.panelSize = c.panelSize;
        v.wanted = c.wanted;
        v.seated = c.seated;
        v.committed = c.committed;
        v.revealed = c.revealed;
        v.caseAccount = c.account;
        v.specialty = c.specialty;
        v.scanCommitment = c.scanCommitment;
        v.network = c.network;
        v.consentHash = c.consentHash;
        v.sealingKey = c.sealingKey;
        v.contact = c.contact;
        v.bucket = c.bucket;
        v.band = c.band;
        v.bountyWei = c.seatFee * PanelRules.allSeats(c.panelSize, MAX_ROUNDS);
        v.escrowWei = c.escrow;
        v.seatFee = c.seatFee;
        v.seedBlock = c.seedBlock;
        v.deadline = c.deadline;
        v.result = c.result;
        v.agreeing = c.agreeing;
        Seat[] storage seats = _seats[caseId];
        v.seats = new SeatView[](seats.length);
        for (uint256 i; i < seats.length; ++i) {
            v.seats[i] = _seatView(caseId, c.specialty, seats[i]);
        }
    }

    /// @inheritdoc ICases
    function outcomeOf(uint256 caseId, uint8 round) external view returns (Outcome memory) {
        return _outcomes[caseId][round];
    }

    /// @inheritdoc ICases
    function ledgerOf(uint256 caseId)
        external
        view
        returns (Phase phase, address caseAccount, uint8 result, bytes32 specialty, bytes32 network, bytes32 consentHash)
    {
        Case storage c = _cases[caseId];
        return (c.phase, c.account, c.result, c.specialty, c.network, c.consentHash);
    }

    /// @inheritdoc ICases
    function agreeingDoctors(uint256 caseId) external view returns (address[] memory doctors) {
        Case storage c = _cases[caseId];
        if (c.phase != Phase.Settled) return doctors;
        doctors = new address[](c.agreeing);
        Seat[] storage seats = _seats[caseId];
        uint256 n;
        for (uint256 i = c.roundStart; i < seats.length; ++i) {
            if (_agrees(c, seats[i])) doctors[n++] = seats[i].doctor;
        }
    }

    /// @inheritdoc ICases
    function signersOf(uint256 caseId, uint256 bitmap) external view returns (bool enough, address[] memory doctors) {
        Case storage c = _cases[caseId];
        Seat[] storage seats = _seats[caseId];
        if (c.phase != Phase.Settled || (seats.length < 256 && bitmap >> seats.length != 0)) return (false, doctors);
        uint256 n;
        for (uint256 rest = bitmap; rest != 0; rest &= rest - 1) {
            ++n;
        }
        doctors = new address[](n);
        uint256 filled;
        for (uint256 i; i < seats.length; ++i) {
            if ((bitmap >> i) & 1 == 0) continue;
            if (i < c.roundStart || !_agrees(c, seats[i])) return (false, new address[](0));
            doctors[filled++] = seats[i].doctor;
        }
        enough = n >= PanelRules.neededToAgree(c.seated, c.revealed);
    }

    /// @inheritdoc ICases
    function caseIdOf(address caseAccount, bytes32 scanCommitment) public view returns (uint256) {
        return uint256(keccak256(abi.encode(block.chainid, address(this), caseAccount, scanCommitment)));
    }

    /// @inheritdoc ICases
    function commitmentOf(uint256 caseId, uint8 round, address doctor, uint8 code, uint8 confidence, bytes32 salt)
        public
        view
        returns (bytes32)
    {
        return keccak256(
            abi.encode(block.chainid, address(this), caseId, round, doctor, code, confidence, salt)
        );
    }

    /// @inheritdoc ICases
    function escrowFor(uint8 bucket, uint8 panelSize) public view returns (uint256) {
        return _terms.seatFee[bucket] * PanelRules.allSeats(panelSize, MAX_ROUNDS);
    }

    /// @inheritdoc ICases
    function books() external view returns (uint256 bounties, uint256 deposits, uint256 credits) {
        return (_heldBounties, _heldDeposits, _totalCredits);
    }

    /// @inheritdoc ICases
    function terms() external view returns (Terms memory) {
        return _terms;
    }

    // ---------------------------------------------------------------------------------------------------- inside

    /// @dev Whether a seat of the deciding round stands behind the verdict.
    function _agrees(Case storage c, Seat storage s) internal view returns (bool) {
        return s.status == SeatStatus.Revealed && s.code == c.result;
    }

    function _seatView(uint256 caseId, bytes32 specialty, Seat storage s) private view returns (SeatView memory v) {
        v.doctor = s.doctor;
        v.round = s.round;
        v.status = s.status;
        v.commitment = s.commitment;
        v.code = s.code;
        v.confidence = s.confidence;
        v.band = Bands.bandOfPool(s.pool);
        v.newcomer = s.pool == 0;
        v.paidWei = _paid(_outcomes[caseId][s.round], s);
        if (s.scored) {
            (v.reputationBefore, v.reputationAfter) = (s.reputationBefore, s.reputationAfter);
        } else {
            v.reputationBefore = v.reputationAfter = REPUTATION.ofDoctor(s.doctor, specialty);
        }
    }

    /// @dev What a closed round paid a seat, its own deposit not counted.
    function _paid(Outcome memory o, Seat storage s) internal view returns (uint96) {
        if (!o.closed || s.status != SeatStatus.Revealed) return 0;
        if (!o.decided || o.code == 0) return o.readerShare;
        if (s.code == o.code) return o.agreeShare;
        return s.code == 0 ? o.readerShare : 0;
    }

    /// @dev Refuses parameters with which a case could not end or a sum could overflow.
    function _demandSane(Terms memory t) private pure {
        bool sane = t.seatFee[3] != 0 && t.seatFee[0] < 1 << 80 && t.seatDeposit < 1 << 80;
        for (uint256 i; i < 4; ++i) {
            if (i > 0 && t.seatFee[i] > t.seatFee[i - 1]) sane = false;
            if (t.bucketConfidence[i] > 100) sane = false;
        }
        if (t.seatingSeconds == 0 || t.commitSeconds == 0 || t.revealSeconds == 0) sane = false;
        if (t.readingShareBps > 5_000 || t.epochBlocks == 0) sane = false;
        if (t.maxRounds == 0 || t.maxRounds > 2 || t.drawAttempts == 0 || t.drawAttempts > 3) sane = false;
        if (!sane) revert BadParameters();
    }
}
