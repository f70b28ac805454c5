"""The libp2p channel: the same interface, and bounds, as the TLS channel."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest
from libp2p.network.stream.exceptions import StreamError
from wire_harness import ring

from agents.wire import stream
from agents.wire.channel import Channel, ChannelClosed, hello
from agents.wire.limits import Limits
from agents.wire.node import Node
from protocols.errors import ProtocolError, WireError


class End:
    """A node that echoes on every channel."""

    def __init__(self, number: int, max_frame: int = 1 << 20) -> None:
        self.ring = ring(number)
        self.node = Node(self.ring, rng=random.Random(number), limits=Limits(request_timeout=2))
        self.channels: list[Channel] = []
        stream.serve(self.node, self.attend, max_frame)

    async def attend(self, channel: Channel) -> None:
        self.channels.append(channel)
        while True:
            frame = await channel.recv()
            if frame == b"fail":
                raise ValueError("a bug of the application")
            if frame == b"last":
                await channel.send(b"goodbye")
                return
            await channel.send(frame)


@pytest.fixture
async def pair():
    a, b = End(1), End(2)
    await a.node.start()
    await b.node.start()
    b.node.learn_address(f"{a.node.addresses[0]}/p2p/{a.node.peer_id}")
    yield a, b
    await b.node.stop()
    await a.node.stop()


async def works(a: End, b: End) -> None:
    async with await stream.connect(b.node, a.ring.address, "check") as channel:
        await channel.send(b"still there?")
        assert await channel.recv() == b"still there?"


async def test_frames_both_ways(pair):
    a, b = pair
    async with await stream.connect(b.node, a.ring.address, "session 7") as channel:
        assert (channel.peer, channel.purpose) == (a.ring.address, "session 7")
        for frame in (b"hello", b"", bytes(1 << 20)):
            await channel.send(frame)
            assert await channel.recv() == frame
        (seen,) = a.channels
        assert (seen.peer, seen.purpose) == (b.ring.address, "session 7")
        assert (channel.sent, channel.received) == (seen.received, seen.sent) == ((1 << 20) + 17,) * 2


async def test_the_last_frame_arrives_and_then_the_end(pair):
    a, b = pair
    channel = await stream.connect(b.node, a.ring.address, "x")
    await channel.send(b"last")
    assert await channel.recv() == b"goodbye"
    with pytest.raises(ChannelClosed):
        await channel.recv()
    await channel.close()
    await channel.close()


async def test_the_dialled_side_can_open_one_too(pair):
    """The way to a peer that cannot be dialled: over the connection it made."""
    a, b = pair
    await works(a, b)
    await works(b, a)


async def test_oversized_frames(pair):
    a, b = pair
    channel = await stream.connect(b.node, a.ring.address, "x")
    with contextlib.suppress(ChannelClosed):
        await channel.send(bytes((1 << 20) + 1))
    with pytest.raises(ChannelClosed):
        await channel.recv()
    small = await stream.connect(b.node, a.ring.address, "x", max_frame=10)
    with pytest.raises(ProtocolError):
        await small.send(bytes(11))
    await small.close()
    await works(a, b)


async def test_openings_that_are_none(pair):
    a, b = pair
    for frame in (b"", b"\xff", hello(), hello(7), hello(""), hello("x" * 201)):
        raw = await b.node.open_stream(a.ring.address, stream.PROTOCOL)
        await raw.send(frame)
        with pytest.raises(StreamError):
            await raw.receive(100, 2.0)
        await raw.close(clean=False)
    assert a.channels == []
    with pytest.raises(ProtocolError, match="purpose"):
        await stream.connect(b.node, a.ring.address, "")
    await works(a, b)


async def test_a_handler_that_fails(pair, caplog):
    a, b = pair
    channel = await stream.connect(b.node, a.ring.address, "x")
    await channel.send(b"fail")
    with pytest.raises(ChannelClosed):
        await channel.recv()
    assert "a bug of the application" in caplog.text
    await works(a, b)


async def test_deadline(pair):
    a, b = pair
    channel = await stream.connect(b.node, a.ring.address, "x")
    with pytest.raises(WireError, match="silent"):
        await channel.recv(timeout=0.2)
    await works(a, b)


async def test_a_peer_that_stops(pair):
    a, b = pair
    channel = await stream.connect(b.node, a.ring.address, "x")
    waiting = asyncio.create_task(channel.recv())
    await asyncio.sleep(0.1)
    await a.node.stop()
    with pytest.raises(WireError):
        await waiting
    with pytest.raises(WireError):
        await stream.connect(b.node, a.ring.address, "x")


async def test_nobody_known(pair):
    _, b = pair
    with pytest.raises(WireError, match="no route"):
        await stream.connect(b.node, ring(9).address, "x")
