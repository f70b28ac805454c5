"""What a model and a dealer take for paid, and what a suite's owner serves for it."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.dealer.dealing import Hands
from agents.dealer.duty import DealerDuty
from agents.dealer.register import Register
from agents.engine import dealing
from agents.engine.core import Core
from agents.engine.duty import Duty
from agents.engine.store import Pending, Store
from agents.keyring import Keyring
from agents.model import duty as model_duty
from agents.model import suite
from agents.model.suite import Serving, SuiteDuty
from agents.wire.channel import Channel
from contracts.bindings.models import Purchase, PurchaseState
from models.segmentation.plan import make_plan
from protocols.case import model
from protocols.case.volume import MAX_DEALT, suite_identity
from protocols.effects import Effect
from protocols.errors import ProtocolError, WireError
from tests.agents.engine.blind_pairs import pair
from tests.agents.segmentation.chests import write_suite
from tests.protocols.blind.blind_samples import tiny
from tests.protocols.case.samples import (
    ACCOUNT,
    CASE_ID,
    DEALER,
    ME,
    MODEL,
    NOW,
    OTHER,
    dealer_case,
    model_case,
)

PAID = Purchase(ACCOUNT, 10**15, DEALER, 10**14, MODEL, int(NOW) + 7200, PurchaseState.HELD)
NETWORK = b"n" * 32


def duty_of(kind: Any, address: str, cases: dict[str, Any], purchase: Purchase) -> Any:
    """A duty without wire and chain: the purchase is what the chain says."""

    async def ask(what: Any) -> Purchase:
        assert what == (CASE_ID, NETWORK)
        return purchase

    duty: Any = kind.__new__(kind)
    duty.now_chain = int(NOW)
    duty.store, duty.address, duty.ask = Store(None), address, ask
    duty.core = SimpleNamespace(state=cases.get)
    models = SimpleNamespace(purchase_of=lambda case_id, network: (case_id, network))
    duty.contracts = SimpleNamespace(models=models)
    return duty


async def paid(duty: Duty[Any], key: str) -> bool:
    body = {"case_id": CASE_ID, "network": NETWORK, "session": "s1", "account": ACCOUNT}
    pending = Pending(Effect("e", "check_purchase", body), key, 0, 0.0, None, "")
    return bool((await duty.do_check_purchase(pending)).body["paid"])  # type: ignore[attr-defined]


# ---- what is paid
@pytest.mark.parametrize(
    ("change", "held"),
    [
        ({}, True),
        ({"state": PurchaseState.RELEASED}, True),
        ({"state": PurchaseState.NONE}, False),
        ({"state": PurchaseState.RECLAIMED}, False),
        ({"model": OTHER}, False),
        ({"patient": OTHER}, False),
        ({"price": 10**15 - 1}, False),
        ({"dealer_fee": 0}, False),
        ({"dealer": OTHER}, False),
    ],
)
async def test_a_model_takes_its_own_quote_of_that_account_alone(change: dict[str, Any], held: bool) -> None:
    cases = {"c": model_case("checking")}
    duty = duty_of(model_duty.ModelDuty, MODEL, cases, replace(PAID, **change))
    assert await paid(duty, "c") is held


async def test_one_purchase_is_served_to_one_wallet() -> None:
    """Else each wallet that the account speaks for had its own count of batches."""
    cases = {"c": model_case("checking"), "d": model_case("checking", patient=OTHER)}
    duty = duty_of(model_duty.ModelDuty, MODEL, cases, PAID)
    assert [await paid(duty, key) for key in "ccdc"] == [True, True, False, True]


async def test_a_purchase_that_is_not_paid_is_nobodys() -> None:
    cases = {"c": model_case("checking"), "d": model_case("checking", patient=OTHER)}
    duty = duty_of(model_duty.ModelDuty, MODEL, cases, replace(PAID, patient=OTHER))
    assert not await paid(duty, "c")
    assert duty._claim(CASE_ID, NETWORK, OTHER)


@pytest.mark.parametrize(
    ("change", "held"), [({}, True), ({"model": OTHER}, False), ({"dealer": OTHER}, False)]
)
async def test_a_dealer_deals_for_the_model_that_was_paid(change: dict[str, Any], held: bool) -> None:
    duty = duty_of(DealerDuty, DEALER, {"c": dealer_case()}, replace(PAID, **change))
    assert await paid(duty, "c") is held


# ---- the suite's owner
@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_suite(tmp_path_factory.mktemp("suite"))


@pytest.fixture
def owner(folder: Path) -> Any:
    """With a real log and machine, and a case of four batches that is hosted."""
    duty: Any = SuiteDuty.__new__(SuiteDuty)
    duty.load(str(folder))
    duty.most, duty.store = 64, Store(None)
    duty.core = Core(model.MACHINE, duty.store, MODEL)
    plan = make_plan(6, "z", batch=4)
    volume = {"plan": plan.to_plain(), "images": plan.images, "batches": 4}
    keep(duty, model_case("hosting", volume=volume))
    duty.told = []
    duty.tell = lambda *said, **more: duty.told.append(said)
    return duty


def keep(duty: Any, case: Any) -> None:
    from protocols.codec import pack

    duty.store.save_case(case.key, "model", case.phase, False, pack(case))


def body_of(duty: Any) -> dict[str, Any]:
    case = duty.core.state("c/p")
    return {"session": case.session, "dealer": DEALER, "patient": ME, "volume": case.volume}


class Patient:
    """The patient's lanes: it says some words, and is gone."""

    def __init__(self, *words: list[Any]) -> None:
        self.words, self.heard = list(words), []

    async def word(self, timeout: float) -> list[Any]:
        if not self.words:
            raise WireError("the peer is gone", "the session is tried again")
        return self.words.pop(0)

    async def say(self, *word: Any) -> None:
        self.heard.append(word)


def serving(owner: Any, *words: list[Any]) -> Serving:
    work: Any = Serving(owner, "c/p", body_of(owner), make_plan(6, "z", batch=4), None, Patient(*words))  # type: ignore[arg-type]
    owner.weights_of = lambda member, dealer: None

    async def batch(number: int, member: Any, weights: Any) -> int:
        return 10

    work._batch = batch
    return work


def host_with(owner: Any, *words: list[Any]) -> Any:
    async def serve(key: str, body: dict[str, Any]) -> int:
        return await serving(owner, *words).run()

    owner._serve = serve
    return owner.host("c/p", body_of(owner))


WORDS = [["batch", n, count] for n, count in enumerate((4, 2, 4, 2))]


async def test_a_patient_who_leaves_with_all_batches_is_a_patient_served(owner: Any) -> None:
    assert await host_with(owner, *WORDS) == (0, 0)
    assert "all batches were evaluated" in owner.told[-1][1]
    assert await host_with(owner) == (0, 0)  # after a death in between, too


@pytest.mark.parametrize("words", [WORDS[:3], [*WORDS[:3], WORDS[0]], []])
async def test_a_patient_who_lacks_a_batch_is_not(owner: Any, words: list[Any]) -> None:
    with pytest.raises(WireError):
        await host_with(owner, *words)


async def test_an_old_session_serves_nothing_more(owner: Any) -> None:
    old = serving(owner, *WORDS)
    keep(owner, replace(owner.core.state("c/p"), session="s2"))
    with pytest.raises(ProtocolError, match="another session"):
        await old.run()
    assert owner.core.state("c/p").served == 0


async def test_a_batch_that_breaks_was_counted(owner: Any) -> None:
    """So a patient who cuts every batch at its end has no more of them than it paid for."""
    work: Any = serving(owner, *([WORDS[0]] * 20))
    begun = 0

    async def cut(number: int, member: Any, weights: Any) -> int:
        nonlocal begun
        begun += 1
        raise WireError("the patient left", "again")

    work._batch = cut
    for _ in range(20):
        with pytest.raises((WireError, ProtocolError)):
            await work.run()
    assert begun == owner.core.state("c/p").served == 8


async def test_a_session_that_is_begun_while_weights_are_made_gets_nothing(owner: Any) -> None:
    work = serving(owner, *WORDS)

    loop = asyncio.get_running_loop()

    def slow(member: Any, dealer: str) -> None:
        loop.call_soon_threadsafe(keep, owner, replace(model_case("hosting"), session="s2"))

    owner.weights_of = slow
    with pytest.raises(ProtocolError, match="another session"):
        await work.run()
    assert owner.core.state("c/p").done == b""


@pytest.mark.parametrize("name", [1 << 28, b"short", "t" * 32, None, [0] * 32])
async def test_a_tapes_name_is_32_bytes(owner: Any, name: Any) -> None:
    class Dealer:
        channel = SimpleNamespace()

        async def hear(self, wanted: str, length: int) -> list[Any]:
            return [wanted, name]

    async def send(frame: bytes) -> None:
        pass

    Dealer.channel.send = send
    owner.member_seed = lambda member, dealer: b"s" * 32
    work: Any = Serving(owner, "c/p", body_of(owner), make_plan(6, "z", batch=4), Dealer(), Patient())  # type: ignore[arg-type]
    with pytest.raises(ProtocolError, match="32 bytes"):
        await work._batch(0, owner.suite.of(work.plan, 0), None)


def test_sessions_with_several_dealers_get_their_own_weights(
    owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, most = 0, 0
    lock = threading.Lock()

    def make(network: Any, seed: bytes) -> bytes:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.002)
        with lock:
            at_work -= 1
        return seed

    monkeypatch.setattr(suite, "ModelWeights", make)
    owner.member_seed = lambda member, dealer: dealer.encode()
    member = owner.suite.networks["lung", "z"]
    faults: list[Any] = []

    def ask(dealer: str) -> None:
        for _ in range(20):
            try:
                found = owner.weights_of(member, dealer)
            except TypeError as error:
                found = error
            if found != dealer.encode():
                faults.append(found)

    threads = [threading.Thread(target=ask, args=(f"dealer {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert most == 1


def test_a_volume_without_images_is_refused(owner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a plan may say: images that are left out twice over made a number below nothing."""
    plan = make_plan(6, "z")
    monkeypatch.setattr(type(plan), "images", property(lambda self: -2))
    assert owner.wish({"volume": plan.to_plain(), "slots": 0})[0].startswith("a batch is")


# ---- the dealer of a suite
def dealer_of() -> Any:
    duty: Any = DealerDuty.__new__(DealerDuty)
    duty.hands = Hands(Keyring(b"\1" * 32), Register(Store(None)), lambda: NOW)
    patient, _ = pair()

    async def take(wallet: str, what: str, patience: float) -> Channel:
        return patient

    duty.switchboard = SimpleNamespace(take=take)
    return duty


async def deals(orders: list[dealing.Order]) -> Any:
    """What a dealer does with such orders of one session."""
    members = {("lung", "z"): NETWORK}
    mine, theirs = pair()
    work = dealer_of()._deal_suite(
        dealing.suite_order(members), bytes(32), theirs, ME, suite_identity(members)
    )
    running = asyncio.create_task(work)
    try:
        for order in orders:
            await mine.send(dealing.deal_order(order))
        return await asyncio.wait_for(running, 20)
    finally:
        running.cancel()


def test_the_most_that_is_dealt_covers_what_a_model_serves() -> None:
    assert MAX_DEALT >= 4096 + 1024 + 8 * suite.MOST_BATCH


async def test_a_tape_beyond_the_limit_is_not_dealt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.dealer.dealing.MOST_TAPE_BYTES", 1000)
    with pytest.raises(ProtocolError, match="bytes is too long"):
        await deals([dealing.Order(tiny().encode(), NETWORK, b"s" * 32, 1)])


async def test_a_session_ends_at_the_images_of_the_largest_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.dealer.duty.MAX_DEALT", 7)
    order = dealing.Order(tiny().encode(), NETWORK, b"s" * 32, 4)
    with pytest.raises(ProtocolError, match="not one that was paid for"):
        await deals([order, order])
