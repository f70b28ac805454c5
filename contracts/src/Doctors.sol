// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Sortition} from "./base/Sortition.sol";
import {IDoctors} from "./interfaces/IDoctors.sol";
import {IReputation} from "./interfaces/IReputation.sol";
import {Bands} from "./libraries/Bands.sol";
import {Bn254} from "./libraries/Bn254.sol";
import {Forest, Trees} from "./libraries/Forest.sol";
import {TypedData} from "./libraries/TypedData.sol";
import {Application, Credential, Doctor, DoctorState, DoctorView, Place} from "./types/DoctorTypes.sol";
import {Terms} from "./types/Terms.sol";

/// @title Who is a doctor, and the draw
/// @notice A doctor registers with a credential signed by one of the attesters fixed at deployment: stake alone makes
///         nobody a doctor. The deposit is never taken; it comes back after leaving.
contract Doctors is Sortition {
    using Forest for Trees;

    // ------------------------------------------------------------------------------------------------ parameters

    /// @notice EIP-712 name of this contract's domain; the version is "1".
    string public constant NAME = "CrypDoc Doctors";

    /// @notice EIP-712 type of a credential.
    bytes32 public constant CREDENTIAL_TYPE =
        keccak256("Credential(address doctor,bytes32 specialty,uint64 validUntil)");

    /// @notice Domain under which the proof of possession is hashed to G1: apart from certificates.
    bytes32 public constant POSSESSION_DOMAIN = keccak256("CrypDoc BLS possession v1");

    /// @notice Most specialties a doctor can have, and most bytes of a record.
    uint256 public constant MAX_SPECIALTIES = 4;
    uint256 public constant MAX_RECORD = 512;

    /// @notice The one contract that may seat and rest doctors and take snapshots.
    address public immutable CASES;

    /// @notice Whose values weigh the draw.
    IReputation public immutable REPUTATION;

    /// @notice Wei held while registered.
    uint96 public immutable REGISTRATION_DEPOSIT;

    /// @inheritdoc IDoctors
    bytes32 public immutable TERMS_HASH;

    // ----------------------------------------------------------------------------------------------------- state

    /// @notice Whether an account's credentials count. Written by the constructor alone.
    mapping(address account => bool) public isAttester;

    /// @notice Credentials taken back, by attester and EIP-712 struct hash.
    mapping(address attester => mapping(bytes32 credential => bool)) public isRevoked;

    /// @dev All doctors there ever were.
    mapping(address account => Doctor) private _doctors;

    /// @notice Sum of all deposits: the contract's balance.
    uint256 public heldDeposits;

    // ---------------------------------------------------------------------------------------------------- making

    /// @param terms The deployment's parameters.
    /// @param attesters Whose credentials count, for good.
    /// @param reputation Made before, for the same `cases`.
    /// @param cases Address at which `Cases` will be made; `Cases` checks it.
    constructor(Terms memory terms, address[] memory attesters, IReputation reputation, address cases)
        Sortition(terms.epochBlocks)
    {
        if (attesters.length == 0 || cases == address(0)) revert BadParameters();
        for (uint256 i; i < attesters.length; ++i) {
            isAttester[attesters[i]] = true;
        }
        CASES = cases;
        REPUTATION = reputation;
        REGISTRATION_DEPOSIT = terms.registrationDeposit;
        TERMS_HASH = keccak256(abi.encode(terms));
    }

    modifier onlyCases() {
        if (msg.sender != CASES) revert OnlyCases();
        _;
    }

    // --------------------------------------------------------------------------------------------------- actions

    /// @inheritdoc IDoctors
    function register(Application calldata a) external payable {
        Doctor storage d = _doctors[msg.sender];
        uint256 n = a.specialties.length;
        if (d.state != DoctorState.None) revert AlreadyRegistered();
        if (msg.value != REGISTRATION_DEPOSIT) revert WrongDeposit(msg.value, REGISTRATION_DEPOSIT);
        if (n == 0 || n > MAX_SPECIALTIES || n != a.credentials.length) revert BadSpecialties();
        if (a.sealingKey == 0) revert EmptyKey();
        if (d.blsG1[0] != 0 && (d.blsG1[0] != a.blsG1[0] || d.blsG1[1] != a.blsG1[1])) revert KeyIsForLife();
        bytes32 message = possessionMessage(msg.sender, a.blsG1, a.blsG2);
        if (!Bn254.verify(POSSESSION_DOMAIN, message, a.blsG1, a.blsG2, a.blsProof)) revert BadBlsKey();

        d.state = DoctorState.Active;
        d.resting = false;
        d.deposit = uint96(msg.value);
        heldDeposits += msg.value;
        d.sealingKey = a.sealingKey;
        d.blsG1 = a.blsG1;
        d.blsG2 = a.blsG2;
        delete d.specialties;
        emit Registered(msg.sender);
        _record(d, a.record);
        for (uint256 i; i < n; ++i) {
            _admit(d, a.specialties[i], a.credentials[i]);
        }
        if (d.specialties.length != n) revert BadSpecialties();
    }

    /// @inheritdoc IDoctors
    function admit(bytes32 specialty, Credential calldata credential) external {
        Doctor storage d = _active();
        _admit(d, specialty, credential);
        if (d.specialties.length > MAX_SPECIALTIES) revert BadSpecialties();
    }

    /// @inheritdoc IDoctors
    function revoke(address account, bytes32 specialty, uint64 validUntil) external {
        if (!isAttester[msg.sender]) revert UnknownAttester(msg.sender);
        isRevoked[msg.sender][_credentialHash(account, specialty, validUntil)] = true;
        Place storage place = _places[specialty][account];
        if (place.attester == msg.sender && place.validUntil == validUntil) {
            place.validUntil = 0;
            _weigh(account, specialty);
        }
        emit Revoked(account, specialty, msg.sender, validUntil);
    }

    /// @inheritdoc IDoctors
    function updateRecord(bytes calldata record) external {
        Doctor storage d = _active();
        _record(d, record);
        if (d.resting) _setResting(msg.sender, d, false);
    }

    /// @inheritdoc IDoctors
    function setResting(bool resting) external {
        _setResting(msg.sender, _active(), resting);
    }

    /// @inheritdoc IDoctors
    function resign() external {
        Doctor storage d = _active();
        d.state = DoctorState.Left;
        for (uint256 i; i < d.specialties.length; ++i) {
            _places[d.specialties[i]][msg.sender].validUntil = 0;
        }
        _weighAll(msg.sender, d);
        emit Left(msg.sender);
    }

    /// @inheritdoc IDoctors
    function withdrawDeposit() external {
        Doctor storage d = _doctors[msg.sender];
        if (d.state != DoctorState.Left) revert NotLeft();
        if (d.openSeats != 0) revert SeatsOpen(d.openSeats);
        uint256 amount = d.deposit;
        d.state = DoctorState.None;
        d.deposit = 0;
        heldDeposits -= amount;
        emit DepositWithdrawn(msg.sender, amount);
        (bool ok,) = msg.sender.call{value: amount}("");
        if (!ok) revert PaymentRefused();
    }

    /// @inheritdoc IDoctors
    function refresh(address account, bytes32 specialty) external {
        _weigh(account, specialty);
    }

    // ------------------------------------------------------------------------------------ calls between contracts

    /// @inheritdoc IDoctors
    function anchor(bytes32 specialty) external onlyCases returns (uint32 epoch) {
        return _anchor(specialty);
    }

    /// @inheritdoc IDoctors
    function seat(address account) external onlyCases {
        ++_doctors[account].openSeats;
    }

    /// @inheritdoc IDoctors
    function unseat(address account) external onlyCases {
        --_doctors[account].openSeats;
    }

    /// @inheritdoc IDoctors
    function rest(address account) external onlyCases {
        Doctor storage d = _doctors[account];
        if (d.state == DoctorState.Active && !d.resting) _setResting(account, d, true);
    }

    // ----------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IDoctors
    function isUsable(address account, bytes32 specialty) public view override returns (bool) {
        Doctor storage d = _doctors[account];
        return d.state == DoctorState.Active && !d.resting
            && _places[specialty][account].validUntil >= block.timestamp;
    }

    /// @inheritdoc IDoctors
    function doctor(address account) external view returns (DoctorView memory v) {
        Doctor storage d = _doctors[account];
        uint256 n = d.specialties.length;
        v.state = d.state;
        v.resting = d.resting;
        v.openSeats = d.openSeats;
        v.deposit = d.deposit;
        v.sealingKey = d.sealingKey;
        v.blsG1 = d.blsG1;
        v.blsG2 = d.blsG2;
        v.record = d.record;
        v.specialties = d.specialties;
        v.validUntil = new uint64[](n);
        v.pools = new uint8[](n);
        for (uint256 i; i < n; ++i) {
            Place storage place = _places[v.specialties[i]][account];
            v.validUntil[i] = place.validUntil;
            v.pools[i] = place.pool;
        }
    }

    /// @inheritdoc IDoctors
    function blsG1Of(address account) external view returns (uint256[2] memory) {
        return _doctors[account].blsG1;
    }

    /// @inheritdoc IDoctors
    function membersOf(bytes32 specialty) external view returns (uint256) {
        return _trees[specialty].leaves.length;
    }

    /// @inheritdoc IDoctors
    function membersPage(bytes32 specialty, uint256 from, uint256 count)
        external
        view
        returns (address[] memory page)
    {
        address[] storage leaves = _trees[specialty].leaves;
        uint256 left = from < leaves.length ? leaves.length - from : 0;
        page = new address[](count < left ? count : left);
        for (uint256 i; i < page.length; ++i) {
            page[i] = leaves[from + i];
        }
    }

    /// @inheritdoc IDoctors
    function poolOf(bytes32 specialty, uint8 pool) external view returns (uint256 doctors, uint256 weight) {
        Trees storage trees = _trees[specialty];
        uint256 value = trees.valueNow(pool, trees.height, 0);
        return (Forest.count(value), Forest.weight(value));
    }

    /// @inheritdoc IDoctors
    function possessionMessage(address account, uint256[2] calldata blsG1, uint256[4] calldata blsG2)
        public
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(block.chainid, address(this), account, blsG1, blsG2));
    }

    /// @notice The EIP-712 digest that an attester signs.
    function credentialDigest(address account, bytes32 specialty, uint64 validUntil) public view returns (bytes32) {
        return TypedData.digest(keccak256(bytes(NAME)), _credentialHash(account, specialty, validUntil));
    }

    // ---------------------------------------------------------------------------------------------------- inside

    function _active() private view returns (Doctor storage d) {
        d = _doctors[msg.sender];
        if (d.state != DoctorState.Active) revert NotRegistered();
    }

    /// @dev Checks a credential of the caller and takes it into use.
    function _admit(Doctor storage d, bytes32 specialty, Credential calldata c) private {
        if (specialty == 0) revert BadSpecialties();
        if (!isAttester[c.attester]) revert UnknownAttester(c.attester);
        if (c.validUntil < block.timestamp) revert CredentialExpired(c.validUntil);
        if (isRevoked[c.attester][_credentialHash(msg.sender, specialty, c.validUntil)]) revert CredentialRevoked();
        bytes32 digest = credentialDigest(msg.sender, specialty, c.validUntil);
        if (!TypedData.isSignedBy(digest, c.signature, c.attester)) revert CredentialForged();

        Place storage place = _places[specialty][msg.sender];
        if (place.leafPlusOne == 0) place.leafPlusOne = _trees[specialty].grow(msg.sender) + 1;
        if (!_has(d, specialty)) d.specialties.push(specialty);
        place.attester = c.attester;
        place.validUntil = c.validUntil;
        _weigh(msg.sender, specialty);
        emit Admitted(msg.sender, specialty, c.attester, c.validUntil);
    }

    function _has(Doctor storage d, bytes32 specialty) private view returns (bool) {
        for (uint256 i; i < d.specialties.length; ++i) {
            if (d.specialties[i] == specialty) return true;
        }
        return false;
    }

    function _record(Doctor storage d, bytes calldata record) private {
        if (record.length > MAX_RECORD) revert RecordTooLong(record.length);
        d.record = record;
        emit RecordChanged(msg.sender, record);
    }

    function _setResting(address account, Doctor storage d, bool resting) private {
        d.resting = resting;
        _weighAll(account, d);
        emit Resting(account, resting);
    }

    function _weighAll(address account, Doctor storage d) private {
        for (uint256 i; i < d.specialties.length; ++i) {
            _weigh(account, d.specialties[i]);
        }
    }

    /// @dev Puts a doctor's leaf where it belongs: weight reputation + 1 in the pool of its standing, or none.
    function _weigh(address account, bytes32 specialty) private {
        Place storage place = _places[specialty][account];
        if (place.leafPlusOne == 0) return;
        Trees storage trees = _trees[specialty];
        uint32 leaf = place.leafPlusOne - 1;
        if (!isUsable(account, specialty)) {
            trees.set(place.pool, leaf, 0);
            return;
        }
        (uint16 reputation, uint32 scored) = REPUTATION.standing(account, specialty);
        uint8 pool = Bands.poolOf(reputation, scored);
        if (pool != place.pool) {
            trees.set(place.pool, leaf, 0);
            place.pool = pool;
        }
        trees.set(pool, leaf, Forest.one(uint256(reputation) + 1));
    }

    function _credentialHash(address account, bytes32 specialty, uint64 validUntil) private pure returns (bytes32) {
        return keccak256(abi.encode(CREDENTIAL_TYPE, account, specialty, validUntil));
    }
}
