// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bands} from "../libraries/Bands.sol";
import {PanelRules} from "../libraries/PanelRules.sol";
import {Case, Outcome, Phase, Seat, SeatStatus} from "../types/CaseTypes.sol";
import {DrawRequest, DrawResult} from "../types/DoctorTypes.sol";
import {CaseBook} from "./CaseBook.sol";

/// @title How a round goes, and how a case ends
/// @notice Drawing -> Seating -> Commit -> Reveal -> agreement: Settled; no agreement: the next round with 2n+1 new
///         doctors, or Refunded after the last. Too few doctors after the last draw: Refunded.
/// @dev Money of a round with s accepted seats, fee f, deposit d, k agreeing of r revealed, i of them "insufficient":
///      every revealer has d back, the s - r others lose it.
///      Agreed on a label: i reading fees; the rest of s * f and the lost deposits go to the k agreeing in equal parts.
///      Hung, or agreed on "insufficient evidence": r reading fees, and the lost deposits in equal parts. So agreeing on
///      0 without reading pays little. If nobody revealed, lost deposits go to the case account.
///      Lost deposits never go to the patient while anybody revealed: the patient sends the scans, and would gain by
///      keeping one back. A doctor without a scan commits to "insufficient evidence" and is paid for it. A doctor who
///      could keep another from revealing would gain (f + d) / k, and risk the quorum.
abstract contract CaseRounds is CaseBook {
    // ---------------------------------------------------------------------------------------------------- inside

    /// @dev Whether `advance` has anything to do.
    function _isDue(Case storage c) internal view returns (bool) {
        Phase phase = c.phase;
        if (phase == Phase.Drawing) return block.number > c.seedBlock;
        if (phase == Phase.Seating) return c.invited == 0 || block.timestamp > c.deadline;
        if (phase == Phase.Commit) return block.timestamp > c.deadline;
        if (phase == Phase.Reveal) return c.revealed == c.committed || block.timestamp > c.deadline;
        return false;
    }

    /// @dev Begins a round.
    function _beginRound(uint256 caseId, Case storage c, uint8 wanted) internal {
        ++c.round;
        c.roundStart = uint8(_seats[caseId].length);
        c.wanted = wanted;
        c.invited = 0;
        c.seated = 0;
        c.committed = 0;
        c.revealed = 0;
        c.attempt = 1;
        _anchor(caseId, c);
    }

    /// @dev Freezes the weights, and names the block whose hash will seed the draw: the next one.
    function _anchor(uint256 caseId, Case storage c) private {
        c.epoch = DOCTORS.anchor(c.specialty);
        c.seedBlock = uint64(block.number) + 1;
        _enter(caseId, c, Phase.Drawing, 0);
    }

    /// @dev Draws. When nobody came before the block's hash or the snapshot was out of reach, the attempt is lost: else a
    ///      patient could look at each draw beforehand (it is a view) and wait for one that it likes. So a round has
    ///      `DRAW_ATTEMPTS` seeds at most. Whoever sees itself drawn has a reason to advance the case in time.
    function _draw(uint256 caseId, Case storage c) internal {
        bytes32 blockHash = blockhash(c.seedBlock);
        if (blockHash == 0 || !DOCTORS.isFresh(c.specialty, c.epoch)) {
            _afterSeating(caseId, c);
            return;
        }
        Seat[] storage seats = _seats[caseId];
        DrawRequest memory request;
        request.specialty = c.specialty;
        request.seed = keccak256(abi.encode(blockHash, caseId, c.round, c.attempt));
        request.epoch = c.epoch;
        request.seats = c.wanted - c.seated;
        request.target = Bands.bandOfBucket(c.bucket);
        request.excluded = new address[](seats.length);
        for (uint256 i; i < seats.length; ++i) {
            request.excluded[i] = seats[i].doctor;
        }
        DrawResult memory drawn = DOCTORS.draw(request);
        uint8 round = c.round;
        c.band = drawn.band;
        for (uint256 i; i < drawn.doctors.length; ++i) {
            Seat storage s = seats.push();
            (s.doctor, s.round, s.status, s.pool) = (drawn.doctors[i], round, SeatStatus.Invited, drawn.pools[i]);
            _seatPlusOne[caseId][drawn.doctors[i]] = seats.length;
            emit Drawn(caseId, drawn.doctors[i], round);
        }
        c.invited = uint8(drawn.doctors.length);
        if (drawn.doctors.length == 0) _afterSeating(caseId, c);
        else _enter(caseId, c, Phase.Seating, SEATING_SECONDS);
    }

    /// @dev Lets the unanswered invitations lapse. Who let one lapse rests, and so is not drawn again before it wakes.
    function _closeSeating(uint256 caseId, Case storage c) internal {
        Seat[] storage seats = _seats[caseId];
        for (uint256 i = c.roundStart; i < seats.length; ++i) {
            if (seats[i].status != SeatStatus.Invited) continue;
            _lose(caseId, seats[i], SeatStatus.Replaced);
            DOCTORS.rest(seats[i].doctor);
        }
        c.invited = 0;
        _afterSeating(caseId, c);
    }

    /// @dev Draws for the seats still missing; after the last draw goes on with who accepted, if they are enough.
    function _afterSeating(uint256 caseId, Case storage c) private {
        if (c.seated < c.wanted && c.attempt < DRAW_ATTEMPTS) {
            ++c.attempt;
            _anchor(caseId, c);
        } else if (c.seated >= PanelRules.fewestSeats(c.wanted)) {
            _enter(caseId, c, Phase.Commit, COMMIT_SECONDS);
        } else {
            _disband(caseId, c);
            _finish(caseId, c, Phase.Refunded);
        }
    }

    /// @dev Ends the commit phase; without any commitment there is nothing to reveal.
    function _closeCommit(uint256 caseId, Case storage c) internal {
        Seat[] storage seats = _seats[caseId];
        for (uint256 i = c.roundStart; i < seats.length; ++i) {
            if (seats[i].status == SeatStatus.Accepted) _lose(caseId, seats[i], SeatStatus.NoShow);
        }
        if (c.committed == 0) _closeRound(caseId, c);
        else _enter(caseId, c, Phase.Reveal, REVEAL_SECONDS);
    }

    /// @dev Counts the round, pays it, and ends the case or begins the next round. The order of reveals plays no part.
    function _closeRound(uint256 caseId, Case storage c) internal {
        uint8 round = c.round;
        Outcome memory o = _count(caseId, c);
        _outcomes[caseId][round] = o;
        _payRound(caseId, c, o);
        if (o.decided) {
            c.result = o.code;
            c.agreeing = o.agreeing;
            _finish(caseId, c, Phase.Settled);
            return;
        }
        emit RoundHung(caseId, round);
        if (round < MAX_ROUNDS) _beginRound(caseId, c, PanelRules.nextPanel(c.wanted));
        else _finish(caseId, c, Phase.Refunded);
    }

    /// @dev The outcome of a round: whether a code has agreement, and what each seat earns.
    function _count(uint256 caseId, Case storage c) private view returns (Outcome memory o) {
        uint8[256] memory votes;
        Seat[] storage seats = _seats[caseId];
        for (uint256 i = c.roundStart; i < seats.length; ++i) {
            if (seats[i].status != SeatStatus.Revealed) continue;
            uint8 code = seats[i].code;
            if (++votes[code] > o.agreeing) (o.agreeing, o.code) = (votes[code], code);
        }
        o.closed = true;
        o.seated = c.seated;
        o.revealed = c.revealed;
        o.decided = o.agreeing >= PanelRules.neededToAgree(o.seated, o.revealed);
        if (!o.decided) (o.agreeing, o.code) = (0, 0);

        uint256 forfeits = (o.seated - o.revealed) * SEAT_DEPOSIT;
        uint256 readingFee = uint256(c.seatFee) * READING_SHARE_BPS / 10_000;
        if (o.decided && o.code != 0) {
            uint256 pot = uint256(c.seatFee) * o.seated + forfeits - votes[0] * readingFee;
            o.agreeShare = uint96(pot / o.agreeing);
            o.readerShare = uint96(readingFee);
        } else if (o.revealed != 0) {
            o.readerShare = uint96(readingFee + forfeits / o.revealed);
        }
    }

    /// @dev Credits deposits and shares, and frees the doctors. Lost deposits pass through the escrow.
    function _payRound(uint256 caseId, Case storage c, Outcome memory o) private {
        uint256 gained = (o.seated - o.revealed) * SEAT_DEPOSIT;
        uint256 paid;
        Seat[] storage seats = _seats[caseId];
        for (uint256 i = c.roundStart; i < seats.length; ++i) {
            Seat storage s = seats[i];
            if (s.status == SeatStatus.Committed) _lose(caseId, s, SeatStatus.NoShow);
            if (s.status != SeatStatus.Revealed && s.status != SeatStatus.NoShow) continue;
            DOCTORS.unseat(s.doctor);
            if (s.status == SeatStatus.NoShow) continue;
            uint256 share = _paid(o, s);
            paid += share;
            _credit(caseId, s.doctor, SEAT_DEPOSIT + share);
        }
        _heldDeposits -= o.seated * SEAT_DEPOSIT;
        _heldBounties = _heldBounties + gained - paid;
        c.escrow = uint128(c.escrow + gained - paid);
    }

    /// @dev Gives back the deposits of a round that did not get enough seats.
    function _disband(uint256 caseId, Case storage c) private {
        Seat[] storage seats = _seats[caseId];
        for (uint256 i = c.roundStart; i < seats.length; ++i) {
            if (seats[i].status != SeatStatus.Accepted) continue;
            DOCTORS.unseat(seats[i].doctor);
            _credit(caseId, seats[i].doctor, SEAT_DEPOSIT);
        }
        _heldDeposits -= c.seated * SEAT_DEPOSIT;
        _outcomes[caseId][c.round].closed = true;
    }

    /// @dev The only place where a case ends and where reputation moves.
    function _finish(uint256 caseId, Case storage c, Phase phase) private {
        uint256 rest = c.escrow;
        c.escrow = 0;
        _heldBounties -= rest;
        _credit(caseId, c.account, rest);
        _enter(caseId, c, phase, 0);
        if (phase == Phase.Settled) emit Settled(caseId, c.result, c.agreeing);
        else emit Refunded(caseId);
        _score(caseId, c, phase == Phase.Settled && c.result != 0);
    }

    /// @dev Scores every no-show of the case; and, when the panel agreed on a label, the deciding round's verdicts and
    ///      the network. "Insufficient evidence" is not scored, nor is a round that hung.
    function _score(uint256 caseId, Case storage c, bool verdict) private {
        Seat[] storage seats = _seats[caseId];
        bytes32 specialty = c.specialty;
        uint8 round = c.round;
        for (uint256 i; i < seats.length; ++i) {
            Seat storage s = seats[i];
            if (s.status == SeatStatus.NoShow) {
                (s.reputationBefore, s.reputationAfter) = REPUTATION.scoreAbsence(caseId, s.doctor, specialty);
            } else if (verdict && s.round == round && s.status == SeatStatus.Revealed && s.code != 0) {
                (s.reputationBefore, s.reputationAfter) =
                    REPUTATION.scoreReading(caseId, s.doctor, specialty, s.code == c.result, s.confidence);
            } else {
                continue;
            }
            s.scored = true;
            DOCTORS.refresh(s.doctor, specialty);
        }
        if (!verdict) return;
        uint8 forecast = _terms.bucketConfidence[c.bucket];
        REPUTATION.scoreNetwork(caseId, c.network, specialty, forecast, c.agreeing, c.revealed);
    }

    function _enter(uint256 caseId, Case storage c, Phase phase, uint32 lasts) internal {
        uint64 deadline = lasts == 0 ? 0 : uint64(block.timestamp) + lasts;
        c.phase = phase;
        c.deadline = deadline;
        emit PhaseChanged(caseId, c.round, phase, deadline);
    }

    function _lose(uint256 caseId, Seat storage s, SeatStatus status) internal {
        s.status = status;
        emit SeatLost(caseId, s.doctor, s.round, uint8(status));
    }
}
