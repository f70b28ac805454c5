// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CaseBook} from "./base/CaseBook.sol";
import {CaseRounds} from "./base/CaseRounds.sol";
import {ICases} from "./interfaces/ICases.sol";
import {IDoctors} from "./interfaces/IDoctors.sol";
import {IModels} from "./interfaces/IModels.sol";
import {IReputation} from "./interfaces/IReputation.sol";
import {Case, OpenCase, Phase, Seat, SeatStatus} from "./types/CaseTypes.sol";
import {Receipt} from "./types/ModelTypes.sol";
import {Terms} from "./types/Terms.sol";

/// @title Cases: bounty, blind panel, verdict
/// @notice No owner, no pause: what happens to a case follows from these calls alone.
contract Cases is CaseRounds {
    // ---------------------------------------------------------------------------------------------------- making

    /// @param t The deployment's parameters; the partners must have been made for the same.
    /// @param doctors Made before, for this address; `models` and `reputation` likewise.
    constructor(Terms memory t, IDoctors doctors, IModels models, IReputation reputation)
        CaseBook(t, doctors, models, reputation)
    {
        bytes32 termsHash = keccak256(abi.encode(t));
        if (doctors.CASES() != address(this) || doctors.TERMS_HASH() != termsHash) revert WrongPartner(address(doctors));
        if (address(doctors.REPUTATION()) != address(reputation)) revert WrongPartner(address(doctors));
        if (models.CASES() != address(this) || models.TERMS_HASH() != termsHash) revert WrongPartner(address(models));
        if (reputation.CASES() != address(this)) revert WrongPartner(address(reputation));
    }

    // --------------------------------------------------------------------------------------------------- actions

    /// @inheritdoc ICases
    function open(OpenCase calldata o, Receipt calldata r, bytes calldata receiptSig) external payable {
        uint256 caseId = caseIdOf(msg.sender, o.scanCommitment);
        Case storage c = _cases[caseId];
        if (c.phase != Phase.None) revert CaseExists(caseId);
        if (o.panelSize < 3 || o.panelSize > 9 || o.panelSize & 1 == 0) revert BadPanelSize(o.panelSize);
        if (o.sealingKey == 0 || o.specialty == 0 || o.scanCommitment == 0) revert EmptyField();
        if (r.caseId != caseId || r.network != o.network) revert WrongReceipt();
        MODELS.accept(r, receiptSig, o.specialty);
        uint256 bounty = escrowFor(r.bucket, o.panelSize);
        if (msg.value != bounty) revert WrongPayment(msg.value, bounty);

        c.account = msg.sender;
        c.panelSize = o.panelSize;
        c.bucket = r.bucket;
        c.seatFee = _terms.seatFee[r.bucket];
        c.escrow = uint128(bounty);
        c.specialty = o.specialty;
        c.scanCommitment = o.scanCommitment;
        c.network = o.network;
        c.consentHash = o.consentHash;
        c.sealingKey = o.sealingKey;
        c.contact = o.contact;
        _heldBounties += bounty;
        emit CaseOpened(caseId, o.specialty, msg.sender);
        _beginRound(caseId, c, o.panelSize);
    }

    /// @inheritdoc ICases
    function accept(uint256 caseId) external payable {
        (Case storage c, Seat storage s) = _mySeat(caseId, Phase.Seating, SeatStatus.Invited);
        if (msg.value != SEAT_DEPOSIT) revert WrongPayment(msg.value, SEAT_DEPOSIT);
        if (!DOCTORS.isUsable(msg.sender, c.specialty)) revert NotUsable();
        s.status = SeatStatus.Accepted;
        --c.invited;
        ++c.seated;
        _heldDeposits += msg.value;
        emit SeatAccepted(caseId, msg.sender, s.round);
        DOCTORS.seat(msg.sender);
        if (c.seated == c.wanted) _enter(caseId, c, Phase.Commit, COMMIT_SECONDS);
    }

    /// @inheritdoc ICases
    function decline(uint256 caseId) external {
        (Case storage c, Seat storage s) = _mySeat(caseId, Phase.Seating, SeatStatus.Invited);
        --c.invited;
        _lose(caseId, s, SeatStatus.Declined);
    }

    /// @inheritdoc ICases
    function commit(uint256 caseId, bytes32 commitment) external {
        (Case storage c, Seat storage s) = _mySeat(caseId, Phase.Commit, SeatStatus.Accepted);
        if (commitment == 0) revert EmptyCommitment();
        s.status = SeatStatus.Committed;
        s.commitment = commitment;
        ++c.committed;
        emit Committed(caseId, msg.sender, s.round);
        if (c.committed == c.seated) _enter(caseId, c, Phase.Reveal, REVEAL_SECONDS);
    }

    /// @inheritdoc ICases
    function reveal(uint256 caseId, uint8 code, uint8 confidence, bytes32 salt) external {
        (Case storage c, Seat storage s) = _mySeat(caseId, Phase.Reveal, SeatStatus.Committed);
        if (confidence > 100) revert BadConfidence(confidence);
        if (commitmentOf(caseId, s.round, msg.sender, code, confidence, salt) != s.commitment) {
            revert CommitmentMismatch();
        }
        s.status = SeatStatus.Revealed;
        s.code = code;
        s.confidence = confidence;
        ++c.revealed;
        emit Revealed(caseId, msg.sender, s.round, code, confidence);
    }

    /// @inheritdoc ICases
    function advance(uint256 caseId) external {
        Case storage c = _cases[caseId];
        if (!_isDue(c)) revert NothingDue();
        Phase phase = c.phase;
        if (phase == Phase.Drawing) _draw(caseId, c);
        else if (phase == Phase.Seating) _closeSeating(caseId, c);
        else if (phase == Phase.Commit) _closeCommit(caseId, c);
        else _closeRound(caseId, c);
    }

    // ----------------------------------------------------------------------------------------------------- views

    /// @inheritdoc ICases
    function isDue(uint256 caseId) external view returns (bool) {
        return _isDue(_cases[caseId]);
    }

    // ---------------------------------------------------------------------------------------------------- inside

    /// @dev The caller's seat in the current round, at the given step, in time.
    function _mySeat(uint256 caseId, Phase phase, SeatStatus status)
        private
        view
        returns (Case storage c, Seat storage s)
    {
        c = _cases[caseId];
        if (c.phase != phase) revert WrongPhase(c.phase);
        if (block.timestamp > c.deadline) revert TooLate(c.deadline);
        uint256 plusOne = _seatPlusOne[caseId][msg.sender];
        if (plusOne == 0) revert NoSeat();
        s = _seats[caseId][plusOne - 1];
        if (s.round != c.round || s.status != status) revert NoSeat();
    }
}
