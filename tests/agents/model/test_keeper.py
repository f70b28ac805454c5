"""The keeper: tops up, stops at the budget and at what is enough, and is done for good with a dealer that cheats."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.cli.tapes import read_tapes, tape_lines
from agents.dealer.dealing import Hands, tape_bytes
from agents.dealer.register import Register
from agents.engine.store import Store
from agents.keyring import Keyring
from agents.model.keeper import TARGET, Keeper
from protocols.blind.audit import DEFAULT_SLOTS
from protocols.errors import UserError
from tests.agents.engine.blind_pairs import Frames, pair
from tests.protocols.blind.blind_samples import fill, tiny

NETWORK = fill(tiny(), 1)
DEALER = "0x" + "11" * 20


async def owns(wallet: str, network: bytes) -> bool:
    return network == NETWORK.network_hash()


class FakeDuty:
    """What a keeper asks of its duty, with a dealer at the other end of its channels."""

    def __init__(self) -> None:
        self.store, self.network, self.network_id = Store(None), NETWORK, NETWORK.network_hash()
        self.told: list[tuple[str, str]] = []
        self.core = SimpleNamespace(states=lambda open_only: self.cases)
        self.cases: list[Any] = []
        self.hands = Hands(Keyring(b"\1" * 32), Register(Store(None)), lambda: 1000.0)
        self.lie: Frames = lambda number, frame: [frame]
        self.keeper: Keeper
        self.serving: list[asyncio.Task[Any]] = []

    def tell(self, step: str, text: str, case: str | None = None, **more: Any) -> None:
        self.told.append((step, text))

    def choose_dealer(self, trusted: list[str]) -> str:
        return "" if DEALER in self.keeper.trust.refused else DEALER

    def dealer_seed(self, dealer: str) -> bytes:
        return b"s" * 32

    async def dial(self, wallet: str, what: str) -> Any:
        mine, theirs = pair()
        theirs.twist = self.lie
        self.serving.append(asyncio.create_task(self.hands.stock(theirs, owns)))
        return mine


async def until(done: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not done():
            await asyncio.sleep(0.01)


def play(duty: FakeDuty, folder: Path, done: Callable[[], bool], budget: int = 1 << 24) -> Keeper:
    """Runs the keeper until `done`."""
    duty.keeper = Keeper(duty, folder / "tapes", budget)  # type: ignore[arg-type]

    async def run() -> None:
        duty.serving.clear()
        work = asyncio.create_task(duty.keeper.run())
        try:
            await until(done)
        finally:
            for task in (work, *duty.serving):
                task.cancel()
            await asyncio.gather(work, *duty.serving, return_exceptions=True)

    asyncio.run(run())
    return duty.keeper


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.model.keeper.PAUSE", 0.01)


def test_it_tops_up_to_what_is_enough_and_says_so(tmp_path: Path) -> None:
    duty = FakeDuty()
    keeper = play(duty, tmp_path, lambda: duty.keeper.store.counts() == TARGET)  # type: ignore[union-attr]
    assert "12 tapes kept" in [text for step, text in duty.told if step == "tapes"][-1]
    shown = read_tapes(tmp_path)
    assert shown["kept"] == TARGET
    assert "12 kept" in tape_lines(shown)[0]
    tape = asyncio.run(keeper.claim(DEALER, DEFAULT_SLOTS))
    assert tape is not None
    assert asyncio.run(keeper.claim(DEALER, 1)) is None
    keeper.release(tape)
    assert read_tapes(tmp_path)["kept"] == TARGET - 1


def test_it_stays_within_its_budget(tmp_path: Path) -> None:
    duty = FakeDuty()
    size = tape_bytes(NETWORK.topology, DEFAULT_SLOTS)
    budget = 5 * (size + 4600)
    play(duty, tmp_path, lambda: len(duty.told) > 0, budget)
    assert 0 < read_tapes(tmp_path)["kept"] < 5
    assert read_tapes(tmp_path)["bytes"] <= budget


def test_a_budget_too_small_is_said_once(tmp_path: Path) -> None:
    duty = FakeDuty()
    play(duty, tmp_path, lambda: len(duty.told) > 0, 5000)
    assert duty.told[0][0] == "tapes.trouble"
    assert "dealt live" in duty.told[0][1]
    assert duty.serving == []


def test_batches_asked_for_last_are_stocked(tmp_path: Path) -> None:
    duty = FakeDuty()
    duty.keeper = Keeper(duty, tmp_path / "tapes", 1 << 24)  # type: ignore[arg-type]
    assert duty.keeper.batches() == [DEFAULT_SLOTS]
    for batch in (1, 6, 1):
        duty.keeper.asked(batch)
    assert duty.keeper.batches() == [1, 6]


def test_it_keeps_still_while_a_session_runs(tmp_path: Path) -> None:
    duty = FakeDuty()
    duty.cases = [SimpleNamespace(phase="hosting")]
    with pytest.raises(TimeoutError):
        play(duty, tmp_path, lambda: _never(0.3))
    assert duty.serving == []


_begun: list[float] = []


def _never(seconds: float) -> bool:
    import time

    _begun.append(time.monotonic())
    if _begun[-1] - _begun[0] > seconds:
        raise TimeoutError
    return False


def test_a_dealer_that_cheats_is_refused_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duty = FakeDuty()
    monkeypatch.setattr("agents.model.keeper.TARGET", 4)
    play(duty, tmp_path, lambda: duty.keeper.store.counts() == 4)  # type: ignore[union-attr]
    monkeypatch.setattr("agents.model.keeper.TARGET", 12)
    duty.lie = lambda n, frame: [frame[:-1] + bytes((frame[-1] ^ 1,))] if len(frame) > 200 else [frame]
    keeper = play(duty, tmp_path, lambda: any(step == "dealer.cheated" for step, _ in duty.told))
    assert DEALER in keeper.trust.refused
    assert keeper.store is not None
    assert keeper.store.counts() == 0
    assert "its 4 tapes are thrown away, it is refused for good" in duty.told[-1][1]
    assert duty.choose_dealer([]) == ""
    again = Keeper(duty, tmp_path / "tapes", 1 << 24)  # type: ignore[arg-type]
    assert DEALER in again.trust.refused


def test_no_budget_no_tapes(tmp_path: Path) -> None:
    duty = FakeDuty()
    duty.keeper = Keeper(duty, tmp_path / "tapes", 0)  # type: ignore[arg-type]
    asyncio.run(duty.keeper.run())
    assert asyncio.run(duty.keeper.claim(DEALER, 1)) is None
    with pytest.raises(UserError):
        read_tapes(tmp_path)


def test_a_status_that_makes_no_sense(tmp_path: Path) -> None:
    (tmp_path / "tapes").mkdir()
    for text in ("", "[]", json.dumps({"kept": "many"})):
        (tmp_path / "tapes" / "status.json").write_text(text)
        with pytest.raises(UserError):
            read_tapes(tmp_path)
