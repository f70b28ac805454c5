"""Every machine walked: each phase with each event, and long random ways; the table is never left."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.codec import decode, encode, pack, unpack
from protocols.effects import Effect, Event
from tests.protocols.case.samples import MACHINES, STATES, events

ROLES = sorted(MACHINES)
PAIRS = [
    (role, phase, kind)
    for role in ROLES
    for phase in MACHINES[role].phases()
    for kind in MACHINES[role].handlers
]


def check(role: str, before: Any, after: Any, effects: list[Effect]) -> None:
    """What any step must leave behind."""
    machine = MACHINES[role]
    assert after.key == before.key
    assert unpack(machine.state, pack(after)) == after, "a state survives being written down"
    ids = [effect.id for effect in effects]
    assert len(ids) == len(set(ids)), f"two effects of one step share an id: {ids}"
    for effect in effects:
        assert effect.id.startswith(after.key), "effect ids are of their case"
        plain = encode(dict(effect.body))
        assert encode(decode(plain)) == plain
        if effect.kind in ("transact", "pay"):
            assert effect.id == f"{after.key}/tx/{effect.body['step']}"


@pytest.mark.parametrize("role", ROLES)
def test_the_table_is_whole(role: str) -> None:
    machine = MACHINES[role]
    used = {kind for row in machine.table.values() for kind in row}
    assert used == set(machine.handlers), "every event of the table has a handler, every handler a use"
    assert machine.final <= set(machine.phases())
    start = next(iter(machine.table))
    reached, todo = {start}, deque([start])
    while todo:
        for nexts in machine.table.get(todo.popleft(), {}).values():
            for phase in nexts - reached:
                reached.add(phase)
                todo.append(phase)
    assert reached == set(machine.phases()), "every phase can be reached"
    for phase in set(machine.phases()) - machine.final:
        seen, todo = {phase}, deque([phase])
        while todo:
            for nexts in machine.table.get(todo.popleft(), {}).values():
                for after in nexts - seen:
                    seen.add(after)
                    todo.append(after)
        assert seen & machine.final, f"{phase} can end"


@pytest.mark.parametrize("role", ROLES)
def test_final_phases_are_not_left(role: str) -> None:
    machine = MACHINES[role]
    # The one exception: a patient whose session broke may come back to a model that has been paid.
    allowed = {("model", "earned")}
    for phase in machine.final:
        for kind, nexts in machine.table.get(phase, {}).items():
            assert nexts <= machine.final or (role, phase) in allowed, f"{kind} leads out of {phase}"


@pytest.mark.parametrize(("role", "phase", "kind"), PAIRS)
def test_every_phase_with_every_event(role: str, phase: str, kind: str) -> None:
    """No event leaves the table, breaks a handler, or does anything where the table does not have it."""
    machine, before = MACHINES[role], STATES[role](phase)
    answered = kind in machine.table.get(phase, {})
    for event in events(role, kind, before):
        after, effects = machine.reduce(before, event)
        again, same = machine.reduce(before, event)
        assert (again, same) == (after, effects), "deciding is deterministic"
        if not answered:
            assert after is before
            assert effects == []
            continue
        assert after.phase in machine.table[phase][kind]
        check(role, before, after, effects)


def _steps(role: str) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10**6)), max_size=40)


@pytest.mark.parametrize("role", ROLES)
def test_random_ways_stay_in_the_table(role: str) -> None:
    machine = MACHINES[role]
    kinds = sorted(machine.handlers)

    @settings(max_examples=60, deadline=None)
    @given(_steps(role))
    def walk(ways: list[tuple[int, int]]) -> None:
        state = STATES[role]()
        written: dict[str, Effect] = {}
        for which, choice in ways:
            # Mostly an event that the phase answers, so that walks get far.
            row = sorted(machine.table.get(state.phase, {})) or kinds
            kind = row[which % len(row)] if which < 25 else kinds[which % len(kinds)]
            possible = list(events(role, kind, state))
            event = possible[choice % len(possible)]
            after, effects = machine.reduce(state, event)
            check(role, state, after, effects)
            if state.phase in machine.final and (role, state.phase) != ("model", "earned"):
                assert after.phase in machine.final
            for effect in effects:
                known = written.setdefault(effect.id, effect)
                assert known.kind == effect.kind, "an id means one thing for ever"
            state = after

    walk()


def test_a_handler_that_leaves_the_table_is_caught() -> None:
    from protocols.errors import ProtocolError

    machine = MACHINES["dealer"]
    broken = replace(
        machine, handlers={**machine.handlers, "dealt": lambda c, e: (replace(c, phase="asked"), [])}
    )
    with pytest.raises(ProtocolError, match="may not lead from dealing to asked"):
        broken.reduce(STATES["dealer"]("dealing"), Event("dealt", {"bytes": 1}))


def test_unknown_events_change_nothing() -> None:
    state = STATES["doctor"]("committed")
    assert MACHINES["doctor"].reduce(state, Event("earthquake")) == (state, [])
    assert not MACHINES["doctor"].answers("committed", "earthquake")
    assert MACHINES["doctor"].answers("settled", "earthquake"), "at the end everything is acknowledged"
