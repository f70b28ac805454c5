"""A model's case after it was paid: it waits for its patient, and knows what it has served."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocols.case import model
from protocols.codec import pack, unpack
from protocols.effects import Event
from tests.protocols.case.samples import NOW, VOLUME, model_case

REDUCE = model.MACHINE.reduce


def told(kind: str, case: Any, **more: Any) -> Event:
    return Event(kind, {"session": case.session, "now": NOW, **more})


def test_a_paid_case_is_there_when_its_patient_comes_back_hours_later() -> None:
    """A session that breaks an hour after the quote may be begun anew, a day later too."""
    case, _ = REDUCE(model_case("checking", volume=VOLUME), told("purchase", model_case(), paid=True))
    assert (case.phase, case.paid) == ("arranging", True)
    case, _ = REDUCE(case, Event("tick", {"now": NOW + 4000}))
    assert (case.phase, case.trouble) == ("offered", "the dealer did not answer")
    for later in (4001, 86_400):
        case, _ = REDUCE(case, Event("tick", {"now": NOW + later}))
        assert case.phase == "offered"


@pytest.mark.parametrize(
    ("paid", "released", "reclaimable", "phase"),
    [
        (True, False, False, "offered"),
        (False, False, False, "lapsed"),
        (True, True, False, "earned"),
        (True, False, True, "lapsed"),
    ],
)
def test_a_paid_case_ends_when_its_money_is_gone(
    paid: bool, released: bool, reclaimable: bool, phase: str
) -> None:
    """It is looked up now and then, so that no case of a patient who went away stays open for ever."""
    case = model_case("hosting", volume=VOLUME, paid=True)
    broken = {"session": case.session, "reason": "cut", "now": NOW}
    case, _ = REDUCE(case, Event("host_failed", broken))
    assert REDUCE(case, Event("tick", {"now": NOW + 1000}))[1] == []
    case, effects = REDUCE(case, Event("tick", {"now": NOW + 4000}))
    assert [(e.kind, e.body["session"]) for e in effects] == [("check_purchase", "look")]
    assert REDUCE(case, Event("tick", {"now": NOW + 5000}))[1] == []
    (again,) = REDUCE(case, Event("tick", {"now": NOW + 6000}))[1]
    assert again.id != effects[0].id
    told = {"session": "look", "paid": paid, "released": released, "reclaimable": reclaimable}
    assert REDUCE(case, Event("purchase", told))[0].phase == phase
    assert REDUCE(case, Event("purchase", told | {"session": case.session}))[0].phase == "offered"
    begun = replace(case, phase="checking")
    assert REDUCE(begun, Event("purchase", told))[0] is begun


def test_an_offer_that_nobody_paid_lapses() -> None:
    case, _ = REDUCE(model_case("checking"), told("purchase", model_case(), paid=False))
    assert (case.phase, case.paid) == ("offered", False)
    assert REDUCE(case, Event("tick", {"now": NOW + 3000}))[0].phase == "offered"
    assert REDUCE(case, Event("tick", {"now": NOW + 4000}))[0].phase == "lapsed"


def test_a_batch_counts_before_anything_of_it_leaves() -> None:
    case = model_case("hosting", volume=VOLUME, tries=2)
    case, _ = REDUCE(case, told("reserved", case))
    assert (case.served, case.tries, model.all_done(case)) == (1, 2, False)
    assert REDUCE(case, Event("reserved", {"session": "old"}))[0].served == 1


def test_all_is_done_when_each_batch_was_evaluated_once() -> None:
    case = model_case("hosting", volume=VOLUME | {"batches": 20})
    for number in [*range(19), 3, 3, -1, 20, True, "7"]:
        case, _ = REDUCE(case, told("progressed", case, number=number))
        assert not model.all_done(case)
    case, _ = REDUCE(unpack(model.ModelCase, pack(case)), told("progressed", case, number=19))
    assert model.all_done(case)
    assert not model.all_done(model_case("hosting"))
