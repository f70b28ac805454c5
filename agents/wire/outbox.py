"""What waits to be written to one peer: one long-lived stream, reconnected with backoff and jitter.

Runs on the trio thread. An item is named by its key, so an engine that repeats an effect does not queue it
twice. An item leaves the outbox when it has been written whole; that it arrived is for the peer to say.
"""

from __future__ import annotations

import contextlib
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from agents.wire.frames import write_frame
from agents.wire.limits import Limits
from protocols.errors import WireError


class Outbox:
    """Ends itself when nothing was queued for `limits.idle` seconds.

    open_stream: connects and opens the peer's stream, or raises. on_state(up, why): told of changes."""

    def __init__(
        self,
        open_stream: Callable[[], Awaitable[Any]],
        on_state: Callable[[bool, str], None],
        limits: Limits,
        rng: random.Random,
    ) -> None:
        self._open_stream, self._on_state, self._limits, self._rng = open_stream, on_state, limits, rng
        self._items: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0
        self._filled = trio.Event()
        self._wake = trio.Event()
        self._up: bool | None = None
        self._written = self._ended = self._finishing = False
        self.scope = trio.CancelScope()
        self.done = trio.Event()

    def finish(self) -> None:
        """Write what is queued, see that the peer has read it, and end. Takes nothing more."""
        self._finishing = True
        self._filled.set()

    @property
    def empty(self) -> bool:
        """Whether all has been written."""
        return not self._items

    @property
    def up(self) -> bool:
        """Whether the last attempt reached the peer."""
        return bool(self._up)

    def put(self, key: bytes, data: bytes) -> bool:
        """Queues `data` unless `key` is queued already. False when the outbox is full or finishing."""
        if key in self._items:
            return True
        if self._finishing:
            return False
        limits = self._limits
        full = len(self._items) >= limits.outbound_messages
        if self._items and (full or self._bytes + len(data) > limits.outbound_bytes):
            return False
        self._items[key] = (trio.current_time() + limits.outbound_age, data)
        self._bytes += len(data)
        self._filled.set()
        return True

    def wake(self) -> None:
        """The peer has been heard of: try again at once."""
        self._wake.set()

    async def run(self) -> None:
        """Writes until it is idle. Never raises anything but a cancellation."""
        delay = self._limits.backoff_first
        try:
            with self.scope:
                while await self._wait_for_items():
                    delay = await self._attempt(delay)
        finally:
            self.done.set()

    async def _attempt(self, delay: float) -> float:
        """Connects and writes for as long as that goes well, then waits; gives the delay after that."""
        try:
            await self._pump(await self._open_stream())
        except Exception as error:
            if self._written:
                delay = self._limits.backoff_first
            if self._items:
                self._tell(False, _reason(error))
            else:  # a goodbye, not an outage
                self._up = None
            self._wake = trio.Event()
            with trio.move_on_after(delay * self._rng.uniform(0.5, 1.5)):
                await self._wake.wait()
        return min(2 * delay, self._limits.backoff_most)

    async def _wait_for_items(self) -> bool:
        """Waits for something to write; False when there was nothing for long."""
        self._drop_old()
        with trio.move_on_after(self._limits.idle):
            while not self._items and not self._finishing:
                self._filled = trio.Event()
                await self._filled.wait()
        return bool(self._items)

    async def _pump(self, stream: Any) -> None:
        """Writes items until the stream ends; a peer that closes it is noticed before the next write."""
        self._written = self._ended = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, stream, nursery.cancel_scope)
                while await self._wait_for_items():
                    key, (_, data) = next(iter(self._items.items()))
                    await write_frame(stream, data)
                    self._remove(key)
                    self._written = True
                    self._tell(True, "")
                if self._finishing:
                    await stream.close()  # ours is said; the peer closes its side when it has read it
                    await trio.sleep_forever()
                nursery.cancel_scope.cancel()
            if self._broken_off():
                raise WireError("the peer closed its stream")
        finally:
            with trio.CancelScope(shield=True) as scope, contextlib.suppress(Exception):
                scope.deadline = trio.current_time() + 1
                await stream.close()

    def _broken_off(self) -> bool:
        return self._ended and not (self._finishing and self.empty)

    async def _watch(self, stream: Any, writer: trio.CancelScope) -> None:
        with contextlib.suppress(Exception):
            await stream.read(1)  # the peer never writes here: this returns when the stream ends
        self._ended = True
        writer.cancel()

    def _drop_old(self) -> None:
        now = trio.current_time()
        for key in [key for key, (expires, _) in self._items.items() if expires < now]:
            self._remove(key)

    def _remove(self, key: bytes) -> None:
        item = self._items.pop(key, None)
        if item is not None:
            self._bytes -= len(item[1])

    def _tell(self, up: bool, why: str) -> None:
        if self._up is not up:
            self._up = up
            self._on_state(up, why)


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
