"""A channel: frames both ways between two proved wallets, whatever carries them.

Two carriers: `agents.wire.tls` (direct and fast: bulk and the rounds of blind inference) and
`agents.wire.stream` (over libp2p, where no direct way exists). Both bound the frames and every wait.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

from agents.wire.limits import MAX_CHANNEL_FRAME
from protocols.codec import decode, encode
from protocols.errors import ProtocolError, WireError

DEADLINE = 60.0
"""Seconds that `send` and `recv` wait unless told otherwise."""

MAX_HELLO = 1024
_VERSION = 1


class ChannelClosed(WireError):
    """The other side ended the channel."""

    def __init__(self) -> None:
        super().__init__("the peer closed the channel", "see the peer's log, then try again")


class Channel(ABC):
    """peer: the checksummed wallet at the other end, proved. purpose: what the connecting side asked for.

    sent, received: bytes of frames and their lengths so far. One sender and one receiver at a time. A channel
    that failed in any way is closed; it never delivers half a frame or a frame out of order.
    """

    def __init__(self, peer: str, purpose: str, max_frame: int = MAX_CHANNEL_FRAME) -> None:
        self.peer, self.purpose, self.max_frame = peer, purpose, max_frame
        self.sent = self.received = 0

    async def send(self, frame: bytes, timeout: float = DEADLINE) -> None:
        """Sends one frame. Raises `WireError` when the peer is gone or takes nothing in `timeout` seconds."""
        if len(frame) > self.max_frame:
            raise ProtocolError(f"a frame of {len(frame)} bytes is over the limit of {self.max_frame}")
        await self._write(frame, timeout)
        self.sent += len(frame) + 4

    async def recv(self, timeout: float = DEADLINE) -> bytes:
        """The next frame. Raises `WireError` when the peer closed or is silent, `ProtocolError` on a frame
        over the limit."""
        frame = await self._read(self.max_frame, timeout)
        self.received += len(frame) + 4
        return frame

    @abstractmethod
    async def close(self) -> None:
        """Closes the channel; what was sent still arrives. Never raises; twice does nothing."""

    @abstractmethod
    async def _write(self, frame: bytes, timeout: float) -> None: ...

    @abstractmethod
    async def _read(self, maximum: int, timeout: float) -> bytes: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def hello(*values: Any) -> bytes:
    """An opening frame: canonical CBOR of the version and the values."""
    return encode([_VERSION, *values])


def read_hello(data: bytes, *kinds: type) -> list[Any]:
    """The values of an opening frame. Raises `ProtocolError` unless they are of these kinds."""
    value = decode(data, limit=MAX_HELLO)
    if not isinstance(value, list) or len(value) != len(kinds) + 1 or encode(value) != data:
        raise ProtocolError("not an opening frame")
    if value[0] != _VERSION or any(
        type(item) is not kind for item, kind in zip(value[1:], kinds, strict=True)
    ):
        raise ProtocolError("the opening frame is of another version or form")
    return value[1:]


def check_purpose(purpose: str) -> str:
    """The purpose itself. Raises `ProtocolError` unless it is 1 to 200 printable characters."""
    if not 0 < len(purpose) <= 200 or not purpose.isprintable():
        raise ProtocolError("a channel's purpose is 1 to 200 printable characters")
    return purpose
