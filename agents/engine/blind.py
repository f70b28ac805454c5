"""Blind inference between agents: pumping the sans-I/O parties over direct channels.

Channels of one session (name `<session>`): patient -> model `blind/<id>`, model -> dealer `deal/<id>`, patient ->
dealer `seed/<id>`. Whoever stalls, leaves, or sends what does not belong ends the session with an error that names
its role; nothing is opened then, and another try is another session with another tape.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from agents.wire.channel import Channel, ChannelClosed
from protocols.blind.kernels.interface import Buffer
from protocols.blind.messages import Out, Role
from protocols.blind.party import Party
from protocols.errors import (
    CrypDocError,
    DealerCheated,
    ModelCheated,
    PeerLeft,
    PeerMisspoke,
    PeerStalled,
    ProtocolError,
    SeedsDiffer,
    UserError,
    WireError,
)

log = logging.getLogger(__name__)

SEED_BYTES = 32
FRAME_PATIENCE = 60.0
SESSION_LIMIT = 900.0  # seconds of a whole session: a peer that drips cannot hold it for ever
BACKLOG = 256 << 20  # bytes of one link that the party has not used yet; beyond it the link is not read
FOREVER = 86_400.0
QUEUE = 64  # frames between links and party
_AGAIN = "the session is tried again, with fresh randomness"


def purpose(kind: str, session: bytes) -> str:
    """The purpose of a session's channel. kind: `blind`, `deal` or `seed`."""
    return f"{kind}/{session.hex()}"


class Link(Protocol):
    """Where a party's frames come from and go to: a channel, or a tape on disk."""

    async def send(self, frame: bytes, timeout: float = ...) -> None: ...

    async def recv(self, timeout: float = ...) -> bytes: ...


@dataclass
class Traffic:
    """What one party's pump moved, bytes (frames alone, as the peer reads them)."""

    sent: int = 0
    received: int = 0


async def pump(
    party: Party,
    links: Mapping[Role, Link],
    patience: float = FRAME_PATIENCE,
    limit: float = SESSION_LIMIT,
    backlog: int = BACKLOG,
) -> Traffic:
    """Carry a party's frames until it is done and all it said is sent.

    patience: seconds that pass without any frame; limit: seconds of all. Raises `PeerStalled`, `PeerLeft`,
    `PeerMisspoke`, `SeedsDiffer` or what the party's own check raises; the party is dead then.
    """
    return await _Pump(party, links, patience, backlog).run(limit)


class _Pump:
    def __init__(self, party: Party, links: Mapping[Role, Link], patience: float, backlog: int) -> None:
        self.party, self.links, self.patience, self.backlog = party, links, patience, backlog
        self.traffic = Traffic()
        self.inbox: asyncio.Queue[tuple[Role, bytes | CrypDocError]] = asyncio.Queue(QUEUE)
        self.outboxes: dict[Role, asyncio.Queue[bytes | None]] = {r: asyncio.Queue() for r in links}
        self.gates = {role: asyncio.Event() for role in links}
        self.closed: set[Role] = set()
        self.fault: CrypDocError | None = None

    async def run(self, limit: float) -> Traffic:
        ears = [asyncio.create_task(self._listen(*one)) for one in self.links.items()]
        mouths = [asyncio.create_task(self._speak(*one)) for one in self.links.items()]
        try:
            async with asyncio.timeout(limit):
                await self._carry()
                await asyncio.sleep(0)  # what the party said last is in its outbox then
                for outbox in self.outboxes.values():
                    outbox.put_nowait(None)
                await asyncio.gather(*mouths)
            if self.fault is not None:
                raise self.fault
        except TimeoutError:
            raise self._stalled(self.party.awaits) from None
        finally:
            for task in (*ears, *mouths):
                task.cancel()
        return self.traffic

    async def _carry(self) -> None:
        party, loop = self.party, asyncio.get_running_loop()

        # Each frame leaves as it is made, while the party works on.
        def leave(out: Out) -> None:
            loop.call_soon_threadsafe(self._put, out)

        party.sink = leave
        await asyncio.to_thread(party.start)
        while True:
            for role, gate in self.gates.items():
                gate.set() if party.backlog(role) < self.backlog else gate.clear()
            if party.done:
                return
            if party.awaits in self.closed:
                raise _left(party.awaits)
            await self._next()

    def _put(self, out: Out) -> None:
        self.traffic.sent += len(out.frame)
        self.outboxes[out.to].put_nowait(out.frame)

    async def _next(self) -> None:
        """Takes what comes next."""
        try:
            async with asyncio.timeout(self.patience):
                role, item = await self.inbox.get()
        except TimeoutError:
            raise self._stalled(self.party.awaits) from None
        if isinstance(item, ChannelClosed) and role is Role.DEALER:
            self.closed.add(role)  # a dealer has dealt in one go and may leave
            return
        if isinstance(item, CrypDocError):
            raise _named(role, item)
        self.traffic.received += len(item)
        # The arithmetic of a layer takes milliseconds and more: off the loop, so that the agent stays awake.
        try:
            await asyncio.to_thread(self.party.receive, role, item)
        except CrypDocError as error:
            raise _named(self.party.speaker or role, error) from None

    async def _listen(self, role: Role, link: Link) -> None:
        try:
            while True:
                await self.gates[role].wait()
                await self.inbox.put((role, await link.recv(FOREVER)))
        except CrypDocError as error:
            await self.inbox.put((role, error))

    async def _speak(self, role: Role, link: Link) -> None:
        try:
            while (frame := await self.outboxes[role].get()) is not None:
                await link.send(frame, self.patience)
        except CrypDocError as error:
            self.fault = _named(role, error) if isinstance(error, ChannelClosed) else self._stalled(role)
            await self.inbox.put((role, self.fault))

    def _stalled(self, role: Role | None) -> PeerStalled:
        who = f"the {role.value}" if role is not None else "a peer"
        return PeerStalled(f"{who} fell silent in the middle of blind inference", _AGAIN)


def _left(role: Role) -> PeerLeft:
    return PeerLeft(f"the {role.value} ended its channel before blind inference was over", _AGAIN)


def _named(role: Role, error: CrypDocError) -> CrypDocError:
    """The error, with the role at fault named in it."""
    named = PeerStalled, PeerLeft, PeerMisspoke, SeedsDiffer, DealerCheated, ModelCheated, UserError
    if isinstance(error, named):
        return error
    if isinstance(error, ProtocolError):
        return PeerMisspoke(f"the {role.value} broke the protocol of blind inference: {error.fault}", _AGAIN)
    if isinstance(error, ChannelClosed):
        return _left(role)
    return PeerLeft(f"the channel to the {role.value} broke: {error.fault}", _AGAIN)


async def stream(frames: Iterator[Buffer], channel: Channel, patience: float = FRAME_PATIENCE) -> int:
    """Send frames as they are made, the next one made while one is sent; the bytes sent.

    Raises `WireError` when the receiver is gone or takes nothing.
    """
    sent = 0
    frame = await asyncio.to_thread(next, frames, None)
    while frame is not None:
        making = asyncio.create_task(asyncio.to_thread(next, frames, None))
        try:
            await channel.send(bytes(frame), patience)
        except WireError:
            await asyncio.gather(making, return_exceptions=True)
            raise
        sent += len(frame)
        frame = await making
    return sent


def fresh_seed() -> bytes:
    """32 bytes that serve one session."""
    return secrets.token_bytes(SEED_BYTES)
