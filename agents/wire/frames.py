"""Frames on a libp2p stream (4-byte big-endian length, then the bytes) and the gate that slows a flood."""

from __future__ import annotations

from typing import Any

import trio
from libp2p.network.stream.exceptions import StreamEOF

from agents.wire.limits import Limits
from protocols.errors import ProtocolError, WireError

LENGTH_BYTES = 4
_CHUNK = 256 << 10


async def read_length(stream: Any, maximum: int) -> int:
    """The length of the next frame; waits without limit. Raises `ProtocolError` above `maximum`."""
    length = int.from_bytes(await _read_exactly(stream, LENGTH_BYTES), "big")
    if length > maximum:
        raise ProtocolError(f"a frame of {length} bytes is over the limit of {maximum}")
    return length


async def read_body(stream: Any, length: int, timeout: float) -> bytes:
    """The `length` bytes of a frame. Raises `ProtocolError` unless they come within `timeout` seconds."""
    try:
        with trio.fail_after(timeout):
            return await _read_exactly(stream, length)
    except trio.TooSlowError:
        raise ProtocolError(f"a frame did not arrive within {timeout:.0f} seconds") from None


async def read_frame(stream: Any, maximum: int, timeout: float) -> bytes:
    """One whole frame. Raises `ProtocolError` above `maximum`, `WireError` after `timeout` seconds."""
    try:
        with trio.fail_after(timeout):
            return await _read_exactly(stream, await read_length(stream, maximum))
    except trio.TooSlowError:
        raise WireError(f"the peer was silent for {timeout:.0f} seconds", "try again") from None


async def write_frame(stream: Any, data: bytes) -> None:
    """Writes one frame; returns when the transport has taken it."""
    await stream.write(len(data).to_bytes(LENGTH_BYTES, "big") + data)


async def _read_exactly(stream: Any, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        chunk = await stream.read(min(length - len(data), _CHUNK))
        if not chunk:
            raise StreamEOF
        data += chunk
    return bytes(data)


class Gate:
    """What one peer may have under way here. Its readers wait at the gate, so the peer's own sends stall.

    Bounds the messages and bytes that the application has not taken yet, and the rate of messages (a token
    bucket). Lives on the trio thread.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._messages = self._bytes = 0
        self._room = trio.Event()
        self._tokens, self._filled = limits.burst, trio.current_time()

    async def enter(self, size: int) -> None:
        """Waits for room for a message of `size` bytes. Raises `ProtocolError` when none is made in time."""
        limits = self._limits
        await self._take_token()
        with trio.move_on_after(limits.stall_timeout):
            while self._messages and (
                self._messages >= limits.inbound_messages or self._bytes + size > limits.inbound_bytes
            ):
                self._room = trio.Event()
                await self._room.wait()
            self._messages += 1
            self._bytes += size
            return
        raise ProtocolError(
            f"nothing was taken for {limits.stall_timeout:.0f} seconds; the peer sends too much"
        )

    def leave(self, size: int) -> None:
        """The application took a message of `size` bytes (or it never came whole)."""
        self._messages -= 1
        self._bytes -= size
        self._room.set()

    async def _take_token(self) -> None:
        rate, now = self._limits.messages_per_second, trio.current_time()
        self._tokens = min(self._limits.burst, self._tokens + (now - self._filled) * rate) - 1
        self._filled = now
        if self._tokens < 0:
            await trio.sleep(-self._tokens / rate)
