"""What the three parties have in common: frames in, frames out, one order, one use.

A party is a script (a generator) that yields the role whose next message it awaits and is sent that message's
bytes; it emits its own. Around it, every frame is checked against the schedule before the script sees a byte:
link, session, sequence number, kind, exact length, turn. The first fault ends the party: its script and
all it holds are dropped, and every later call raises `ProtocolError`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import TypeAlias

from protocols.blind.messages import (
    PART_BYTES,
    Item,
    Kind,
    Out,
    Role,
    bad_frame,
    decode_frame,
    encode_frames,
)
from protocols.blind.schedule import schedule
from protocols.blind.secret import Secret
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.errors import ProtocolError

Message: TypeAlias = tuple[Kind, bytes]
Script: TypeAlias = Generator[Role, Message, None]


class _Inbox:
    """The frames of one incoming link, put together to messages."""

    def __init__(self, items: list[Item]) -> None:
        self.items = deque(items)
        self.ready: deque[Message] = deque()
        self._parts: list[bytes] = []
        self._sequence = self._got = 0

    def take(self, kind: int, sequence: int, body: bytes, size_of: dict[Kind, int]) -> bool:
        """Takes the next frame; True when it ends a message. size_of: kinds that may stand instead."""
        if not self.items:
            raise bad_frame("nothing more was due from its sender")
        due = self.items[0]
        sizes = {due.kind: due.size} | size_of
        if sequence != self._sequence or kind not in sizes:
            raise bad_frame("it is repeated, out of order, or of the wrong kind")
        size = sizes[Kind(kind)]
        if len(body) != min(size - self._got, PART_BYTES):
            raise bad_frame("it has the wrong length")
        self._sequence += 1
        self._got += len(body)
        self._parts.append(body)
        if last := self._got == size:
            self.items.popleft()
            self.ready.append((Kind(kind), b"".join(self._parts)))
            self._parts, self._got = [], 0
        return last


class Party(Secret):
    """Base of `PatientParty`, `ModelParty`, `DealerParty`. Made for one session; drives the script of its
    subclass.

    start() -> frames to send first; receive(frm, frame) -> frames to send next. Both raise
    `ProtocolError`, after which the party is dead. done: nothing more is due. steps_done, steps_total:
    messages sent or received, of all.
    """

    role: Role

    def __init__(self, topology: Topology, session: bytes, used: UsedSessions, known: bool = False) -> None:
        used.claim(session)
        items = schedule(topology, known)
        self.session = session
        self.done = False
        self._dead = False
        self._script: Script | None = None
        self._awaits: Role | None = None
        self._outbox: list[Out] = []
        self._due_out = {r: deque(i for i in items if (i.sender, i.receiver) == (self.role, r)) for r in Role}
        self._sent = dict.fromkeys(Role, 0)
        self._inboxes = {
            r: _Inbox([i for i in items if (i.sender, i.receiver) == (r, self.role)]) for r in Role
        }
        self.steps_total = sum(self.role in (i.sender, i.receiver) for i in items)
        self.steps_done = 0

    def _run(self) -> Script:
        """The subclass's script."""
        raise NotImplementedError

    def _forget(self) -> None:
        """The subclass drops its secrets."""

    def _free(self, frm: Role) -> bool:
        """Whether frames of this link may come before they are awaited."""
        return frm is Role.DEALER

    def _instead(self) -> dict[Kind, int]:
        """Kinds, with their sizes, that may stand in place of the message due."""
        return {}

    def start(self) -> list[Out]:
        if self._dead or self.done or self._script is not None:
            raise ProtocolError("this party was started before", "make a new one with a fresh session")
        self._script = self._run()
        return self._guard(lambda: self._advance(None))

    def receive(self, frm: Role, frame: bytes) -> list[Out]:
        if self._dead:
            raise ProtocolError("this session has ended on an error", "start a new session")
        if self.done:
            raise bad_frame("the session is complete")
        if self._script is None:
            raise ProtocolError("this party was not started", "call start first")
        return self._guard(lambda: self._accept(frm, frame))

    def _guard(self, act: Callable[[], None]) -> list[Out]:
        """Does `act`; on any fault ends the party and drops what was to be sent."""
        try:
            act()
        except BaseException:
            self._dead = True
            self._end()
            raise
        out, self._outbox = self._outbox, []
        return out

    def _end(self) -> None:
        self._script = self._awaits = None
        self._outbox = []
        self._inboxes = {}
        self._forget()

    def _accept(self, frm: Role, data: bytes) -> None:
        frame = decode_frame(data)
        if frame.session != self.session:
            raise bad_frame("it is of another session")
        if frm not in self._inboxes or not (self._free(frm) or self._awaits is frm):
            raise bad_frame("its sender is not to speak now")
        if self._inboxes[frm].take(frame.kind, frame.sequence, frame.body, self._instead()):
            self.steps_done += 1
            self._advance(frm)

    def _advance(self, came: Role | None) -> None:
        """Runs the script as far as the messages at hand allow."""
        assert self._script is not None
        try:
            if came is None:
                self._awaits = next(self._script)
            while self._awaits is not None and self._inboxes[self._awaits].ready:
                self._awaits = self._script.send(self._inboxes[self._awaits].ready.popleft())
        except StopIteration:
            self.done = True
            out = self._outbox
            self._end()
            self._outbox = out

    def _emit(self, to: Role, kind: Kind, message: bytes) -> None:
        """Queues a message for `to`; that it is the one the schedule says is an invariant of our own code."""
        due = self._due_out[to].popleft()
        if kind is not Kind.KNOWN and due.kind is not Kind.KNOWN:
            assert (due.kind, due.size) == (kind, len(message)), (due, kind, len(message))
        frames = list(encode_frames(kind, self.session, self._sent[to], message))
        self._sent[to] += len(frames)
        self.steps_done += 1
        self._outbox += [Out(to, frame) for frame in frames]
