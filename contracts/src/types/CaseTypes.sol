// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Where a case stands. `Settled` and `Refunded` are final.
enum Phase {
    None,
    Drawing,
    Seating,
    Commit,
    Reveal,
    Settled,
    Refunded
}

/// @notice Where a seat stands. `Declined` and `Replaced` (let the invitation lapse) leave without a loss;
///         `NoShow` accepted and did not reveal.
enum SeatStatus {
    None,
    Invited,
    Accepted,
    Committed,
    Revealed,
    Declined,
    Replaced,
    NoShow
}

/// @notice What the case account says when it opens a case.
/// @param specialty keccak256 of the specialty's name.
/// @param scanCommitment Hiding commitment to the scan; with the account it makes the case id.
/// @param panelSize Seats of the first round: 3, 5, 7 or 9.
/// @param network The network whose receipt sets the bounty.
/// @param consentHash Hash of the data market consent, 0 for none; see `DataMarket.consentHashOf`.
/// @param sealingKey The patient's X25519 key for this case.
/// @param contact Hash of the patient's peer id for this case.
struct OpenCase {
    bytes32 specialty;
    bytes32 scanCommitment;
    uint8 panelSize;
    bytes32 network;
    bytes32 consentHash;
    bytes32 sealingKey;
    bytes32 contact;
}

/// @notice A case as it is stored.
struct Case {
    address account; // the fresh account that opened the case; unused escrow is credited to it
    Phase phase; // where the case stands
    uint8 round; // 1 for the first panel, 2 for the larger one
    uint8 panelSize; // seats of the first round
    uint8 bucket; // confidence bucket of the receipt
    uint8 result; // agreed verdict code, 0 until settled and for "insufficient evidence"
    uint8 agreeing; // seats behind the result
    uint8 attempt; // draws begun in this round, 1 for the first
    uint8 band; // band of the last draw: every doctor drawn stands in it or above
    uint8 roundStart; // index of this round's first seat
    uint8 wanted; // seats that this round wants
    uint8 invited; // invitations without an answer
    uint8 seated; // seats of this round that were accepted
    uint8 committed; // seats of this round that committed
    uint8 revealed; // seats of this round that revealed
    uint32 epoch; // snapshot of weights that the pending draw uses
    uint64 deadline; // unix second after which the phase can be closed; 0 when drawing or final
    uint64 seedBlock; // block whose hash seeds the pending draw
    uint96 seatFee; // wei a seat
    uint128 escrow; // wei of the bounty that the case still holds
    bytes32 specialty; // as opened
    bytes32 scanCommitment; // as opened
    bytes32 network; // as opened
    bytes32 consentHash; // as opened
    bytes32 sealingKey; // as opened
    bytes32 contact; // as opened
}

/// @notice A seat as it is stored; seats of all rounds stand in one list.
struct Seat {
    address doctor; // who was drawn
    uint8 round; // for which round
    SeatStatus status; // where the seat stands
    uint8 code; // revealed verdict code, 0 = insufficient evidence
    uint8 confidence; // revealed confidence, percent
    uint8 pool; // pool the doctor was drawn from: 0 newcomers, else band + 1
    uint16 reputationBefore; // written when reputation was scored, else 0
    uint16 reputationAfter; // written when reputation was scored, else 0
    bool scored; // whether the two above were written
    bytes32 commitment; // the one commitment, 0 before it
}

/// @notice What a closed round decided and paid each seat.
struct Outcome {
    uint96 agreeShare; // wei to each agreeing seat
    uint96 readerShare; // wei to each seat that earned a reading fee
    uint8 seated; // seats accepted
    uint8 revealed; // seats revealed
    uint8 code; // agreed code, when decided
    uint8 agreeing; // seats behind it, when decided
    bool decided; // false: the round hung
    bool closed; // false: the round is still open
}

/// @notice A seat as anybody may see it.
/// @param newcomer Drawn as a newcomer; band is then the band in which newcomers start.
/// @param paidWei Earned by the seat, its own deposit not counted.
/// @param reputationBefore Before the case moved it; the current value when the case did not (or not yet).
struct SeatView {
    address doctor;
    uint8 round;
    SeatStatus status;
    bytes32 commitment;
    uint8 code;
    uint8 confidence;
    uint8 band;
    bool newcomer;
    uint96 paidWei;
    uint16 reputationBefore;
    uint16 reputationAfter;
}

/// @notice A case as anybody may see it.
/// @param panelSize Seats of the first round.
/// @param wanted Seats that the current round wants.
/// @param seated Seats of the current round that were accepted; `committed` and `revealed` likewise.
/// @param band Band of the last draw.
/// @param bountyWei What was escrowed at opening.
/// @param escrowWei What of it is still held.
struct CaseView {
    Phase phase;
    uint8 round;
    uint8 attempt;
    uint8 panelSize;
    uint8 wanted;
    uint8 seated;
    uint8 committed;
    uint8 revealed;
    address caseAccount;
    bytes32 specialty;
    bytes32 scanCommitment;
    bytes32 network;
    bytes32 consentHash;
    bytes32 sealingKey;
    bytes32 contact;
    uint8 bucket;
    uint8 band;
    uint256 bountyWei;
    uint256 escrowWei;
    uint96 seatFee;
    uint64 seedBlock;
    uint64 deadline;
    uint8 result;
    uint8 agreeing;
    SeatView[] seats;
}
