"""The doctor's page: what it tells, what it hides, whom it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from desks import NOW, FakeDesk, desk_case

from agents.pages.doctor import DeskState, doctor_app
from agents.pages.guard import STATIC, TOKEN, TOKEN_HEADER
from protocols.errors import UserError

Client = TestClient[web.Request, web.Application]


@pytest.fixture
def desk() -> FakeDesk:
    return FakeDesk()


@pytest.fixture
async def app(desk: FakeDesk) -> web.Application:
    return doctor_app(desk, clock=lambda: NOW)


@pytest.fixture
async def client(app: web.Application) -> AsyncIterator[Client]:
    async with TestClient(TestServer(app), headers={TOKEN_HEADER: app[TOKEN]}) as client:
        yield client


@pytest.fixture
async def stranger(app: web.Application) -> AsyncIterator[Client]:
    async with TestClient(TestServer(app)) as client:
        yield client


def at(desk: FakeDesk, index: int, tail: str) -> str:
    return f"/api/cases/{desk.held[index].id}/{tail}"


async def test_page_and_assets_are_served_with_strict_headers(stranger: Client) -> None:
    answer = await stranger.get("/")
    page = await answer.text()
    assert answer.status == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Server" not in answer.headers
    assets = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert assets
    for asset in assets:
        assert (await stranger.get(asset)).status == 200


@pytest.mark.parametrize("path", sorted(STATIC.iterdir()), ids=lambda path: path.name)
def test_assets_reach_for_nothing_outside(path: Any) -> None:
    if path.suffix == ".png":
        return
    text = path.read_text()
    assert "//" not in re.sub(r"^\s*//.*$", "", text, flags=re.M)
    assert "innerHTML" not in text
    assert not re.search(r"<[^>]+ style=|<[^>]+ on[a-z]+=|<script>", text)


async def test_desk_tells_status_and_cases(client: Client, desk: FakeDesk) -> None:
    answer = await (await client.get("/api/desk")).json()
    assert answer["now"] == NOW
    assert answer["status"]["name"] == "Dr. Ada"
    assert answer["status"]["balance_wei"] == "1234500000000000000"
    assert [case["state"] for case in answer["cases"]] == [case.state for case in desk.held]
    assert answer["cases"][0]["bounty_wei"] == "2000000000000000"


async def test_no_result_leaves_before_settlement(client: Client) -> None:
    """Every case of the fake desk holds a result; only the settled ones may show it."""
    answer = await (await client.get("/api/desk")).json()
    for case in answer["cases"]:
        assert (case["result"] is not None) == (case["state"] == "settled")
    assert answer["cases"][4]["result"]["paid_wei"] == "2000000000000000"


SEALED = ("committed", "revealed", "settled")


async def test_what_the_model_found_is_not_shown_before_the_verdict_is_sealed(
    client: Client, desk: FakeDesk
) -> None:
    """Every case of the fake desk holds findings and a mask."""
    answer = await (await client.get("/api/desk")).json()
    for index, case in enumerate(answer["cases"]):
        sealed = case["state"] in SEALED
        assert (case["findings"] is not None) == sealed
        mask = await client.get(at(desk, index, "mask"))
        assert mask.status == (200 if sealed else 409)
        if sealed:
            assert (await mask.read()).startswith(b"\x89PNG")
        else:
            assert "sealed" in await mask.text()
    assert answer["cases"][2]["findings"] == {
        "severity": "moderate",
        "percent": 12.5,
        "infection_ml": 480.0,
        "lung_ml": 3840.0,
    }


async def test_a_mask_that_has_not_come_is_404(client: Client, desk: FakeDesk) -> None:
    desk.held = [replace(case, findings=None) for case in desk.held]
    assert (await client.get(at(desk, 2, "mask"))).status == 404
    assert (await client.get("/api/cases/0x00/mask")).status == 404


async def test_the_mask_is_not_for_strangers(stranger: Client, desk: FakeDesk) -> None:
    assert (await stranger.get(at(desk, 2, "mask"))).status in (401, 403)


async def test_image_is_a_png_and_absent_ones_are_404(client: Client, desk: FakeDesk) -> None:
    answer = await client.get(at(desk, 0, "image"))
    assert answer.content_type == "image/png"
    assert (await answer.read()).startswith(b"\x89PNG")
    assert (await client.get(at(desk, 1, "image"))).status == 404
    assert (await client.get("/api/cases/0x00/image")).status == 404


@pytest.mark.parametrize(
    ("body", "decided"),
    [
        ({"label": "tumour", "confidence": 85}, ("tumour", 85)),
        ({"label": "no tumour", "confidence": 0}, ("no tumour", 0)),
        ({"label": None, "confidence": 0}, (None, 0)),
        ({"label": None}, (None, 0)),
    ],
)
async def test_a_verdict_is_taken_once(
    client: Client, desk: FakeDesk, body: dict[str, Any], decided: tuple[str | None, int]
) -> None:
    path = at(desk, 0, "decision")
    answer = await client.post(path, json=body)
    assert answer.status == 200
    assert (await answer.json())["case"]["state"] == "read"
    again = await client.post(path, json=body)
    assert again.status == 409
    assert desk.decided == [(desk.held[0].id, *decided)]


@pytest.mark.parametrize(
    "body",
    [
        {"label": "cat", "confidence": 5},
        {"confidence": 5},
        {"label": "tumour"},
        {"label": "tumour", "confidence": 101},
        {"label": "tumour", "confidence": -1},
        {"label": "tumour", "confidence": True},
        {"label": "tumour", "confidence": 50.5},
        {"label": "tumour", "confidence": "50"},
        {"label": ["tumour"], "confidence": 50},
        {"label": {}, "confidence": 50},
        [],
        "tumour",
        None,
    ],
)
async def test_bad_verdicts_are_refused(client: Client, desk: FakeDesk, body: Any) -> None:
    answer = await client.post(at(desk, 0, "decision"), json=body)
    assert answer.status == 400
    assert set(await answer.json()) == {"error", "remedy"}
    assert desk.decided == []


@pytest.mark.parametrize(
    ("raw", "status"),
    [(b"", 400), (b"{", 400), (b"\xff\xfe", 400), (b"[" * 4000, 400), (b" " * 5000, 413)],
)
async def test_bad_bodies_are_refused(client: Client, desk: FakeDesk, raw: bytes, status: int) -> None:
    answer = await client.post(at(desk, 0, "decision"), data=raw)
    assert answer.status == status
    assert set(await answer.json()) == {"error", "remedy"}
    assert (await client.get("/api/desk")).status == 200


@pytest.mark.parametrize("index", [1, 2, 3, 4, 6])
async def test_only_a_waiting_case_with_its_scan_can_be_decided(
    client: Client, desk: FakeDesk, index: int
) -> None:
    answer = await client.post(at(desk, index, "decision"), json={"label": "tumour", "confidence": 50})
    assert answer.status == 409
    assert desk.decided == []


async def test_a_verdict_after_the_deadline_is_refused(client: Client, desk: FakeDesk) -> None:
    desk.held = [desk_case(1, deadline=NOW - 1)]
    answer = await client.post(at(desk, 0, "decision"), json={"label": "tumour", "confidence": 50})
    assert answer.status == 409
    assert "over" in (await answer.json())["error"]


async def test_errors_of_the_desk_reach_the_page_as_sentences(client: Client, desk: FakeDesk) -> None:
    desk.refuse = UserError("the store is full", "free some disk")
    answer = await client.post(at(desk, 0, "decision"), json={"label": "tumour", "confidence": 50})
    assert (answer.status, await answer.json()) == (
        400,
        {"error": "the store is full", "remedy": "free some disk"},
    )
    desk.refuse = ZeroDivisionError("secret detail")
    answer = await client.post(at(desk, 0, "decision"), json={"label": "tumour", "confidence": 50})
    assert answer.status == 500
    assert "secret" not in await answer.text()
    assert (await client.get("/api/desk")).status == 200


async def test_without_the_token_nothing_private_is_told(
    stranger: Client, app: web.Application, desk: FakeDesk
) -> None:
    for headers in ({}, {TOKEN_HEADER: "x"}, {TOKEN_HEADER: app[TOKEN][:-1]}, {TOKEN_HEADER: "é"}):
        for path in ("/api/desk", at(desk, 0, "image"), "/nowhere"):
            assert (await stranger.get(path, headers=headers)).status == 403
        answer = await stranger.post(at(desk, 0, "decision"), json={"label": None}, headers=headers)
        assert answer.status == 403
    assert (await stranger.get(f"/api/desk?token={app[TOKEN]}")).status == 403
    assert desk.decided == []


def test_each_start_has_its_own_token(desk: FakeDesk) -> None:
    assert doctor_app(desk)[TOKEN] != doctor_app(desk)[TOKEN]
    assert len(doctor_app(desk)[TOKEN]) >= 43


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "[::2]",
        "",
        "][",
    ],
)
async def test_other_names_for_this_machine_are_refused(client: Client, host: str) -> None:
    for path in ("/", "/api/desk", "/static/api.js"):
        assert (await client.get(path, headers={"Host": host})).status == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:9999", "127.0.0.1:1", "[::1]:80", "LOCALHOST"])
async def test_own_names_of_this_machine_are_good(client: Client, host: str) -> None:
    assert (await client.get("/api/desk", headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_requests_made_by_other_pages_are_refused(
    client: Client, desk: FakeDesk, headers: dict[str, str]
) -> None:
    answer = await client.post(at(desk, 0, "decision"), json={"label": None}, headers=headers)
    assert answer.status == 403
    assert (await client.get("/api/desk", headers=headers)).status == 403


async def test_a_link_on_another_page_may_lead_here(stranger: Client) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
    assert (await stranger.get("/", headers=headers)).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("DELETE", "/api/desk", 405),
        ("GET", "/static/", 403),
        ("GET", "/static/../doctor.py", 404),
        ("GET", "/static/%2e%2e/doctor.py", 404),
        ("GET", "/static/..%2fdoctor.py", 404),
        ("GET", "/api/cases/..%2f..%2fdesk/image", 404),
    ],
)
async def test_stray_paths_are_json_errors(client: Client, method: str, path: str, status: int) -> None:
    answer = await client.request(method, path)
    assert answer.status == status
    assert set(await answer.json()) == {"error", "remedy"}


async def test_hostile_texts_travel_as_json_only(client: Client, desk: FakeDesk) -> None:
    evil = "</script><script>alert(1)</script>"
    desk.held = [desk_case(1, specialty=evil, labels=(evil,), note=evil)]
    answer = await client.get("/api/desk")
    assert answer.content_type == "application/json"
    assert json.loads(await answer.text())["cases"][0]["note"] == evil


def test_states_are_the_words_that_the_page_knows() -> None:
    script = (STATIC / "doctor.js").read_text()
    table = re.search(r"const STATES = \{(.*?)\};", script, re.S)
    assert table
    assert set(re.findall(r"^  (\w+):", table[1], re.M)) == set(DeskState)
