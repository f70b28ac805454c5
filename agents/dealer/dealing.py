"""What a dealer does on its channels: a tape for a session that runs, seeds of kept tapes, tapes to be kept.

A tape's seeds are derived from the dealer's key and the tape's name, so there is no secret on disk; the register
says what became of each tape, and is written before a seed leaves.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from agents.dealer.register import Register
from agents.engine import dealing
from agents.engine.blind import stream
from agents.keyring import Keyring
from agents.wire.channel import Channel
from protocols.blind.dealer import TapeSeeds, deal_tape
from protocols.blind.schedule import tape_schedule, weight_count
from protocols.blind.topology import Topology
from protocols.blind.weights import Pads
from protocols.errors import ProtocolError

PADS_BYTES = 512 << 20  # of pads that are kept ready, 8 bytes a weight
MOST_TAPE_BYTES = 4 << 30
ROUND_LIMIT = 1800.0  # seconds of one round: a model that reads slowly cannot keep others waiting for ever
PATIENCE = 300.0  # seconds until a model has said which tapes to open

Owns = Callable[[str, bytes], Awaitable[bool]]


class Hands:
    """The dealer's arithmetic and its seeds. now: the clock."""

    def __init__(self, keyring: Keyring, register: Register, now: Callable[[], float] = time.time) -> None:
        self._keyring, self.register, self._now = keyring, register, now
        self._pads: OrderedDict[bytes, tuple[int, Pads]] = OrderedDict()
        self._making = threading.Lock()
        self._one = asyncio.Lock()
        self._busy = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    def seeds(self, name: bytes, model: str, network: bytes, batch: int) -> TapeSeeds:
        """Those of a tape; the same every time."""
        context = name + bytes.fromhex(model[2:]) + network + batch.to_bytes(4, "big")
        patient = self._keyring.derive("tape-patient", context)
        return TapeSeeds(name, patient, self._keyring.derive("tape-fresh", context))

    def pads(self, order: dealing.Order) -> Pads:
        """A of the order's network, made once while it is in use. Heavy: not on the event loop."""
        key = hashlib.blake2b(order.topology + order.network, key=order.seed, digest_size=32).digest()
        with self._making:
            if key not in self._pads:
                topology = Topology.decode(order.topology)
                size = 8 * weight_count(topology)
                while self._pads and sum(s for s, _ in self._pads.values()) + size > PADS_BYTES:
                    self._pads.popitem(last=False)
                self._pads[key] = size, Pads(topology, order.network, order.seed)
            self._pads.move_to_end(key)
            return self._pads[key][1]

    # ---- a session
    async def live(self, order: dealing.Order, model: Channel) -> tuple[TapeSeeds, Pads]:
        """Names a tape for a session that runs; its seeds. What follows is `stream`ed by `send_live`."""
        pads = await asyncio.to_thread(self.pads, order)
        name = secrets.token_bytes(dealing.NAME_BYTES)
        size = tape_bytes(pads.topology, order.batch)
        self.register.live(name, model.peer, order.network, order.batch, size, self._now())
        await model.send(dealing.tape_named(name))
        return self.seeds(name, model.peer, order.network, order.batch), pads

    async def send_live(self, pads: Pads, seeds: TapeSeeds, batch: int, model: Channel) -> int:
        """Deals while it sends; bytes sent. Tapes to be kept wait meanwhile."""
        self._busy += 1
        self._quiet.clear()
        try:
            return await stream(deal_tape(pads, seeds, batch), model)
        finally:
            self._busy -= 1
            if not self._busy:
                self._quiet.set()

    def give(self, tape: bytes, model: str, network: bytes, batch: int) -> TapeSeeds:
        """A kept tape's seeds, for its patient: once. Raises `ProtocolError` when it is not to be had."""
        if not self.register.give(tape, model, network, batch):
            raise ProtocolError("this tape is not that model's to use, or was used", "name another")
        return self.seeds(tape, model, network, batch)

    # ---- tapes to be kept
    async def stock(self, model: Channel, owns: Owns) -> int:
        """Serves one channel of purpose `dealing.STOCK`; tapes dealt. One channel at a time.

        owns: whether a wallet has registered a network, on chain: whoever has not gets nothing.
        """
        wish = dealing.read_stock_order(await model.recv())
        order = wish.order
        if not await owns(model.peer, order.network):
            await model.send(dealing.sorry("this network is not registered by you on chain"))
            return 0
        topology = Topology.decode(order.topology)
        self.register.sync(model.peer, order.network, order.batch, wish.kept)
        count, size = wish.count + wish.checked, tape_bytes(topology, order.batch)
        objection = too_long(order) or self.register.objection(model.peer, count, size, self._now())
        if objection:
            await model.send(dealing.sorry(objection))
            return 0
        async with self._one, asyncio.timeout(ROUND_LIMIT):
            pads = await asyncio.to_thread(self.pads, order)
            dealt = []
            for _ in range(count):
                await self._quiet.wait()
                name = secrets.token_bytes(dealing.NAME_BYTES)
                self.register.add(name, model.peer, order.network, order.batch, size, self._now())
                dealt.append(name)
                await model.send(dealing.tape_named(name))
                seeds = self.seeds(name, model.peer, order.network, order.batch)
                await stream(deal_tape(pads, seeds, order.batch), model)
        names = dealing.read_open_order(await model.recv(PATIENCE))
        if len(names) > wish.checked or not set(names) <= set(dealt):
            raise ProtocolError("the model wants tapes opened that it did not just get")
        if not self.register.open(names, model.peer):
            raise ProtocolError("the model wants a tape opened twice, or one that it uses")
        await model.send(
            dealing.opened([self.seeds(n, model.peer, order.network, order.batch) for n in names])
        )
        return count


def too_long(order: dealing.Order) -> str:
    """Why a tape is too long to be dealt, or "". Raises `ProtocolError` for a topology that is none."""
    size = tape_bytes(Topology.decode(order.topology), order.batch)
    return f"a tape of {size} bytes is too long" if size > MOST_TAPE_BYTES else ""


def tape_bytes(topology: Topology, batch: int) -> int:
    """Bytes of a tape, without headers."""
    return sum(item.size for item in tape_schedule(topology, batch))
