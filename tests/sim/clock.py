"""Simulated time: an asyncio loop that never waits.

When nothing is ready, the clock jumps to the next timer. `asyncio.sleep`, timeouts and every duty's loops
therefore run as they are, in no time, in one order. A loop with nothing to wait for at all is a deadlock and
says so.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

EPOCH = 1_800_000_000
"""Unix time at the start of every run."""


class Deadlock(RuntimeError):
    """Nothing is ready and no timer is set."""


class _Selector(selectors.SelectSelector):
    """Lets the clock jump instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Deadlock("every agent waits for something that will never come")
        if timeout > 0:
            self.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. `faults`: what tasks and callbacks raised and nobody took."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self.faults: list[BaseException | str] = []
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self._virtual.now

    def wall(self) -> float:
        """What `time.time` says."""
        return EPOCH + self._virtual.now

    def _note(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        self.faults.append(context.get("exception") or str(context.get("message")))
