"""Many blind sessions over one channel, one after another: a lane each, and words between them.

Frames of blind inference carry the name of their session or tape (`protocols/blind/messages.py`); a lane is what has
one name. Everything else that comes is a word: a small CBOR list, with which the two sides agree on what comes next.
One task reads the channel as long as it is open, so nothing is lost between the end of one session and the beginning of
the next. A frame whose lane is not open yet waits, and with it all that comes behind it: the reader takes no more than
a lane's queue holds.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Any, Self

from agents.engine.blind import FOREVER
from agents.wire.channel import Channel
from protocols.blind.messages import HEADER_BYTES, MAGIC
from protocols.codec import decode, encode
from protocols.errors import CrypDocError, ProtocolError, WireError

PATIENCE = 90.0
"""Seconds that a frame waits for its lane."""

WORD_BYTES = 1 << 18
COMPLAINT = 1.0
_QUEUE = 16
_Item = bytes | CrypDocError


class Lane:
    """One session's part of a channel: a `Link` for the pump."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.queue: asyncio.Queue[_Item] = asyncio.Queue(_QUEUE)
        self.closed = False

    async def send(self, frame: bytes, timeout: float = PATIENCE) -> None:
        """Sends a frame; its name is inside."""
        await self._channel.send(frame, timeout)

    async def recv(self, timeout: float = PATIENCE) -> bytes:
        """The next frame of this lane. Raises what ended the channel."""
        return await _take(self.queue, timeout)


class Lanes:
    """The lanes of one channel. A context; leaving it stops the reading and leaves the channel to its owner."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._lanes: dict[bytes, Lane] = {}
        self._words: asyncio.Queue[_Item] = asyncio.Queue(_QUEUE)
        self._opened = asyncio.Event()
        self._fault: CrypDocError | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._reader is not None
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    def open(self, name: bytes) -> Lane:
        """The lane of a session or tape, from now on."""
        if name in self._lanes:
            raise ProtocolError("a session's name was used twice", "the session is tried again")
        lane = self._lanes[name] = Lane(self.channel)
        if self._fault is not None:
            lane.queue.put_nowait(self._fault)
        self._opened.set()
        return lane

    def close(self, name: bytes) -> None:
        """That session is over; what still comes for it is dropped."""
        lane = self._lanes[name]
        lane.closed = True
        while not lane.queue.empty():
            lane.queue.get_nowait()

    async def say(self, *word: Any) -> None:
        """Send a word."""
        await self.channel.send(encode(list(word)))

    async def hear(self, wanted: str, length: int, timeout: float = PATIENCE) -> list[Any]:
        """The next word, which must be `wanted` or "sorry". Raises `ProtocolError` on another."""
        word = await self.word(timeout)
        if word[0] == "sorry" and len(word) == 2:
            raise ProtocolError(f"refused: {str(word[1])[:200]}", "the session is tried again")
        if word[0] != wanted or len(word) != length:
            raise ProtocolError(f"a word came that is not {wanted!r}", "the session is tried again")
        return word

    async def complaint(self) -> str:
        """What the other side is sorry for, if it said so before it left; "" otherwise."""
        with contextlib.suppress(CrypDocError):
            word = await self.word(COMPLAINT)
            return str(word[1])[:200] if word[0] == "sorry" and len(word) == 2 else ""
        return ""

    async def word(self, timeout: float = PATIENCE) -> list[Any]:
        """The next word, a list that begins with a text. Raises `ProtocolError`, or what ended the channel."""
        value = decode(await _take(self._words, timeout), WORD_BYTES)
        if not isinstance(value, list) or not value or not isinstance(value[0], str):
            raise ProtocolError("a word on a channel of sessions is malformed", "the session is tried again")
        return value

    # ---- inside
    async def _read(self) -> None:
        try:
            while True:
                frame = await self.channel.recv(FOREVER)
                if frame[: len(MAGIC)] != MAGIC or len(frame) < HEADER_BYTES:
                    await self._words.put(frame)
                    continue
                lane = await self._lane(bytes(frame[8:HEADER_BYTES]))
                await _put(lane, frame)
        except CrypDocError as error:
            self._fault = error
            for queue in (self._words, *(lane.queue for lane in self._lanes.values() if not lane.closed)):
                await queue.put(error)

    async def _lane(self, name: bytes) -> Lane:
        try:
            async with asyncio.timeout(PATIENCE):
                while name not in self._lanes:
                    self._opened.clear()
                    await self._opened.wait()
        except TimeoutError:
            raise ProtocolError(
                "a frame of a session that was never agreed on", "the session is tried again"
            ) from None
        return self._lanes[name]


async def _put(lane: Lane, frame: bytes) -> None:
    """Into the lane's queue, when there is room; nowhere once the lane is closed."""
    while not lane.closed:
        try:
            lane.queue.put_nowait(frame)
            return
        except asyncio.QueueFull:
            await asyncio.sleep(0.005)


async def _take(queue: asyncio.Queue[_Item], timeout: float) -> bytes:
    try:
        async with asyncio.timeout(timeout):
            item = await queue.get()
    except TimeoutError:
        raise WireError("the peer is silent", "the session is tried again") from None
    if isinstance(item, CrypDocError):
        raise item
    return item
