"""Blind inference between agents: pumping the sans-I/O parties over direct channels.

Channels of one session (name `<session>`): patient -> model `blind/<id>`, model -> dealer `deal/<id>`, patient ->
dealer `seed/<id>`. The dealer's and each party's seeds are made here, fresh for every session, and live in memory
alone: after a crash there is nothing to reuse, the session starts again under another name.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

from agents.wire.channel import Channel, ChannelClosed
from protocols.blind.messages import Role
from protocols.blind.party import Party
from protocols.codec import decode, encode
from protocols.errors import ProtocolError

SEED_BYTES = 32
FRAME_PATIENCE = 60.0


def purpose(kind: str, session: bytes) -> str:
    """The purpose of a session's channel. kind: `blind`, `deal` or `seed`."""
    return f"{kind}/{session.hex()}"


@dataclass
class Traffic:
    """What one party's pump moved, bytes by link (frames alone, as the peer reads them)."""

    sent: int = 0
    received: int = 0
    rounds: int = 0


async def pump(party: Party, links: dict[Role, Channel]) -> Traffic:
    """Carry a party's frames until it is done. Raises `ProtocolError` or `WireError`; the party is dead then."""
    traffic = Traffic()
    inbox: asyncio.Queue[tuple[Role, bytes] | Exception] = asyncio.Queue(maxsize=64)

    async def listen(role: Role, channel: Channel) -> None:
        try:
            while True:
                await inbox.put((role, await channel.recv(FRAME_PATIENCE)))
        except ChannelClosed as error:
            if role is not Role.DEALER:  # a dealer has dealt in one go and may leave
                await inbox.put(error)
        except Exception as error:
            await inbox.put(error)

    ears = [asyncio.create_task(listen(role, channel)) for role, channel in links.items()]
    try:
        outs = party.start()
        while True:
            for out in outs:
                traffic.sent += len(out.frame)
                await links[out.to].send(out.frame, FRAME_PATIENCE)
            if party.done:
                return traffic
            async with asyncio.timeout(FRAME_PATIENCE):
                item = await inbox.get()
            if isinstance(item, Exception):
                raise item
            role, frame = item
            traffic.received += len(frame)
            traffic.rounds += 1
            # The arithmetic of a layer takes milliseconds: off the loop, so that the agent stays awake.
            outs = await asyncio.to_thread(party.receive, role, frame)
    except TimeoutError:
        raise ProtocolError("the peer of the session fell silent", "the session is tried again") from None
    finally:
        for ear in ears:
            ear.cancel()


def fresh_seed() -> bytes:
    """32 bytes that serve one session."""
    return secrets.token_bytes(SEED_BYTES)


def deal_order(topology: bytes, network: bytes, seed: bytes) -> bytes:
    """The model's opening frame to the dealer."""
    return encode(["deal", topology, network, seed])


def read_deal_order(frame: bytes) -> tuple[bytes, bytes, bytes]:
    """(topology, network hash, seed) of a deal order. Raises `ProtocolError`."""
    value = decode(frame, limit=1 << 20)
    if not (isinstance(value, list) and len(value) == 4 and value[0] == "deal"):
        raise ProtocolError("not an order to deal")
    _, topology, network, seed = value
    sizes = isinstance(topology, bytes) and isinstance(network, bytes) and len(network) == 32
    if not (sizes and isinstance(seed, bytes) and len(seed) == SEED_BYTES):
        raise ProtocolError("not an order to deal")
    return topology, network, seed
