"""Agents that cannot start: one clear sentence, an exit code, and nothing lost."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Command, one_sentence

from tests.kill.stage import Actor, Stage, wallet

pytestmark = pytest.mark.e2e


@contextmanager
def held_port() -> Iterator[str]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield str(holder.getsockname()[1])


@pytest.fixture
def spare(stage: Stage, tmp_path: Path) -> Actor:
    """A wallet without money, and a folder of its own."""
    data = tmp_path / "spare"
    return Actor("spare", "dealer", data, wallet(data / "keystore.json", stage._password))


def secret(stage: Stage) -> dict[str, str]:
    return {"CRYPDOC_PASSWORD_FILE": str(stage._password_file)}


@pytest.mark.parametrize("option", ["--port", "--tls-port"])
def test_a_taken_wire_port(option: str, stage: Stage, spare: Actor, command: Command) -> None:
    with held_port() as port:
        ended = command("dealer", *stage.common(spare), option, port, **secret(stage))
    one_sentence(ended, port)


def test_a_taken_page_port(stage: Stage, spare: Actor, command: Command) -> None:
    with held_port() as port:
        ended = command("patient", *stage.common(spare), "--page-port", port, **secret(stage))
    one_sentence(ended, port, "taken")


def test_a_taken_chain_port(tmp_path: Path, command: Command) -> None:
    with held_port() as port:
        one_sentence(command("chain", "--port", port, "--data", str(tmp_path / "chain")), port)


def test_an_unreachable_chain(stage: Stage, spare: Actor, command: Command) -> None:
    with held_port() as port:
        pass
    ended = command("dealer", *stage.common(spare), "--rpc", f"http://127.0.0.1:{port}", **secret(stage))
    one_sentence(ended, port)


def test_a_wrong_chain_id(stage: Stage, spare: Actor, command: Command, tmp_path: Path) -> None:
    book = json.loads(stage.book_file.read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps(book | {"chain_id": 5}))
    ended = command("dealer", *stage.common(spare), "--book", str(other), **secret(stage))
    one_sentence(ended, "5", str(book["chain_id"]))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"chain_id": "x"}'])
def test_a_broken_address_book(
    content: str, stage: Stage, spare: Actor, command: Command, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text(content)
    one_sentence(command("dealer", *stage.common(spare), "--book", str(broken), **secret(stage)))


def test_no_address_book(stage: Stage, spare: Actor, command: Command, tmp_path: Path) -> None:
    gone = tmp_path / "nowhere.json"
    one_sentence(command("dealer", *stage.common(spare), "--book", str(gone), **secret(stage)), str(gone))


def test_a_patient_without_funds(stage: Stage, spare: Actor, command: Command) -> None:
    from models.scans import sample_scan_path

    ended = command("patient", str(sample_scan_path()), *stage.common(spare), **secret(stage))
    one_sentence(ended, spare.keyring.address, "ether")
    assert not (spare.data / "cases").exists()


def test_a_model_without_funds(stage: Stage, spare: Actor, command: Command) -> None:
    ended = command("model", *stage.common(spare), "--price", "7finney", **secret(stage))
    one_sentence(ended)


def test_a_doctor_without_a_credential(stage: Stage, spare: Actor, command: Command) -> None:
    ended = command("doctor", *stage.common(spare), "--reader", "auto", **secret(stage))
    one_sentence(ended, "credential")


def test_a_wrong_password(stage: Stage, spare: Actor, command: Command, tmp_path: Path) -> None:
    wrong = tmp_path / "password"
    wrong.touch(0o600)
    wrong.write_text("something else")
    ended = command("dealer", *stage.common(spare), CRYPDOC_PASSWORD_FILE=str(wrong))
    one_sentence(ended, "password")


def test_a_password_file_that_others_can_read(
    stage: Stage, spare: Actor, command: Command, tmp_path: Path
) -> None:
    loose = tmp_path / "password"
    loose.write_text(stage._password)
    loose.chmod(0o644)
    ended = command("dealer", *stage.common(spare), CRYPDOC_PASSWORD_FILE=str(loose))
    one_sentence(ended, "chmod 600")
    assert stage._password not in ended.text


@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_a_corrupt_keystore(damage: str, stage: Stage, spare: Actor, command: Command) -> None:
    path = spare.data / "keystore.json"
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "noise": bytes(range(256))}[damage])
    one_sentence(command("dealer", *stage.common(spare), **secret(stage)), str(path))


@pytest.mark.parametrize("name", ["cases.sqlite", "allowance.sqlite"])
@pytest.mark.parametrize("damage", ["noise", "hole"])
def test_a_damaged_log(name: str, damage: str, stage: Stage, spare: Actor, command: Command) -> None:
    source = stage.actors["dealer"].data / name
    path = spare.data / name
    if damage == "noise":
        path.write_bytes(bytes(range(256)) * 64)
    else:
        shutil.copy(source, path)
        with path.open("r+b") as file:
            file.seek(100)
            file.write(b"\xff" * 3000)
    before = path.read_bytes()
    ended = command("dealer", *stage.common(spare), **secret(stage), patience=30)
    one_sentence(ended, str(path))
    assert path.read_bytes() == before, "a damaged log is left for whoever can mend it"


def test_a_second_agent_on_the_same_folder(stage: Stage, command: Command) -> None:
    dealer = stage.actors["dealer"]
    ended = command("dealer", *stage.common(dealer), **secret(stage))
    one_sentence(ended, "another agent", str(dealer.data))
    assert dealer.process is not None
    assert dealer.process.is_alive()
