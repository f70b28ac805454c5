"""A model owner's side: quote, check the payment, run the session with the dealer, sign the receipt.

    asked -> offered -> checking -> arranging -> hosting -> receipted -> earned
    (`refused` when the owner's terms do not fit, `lapsed` when an offer was not paid in time, or its money taken back)

The model learns that somebody with a case account wants a prediction, and in the end the confidence bucket.
It never learns the scan, the logits or the diagnosis.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from protocols.case import steps
from protocols.case.authority import speaks_for
from protocols.effects import Effect, Event, Machine, Step, stay

MAX_SESSIONS = 6
DEALER_PATIENCE = 30.0
LOOK = "look"
LOOK_SECONDS = 1800.0
"""Seconds without a session after which a paid case is looked up: a patient breathes at most 1200 between tries."""


@dataclass(frozen=True, slots=True)
class ModelCase:
    """One prediction asked for by one case account. Plain values only.

    sessions: how many were begun; tries: in a row, without anything to show for it. batch: images of the purchase.
    paid: whether the purchase was ever seen paid, looked: when it was looked up since. volume: {} for pictures, else
    plan, images and batches of it; served: its batches that were begun, repeated ones too; done: those that were
    evaluated, a bit each.
    """

    key: str
    phase: str
    case_id: int
    account: str
    patient: str
    specialty: str
    network: bytes
    dealer: str
    thread: str
    objection: str = ""
    quote: dict[str, Any] = field(default_factory=dict)
    offered_at: float = 0.0
    session: str = ""
    sessions: int = 0
    since: float = 0.0
    bucket: int = -1
    receipt: dict[str, Any] | None = None
    signature: bytes = b""
    trouble: str = ""
    batch: int = 1
    tries: int = 0
    volume: dict[str, Any] = field(default_factory=dict)
    served: int = 0
    done: bytes = b""
    paid: bool = False
    looked: float = 0.0


Out = Step[ModelCase]


def _asked(case: ModelCase, event: Event) -> Out:
    if case.objection:
        reason = {"reason": case.objection}
        refuse = steps.say(case.key, "quote", case.thread, 2, "refuse", case.patient, reason, mine=False)
        return replace(case, phase="refused"), [refuse]
    body = {"case_id": case.case_id, "patient": case.account}
    return case, [steps.task(case.key, "quote", "sign", body)]


def _quoted(case: ModelCase, event: Event) -> Out:
    proposal = dict(event.body["proposal"])
    case = replace(case, phase="offered", quote=proposal["quote"], offered_at=float(event.body["now"]))
    return case, [steps.say(case.key, "quote", case.thread, 2, "propose", case.patient, proposal, mine=False)]


def _declined(case: ModelCase, event: Event) -> Out:
    return replace(case, phase="lapsed"), []


def _begun(case: ModelCase, event: Event) -> Out:
    """The patient wants its session: is it paid for, and is this not one try too many?"""
    thread, body = str(event.body["thread"]), event.body["body"]
    fits = body["session"] == thread and speaks_for(
        body.get("authority"), case.case_id, case.patient, case.account
    )
    if case.tries >= MAX_SESSIONS or not fits:
        reason = {"reason": "no session is held for this wish: it is one too many, or not the buyer's"}
        return case, [steps.say(case.key, "session", thread, 2, "refuse", case.patient, reason, mine=False)]
    case = replace(
        case,
        phase="checking",
        session=thread,
        sessions=case.sessions + 1,
        tries=case.tries + 1,
        since=float(event.body["now"]),
    )
    return case, [_check(case, case.session, case.session)]


def _check(case: ModelCase, session: str, step: str) -> Effect:
    """The wish to know what is paid. session: whose answer it is, or `LOOK`."""
    names = {"case_id": case.case_id, "network": case.network, "account": case.account}
    return steps.task(case.key, "check_purchase", step, {**names, "session": session})


def _checked(case: ModelCase, event: Event) -> Out:
    if case.phase == "offered":
        return _looked(case, event)
    if event.body["session"] != case.session:
        return case, []
    if not event.body["paid"]:
        reason = {"reason": "the prediction is not paid for on chain"}
        refuse = steps.say(case.key, "session", case.session, 2, "refuse", case.patient, reason, mine=False)
        return replace(case, phase="offered"), [refuse]
    case = replace(case, paid=True)
    body = {
        "case_id": case.case_id,
        "session": case.session,
        "network": case.network,
        "patient": case.patient,
    }
    begin = steps.say(case.key, "session", f"{case.session}/deal", 1, "begin", case.dealer, body, mine=True)
    return replace(case, phase="arranging"), [begin]


def _looked(case: ModelCase, event: Event) -> Out:
    """Whether somebody who paid and has no session may still come: not when the money was, or may be, taken back."""
    if event.body["session"] != LOOK:
        return case, []
    if not event.body["paid"] or event.body["reclaimable"]:
        return replace(case, phase="lapsed"), []
    return (replace(case, phase="earned") if event.body["released"] else case), []


def _dealer_ready(case: ModelCase, event: Event) -> Out:
    if event.body["from"] != case.dealer or event.body["thread"] != f"{case.session}/deal":
        return case, []
    body = {"session": case.session}
    ready = steps.say(case.key, "session", case.session, 2, "ready", case.patient, body, mine=False)
    host = {
        "session": case.session,
        "dealer": case.dealer,
        "patient": case.patient,
        "network": case.network,
        "batch": case.batch,
    }
    if case.volume:
        host["volume"] = case.volume
    case = replace(case, phase="hosting", since=float(event.body["now"]))
    return case, [steps.task(case.key, "host", case.session, host), ready]


def _dealer_refused(case: ModelCase, event: Event) -> Out:
    if event.body["from"] != case.dealer:
        return case, []
    return _give_up(case, "the dealer refused the session", float(event.body["now"]))


def _give_up(case: ModelCase, why: str, now: float) -> Out:
    reason = {"reason": why}
    number = 3 if case.phase == "hosting" else 2
    refuse = steps.say(case.key, "session", case.session, number, "refuse", case.patient, reason, mine=False)
    return replace(case, phase="offered", trouble=why, since=now), [refuse]


def _reserved(case: ModelCase, event: Event) -> Out:
    """A batch of a volume is about to be evaluated: it counts from now on, whatever becomes of it."""
    if event.body["session"] != case.session:
        return case, []
    return replace(case, served=case.served + 1), []


def _progressed(case: ModelCase, event: Event) -> Out:
    """A batch of a volume was evaluated: that is known from now on, whatever became of the session meanwhile."""
    number = event.body.get("number")
    if not case.volume or type(number) is not int or not 0 <= number < int(case.volume["batches"]):
        return case, []
    done = int.from_bytes(case.done, "little") | 1 << number
    return replace(case, done=done.to_bytes(-(-done.bit_length() // 8), "little"), tries=0), []


def all_done(case: ModelCase) -> bool:
    """Whether every batch of a volume was evaluated at least once; False for a picture."""
    return bool(case.volume) and int.from_bytes(case.done, "little").bit_count() >= int(
        case.volume["batches"]
    )


def _hosted(case: ModelCase, event: Event) -> Out:
    if event.body["session"] != case.session:
        return case, []
    bucket = int(event.body["bucket"])
    sign = {"case_id": case.case_id, "network": case.network, "bucket": bucket, "session": case.session}
    return replace(case, bucket=bucket), [steps.task(case.key, "sign_receipt", case.session, sign)]


def _host_failed(case: ModelCase, event: Event) -> Out:
    if event.body["session"] != case.session:
        return case, []
    return _give_up(case, str(event.body["reason"]), float(event.body["now"]))


def _signed(case: ModelCase, event: Event) -> Out:
    if event.body["session"] != case.session:
        return case, []
    receipt, signature = dict(event.body["receipt"]), bytes(event.body["signature"])
    body = {"session": case.session, "receipt": receipt, "signature": signature}
    told = steps.say(case.key, "session", case.session, 3, "receipt", case.patient, body, mine=False)
    args = [[receipt["case_id"], receipt["network"], receipt["bucket"], receipt["valid_until"]], signature]
    # The patient's `open` releases the fee too. This is for a patient who walks away with the prediction.
    later = float(event.body["now"]) + float(event.body["claim_after"])
    step = f"release/{case.sessions}"
    claim = steps.transact(case.key, step, "Models", "release", args, not_before=later)
    return replace(case, phase="receipted", receipt=receipt, signature=signature), [told, claim]


def _mined(case: ModelCase, event: Event) -> Out:
    step = str(event.body["step"])
    if case.phase == "receipted" and step.startswith("release/"):
        return replace(case, phase="earned"), []
    return case, []


def _tick(case: ModelCase, event: Event) -> Out:
    now = float(event.body["now"])
    if case.phase == "offered" and now > float(case.quote["valid_until"]):
        if not case.paid:
            return replace(case, phase="lapsed"), []
        if now - max(case.looked, case.since) > LOOK_SECONDS:
            return replace(case, looked=now), [_check(case, LOOK, f"{LOOK}/{int(now)}")]
    if case.phase == "arranging" and now - case.since > DEALER_PATIENCE:
        return _give_up(case, "the dealer did not answer", now)
    return case, []


def _counted(phase: str) -> dict[str, frozenset[str]]:
    """A batch was evaluated in any phase, though its patient began another session meanwhile."""
    return {"progressed": stay(phase)}


MACHINE: Machine[ModelCase] = Machine(
    role="model",
    state=ModelCase,
    table={
        "asked": {"quote.cfp": stay("asked", "refused"), "quoted": stay("offered")},
        "offered": {
            "quote.decline": stay("lapsed"),
            "session.begin": stay("offered", "checking"),
            "purchase": stay("offered", "lapsed", "earned"),
            "tick": stay("offered", "lapsed"),
            **_counted("offered"),
        },
        "checking": {
            "purchase": stay("checking", "offered", "arranging"),
            "session.begin": stay("checking"),
            **_counted("checking"),
        },
        "arranging": {
            "session.ready": stay("arranging", "hosting"),
            "session.refuse": stay("arranging", "offered"),
            "session.begin": stay("arranging", "checking"),
            "tick": stay("arranging", "offered"),
            **_counted("arranging"),
        },
        "hosting": {
            "session.begin": stay("hosting", "checking"),
            "session.ready": stay("hosting"),
            "reserved": stay("hosting"),
            **_counted("hosting"),
            "hosted": stay("hosting"),
            "host_failed": stay("hosting", "offered"),
            "receipt_signed": stay("hosting", "receipted"),
        },
        "receipted": {
            "session.begin": stay("receipted", "checking"),
            "mined": stay("receipted", "earned"),
            "reverted": stay("earned"),
            **_counted("receipted"),
        },
        "earned": {
            **_counted("earned"),
            "mined": stay("earned"),
            "reverted": stay("earned"),
            "session.begin": stay("earned", "checking"),
        },
    },
    handlers={
        "quote.cfp": _asked,
        "quoted": _quoted,
        "quote.decline": _declined,
        "session.begin": _begun,
        "purchase": _checked,
        "session.ready": _dealer_ready,
        "session.refuse": _dealer_refused,
        "reserved": _reserved,
        "progressed": _progressed,
        "hosted": _hosted,
        "host_failed": _host_failed,
        "receipt_signed": _signed,
        "mined": _mined,
        "reverted": lambda case, event: _earned_by_open(case),
        "tick": _tick,
    },
    final=frozenset({"refused", "lapsed", "earned"}),
)


def _earned_by_open(case: ModelCase) -> Out:
    """`release` was refused because the patient's `open` had released the fee; the duty collects it."""
    return replace(case, phase="earned"), []
