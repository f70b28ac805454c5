"""An emulated wide-area link: a relay between two sockets that delays every byte and bounds their rate.

    ends = wan(delay=0.02, rate=100e6 / 8)     # 40 ms there and back, 100 Mbit/s each way

A byte that comes in at time t leaves at max(t, when the line is free) + size / rate + delay, in order, each direction
by itself; nothing is lost. The relay is a process of its own, so that it takes no time of the parties.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import select
import socket
import time
from collections import deque
from dataclasses import dataclass, field

PIECE = 1 << 14


@dataclass
class _Way:
    """One direction. line: when the line is free again. waiting: (when it arrives, bytes)."""

    source: socket.socket
    target: socket.socket
    delay: float
    rate: float
    line: float = 0.0
    waiting: deque[tuple[float, memoryview]] = field(default_factory=deque)
    open: bool = True

    def take(self, now: float) -> None:
        """Reads what there is and puts it on the line."""
        data = self.source.recv(PIECE)
        self.open = bool(data)
        if data:
            self.line = max(now, self.line) + len(data) / self.rate
            self.waiting.append((self.line + self.delay, memoryview(data)))

    def give(self, now: float) -> None:
        """Hands on what has arrived."""
        while self.waiting and self.waiting[0][0] <= now:
            when, data = self.waiting.popleft()
            try:
                sent = self.target.send(data)
            except BlockingIOError:
                sent = 0
            if sent < len(data):
                self.waiting.appendleft((when, data[sent:]))
                return
        if not self.open and not self.waiting:
            with contextlib.suppress(OSError):
                self.target.shutdown(socket.SHUT_WR)


def _relay(one: socket.socket, other: socket.socket, delay: float, rate: float) -> None:
    for end in (one, other):
        end.setblocking(False)
    ways = [_Way(one, other, delay, rate), _Way(other, one, delay, rate)]
    while all(way.open or way.waiting for way in ways):
        now = time.perf_counter()
        due = min((way.waiting[0][0] for way in ways if way.waiting), default=now + 0.05)
        # A select is woken some 0.1 ms late: the last of a wait is spent looking at the clock.
        came, _, _ = select.select([w.source for w in ways if w.open], [], [], max(0.0, due - now - 0.0002))
        now = time.perf_counter()
        for way in ways:
            if way.source in came:
                try:
                    way.take(now)
                except OSError:
                    return
            way.give(now)


def wan(delay: float, rate: float) -> tuple[socket.socket, socket.socket]:
    """Two ends of the link. delay: seconds one way. rate: bytes a second, each way. It ends with either end."""
    (mine, relay_mine), (theirs, relay_theirs) = socket.socketpair(), socket.socketpair()
    context = multiprocessing.get_context("fork")
    process = context.Process(
        target=_entry, args=(mine, theirs, relay_mine, relay_theirs, delay, rate), daemon=True
    )
    process.start()
    relay_mine.close()
    relay_theirs.close()
    return mine, theirs


def _entry(
    mine: socket.socket,
    theirs: socket.socket,
    one: socket.socket,
    other: socket.socket,
    delay: float,
    rate: float,
) -> None:
    mine.close()
    theirs.close()
    _relay(one, other, delay, rate)
