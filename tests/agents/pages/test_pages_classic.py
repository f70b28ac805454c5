"""The classic service: scans in, decisions out, one CSV line for each."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import FormData, web
from aiohttp.test_utils import TestClient, TestServer

from agents.pages.classic import CSV_COLUMNS, Prediction, classic_apps
from models.scans import synthetic_scan, to_png

Client = TestClient[web.Request, web.Application]
PNG = to_png(synthetic_scan())


@dataclass
class Service:
    patient: Client
    doctor: Client
    lines: list[str] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    broken: bool = False

    async def send(self, data: bytes = PNG) -> tuple[int, dict[str, object]]:
        form = FormData()
        form.add_field("file", data, filename="scan.png")
        answer = await self.patient.post("/image", data=form)
        return answer.status, await answer.json()

    async def case(self) -> str:
        answer = await self.doctor.get("/decision", headers={"Accept": "application/json"})
        return str((await answer.json())["case"])

    async def decide(self, decision: str, case: str | None = None) -> int:
        form = {"case": case or await self.case(), "decision": decision}
        answer = await self.doctor.post("/decision", data=form, allow_redirects=False)
        await asyncio.sleep(0.01)
        return answer.status


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    times = (datetime(2026, 11, 21, 8, tzinfo=UTC) + timedelta(milliseconds=1500 * i) for i in range(100))

    async def predict(data: bytes) -> Prediction:
        made.asked.append(len(data))
        await made.hold.wait()
        if made.broken:
            raise RuntimeError("no model")
        return Prediction(is_cancer=len(made.asked) % 2 == 1, probability=0.9)

    def emit(line: str) -> None:
        made.lines.append(line)

    patient, doctor = classic_apps(predict, emit, room=3, now=lambda: next(times))
    async with TestClient(TestServer(patient)) as one, TestClient(TestServer(doctor)) as two:
        made = Service(one, two)
        made.hold.set()
        yield made


async def test_each_decision_is_one_line_of_the_columns(service: Service) -> None:
    assert await service.send() == (202, {"status": "queued", "position": 1})
    assert await service.send() == (202, {"status": "queued", "position": 2})
    assert await service.decide("cancer") == 303
    assert await service.decide("no cancer") == 303
    assert CSV_COLUMNS.count(",") == 3
    assert service.lines == [
        "2026-11-21T08:00:00.000Z,2026-11-21T08:00:03.000Z,True,True",
        "2026-11-21T08:00:01.500Z,2026-11-21T08:00:04.500Z,False,False",
    ]


async def test_the_line_waits_for_the_model(service: Service) -> None:
    service.hold.clear()
    await service.send()
    await service.decide("cancer")
    assert service.lines == []
    service.hold.set()
    await asyncio.sleep(0.01)
    assert len(service.lines) == 1


async def test_a_model_that_fails_leaves_its_column_empty(service: Service) -> None:
    service.broken = True
    await service.send()
    await service.decide("cancer")
    assert service.lines[0].endswith(",True,")


async def test_the_doctor_does_not_see_the_model(service: Service) -> None:
    await service.send()
    await asyncio.sleep(0.01)
    page = await (await service.doctor.get("/decision")).text()
    assert "0.9" not in page
    assert "True" not in page
    (image,) = re.findall(r'<img src="([^"]+)"', page)
    picture = await service.doctor.get(image)
    assert picture.content_type == "image/png"
    assert page.count('type="submit"') == 2
    assert "Cancer" in page
    assert "No cancer" in page


async def test_an_empty_queue_has_its_own_page(service: Service) -> None:
    page = await service.doctor.get("/decision")
    assert page.status == 200
    assert "No scan waits" in await page.text()
    assert await service.case() == "None"


async def test_what_is_no_scan_is_415_and_not_queued(service: Service) -> None:
    status, body = await service.send(b"\x89PNG\r\n\x1a\nbroken")
    assert status == 415
    assert set(body) == {"error", "remedy"}
    assert await service.case() == "None"


async def test_a_full_queue_is_429_with_a_remedy(service: Service) -> None:
    for _ in range(3):
        await service.send()
    status, body = await service.send()
    assert status == 429
    assert body["remedy"]
    await service.decide("cancer")
    assert (await service.send())[0] == 202


async def test_many_at_once_do_not_overfill_the_queue(service: Service) -> None:
    statuses = [status for status, _ in await asyncio.gather(*(service.send() for _ in range(8)))]
    assert sorted(statuses) == [202] * 3 + [429] * 5


@pytest.mark.parametrize(
    ("decision", "case", "status"),
    [("maybe", None, 400), ("", None, 400), ("cancer", "guess", 409), ("cancer", "é", 409)],
)
async def test_bad_decisions_are_refused(
    service: Service, decision: str, case: str | None, status: int
) -> None:
    await service.send()
    assert await service.decide(decision, case) == status
    assert service.lines == []
    assert await service.decide("cancer") == 303


async def test_a_scan_is_decided_once(service: Service) -> None:
    await service.send()
    case = await service.case()
    assert await service.decide("cancer", case) == 303
    assert await service.decide("cancer", case) == 409
    assert len(service.lines) == 1


async def test_other_pages_and_names_are_refused(service: Service) -> None:
    await service.send()
    form = {"case": await service.case(), "decision": "cancer"}
    evil = {"Origin": "https://evil.example"}
    assert (await service.doctor.post("/decision", data=form, headers=evil)).status == 403
    assert (await service.patient.post("/image", headers=evil)).status == 403
    assert (await service.doctor.get("/decision", headers={"Host": "evil.example"})).status == 403
    assert service.lines == []


async def test_starting_pages(service: Service) -> None:
    assert (await service.doctor.get("/", allow_redirects=False)).headers["Location"] == "/decision"
    assert "multipart/form-data" in await (await service.patient.get("/")).text()
