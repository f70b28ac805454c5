"""The patient's side of a case: from a scan to a diagnosis with a certificate.

    quoting -> funding -> buying -> arranging -> inferring -> opening -> panel -> certifying -> collecting -> done
                                                                            \\-> collecting -> refunded
                     any step before `opening` can end in `failed`, with nothing lost but fees of the chain

What the reducer may see: everything, it runs on the patient's machine. The scan itself stays in the agent's
blob store and is named here by its hash. Randomness came in with the first event: the case secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from protocols.case import steps
from protocols.case.view import CaseView, Phase, SeatStatus
from protocols.crypto.commitment import record_hash
from protocols.crypto.eip712 import Quote, Receipt, models_domain, signer_of
from protocols.effects import Effect, Event, Machine, Step, stay
from protocols.errors import ProtocolError
from protocols.specialty import INSUFFICIENT, specialty

MAX_SESSIONS = 4
"""Blind inference is tried this often with one model before the patient turns to the next."""

QUOTE_PATIENCE = 90.0
"""Seconds without any quote after which a case is given up; nothing was paid by then."""

SESSION_PATIENCE = 45.0
"""Seconds that a model has to get a session ready, or to send the receipt after it."""

INFERENCE_PATIENCE = 600.0
"""Seconds after which a running inference is given up; a broken connection ends it at once."""

RECLAIM_GRACE = 60
"""Seconds to wait beyond the contract's own grace before unspent fees are asked back."""

ATTEST_PATIENCE = 60.0
"""Seconds to wait for all signatures once enough of them for a certificate are there."""


@dataclass(frozen=True, slots=True)
class PatientCase:
    """All that a patient agent knows of one case. Plain values only: it is written to the log at every step.

    quotes: model address -> the proposal's body. sessions: model -> sessions begun. bought: model -> valid_until.
    attests: doctor -> BLS signature. moves: transactions in the order mined.
    """

    key: str
    phase: str
    case_id: int
    account: str
    account_index: str
    wallet: str
    specialty: str
    panel_size: int
    modality: str
    scan: bytes
    pixels: bytes
    opening: bytes
    commitment: bytes
    secret: bytes
    codes: list[int]
    sealing_key: bytes
    contact: bytes
    authority: bytes
    consent: bytes
    consent_terms: list[Any]
    record_price: int
    chain_id: int
    models: str
    escrow_by_bucket: list[int]
    gas_reserve: int
    reclaim_after: int
    started: float
    quote_window: float
    price_cap: int
    asked: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    quotes: dict[str, Any] = field(default_factory=dict)
    reputations: dict[str, float] = field(default_factory=dict)
    model: str = ""
    sessions: dict[str, int] = field(default_factory=dict)
    bought: dict[str, int] = field(default_factory=dict)
    bad_models: list[str] = field(default_factory=list)
    waiting_since: float = 0.0
    inference: dict[str, Any] | None = None
    receipt: dict[str, Any] | None = None
    delivered: list[str] = field(default_factory=list)
    asked_attest: list[str] = field(default_factory=list)
    attests: dict[str, bytes] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    certificate: dict[str, Any] | None = None
    record: bytes = b""
    listed: bool = False
    withdrawn: bool = False
    outcome: str = ""
    trouble: str = ""
    moves: list[dict[str, Any]] = field(default_factory=list)

    @property
    def quote(self) -> dict[str, Any]:
        """The accepted quote's fields."""
        body: dict[str, Any] = self.quotes[self.model]
        return body["quote"]  # type: ignore[no-any-return]

    @property
    def session(self) -> str:
        """The running session's thread: fresh for every attempt."""
        return f"{self.key}:{self.model}:{self.sessions.get(self.model, 0)}"


Out = Step[PatientCase]


# ---- quotes
def _ask(case: PatientCase, models: list[str]) -> Out:
    fresh = [m for m in models if m not in case.asked]
    body = {"case_id": case.case_id, "patient": case.account, "specialty": case.specialty}
    effects = [steps.say(case.key, "quote", f"{case.key}:{m}", 1, "cfp", m, body, mine=True) for m in fresh]
    return replace(case, asked=[*case.asked, *fresh]), effects


def _started(case: PatientCase, event: Event) -> Out:
    return _ask(case, list(event.body["models"]))


def _proposed(case: PatientCase, event: Event) -> Out:
    """An offer counts when its owner signed it for this case and its parts are what they should be."""
    model, body = str(event.body["from"]), event.body["body"]
    try:
        offer = quote_of(body["quote"])
        digest = models_domain(case.chain_id, case.models).digest(offer)
        honest = signer_of(digest, body["signature"]) == offer.model == model
        fits = offer.case_id == case.case_id and offer.patient == case.account
        proper = 0 <= float(body["card"]["auc"]) <= 1 and isinstance(body["topology"], bytes)
    except (ProtocolError, KeyError, TypeError, ValueError):
        honest = fits = proper = False
    if not (honest and fits and proper):
        return replace(case, refused=[*case.refused, model]), []
    return replace(case, quotes={**case.quotes, model: body}), []


def quote_of(fields: Mapping[str, Any]) -> Quote:
    """The signed struct in a proposal's body. Raises KeyError or TypeError when it is malformed."""
    if not isinstance(fields["network"], bytes) or len(fields["network"]) != 32:
        raise TypeError("a network's id is 32 bytes")
    numbers = ("case_id", "price", "dealer_fee", "valid_until")
    if any(isinstance(fields[n], bool) or not isinstance(fields[n], int) or fields[n] < 0 for n in numbers):
        raise TypeError("a quote's numbers are whole and not negative")
    return Quote(
        network=fields["network"],
        model=str(fields["model"]),
        case_id=fields["case_id"],
        patient=str(fields["patient"]),
        price=fields["price"],
        dealer=str(fields["dealer"]),
        dealer_fee=fields["dealer_fee"],
        valid_until=fields["valid_until"],
    )


def _quote_refused(case: PatientCase, event: Event) -> Out:
    return replace(case, refused=[*case.refused, str(event.body["from"])]), []


def _worth(body: Mapping[str, Any], reputation: float) -> float:
    """How good an offer is: accuracy and reputation against price. Higher is better.

    The card's AUC counts by its distance from chance, the reputation on chain (0..1) scales it, and a
    price in milliether is held against it, so that twice the price must buy clearly more.
    """
    card = body["card"]
    skill = max(0.0, 2.0 * float(card["auc"]) - 1.0)
    price = (int(body["quote"]["price"]) + int(body["quote"]["dealer_fee"])) / 1e15
    return skill * (0.5 + reputation) - 0.02 * price


def best_quote(case: PatientCase) -> str:
    """The model to buy from, or "" when no offer is left that the owner's cap allows. Ties go by address."""
    able = [
        m
        for m, body in case.quotes.items()
        if m not in case.bad_models
        and int(body["quote"]["price"]) + int(body["quote"]["dealer_fee"]) <= case.price_cap
    ]
    return min(
        able, key=lambda m: (-_worth(case.quotes[m], float(case.reputations.get(m, 0.5))), m), default=""
    )


def _quote_tick(case: PatientCase, event: Event) -> Out:
    now = float(event.body["now"])
    case, effects = _ask(case, list(event.body.get("models", [])))
    case = replace(case, reputations=dict(event.body.get("reputations", case.reputations)))
    answered = len(case.quotes) + len(case.refused)
    patient_enough = now - case.started >= case.quote_window
    if best_quote(case) and (patient_enough or answered >= len(case.asked)):
        after, more = _choose(case, now)
        return after, [*effects, *more]
    if now - case.started >= QUOTE_PATIENCE:
        after, more = _fail(case, "no model made an offer within the price cap")
        return after, [*effects, *more]
    return case, effects


def _choose(case: PatientCase, now: float) -> Out:
    """Take the best offer and send its price, the escrow and gas to the case account."""
    model = best_quote(case)
    if not model:
        return _fail(case, case.trouble or "no model is left that could be bought from")
    case = replace(case, model=model, phase="funding", waiting_since=now)
    declines = [
        steps.say(
            case.key,
            "quote",
            f"{case.key}:{m}",
            3,
            "decline",
            m,
            {"reason": "another offer was taken"},
            mine=True,
        )
        for m in case.quotes
        if m not in (model, *case.bad_models) and not case.bad_models
    ]
    price = int(case.quote["price"]) + int(case.quote["dealer_fee"])
    # A second model costs its price alone: escrow and gas were sent with the first.
    amount = price if case.bought else price + max(case.escrow_by_bucket) + case.gas_reserve
    return case, [*declines, steps.pay(case.key, f"fund/{model}", case.account, amount)]


def _fail(case: PatientCase, why: str) -> Out:
    """Give up before the case was opened: what the case account holds goes home."""
    case = replace(case, phase="failed", outcome="failed", trouble=why)
    return case, [*_reclaims(case), *_sweep(case, "sweep")]


def _sweep(case: PatientCase, step: str) -> list[Effect]:
    funded = any(move["step"].startswith("fund/") for move in case.moves)
    return [steps.pay(case.key, step, case.wallet, 0, account=case.account_index)] if funded else []


def _reclaims(case: PatientCase) -> list[Effect]:
    """Ask the escrow for what was paid to models that never delivered; the contract opens it after its grace."""
    return [
        steps.transact(
            case.key,
            f"reclaim/{model}",
            "Models",
            "reclaim",
            [case.case_id, case.quotes[model]["quote"]["network"]],
            account=case.account_index,
            not_before=case.bought[model] + case.reclaim_after + RECLAIM_GRACE,
        )
        for model in case.bought
        if model in case.bad_models
    ]


# ---- buying and blind inference
def _note(case: PatientCase, event: Event) -> PatientCase:
    move = {k: event.body[k] for k in ("step", "hash", "block", "gas", "fee", "sender", "call", "value")}
    return replace(case, moves=[*case.moves, move])


def _funded(case: PatientCase, event: Event) -> Out:
    case = _note(case, event)
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


def _bought(case: PatientCase, event: Event) -> Out:
    case = _note(case, event)
    until = int(case.quote["valid_until"])
    case = replace(case, bought={**case.bought, case.model: until})
    return _begin(case, float(event.body["now"]))


def _begin(case: PatientCase, now: float) -> Out:
    """A fresh session with the chosen model; its number makes its thread, its seeds and its pads fresh."""
    number = case.sessions.get(case.model, 0) + 1
    if number > MAX_SESSIONS:
        return _next_model(case, now, f"{case.model} did not complete a session in {MAX_SESSIONS} tries")
    case = replace(
        case,
        sessions={**case.sessions, case.model: number},
        phase="arranging",
        waiting_since=now,
        inference=None,
        receipt=None,
    )
    body = {
        "case_id": case.case_id,
        "session": case.session,
        "patient": case.account,
        "authority": case.authority,
    }
    return case, [steps.say(case.key, "session", case.session, 1, "begin", case.model, body, mine=True)]


def _next_model(case: PatientCase, now: float, why: str) -> Out:
    case = replace(case, bad_models=[*case.bad_models, case.model], trouble=why)
    after, effects = _choose(case, now)
    return after, effects


def _current(case: PatientCase, event: Event) -> bool:
    return bool(event.body["thread"] == case.session and event.body["from"] == case.model)


def _ready(case: PatientCase, event: Event) -> Out:
    if not _current(case, event):
        return case, []
    quote = case.quotes[case.model]
    infer = steps.task(
        case.key,
        "infer",
        case.session,
        {
            "session": case.session,
            "model": case.model,
            "dealer": case.quote["dealer"],
            "topology": quote["topology"],
            "card": quote["card"],
            "network": case.quote["network"],
            "scan": case.pixels,
        },
    )
    return replace(case, phase="inferring", waiting_since=float(event.body["now"])), [infer]


def _session_refused(case: PatientCase, event: Event) -> Out:
    if not _current(case, event):
        return case, []
    return _begin(case, float(event.body["now"]))


def _arrange_tick(case: PatientCase, event: Event) -> Out:
    now = float(event.body["now"])
    running = case.phase == "inferring" and case.inference is None
    if now - case.waiting_since > (INFERENCE_PATIENCE if running else SESSION_PATIENCE):
        return _begin(case, now)
    return case, []


def _inferred(case: PatientCase, event: Event) -> Out:
    if event.body["session"] != case.session:
        return case, []
    kept = ("session", "logit", "probability", "bucket", "bytes", "seconds", "rounds")
    case = replace(case, inference={k: event.body[k] for k in kept}, waiting_since=float(event.body["now"]))
    return _open(case, event)


def _infer_failed(case: PatientCase, event: Event) -> Out:
    if event.body["session"] != case.session:
        return case, []
    return _begin(replace(case, trouble=str(event.body["reason"])), float(event.body["now"]))


def _receipted(case: PatientCase, event: Event) -> Out:
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
    tx = steps.transact(case.key, "open", "Cases", "open", args, value=value, account=case.account_index)
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


def _opened(case: PatientCase, event: Event) -> Out:
    return replace(_note(case, event), phase="panel"), []


def _setup_reverted(case: PatientCase, event: Event) -> Out:
    """A transaction of ours was refused before the case was open."""
    step, reason = str(event.body["step"]), str(event.body["reason"])
    now = float(event.body["now"])
    if step.startswith("purchase/") or step == "open":
        return _next_model(case, now, f"{step.split('/')[0]} was refused: {reason}")
    if step.startswith("fund/"):
        return _fail(case, f"the case account could not be funded: {reason}")
    return case, []


# ---- the panel
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
            "opening": case.opening,
            "codes": case.codes,
            "modality": case.modality,
            "specialty": case.specialty,
            "authority": case.authority,
        }
        thread = f"{case.key}:{seat.round}"
        effects.append(
            steps.say(
                case.key, "delivery", f"{thread}:{seat.doctor}", 1, "deliver", seat.doctor, body, mine=True
            )
        )
    return replace(case, delivered=delivered), effects


def label_of(case: PatientCase, code: int) -> str:
    """What a verdict code means in this case; codes that mean nothing are `insufficient evidence`."""
    labels = specialty(case.specialty).labels
    return labels[case.codes.index(code)] if code in case.codes else INSUFFICIENT


def _panel_view(case: PatientCase, event: Event) -> Out:
    view: CaseView = event.body["view"]
    if view.phase is Phase.SETTLED:
        return _settled(case, view, float(event.body["now"]))
    if view.phase is Phase.REFUNDED:
        return _collect(replace(case, outcome="refunded", result=_result(case, view)))
    case, effects = _deliver(case, view)
    return case, [*effects, *steps.nudge(case.key, view, 0)]


def _result(case: PatientCase, view: CaseView) -> dict[str, Any]:
    settled = view.phase is Phase.SETTLED
    return {
        "state": view.phase.name.lower(),
        "rounds": view.round,
        "label": label_of(case, view.code) if settled else "",
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
                "verdict": label_of(case, s.code) if s.status is SeatStatus.REVEALED else "",
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
    result = _result(case, view)
    case = replace(case, phase="certifying", outcome="settled", result=result, waiting_since=now)
    body = {"label": result["label"], "date": result["date"]}
    effects = []
    asked = []
    for _, seat in view.round_seats():
        if seat.status is SeatStatus.REVEALED and seat.code == view.code:
            asked.append(seat.doctor)
            thread = f"{case.key}:{seat.round}:{seat.doctor}"
            effects.append(
                steps.say(case.key, "delivery", thread, 3, "certify", seat.doctor, body, mine=True)
            )
    return replace(case, asked_attest=asked), effects


def _attested(case: PatientCase, event: Event) -> Out:
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


def _certify_tick(case: PatientCase, event: Event) -> Out:
    waited = float(event.body["now"]) - case.waiting_since
    if waited < ATTEST_PATIENCE:
        return case, []
    if case.attests:
        return case, [_certify(case)]
    if waited > 10 * ATTEST_PATIENCE:
        return _collect(replace(case, trouble="no doctor of the panel sent a signature for the certificate"))
    return case, []


def _certified(case: PatientCase, event: Event) -> Out:
    certificate = dict(event.body["certificate"])
    if not certificate["valid"] and len(case.attests) < len(case.asked_attest):
        return replace(case, trouble=str(certificate.get("why", ""))), []
    return _collect(replace(case, certificate=certificate, record=event.body["record"]))


# ---- money back, and the data market
def _collect(case: PatientCase) -> Out:
    case = replace(case, phase="collecting")
    effects = [steps.transact(case.key, "withdraw", "Cases", "withdraw", [], account=case.account_index)]
    if case.outcome == "settled" and case.consent != bytes(32) and case.record:
        args = [case.case_id, record_hash(case.record), case.record_price, case.consent_terms]
        effects.insert(
            0, steps.transact(case.key, "list", "DataMarket", "list", args, account=case.account_index)
        )
    return case, [*effects, *_reclaims(case)]


def _collected(case: PatientCase, event: Event) -> Out:
    case = _note(case, event) if event.kind == "mined" else case
    step = str(event.body["step"])
    if step == "list":
        return replace(case, listed=event.kind == "mined"), []
    if step == "withdraw":
        return replace(case, withdrawn=True), [
            steps.pay(case.key, "sweep", case.wallet, 0, account=case.account_index)
        ]
    if step == "sweep":
        return replace(case, phase="done" if case.outcome == "settled" else "refunded"), []
    return case, []


def _requested(case: PatientCase, event: Event) -> Out:
    """A researcher asks for the record; whether it is paid for is looked up on chain first."""
    body = {
        "case_id": case.case_id,
        "buyer": event.body["body"]["buyer"],
        "thread": event.body["thread"],
        "from": event.body["from"],
    }
    return case, [steps.task(case.key, "check_access", str(event.body["thread"]), body)]


def _access(case: PatientCase, event: Event) -> Out:
    granted = bool(event.body["granted"]) and event.body["buyer"] == event.body["from"]
    performative, body = (
        ("records", {"record": case.record})
        if granted
        else ("refuse", {"reason": "this record was not bought by you"})
    )
    thread, to = str(event.body["thread"]), str(event.body["from"])
    effects = [steps.say(case.key, "purchase", thread, 2, performative, to, body, mine=False)]
    if granted:  # the patient's share of the price waits on chain
        step = f"market/{thread}"
        effects.append(
            steps.transact(case.key, step, "DataMarket", "withdraw", [], account=case.account_index)
        )
    return case, effects


def _on_mined(case: PatientCase, event: Event) -> Out:
    step = str(event.body["step"])
    if step.startswith("reclaim/"):  # the fee came back to the case account: send it home
        case = _note(case, event)
        return case, [
            steps.transact(case.key, f"unbuy/{step}", "Models", "withdraw", [], account=case.account_index)
        ]
    if step.startswith(("unbuy/", "market/")):
        case = _note(case, event)
        return case, _sweep(case, f"sweep/{step}")
    if case.phase == "funding" and step == f"fund/{case.model}":
        return _funded(case, event)
    if case.phase == "buying" and step == f"purchase/{case.model}":
        return _bought(case, event)
    if case.phase == "opening" and step == "open":
        return _opened(case, event)
    if case.phase == "collecting":
        return _collected(case, event)
    return _note(case, event), []


def _on_reverted(case: PatientCase, event: Event) -> Out:
    if case.phase in ("funding", "buying", "opening"):
        return _setup_reverted(case, event)
    if case.phase == "collecting":
        return _collected(case, event)
    return case, []


def _on_tick(case: PatientCase, event: Event) -> Out:
    if case.phase == "quoting":
        return _quote_tick(case, event)
    if case.phase in ("arranging", "inferring"):
        return _arrange_tick(case, event)
    return _certify_tick(case, event)


_SETUP = ("funding", "arranging", "opening", "failed")

MACHINE: Machine[PatientCase] = Machine(
    role="patient",
    state=PatientCase,
    table={
        "quoting": {
            "started": stay("quoting"),
            "quote.propose": stay("quoting"),
            "quote.refuse": stay("quoting"),
            "tick": stay("quoting", "funding", "failed"),
        },
        "funding": {
            "mined": stay("funding", "buying"),
            "reverted": stay("funding", "failed"),
            "quote.propose": stay("funding"),
        },
        "buying": {"mined": stay("buying", "arranging"), "reverted": stay("buying", "funding", "failed")},
        "arranging": {
            "session.ready": stay("arranging", "inferring"),
            "session.refuse": stay(*_SETUP),
            "tick": stay(*_SETUP),
            "mined": stay("arranging"),
        },
        "inferring": {
            "inferred": stay("inferring", *_SETUP),
            "infer_failed": stay(*_SETUP),
            "session.receipt": stay("inferring", *_SETUP),
            "session.refuse": stay("inferring", *_SETUP),
            "tick": stay("inferring", *_SETUP),
            "mined": stay("inferring"),
        },
        "opening": {"mined": stay("opening", "panel"), "reverted": stay("opening", "funding", "failed")},
        "panel": {
            "view": stay("panel", "certifying", "collecting"),
            "delivery.received": stay("panel"),
            "delivery.refuse": stay("panel"),
            "mined": stay("panel"),
            "reverted": stay("panel"),
        },
        "certifying": {
            "delivery.attest": stay("certifying"),
            "delivery.refuse": stay("certifying"),
            "tick": stay("certifying", "collecting"),
            "certified": stay("certifying", "collecting"),
            "mined": stay("certifying"),
            "reverted": stay("certifying"),
        },
        "collecting": {
            "mined": stay("collecting", "done", "refunded"),
            "reverted": stay("collecting", "done", "refunded"),
            "purchase.request": stay("collecting"),
            "access": stay("collecting"),
        },
        "done": {
            "purchase.request": stay("done"),
            "access": stay("done"),
            "mined": stay("done"),
            "reverted": stay("done"),
        },
        "refunded": {"mined": stay("refunded")},
        "failed": {"mined": stay("failed"), "reverted": stay("failed")},
    },
    handlers={
        "started": _started,
        "quote.propose": _proposed,
        "quote.refuse": _quote_refused,
        "tick": _on_tick,
        "mined": _on_mined,
        "reverted": _on_reverted,
        "session.ready": _ready,
        "session.refuse": _session_refused,
        "session.receipt": _receipted,
        "inferred": _inferred,
        "infer_failed": _infer_failed,
        "view": _panel_view,
        "delivery.received": lambda case, event: (case, []),
        "delivery.refuse": lambda case, event: (case, []),
        "delivery.attest": _attested,
        "certified": _certified,
        "purchase.request": _requested,
        "access": _access,
    },
    final=frozenset({"done", "refunded", "failed"}),
)
