// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Credits} from "./base/Credits.sol";
import {IModels} from "./interfaces/IModels.sol";
import {TypedData} from "./libraries/TypedData.sol";
import {NetworkView, Purchase, PurchaseState, Quote, Receipt} from "./types/ModelTypes.sol";
import {Terms} from "./types/Terms.sol";

/// @title Networks, and the escrow of blind inference
/// @notice The receipt both opens the case and releases the escrow. A model could release without serving, and a patient
///         could keep a receipt back: neither can be seen on chain. The contract sides with the model, which is known,
///         rated and loses its trade, and not with the patient, whose account is fresh in every case. `Cases.open`
///         releases as well, so a patient who uses a receipt has paid for it.
/// @dev A network's hash should bind its owner's address, so that nobody can register it first.
contract Models is IModels, Credits {
    // ------------------------------------------------------------------------------------------------ parameters

    /// @notice EIP-712 name of this contract's domain; the version is "1".
    string public constant NAME = "CrypDoc Models";

    /// @notice EIP-712 types of a quote and of a receipt.
    bytes32 public constant QUOTE_TYPE = keccak256(
        "Quote(bytes32 network,address model,uint256 caseId,address patient,uint96 price,address dealer,uint96 dealerFee,uint64 validUntil)"
    );
    bytes32 public constant RECEIPT_TYPE =
        keccak256("Receipt(uint256 caseId,bytes32 network,uint8 bucket,uint64 validUntil)");

    /// @notice Most bytes of a record and of a card.
    uint256 public constant MAX_RECORD = 512;
    uint256 public constant MAX_CARD = 1024;

    /// @notice Longest life of a quote, so that escrow never stays for ever.
    uint256 public constant MAX_QUOTE_LIFE = 30 days;

    /// @inheritdoc IModels
    address public immutable CASES;

    /// @notice Seconds after a quote's end before the patient can take escrow back.
    uint32 public immutable GRACE_SECONDS;

    /// @inheritdoc IModels
    bytes32 public immutable TERMS_HASH;

    // ----------------------------------------------------------------------------------------------------- state

    /// @dev Networks by hash.
    mapping(bytes32 id => NetworkView) private _networks;

    /// @dev Networks ever registered, by specialty.
    mapping(bytes32 specialty => bytes32[]) private _bySpecialty;

    /// @dev Purchases by case and network; one each.
    mapping(uint256 caseId => mapping(bytes32 network => Purchase)) private _purchases;

    /// @dev Bucket of the accepted receipt, plus one; 0 = none yet.
    mapping(uint256 caseId => mapping(bytes32 network => uint8)) private _bucketPlusOne;

    /// @dev Sum of the escrow held.
    uint256 private _held;

    // ---------------------------------------------------------------------------------------------------- making

    /// @param terms The deployment's parameters.
    /// @param cases Address at which `Cases` will be made; `Cases` checks it.
    constructor(Terms memory terms, address cases) {
        CASES = cases;
        GRACE_SECONDS = terms.graceSeconds;
        TERMS_HASH = keccak256(abi.encode(terms));
    }

    // --------------------------------------------------------------------------------------------------- actions

    /// @inheritdoc IModels
    function register(bytes32 id, bytes32 specialty, uint96 price, bytes calldata record, string calldata card)
        external
    {
        NetworkView storage n = _networks[id];
        if (id == 0) revert UnknownNetwork(id);
        if (n.owner != address(0) && n.owner != msg.sender) revert NetworkTaken(id);
        if (record.length > MAX_RECORD) revert RecordTooLong(record.length);
        if (bytes(card).length > MAX_CARD) revert RecordTooLong(bytes(card).length);
        if (specialty == 0) revert BadSpecialty();
        if (n.owner == address(0)) {
            n.owner = msg.sender;
            n.specialty = specialty;
            _bySpecialty[specialty].push(id);
        } else if (n.specialty != specialty) {
            revert BadSpecialty();
        }
        n.active = true;
        n.price = price;
        n.record = record;
        n.card = card;
        emit NetworkRegistered(id, specialty, msg.sender, price);
    }

    /// @inheritdoc IModels
    function unregister(bytes32 id) external {
        NetworkView storage n = _networks[id];
        if (n.owner != msg.sender) revert NotOwner(id);
        if (!n.active) revert UnknownNetwork(id);
        n.active = false;
        emit NetworkUnregistered(id);
    }

    /// @inheritdoc IModels
    function purchase(Quote calldata q, bytes calldata signature) external payable {
        NetworkView storage n = _networks[q.network];
        uint256 wanted = uint256(q.price) + q.dealerFee;
        if (!n.active) revert UnknownNetwork(q.network);
        if (q.model != n.owner) revert WrongModel(q.model);
        if (q.dealer == address(0) && q.dealerFee != 0) revert WrongDealer();
        if (q.patient != msg.sender) revert NotPatient();
        if (q.validUntil < block.timestamp) revert QuoteExpired(q.validUntil);
        if (q.validUntil > block.timestamp + MAX_QUOTE_LIFE) revert QuoteTooLong(q.validUntil);
        if (!TypedData.isSignedBy(quoteDigest(q), signature, n.owner)) revert QuoteForged();
        if (msg.value != wanted) revert WrongPayment(msg.value, wanted);
        Purchase storage p = _purchases[q.caseId][q.network];
        if (p.state != PurchaseState.None) revert AlreadyPurchased();

        p.patient = q.patient;
        p.price = q.price;
        p.dealer = q.dealer;
        p.dealerFee = q.dealerFee;
        p.model = n.owner;
        p.reclaimableFrom = q.validUntil + GRACE_SECONDS;
        p.state = PurchaseState.Held;
        _held += wanted;
        emit Purchased(q.caseId, q.network, q.patient, wanted);
    }

    /// @inheritdoc IModels
    function release(Receipt calldata r, bytes calldata signature) external {
        if (_purchases[r.caseId][r.network].state != PurchaseState.Held) revert NothingHeld();
        _accept(r, signature);
        _release(r.caseId, r.network);
    }

    /// @inheritdoc IModels
    function reclaim(uint256 caseId, bytes32 id) external {
        Purchase storage p = _purchases[caseId][id];
        if (p.state != PurchaseState.Held) revert NothingHeld();
        if (block.timestamp < p.reclaimableFrom) revert TooEarly(p.reclaimableFrom);
        p.state = PurchaseState.Reclaimed;
        uint256 amount = uint256(p.price) + p.dealerFee;
        _held -= amount;
        _credit(caseId, p.patient, amount);
        emit Reclaimed(caseId, id);
    }

    // ------------------------------------------------------------------------------------ calls between contracts

    /// @inheritdoc IModels
    function accept(Receipt calldata r, bytes calldata signature, bytes32 specialty) external {
        if (msg.sender != CASES) revert OnlyCases();
        if (_networks[r.network].specialty != specialty) revert BadSpecialty();
        if (r.validUntil < block.timestamp) revert ReceiptExpired(r.validUntil);
        _accept(r, signature);
        if (_purchases[r.caseId][r.network].state == PurchaseState.Held) _release(r.caseId, r.network);
    }

    // ----------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IModels
    function network(bytes32 id) external view returns (NetworkView memory) {
        return _networks[id];
    }

    /// @inheritdoc IModels
    function ownerOf(bytes32 id) external view returns (address) {
        return _networks[id].owner;
    }

    /// @inheritdoc IModels
    function networksOf(bytes32 specialty) external view returns (uint256) {
        return _bySpecialty[specialty].length;
    }

    /// @inheritdoc IModels
    function networksPage(bytes32 specialty, uint256 from, uint256 count)
        external
        view
        returns (bytes32[] memory page)
    {
        bytes32[] storage all = _bySpecialty[specialty];
        uint256 left = from < all.length ? all.length - from : 0;
        page = new bytes32[](count < left ? count : left);
        for (uint256 i; i < page.length; ++i) {
            page[i] = all[from + i];
        }
    }

    /// @inheritdoc IModels
    function purchaseOf(uint256 caseId, bytes32 id) external view returns (Purchase memory) {
        return _purchases[caseId][id];
    }

    /// @inheritdoc IModels
    function bucketOf(uint256 caseId, bytes32 id) external view returns (bool accepted, uint8 bucket) {
        uint8 plusOne = _bucketPlusOne[caseId][id];
        return plusOne == 0 ? (false, 0) : (true, plusOne - 1);
    }

    /// @inheritdoc IModels
    function quoteDigest(Quote calldata q) public view returns (bytes32) {
        return TypedData.digest(keccak256(bytes(NAME)), keccak256(abi.encode(QUOTE_TYPE, q)));
    }

    /// @inheritdoc IModels
    function receiptDigest(Receipt calldata r) public view returns (bytes32) {
        return TypedData.digest(keccak256(bytes(NAME)), keccak256(abi.encode(RECEIPT_TYPE, r)));
    }

    /// @inheritdoc IModels
    function books() external view returns (uint256 held, uint256 credits) {
        return (_held, _totalCredits);
    }

    // ---------------------------------------------------------------------------------------------------- inside

    /// @dev Checks the owner's signature; the first receipt accepted fixes the bucket, so a model cannot sign two.
    function _accept(Receipt calldata r, bytes calldata signature) private {
        if (r.bucket > 3) revert BadBucket(r.bucket);
        if (!TypedData.isSignedBy(receiptDigest(r), signature, _networks[r.network].owner)) revert ReceiptForged();
        uint8 plusOne = _bucketPlusOne[r.caseId][r.network];
        if (plusOne == r.bucket + 1) return;
        if (plusOne != 0) revert ReceiptConflict(plusOne - 1);
        _bucketPlusOne[r.caseId][r.network] = r.bucket + 1;
        emit ReceiptAccepted(r.caseId, r.network, r.bucket);
    }

    function _release(uint256 caseId, bytes32 id) private {
        Purchase storage p = _purchases[caseId][id];
        p.state = PurchaseState.Released;
        _held -= uint256(p.price) + p.dealerFee;
        _credit(caseId, p.model, p.price);
        _credit(caseId, p.dealer, p.dealerFee);
        emit Released(caseId, id);
    }
}
