"""`crypdoc status` and `crypdoc verify` against a chain in a process of its own."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from agents.cli.census import Census, DoctorLine
from agents.cli.main import crypdoc
from agents.cli.status import show
from agents.demo.run import free_port
from contracts.chain.client import ChainClient
from contracts.chain.deploy import deploy
from contracts.chain.errors import Unreachable
from contracts.chain.terms import profile
from protocols.case.view import Phase
from protocols.specialty import INSUFFICIENT
from tests.contracts.chain_world import World

DAY = 1_795_219_200


@dataclass
class Town:
    """A chain with one settled and one open case, and a deployment without anything."""

    url: str
    book: Path
    empty: Path
    certificate: Path
    world: World
    settled: int
    open: int


def run(*arguments: object) -> Result:
    return CliRunner().invoke(crypdoc, [str(a) for a in arguments])


async def _connect(url: str) -> ChainClient:
    end = time.monotonic() + 60
    while True:
        try:
            return await ChainClient.connect(url)
        except Unreachable:
            assert time.monotonic() < end
            await asyncio.sleep(0.2)


async def _build(url: str, folder: Path) -> Town:
    async with await _connect(url) as client:
        world = await World.make(client)
        settled, view = await world.settle()
        certificate = folder / "certificate.json"
        certificate.write_text(json.dumps(world.certify(view, INSUFFICIENT, DAY).to_json()))
        world.secrets["case"] = world.secrets["stranger"]
        world.address["case"] = world.address["stranger"]
        opened = await world.open()
        await world.seat_all(opened)
        book, empty = folder / "book.json", folder / "empty.json"
        world.book.save(book)
        at = world.address
        bare = await deploy(client, world.signer, at["deployer"], profile("standard"), [at["attester"]])
        bare.save(empty)
    return Town(url, book, empty, certificate, world, settled, opened)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder, port = tmp_path_factory.mktemp("town"), free_port()
    command = [sys.executable, "-m", "agents.cli", "chain", "--fresh", "--port", str(port)]
    chain = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield asyncio.run(_build(f"http://127.0.0.1:{port}", folder))
    finally:
        chain.terminate()
        chain.wait(10)


# ---- status
def test_json_tells_all_at_one_block(town: Town) -> None:
    ended = run("status", "--rpc", town.url, "--book", town.book, "--json", "--all")
    assert ended.exit_code == 0, ended.output
    found = json.loads(ended.output)
    assert found["cases"] == {"total": 2, "settled": 1, "refunded": 0}
    newest, oldest = found["shown"]
    assert (newest["case_id"], newest["phase"]) == (hex(town.open), "commit")
    assert (oldest["case_id"], oldest["phase"], oldest["agreeing"]) == (hex(town.settled), "settled", 3)
    assert [seat["status"] for seat in newest["seats"]] == ["accepted"] * 3
    assert {d["address"] for d in found["doctors"]} == {town.world.address[n] for n in town.world.doctors}
    assert all(d["scored"] == 1 and d["open_seats"] == 1 and d["balance_wei"] > 0 for d in found["doctors"])
    assert [m["name"] for m in found["models"]] == [""], "a card that is no JSON has no name"


def test_people_see_the_open_cases_in_plain_lines(town: Town) -> None:
    ended = run("status", "--rpc", town.url, "--book", town.book)
    assert "2 cases: 1 open, 1 settled, 0 refunded" in ended.output
    assert hex(town.open) in ended.output
    assert hex(town.settled) not in ended.output
    assert "0 of 3 committed" in ended.output
    assert "\x1b" not in ended.output


def test_filters(town: Town) -> None:
    settled = run("status", "--rpc", town.url, "--book", town.book, "--case", hex(town.settled)[2:12])
    assert hex(town.settled) in settled.output
    assert hex(town.open) not in settled.output
    doctor, other = (town.world.address[name] for name in town.world.doctors[:2])
    one = json.loads(
        run("status", "--rpc", town.url, "--book", town.book, "--doctor", doctor, "--json").output
    )
    assert [line["address"] for line in one["doctors"]] == [doctor]
    assert other not in [line["address"] for line in one["doctors"]]
    stranger = run("status", "--rpc", town.url, "--book", town.book, "--doctor", "0x" + "11" * 20)
    assert "Doctors: none" in stranger.output
    assert run("status", "--rpc", town.url, "--book", town.book, "--doctor", "bob").exit_code == 2


def test_a_chain_with_nothing(town: Town) -> None:
    ended = run("status", "--rpc", town.url, "--book", town.empty)
    assert ended.exit_code == 0, ended.output
    for title in ("Cases", "Doctors", "Models"):
        assert f"{title}: none" in ended.output


def test_faults_are_one_sentence(town: Town, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(json.loads(town.book.read_text()) | {"chain_id": 5}))
    nowhere = tmp_path / "nowhere.json"
    book = json.loads(town.book.read_text())
    nowhere.write_text(json.dumps(book | {"contracts": dict.fromkeys(book["contracts"], "0x" + "22" * 20)}))
    for arguments, code in (
        (("--rpc", town.url, "--book", tmp_path / "absent.json"), 2),
        (("--rpc", "http://127.0.0.1:1", "--book", town.book), 5),
        (("--rpc", town.url, "--book", wrong), 5),
        (("--rpc", town.url, "--book", nowhere), 5),
    ):
        ended = run("status", *arguments)
        assert ended.exit_code == code, ended.output
        assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
        assert ended.stdout == ""


def test_on_a_terminal_there_are_tables_and_hostile_text_stays_text(town: Town) -> None:
    ended = run("status", "--rpc", town.url, "--book", town.book, "--json", "--all")
    line = DoctorLine(**json.loads(ended.output)["doctors"][0])
    found = Census(1, 2, 3, (), (replace(line, specialty="[red]\x1b[31mmeddling"),), (), 0, 0, 0, 0)
    file = io.StringIO()
    show(
        found, 20, Console(file=file, force_terminal=True, width=140, color_system=None, legacy_windows=False)
    )
    assert "Cases: none" in file.getvalue()
    assert "[red]" in file.getvalue()
    assert line.address not in file.getvalue(), "ids are shortened on a terminal"


def test_a_case_tells_how_far_it_is(town: Town) -> None:
    async def views() -> list[str]:
        async with await ChainClient.connect(town.url, town.world.book) as client:
            town.world.client = client
            view = await town.world.view(town.open)
        told = []
        for phase, changes in (
            (Phase.DRAWING, {"seed_block": 9}),
            (Phase.SEATING, {"seated": 1, "deadline": view.now + 90}),
            (Phase.REVEAL, {"committed": 3, "revealed": 2, "deadline": view.now - 1}),
            (Phase.REFUNDED, {}),
        ):
            case = replace(view, phase=phase, **changes)
            file = io.StringIO()
            show(Census(1, 2, 3, (case,), (), (), 1, 0, 0, 0), 20, Console(file=file))
            told.append(file.getvalue())
        return told

    drawing, seating, reveal, refunded = asyncio.run(views())
    assert "block 9" in drawing
    assert "1 of 3 seated" in seating
    assert "1 min 30 s left" in seating
    assert "2 of 3 revealed" in reveal
    assert "anyone may move it on" in reveal
    assert "no agreement" in refunded


# ---- verify
def test_a_certificate_holds_alone_and_by_the_contract(town: Town) -> None:
    alone = run("verify", town.certificate)
    assert alone.exit_code == 0, alone.output
    assert "not asked" in alone.output
    assert alone.output.splitlines()[-1] == "the signature is valid"
    asked = run("verify", town.certificate, "--rpc", town.url, "--book", town.book)
    assert asked.exit_code == 0, asked.output
    assert "contract    holds" in asked.output
    assert asked.output.splitlines()[-1] == "valid"


def test_a_forged_certificate_fails(town: Town, tmp_path: Path) -> None:
    fields = json.loads(town.certificate.read_text())
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps(fields | {"label": "tumour"}))
    ended = run("verify", forged)
    assert ended.exit_code == 1
    assert ended.output.splitlines()[-1] == "NOT valid"


def test_a_sound_signature_of_others_fails_by_the_contract(town: Town, tmp_path: Path) -> None:
    fields = json.loads(town.certificate.read_text())
    one = tmp_path / "seats.json"
    one.write_text(json.dumps(fields | {"seats": 1}))
    ended = run("verify", one, "--rpc", town.url, "--book", town.book)
    assert ended.exit_code == 1, ended.output
    assert "signature   holds" in ended.output
    assert "contract    FAILS" in ended.output


def test_a_certificate_of_another_deployment_fails(town: Town) -> None:
    ended = run("verify", town.certificate, "--rpc", town.url, "--book", town.empty)
    assert ended.exit_code == 1
    assert "chain       FAILS" in ended.output


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"signers": 3}', "\x00", "[" * 100_000])
def test_what_is_no_certificate_is_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "file.json"
    file.write_text(text)
    ended = run("verify", file)
    assert ended.exit_code == 2
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "is not a certificate" in ended.stderr


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    assert run("verify", tmp_path / "absent").exit_code == 2
