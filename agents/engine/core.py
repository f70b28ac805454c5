"""The agent's heart: one machine, one store, no I/O of its own.

`Core` is what the real agent and the simulated one have in common. It takes events, lets the machine decide,
writes state and effects in one transaction, and hands out the effects that are due. Who performs them (a chain
client, a libp2p node, a simulated network) is not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import Any, Generic, TypeVar

from agents.engine.faults import label, point
from agents.engine.store import Pending, Store, ThreadRow, blob_name
from protocols.codec import pack, unpack
from protocols.dialogues import Said, follow
from protocols.effects import CaseState, Effect, Event, Machine
from protocols.errors import ProtocolError

S = TypeVar("S", bound=CaseState)
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 20.0
_PICTURES = {"delivery.deliver": "scan", "disclosure.show": "mask"}
"""Messages that bring a picture, which the log keeps as a blob when the state that follows names it."""


class NotYet(ProtocolError):
    """A proper message that the case is not ready for: it is not acknowledged, so the peer says it again."""


class Core(Generic[S]):
    """Applies events to cases and keeps the list of effects to do.

    Not thread-safe: one thread (or one event loop) owns it.
    """

    def __init__(self, machine: Machine[S], store: Store, address: str) -> None:
        self.machine = machine
        self.store = store
        self.address = address
        self.on_change: Callable[[S, S | None, Event], None] | None = None
        """Called after the commit with (state, state before or None, event): for progress and pages only."""

    # ---- cases
    def open_case(self, state: S, event: Event) -> bool:
        """Start a case and apply its first event; False when the event was applied before."""
        with self.store.transaction():
            if self.store.case(state.key) is not None or not self.store.first_time(event, state.key):
                return False
            after = self._step(state, event)
        self._changed(after, None, event)
        return True

    def state(self, key: str) -> S | None:
        """A case's state, or None when there is no such case."""
        packed = self.store.case(key)
        return None if packed is None else unpack(self.machine.state, packed)

    def states(self, open_only: bool = False) -> list[S]:
        """All cases, oldest first."""
        found = (self.state(key) for key in self.store.case_keys(open_only))
        return [state for state in found if state is not None]

    def apply(self, key: str, event: Event) -> bool:
        """Apply an event to a case; False when there is no such case or the event was applied before."""
        with self.store.transaction():
            before = self.state(key)
            if before is None or not self.store.first_time(event, key):
                return False
            after = self._step(before, event)
        self._changed(after, before, event)
        return True

    def apply_open(self, event: Event) -> None:
        """Apply an event without id (a tick) to every case that is not over."""
        for key in self.store.case_keys(open_only=True):
            self.apply(key, event)

    def _step(self, before: S, event: Event) -> S:
        after, effects = self.machine.reduce(before, event)
        if after is not before or self.store.case(after.key) is None:
            final = after.phase in self.machine.final
            self.store.save_case(after.key, self.machine.role, after.phase, final, pack(after))
        self._write(after.key, effects)
        return after

    def _write(self, key: str, effects: Iterable[Effect]) -> None:
        for effect in effects:
            point("before-write", label(effect.kind, dict(effect.body)))
            if effect.kind == "say":
                self._note_said(key, effect)
            self.store.add_effect(key, effect)

    def _changed(self, after: S, before: S | None, event: Event) -> None:
        if self.on_change is not None:
            self.on_change(after, before, event)

    # ---- conversations
    def _note_said(self, key: str, effect: Effect) -> None:
        """Our own messages move the conversation too; a message that the rules forbid is a defect of ours."""
        body = effect.body
        said = Said(body["conversation"], body["thread"], body["number"], body["performative"], body["body"])
        opener = self.address if body["mine"] else body["to"]
        row = self.store.thread(said.thread, opener)
        if row is not None and row.number >= said.number:
            return  # said before; the effect's id keeps it from being said twice
        follow(row.last if row else None, row.number + 1 if row else 1, said)
        self.store.save_thread(
            ThreadRow(said.thread, opener, said.conversation, body["to"], key, said.performative, said.number)
        )

    def hear(
        self, sender: str, envelope: str, said: Said, now: float, accept: Callable[[str, Said], S | None]
    ) -> str | None:
        """A peer's message, already proven to be the peer's. Returns the case it belongs to.

        accept: asked for a fresh case when the message opens a conversation that no case of ours awaits;
        may answer None to turn it away. Raises `ProtocolError` when the rules forbid the message.
        A message that was applied before is accepted silently, so that it gets acknowledged again.
        `NotYet` when the case is not ready for it: the caller must not acknowledge.
        """
        if self.store.seen(envelope):
            return None
        event = Event(
            f"{said.conversation}.{said.performative}",
            {"from": sender, "thread": said.thread, "number": said.number, "body": said.body, "now": now},
            envelope,
        )
        ours = self.store.thread(said.thread, self.address)
        theirs = self.store.thread(said.thread, sender)
        row = ours if ours is not None and ours.peer == sender else theirs
        if row is not None and row.conversation != said.conversation:
            raise ProtocolError(f"thread {said.thread} is no {said.conversation} conversation")
        follow(row.last if row else None, row.number + 1 if row else 1, said)
        opener = row.opener if row else sender
        fresh = None
        if row is None:
            fresh = accept(sender, said)
            if fresh is None:
                raise ProtocolError(f"a {said.conversation} conversation about nothing that is known here")
        with self.store.transaction():
            key = row.case_key if row else fresh.key if fresh else ""
            known = self.state(key)
            before = known or fresh
            if before is None:
                return None
            early = not self.machine.answers(before.phase, event.kind)
            if early and self.machine.awaits(before.phase, event.kind):
                raise NotYet(f"{event.kind} is not awaited in phase {before.phase}")
            self.store.first_time(event, key)
            if isinstance(picture := said.body.get(_PICTURES.get(event.kind, "")), bytes):
                event = replace(event, body={**event.body, "blob": blob_name(picture)})
            self.store.save_thread(
                ThreadRow(said.thread, opener, said.conversation, sender, key, said.performative, said.number)
            )
            after = self._step(before, event)
            if isinstance(picture, bytes) and after is not before and _names(after, event.body["blob"]):
                self.store.put_blob(picture)
        self._changed(after, known, event)
        return after.key

    # ---- effects
    def due(self, now: float) -> list[Pending]:
        """Effects to perform now, oldest first."""
        return self.store.pending(now)

    def done(self, pending: Pending, outcome: Event | None) -> None:
        """An effect is done: mark it and apply what came of it, in one transaction. Safe to repeat."""
        with self.store.transaction():
            if not self.store.finish(pending.effect.id):
                return
            before = self.state(pending.case_key)
            if before is None or outcome is None:
                return
            after = self._step(before, outcome)
        self._changed(after, before, outcome)

    def later(self, pending: Pending, now: float, trouble: str) -> float:
        """An effect could not be done: try again after a growing pause (returned, seconds)."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 1.6**pending.attempts)
        with self.store.transaction():
            self.store.postpone(pending.effect.id, now + pause, trouble)
        return pause


def _names(state: Any, blob: bytes) -> bool:
    """Whether a state names a blob. A picture that was refused is named by none, and is not kept."""
    return any(getattr(state, field.name) == blob for field in fields(state))
