"""Who reads for a doctor agent: the doctor, on the local page or at the terminal, or an automatic reader.

The automatic readers play doctors in demonstrations and tests and are no physicians. Three of them misbehave on
purpose, so that a tester can see what the contract does about it; none of them is ever a default outside the demo.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

from models.reader import Reading as Read
from models.reader import read
from models.scans import Scan, load_scan
from protocols.specialty import specialty

CHEST = specialty("chest radiology")
HAZY = 0.2
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


def read_chest(scan: Scan) -> Read:
    """A rule of thumb for a volume's slices in a lung window: how much of what is about as dense as a lung is hazy."""
    greys = scan.pixels
    clear, hazy = int(((greys > 0.26) & (greys <= 0.45)).sum()), int(((greys > 0.45) & (greys <= 0.8)).sum())
    share = hazy / max(1, clear + hazy)
    sure = min(95, round(50 + 150 * abs(share - HAZY)))
    return Read(CHEST.finding if share > HAZY else CHEST.labels[0], sure)


class AutomaticReader:
    """Reads with a small plain network, a chest by a rule of thumb. mode: `auto`, or one of the two that misbehave.

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
        labels, seat = list(task["labels"]), int(task["seat"])
        if CHEST.finding in labels:
            found = await asyncio.to_thread(read_chest, scan)
        else:
            found = await asyncio.to_thread(read, scan, self._look)
        if self._mode == "auto-split" and task["round"] == 1:
            choice = [*labels, ""][seat % (len(labels) + 1)]
            return Reading(choice, 60)
        return Reading(found.label, found.confidence_percent, self._mode == "auto-absent" and seat == 0)
