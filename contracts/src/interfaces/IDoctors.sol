// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Application, Credential, DoctorView, DrawRequest, DrawResult} from "../types/DoctorTypes.sol";

import {IReputation} from "./IReputation.sol";

/// @title Who is a doctor, and the draw
/// @notice Registration by credential, and the sortition trees from which panels are drawn.
/// @dev Everybody learns who is registered, their keys and peer record.
interface IDoctors {
    /// @notice A doctor registered.
    event Registered(address indexed doctor);
    /// @notice A doctor published a peer record.
    event RecordChanged(address indexed doctor, bytes record);
    /// @notice A doctor was admitted to a specialty, or renewed the credential.
    event Admitted(address indexed doctor, bytes32 indexed specialty, address attester, uint64 validUntil);
    /// @notice An attester took a credential back.
    event Revoked(address indexed doctor, bytes32 indexed specialty, address attester, uint64 validUntil);
    /// @notice A doctor went out of the draws, or came back.
    event Resting(address indexed doctor, bool resting);
    /// @notice A doctor left.
    event Left(address indexed doctor);
    /// @notice A doctor took the deposit back.
    event DepositWithdrawn(address indexed doctor, uint256 amount);

    /// @notice The caller is not `Cases`.
    error OnlyCases();
    /// @notice The account is registered already, or has not taken its old deposit.
    error AlreadyRegistered();
    /// @notice The account is not a registered doctor.
    error NotRegistered();
    /// @notice The value sent is not the registration deposit.
    error WrongDeposit(uint256 sent, uint256 wanted);
    /// @notice No specialty, more than four, one twice, or not one credential each.
    error BadSpecialties();
    /// @notice The attester is none of those fixed at deployment.
    error UnknownAttester(address attester);
    /// @notice The credential's time is over.
    error CredentialExpired(uint64 validUntil);
    /// @notice The attester took the credential back.
    error CredentialRevoked();
    /// @notice The credential is signed by somebody else.
    error CredentialForged();
    /// @notice The record is longer than 512 bytes.
    error RecordTooLong(uint256 length);
    /// @notice The sealing key is zero.
    error EmptyKey();
    /// @notice The BLS keys do not match, or the proof of possession does not hold.
    error BadBlsKey();
    /// @notice The account registered before with another BLS key, on which certificates lean.
    error KeyIsForLife();
    /// @notice The deposit stays while a seat is open.
    error SeatsOpen(uint256 openSeats);
    /// @notice Nothing to withdraw: the doctor has not left.
    error NotLeft();
    /// @notice The caller's account refused the payment.
    error PaymentRefused();
    /// @notice The snapshot is too old to be drawn from.
    error StaleSnapshot();
    /// @notice A constructor parameter makes no sense.
    error BadParameters();

    /// @notice Registers the caller. The value sent is the deposit. Who registers again keeps the BLS key.
    function register(Application calldata application) external payable;

    /// @notice Admits the caller to a further specialty, or renews a credential.
    function admit(bytes32 specialty, Credential calldata credential) external;

    /// @notice Takes a credential back. Only its attester can; a verdict or seat already given is not touched.
    function revoke(address doctor, bytes32 specialty, uint64 validUntil) external;

    /// @notice Publishes a new peer record, at most 512 bytes; wakes a resting doctor.
    function updateRecord(bytes calldata record) external;

    /// @notice Goes out of the draws, or comes back. A lapsed invitation puts a doctor to rest too.
    function setResting(bool resting) external;

    /// @notice Leaves: no draw from here on. Open seats stay owed.
    function resign() external;

    /// @notice Takes the registration deposit after leaving, once no seat is open.
    function withdrawDeposit() external;

    /// @notice Brings the caller's or anybody's weight up to date with drifted reputation and credential.
    /// @dev Changes neither money nor reputation.
    function refresh(address doctor, bytes32 specialty) external;

    /// @notice Freezes the weights of a specialty for a draw. Only `Cases`.
    /// @return epoch The snapshot's number.
    function anchor(bytes32 specialty) external returns (uint32 epoch);

    /// @notice Counts an accepted seat. Only `Cases`.
    function seat(address doctor) external;

    /// @notice Counts a seat whose round closed. Only `Cases`.
    function unseat(address doctor) external;

    /// @notice Puts a doctor whose invitation lapsed to rest. Only `Cases`.
    function rest(address doctor) external;

    /// @notice The draw: who gets the seats, given the request.
    /// @dev A view: anybody can check a draw. Reverts with `StaleSnapshot` when `isFresh` is false.
    function draw(DrawRequest calldata request) external view returns (DrawResult memory);

    /// @notice Whether a snapshot can still be drawn from.
    function isFresh(bytes32 specialty, uint32 epoch) external view returns (bool);

    /// @notice Whether a doctor can take a seat now: registered, awake, credential valid.
    function isUsable(address doctor, bytes32 specialty) external view returns (bool);

    /// @notice Everything public about a doctor.
    function doctor(address account) external view returns (DoctorView memory);

    /// @notice The doctor's BLS key in G1.
    function blsG1Of(address account) external view returns (uint256[2] memory);

    /// @notice How many accounts were ever admitted to a specialty.
    function membersOf(bytes32 specialty) external view returns (uint256);

    /// @notice A page of the accounts ever admitted to a specialty; look at `isUsable`.
    function membersPage(bytes32 specialty, uint256 from, uint256 count) external view returns (address[] memory);

    /// @notice Doctors and weight that stand in a pool now. Pool 0 is the newcomers', else band + 1.
    function poolOf(bytes32 specialty, uint8 pool) external view returns (uint256 doctors, uint256 weight);

    /// @notice The message that `blsProof` signs.
    function possessionMessage(address account, uint256[2] calldata blsG1, uint256[4] calldata blsG2)
        external
        view
        returns (bytes32);

    /// @notice Hash of the deployment's terms; equal in all contracts.
    function TERMS_HASH() external view returns (bytes32);

    /// @notice The one contract that may call `anchor`, `seat`, `unseat`, `rest`.
    function CASES() external view returns (address);

    /// @notice Whose values weigh the draw.
    function REPUTATION() external view returns (IReputation);
}
