"""Carries `protocols.blind.pairwise` talks over a link. What one says may be longer than a frame, so it goes in parts:
a byte (1: more follows) and at most 4 MiB.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import TypeVar

from models.engines.link import Link, wait
from protocols.blind.messages import PART_BYTES
from protocols.blind.pairwise.talk import Talk, Talks
from protocols.errors import ProtocolError

T = TypeVar("T")

MOST = 1 << 30  # bytes that one says at once
PATIENCE = 600.0


class _Ear:
    """Puts parts together."""

    def __init__(self) -> None:
        self._parts: list[memoryview] = []
        self._size = 0

    def take(self, frame: memoryview) -> bytes | None:
        """Words, when they are whole."""
        more = frame[0]
        self._parts.append(frame[1:])
        self._size += len(frame) - 1
        if more > 1 or self._size > MOST:
            raise ProtocolError(
                "a part of the preprocessing is malformed or too long", "start the engine again"
            )
        if more:
            return None
        whole = b"".join(self._parts)
        self._parts, self._size = [], 0
        return whole


def _parts(words: bytes) -> Iterator[bytes]:
    for start in range(0, max(1, len(words)), PART_BYTES):
        end = start + PART_BYTES
        yield bytes((end < len(words),)) + words[start:end]


def carry(talks: Talks[T], link: Link, patience: float = PATIENCE) -> None:
    """Until all talks are done and all is sent. Raises `ProtocolError` or `WireError`."""
    ear, outs = _Ear(), deque(talks.start())
    while True:
        while outs:
            for part in _parts(outs.popleft()):
                link.put(part)
        if talks.done:
            break
        whole, until = None, time.monotonic() + patience
        while whole is None:
            frame = link.take()
            if frame is None:
                wait([link], until)
            else:
                whole = ear.take(frame)
        outs.extend(talks.receive(whole))
    until = time.monotonic() + patience
    while link.sending:
        wait([link], until, reading=False)


def hold(talk: Talk[T], link: Link) -> T:
    """One talk alone; what it made."""
    made: list[T] = []
    carry(Talks(iter([talk]), made.append), link)
    return made[0]
