"""The machine's frame, on a machine of two phases."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from protocols.case import steps
from protocols.effects import Effect, Event, Machine, stay
from protocols.errors import ProtocolError


@dataclass(frozen=True, slots=True)
class Lamp:
    key: str
    phase: str


def _switch(lamp: Lamp, event: Event) -> tuple[Lamp, list[Effect]]:
    return replace(lamp, phase=event.body["to"]), [Effect("lamp/click", "click")]


MACHINE: Machine[Lamp] = Machine(
    role="lamp",
    state=Lamp,
    table={"off": {"switch": stay("on")}, "on": {"switch": stay("off", "broken")}},
    handlers={"switch": _switch},
    final=frozenset({"broken"}),
)


def test_an_event_of_the_table_is_applied() -> None:
    after, effects = MACHINE.reduce(Lamp("l", "off"), Event("switch", {"to": "on"}))
    assert (after, effects) == (Lamp("l", "on"), [Effect("lamp/click", "click")])


def test_an_event_outside_the_table_changes_nothing() -> None:
    lamp = Lamp("l", "broken")
    assert MACHINE.reduce(lamp, Event("switch", {"to": "on"})) == (lamp, [])
    assert MACHINE.reduce(lamp, Event("storm")) == (lamp, [])


def test_a_phase_outside_the_table_is_a_defect() -> None:
    with pytest.raises(ProtocolError, match="lamp: switch may not lead from off to broken"):
        MACHINE.reduce(Lamp("l", "off"), Event("switch", {"to": "broken"}))


def test_who_answers_what() -> None:
    assert MACHINE.answers("off", "switch")
    assert not MACHINE.answers("off", "storm")
    assert MACHINE.answers("broken", "storm"), "a peer must not repeat itself to a case that is over"
    assert MACHINE.phases() == ["off", "on", "broken"]


def test_effect_ids_name_case_step_and_detail() -> None:
    say = steps.say("k", "quote", "t", 2, "refuse", "0xA", {"reason": ""}, mine=False)
    assert say.id == "k/say/t/0xA/2"
    assert steps.transact("k", "commit", "Cases", "commit", []).id == "k/tx/commit"
    assert steps.pay("k", "sweep", "0xA", 0).id == "k/tx/sweep"
    assert steps.task("k", "read", "scan", {}).id == "k/read/scan"
    later = steps.pay("k", "gas/x", "0xA", 5, not_before=7)
    assert later.body["not_before"] == 7.0
