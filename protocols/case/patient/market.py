"""The end of a case: money back, the record listed and handed to whoever bought it."""

from __future__ import annotations

from dataclasses import replace

from protocols.case import steps
from protocols.case.patient.late import market_share, reclaims, refill
from protocols.case.patient.state import Out, PatientCase, note
from protocols.crypto.commitment import record_hash
from protocols.effects import Event


def collect(case: PatientCase) -> Out:
    """Begin to close the books: list the record when there is consent, fetch what is left, ask fees back."""
    case = replace(case, phase="collecting")
    effects = [steps.transact(case.key, "withdraw", "Cases", "withdraw", [], account=case.account_index)]
    if case.outcome == "settled" and case.consent != bytes(32) and case.record:
        args = [case.case_id, record_hash(case.record), case.record_price, case.consent_terms]
        effects.insert(
            0, steps.transact(case.key, "list", "DataMarket", "list", args, account=case.account_index)
        )
    return case, [*effects, *reclaims(case)]


def collected(case: PatientCase, event: Event) -> Out:
    """A step of closing the books went through, or was refused; the last one ends the case."""
    case = note(case, event) if event.kind == "mined" else case
    step = str(event.body["step"])
    if step == "list":
        return replace(case, listed=event.kind == "mined"), []
    if step == "withdraw":
        return replace(case, withdrawn=True), [
            steps.pay(case.key, "sweep", case.wallet, 0, account=case.account_index)
        ]
    if step == "sweep":
        case = replace(case, phase="done" if case.outcome == "settled" else "refunded")
        return case, refill(case, step)
    return case, []


def requested(case: PatientCase, event: Event) -> Out:
    """A researcher asks for the record; whether it is paid for is looked up on chain first."""
    body = {
        "case_id": case.case_id,
        "buyer": event.body["body"]["buyer"],
        "thread": event.body["thread"],
        "from": event.body["from"],
    }
    return case, [steps.task(case.key, "check_access", str(event.body["thread"]), body)]


def access(case: PatientCase, event: Event) -> Out:
    """The chain said whether the researcher paid: hand the record over, or refuse."""
    granted = bool(event.body["granted"]) and event.body["buyer"] == event.body["from"]
    performative, body = (
        ("records", {"record": case.record})
        if granted
        else ("refuse", {"reason": "this record was not bought by you"})
    )
    thread, to = str(event.body["thread"]), str(event.body["from"])
    effects = [steps.say(case.key, "purchase", thread, 2, performative, to, body, mine=False)]
    if granted:  # the patient's share of the price waits on chain
        case, more = market_share(case, thread)
        effects += more
    return case, effects
