"""A channel between two processes of this machine, over one end of a socket pair that only they hold.

Nobody else can reach it, so it needs neither a name nor a key; what goes through is bounded all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from agents.wire.channel import Channel, ChannelClosed
from protocols.errors import ProtocolError, WireError

_BUFFER = 1 << 20


class Pipe(Channel):
    """Frames with a 4-byte length. Made by `attach`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, purpose: str) -> None:
        super().__init__("", purpose)
        self._reader, self._writer = reader, writer

    async def close(self) -> None:
        """Flushes and closes."""
        with contextlib.suppress(OSError, TimeoutError):
            self._writer.close()
            async with asyncio.timeout(3):
                await self._writer.wait_closed()

    async def _write(self, frame: bytes, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(len(frame).to_bytes(4, "big"))
                self._writer.write(frame)
                await self._writer.drain()
        except TimeoutError:
            raise WireError(
                f"the other process took nothing for {timeout:.0f} seconds", "try again"
            ) from None
        except OSError:
            raise ChannelClosed() from None

    async def _read(self, maximum: int, timeout: float) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                length = int.from_bytes(await self._reader.readexactly(4), "big")
                if length > maximum:
                    raise ProtocolError(f"a frame of {length} bytes is over the limit of {maximum}")
                return await self._reader.readexactly(length)
        except TimeoutError:
            raise WireError(f"the other process was silent for {timeout:.0f} seconds", "try again") from None
        except (asyncio.IncompleteReadError, OSError):
            raise ChannelClosed() from None


async def attach(end: socket.socket, purpose: str) -> Pipe:
    """A channel over one end of a socket pair, which it owns from here on."""
    reader, writer = await asyncio.open_unix_connection(sock=end, limit=_BUFFER)
    return Pipe(reader, writer, purpose)
