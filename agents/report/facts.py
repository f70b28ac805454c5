"""What a finished case says, as plain sentences. The terminal and the page print the same ones."""

from __future__ import annotations

from collections.abc import Iterator

from agents.report.result import BUCKETS, CaseResult, Seat, Segmentation
from agents.report.words import money, percent, plural, short_id, words
from protocols.specialty import INSUFFICIENT

NOT_ADVICE = (
    "This is not medical advice. CrypDoc is research software; "
    "take a health question to a doctor you can see."
)
AUTOMATIC = (
    "The doctors in this case were played by automatic readers, small programs and not people, "
    "so the diagnosis says nothing about a real patient."
)
PARTLY_AUTOMATIC = (
    "{people} was played by a person; the other doctors in this case were played by automatic readers, small programs "
    "and not people, so the diagnosis says nothing about a real patient."
)
SYNTHETIC = "The scan is synthetic: it was made by a program and shows nobody."

STATUS = {
    "invited": "did not answer",
    "accepted": "did not commit",
    "committed": "did not reveal",
    "revealed": "revealed",
    "declined": "declined the seat",
    "replaced": "was replaced",
    "noshow": "did not show up",
}


def headline(result: CaseResult) -> str:
    if not result.settled:
        return "No diagnosis"
    assert result.label is not None
    if result.label == INSUFFICIENT:
        return "Insufficient evidence"
    return result.label[:1].upper() + result.label[1:]


def explanation(result: CaseResult) -> str:
    """What the headline means, in one or two sentences."""
    if not result.settled:
        return (
            f"After {plural(result.rounds, 'round')} too few doctors agreed, so nothing was decided "
            "and what was left of the bounty went back to you. The model's answer alone is no diagnosis."
        )
    if result.label == INSUFFICIENT:
        return "The panel agreed that this scan does not show enough to decide."
    return "The verdict of a panel of doctors who read the scan without knowing each other's answers."


def certainty(result: CaseResult) -> str:
    """How sure the model was, and of what; of a volume, what it measured."""
    if result.segmentation is not None:
        return measured(result.segmentation)
    bucket = "" if result.bucket is None else BUCKETS[result.bucket]
    if result.model.probability is None:
        return f"The model was {bucket}." if bucket else "The model's certainty is not recorded."
    share = percent(result.model.probability)
    told = f" ({bucket})" if bucket else ""
    label = result.model.label or result.label
    if label is None:
        return f"The model was {share} sure{told}."
    differs = result.settled and label != result.label
    return f"The model was {share} sure{told} of “{label}”{', unlike the panel' if differs else ''}."


def measured(found: Segmentation) -> str:
    """What a suite measured in a volume, as a sentence."""
    if found.infection_ml is None or found.lung_ml is None:
        return "The model's measurement is not recorded."
    if found.percent is None:
        return "The model found no lung in the volume, so no severity can be told."
    return (
        f"The model measured {found.infection_ml:.1f} ml of infection in {found.lung_ml:.0f} ml of lung, "
        f"{found.percent:.1f} %: {found.severity}."
    )


def agreement(result: CaseResult) -> str:
    agreeing, seats = result.agreement
    when = f" in round {result.rounds}" if result.rounds > 1 else ""
    if result.settled:
        return f"{agreeing} of {plural(seats, 'doctor')} agreed{when}."
    if agreeing == 0:
        return f"None of {plural(seats, 'doctor')} revealed a verdict{when}."
    return f"At most {agreeing} of {plural(seats, 'doctor')} agreed{when}, which was too few."


def spent_items(result: CaseResult) -> tuple[list[tuple[str, int]], int]:
    """The parts of the cost by name, and their sum (`total_wei` where it is given)."""
    items = [(key, int(value)) for key, value in result.spent.items() if key.endswith("_wei")]
    parts = [(words(key), value) for key, value in items if key != "total_wei"]
    back = ("returned_wei", "refunded_wei")
    counted = sum(-value if key in back else value for key, value in items if key != "total_wei")
    return parts, next((value for key, value in items if key == "total_wei"), counted)


def cost(result: CaseResult) -> str:
    parts, total = spent_items(result)
    if not parts:
        spent = result.bounty_wei if result.settled else 0
        return f"{money(spent, result.currency)} (bounty)."
    named = ", ".join(f"{name.lower()} {money(value, result.currency)}" for name, value in parts)
    return f"{money(total, result.currency)} in all: {named}."


def payments(result: CaseResult) -> list[tuple[str, int]]:
    """Who was paid how much over all rounds, the model last; who got nothing is left out."""
    paid: dict[str, int] = {}
    names = {seat.doctor: doctor_name(seat) for seat in result.panel}
    for seat in result.panel:
        paid[seat.doctor] = paid.get(seat.doctor, 0) + seat.paid_wei
    rows = [(names[doctor], wei) for doctor, wei in paid.items()]
    rows.append((result.model.name or "model", result.model.paid_wei or 0))
    return [(who, wei) for who, wei in rows if wei]


def reputations(result: CaseResult) -> list[tuple[str, int | None, int | None]]:
    """Each doctor's reputation before the first of its rounds and after the last."""
    moves: dict[str, tuple[str, int | None, int | None]] = {}
    for seat in result.panel:
        before = moves[seat.doctor][1] if seat.doctor in moves else seat.reputation_before
        moves[seat.doctor] = (doctor_name(seat), before, seat.reputation_after)
    return [move for move in moves.values() if move[1:] != (None, None)]


def doctor_name(seat: Seat) -> str:
    return seat.name or short_id(seat.doctor)


def seat_outcome(seat: Seat) -> str:
    """What a seat said, or why it said nothing."""
    if seat.verdict is not None:
        return seat.verdict
    return STATUS.get(seat.status, seat.status)


def notices(result: CaseResult) -> Iterator[str]:
    """What a reader must know before believing the page; the advice line comes last."""
    if result.automatic_readers and result.people:
        people = " and ".join(result.people)
        yield PARTLY_AUTOMATIC.format(people=people[:1].upper() + people[1:])
    elif result.automatic_readers:
        yield AUTOMATIC
    if result.synthetic:
        yield SYNTHETIC
    yield from result.notices
    yield NOT_ADVICE
