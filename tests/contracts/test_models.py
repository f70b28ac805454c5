"""Networks, quotes, escrow, receipts."""

from __future__ import annotations

import pytest
from eth_account.messages import _hash_eip191_message, encode_typed_data
from eth_utils.crypto import keccak

from protocols.crypto.eip712 import Receipt, models_domain, sign
from tests.contracts.evm import refused
from tests.contracts.world import FOREVER, GWEI, NETWORK, SPECIALTY, CaseHandle, World, actor

HELD, RELEASED, RECLAIMED = 1, 2, 3
OTHER = keccak(text="another network")
DAY = 24 * 3_600


@pytest.fixture
def case(world: World) -> CaseHandle:
    return world.prepare("case")


def buy(world: World, case: CaseHandle, **changes: object) -> None:
    quote, signature = world.quote(case, **changes)
    world.send(case.account, world.models, "purchase", quote, signature, value=quote[4] + quote[6])


def release(world: World, case: CaseHandle, **changes: object) -> None:
    receipt, signature = world.receipt(case, **changes)
    world.send(world.stranger, world.models, "release", receipt, signature)


def test_a_network_is_public_and_belongs_to_its_owner(world: World) -> None:
    seen = world.chain.view(world.models, "network", NETWORK)
    assert (seen.owner, seen.price, seen.active) == (world.owner.address, 3 * GWEI, True)
    assert (seen.specialty, seen.record, seen.card) == (SPECIALTY, b"record", "card")
    assert world.chain.view(world.models, "networksPage", SPECIALTY, 0, 9) == [NETWORK]
    assert world.chain.view(world.models, "networksPage", SPECIALTY, 1, 9) == []
    arguments = (NETWORK, SPECIALTY, 1, b"", "")
    with refused("NetworkTaken", NETWORK):
        world.send(world.stranger, world.models, "register", *arguments)
    with refused("NotOwner", NETWORK):
        world.send(world.stranger, world.models, "unregister", NETWORK)
    world.send(world.owner, world.models, "register", *arguments)
    assert world.chain.view(world.models, "network", NETWORK).price == 1
    assert world.chain.view(world.models, "networksOf", SPECIALTY) == 1, "listed once"


def test_registration_has_bounds(world: World) -> None:
    for error, arguments in (
        ("UnknownNetwork", (b"\0" * 32, SPECIALTY, 1, b"", "")),
        ("BadSpecialty", (OTHER, b"\0" * 32, 1, b"", "")),
        ("RecordTooLong", (OTHER, SPECIALTY, 1, b"x" * 513, "")),
        ("RecordTooLong", (OTHER, SPECIALTY, 1, b"", "x" * 1_025)),
        ("BadSpecialty", (NETWORK, keccak(text="chest"), 1, b"", "")),
    ):
        with refused(error):
            world.send(world.owner, world.models, "register", *arguments)
    world.send(world.owner, world.models, "register", OTHER, SPECIALTY, 1, b"x" * 512, "x" * 1_024)


def test_a_withdrawn_network_sells_no_more_until_it_is_back(world: World, case: CaseHandle) -> None:
    world.send(world.owner, world.models, "unregister", NETWORK)
    with refused("UnknownNetwork", NETWORK):
        buy(world, case)
    with refused("UnknownNetwork", NETWORK):
        world.send(world.owner, world.models, "unregister", NETWORK)
    with refused("NetworkTaken"):
        world.send(world.stranger, world.models, "register", NETWORK, SPECIALTY, 1, b"", "")
    world.send(world.owner, world.models, "register", NETWORK, SPECIALTY, 3 * GWEI, b"", "")
    buy(world, case)


def test_a_purchase_is_held(world: World, case: CaseHandle) -> None:
    buy(world, case)
    bought = world.chain.view(world.models, "purchaseOf", case.id, NETWORK)
    assert (bought.state, bought.patient, bought.price) == (HELD, case.account.address, 3 * GWEI)
    assert (bought.dealer, bought.dealerFee) == (world.dealer.address, GWEI)
    assert world.chain.view(world.models, "books") == (4 * GWEI, 0)
    with refused("AlreadyPurchased"):
        buy(world, case)


def test_quotes_are_checked(world: World, case: CaseHandle) -> None:
    now = world.chain.time
    for error, changes in (
        ("UnknownNetwork", {"network": OTHER}),
        ("WrongModel", {"model": world.stranger.address}),
        ("NotPatient", {"patient": world.stranger.address}),
        ("WrongDealer", {"dealer": "0x" + "00" * 20}),
        ("QuoteExpired", {"valid_until": now - 1}),
        ("QuoteTooLong", {"valid_until": now + 31 * DAY}),
        ("QuoteForged", {"key": world.stranger.key}),
    ):
        with refused(error):
            buy(world, case, **changes)
    quote, signature = world.quote(case)
    for wei in (0, 4 * GWEI - 1, 4 * GWEI + 1):
        with refused("WrongPayment", wei, 4 * GWEI):
            world.send(case.account, world.models, "purchase", quote, signature, value=wei)
    cheaper = (*quote[:4], 1, *quote[5:])
    with refused("QuoteForged"):
        world.send(case.account, world.models, "purchase", cheaper, signature, value=1 + GWEI)
    buy(world, case, dealer="0x" + "00" * 20, dealer_fee=0)


def test_the_digests_are_eip_712(world: World, case: CaseHandle) -> None:
    """What the contract hashes is what the owner signed: `purchase` and `release` accept nothing else."""
    domain = {
        "name": "CrypDoc Models",
        "version": "1",
        "chainId": 1,
        "verifyingContract": world.models.address,
    }
    fields = [("caseId", "uint256"), ("network", "bytes32"), ("bucket", "uint8"), ("validUntil", "uint64")]
    receipt, _ = world.receipt(case)
    typed = encode_typed_data(
        domain_data=domain,
        message_types={"Receipt": [{"name": n, "type": t} for n, t in fields]},
        message_data=dict(zip((n for n, _ in fields), receipt, strict=True)),
    )
    assert _hash_eip191_message(typed) == world.chain.view(world.models, "receiptDigest", receipt)


def test_the_receipt_releases_to_model_and_dealer_once(world: World, case: CaseHandle) -> None:
    with refused("NothingHeld"):
        release(world, case)
    buy(world, case)
    with refused("ReceiptForged"):
        release(world, case, key=world.stranger.key)
    with refused("BadBucket", 9):
        release(world, case, bucket=9)
    assert world.chain.view(world.models, "bucketOf", case.id, NETWORK) == (False, 0)
    release(world, case)
    assert world.chain.view(world.models, "bucketOf", case.id, NETWORK) == (True, 0)
    assert world.credit(world.owner, world.models) == 3 * GWEI
    assert world.credit(world.dealer, world.models) == GWEI
    assert world.chain.view(world.models, "purchaseOf", case.id, NETWORK).state == RELEASED
    with refused("NothingHeld"):
        release(world, case)
    before = world.chain.balance(world.dealer.address)
    world.send(world.dealer, world.models, "withdraw")
    assert world.chain.balance(world.dealer.address) - before == GWEI


def test_a_model_cannot_take_its_bucket_back(world: World, case: CaseHandle) -> None:
    buy(world, case)
    release(world, case, bucket=2)
    with refused("ReceiptConflict", 2):
        world.open(case)
    world.open_case("case", bucket=2)


def test_what_was_not_released_in_time_goes_back(world: World, case: CaseHandle) -> None:
    buy(world, case)
    due = world.chain.view(world.models, "purchaseOf", case.id, NETWORK).reclaimableFrom
    assert due - world.chain.time > 3_600 + 500
    with refused("TooEarly", due):
        world.send(world.stranger, world.models, "reclaim", case.id, NETWORK)
    world.chain.mine(1, due - world.chain.time)
    world.send(world.stranger, world.models, "reclaim", case.id, NETWORK)
    assert world.chain.view(world.models, "purchaseOf", case.id, NETWORK).state == RECLAIMED
    assert world.credit(case.account, world.models) == 4 * GWEI
    with refused("NothingHeld"):
        world.send(world.stranger, world.models, "reclaim", case.id, NETWORK)
    with refused("NothingHeld"):
        release(world, case)
    with refused("AlreadyPurchased"):
        buy(world, case, valid_until=world.chain.time + 100)


def test_opening_releases_held_escrow_but_does_not_demand_it(world: World, case: CaseHandle) -> None:
    world.open(case)
    assert world.chain.view(world.models, "books") == (0, 0)
    other = world.prepare("other")
    buy(world, other)
    world.open(other)
    assert world.chain.view(world.models, "books") == (0, 4 * GWEI)


def test_only_cases_accepts_receipts(world: World, case: CaseHandle) -> None:
    receipt, signature = world.receipt(case)
    with refused("OnlyCases"):
        world.send(world.stranger, world.models, "accept", receipt, signature, SPECIALTY)


def test_a_receipt_holds_on_one_contract_alone(world: World, case: CaseHandle) -> None:
    """Signed for another verifying contract, it is a forgery here."""
    receipt = Receipt(case.id, NETWORK, 0, FOREVER)
    buy(world, case)
    for chain_id, contract in ((1, world.cases.address), (5, world.models.address)):
        signature = sign(world.owner.key, models_domain(chain_id, contract).digest(receipt))
        with refused("ReceiptForged"):
            world.send(actor("x"), world.models, "release", receipt.as_tuple(), signature)
