"""The data market: consent, listing, buying, splitting."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from eth_utils.crypto import keccak

from tests.contracts.evm import refused
from tests.contracts.world import GWEI, SPECIALTY, Actor, CaseHandle, World

RECORD = keccak(text="record")
PRICE = 100 * GWEI
TEXT = keccak(text="I agree that ...")


class Sale(NamedTuple):
    """A settled case with consent."""

    world: World
    case: CaseHandle
    panel: list[Actor]
    consent: tuple[bytes, int, int]

    def list(self, who: Actor | None = None, **changes: object) -> None:
        given = {"record": RECORD, "price": PRICE, "consent": self.consent} | changes
        self.world.send(who or self.case.account, self.world.market, "list", self.case.id, *given.values())

    def buy(self, who: Actor, value: int = PRICE) -> None:
        self.world.send(who, self.world.market, "buy", [self.case.id], value=value)


def sale(world: World, codes: list[int], name: str = "case", until: int = 0) -> Sale:
    case = world.prepare(name, panel_size=len(codes))
    consent = (TEXT, 50 * GWEI, until)
    consent_hash = world.chain.view(world.market, "consentHashOf", case.account.address, consent)
    world.open(case, consentHash=consent_hash)
    return Sale(world, case, world.round(case, codes), consent)


@pytest.fixture
def record(world: World) -> Sale:
    return sale(world, [7, 7, 7])


@pytest.fixture
def researcher(world: World) -> Actor:
    return world.funded("researcher")


def test_a_listing_is_public(world: World, record: Sale) -> None:
    record.list()
    listing = world.chain.view(world.market, "listingOf", record.case.id)
    assert (listing.caseAccount, listing.price) == (record.case.account.address, PRICE)
    assert (listing.recordHash, listing.open) == (RECORD, True)
    assert world.view(record.case).specialty == SPECIALTY


def test_only_the_case_account_lists(world: World, record: Sale) -> None:
    for who in (world.stranger, record.panel[0], world.owner):
        with refused("NotCaseAccount"):
            record.list(who)


def test_the_terms_are_those_consented_to_at_opening(world: World, record: Sale) -> None:
    text, floor, until = record.consent
    for consent in ((keccak(text="x"), floor, until), (text, floor - 1, until), (text, floor, until + 1)):
        with refused("NoConsent"):
            record.list(consent=consent)
    with refused("PriceTooLow", floor - 1, floor):
        record.list(price=floor - 1)
    with refused("EmptyRecord"):
        record.list(record=b"\0" * 32)
    record.list(price=floor)


def test_consent_is_bound_to_the_account_and_market(world: World) -> None:
    """Another account's hash, copied into an opening, lists nothing."""
    consent = (TEXT, 50 * GWEI, 0)
    other = world.funded("other")
    copied = world.chain.view(world.market, "consentHashOf", other.address, consent)
    case = world.open_case(panel_size=3, consentHash=copied)
    world.round(case, [7, 7, 7])
    with refused("NoConsent"):
        world.send(case.account, world.market, "list", case.id, RECORD, PRICE, consent)


def test_without_consent_nothing_is_listed(world: World) -> None:
    case = world.open_case(panel_size=3)
    world.round(case, [7, 7, 7])
    with refused("NoConsent"):
        world.send(case.account, world.market, "list", case.id, RECORD, PRICE, (TEXT, 0, 0))
    with refused("NoConsent"):
        world.send(case.account, world.market, "list", case.id, RECORD, PRICE, (b"\0" * 32, 0, 0))


def test_only_settled_verdicts_are_listed(world: World) -> None:
    hung = sale(world, [1, 2, 3], "hung")
    with refused("NotSettled"):
        hung.list()
    undecided = sale(world, [0, 0, 0], "insufficient")
    with refused("NotSettled"):
        undecided.list()


def test_consent_ends(world: World, researcher: Actor) -> None:
    s = sale(world, [7, 7, 7], until=world.chain.time + 10_000)
    s.list()
    s.buy(researcher)
    world.chain.mine(1, 10_000)
    with refused("ConsentOver"):
        s.buy(world.stranger)
    with refused("ConsentOver"):
        s.list()
    assert world.chain.view(world.market, "hasAccess", researcher.address, s.case.id)


def test_the_record_never_changes_but_its_price_may(world: World, record: Sale, researcher: Actor) -> None:
    record.list()
    with refused("RecordFixed", RECORD):
        record.list(record=keccak(text="other"))
    record.list(price=PRICE + 1)
    with refused("WrongPayment", PRICE, PRICE + 1):
        record.buy(researcher)
    record.buy(researcher, PRICE + 1)


def test_a_delisted_record_is_not_sold(world: World, record: Sale, researcher: Actor) -> None:
    with refused("NotListed", record.case.id):
        world.send(record.case.account, world.market, "delist", record.case.id)
    record.list()
    record.buy(researcher)
    with refused("NotCaseAccount"):
        world.send(world.stranger, world.market, "delist", record.case.id)
    world.send(record.case.account, world.market, "delist", record.case.id)
    with refused("NotListed"):
        record.buy(world.stranger)
    assert world.chain.view(world.market, "hasAccess", researcher.address, record.case.id)
    record.list()
    record.buy(world.stranger)


@pytest.mark.parametrize("price", [50 * GWEI, 100 * GWEI + 1, 99_999_999_999, 50 * GWEI + 7])
def test_the_price_is_split_to_the_last_wei(world: World, researcher: Actor, price: int) -> None:
    s = sale(world, [7, 7, 7, 9, 7])
    s.list(price=price)
    s.buy(researcher, price)
    each, owner = price * 3_000 // 10_000 // 4, price * 2_000 // 10_000
    market = world.market
    assert [world.credit(d, market) for d in s.panel] == [each, each, each, 0, each]
    assert world.credit(world.owner, market) == owner
    assert world.credit(s.case.account, market) == price - owner - 4 * each
    assert world.chain.view(market, "books") == price == world.chain.balance(market.address)


def test_a_record_is_bought_once_for_its_price(world: World, record: Sale, researcher: Actor) -> None:
    with refused("NotListed", record.case.id):
        record.buy(researcher)
    record.list()
    for value in (0, PRICE - 1, PRICE + 1):
        with refused("WrongPayment", value, PRICE):
            record.buy(researcher, value)
    assert not world.chain.view(world.market, "hasAccess", researcher.address, record.case.id)
    record.buy(researcher)
    assert world.chain.view(world.market, "hasAccess", researcher.address, record.case.id)
    assert not world.chain.view(world.market, "hasAccess", world.stranger.address, record.case.id)
    with refused("AlreadyBought", record.case.id):
        record.buy(researcher)


def test_batches_are_bounded_and_all_or_nothing(world: World, record: Sale, researcher: Actor) -> None:
    record.list()
    second = sale(world, [5, 5, 5], "second")
    second.list(price=PRICE // 2)
    ids = [record.case.id, second.case.id]
    for batch in ([], [1] * 17):
        with refused("BadBatch", len(batch)):
            world.send(researcher, world.market, "buy", batch)
    with refused("AlreadyBought"):
        world.send(researcher, world.market, "buy", [ids[0]] * 2, value=2 * PRICE)
    with refused("NotListed"):
        world.send(researcher, world.market, "buy", [*ids, 99], value=PRICE * 3 // 2)
    bought = world.send(researcher, world.market, "buy", ids, value=PRICE * 3 // 2).all("Bought")
    assert [e.values["caseId"] for e in bought] == ids


def test_shares_are_withdrawn(world: World, record: Sale, researcher: Actor) -> None:
    record.list()
    record.buy(researcher)
    for who in (record.case.account, world.owner, *record.panel):
        owed, before = world.credit(who, world.market), world.chain.balance(who.address)
        world.send(who, world.market, "withdraw")
        assert world.chain.balance(who.address) - before == owed > 0
    assert world.chain.balance(world.market.address) == 0
