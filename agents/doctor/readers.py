"""Who reads for a doctor agent: the doctor, on the local page or at the terminal, or an automatic reader.

The automatic readers play doctors in demonstrations and tests and are no physicians. Three of them misbehave on
purpose, so that a tester can see what the contract does about it; none of them is ever a default outside the demo.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

from models.reader import read
from models.scans import load_scan

AUTOMATIC = ("auto", "auto-split", "auto-absent")
READERS = ("page", "terminal", *AUTOMATIC)


@dataclass(frozen=True, slots=True)
class Reading:
    """A decision. label "" is insufficient evidence; withhold: commit, and never reveal (a demonstration)."""

    label: str
    confidence: int
    withhold: bool = False


class Reader(Protocol):
    """Whoever looks at the scan. `task`: case_id, round, seat, labels; `png`: the picture."""

    async def read(self, task: dict[str, Any], png: bytes) -> Reading: ...


class AutomaticReader:
    """Reads with a small plain network. mode: `auto`, or one of the two that misbehave.

    auto-split: in round one the seats give different verdicts, so that the panel cannot agree.
    auto-absent: the round's first seat commits and never reveals. look: which of the reader's looks, None for their
    average.
    """

    def __init__(self, mode: str, look: int | None = None, pause: float = 0.5) -> None:
        self._mode = mode
        self._look = look
        self._pause = pause

    async def read(self, task: dict[str, Any], png: bytes) -> Reading:
        """The reading, after a pause in which a person would look."""
        await asyncio.sleep(self._pause)
        scan = await asyncio.to_thread(load_scan, png)
        found = await asyncio.to_thread(read, scan, self._look)
        labels, seat = list(task["labels"]), int(task["seat"])
        if self._mode == "auto-split" and task["round"] == 1:
            choice = [*labels, ""][seat % (len(labels) + 1)]
            return Reading(choice, 60)
        return Reading(found.label, found.confidence_percent, self._mode == "auto-absent" and seat == 0)
