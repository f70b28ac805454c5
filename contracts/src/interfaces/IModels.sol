// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {NetworkView, Purchase, Quote, Receipt} from "../types/ModelTypes.sol";

/// @title Networks, and the escrow of blind inference
/// @notice A patient pays a signed quote into escrow; the receipt that the model signs after blind inference releases it.
/// @dev Everybody learns the network, its owner, the prices and the bucket; nobody learns scan or diagnosis.
interface IModels {
    /// @notice A network was registered or its price, record or card changed.
    event NetworkRegistered(bytes32 indexed network, bytes32 indexed specialty, address indexed owner, uint96 price);
    /// @notice A network was withdrawn by its owner.
    event NetworkUnregistered(bytes32 indexed network);
    /// @notice A quote was paid into escrow.
    event Purchased(uint256 indexed caseId, bytes32 indexed network, address indexed patient, uint256 amount);
    /// @notice A receipt was accepted for the first time.
    event ReceiptAccepted(uint256 indexed caseId, bytes32 indexed network, uint8 bucket);
    /// @notice Escrow went to model and dealer.
    event Released(uint256 indexed caseId, bytes32 indexed network);
    /// @notice Escrow went back to the patient.
    event Reclaimed(uint256 indexed caseId, bytes32 indexed network);

    /// @notice The caller is not `Cases`.
    error OnlyCases();
    /// @notice The network belongs to somebody else.
    error NetworkTaken(bytes32 network);
    /// @notice The caller does not own the network.
    error NotOwner(bytes32 network);
    /// @notice The network is not registered, or was withdrawn.
    error UnknownNetwork(bytes32 network);
    /// @notice The record is longer than 512 bytes or the card than 1024.
    error RecordTooLong(uint256 length);
    /// @notice The specialty is zero, or not the one with which the network was registered.
    error BadSpecialty();
    /// @notice Only the patient named in the quote can buy it.
    error NotPatient();
    /// @notice The quote names another model than the network's owner.
    error WrongModel(address model);
    /// @notice The quote has a dealer fee and no dealer.
    error WrongDealer();
    /// @notice The quote's time is over.
    error QuoteExpired(uint64 validUntil);
    /// @notice The quote lives longer than 30 days.
    error QuoteTooLong(uint64 validUntil);
    /// @notice The quote is not signed by the network's owner.
    error QuoteForged();
    /// @notice The value sent is not price plus dealer fee.
    error WrongPayment(uint256 sent, uint256 wanted);
    /// @notice This case already bought this network.
    error AlreadyPurchased();
    /// @notice No escrow is held for this case and network.
    error NothingHeld();
    /// @notice The receipt is not signed by the network's owner.
    error ReceiptForged();
    /// @notice The receipt's time is over.
    error ReceiptExpired(uint64 validUntil);
    /// @notice The bucket is none of 0..3.
    error BadBucket(uint8 bucket);
    /// @notice A receipt with another bucket was accepted before.
    error ReceiptConflict(uint8 accepted);
    /// @notice Too early to take the escrow back.
    error TooEarly(uint64 reclaimableFrom);

    /// @notice Registers a network for the caller, or changes price, record and card of one the caller owns.
    function register(bytes32 network, bytes32 specialty, uint96 price, bytes calldata record, string calldata card)
        external;

    /// @notice Withdraws a network: no purchase from here on. Held escrow is not touched, and receipts still open cases,
    ///         as their patients have paid for them.
    function unregister(bytes32 network) external;

    /// @notice Pays a quote into escrow. Value: price plus dealer fee.
    function purchase(Quote calldata quote, bytes calldata signature) external payable;

    /// @notice Credits model and dealer. Anyone may call who holds the model's receipt.
    function release(Receipt calldata receipt, bytes calldata signature) external;

    /// @notice Credits the patient with escrow that was not released in time. Anyone may call.
    function reclaim(uint256 caseId, bytes32 network) external;

    /// @notice Checks a receipt and fixes its bucket for the case; releases held escrow. Only `Cases`.
    function accept(Receipt calldata receipt, bytes calldata signature, bytes32 specialty) external;

    /// @notice A network, registered or withdrawn.
    function network(bytes32 id) external view returns (NetworkView memory);

    /// @notice The owner of a network, 0 if it was never registered.
    function ownerOf(bytes32 id) external view returns (address);

    /// @notice How many networks a specialty ever had, and a page of them.
    function networksOf(bytes32 specialty) external view returns (uint256);
    function networksPage(bytes32 specialty, uint256 from, uint256 count) external view returns (bytes32[] memory);

    /// @notice A purchase.
    function purchaseOf(uint256 caseId, bytes32 network) external view returns (Purchase memory);

    /// @notice The bucket accepted for a case and network.
    function bucketOf(uint256 caseId, bytes32 network) external view returns (bool accepted, uint8 bucket);

    /// @notice EIP-712 digests to sign.
    function quoteDigest(Quote calldata quote) external view returns (bytes32);
    function receiptDigest(Receipt calldata receipt) external view returns (bytes32);

    /// @notice Held escrow and unpaid credits; their sum is the contract's balance.
    function books() external view returns (uint256 held, uint256 credits);

    /// @notice Hash of the deployment's terms; equal in all contracts.
    function TERMS_HASH() external view returns (bytes32);

    /// @notice The one contract that may call `accept`.
    function CASES() external view returns (address);
}
