"""The classic service: a patient posts a scan, a doctor says yes or no, a line says whether the model agreed.

Each finished scan is one CSV line (`CSV_COLUMNS`): when it came, when the doctor decided (ISO 8601, UTC),
the doctor's diagnosis and the model's answer. Both answers are `True` (cancer) or `False` (no cancer), the
diagnosis itself in the third column; the fourth is empty when the model failed on the scan.

No money moves here and there is no token, so that a plain `curl -F file=@scan.png` works; requests that
other web pages make are refused all the same.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web

from agents.pages.guard import Busy, Clash, Missing, guarded_app, read_upload
from agents.report.markup import Html, h
from models.scans import Scan, load_scan, to_png
from protocols.errors import CrypDocError, UserError

CSV_COLUMNS = "input_time,decision_time,doctor_is_cancer,predictor_is_cancer"
MAX_QUEUE = 32
MAX_UPLOAD = 64 * 2**20
_ANSWERS = {"cancer": True, "no cancer": False}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prediction:
    """The model's answer. probability: of cancer, 0..1; never shown to the doctor."""

    is_cancer: bool
    probability: float


Predict = Callable[[bytes], Awaitable[Prediction]]
Check = Callable[[Scan], None]
Emit = Callable[[str], None]
Now = Callable[[], datetime]


@dataclass(slots=True)
class _Waiting:
    """A scan that waits for its doctor. `id` cannot be guessed, so it also proves that a form was ours."""

    png: bytes
    came: datetime
    prediction: asyncio.Task[Prediction | None]
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))


class _Queue:
    """The scans in order, the predictions under way, the lines to come."""

    def __init__(self, predict: Predict, emit: Emit, room: int, now: Now, check: Check) -> None:
        self._predict = predict
        self._check = check
        self._emit = emit
        self._room = room
        self._now = now
        self._one = asyncio.Semaphore(1)
        self._loading = 0
        self._scans: list[_Waiting] = []
        self._tasks: set[asyncio.Task[object]] = set()

    async def add(self, data: bytes) -> int:
        """Checks a scan and queues it; its place, 1 being the next. ScanError, Busy."""
        came = self._now()
        if len(self._scans) + self._loading >= self._room:
            raise Busy(f"{self._room} scans wait already", "send it again when the doctor has decided some")
        self._loading += 1
        try:
            png = await asyncio.to_thread(self._picture, data)
        finally:
            self._loading -= 1
        self._scans.append(_Waiting(png, came, asyncio.create_task(self._ask(data))))
        return len(self._scans)

    def _picture(self, data: bytes) -> bytes:
        scan = load_scan(data)
        self._check(scan)
        return to_png(scan)

    def next(self) -> _Waiting | None:
        return self._scans[0] if self._scans else None

    def __len__(self) -> int:
        return len(self._scans)

    def find(self, case: str) -> _Waiting | None:
        return next((scan for scan in self._scans if secrets.compare_digest(scan.id, case)), None)

    def decide(self, scan: _Waiting, is_cancer: bool) -> None:
        """Takes the scan off the queue; its line follows as soon as the prediction is there."""
        self._scans.remove(scan)
        task: asyncio.Task[object] = asyncio.create_task(self._finish(scan, self._now(), is_cancer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Gives the lines of decided scans a moment, then drops the rest."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        pending = [*self._tasks, *(scan.prediction for scan in self._scans)]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    async def _ask(self, data: bytes) -> Prediction | None:
        async with self._one:
            try:
                return await self._predict(data)
            except CrypDocError as error:
                _log.warning("the model has no answer on a scan: %s", error)
                return None
            except Exception:
                _log.exception("the model failed on a scan")
                return None

    async def _finish(self, scan: _Waiting, decided: datetime, is_cancer: bool) -> None:
        prediction = await scan.prediction
        guess = "" if prediction is None else str(prediction.is_cancer)
        self._emit(f"{_time(scan.came)},{_time(decided)},{is_cancer},{guess}")


def classic_apps(
    predict: Predict,
    emit: Emit,
    *,
    room: int = MAX_QUEUE,
    now: Now = lambda: datetime.now(UTC),
    check: Check = lambda scan: None,
) -> tuple[web.Application, web.Application]:
    """The patient's service (`POST /image`) and the doctor's (`GET`, `POST /decision`) on one queue.

    predict: called once a scan, one at a time. emit: called with each finished line, without its line end. check:
    may refuse a scan as it comes (ScanError).
    """
    queue = _Queue(predict, emit, room, now, check)
    patient = guarded_app(private=False, max_body=MAX_UPLOAD + 2**16)
    patient[QUEUE] = queue
    patient.router.add_get("/", _how_to)
    patient.router.add_post("/image", _image)
    doctor = guarded_app(private=False)
    doctor[QUEUE] = queue
    doctor.router.add_get("/", _to_decision)
    doctor.router.add_get("/decision", _show)
    doctor.router.add_post("/decision", _decide)
    doctor.router.add_get("/decision/{case}.png", _picture)

    async def close(_: web.Application) -> None:
        await queue.close()

    doctor.on_cleanup.append(close)
    return patient, doctor


QUEUE = web.AppKey("queue", _Queue)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _image(request: web.Request) -> web.StreamResponse:
    data, _ = await read_upload(request, MAX_UPLOAD)
    place = await request.app[QUEUE].add(data)
    return web.json_response({"status": "queued", "position": place}, status=202)


async def _decide(request: web.Request) -> web.StreamResponse:
    form = await request.post()
    case, answer = form.get("case"), form.get("decision")
    if not isinstance(answer, str) or answer not in _ANSWERS:
        raise UserError("the decision is neither of the two", "send decision=cancer or decision=no cancer")
    scan = request.app[QUEUE].find(case) if isinstance(case, str) and case.isascii() else None
    if scan is None:
        raise Clash("this scan is not waiting any more", "go back to /decision for the next one")
    request.app[QUEUE].decide(scan, _ANSWERS[answer])
    raise web.HTTPSeeOther("/decision")


async def _show(request: web.Request) -> web.StreamResponse:
    queue = request.app[QUEUE]
    scan = queue.next()
    if "application/json" in request.headers.get("Accept", ""):
        image = None if scan is None else f"/decision/{scan.id}.png"
        return web.json_response(
            {"waiting": len(queue), "case": None if scan is None else scan.id, "image": image}
        )
    page = _page("Nothing waits", _empty(), 3) if scan is None else _page("Decision", _form(scan, len(queue)))
    return web.Response(text=page, content_type="text/html")


async def _picture(request: web.Request) -> web.StreamResponse:
    case = request.match_info["case"]
    scan = request.app[QUEUE].find(case) if case.isascii() else None
    if scan is None:
        raise Missing("this scan is not waiting any more", "go back to /decision for the next one")
    return web.Response(body=scan.png, content_type="image/png")


async def _to_decision(request: web.Request) -> web.StreamResponse:
    raise web.HTTPSeeOther("/decision")


async def _how_to(request: web.Request) -> web.StreamResponse:
    field_ = h("input", {"type": "file", "name": "file", "required": True, "aria-label": "Scan"})
    button = h("button", {"type": "submit", "class": "primary"}, "Send the scan")
    form = h("form", {"method": "post", "action": "/image", "enctype": "multipart/form-data"}, field_, button)
    hint = h(
        "p", {"class": "quiet"}, "JPEG, PNG, DICOM or NIfTI. Or: ", h("code", {}, "curl -F file=@scan.png")
    )
    return web.Response(
        text=_page("Send a scan", [h("h1", {}, "Send a scan"), form, hint]), content_type="text/html"
    )


def _form(scan: _Waiting, waiting: int) -> list[Html]:
    image = h("img", {"src": f"/decision/{scan.id}.png", "alt": "The scan to decide on"})
    buttons = [
        h(
            "button",
            {"type": "submit", "name": "decision", "value": answer, "class": "choice"},
            answer.capitalize(),
        )
        for answer in _ANSWERS
    ]
    hidden = h("input", {"type": "hidden", "name": "case", "value": scan.id})
    more = "the last one for now" if waiting == 1 else f"{waiting - 1} more waiting"
    return [
        h("h1", {}, "What does this scan show?"),
        h("p", {"class": "quiet"}, f"Came {_time(scan.came)}, {more}. You do not see the model's answer."),
        h("div", {"class": "plate"}, image),
        h("form", {"method": "post", "action": "/decision", "class": "choices"}, hidden, buttons),
    ]


def _empty() -> list[Html]:
    return [
        h("h1", {}, "No scan waits"),
        h("p", {"class": "quiet"}, "This page looks again every three seconds."),
    ]


def _page(title: str, body: list[Html], refresh: int = 0) -> str:
    head = h(
        "head",
        {},
        h("meta", {"charset": "utf-8"}),
        h("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        h("meta", {"http-equiv": "refresh", "content": str(refresh)}) if refresh else None,
        h("title", {}, f"{title} · CrypDoc"),
        h("link", {"rel": "icon", "href": "/static/icon.png"}),
        h("link", {"rel": "stylesheet", "href": "/static/base.css"}),
        h("link", {"rel": "stylesheet", "href": "/static/classic.css"}),
    )
    brand = h("p", {"class": "brand"}, "CrypDoc")
    whole = h("html", {"lang": "en"}, head, h("body", {"class": "classic"}, brand, h("main", {}, body)))
    return f"<!doctype html>\n{whole}\n"
