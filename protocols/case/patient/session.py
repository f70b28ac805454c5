"""Paying for a prediction, running the blind session, checking the receipt, opening the case."""

from __future__ import annotations

from dataclasses import replace

from protocols.case import steps
from protocols.case.patient.late import fail
from protocols.case.patient.quotes import choose, declines, quote_of
from protocols.case.patient.state import (
    INFERENCE_PATIENCE,
    LONGEST_BREATH,
    MAX_SESSIONS,
    SESSION_PATIENCE,
    STALL_PATIENCE,
    STALLED_ARRANGING,
    STALLED_BREATH,
    Out,
    PatientCase,
    note,
)
from protocols.crypto.eip712 import Receipt, models_domain, signer_of
from protocols.effects import Event
from protocols.errors import ProtocolError
from protocols.specialty import specialty

COSTS = ("bytes_ahead", "bytes_online", "seconds_online", "slots", "layers", "images")
"""What a session cost beside its seconds and bytes, where it is known."""


def funded(case: PatientCase, event: Event) -> Out:
    """The case account has its money: pay for the prediction into escrow."""
    case = note(case, event)
    quote = case.quotes[case.model]
    fields = quote["quote"]
    value = int(fields["price"]) + int(fields["dealer_fee"])
    args = [list(quote_of(fields).as_tuple()), quote["signature"]]
    buy = steps.transact(
        case.key,
        f"purchase/{case.model}",
        "Models",
        "purchase",
        args,
        value=value,
        account=case.account_index,
    )
    return replace(case, phase="buying"), [buy]


def bought(case: PatientCase, event: Event) -> Out:
    case = note(case, event)
    until = int(case.quote["valid_until"])
    case = replace(case, bought={**case.bought, case.model: until})
    return _begin(case, float(event.body["now"]))


def _begin(case: PatientCase, now: float) -> Out:
    """A fresh session with the chosen model; its number makes its thread, its seeds and its pads fresh."""
    number, tries = case.sessions.get(case.model, 0) + 1, case.tries + 1
    if tries > MAX_SESSIONS and not (_has_some(case) and now - case.progress_at <= STALL_PATIENCE):
        last = f"; the last one ended so: {case.trouble}" if case.trouble else ""
        return _next_model(
            case, now, f"{case.model} did not complete a session in {MAX_SESSIONS} tries{last}"
        )
    breath = min(LONGEST_BREATH, 2.0 * (tries - 1) ** 2)
    if _has_some(case) and tries > 1:
        breath = min(STALLED_BREATH, 5.0 * 4.0 ** min(tries - 2, 9))
    case = replace(
        case,
        sessions={**case.sessions, case.model: number},
        tries=tries,
        phase="arranging",
        waiting_since=now + breath,
        inference=None,
        receipt=None,
    )
    body = {
        "case_id": case.case_id,
        "session": case.session,
        "patient": case.account,
        "authority": case.authority,
    }
    begin = steps.say(
        case.key, "session", case.session, 1, "begin", case.model, body, mine=True, not_before=now + breath
    )
    return case, [begin]


def _has_some(case: PatientCase) -> bool:
    """Whether the chosen model has brought images of a volume: leaving it would lose them, and what was paid."""
    return case.served.get("images", 0) > 0


def _next_model(case: PatientCase, now: float, why: str) -> Out:
    case = replace(case, bad_models=[*case.bad_models, case.model], trouble=why, progress_at=0.0)
    if case.served:  # another model's suite begins with the first image
        case = replace(case, served={**case.served, "images": 0})
    after, effects = choose(case, now)
    return after, effects


def _current(case: PatientCase, event: Event) -> bool:
    return bool(event.body["thread"] == case.session and event.body["from"] == case.model)


def ready(case: PatientCase, event: Event) -> Out:
    """Model and dealer are ready: run the session."""
    if not _current(case, event):
        return case, []
    quote = case.quotes[case.model]
    body = {
        "session": case.session,
        "model": case.model,
        "dealer": case.quote["dealer"],
        "topology": quote["topology"],
        "card": quote["card"],
        "network": case.quote["network"],
        "scan": case.pixels,
        "slots": case.slots,
        "costs": quote["costs"],
    }
    if case.volume:
        body |= {"volume": case.volume, "suite": quote["suite"]}
    infer = steps.task(case.key, "infer", case.session, body)
    return replace(case, phase="inferring", waiting_since=float(event.body["now"])), [infer]


def session_refused(case: PatientCase, event: Event) -> Out:
    if not _current(case, event):
        return case, []
    return _begin(case, float(event.body["now"]))


def arrange_tick(case: PatientCase, event: Event) -> Out:
    """Time passed: another session, when this one has not come about or has shown no sign of life for too long."""
    now = float(event.body["now"])
    running = case.phase == "inferring" and case.inference is None
    patience = INFERENCE_PATIENCE if running else SESSION_PATIENCE
    if case.phase == "arranging" and _has_some(case):
        patience = STALLED_ARRANGING
    if now - case.waiting_since > patience:
        return _begin(case, now)
    return case, []


def progressed(case: PatientCase, event: Event) -> Out:
    """A volume is worked on. Whoever works is not given up, and a session that brought a batch was not in vain."""
    if event.body["session"] != case.session:
        return case, []
    served = {k: case.served.get(k, 0) + event.body[k] for k in ("bytes", "seconds")}
    served["images"] = event.body["images"]
    now = float(event.body["now"])
    case = replace(case, waiting_since=now)
    if served["images"] > case.served.get("images", 0):
        case = replace(case, tries=0, progress_at=now)
    return replace(case, served=served), []


def inferred(case: PatientCase, event: Event) -> Out:
    """What blind inference opened to the patient is here: a logit, or what the masks of a volume say."""
    if event.body["session"] != case.session:
        return case, []
    if case.volume:
        case = replace(case, findings=dict(event.body["findings"]), mask=event.body["mask"])
    kept = ("session", "logit", "probability", "bucket", "bytes", "seconds", "rounds")
    inference = {k: event.body[k] for k in kept} | {k: event.body[k] for k in COSTS if k in event.body}
    case = replace(case, inference=inference, waiting_since=float(event.body["now"]))
    return _open(case, event)


def infer_failed(case: PatientCase, event: Event) -> Out:
    if event.body["session"] != case.session:
        return case, []
    why, now = str(event.body["reason"]), float(event.body["now"])
    if event.body.get("cheated"):  # not once more with this one
        return _next_model(case, now, why)
    return _begin(replace(case, trouble=why), now)


def receipted(case: PatientCase, event: Event) -> Out:
    if not _current(case, event):
        return case, []
    body = event.body["body"]
    case = replace(case, receipt={"receipt": body["receipt"], "signature": body["signature"]})
    return _open(case, event)


def _open(case: PatientCase, event: Event) -> Out:
    """Open the case once both the prediction and an honest receipt for it are here."""
    if case.inference is None or case.receipt is None:
        return case, []
    receipt = _honest_receipt(case)
    if receipt is None:
        return _next_model(
            case, float(event.body["now"]), f"{case.model} signed a receipt for another result"
        )
    args = [
        [
            specialty(case.specialty).id,
            case.commitment,
            case.panel_size,
            case.quote["network"],
            case.consent,
            case.sealing_key,
            case.contact,
        ],
        list(receipt.as_tuple()),
        case.receipt["signature"],
    ]
    value = case.escrow_by_bucket[receipt.bucket]
    # Named after the model: a receipt that the chain refuses must not stand in the way of the next one's.
    step = f"open/{case.model}"
    tx = steps.transact(case.key, step, "Cases", "open", args, value=value, account=case.account_index)
    return replace(case, phase="opening"), [tx]


def _honest_receipt(case: PatientCase) -> Receipt | None:
    """The receipt, when it is the chosen model's own word on the bucket that blind inference opened to both."""
    assert case.receipt is not None
    assert case.inference is not None
    found = case.receipt["receipt"]
    wanted = (case.case_id, case.quote["network"], case.inference["bucket"])
    try:
        receipt = Receipt(found["case_id"], found["network"], found["bucket"], int(found["valid_until"]))
        if (receipt.case_id, receipt.network, receipt.bucket) != wanted:
            return None
        signer = signer_of(
            models_domain(case.chain_id, case.models).digest(receipt), case.receipt["signature"]
        )
    except (ProtocolError, KeyError, TypeError, ValueError):
        return None
    return receipt if signer == case.model else None


def opened(case: PatientCase, event: Event) -> Out:
    return replace(note(case, event), phase="panel"), declines(case)


def setup_reverted(case: PatientCase, event: Event) -> Out:
    """A transaction of ours was refused before the case was open."""
    step, reason = str(event.body["step"]), str(event.body["reason"])
    now = float(event.body["now"])
    if step.startswith(("purchase/", "open/")):
        return _next_model(case, now, f"{step.split('/')[0]} was refused: {reason}")
    if step.startswith("fund/"):
        return fail(case, f"the case account could not be funded: {reason}")
    return case, []
