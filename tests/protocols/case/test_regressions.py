"""Faults that the simulation found, each as small as it gets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocols.case.patient.state import ATTEST_PATIENCE, MAX_SESSIONS
from protocols.case.steps import nudge
from protocols.case.view import Phase, SeatStatus
from protocols.effects import Effect, Event
from tests.protocols.case.samples import (
    ACCOUNT,
    DOCTOR,
    FIELD,
    MACHINES,
    ME,
    MODEL,
    NOW,
    OTHER,
    RECORD,
    doctor_case,
    model_case,
    patient_case,
    receipt,
    view,
)

PATIENT, DOC, SELLER = MACHINES["patient"], MACHINES["doctor"], MACHINES["model"]
TOLD = {"hash": "0x", "block": 1, "gas": 1, "fee": 1, "sender": ME, "call": "x", "value": 0, "now": NOW}


def mined(step: str) -> Event:
    return Event("mined", {"step": step, **TOLD}, f"{step}/mined")


def reverted(step: str) -> Event:
    return Event("reverted", {"step": step, "reason": "no", "now": NOW}, f"{step}/reverted")


def steps_of(effects: list[Effect]) -> list[Any]:
    return [effect.body.get("step", effect.kind) for effect in effects]


# ---- a doctor who reads faster than others take their seats
def read(case: Any) -> Any:
    body = {"label": "tumour", "confidence": 80, "salt": b"s" * 32, "now": NOW}
    return DOC.reduce(case, Event("was_read", body, "r"))


def test_a_quick_reader_waits_for_the_commit_phase() -> None:
    case = doctor_case("reading", stage=int(Phase.SEATING))
    case, effects = read(case)
    assert (case.phase, effects) == ("committing", []), "the contract would refuse the vote now"
    seen = Event("view", {"view": view(Phase.SEATING), "now": NOW})
    assert DOC.reduce(case, seen)[1] == []
    case, effects = DOC.reduce(case, Event("view", {"view": view(Phase.COMMIT), "now": NOW}))
    assert steps_of(effects) == ["commit"]


def test_in_the_commit_phase_the_vote_goes_out_at_once_and_as_the_same() -> None:
    case, effects = read(doctor_case("reading", stage=int(Phase.COMMIT)))
    _, again = DOC.reduce(case, Event("view", {"view": view(Phase.COMMIT), "now": NOW}))
    assert again == effects, "one id, one ballot"


def test_a_reveal_carries_the_ballot_that_was_committed() -> None:
    case = doctor_case("committed")
    shown = Event("view", {"view": view(Phase.REVEAL, SeatStatus.COMMITTED), "now": NOW})
    case, effects = DOC.reduce(case, shown)
    assert case.phase == "revealing"
    assert effects[0].body["args"] == [case.case_id, 9, 80, b"s" * 32]


def test_a_lost_ballot_that_cannot_be_found_is_told_and_never_guessed() -> None:
    case = doctor_case("committing", salt=b"")
    case, effects = DOC.reduce(case, Event("recovered", {"found": False}, "x"))
    assert (case.phase, effects) == ("lost", [])
    assert "could not be found" in case.trouble


# ---- models that were not chosen
def test_models_are_declined_only_when_the_case_is_open() -> None:
    quoting = patient_case("quoting", quotes=patient_case("funding").quotes, asked=[MODEL, OTHER])
    case, effects = PATIENT.reduce(quoting, Event("tick", {"now": NOW + 5, "models": []}))
    assert case.phase == "funding"
    assert steps_of(effects) == [f"fund/{case.model}"], "the other one may still have to step in"
    case, effects = PATIENT.reduce(patient_case("opening"), mined(f"open/{MODEL}"))
    assert [(e.body["performative"], e.body["to"]) for e in effects] == [("decline", OTHER)]


def test_a_false_receipt_leads_to_the_next_model() -> None:
    inference = {
        "session": "s",
        "logit": 1.0,
        "probability": 0.7,
        "bucket": 1,
        "bytes": 0,
        "seconds": 0,
        "rounds": 1,
    }
    case = patient_case("inferring", inference=inference)
    said = {"from": MODEL, "thread": case.session, "number": 3, "now": NOW}
    case, effects = PATIENT.reduce(
        case, Event("session.receipt", {**said, "body": {"session": case.session, **receipt(2)}}, "r")
    )
    assert (case.phase, case.model, case.bad_models) == ("funding", OTHER, [MODEL])
    assert steps_of(effects) == [f"fund/{OTHER}"]


def test_an_opening_refused_does_not_stand_in_the_way_of_the_next() -> None:
    inference = {
        "session": "s",
        "logit": 1.0,
        "probability": 0.7,
        "bucket": 1,
        "bytes": 0,
        "seconds": 0,
        "rounds": 1,
    }
    ids = []
    for name, model in (("model", MODEL), ("other", OTHER)):
        case = patient_case("inferring", model=model, sessions={model: 1}, inference=inference)
        said = {"from": model, "thread": case.session, "number": 3, "now": NOW}
        body = {"session": case.session, **receipt(1, name)}
        case, effects = PATIENT.reduce(case, Event("session.receipt", {**said, "body": body}, "r"))
        assert case.phase == "opening"
        ids += [effect.id for effect in effects]
    assert len(set(ids)) == 2


@pytest.mark.parametrize("kind", ["inferred", "infer_failed"])
def test_what_became_of_an_earlier_session_changes_nothing(kind: str) -> None:
    case = patient_case("inferring", sessions={MODEL: 2})
    body = {"session": f"{case.key}:{MODEL}:1", "reason": "cut", "now": NOW, "logit": 1.0}
    assert PATIENT.reduce(case, Event(kind, body, "old")) == (case, [])


# ---- the certificate
def test_too_few_signatures_do_not_hold_the_case_for_ever() -> None:
    case = patient_case("certifying", attests={DOCTOR: b"g" * 64})
    soon = Event("tick", {"now": NOW + ATTEST_PATIENCE + 1})
    case, effects = PATIENT.reduce(case, soon)
    assert steps_of(effects) == ["certify"]
    case, effects = PATIENT.reduce(
        case, Event("certified", {"certificate": {"valid": False}, "record": b""}, "c")
    )
    assert case.phase == "certifying", "another signature may still come"
    case, effects = PATIENT.reduce(case, Event("tick", {"now": NOW + 10 * ATTEST_PATIENCE + 1}))
    assert case.phase == "collecting"
    assert "withdraw" in steps_of(effects)


# ---- late money
def walk(case: Any, *steps: str) -> tuple[Any, list[Effect]]:
    effects: list[Effect] = []
    for step in steps:
        case, effects = PATIENT.reduce(case, mined(step))
    return case, effects


def test_a_failed_case_gets_back_what_a_silent_model_was_paid() -> None:
    """The account was swept when the case failed: the errand must bring its own gas."""
    moves = [{"step": f"fund/{MODEL}"}]
    case = patient_case("inferring", quotes={MODEL: patient_case("funding").quotes[MODEL]}, moves=moves)
    case = replace(case, sessions={MODEL: MAX_SESSIONS}, tries=MAX_SESSIONS)
    case, effects = PATIENT.reduce(case, Event("tick", {"now": NOW + 10_000}))
    assert case.phase == "failed"
    assert steps_of(effects) == ["gas/reclaim", "sweep"]
    gas = effects[0].body
    assert (gas["to"], gas["account"]) == (ACCOUNT, "main")
    assert gas["not_before"] > case.bought[MODEL] + case.reclaim_after
    case, effects = walk(case, "sweep", "gas/reclaim")
    assert steps_of(effects) == [f"reclaim/{MODEL}"]
    case, effects = walk(case, f"reclaim/{MODEL}")
    assert steps_of(effects) == ["unbuy"]
    case, effects = walk(case, "unbuy")
    assert steps_of(effects) == ["sweep/unbuy"]
    case, effects = walk(case, "sweep/unbuy")
    assert (case.phase, effects, case.errands) == ("failed", [], [])


def test_the_share_of_a_sold_record_comes_home() -> None:
    case = patient_case("done", moves=[{"step": f"fund/{MODEL}"}])
    sold = {"granted": True, "buyer": OTHER, "from": OTHER, "thread": "t"}
    case, effects = PATIENT.reduce(case, Event("access", sold, "a"))
    assert [e.kind for e in effects] == ["say", "pay"]
    assert effects[0].body["body"] == {"record": RECORD}
    case, effects = walk(case, "gas/market/t")
    assert effects[0].body["contract"] == "DataMarket"
    case, effects = walk(case, "market/t")
    assert steps_of(effects) == ["sweep/market/t"]


def test_a_sweep_that_took_another_errands_gas_is_made_good() -> None:
    case = patient_case("done", moves=[{"step": f"fund/{MODEL}"}], errands=["market/u"])
    _, effects = walk(case, "sweep/market/t")
    assert steps_of(effects) == ["gas/again/sweep/market/t"]


def test_a_stranger_gets_no_record() -> None:
    case = patient_case("done")
    for granted, buyer in ((False, OTHER), (True, ME)):
        body = {"granted": granted, "buyer": buyer, "from": OTHER, "thread": "t"}
        _, effects = PATIENT.reduce(case, Event("access", body, "a"))
        assert [e.body["performative"] for e in effects] == ["refuse"]


# ---- moving a case on
def test_a_panel_that_has_all_revealed_is_closed_at_once_by_its_patient() -> None:
    shown = view(Phase.REVEAL, SeatStatus.REVEALED, committed=2, revealed=2)
    assert steps_of(nudge("k", shown, 0))[0].startswith("advance/")
    assert nudge("k", shown, 2) == [], "the others wait their turn"


def test_everybody_moves_a_late_case_on_in_turn() -> None:
    late = view(Phase.COMMIT, deadline=int(NOW) - 10)
    assert nudge("k", late, 2)
    assert not nudge("k", late, 3)
    assert not nudge("k", view(Phase.SETTLED), 0)


# ---- a model whose session broke after its receipt
def test_every_receipt_has_its_own_claim() -> None:
    ids = []
    for number in (1, 2):
        case = model_case("hosting", sessions=number)
        body = {"session": "s1", **receipt(), "claim_after": 90.0, "now": NOW}
        case, effects = SELLER.reduce(case, Event("receipt_signed", body, "r"))
        ids += [e.id for e in effects if e.kind == "transact"]
        after, _ = SELLER.reduce(case, reverted(f"release/{number}"))
        assert after.phase == "earned"
    assert len(set(ids)) == 2


def test_labels_are_those_of_the_specialty() -> None:
    assert doctor_case("reading").labels == list(FIELD.labels)
