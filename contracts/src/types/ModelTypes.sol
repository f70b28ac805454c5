// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A network as registered.
/// @param owner Who registered it, signs quotes and receipts, and is paid. Stays for good.
/// @param price Asking price in wei for one blind inference; the binding price is the quote's.
/// @param active False after `unregister`.
/// @param specialty keccak256 of the specialty's name.
/// @param record Signed peer record of the model's agent, at most 512 bytes.
/// @param card Accuracy card, at most 1024 bytes.
struct NetworkView {
    address owner;
    uint96 price;
    bool active;
    bytes32 specialty;
    bytes record;
    string card;
}

/// @notice A model's offer for one blind inference, EIP-712 signed by the network's owner.
/// @param price Wei to the model.
/// @param dealerFee Wei to the dealer, on top of the price.
/// @param validUntil Unix second until which it can be bought.
struct Quote {
    bytes32 network;
    address model;
    uint256 caseId;
    address patient;
    uint96 price;
    address dealer;
    uint96 dealerFee;
    uint64 validUntil;
}

/// @notice A model's word on the confidence bucket that blind inference opened, EIP-712 signed by the network's owner.
/// @param bucket 0 unsure .. 3 very sure.
/// @param validUntil Unix second until which it can open a case.
struct Receipt {
    uint256 caseId;
    bytes32 network;
    uint8 bucket;
    uint64 validUntil;
}

/// @notice What became of a purchase.
enum PurchaseState {
    None,
    Held,
    Released,
    Reclaimed
}

/// @notice A paid quote as stored.
struct Purchase {
    address patient; // who paid, who gets it back
    uint96 price; // wei to the model
    address dealer; // who dealt the shares
    uint96 dealerFee; // wei to the dealer
    address model; // owner of the network when bought
    uint64 reclaimableFrom; // unix second from which the patient can take it back
    PurchaseState state; // what became of it
}
