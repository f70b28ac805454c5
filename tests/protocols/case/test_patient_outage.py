"""An outage in the middle of a volume: what was paid for and is there in part is not left for a few tries."""

from __future__ import annotations

from dataclasses import replace

from protocols.case import patient
from protocols.case.patient import PatientCase
from protocols.case.patient.state import MAX_SESSIONS, STALL_PATIENCE
from protocols.effects import Event
from tests.protocols.case.samples import MODEL, NOW, volume_case

PATIENT = patient.MACHINE


def outage(case: PatientCase, start: float, length: float) -> tuple[PatientCase, float, int]:
    """Every session breaks at once, until the outage is over or the model is left: the case, when, and sessions."""
    now, sessions = start, 0
    while now < start + length and case.phase in ("arranging", "inferring"):
        told = {"session": case.session, "images": 4, "bytes": 0, "seconds": 0.0, "now": now}
        case, _ = PATIENT.reduce(replace(case, phase="inferring"), Event("progressed", told))
        case, _ = PATIENT.reduce(
            case, Event("infer_failed", {"session": case.session, "now": now, "reason": "cut"})
        )
        now, sessions = max(now + 1, case.waiting_since), sessions + 1
    return case, now, sessions


def test_an_outage_costs_no_volume_of_which_something_is_there() -> None:
    """The model counts sessions that bring nothing too, so they must be few."""
    begun = volume_case("inferring", waiting_since=NOW)
    case, now, sessions = outage(begun, NOW, 900)
    assert (case.phase, case.bad_models) == ("arranging", [])
    assert sessions <= MAX_SESSIONS
    done = {"session": case.session, "images": 8, "bytes": 0, "seconds": 0.0, "now": now}
    case, _ = PATIENT.reduce(replace(case, phase="inferring"), Event("progressed", done))
    assert (case.tries, case.progress_at) == (0, now)


def test_a_volume_without_progress_for_hours_leaves_its_model() -> None:
    case, now, sessions = outage(volume_case("inferring", waiting_since=NOW), NOW, 10 * STALL_PATIENCE)
    assert (case.phase, case.bad_models) == ("failed", [MODEL])
    assert STALL_PATIENCE <= now - NOW < 1.5 * STALL_PATIENCE
    assert sessions > MAX_SESSIONS


def test_a_patient_who_slept_tries_again_first() -> None:
    case, now, _ = outage(volume_case("inferring", waiting_since=NOW), NOW, 10)
    case, _, sessions = outage(case, now + 20 * STALL_PATIENCE, 300)
    assert (case.phase, case.bad_models) == ("arranging", [])
    assert sessions > 1


def test_a_model_that_is_away_is_asked_for_few_sessions() -> None:
    """Every wish for a session reaches it when it is back."""
    case = volume_case("arranging", waiting_since=NOW, served={"images": 4}, progress_at=NOW, tries=1)
    begun, now = 0, NOW
    while case.phase == "arranging":
        now += 10
        case, effects = PATIENT.reduce(case, Event("tick", {"now": now}))
        begun += sum(e.body.get("performative") == "begin" for e in effects)
    assert begun <= MAX_SESSIONS
    assert STALL_PATIENCE <= now - NOW < 2 * STALL_PATIENCE


def test_the_next_model_begins_with_the_first_image() -> None:
    case = volume_case("inferring", served={"images": 4, "bytes": 9, "seconds": 1.0}, progress_at=NOW)
    told = {"session": case.session, "now": NOW, "reason": "lies", "cheated": True}
    case, _ = PATIENT.reduce(case, Event("infer_failed", told))
    assert (case.bad_models, case.progress_at) == ([MODEL], 0.0)
    assert case.served == {"images": 0, "bytes": 9, "seconds": 1.0}
