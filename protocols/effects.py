"""Deciding is pure: a role is `(state, event) -> (state, effects)`, and this module says what those are.

An **event** is something that happened: a message came, a transaction was mined, time passed. An **effect**
is something to be done: send, transact, infer, read. The engine writes an effect down before it performs
it; the effect's id is derived from the case and the step alone, so the same wish is written once however
often the reason for it is seen, and performing it twice must do no more than performing it once.

A role is a `Machine`: phases, and for each phase the events it answers with the phases that may follow.
The table is checked at every step, drawn in `docs/`, and walked by the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from protocols.errors import ProtocolError


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    id: unique where it must count once (an envelope, a mined transaction), else "" (a tick, a look at the chain).
    """

    kind: str
    body: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """Something to do. `id` is unique for ever within the agent; `body` holds plain, encodable values."""

    id: str
    kind: str
    body: Mapping[str, Any] = field(default_factory=dict)


class CaseState(Protocol):
    """What every role's state has: the local name of the case and the phase it is in."""

    @property
    def key(self) -> str: ...

    @property
    def phase(self) -> str: ...


S = TypeVar("S", bound=CaseState)
Step = tuple[S, list[Effect]]
Handler = Callable[[S, Event], Step[S]]
Table = Mapping[str, Mapping[str, frozenset[str]]]


@dataclass(frozen=True, slots=True)
class Machine(Generic[S]):
    """A role's whole decision making.

    table: phase -> event kind -> phases that may follow. handlers: event kind -> pure function.
    final: phases that nothing leaves.
    """

    role: str
    state: type[S]
    table: Table
    handlers: Mapping[str, Handler[S]]
    final: frozenset[str]

    def reduce(self, state: S, event: Event) -> Step[S]:
        """The next state and what to do. An event that the phase does not answer changes nothing.

        Raises `ProtocolError` when a handler would leave the table: a defect of ours, caught by tests.
        """
        allowed = self.table.get(state.phase, {}).get(event.kind)
        if allowed is None:
            return state, []
        after, effects = self.handlers[event.kind](state, event)
        if after.phase not in allowed:
            raise ProtocolError(f"{self.role}: {event.kind} may not lead from {state.phase} to {after.phase}")
        return after, effects

    def answers(self, phase: str, kind: str) -> bool:
        """Whether an event of that kind may be applied now: the phase answers it, or nothing matters any more."""
        row = self.table.get(phase, {})
        return kind in row or phase in self.final

    def awaits(self, phase: str, kind: str) -> bool:
        """Whether a phase that comes after this one, in the order of the table, answers events of that kind."""
        order = list(self.table)
        if phase not in order:
            return False
        return any(kind in self.table[later] for later in order[order.index(phase) + 1 :])

    def phases(self) -> list[str]:
        """Every phase, in the order of the table."""
        seen = dict.fromkeys(self.table)
        for answers in self.table.values():
            for nexts in answers.values():
                seen.update(dict.fromkeys(sorted(nexts)))
        return list(seen)


def stay(*phases: str) -> frozenset[str]:
    """The set of phases that may follow, as tables write it."""
    return frozenset(phases)
