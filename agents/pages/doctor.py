"""The doctor's page: the scans that wait, a viewer, the verdict, and what came of it.

The page is blind by construction: a case's result leaves this module only when the case is settled, what a model found
in a volume only when this doctor's vote is sealed, and the desk has nothing else about model or doctors to give.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Protocol

from aiohttp import web

from agents.pages.guard import Clash, Missing, guarded_app, html_page, read_json
from protocols.errors import UserError


class DeskState(StrEnum):
    """Where one seat stands for its doctor."""

    WAITING = "waiting"
    """No verdict yet: the scan is here (`image_available`) or on its way."""
    READ = "read"
    """The doctor has decided; the commitment is not on chain yet."""
    COMMITTED = "committed"
    REVEALED = "revealed"
    SETTLED = "settled"
    """Over: settled or refunded, and `result` says which."""
    DECLINED = "declined"
    """The seat was not taken, or was lost."""


@dataclass(frozen=True, slots=True)
class DeskResult:
    """What came of a case. `verdict` is the panel's plain label, None on a refund."""

    outcome: str
    verdict: str | None
    agreed: bool | None
    agreeing: int
    panel_size: int
    paid_wei: int
    reputation_before: int
    reputation_after: int


@dataclass(frozen=True, slots=True)
class DeskFindings:
    """What the model found in a volume. percent: of the lung, None where no lung was found."""

    severity: str
    percent: float | None
    infection_ml: float
    lung_ml: float


@dataclass(frozen=True, slots=True)
class DeskCase:
    """One case on the desk. deadline, received_at: Unix seconds; bounty_wei: for this seat. slices: where those of a
    volume stand in its picture: columns, rows, how many are shown, and of how many."""

    id: str
    specialty: str
    labels: tuple[str, ...]
    bounty_wei: int
    deadline: float | None
    state: DeskState
    received_at: float
    image_available: bool
    modality: str = ""
    own_label: str | None = None
    own_confidence: int | None = None
    note: str = ""
    result: DeskResult | None = None
    findings: DeskFindings | None = None
    slices: dict[str, int] | None = None


@dataclass(frozen=True, slots=True)
class DeskStatus:
    """The doctor's standing. chain: one phrase, such as "chain 1337, block 42"."""

    name: str
    wallet: str
    reputation: int | None
    balance_wei: int | None
    peers: int
    chain: str
    specialties: tuple[str, ...] = field(default=())


class Desk(Protocol):
    """What the page needs of the doctor's agent. Calls return at once; what cannot be is a UserError."""

    def cases(self) -> Sequence[DeskCase]: ...

    def image(self, case_id: str) -> bytes:
        """The scan as PNG."""

    def mask(self, case_id: str) -> bytes:
        """The scan with what the model found in colour, as PNG of the scan's size."""

    def decide(self, case_id: str, label: str | None, confidence: int) -> None:
        """Takes the verdict for good. label None: insufficient evidence; confidence: percent, 0..100."""

    def status(self) -> DeskStatus: ...


SEALED = frozenset({DeskState.COMMITTED, DeskState.REVEALED, DeskState.SETTLED})
"""States in which a doctor's own vote is on chain and cannot be changed: what the model found may be seen then."""

DESK: web.AppKey[Desk] = web.AppKey("desk", Desk)
CLOCK: web.AppKey[Callable[[], float]] = web.AppKey("clock", Callable)  # type: ignore[arg-type]


def doctor_app(desk: Desk, *, clock: Callable[[], float] = time.time) -> web.Application:
    """The application, with a token of its own (see `agents.pages.guard`, `agents.pages.serving`)."""
    app = guarded_app(private=True)
    app[DESK] = desk
    app[CLOCK] = clock
    app.router.add_get("/", html_page("doctor.html"))
    app.router.add_get("/api/desk", _desk)
    app.router.add_get("/api/cases/{id}/image", _image)
    app.router.add_get("/api/cases/{id}/mask", _mask)
    app.router.add_post("/api/cases/{id}/decision", _decide)
    return app


def case_json(case: DeskCase) -> dict[str, object]:
    """A case as the page sees it. wei as decimal text: they outgrow the numbers of JavaScript."""
    shown = asdict(case)
    shown["bounty_wei"] = str(case.bounty_wei)
    if case.state is not DeskState.SETTLED or case.result is None:
        shown["result"] = None
    else:
        shown["result"]["paid_wei"] = str(case.result.paid_wei)
    if case.state not in SEALED:
        shown["findings"] = None
    return shown


def status_json(status: DeskStatus) -> dict[str, object]:
    balance = None if status.balance_wei is None else str(status.balance_wei)
    return {**asdict(status), "balance_wei": balance}


async def _desk(request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    cases = [case_json(case) for case in desk.cases()]
    return web.json_response(
        {"now": request.app[CLOCK](), "status": status_json(desk.status()), "cases": cases}
    )


async def _image(request: web.Request) -> web.StreamResponse:
    case = _case(request)
    if not case.image_available:
        raise Missing("the scan of this case has not come yet", "wait for the patient's agent to send it")
    return web.Response(body=request.app[DESK].image(case.id), content_type="image/png")


async def _mask(request: web.Request) -> web.StreamResponse:
    case = _case(request)
    if case.state not in SEALED:
        raise Clash("what the model found is not shown before your verdict is sealed", "seal it first")
    if case.findings is None:
        raise Missing(
            "what the model found has not come", "it comes when all verdicts of the panel are sealed"
        )
    return web.Response(body=request.app[DESK].mask(case.id), content_type="image/png")


async def _decide(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    case = _case(request)
    if case.state is not DeskState.WAITING:
        raise Clash(f"this case is {case.state} already", "a verdict cannot be changed; take the next case")
    if not case.image_available:
        raise Clash("the scan of this case has not come yet", "read it before you decide")
    if case.deadline is not None and request.app[CLOCK]() > case.deadline:
        raise Clash("the time to decide is over", "take the next case")
    label = body.get("label", "")
    if label is not None and (not isinstance(label, str) or label not in case.labels):
        raise UserError(
            "the label is not one of this case's", f"send one of {', '.join(case.labels)}, or null"
        )
    request.app[DESK].decide(case.id, label, _percent(body.get("confidence"), label))
    return web.json_response({"case": case_json(_case(request))})


def _percent(value: object, label: str | None) -> int:
    if value is None and label is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 100:
        raise UserError("the confidence is not a whole percentage", "send a number from 0 to 100")
    return value


def _case(request: web.Request) -> DeskCase:
    wanted = request.match_info["id"]
    for case in request.app[DESK].cases():
        if case.id == wanted:
            return case
    raise Missing("there is no such case on this desk", "take one from the list")
