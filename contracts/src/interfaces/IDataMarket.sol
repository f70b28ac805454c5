// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The data market
/// @notice Bare metadata records of settled cases, listed by the patient's case account with the consent given at opening;
///         what researchers pay is split among case account, agreeing doctors and the network's owner.
/// @dev The chain holds the record's hash. Everybody learns who bought access to which case.
interface IDataMarket {
    /// @notice What a patient consented to when opening the case.
    /// @param text keccak256 of the consent text that the patient read.
    /// @param floorPrice Lowest price in wei at which the record may be listed.
    /// @param until Unix second after which it can no longer be listed or bought; 0 = no end.
    struct Consent {
        bytes32 text;
        uint96 floorPrice;
        uint64 until;
    }

    /// @notice A listed record.
    struct Listing {
        address caseAccount; // who listed it and has the patient's share
        uint96 price; // wei a buyer
        bytes32 recordHash; // keccak256 of the canonical record
        uint64 until; // end of the consent, 0 = none
        bool open; // false after `delist`
    }

    event Listed(uint256 indexed caseId, bytes32 indexed specialty, bytes32 recordHash, uint256 price);
    event Delisted(uint256 indexed caseId);
    event Bought(uint256 indexed caseId, address indexed buyer, uint256 price);

    /// @notice Only the case account may do this.
    error NotCaseAccount();
    /// @notice The case is not settled with a verdict.
    error NotSettled();
    /// @notice No consent was given at opening, or to other terms.
    error NoConsent();
    /// @notice The consent's time is over.
    error ConsentOver(uint64 until);
    /// @notice The price is below the consent's floor.
    error PriceTooLow(uint256 price, uint256 floor);
    /// @notice The record hash is zero.
    error EmptyRecord();
    /// @notice The case was listed with another record: what buyers paid for does not change.
    error RecordFixed(bytes32 recordHash);
    /// @notice The case is not listed.
    error NotListed(uint256 caseId);
    /// @notice The buyer has this record already.
    error AlreadyBought(uint256 caseId);
    /// @notice The value sent is not the sum of the prices.
    error WrongPayment(uint256 sent, uint256 wanted);
    /// @notice None, or more than `MAX_BATCH`, at once.
    error BadBatch(uint256 count);

    /// @notice Lists a record, changes its price, or lists it again. Its hash never changes.
    function list(uint256 caseId, bytes32 recordHash, uint96 price, Consent calldata consent) external;

    /// @notice Takes a record off the market; who bought keeps access.
    function delist(uint256 caseId) external;

    /// @notice Buys records for the caller. Value: the sum of the prices.
    function buy(uint256[] calldata caseIds) external payable;

    /// @notice Whether a buyer paid for a record.
    function hasAccess(address buyer, uint256 caseId) external view returns (bool);

    /// @notice A listing.
    function listingOf(uint256 caseId) external view returns (Listing memory);

    /// @notice The hash to give as `consentHash` when opening a case.
    function consentHashOf(address caseAccount, Consent calldata consent) external view returns (bytes32);

    /// @notice Unpaid credits; equal to the contract's balance.
    function books() external view returns (uint256 credits);
}
