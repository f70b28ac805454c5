"""The result of a case as `crypdoc demo --json` prints it, checked field by field.

The form is `docs/report.md`. Fields not named there are kept in `case.json` and shown nowhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from agents.progress import printable
from protocols.errors import UserError

BUCKETS = ("unsure", "fairly sure", "sure", "very sure")
REPUTATION_MAX = 10_000
MAX_ROWS = 5_000
_GONE = frozenset({"declined", "replaced"})


@dataclass(frozen=True, slots=True)
class Seat:
    """One seat. `verdict` is a plain label, "insufficient evidence", or None when none was revealed."""

    doctor: str
    name: str
    round: int
    status: str
    committed: bool
    revealed: bool
    verdict: str | None
    confidence: int | None
    paid_wei: int
    reputation_before: int | None
    reputation_after: int | None

    @property
    def sat(self) -> bool:
        """Whether the seat counted: not one that declined or was replaced."""
        return self.status not in _GONE


@dataclass(frozen=True, slots=True)
class Step:
    """One event of the time line."""

    t: float
    who: str
    role: str
    step: str
    text: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """One chain transaction; `who` is the sender's name where it is known."""

    hash: str
    block: int | None
    sender: str
    who: str
    call: str
    gas: int
    wei: int


@dataclass(frozen=True, slots=True)
class Model:
    """The model that read the scan blindly; `label` is its own answer, which the panel never saw."""

    name: str
    address: str
    label: str | None
    probability: float | None
    paid_wei: int | None
    reputation_before: int | None
    reputation_after: int | None


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer of blind inference cost after the image went out."""

    name: str
    seconds: float
    bytes: float


@dataclass(frozen=True, slots=True)
class Segmentation:
    """What a suite measured in a volume; percent of the lung, None where no lung was found. page: beside the report."""

    images: int
    lung_ml: float | None
    infection_ml: float | None
    percent: float | None
    severity: str
    shown_to: int
    page: str


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A finished case. `label` is the panel's verdict, None unless settled."""

    case_id: str
    state: str
    outcome: str
    rounds: int
    specialty: str
    label: str | None
    probability: float | None
    bucket: int | None
    bounty_wei: int
    model: Model
    panel: tuple[Seat, ...]
    certificate: Mapping[str, object] | None
    records: tuple[Mapping[str, object], ...]
    bytes: Mapping[str, float]
    seconds: Mapping[str, float]
    layers: tuple[Layer, ...]
    scan: Mapping[str, object]
    timeline: tuple[Step, ...]
    transactions: tuple[Transaction, ...]
    spent: Mapping[str, float]
    automatic_readers: bool
    people: tuple[str, ...]
    notices: tuple[str, ...]
    currency: str
    segmentation: Segmentation | None

    @property
    def settled(self) -> bool:
        return self.outcome == "settled"

    def seats_of(self, number: int) -> tuple[Seat, ...]:
        """The seats that counted in a round (1 is the first)."""
        return tuple(seat for seat in self.panel if seat.round == number and seat.sat)

    @property
    def agreement(self) -> tuple[int, int]:
        """How many seats of the last round gave the most common verdict, and how many seats there were."""
        seats = self.seats_of(self.rounds)
        if self.settled:
            return sum(seat.verdict == self.label for seat in seats), len(seats)
        votes = Counter(seat.verdict for seat in seats if seat.verdict is not None)
        return max(votes.values(), default=0), len(seats)

    @property
    def synthetic(self) -> bool:
        return self.scan.get("synthetic") is True

    @classmethod
    def parse(cls, result: object) -> Self:
        """Checks a whole result. UserError names the first field that is not what it must be."""
        top = Field(result, "")
        case, diagnosis = top.at("case"), top.opt("diagnosis")
        state = case.at("state").text()
        outcome = _outcome(top.opt("outcome"), state)
        seats = _panel(top.at("panel").items())
        rounds = max([case.at("rounds").whole(1, 100), *(seat.round for seat in seats)])
        probability = diagnosis.opt("probability").unit() if diagnosis else None
        certificate = top.opt("certificate")
        records = top.opt("dataset_records")
        label = diagnosis.opt("label").maybe_text() if diagnosis and outcome == "settled" else None
        if outcome == "settled" and label is None:
            raise top.at("diagnosis").fault("a label, since the case is settled")
        return cls(
            case_id=case.at("id").text(),
            state=state,
            outcome=outcome,
            rounds=rounds,
            specialty=case.opt("specialty").maybe_text() or "",
            label=label,
            probability=probability,
            bucket=top.opt("confidence_bucket").maybe_whole(0, len(BUCKETS) - 1),
            bounty_wei=top.opt("bounty_wei").maybe_whole() or 0,
            model=_model(top.opt("model"), probability),
            panel=seats,
            certificate=certificate.mapping() if certificate else None,
            records=tuple(item.mapping() for item in records.items()) if records.is_list else (),
            bytes=top.opt("bytes").numbers(),
            seconds=top.opt("seconds").numbers(),
            layers=tuple(_layer(item) for item in top.opt("blind").opt("layers").items()),
            scan=top.opt("scan").mapping(),
            timeline=_timeline(top.opt("timeline").items()),
            transactions=tuple(_transaction(item) for item in top.opt("transactions").items()),
            spent=top.opt("spent").numbers(),
            automatic_readers=top.opt("automatic_readers").flag(),
            people=tuple(item.text() for item in top.opt("people").items()),
            notices=tuple(item.text() for item in top.opt("notices").items()),
            currency=top.opt("currency").maybe_text() or "ETH",
            segmentation=_segmentation(top.opt("segmentation")),
        )


class Field:
    """A JSON value and where it stands, so that an error can say which one is wrong. Absent is None."""

    def __init__(self, value: object, path: str) -> None:
        self.value = value
        self.path = path

    def __bool__(self) -> bool:
        return self.value is not None

    def fault(self, wanted: str) -> UserError:
        got = "nothing" if self.value is None else printable(repr(self.value), 60)
        where = self.path or "the whole"
        return UserError(
            f"the case result is damaged: {where} must be {wanted}, and is {got}",
            "give the result as the agent or `crypdoc demo --json` wrote it (its form: docs/report.md)",
        )

    def at(self, key: str) -> Field:
        """A field that must be there."""
        found = self.opt(key)
        if not found:
            raise found.fault("given")
        return found

    def opt(self, key: str) -> Field:
        value = None if self.value is None else self.mapping().get(key)
        return Field(value, f"{self.path}.{key}" if self.path else key)

    def mapping(self) -> Mapping[str, object]:
        if self.value is None:
            return {}
        if not isinstance(self.value, dict) or not all(isinstance(key, str) for key in self.value):
            raise self.fault("an object")
        return self.value

    @property
    def is_list(self) -> bool:
        return isinstance(self.value, list | tuple)

    def items(self) -> list[Field]:
        if self.value is None:
            return []
        if not isinstance(self.value, list | tuple) or len(self.value) > MAX_ROWS:
            raise self.fault(f"a list of at most {MAX_ROWS}")
        return [Field(item, f"{self.path}[{i}]") for i, item in enumerate(self.value)]

    def text(self) -> str:
        if isinstance(self.value, int) and not isinstance(self.value, bool):
            return str(self.value)
        if not isinstance(self.value, str):
            raise self.fault("a text")
        return printable(self.value, 2_000)

    def maybe_text(self) -> str | None:
        return self.text() if self else None

    def whole(self, low: int = 0, high: int = 2**256) -> int:
        """A whole number; also as decimal digits, since wei outgrow the numbers of JavaScript."""
        value = self.value
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 78:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.fault(f"a whole number from {low} to {high if high < 2**256 else '2^256'}")
        return value

    def maybe_whole(self, low: int = 0, high: int = 2**256) -> int | None:
        return self.whole(low, high) if self else None

    def number(self) -> float:
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
            raise self.fault("a number")
        if math.isnan(value):
            raise self.fault("a number")
        return value

    def unit(self) -> float | None:
        if not self:
            return None
        value = self.number()
        if not 0 <= value <= 1:
            raise self.fault("a number from 0 to 1")
        return value

    def numbers(self) -> dict[str, float]:
        """The fields that are numbers; whole ones stay exact."""
        found = {}
        for key in self.mapping():
            item = self.opt(key)
            found[key] = item.whole() if isinstance(item.value, str) else item.number()
        return found

    def flag(self) -> bool:
        if not isinstance(self.value, bool | None):
            raise self.fault("true or false")
        return bool(self.value)

    def happened(self) -> bool:
        """True for true, a time, a hash; false for false, null, an empty text."""
        return self.value not in (None, False, "", 0)


def _outcome(field: Field, state: str) -> str:
    word = (field.maybe_text() or state).lower()
    if word not in ("settled", "refunded"):
        raise Field(word, field.path).fault("settled or refunded")
    return word


def _panel(fields: list[Field]) -> tuple[Seat, ...]:
    """The seats by round; rounds counted from 0 are counted from 1."""
    numbers = [field.opt("round").maybe_whole(0, 100) for field in fields]
    shift = 1 if 0 in numbers else 0
    known = [1 if number is None else number + shift for number in numbers]
    seats = (_seat(field, number) for field, number in zip(fields, known, strict=True))
    return tuple(sorted(seats, key=lambda seat: seat.round))


def _seat(field: Field, number: int) -> Seat:
    committed = field.opt("committed").happened()
    revealed = field.opt("revealed").happened()
    status = (
        (field.opt("status").maybe_text() or "").lower().replace(" ", "").replace("-", "").replace("_", "")
    )
    if not status:
        status = "revealed" if revealed else "noshow"
    return Seat(
        doctor=field.at("doctor").text(),
        name=field.opt("name").maybe_text() or "",
        round=number,
        status=status,
        committed=committed,
        revealed=revealed,
        verdict=field.opt("verdict").maybe_text(),
        confidence=field.opt("confidence").maybe_whole(0, 100),
        paid_wei=field.opt("paid_wei").maybe_whole() or 0,
        reputation_before=field.opt("reputation_before").maybe_whole(0, REPUTATION_MAX),
        reputation_after=field.opt("reputation_after").maybe_whole(0, REPUTATION_MAX),
    )


def _model(field: Field, probability: float | None) -> Model:
    own = field.opt("probability").unit()
    return Model(
        name=field.opt("name").maybe_text() or "",
        address=field.opt("address").maybe_text() or "",
        label=field.opt("label").maybe_text(),
        probability=probability if own is None else own,
        paid_wei=field.opt("paid_wei").maybe_whole(),
        reputation_before=field.opt("reputation_before").maybe_whole(0, REPUTATION_MAX),
        reputation_after=field.opt("reputation_after").maybe_whole(0, REPUTATION_MAX),
    )


def _segmentation(field: Field) -> Segmentation | None:
    if not field:
        return None
    names = ("lung_ml", "infection_ml", "infection_percent_of_lung")
    lung, infection, percent = (item.number() if (item := field.opt(name)) else None for name in names)
    folder = field.opt("folder").maybe_text() or ""
    return Segmentation(
        images=field.opt("images").maybe_whole() or 0,
        lung_ml=lung,
        infection_ml=infection,
        percent=percent,
        severity=field.opt("severity").maybe_text() or "unknown",
        shown_to=field.opt("shown_to").maybe_whole(0, 100) or 0,
        page=f"{folder}/index.html" if folder.isalnum() else "",
    )


def _timeline(fields: list[Field]) -> tuple[Step, ...]:
    steps = [
        Step(
            t=field.at("t").number(),
            who=field.at("who").text(),
            role=field.opt("role").maybe_text() or "",
            step=field.opt("step").maybe_text() or "",
            text=field.opt("text").maybe_text() or "",
        )
        for field in fields
    ]
    return tuple(sorted(steps, key=lambda step: step.t))


def _layer(item: Field) -> Layer:
    return Layer(item.at("name").text(), item.at("seconds").number(), item.at("bytes").number())


def _transaction(field: Field) -> Transaction:
    return Transaction(
        hash=field.at("hash").text(),
        block=field.opt("block").maybe_whole(),
        sender=field.opt("from").maybe_text() or "",
        who=field.opt("who").maybe_text() or "",
        call=field.opt("call").maybe_text() or "",
        gas=field.opt("gas").maybe_whole() or 0,
        wei=field.opt("wei").maybe_whole() or 0,
    )
