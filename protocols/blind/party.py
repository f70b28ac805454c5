"""What the two parties have in common: frames in, frames out, one order, one use.

A party is a script (a generator) that yields the role whose next message it awaits and is sent that message;
it emits its own. Around it, every frame is checked against the schedule before the script sees a byte: link,
name, sequence number, kind, exact length, turn. The first fault ends the party: its script and all it holds
are dropped, and every later call raises `ProtocolError`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from protocols.blind.kernels.interface import Buffer
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
from protocols.blind.schedule import MAX_BATCH, schedule
from protocols.blind.secret import Secret
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.errors import ProtocolError

Clock: TypeAlias = Callable[[], float]
Script: TypeAlias = Generator[Role, Any, None]  # it is sent a message's body, as `_read` made it


@dataclass(frozen=True, slots=True)
class Lap:
    """Seconds on the party's clock when it had done with a node of the topology; -1: with what follows the last."""

    place: int
    at: float


class _Inbox:
    """The frames of one incoming link, put together to messages."""

    def __init__(self, items: list[Item]) -> None:
        self.items = deque(items)
        self.ready: deque[tuple[int, Any]] = deque()
        self.backlog = 0
        self._parts: list[Buffer] = []
        self._sequence = self._got = 0

    def take(
        self, kind: int, sequence: int, body: Buffer, size_of: dict[Kind, int]
    ) -> tuple[Kind, Item, Buffer] | None:
        """Takes the next frame; the message that it ends, if it ends one. size_of: kinds that may stand instead."""
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
        if self._got < size:
            return None
        whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts, self._got = [], 0
        return Kind(kind), self.items.popleft(), whole


class Party(Secret):
    """Base of `PatientParty` and `ModelParty`. Made for one session and one tape; drives its subclass's script.

    start() -> frames to send first; receive(frm, frame) -> frames to send next. Both raise
    `ProtocolError`, after which the party is dead. done: nothing more is due. steps_done, steps_total:
    messages sent or received, of all. laps: what it spent, by `clock`. sink: takes each frame as it is
    made, so that the other side works at the same time; without one, `start` and `receive` return them.
    """

    role: Role

    def __init__(
        self,
        topology: Topology,
        session: bytes,
        tape: bytes,
        used: UsedSessions,
        batch: int,
        known: bool = False,
        clock: Clock | None = None,
    ) -> None:
        if not 1 <= batch <= MAX_BATCH:
            raise ProtocolError(f"a batch of {batch} images is outside 1..{MAX_BATCH}", "send fewer at once")
        used.claim(session)
        used.claim(tape)
        items = schedule(topology, batch, known)
        self.session, self.tape, self.batch = session, tape, batch
        self.done = False
        self.laps: list[Lap] = []
        self.sink: Callable[[Out], None] | None = None
        self._clock = clock
        self._dead = False
        self._script: Script | None = None
        self._awaits: Role | None = None
        self._speaker: Role | None = None  # whose message is being worked on
        self._outbox: list[Out] = []
        self._emitted: Counter[Kind] = Counter()
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

    def _read(self, kind: Kind, item: Item, body: Buffer) -> Any:
        """What the script is sent of a message; done as it comes, so that it is ready when it is needed."""
        return bytes(body)

    def _free(self, frm: Role) -> bool:
        """Whether frames of this link may come before they are awaited."""
        return frm is Role.DEALER

    def _instead(self) -> dict[Kind, int]:
        """Kinds, with their sizes, that may stand in place of the message due."""
        return {}

    def backlog(self, frm: Role) -> int:
        """Bytes that came from `frm` and were not used yet: a pump stops reading when they are many."""
        inbox = self._inboxes.get(frm)
        return inbox.backlog if inbox is not None else 0

    def start(self) -> list[Out]:
        if self._dead or self.done or self._script is not None:
            raise ProtocolError("this party was started before", "make a new one with a fresh session")
        self._script = self._run()
        return self._guard(lambda: self._advance(True))

    def receive(self, frm: Role, frame: Buffer) -> list[Out]:
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

    @property
    def awaits(self) -> Role | None:
        """Whose message is needed next; None when the party is done or dead."""
        return self._awaits

    @property
    def speaker(self) -> Role | None:
        """Whose message was worked on last: after an error, whose fault it is."""
        return self._speaker

    @property
    def waiting(self) -> bool:
        """Whether the party has done all that it can before its own side says `begin`."""
        return self._awaits is self.role

    def _accept(self, frm: Role, data: Buffer) -> None:
        self._speaker = frm
        frame = decode_frame(data)
        if frame.name != (self.tape if frm is Role.DEALER else self.session):
            raise bad_frame("it is of another session or tape")
        inbox = self._inboxes.get(frm)
        if inbox is None or not (self._free(frm) or self._awaits is frm):
            raise bad_frame("its sender is not to speak now")
        message = inbox.take(frame.kind, frame.sequence, frame.body, self._instead())
        if message is not None:
            self.steps_done += 1
            inbox.backlog += len(message[2])
            inbox.ready.append((len(message[2]), self._read(*message)))
            self._advance(False)

    def _advance(self, own_side: bool) -> None:
        """Runs the script as far as the messages at hand allow. own_side: at first, and when it awaits its own."""
        assert self._script is not None
        try:
            if own_side:
                self._awaits = self._script.send(None)
            while (
                self._awaits is not None and not self.waiting and (inbox := self._inboxes[self._awaits]).ready
            ):
                size, message = inbox.ready.popleft()
                inbox.backlog -= size
                self._speaker = self._awaits
                self._awaits = self._script.send(message)
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
        self._emitted[kind] += 1
        self.steps_done += 1
        for frame in frames:
            if self.sink is not None:
                self.sink(Out(to, frame))
            else:
                self._outbox.append(Out(to, frame))

    def _lap(self, place: int) -> None:
        if self._clock is not None:
            self.laps.append(Lap(place, self._clock()))
