"""The patient's page takes bounded scans and opens reports by their own keys."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import FormData, web
from aiohttp.test_utils import TestClient, TestServer
from desks import FakePatientDesk

from agents.pages import patient
from agents.pages.guard import TOKEN, TOKEN_HEADER
from agents.pages.patient import patient_app
from agents.progress import PHASES
from models.scans import synthetic_scan, to_png

Client = TestClient[web.Request, web.Application]


@pytest.fixture
def desk() -> FakePatientDesk:
    return FakePatientDesk()


@pytest.fixture
async def client(desk: FakePatientDesk) -> AsyncIterator[Client]:
    app = patient_app(desk)
    async with TestClient(TestServer(app), headers={TOKEN_HEADER: app[TOKEN]}) as client:
        yield client


def form(data: bytes, name: str = "file", filename: str = "scan.png") -> FormData:
    fields = FormData()
    fields.add_field("other", "x")
    fields.add_field(name, data, filename=filename)
    return fields


async def test_a_scan_is_handed_in(client: Client, desk: FakePatientDesk) -> None:
    png = to_png(synthetic_scan())
    answer = await client.post("/image", data=form(png, filename="head-7.png"))
    assert (answer.status, await answer.json()) == (202, {"case": "0xc9"})
    ((size, name),) = desk.got
    assert size == len(png)
    assert name == "head-7.png"


async def test_what_is_no_scan_is_415(client: Client, desk: FakePatientDesk) -> None:
    answer = await client.post("/image", data=form(b"not a scan"))
    assert answer.status == 415
    assert set(await answer.json()) == {"error", "remedy"}
    assert desk.got == []


async def test_forms_that_are_none_are_400(client: Client) -> None:
    cut = b'--y\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'
    boundary = {"Content-Type": "multipart/form-data; boundary=y"}
    for answer in (
        await client.post("/image", data=b"x"),
        await client.post("/image", json={}),
        await client.post("/image", data=form(b"x", name="picture")),
        await client.post("/image", data=b"x", headers={"Content-Type": "multipart/form-data"}),
        await client.post("/image", data=b"x", headers=boundary),
        await client.post("/image", data=b"--y\r\nbroken", headers=boundary),
        await client.post("/image", data=cut, headers=boundary),
    ):
        assert answer.status in (400, 415), await answer.text()
        assert set(await answer.json()) == {"error", "remedy"}


async def test_a_large_file_is_413(
    client: Client, monkeypatch: pytest.MonkeyPatch, desk: FakePatientDesk
) -> None:
    monkeypatch.setattr(patient, "MAX_UPLOAD", 2**20)
    answer = await client.post("/image", data=form(bytes(2**20 + 1)))
    assert answer.status == 413
    assert "1 MiB" in (await answer.json())["error"]
    assert desk.got == []


async def test_handing_in_needs_the_token(client: Client, desk: FakePatientDesk) -> None:
    headers = {TOKEN_HEADER: ""}
    assert (await client.post("/image", data=form(to_png(synthetic_scan())), headers=headers)).status == 403
    assert (await client.get("/api/desk", headers=headers)).status == 403
    assert desk.got == []


async def test_cases_link_to_their_reports(client: Client) -> None:
    answer = await (await client.get("/api/desk")).json()
    assert tuple(answer["phases"]) == PHASES
    links = {case["id"]: case["report"] for case in answer["cases"]}
    assert [case for case, link in links.items() if link] == ["0xc2"]
    page = await client.get(links["0xc2"], headers={TOKEN_HEADER: ""})
    assert page.status == 200
    assert page.content_type == "text/html"
    assert "sandbox" in page.headers["Content-Security-Policy"]


async def test_a_report_opens_with_its_own_key_alone(client: Client) -> None:
    answer = await (await client.get("/api/desk")).json()
    key = next(case["report"] for case in answer["cases"] if case["report"]).split("key=")[1]
    for path in ("/report/0xc2", "/report/0xc2?key=x", f"/report/0xc1?key={key}", f"/report/0xc9?key={key}"):
        assert (await client.get(path)).status == 403
