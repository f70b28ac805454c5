"""The panel: handing it the scan, following it on chain, collecting its signatures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from protocols.case import steps
from protocols.case.patient.market import collect
from protocols.case.patient.state import ATTEST_PATIENCE, Out, PatientCase, codes_of, label_of
from protocols.case.view import ZERO_HASH, CaseView, Phase, SeatStatus
from protocols.case.volume import FINDINGS
from protocols.effects import Effect, Event


def _deliver(case: PatientCase, view: CaseView) -> Out:
    """Hand the sealed scan to every doctor who has taken a seat and has not got it yet."""
    effects: list[Effect] = []
    delivered = list(case.delivered)
    for _, seat in view.round_seats():
        name = f"{seat.doctor}/{seat.round}"
        if seat.status is not SeatStatus.ACCEPTED or name in delivered:
            continue
        delivered.append(name)
        body = {
            "case_id": case.case_id,
            "round": seat.round,
            "scan": case.scan,
            "nonce": case.nonce,
            "code_commitments": case.code_commitments,
            "code_salt": case.code_salts[min(seat.round, len(case.code_salts)) - 1],
            "codes": codes_of(case, seat.round),
            "modality": case.modality,
            "specialty": case.specialty,
            "authority": case.authority,
        }
        if case.volume:
            body["layout"] = case.volume["layout"]
        thread = f"{case.key}:{seat.round}"
        effects.append(
            steps.say(
                case.key, "delivery", f"{thread}:{seat.doctor}", 1, "deliver", seat.doctor, body, mine=True
            )
        )
    return replace(case, delivered=delivered), effects


def _show(case: PatientCase, view: CaseView) -> Out:
    """Show what the model found in a volume to doctors whose vote is sealed on chain, once no vote of their round can
    be cast any more: nobody who still reads could be told."""
    effects: list[Effect] = []
    shown = list(case.shown)
    for seat in view.seats:
        name = f"{seat.doctor}/{seat.round}"
        sealed = seat.round < view.round or view.phase is Phase.REVEAL or view.phase.over
        voted = seat.status in (SeatStatus.COMMITTED, SeatStatus.REVEALED) and seat.commitment != ZERO_HASH
        if not case.mask or name in shown or name not in case.delivered or not (sealed and voted):
            continue
        shown.append(name)
        findings = {k: (case.findings or {}).get(k) for k in FINDINGS}
        body = {"case_id": case.case_id, "round": seat.round, "mask": case.mask, "findings": findings}
        thread = f"{case.key}:{seat.round}:{seat.doctor}:mask"
        effects.append(steps.say(case.key, "disclosure", thread, 1, "show", seat.doctor, body, mine=True))
    return replace(case, shown=shown), effects


def panel_view(case: PatientCase, event: Event) -> Out:
    """The chain was looked at: what was shown of the mask, what the round became, whom the scan is due to."""
    view: CaseView = event.body["view"]
    case, effects = _show(case, view)
    case, more = _followed(case, view, float(event.body["now"]))
    return case, [*effects, *more]


def _followed(case: PatientCase, view: CaseView, now: float) -> Out:
    if view.phase is Phase.SETTLED:
        return _settled(case, view, now)
    if view.phase is Phase.REFUNDED:
        return collect(replace(case, outcome="refunded", result=_result(case, view)))
    case, effects = _deliver(case, view)
    return case, [*effects, *steps.nudge(case.key, view, 0, case.account_index)]


def _result(case: PatientCase, view: CaseView) -> dict[str, Any]:
    settled = view.phase is Phase.SETTLED
    return {
        "state": view.phase.name.lower(),
        "rounds": view.round,
        "label": label_of(case, view.code, view.round) if settled else "",
        "code": view.code,
        "agreeing": view.agreeing,
        "bounty_wei": view.bounty_wei,
        "bucket": view.bucket,
        "date": view.now - view.now % 86400,
        "panel": [
            {
                "doctor": s.doctor,
                "round": s.round,
                "status": s.status.name.lower(),
                "committed": s.commitment != bytes(32),
                "revealed": s.status is SeatStatus.REVEALED,
                "verdict": label_of(case, s.code, s.round) if s.status is SeatStatus.REVEALED else "",
                "confidence": s.confidence,
                "paid_wei": s.paid_wei,
                "reputation_before": s.reputation_before,
                "reputation_after": s.reputation_after,
            }
            for s in view.seats
        ],
    }


def _settled(case: PatientCase, view: CaseView, now: float) -> Out:
    """The panel agreed: ask those who did for their signature over (case, label, date)."""
    asked = [
        seat.doctor
        for _, seat in view.round_seats()
        if seat.status is SeatStatus.REVEALED and seat.code == view.code
    ]
    case = replace(
        case,
        phase="certifying",
        outcome="settled",
        result=_result(case, view),
        waiting_since=now,
        asked_attest=asked,
    )
    return case, [_ask_attest(case, doctor) for doctor in asked if _thread(case, doctor) in case.received]


def _thread(case: PatientCase, doctor: str) -> str:
    """The conversation with a doctor of the deciding round."""
    return f"{case.key}:{(case.result or {})['rounds']}:{doctor}"


def _ask_attest(case: PatientCase, doctor: str) -> Effect:
    result = case.result or {}
    body = {"label": result["label"], "date": result["date"]}
    return steps.say(case.key, "delivery", _thread(case, doctor), 3, "certify", doctor, body, mine=True)


def received(case: PatientCase, event: Event) -> Out:
    """A doctor confirms the scan. The chain may have been quicker: the panel may have agreed meanwhile."""
    thread, doctor = str(event.body["thread"]), str(event.body["from"])
    case = replace(case, received=[*case.received, thread])
    late = case.phase == "certifying" and doctor in case.asked_attest and thread == _thread(case, doctor)
    return case, [_ask_attest(case, doctor)] if late else []


def attested(case: PatientCase, event: Event) -> Out:
    doctor = str(event.body["from"])
    if doctor not in case.asked_attest:
        return case, []
    case = replace(case, attests={**case.attests, doctor: event.body["body"]["signature"]})
    if len(case.attests) == len(case.asked_attest):
        return case, [_certify(case)]
    return case, []


def _certify(case: PatientCase) -> Effect:
    result = case.result or {}
    names = sorted(case.attests)
    return steps.task(
        case.key,
        "certify",
        str(len(names)),
        {
            "case_id": case.case_id,
            "label": result["label"],
            "date": result["date"],
            "round": result["rounds"],
            "attests": {name: case.attests[name] for name in names},
        },
    )


def certify_tick(case: PatientCase, event: Event) -> Out:
    """Some signatures may never come: make do with those that did, and in the end with none."""
    waited = float(event.body["now"]) - case.waiting_since
    if waited > 10 * ATTEST_PATIENCE:
        return collect(replace(case, trouble="too few doctors of the panel signed for a certificate"))
    if waited >= ATTEST_PATIENCE and case.attests:
        return case, [_certify(case)]
    return case, []


def certified(case: PatientCase, event: Event) -> Out:
    """The certificate was put together and checked: keep it, or wait for more signatures."""
    certificate = dict(event.body["certificate"])
    # A panel that agreed on insufficient evidence settled nothing that could be sold.
    record = event.body["record"] if (case.result or {}).get("code") else b""
    if not certificate["valid"] and len(case.attests) < len(case.asked_attest):
        return replace(case, trouble=str(certificate.get("why", ""))), []
    model_reputation = event.body.get("model_reputation", case.model_reputation)
    case = replace(case, certificate=certificate, record=record, model_reputation=model_reputation)
    return collect(case)
