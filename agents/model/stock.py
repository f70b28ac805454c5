"""Having tapes made before anybody needs them: ordered from the dealer in rounds, spot-checked, then kept.

Of each round of N + q tapes, q are picked at random after all have come, opened by the dealer, dealt again here and
compared (`protocols/blind/audit.py`). A dealer whose tape was wrong loses all tapes and is refused for good; so is one
that left `UNOPENED_MOST` rounds unopened, since leaving when the wrong tapes are picked would be a way to cheat.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from agents.engine import dealing
from agents.engine.store import Store
from agents.model.tapes import Shelf, TapeStore, TapeWriter
from agents.wire.channel import Channel
from protocols.blind.audit import check_tape
from protocols.blind.dealer import TapeSeeds
from protocols.blind.messages import HEADER_BYTES, PART_BYTES, decode_frame, parts
from protocols.blind.schedule import tape_schedule
from protocols.blind.topology import Topology
from protocols.blind.weights import Pads
from protocols.errors import DealerCheated, ProtocolError

KEPT, CHECKED = 4, 2
"""Tapes of a round that are kept, and that are opened: a wrong one is noticed with probability 1/3, two with 3/5."""

UNOPENED_MOST = 4
PATIENCE = 120.0


class Trust:
    """Which dealers are refused for good, and why; in the model's log."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def refused(self) -> dict[str, str]:
        """Wallet -> why."""
        return dict(self._store.meta("dealers.refused") or {})

    def refuse(self, dealer: str, why: str) -> None:
        """From now on, whatever is restarted."""
        self._store.set_meta("dealers.refused", self.refused | {dealer: why})

    def begin(self, dealer: str) -> None:
        """Tapes are about to be picked: counted as unopened until `passed`. Raises `DealerCheated` at too many."""
        left = self._unopened(dealer)
        if left >= UNOPENED_MOST:
            raise DealerCheated(
                f"the dealer left {left} rounds of tapes before it had opened those that were picked",
                "take another dealer",
            )
        self._store.set_meta(f"dealers.unopened/{dealer}", left + 1)

    def passed(self, dealer: str) -> None:
        """Those that were picked are checked."""
        self._store.set_meta(f"dealers.unopened/{dealer}", max(0, self._unopened(dealer) - 1))

    def _unopened(self, dealer: str) -> int:
        return int(self._store.meta(f"dealers.unopened/{dealer}") or 0)


@dataclass(frozen=True)
class Round:
    """What one round needs to know. told: called with (tapes that came, tapes due)."""

    store: TapeStore
    shelf: Shelf
    topology: Topology
    seed: bytes
    pads: Callable[[], Pads]
    told: Callable[[int, int], None]
    trust: Trust


def frame_sizes(topology: Topology, batch: int) -> list[int]:
    """Bytes of each frame of a tape."""
    sizes = []
    for item in tape_schedule(topology, batch):
        whole, rest = divmod(item.size, PART_BYTES)
        body = [PART_BYTES] * whole + ([rest] if rest or not whole else [])
        assert len(body) == parts(item.size)
        sizes += [HEADER_BYTES + size for size in body]
    return sizes


async def stock(channel: Channel, work: Round, kept: int = KEPT, checked: int = CHECKED) -> int:
    """One round; how many tapes are on the shelf more. Raises `DealerCheated`, or what ends a channel."""
    shelf = work.shelf
    order = dealing.Order(work.topology.encode(), shelf.network, work.seed, shelf.batch)
    held = tuple(work.store.held(shelf)[: dealing.MAX_KEPT])
    await channel.send(dealing.stock_order(dealing.StockOrder(order, kept, checked, held)))
    came: list[TapeWriter] = []
    try:
        for _ in range(kept + checked):
            await _receive(channel, work, came)
            work.told(len(came), kept + checked)
        picked = secrets.SystemRandom().sample(came, checked)
        work.trust.begin(shelf.dealer)
        await channel.send(dealing.open_order([tape.name for tape in picked]))
        await _check(dealing.read_opened(await channel.recv(PATIENCE)), picked, work)
        work.trust.passed(shelf.dealer)
        good = [tape for tape in came if tape not in picked]
        for tape in good:
            await asyncio.to_thread(tape.keep)
        return len(good)
    finally:
        for tape in came:
            tape.discard()


async def _receive(channel: Channel, work: Round, came: list[TapeWriter]) -> None:
    name = dealing.read_tape_named(await channel.recv(PATIENCE))
    writer = work.store.writer(work.shelf, name)
    came.append(writer)
    for size in frame_sizes(work.topology, work.shelf.batch):
        frame = await channel.recv(PATIENCE)
        if len(frame) != size or decode_frame(frame).name != name:
            raise ProtocolError("the dealer sent a frame that belongs to no tape of this network")
        await asyncio.to_thread(writer.write, frame)
    await asyncio.to_thread(writer.finish)


async def _check(seeds: list[TapeSeeds], picked: list[TapeWriter], work: Round) -> None:
    if [s.name for s in seeds] != [tape.name for tape in picked]:
        raise DealerCheated("the dealer opened other tapes than it was asked to", "take another dealer")
    pads = await asyncio.to_thread(work.pads)
    for opened, tape in zip(seeds, picked, strict=True):
        await asyncio.to_thread(check_tape, pads, opened, work.shelf.batch, tape.frames())
