"""The patient's page: hand in a scan, follow the case, open the report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Protocol

from aiohttp import web

from agents.pages.guard import Missing, check_report_key, guarded_app, html_page, read_upload, report_key
from agents.progress import PHASES, printable

MAX_UPLOAD = 64 * 2**20
REPORT_POLICY = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class CaseState(StrEnum):
    """Whether a case goes on."""

    RUNNING = "running"
    SETTLED = "settled"
    REFUNDED = "refunded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PatientCase:
    """One case of the patient's. phase: one of `agents.progress.PHASES`; text: what goes on, a sentence."""

    id: str
    name: str
    phase: str
    state: CaseState
    text: str
    started_at: float
    diagnosis: str | None = None
    certainty: str = ""
    agreement: str = ""
    cost_wei: int | None = None
    report_available: bool = False


@dataclass(frozen=True, slots=True)
class PatientStatus:
    """Name, wallet, money and neighbours, for the head of the page."""

    name: str
    wallet: str
    balance_wei: int | None
    peers: int
    chain: str
    notice: str = ""


class PatientDesk(Protocol):
    """What the page needs of the patient's agent. Errors are UserError (ScanError for a bad scan)."""

    async def submit(self, data: bytes, name: str) -> str:
        """Checks the scan and begins a case; answers with the case's id as `cases` will name it."""

    def cases(self) -> Sequence[PatientCase]: ...

    def report(self, case_id: str) -> str:
        """The report page of a case, HTML."""

    def status(self) -> PatientStatus: ...


PATIENT_DESK: web.AppKey[PatientDesk] = web.AppKey("patient_desk", PatientDesk)


def patient_app(desk: PatientDesk) -> web.Application:
    """The application, with a token of its own (see `agents.pages.guard`, `agents.pages.serving`)."""
    app = guarded_app(private=True, max_body=MAX_UPLOAD + 2**16, free=("/report/",))
    app[PATIENT_DESK] = desk
    app.router.add_get("/", html_page("patient.html"))
    app.router.add_get("/api/desk", _desk)
    app.router.add_post("/image", _submit)
    app.router.add_get("/report/{id}", _report)
    return app


async def _desk(request: web.Request) -> web.StreamResponse:
    desk = request.app[PATIENT_DESK]
    status = desk.status()
    balance = None if status.balance_wei is None else str(status.balance_wei)
    cases = [_case_json(request.app, case) for case in desk.cases()]
    answer = {"now": time.time(), "phases": PHASES, "cases": cases}
    return web.json_response({**answer, "status": {**asdict(status), "balance_wei": balance}})


def _case_json(app: web.Application, case: PatientCase) -> dict[str, object]:
    link = f"/report/{case.id}?key={report_key(app, case.id)}" if case.report_available else None
    cost = None if case.cost_wei is None else str(case.cost_wei)
    return {**asdict(case), "cost_wei": cost, "report": link}


async def _submit(request: web.Request) -> web.StreamResponse:
    data, name = await read_upload(request, MAX_UPLOAD)
    case_id = await request.app[PATIENT_DESK].submit(data, printable(name, 120))
    return web.json_response({"case": case_id}, status=202)


async def _report(request: web.Request) -> web.StreamResponse:
    case_id = request.match_info["id"]
    check_report_key(request, case_id)
    desk = request.app[PATIENT_DESK]
    if not any(case.id == case_id and case.report_available for case in desk.cases()):
        raise Missing("there is no report of this case yet", "wait until the case is over")
    headers = {"Content-Security-Policy": REPORT_POLICY}
    return web.Response(text=desk.report(case_id), content_type="text/html", headers=headers)
