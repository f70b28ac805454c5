"""Laying tapes in from a dealer over a channel: the honest one, liars of every kind, and the dealer's own limits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agents.dealer.dealing import Hands, tape_bytes
from agents.dealer.register import DAY, Limits, Register
from agents.engine import dealing
from agents.engine.store import Store
from agents.engine.used import use_tape
from agents.keyring import Keyring
from agents.model.stock import UNOPENED_MOST, Round, Trust, stock
from agents.model.tapes import Shelf, TapeStore
from protocols.blind.dealer import TapeSeeds
from protocols.blind.weights import Pads
from protocols.errors import DealerCheated, ProtocolError, WireError
from tests.agents.engine.blind_pairs import Frames, pair
from tests.protocols.blind.blind_samples import fill, tiny

NETWORK = fill(tiny(), 1)
TOP, NAME = NETWORK.topology, NETWORK.network_hash()
SEED = b"s" * 32
MODEL = "0x" + "11" * 20  # the peer that the channels of `blind_pairs` name
DEALER = "0x" + "22" * 20


class Scene:
    """A model's store and a dealer's hands. lie: what becomes of the dealer's frames."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.register = Register(Store(None), limits)
        self.now = 1000.0
        self.registered = True
        self.hands = Hands(Keyring(b"\1" * 32), self.register, lambda: self.now)
        self.tapes = TapeStore(folder / "tapes", 1 << 24)
        self.log = Store(None)
        self.trust = Trust(self.log)
        self.shelf = Shelf(DEALER, NAME, 2)
        self.lie: Frames = lambda number, frame: [frame]

    async def owns(self, wallet: str, network: bytes) -> bool:
        return self.registered and wallet == MODEL and network == NAME

    def work(self) -> Round:
        return Round(
            self.tapes,
            self.shelf,
            TOP,
            SEED,
            lambda: Pads(TOP, NAME, SEED),
            lambda came, due: None,
            self.trust,
        )

    async def round(self, kept: int = 4, checked: int = 2) -> int:
        at_model, at_dealer = pair()
        at_dealer.twist = self.lie

        async def serve() -> None:
            try:
                await self.hands.stock(at_dealer, self.owns)
            finally:
                await at_dealer.close()

        serving = asyncio.create_task(serve())
        try:
            return await stock(at_model, self.work(), kept, checked)
        finally:
            await at_model.close()
            await asyncio.gather(serving, return_exceptions=True)


def test_an_honest_round(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    assert asyncio.run(scene.round()) == 4
    names = scene.tapes.names(scene.shelf)
    assert len(names) == 4
    assert scene.register.counts() == {"dealt": 4, "opened": 2}
    assert not list((tmp_path / "tapes").rglob("*.part"))
    for name in names:  # the dealer finds the seeds again from its key alone, and gives each out once
        seeds = scene.hands.give(name, MODEL, NAME, 2)
        assert seeds.patient == scene.hands.seeds(name, MODEL, NAME, 2).patient
        with pytest.raises(ProtocolError, match="was used"):
            scene.hands.give(name, MODEL, NAME, 2)


def test_only_its_own_model_network_and_batch_get_a_tape(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    asyncio.run(scene.round())
    name = scene.tapes.names(scene.shelf)[0]
    for model, network, batch in ((DEALER, NAME, 2), (MODEL, bytes(32), 2), (MODEL, NAME, 1)):
        with pytest.raises(ProtocolError):
            scene.hands.give(name, model, network, batch)
    scene.hands.give(name, MODEL, NAME, 2)


def test_opened_and_lost_tapes_are_dead(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    asyncio.run(scene.round())
    first, second, *rest = scene.tapes.names(scene.shelf)
    assert scene.register.open([first], MODEL)
    assert not scene.register.open([second, first], MODEL)  # all or none
    with pytest.raises(ProtocolError):
        scene.hands.give(first, MODEL, NAME, 2)
    scene.register.sync(MODEL, NAME, 2, rest)
    with pytest.raises(ProtocolError):
        scene.hands.give(second, MODEL, NAME, 2)
    scene.hands.give(rest[0], MODEL, NAME, 2)


def test_a_lying_dealer_is_caught_and_nothing_is_kept(tmp_path: Path) -> None:
    """It corrupts every tape: with two opened, one of them is wrong for certain."""
    scene = Scene(tmp_path)
    scene.lie = lambda n, frame: [frame[:-1] + bytes((frame[-1] ^ 1,))] if len(frame) == longest else [frame]
    longest = max(len(f) for f in _frames())
    with pytest.raises(DealerCheated):
        asyncio.run(scene.round())
    assert scene.tapes.counts() == 0
    assert not list((tmp_path / "tapes").rglob("*.part"))


def _frames() -> list[bytes]:
    from protocols.blind.dealer import deal_tape

    return list(deal_tape(Pads(TOP, NAME, SEED), TapeSeeds(bytes(32), bytes(32), bytes(32)), 2))


def test_a_dealer_that_will_not_open_is_refused_in_the_end(tmp_path: Path) -> None:
    """Leaving when the wrong tapes are picked would be a way to cheat: it is counted, in the log."""
    scene = Scene(tmp_path)
    scene.lie = lambda n, frame: None if b"opened" in frame[:10] else [frame]
    for _ in range(UNOPENED_MOST):
        with pytest.raises(WireError):
            asyncio.run(scene.round())
        assert scene.tapes.counts() == 0
    with pytest.raises(DealerCheated, match="left 4 rounds"):
        asyncio.run(scene.round())
    scene.trust.refuse(DEALER, "it left")
    assert Trust(scene.log).refused == {DEALER: "it left"}


def test_a_dealer_that_cuts_or_mixes_frames(tmp_path: Path) -> None:
    for lie in (
        lambda n, frame: [frame[:-1]] if n == 3 else [frame],
        lambda n, frame: [frame, frame] if n == 3 else [frame],
        lambda n, frame: [] if n == 3 else [frame],
        lambda n, frame: [frame[:8] + bytes(32) + frame[40:]] if n == 3 else [frame],
    ):
        scene = Scene(tmp_path)
        scene.lie = lie
        with pytest.raises((ProtocolError, WireError)):
            asyncio.run(scene.round())
        assert scene.tapes.counts() == 0


def test_what_a_model_may_have_without_paying(tmp_path: Path) -> None:
    size = tape_bytes(TOP, 2)
    scene = Scene(tmp_path, Limits(unpaid=13 * size, outstanding=100))
    for _ in range(2):
        asyncio.run(scene.round())
    with pytest.raises(ProtocolError, match="no session has paid"):
        asyncio.run(scene.round())
    for name in scene.tapes.names(scene.shelf)[:2]:  # two sessions, paid for
        scene.hands.give(name, MODEL, NAME, 2)
    assert asyncio.run(scene.round()) == 4
    scene.now += DAY + 1
    assert asyncio.run(scene.round()) == 4


def test_who_has_not_registered_the_network_gets_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.registered = False
    with pytest.raises(ProtocolError, match="not registered"):
        asyncio.run(scene.round())
    assert scene.register.counts() == {}


def test_how_many_a_model_may_keep(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Limits(outstanding=9))
    asyncio.run(scene.round())
    with pytest.raises(ProtocolError, match="the most"):
        asyncio.run(scene.round())


def test_a_tape_that_was_used_is_refused_by_both_parties() -> None:
    log = Store(None)
    use_tape(log, bytes(32), DEALER, NAME, 1)
    with pytest.raises(ProtocolError, match="used before"):
        use_tape(log, bytes(32), DEALER, NAME, 1)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff" * 40,
        dealing.sorry("no"),
        dealing.tape_named(bytes(31)),
        dealing.seed_given(bytes(32), bytes(32), 0),
        dealing.open_order([bytes(31)]),
        dealing.deal_order(dealing.Order(b"", bytes(32), bytes(32), 1025)),
    ],
)
def test_words_that_make_no_sense(frame: bytes) -> None:
    for read in (
        dealing.read_session_order,
        dealing.read_stock_order,
        dealing.read_tape_named,
        dealing.read_seed,
        dealing.read_open_order,
        dealing.read_opened,
    ):
        with pytest.raises(ProtocolError):
            read(frame)
