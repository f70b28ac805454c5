// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The parameters of one deployment. They are fixed when the contracts are made: nobody can change them later.
/// @dev Money is wei, times are seconds. `keccak256(abi.encode(terms))` must be the same in every contract that takes them.
/// @param seatFee What a patient escrows for one seat, by the confidence bucket of the receipt (0 unsure .. 3 very
///        sure). Never rises with the bucket: the surer the model, the smaller the bounty.
/// @param registrationDeposit Held while a doctor is registered; given back after leaving, never taken.
/// @param seatDeposit Put down to accept a seat. Given back to who reveals, lost by who does not.
/// @param seatingSeconds How long an invitation stands.
/// @param commitSeconds How long seats may commit.
/// @param revealSeconds How long seats may reveal.
/// @param graceSeconds How long after a quote's `validUntil` its escrow stays out of the patient's reach.
/// @param epochBlocks Fewest blocks between two snapshots of a specialty's weights; see `Doctors`.
/// @param readingShareBps A reading fee, in hundredths of a percent of the seat fee.
/// @param maxRounds 1 or 2. The second round has 2n+1 new seats.
/// @param drawAttempts How often a round draws (first draw and replacements) before it goes on with who accepted.
/// @param bucketConfidence The agreement that each bucket forecasts, in percent; scored at settlement.
struct Terms {
    uint96[4] seatFee;
    uint96 registrationDeposit;
    uint96 seatDeposit;
    uint32 seatingSeconds;
    uint32 commitSeconds;
    uint32 revealSeconds;
    uint32 graceSeconds;
    uint32 epochBlocks;
    uint16 readingShareBps;
    uint8 maxRounds;
    uint8 drawAttempts;
    uint8[4] bucketConfidence;
}
