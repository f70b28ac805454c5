"""Two channels in memory, joined, and one whole session over them: for tests of pump and dealing."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from agents.engine.blind import pump, stream
from agents.wire.channel import Channel, ChannelClosed
from protocols.blind.dealer import TapeSeeds, deal_tape
from protocols.blind.messages import Role
from protocols.blind.model import ModelParty
from protocols.blind.network import Network
from protocols.blind.patient import PatientParty
from protocols.blind.session import UsedSessions
from protocols.blind.weights import ModelWeights, Pads
from protocols.errors import WireError

Frames = Callable[[int, bytes], list[bytes] | None]
"""(number of the frame, frame) -> what is sent in its place; None: the channel is closed."""


class MemoryChannel(Channel):
    """One end. twist: what becomes of what it sends. longest: most frames that lay in it unread."""

    def __init__(self, peer: str = "0x" + "11" * 20, purpose: str = "test") -> None:
        super().__init__(peer, purpose)
        self.inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.other: MemoryChannel
        self.twist: Frames = lambda number, frame: [frame]
        self.count = self.taken = self.longest = 0
        self.log: list[bytes] = []

    async def close(self) -> None:
        self.other.inbox.put_nowait(None)

    async def _write(self, frame: bytes, timeout: float) -> None:
        sent = self.twist(self.count, frame)
        self.count += 1
        for one in [None] if sent is None else sent:
            self.other.inbox.put_nowait(one)
            if one is not None:
                self.log.append(one)
        self.other.longest = max(self.other.longest, self.other.inbox.qsize())
        await asyncio.sleep(0)

    async def _read(self, maximum: int, timeout: float) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                frame = await self.inbox.get()
        except TimeoutError:
            raise WireError("the peer was silent") from None
        if frame is None:
            self.inbox.put_nowait(None)
            raise ChannelClosed
        self.taken += 1
        return frame


def pair() -> tuple[MemoryChannel, MemoryChannel]:
    """Both ends."""
    a, b = MemoryChannel(), MemoryChannel()
    a.other, b.other = b, a
    return a, b


@dataclass
class Stage:
    """A session of three. Each twist acts on what that role sends; wrong_seed: the dealer lies to the patient."""

    network: Network
    images: np.ndarray
    twists: dict[str, Frames] = field(default_factory=dict)
    wrong_seed: bool = False
    patience: float = 5.0
    patients: float = 0.0  # the patient's patience, when it is another
    backlog: int = 1 << 28
    stays: bool = False  # the dealer keeps its channel open

    async def run(self) -> tuple[object, object]:
        """(what patient and model ended with): Traffic, or the error."""
        net, n = self.network, len(self.images)
        session, seed = secrets.token_bytes(32), secrets.token_bytes(32)
        seeds = TapeSeeds(*(secrets.token_bytes(32) for _ in range(3)))
        given = secrets.token_bytes(32) if self.wrong_seed else seeds.patient
        top, name = net.topology, net.network_hash()
        self.patient = PatientParty(top, name, self.images, session, seeds.name, given, UsedSessions())
        self.model = ModelParty(ModelWeights(net, seed), session, seeds.name, UsedSessions(), n)
        self.at_patient, at_model = pair()
        self.at_dealer, self.from_dealer = pair()
        self.at_patient.twist = self.twists.get("patient", self.at_patient.twist)
        at_model.twist = self.twists.get("model", at_model.twist)
        self.at_dealer.twist = self.twists.get("dealer", self.at_dealer.twist)
        tape = deal_tape(Pads(top, name, seed), seeds, n)

        async def deal() -> None:
            await stream(tape, self.at_dealer)
            if not self.stays:
                await self.at_dealer.close()

        async def ended(work, channel: MemoryChannel):  # type: ignore[no-untyped-def]
            try:
                return await work
            except Exception as error:
                await channel.close()
                return error

        dealing = asyncio.create_task(deal())
        links = {Role.PATIENT: at_model, Role.DEALER: self.from_dealer}
        try:
            return tuple(  # type: ignore[return-value]
                await asyncio.gather(
                    ended(
                        pump(self.patient, {Role.MODEL: self.at_patient}, self.patients or self.patience),
                        self.at_patient,
                    ),
                    ended(pump(self.model, links, self.patience, 60, self.backlog), at_model),
                )
            )
        finally:
            dealing.cancel()
