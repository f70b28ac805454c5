"""Cases of volumes: offers of suites, sessions that go on where others broke, what doctors are shown and when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_utils.crypto import keccak

from protocols.case import doctor, model, patient
from protocols.case.doctor import DoctorCase
from protocols.case.patient import PatientCase
from protocols.case.patient.state import MAX_SESSIONS
from protocols.case.view import Phase, Seat, SeatStatus
from protocols.case.volume import SPARE, allowance, png_size, proper_findings, suite_identity
from protocols.effects import Effect, Event
from tests.protocols.case.samples import (
    CASE_ID,
    DOCTOR,
    FINDINGS,
    ME,
    MODEL,
    NOW,
    OTHER,
    VOLUME,
    doctor_case,
    model_case,
    offer,
    picture,
    receipt,
    unet,
    view,
    volume_case,
)

PATIENT, DOCTORS, MODELS = patient.MACHINE, doctor.MACHINE, model.MACHINE


def said(effects: list[Effect], performative: str) -> list[Effect]:
    return [e for e in effects if e.kind == "say" and e.body["performative"] == performative]


def heard(case: PatientCase, body: dict[str, Any], kind: str = "quote.propose") -> PatientCase:
    return PATIENT.reduce(case, Event(kind, {"from": MODEL, "thread": "t", "body": body, "now": NOW}))[0]


def session_event(kind: str, case: Any, **more: Any) -> Event:
    return Event(kind, {"session": case.session, "now": NOW, **more})


# ---- the offer
def test_the_wish_names_public_sizes_alone() -> None:
    case = volume_case()
    _, effects = PATIENT.reduce(case, Event("started", {"models": [MODEL], "now": NOW}))
    (cfp,) = said(effects, "cfp")
    assert cfp.body["body"]["volume"] == VOLUME["plan"]
    assert set(cfp.body["body"]) == {"case_id", "patient", "specialty", "dealers", "slots", "volume"}


def test_an_honest_offer_counts() -> None:
    assert MODEL in heard(volume_case(), offer()).quotes


def suite(topology: bytes = unet(), name: str = "model") -> list[list[Any]]:
    return [[task, "z", keccak(text=f"{name}/{task}"), topology] for task in ("lung", "infection")]


LIES: dict[str, dict[str, Any]] = {
    "another number of images": {"images": 9},
    "fewer images": {"images": 7},
    "other networks than the signed id stands for": {"suite": suite(name="another")},
    "images of another side": {"suite": suite(unet(32))},
    "images of fewer slices": {"suite": suite(unet(16, channels=3))},
    "one network too few": {"suite": suite()[:1]},
    "a network twice": {"suite": [*suite(), suite()[0]]},
    "no list": {"suite": 5},
    "a topology that is none": {"suite": suite(b"none")},
    "a hash that is too short": {"suite": [[*row[:2], b"short", row[3]] for row in suite()]},
    "a Dice coefficient above one": {"card": {"dice": 1.2}},
}


@pytest.mark.parametrize("lie", LIES)
def test_an_offer_that_lies_does_not_count(lie: str) -> None:
    case = heard(volume_case(), offer(**LIES[lie]))
    assert case.quotes == {}
    assert case.refused == [MODEL]


def test_a_network_that_opens_buckets_is_refused() -> None:
    """Of single slices the model would learn how sure it was, one after another."""
    from protocols.blind.layers import Affine, Conv, GlobalSum
    from protocols.blind.topology import Topology

    nodes = (GlobalSum(0), Affine((Conv(1, 1, 1, 1, 0),)))
    opening = Topology((5, 1, 1), nodes, thresholds=(1, 2, 3)).encode()
    assert heard(volume_case(), offer(suite=suite(opening))).quotes == {}


def test_the_cap_is_on_the_whole_volume() -> None:
    tick = Event("tick", {"now": NOW + 5, "models": [], "reputations": {}})
    rich = heard(volume_case(price_cap=10**15 + 10**14, asked=[MODEL]), offer())
    assert PATIENT.reduce(rich, tick)[0].phase == "funding"
    poor = heard(volume_case(price_cap=10**15 + 10**14 - 1, asked=[MODEL]), offer())
    assert PATIENT.reduce(poor, tick)[0].phase == "quoting"


def test_a_refusal_that_names_the_limit_is_told() -> None:
    case = volume_case(asked=[MODEL])
    case = heard(case, {"reason": "the volume has 8 images, and the limit is 4"}, "quote.refuse")
    case, _ = PATIENT.reduce(case, Event("tick", {"now": NOW + 1000, "models": []}))
    assert case.phase == "failed"
    assert "the limit is 4" in case.trouble
    assert "8 images" in case.trouble


# ---- sessions
def test_what_was_served_outlives_a_session_that_breaks() -> None:
    """A volume may take more sessions than a picture, as long as each brings something."""
    case = volume_case("inferring")
    for number in range(3 * MAX_SESSIONS):
        told = session_event("progressed", case, images=number + 1, bytes=10, seconds=2.0)
        case, _ = PATIENT.reduce(case, told)
        case, _ = PATIENT.reduce(case, session_event("infer_failed", case, reason="cut"))
        assert case.phase == "arranging"
        case = replace(case, phase="inferring")
    done = 3 * MAX_SESSIONS
    assert case.served == {"images": done, "bytes": 10 * done, "seconds": 2.0 * done}
    assert case.sessions[MODEL] == 1 + 3 * MAX_SESSIONS


@pytest.mark.parametrize("alive", [False, True])
def test_sessions_that_bring_nothing_end(alive: bool) -> None:
    """Signs of life are no progress. Where nothing is lost, a few tries are enough."""
    case = volume_case("inferring", tries=1)
    for _ in range(MAX_SESSIONS):
        case = replace(case, phase="inferring")
        if alive:
            case, _ = PATIENT.reduce(case, session_event("progressed", case, images=0, bytes=0, seconds=0.0))
        case, _ = PATIENT.reduce(case, session_event("infer_failed", case, reason="cut"))
    assert (case.phase, case.bad_models) == ("failed", [MODEL])


def test_progress_of_another_session_is_nothing() -> None:
    case = volume_case("inferring")
    told = Event("progressed", {"session": "other", "images": 4, "bytes": 1, "seconds": 1.0, "now": NOW})
    assert PATIENT.reduce(case, told)[0] is case


def test_whoever_works_is_not_given_up() -> None:
    case = volume_case("inferring", waiting_since=NOW)
    later = {"session": case.session, "images": 4, "bytes": 1, "seconds": 1.0, "now": NOW + 500}
    case, _ = PATIENT.reduce(case, Event("progressed", later))
    assert PATIENT.reduce(case, Event("tick", {"now": NOW + 1000}))[0].phase == "inferring"
    assert PATIENT.reduce(case, Event("tick", {"now": NOW + 1200}))[0].phase == "arranging"


def test_the_receipt_says_bucket_zero_and_opens_the_case() -> None:
    case = volume_case("inferring")
    done = {"logit": None, "probability": None, "bucket": 0, "bytes": 1, "seconds": 1.0, "rounds": 3}
    case, _ = PATIENT.reduce(case, session_event("inferred", case, findings=FINDINGS, mask=b"m" * 32, **done))
    network = suite_identity({(t, a): h for t, a, h, _ in case.quotes[MODEL]["suite"]})
    body = {"from": MODEL, "thread": case.session, "body": {"session": case.session}, "now": NOW}
    proud = body | {"body": {**receipt(3, network=network), "session": case.session}}
    assert PATIENT.reduce(case, Event("session.receipt", proud))[0].phase == "failed"
    honest = body | {"body": {**receipt(0, network=network), "session": case.session}}
    case, effects = PATIENT.reduce(case, Event("session.receipt", honest))
    assert case.phase == "opening"
    assert effects[0].body["args"][1][2] == 0
    assert (case.findings, case.mask) == (FINDINGS, b"m" * 32)


def test_a_model_counts_what_it_served_whatever_became_of_it() -> None:
    case = model_case("hosting", volume=VOLUME, tries=3)
    case, _ = MODELS.reduce(case, session_event("reserved", case))
    case, _ = MODELS.reduce(case, session_event("progressed", case, number=0))
    case, _ = MODELS.reduce(case, session_event("reserved", case))
    case, _ = MODELS.reduce(case, session_event("host_failed", case, reason="cut"))
    assert (case.served, case.tries, case.phase) == (2, 0, "offered")


@pytest.mark.parametrize("phase", ["offered", "checking", "arranging", "hosting", "receipted", "earned"])
def test_a_batch_is_known_whatever_phase_the_patient_moved_the_case_to(phase: str) -> None:
    """Else a patient could begin another session in the middle of each batch, and its model were never paid."""
    case = model_case(phase, volume=VOLUME, served=5)
    for number in (1, 1, 0):
        assert not model.all_done(case)
        case, _ = MODELS.reduce(case, Event("progressed", {"session": "old", "number": number}))
    assert model.all_done(case)
    assert (case.served, case.phase) == (5, phase)


def test_what_a_purchase_allows() -> None:
    assert allowance({"batches": 1}) == 2
    assert allowance({"batches": 2}) == 4
    assert allowance({"batches": 20}) == 20 + SPARE
    assert allowance({"batches": 400}) == 500


# ---- what the panel is shown
def shows(case: PatientCase, phase: Phase, *seats: Seat, round_: int = 1) -> tuple[PatientCase, list[Effect]]:
    seen = view(phase, round_=round_, seats=seats)
    case, effects = PATIENT.reduce(case, Event("view", {"view": seen, "now": NOW}))
    return case, said(effects, "show")


def seat(name: str, status: SeatStatus, round_: int = 1) -> Seat:
    voted = status in (SeatStatus.COMMITTED, SeatStatus.REVEALED, SeatStatus.NO_SHOW)
    return Seat(name, round_, status, b"x" * 32 if voted else bytes(32))


def panel(**changes: Any) -> PatientCase:
    delivered = [f"{DOCTOR}/1", f"{OTHER}/1"]
    fields = {"findings": FINDINGS, "mask": b"m" * 32, "delivered": delivered} | changes
    return volume_case("panel", **fields)


SEALED, OPEN = SeatStatus.COMMITTED, SeatStatus.ACCEPTED


def test_nothing_is_shown_before_the_commit() -> None:
    for phase in (Phase.DRAWING, Phase.SEATING, Phase.COMMIT):
        _, effects = shows(panel(), phase, seat(DOCTOR, OPEN), seat(OTHER, OPEN))
        assert effects == []


def test_nothing_is_shown_while_a_colleague_may_still_vote() -> None:
    """Who has voted could tell who has not."""
    _, effects = shows(panel(), Phase.COMMIT, seat(DOCTOR, SEALED), seat(OTHER, OPEN))
    assert effects == []


def test_those_who_voted_are_shown_the_mask_once() -> None:
    case, effects = shows(panel(), Phase.REVEAL, seat(DOCTOR, SEALED), seat(OTHER, OPEN))
    (show,) = effects
    assert show.body["to"] == DOCTOR
    assert show.body["body"] == {"case_id": CASE_ID, "round": 1, "mask": b"m" * 32, "findings": FINDINGS}
    assert shows(case, Phase.REVEAL, seat(DOCTOR, SEALED), seat(OTHER, OPEN))[1] == []
    assert shows(case, Phase.SETTLED, seat(DOCTOR, SeatStatus.REVEALED))[1] == []


def test_a_case_that_was_quicker_than_our_look_shows_it_too() -> None:
    for phase in (Phase.SETTLED, Phase.REFUNDED):
        _, effects = shows(panel(), phase, seat(DOCTOR, SeatStatus.REVEALED), seat(OTHER, SeatStatus.NO_SHOW))
        assert [e.body["to"] for e in effects] == [DOCTOR]


def test_a_second_round_is_as_blind_as_the_first() -> None:
    voted, fresh = seat(DOCTOR, SeatStatus.REVEALED), seat(OTHER, SEALED, 2)
    case = panel()
    case = replace(case, delivered=[f"{DOCTOR}/1", f"{OTHER}/2"])
    _, effects = shows(case, Phase.COMMIT, voted, fresh, round_=2)
    assert [e.body["to"] for e in effects] == [DOCTOR]


def test_a_case_of_a_picture_shows_nothing() -> None:
    _, effects = shows(panel(mask=b""), Phase.SETTLED, seat(DOCTOR, SeatStatus.REVEALED))
    assert effects == []


def showing(case: DoctorCase, sender: str = ME, **changes: Any) -> tuple[DoctorCase, list[Effect]]:
    body = {"case_id": CASE_ID, "round": 1, "mask": picture(64, 32), "findings": FINDINGS, **changes}
    event = Event(
        "disclosure.show", {"from": sender, "thread": "m", "body": body, "blob": b"b" * 32, "now": NOW}
    )
    return DOCTORS.reduce(case, event)


@pytest.mark.parametrize("phase", ["invited", "accepting", "awaiting", "reading", "committing"])
def test_a_doctor_who_has_not_committed_sees_nothing(phase: str) -> None:
    before = doctor_case(phase)
    assert showing(before) == (before, [])
    assert not DOCTORS.answers(phase, "disclosure.show"), "it is not taken, so it comes again later"
    assert DOCTORS.awaits(phase, "disclosure.show")


@pytest.mark.parametrize("phase", ["committed", "revealing", "revealed", "settled"])
def test_a_doctor_who_has_committed_sees_it(phase: str) -> None:
    case, effects = showing(doctor_case(phase))
    assert (case.mask, case.findings) == (b"b" * 32, FINDINGS)
    assert [e.body["performative"] for e in effects] == ["seen"]


WRONG: dict[str, dict[str, Any]] = {
    "of another size": {"mask": picture(64, 33)},
    "no picture": {"mask": b"\0" * 100},
    "no bytes": {"mask": "mask"},
    "severity of another scale": {"findings": {**FINDINGS, "severity": "bad"}},
    "more than all of the lung": {"findings": {**FINDINGS, "percent": 120}},
    "not a number": {"findings": {**FINDINGS, "infection_ml": float("nan")}},
    "nothing told": {"findings": None},
    "from somebody else": {"sender": OTHER},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mask_that_does_not_fit_is_refused(what: str) -> None:
    before = doctor_case("committed")
    case, effects = showing(before, **WRONG[what])
    assert case == before
    assert [e.body["performative"] for e in effects] == ["refuse"]


def test_the_size_of_a_picture() -> None:
    assert png_size(picture(640, 480)) == (640, 480)
    assert png_size(b"GIF89a" + bytes(40)) is None
    assert png_size(picture(1, 1)[:20]) is None
    assert proper_findings({**FINDINGS, "percent": None, "severity": "unknown"})
