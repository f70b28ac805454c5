"""A doctor's side of a case: from an invitation to a settled vote.

    invited -> accepting -> awaiting -> reading -> committing -> committed -> revealing -> revealed -> settled
       \\-> declining -> declined        (a seat that is lost on chain ends in `lost` from anywhere)

The doctor reads blind: nothing of the model's answer or of another vote is in this state before the reveal,
because nobody sends it. The salt of the commitment is derived from the doctor's key, case and round, so a
vote whose log was lost can be found again by trying the few possible ballots against the chain.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from protocols.case import steps
from protocols.case.authority import speaks_for
from protocols.case.binding import code_commitment, opening_of, well_formed
from protocols.case.view import CaseView, Phase, Seat, SeatStatus
from protocols.case.volume import layout_of, png_size, shows
from protocols.crypto.commitment import ballot_commitment, scan_commitment
from protocols.effects import Effect, Event, Machine, Step, stay
from protocols.specialty import INSUFFICIENT, specialty_of


@dataclass(frozen=True, slots=True)
class DoctorPolicy:
    """What its owner lets a doctor agent accept.

    hours: (from, to) in UTC, 0..24, wrapping over midnight; least_bounty: wei a seat; max_cases: open at once.
    """

    specialties: tuple[str, ...]
    languages: tuple[str, ...] = ("en",)
    hours: tuple[int, int] = (0, 24)
    least_bounty: int = 0
    max_cases: int = 3

    def objection(
        self, specialty_name: str, seat_fee: int, open_cases: int, now: float, language: str = ""
    ) -> str:
        """Why an invitation is declined, or "" when it is accepted. now: unix seconds.

        language: what the patient asks to be read in, "" when it is not known (then it is no reason to decline).
        """
        if language and language not in self.languages:
            return f"the patient asks for {language}, and {', '.join(self.languages)} is read here"
        if specialty_name not in self.specialties:
            return f"{specialty_name} is not among the specialties read here"
        if seat_fee < self.least_bounty:
            return f"the bounty of {seat_fee} wei a seat is below the least of {self.least_bounty}"
        if open_cases >= self.max_cases:
            return f"{open_cases} cases are open, as many as are read at once"
        hour = datetime.fromtimestamp(now, UTC).hour
        start, end = self.hours
        on_duty = start <= hour < end if start < end else hour >= start or hour < end
        return "" if on_duty else f"it is {hour}:00 UTC and reading hours are {start} to {end}"


@dataclass(frozen=True, slots=True)
class DoctorCase:
    """All that a doctor agent knows of one seat. Plain values only.

    stage: phase of the case when last looked at. size, layout: of the scan's picture, and of a volume's slices in it.
    mask, findings: what the model found, which the patient shows when the votes of the round are sealed.
    """

    key: str
    phase: str
    case_id: int
    round: int
    doctor: str
    chain_id: int
    contract: str
    specialty: str
    seat_fee: int
    seat_deposit: int
    case_account: str
    commitment: bytes
    seat: int = 0
    objection: str = ""
    deadline: int = 0
    stage: int = 0
    patient: str = ""
    thread: str = ""
    scan: bytes = b""
    codes: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    modality: str = ""
    received: float = 0.0
    label: str = ""
    code: int = 0
    confidence: int = 0
    salt: bytes = b""
    withhold: bool = False
    margin: int = 20
    turn: int = 1
    result: dict[str, Any] | None = None
    trouble: str = ""
    size: list[int] = field(default_factory=list)
    layout: dict[str, int] = field(default_factory=dict)
    mask: bytes = b""
    findings: dict[str, Any] | None = None


Out = Step[DoctorCase]


def ballot(case: DoctorCase, code: int, confidence: int, salt: bytes) -> bytes:
    """The commitment that this doctor's ballot has on chain."""
    return ballot_commitment(
        chain_id=case.chain_id,
        cases=case.contract,
        case_id=case.case_id,
        round_=case.round,
        doctor=case.doctor,
        code=code,
        confidence=confidence,
        salt=salt,
    )


def _seated(case: DoctorCase, event: Event) -> Out:
    """First look at a seat of ours. Usually an invitation; after a lost log it may be further on."""
    view: CaseView = event.body["view"]
    seat = _mine(case, view)
    if seat is None or seat.status.lost:
        return replace(case, phase="lost"), []
    if seat.status is SeatStatus.INVITED:
        if case.objection:
            tx = steps.transact(case.key, "decline", "Cases", "decline", [case.case_id])
            return replace(case, phase="declining"), [tx]
        tx = steps.transact(case.key, "accept", "Cases", "accept", [case.case_id], value=case.seat_deposit)
        return replace(case, phase="accepting"), [tx]
    if seat.status is SeatStatus.COMMITTED:
        task = steps.task(case.key, "recover", "ballot", {"commitment": seat.commitment, "round": case.round})
        return replace(case, phase="committing"), [task]
    if seat.status is SeatStatus.REVEALED:
        return replace(case, phase="revealed", code=seat.code, confidence=seat.confidence), []
    return replace(case, phase="awaiting"), []


def _mine(case: DoctorCase, view: CaseView) -> Seat | None:
    held = [s for s in view.seats if s.doctor.lower() == case.doctor.lower() and s.round == case.round]
    return held[-1] if held else None


# ---- the scan
def _delivered(case: DoctorCase, event: Event) -> Out:
    """The scan came. It must be the one committed to on chain, from whoever speaks for the case account."""
    body, thread, sender = event.body["body"], str(event.body["thread"]), str(event.body["from"])
    why = _unfit(case, body, sender)
    if why:
        refuse = steps.say(case.key, "delivery", thread, 2, "refuse", sender, {"reason": why}, mine=False)
        return replace(case, trouble=why), [refuse]
    known = specialty_of(bytes.fromhex(case.specialty))
    labels = list(known.labels) if known else []
    case = replace(
        case,
        patient=sender,
        thread=thread,
        scan=event.body["blob"],
        codes=list(body["codes"]),
        labels=labels,
        modality=str(body["modality"]),
        received=float(event.body["now"]),
        size=list(png_size(body["scan"]) or ()),
        layout=layout_of(body.get("layout")),
    )
    effects = [steps.say(case.key, "delivery", thread, 2, "received", sender, {}, mine=False)]
    if case.phase == "awaiting":
        case, more = _read(case)
        effects += more
    return case, effects


def _unfit(case: DoctorCase, body: dict[str, Any], sender: str) -> str:
    codes, scan, bound = body["codes"], body["scan"], body["code_commitments"]
    known = specialty_of(bytes.fromhex(case.specialty))
    if known is None:
        return "the specialty is not known here"
    if not isinstance(scan, bytes) or not well_formed(body["nonce"], bound, body["code_salt"]):
        return "the scan or what binds it is malformed"
    if not speaks_for(body.get("authority"), case.case_id, sender, case.case_account):
        return "the sender does not speak for the case account"
    if scan_commitment(scan, opening_of(body["nonce"], bound)) != case.commitment:
        return "the scan is not the one that was committed to on chain"
    proper = isinstance(codes, list) and all(isinstance(c, int) and 1 <= c <= 255 for c in codes)
    if not proper or len(set(codes)) != len(known.labels):
        return "the verdict codes are not distinct numbers from 1 to 255, one a label"
    if case.round > len(bound) or code_commitment(body["code_salt"], codes) != bound[case.round - 1]:
        return "the verdict codes are not those committed to on chain"
    return ""


def _read(case: DoctorCase) -> Out:
    body = {"scan": case.scan, "labels": case.labels, "round": case.round, "case_id": case.case_id}
    body["seat"] = case.seat
    return replace(case, phase="reading"), [steps.task(case.key, "read", "scan", body)]


def _abstain(case: DoctorCase) -> Out:
    """The scan was withheld: say so on chain, as insufficient evidence, rather than lose the deposit."""
    body = {"case_id": case.case_id, "round": case.round}
    case = replace(case, phase="reading", trouble="no scan was delivered in time")
    return case, [steps.task(case.key, "abstain", "scan", body)]


def _was_read(case: DoctorCase, event: Event) -> Out:
    """The doctor has decided: label "" or `insufficient evidence` is code 0."""
    label = str(event.body["label"])
    confidence = max(0, min(100, int(event.body["confidence"])))
    code = case.codes[case.labels.index(label)] if label in case.labels else 0
    salt = bytes(event.body["salt"])
    case = replace(
        case,
        phase="committing",
        label=label if code else INSUFFICIENT,
        code=code,
        confidence=confidence,
        salt=salt,
        withhold=bool(event.body.get("withhold", False)),
    )
    # A quick reader may be done while others still take their seats; the chain takes no vote before all have.
    return case, [_commit(case)] if case.stage == Phase.COMMIT else []


def _commit(case: DoctorCase) -> Effect:
    digest = ballot(case, case.code, case.confidence, case.salt)
    return steps.transact(case.key, "commit", "Cases", "commit", [case.case_id, digest])


def _recovered(case: DoctorCase, event: Event) -> Out:
    """A lost ballot was found again (or not: then the seat will be a no-show, and the owner is told)."""
    if not event.body["found"]:
        return replace(
            case, phase="lost", trouble="the ballot of this seat is lost and could not be found again"
        ), []
    code, confidence = int(event.body["code"]), int(event.body["confidence"])
    return replace(
        case, phase="committed", code=code, confidence=confidence, salt=bytes(event.body["salt"])
    ), []


# ---- what the model found, shown when nobody can vote any more
def _shown(case: DoctorCase, event: Event) -> Out:
    """The mask of a volume came, from the patient whose scan it is, in the scan's own size."""
    body, thread, sender = event.body["body"], str(event.body["thread"]), str(event.body["from"])
    if sender != case.patient or not shows(case.size, body["mask"], body["findings"]):
        reason = {"reason": "the mask is not of the scan that was delivered to this seat"}
        return case, [steps.say(case.key, "disclosure", thread, 2, "refuse", sender, reason, mine=False)]
    case = replace(case, mask=event.body["blob"], findings=dict(body["findings"]))
    return case, [steps.say(case.key, "disclosure", thread, 2, "seen", sender, {}, mine=False)]


# ---- what the chain shows
def _view(case: DoctorCase, event: Event) -> Out:
    view: CaseView = event.body["view"]
    seat = _mine(case, view)
    case = replace(case, deadline=view.deadline, stage=int(view.phase))
    if seat is None or seat.status in (SeatStatus.DECLINED, SeatStatus.REPLACED):
        return replace(case, phase="declined" if case.phase == "declining" else "lost"), []
    if view.phase.over or view.round > case.round:
        return _over(case, view, seat)
    case, effects = _forward(case, view, seat)
    return case, [*effects, *steps.nudge(case.key, view, case.turn)]


def _forward(case: DoctorCase, view: CaseView, seat: Seat) -> Out:
    """Catch up with the chain, then act on the phase that runs."""
    if case.phase == "accepting" and seat.status is SeatStatus.ACCEPTED:
        case = replace(case, phase="awaiting")
    if case.phase == "awaiting" and case.scan:
        return _read(case)
    if case.phase == "awaiting" and view.phase is Phase.COMMIT and view.now > view.deadline - case.margin:
        return _abstain(case)
    if case.phase == "committing" and case.salt and seat.status is SeatStatus.COMMITTED:
        case = replace(case, phase="committed")
    if case.phase == "committing" and case.salt and view.phase is Phase.COMMIT:
        return case, [_commit(case)]
    opens = view.phase is Phase.REVEAL and seat.status is SeatStatus.COMMITTED and not case.withhold
    if case.phase == "committed" and opens:
        args = [case.case_id, case.code, case.confidence, case.salt]
        return replace(case, phase="revealing"), [steps.transact(case.key, "reveal", "Cases", "reveal", args)]
    if case.phase == "revealing" and seat.status is SeatStatus.REVEALED:
        return replace(case, phase="revealed"), []
    return case, []


def _over(case: DoctorCase, view: CaseView, seat: Seat) -> Out:
    """The round is over: note how it ended and fetch what was earned."""
    ended = view.phase.over
    result = {
        "state": view.phase.name.lower() if ended else "appealed",
        "agreed": ended and view.phase is Phase.SETTLED and seat.code == view.code,
        "status": seat.status.name.lower(),
        "paid_wei": seat.paid_wei,
        "reputation_before": seat.reputation_before,
        "reputation_after": seat.reputation_after,
        "code": view.code if ended else 0,
        "agreeing": view.agreeing if ended else 0,
        "panel_size": sum(
            1 for _, s in view.round_seats(case.round) if not s.status.lost or s.status is SeatStatus.NO_SHOW
        ),
    }
    withdraw = steps.transact(case.key, "withdraw", "Cases", "withdraw", [])
    return replace(case, phase="settled", result=result), [withdraw]


def _moved(case: DoctorCase, event: Event) -> Out:
    """A transaction of ours went through; the phase follows it at once, without waiting for the next look."""
    follows = {"accept": ("accepting", "awaiting"), "commit": ("committing", "committed")}
    follows |= {"reveal": ("revealing", "revealed"), "decline": ("declining", "declined")}
    was, becomes = follows.get(str(event.body["step"]), ("", ""))
    if case.phase != was:
        return case, []
    case = replace(case, phase=becomes)
    return _read(case) if becomes == "awaiting" and case.scan else (case, [])


def _refused(case: DoctorCase, event: Event) -> Out:
    """The chain refused a move. What the seat became is seen at the next look."""
    step = str(event.body["step"])
    if step.startswith("advance/") or step == "withdraw":
        return case, []
    if step == "decline" and case.phase == "declining":
        return replace(case, phase="declined"), []
    return replace(case, trouble=f"{step} was refused: {event.body['reason']}"), []


# ---- the certificate
def _certify(case: DoctorCase, event: Event) -> Out:
    """Sign (case, label, date) when it is the label that this doctor gave and the chain settled on."""
    body, thread, sender = event.body["body"], str(event.body["thread"]), str(event.body["from"])
    label, date = body["label"], body["date"]
    fits = sender == case.patient and isinstance(date, int) and label == (case.label or INSUFFICIENT)
    if case.phase == "settled" and case.result is not None and not case.result["agreed"]:
        fits = False
    if not fits:
        reason = {"reason": "that is not the verdict given from this seat"}
        return case, [steps.say(case.key, "delivery", thread, 4, "refuse", sender, reason, mine=False)]
    fields = {"label": label, "date": date, "thread": thread, "to": sender, "case_id": case.case_id}
    return case, [steps.task(case.key, "attest", f"{label}/{date}", fields)]


def _attested(case: DoctorCase, event: Event) -> Out:
    thread, to = str(event.body["thread"]), str(event.body["to"])
    body = {"signature": event.body["signature"]}
    return case, [steps.say(case.key, "delivery", thread, 4, "attest", to, body, mine=False)]


_ENDS, _SHOW = ("settled", "lost"), "disclosure.show"


def _row(*nexts: str, **more: frozenset[str]) -> dict[str, frozenset[str]]:
    """What every running phase answers: a look at the chain, and its own transactions."""
    row = {"view": stay(*nexts, *_ENDS), "mined": stay(*nexts), "reverted": stay(*nexts)}
    return row | more


def _stays(phase: str, *kinds: str) -> dict[str, frozenset[str]]:
    return {kind: stay(phase) for kind in kinds}


MACHINE: Machine[DoctorCase] = Machine(
    role="doctor",
    state=DoctorCase,
    table={
        "invited": {
            "seated": stay("accepting", "declining", "lost", "committing", "revealed", "awaiting"),
        },
        "accepting": _row("accepting", "awaiting", "reading", **{"delivery.deliver": stay("accepting")}),
        "declining": {
            "view": stay("declining", "declined", *_ENDS),
            "mined": stay("declining", "declined"),
            "reverted": stay("declining", "declined"),
        },
        "awaiting": _row("awaiting", "reading", **{"delivery.deliver": stay("awaiting", "reading")}),
        "reading": _row("reading", was_read=stay("committing")),
        "committing": _row("committing", "committed", "revealing", recovered=stay("committed", "lost")),
        "committed": _row("committed", "revealing", **_stays("committed", "delivery.deliver", _SHOW)),
        "revealing": _row("revealing", "revealed", **_stays("revealing", _SHOW)),
        "revealed": _row("revealed", **_stays("revealed", _SHOW, "delivery.certify", "attested")),
        "settled": _stays("settled", "mined", "reverted", _SHOW, "delivery.certify", "attested"),
    },
    handlers={
        "seated": _seated,
        "delivery.deliver": _delivered,
        "disclosure.show": _shown,
        "was_read": _was_read,
        "recovered": _recovered,
        "view": _view,
        "mined": _moved,
        "reverted": _refused,
        "delivery.certify": _certify,
        "attested": _attested,
    },
    final=frozenset({"settled", "lost", "declined"}),
)
