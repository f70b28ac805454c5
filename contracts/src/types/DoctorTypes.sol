// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Whether a doctor takes part. `Left`: waits for the deposit.
enum DoctorState {
    None,
    Active,
    Left
}

/// @notice An attester's word that an account is a doctor of a specialty.
/// @param attester Who signed; must be one of the attesters fixed at deployment.
/// @param validUntil Unix second.
/// @param signature EIP-712 `Credential(address doctor,bytes32 specialty,uint64 validUntil)`, 65 bytes r, s, v.
struct Credential {
    address attester;
    uint64 validUntil;
    bytes signature;
}

/// @notice What a doctor registers with.
/// @param specialties 1 to 4, without repetition.
/// @param credentials One a specialty, in the same order.
/// @param sealingKey X25519 key to which patients seal scans.
/// @param blsG1 BLS key in G1 (bn254): x, y.
/// @param blsG2 The same key in G2, in the order of the pairing precompile: x.c1, x.c0, y.c1, y.c0.
/// @param blsProof Signature (G1) on `Doctors.possessionMessage`, under `Doctors.POSSESSION_DOMAIN`.
/// @param record Signed peer record, at most 512 bytes.
struct Application {
    bytes32[] specialties;
    Credential[] credentials;
    bytes32 sealingKey;
    uint256[2] blsG1;
    uint256[4] blsG2;
    uint256[2] blsProof;
    bytes record;
}

/// @notice A doctor as stored.
struct Doctor {
    DoctorState state; // takes part, left, or neither
    bool resting; // out of the draws until the doctor wakes
    uint32 openSeats; // seats accepted in rounds not yet closed
    uint96 deposit; // wei held
    bytes32 sealingKey; // X25519
    uint256[2] blsG1; // BLS key in G1
    uint256[4] blsG2; // BLS key in G2, precompile order
    bytes record; // signed peer record
    bytes32[] specialties; // to which the doctor was ever admitted
}

/// @notice A doctor's place in a specialty, as stored.
struct Place {
    uint32 leafPlusOne; // leaf in the trees of the specialty, kept for good; 0 = none yet
    uint8 pool; // pool in which the leaf last had a weight
    uint64 validUntil; // end of the credential in use
    address attester; // who signed it
}

/// @notice A doctor as anybody may see it; `validUntil` and `pools` go with `specialties`.
struct DoctorView {
    DoctorState state;
    bool resting;
    uint32 openSeats;
    uint96 deposit;
    bytes32 sealingKey;
    uint256[2] blsG1;
    uint256[4] blsG2;
    bytes record;
    bytes32[] specialties;
    uint64[] validUntil;
    uint8[] pools;
}

/// @notice What a draw is asked for.
/// @param specialty Whose trees.
/// @param seed Hash that decides everything.
/// @param epoch Snapshot to draw from.
/// @param seats Seats to fill.
/// @param target Highest band that the bounty asks for, 0..3.
/// @param excluded Doctors who had a seat in the case already.
struct DrawRequest {
    bytes32 specialty;
    bytes32 seed;
    uint32 epoch;
    uint8 seats;
    uint8 target;
    address[] excluded;
}

/// @notice What a draw gives.
/// @param doctors Who was drawn, at most as many as asked for.
/// @param pools Pool of each: 0 newcomers, else band + 1.
/// @param band The band of the draw: every doctor stands in it or above.
struct DrawResult {
    address[] doctors;
    uint8[] pools;
    uint8 band;
}
