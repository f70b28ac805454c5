"""Frames between the processes of one engine: sockets, read and written without waiting for either.

A frame travels behind its length (4 bytes). `drive` carries one party of blind inference: it never waits to send
while something could be read, so two parties that both send much cannot lock one another.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections import deque
from collections.abc import Mapping

import numpy as np

from protocols.blind.kernels import Buffer
from protocols.blind.messages import MAX_FRAME_BYTES, Out, Role
from protocols.blind.party import Party
from protocols.errors import ProtocolError, WireError

PATIENCE = 120.0
BACKLOG = 1 << 30  # bytes of a tape that a model's party holds ready; beyond it the dealer waits
_BUFFER = 1 << 22


class Link:
    """One end of a stream socket. Bytes moved are counted, length fields apart."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        end.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        if end.family != socket.AF_UNIX:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._out: deque[memoryview] = deque()
        self._ready: deque[memoryview] = deque()
        self._head, self._body, self._got = bytearray(), memoryview(b""), 0
        self.sent = self.received = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def sending(self) -> bool:
        """Whether bytes wait to be sent."""
        return len(self._out) > 0

    def take(self) -> memoryview | None:
        """A frame that came, or None."""
        return self._ready.popleft() if self._ready else None

    def put(self, frame: Buffer) -> None:
        """Queues a frame and sends what the socket takes now."""
        self.sent += len(frame)
        self._out.append(memoryview(len(frame).to_bytes(4, "big")))
        self._out.append(memoryview(frame))
        self.push()

    def push(self) -> None:
        """Sends what the socket takes now."""
        try:
            while self._out:
                moved = self._socket.sendmsg(list(self._out)[:16])
                while self._out and moved >= len(self._out[0]):
                    moved -= len(self._out.popleft())
                if moved:
                    self._out[0] = self._out[0][moved:]
        except BlockingIOError:
            return
        except OSError:
            raise WireError("the other process is gone", "start the engine again") from None

    def pull(self) -> None:
        """Reads what there is. Raises `WireError` at the end of the stream, `ProtocolError` on a frame too long."""
        try:
            while not self._ready:
                if len(self._head) < 4:
                    part = self._socket.recv(4 - len(self._head))
                    self._head += part
                    moved = len(part)
                    if len(self._head) == 4:
                        self._begin()
                else:
                    moved = self._socket.recv_into(self._body[self._got :])
                    self._got += moved
                    if self._got == len(self._body):
                        self._finish()
                if not moved:
                    raise WireError("the other process ended in the middle", "start the engine again")
        except BlockingIOError:
            return
        except OSError:
            raise WireError("the other process is gone", "start the engine again") from None

    def _begin(self) -> None:
        size = int.from_bytes(self._head, "big")
        if not 0 < size <= MAX_FRAME_BYTES:
            raise ProtocolError(f"a frame of {size} bytes is not within 1..{MAX_FRAME_BYTES}")
        self._body, self._got = np.empty(size, np.uint8).data, 0

    def _finish(self) -> None:
        self._ready.append(self._body)
        self.received += len(self._body)
        self._head, self._body, self._got = bytearray(), memoryview(b""), 0

    def receive(self, patience: float = PATIENCE) -> bytes:
        """The next frame, waited for. Raises `WireError` after `patience` seconds."""
        until = time.monotonic() + patience
        while (frame := self.take()) is None:
            wait([self], until)
        return bytes(frame)

    def send(self, frame: Buffer, patience: float = PATIENCE) -> None:
        """Sends a frame whole."""
        until = time.monotonic() + patience
        self.put(frame)
        while self.sending:
            wait([self], until, reading=False)

    def close(self) -> None:
        """Closes the socket; safe to repeat."""
        with contextlib.suppress(OSError):
            self._socket.close()


def wait(links: list[Link], until: float, reading: bool = True) -> None:
    """Waits for one of the links and moves what can be moved. Raises `WireError` when `until` has passed."""
    left = until - time.monotonic()
    readers = links if reading else []
    came, free, _ = select.select(readers, [k for k in links if k.sending], [], max(0.0, left))
    if not came and not free and left <= 0:
        raise WireError("the other process of the engine was silent for too long", "start the engine again")
    for link in free:
        link.push()
    for link in came:
        link.pull()


def drive(
    party: Party, links: Mapping[Role, Link], outs: list[Out] | None = None, patience: float = PATIENCE
) -> None:
    """Carries a party's frames until it is done and all it said is sent, or until it is `waiting`.

    outs: what `start` or `begin` gave, if that was called already. Raises `ProtocolError` or `WireError`.
    """
    party.sink = lambda out: links[out.to].put(out.frame)
    outs = party.start() if outs is None else outs
    while True:
        for out in outs:
            links[out.to].put(out.frame)
        if party.done or party.waiting:
            break
        heard = [role for role in links if party.backlog(role) < BACKLOG]
        frame, until = None, time.monotonic() + patience
        while frame is None:
            for role in heard:
                if (frame := links[role].take()) is not None:
                    break
            else:
                wait([links[role] for role in heard], until)
        outs = party.receive(role, frame)
    until = time.monotonic() + patience
    for link in links.values():
        while link.sending:
            wait([link], until, reading=False)
