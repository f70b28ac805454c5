// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Credits} from "./base/Credits.sol";
import {ICases} from "./interfaces/ICases.sol";
import {IDataMarket} from "./interfaces/IDataMarket.sol";
import {IModels} from "./interfaces/IModels.sol";
import {Phase} from "./types/CaseTypes.sol";

/// @title The data market
/// @notice Fixed shares: half to the case account, three tenths to the agreeing doctors in equal parts, a fifth to the
///         network's owner; what does not divide goes to the case account.
contract DataMarket is IDataMarket, Credits {
    // ------------------------------------------------------------------------------------------------ parameters

    /// @notice Shares of doctors and network's owner, in hundredths of a percent; the case account has the rest.
    uint256 public constant PANEL_BPS = 3_000;
    uint256 public constant MODEL_BPS = 2_000;

    /// @notice Most records bought at once.
    uint256 public constant MAX_BATCH = 16;

    /// @notice Whose verdicts are sold.
    ICases public immutable CASES;

    /// @notice Whose networks have a share.
    IModels public immutable MODELS;

    // ----------------------------------------------------------------------------------------------------- state

    /// @dev Listings by case.
    mapping(uint256 caseId => Listing) private _listings;

    /// @inheritdoc IDataMarket
    mapping(address buyer => mapping(uint256 caseId => bool)) public hasAccess;

    // ---------------------------------------------------------------------------------------------------- making

    /// @param cases Made before.
    constructor(ICases cases) {
        CASES = cases;
        MODELS = cases.MODELS();
    }

    // --------------------------------------------------------------------------------------------------- actions

    /// @inheritdoc IDataMarket
    function list(uint256 caseId, bytes32 recordHash, uint96 price, Consent calldata consent) external {
        (Phase phase, address account, uint8 result, bytes32 specialty,, bytes32 consentHash) = CASES.ledgerOf(caseId);
        if (account != msg.sender) revert NotCaseAccount();
        if (phase != Phase.Settled || result == 0) revert NotSettled();
        if (consentHash == 0 || consentHash != consentHashOf(account, consent)) revert NoConsent();
        _demandOpen(consent.until);
        if (price < consent.floorPrice) revert PriceTooLow(price, consent.floorPrice);
        if (recordHash == 0) revert EmptyRecord();
        bytes32 listed = _listings[caseId].recordHash;
        if (listed != 0 && listed != recordHash) revert RecordFixed(listed);
        _listings[caseId] = Listing(account, price, recordHash, consent.until, true);
        emit Listed(caseId, specialty, recordHash, price);
    }

    /// @inheritdoc IDataMarket
    function delist(uint256 caseId) external {
        Listing storage l = _listings[caseId];
        if (!l.open) revert NotListed(caseId);
        if (l.caseAccount != msg.sender) revert NotCaseAccount();
        l.open = false;
        emit Delisted(caseId);
    }

    /// @inheritdoc IDataMarket
    function buy(uint256[] calldata caseIds) external payable {
        if (caseIds.length == 0 || caseIds.length > MAX_BATCH) revert BadBatch(caseIds.length);
        uint256 wanted;
        for (uint256 i; i < caseIds.length; ++i) {
            wanted += _buy(caseIds[i]);
        }
        if (msg.value != wanted) revert WrongPayment(msg.value, wanted);
    }

    // ----------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IDataMarket
    function listingOf(uint256 caseId) external view returns (Listing memory) {
        return _listings[caseId];
    }

    /// @inheritdoc IDataMarket
    function consentHashOf(address caseAccount, Consent calldata consent) public view returns (bytes32) {
        return keccak256(abi.encode("CrypDoc consent v1", block.chainid, address(this), caseAccount, consent));
    }

    /// @inheritdoc IDataMarket
    function books() external view returns (uint256 credits) {
        return _totalCredits;
    }

    // ---------------------------------------------------------------------------------------------------- inside

    /// @dev Gives the caller access to one record, and splits its price.
    function _buy(uint256 caseId) private returns (uint256 price) {
        Listing storage l = _listings[caseId];
        if (!l.open) revert NotListed(caseId);
        _demandOpen(l.until);
        if (hasAccess[msg.sender][caseId]) revert AlreadyBought(caseId);
        hasAccess[msg.sender][caseId] = true;
        price = l.price;
        emit Bought(caseId, msg.sender, price);

        (,,,, bytes32 network,) = CASES.ledgerOf(caseId);
        address[] memory doctors = CASES.agreeingDoctors(caseId);
        uint256 each = price * PANEL_BPS / 10_000 / doctors.length;
        uint256 owners = price * MODEL_BPS / 10_000;
        for (uint256 i; i < doctors.length; ++i) {
            _credit(caseId, doctors[i], each);
        }
        _credit(caseId, MODELS.ownerOf(network), owners);
        _credit(caseId, l.caseAccount, price - owners - each * doctors.length);
    }

    function _demandOpen(uint64 until) private view {
        if (until != 0 && until < block.timestamp) revert ConsentOver(until);
    }
}
