"""The channel over libp2p, for peers without a direct way: `/crypdoc/channel/1`, sealed and proved by Noise.

The connecting side sends its purpose, the other answers welcome, then frames go both ways. Same interface and
bounds as the TLS channel; slower by a few milliseconds a round trip.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from libp2p.network.stream.exceptions import StreamError

from agents.wire.channel import MAX_HELLO, Channel, ChannelClosed, check_purpose, hello, read_hello
from agents.wire.limits import MAX_CHANNEL_FRAME
from agents.wire.node import Node, Stream
from protocols.errors import CrypDocError, ProtocolError, WireError

log = logging.getLogger(__name__)

PROTOCOL = "/crypdoc/channel/1"
OPENING_SECONDS = 10.0


class StreamChannel(Channel):
    """A channel over one libp2p stream. Made by `connect` and `serve`."""

    def __init__(self, stream: Stream, max_frame: int = MAX_CHANNEL_FRAME) -> None:
        super().__init__(stream.wallet, "", max_frame)
        self._stream = stream
        self._open = True

    async def close(self) -> None:
        """Half-closes the stream: what was sent still arrives."""
        if self._open:
            self._open = False
            await self._stream.close()

    async def _write(self, frame: bytes, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._stream.send(frame)
        except TimeoutError:
            await self._cut()
            raise WireError(f"the peer took nothing for {timeout:.0f} seconds", "try again") from None
        except StreamError:
            await self._cut()
            raise ChannelClosed() from None

    async def _read(self, maximum: int, timeout: float) -> bytes:
        try:
            return await self._stream.receive(maximum, timeout)
        except StreamError:
            await self._cut()
            raise ChannelClosed() from None
        except BaseException:
            await self._cut()
            raise

    async def _cut(self) -> None:
        self._open = False
        await self._stream.close(clean=False)


async def connect(
    node: Node,
    wallet: str,
    purpose: str,
    *,
    timeout: float = OPENING_SECONDS,
    max_frame: int = MAX_CHANNEL_FRAME,
) -> Channel:
    """A channel to `wallet`, whose route the node must know. Raises `WireError` or `ProtocolError`."""
    channel = StreamChannel(await node.open_stream(wallet, PROTOCOL), max_frame)
    try:
        await channel._write(hello(check_purpose(purpose)), timeout)
        if read_hello(await channel._read(MAX_HELLO, timeout), bool) != [True]:
            raise ProtocolError("the peer does not want this channel")
    except BaseException:
        await channel.close()
        raise
    channel.purpose = purpose
    return channel


def serve(
    node: Node, on_channel: Callable[[Channel], Awaitable[None]], max_frame: int = MAX_CHANNEL_FRAME
) -> None:
    """`await on_channel(channel)` for each that others open; call it before the node starts."""

    async def attend(stream: Stream) -> None:
        channel = StreamChannel(stream, max_frame)
        try:
            purpose = read_hello(await channel._read(MAX_HELLO, OPENING_SECONDS), str)[0]
            channel.purpose = check_purpose(purpose)
            await channel._write(hello(True), OPENING_SECONDS)
            await on_channel(channel)
        except ChannelClosed:
            log.debug("%s closed the %s channel", channel.peer, channel.purpose)
        except CrypDocError as error:
            log.warning("a libp2p channel of %s ended: %s", channel.peer, error)
        except Exception:
            log.exception("the %s channel of %s failed here", channel.purpose, channel.peer)
        finally:
            await channel.close()

    node.serve_streams(PROTOCOL, attend)
