"""Files that are no scan, given to the patient's command and to the demo: a sentence, and no case is begun."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import Command, one_sentence

from tests.kill.stage import Actor, Stage, wallet

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from scan_files import dicom, picture, png, png_claiming

pytestmark = pytest.mark.e2e


def _small() -> bytes:
    from PIL import Image

    return picture(Image.new("L", (1, 1)))


BAD = {
    "empty.png": lambda: b"",
    "text.jpg": lambda: b"this is not an image\n" * 50,
    "cut.png": lambda: png()[:400],
    "small.png": _small,
    "huge.png": lambda: png_claiming(20_000, 20_000),
    "plane.dcm": lambda: dicom(modality="MG"),
    "cut.dcm": lambda: dicom()[:900],
}


@pytest.fixture
def rich(stage: Stage, tmp_path: Path) -> Actor:
    """A patient with money."""
    data = tmp_path / "rich"
    actor = Actor("rich", "patient", data, wallet(data / "keystore.json", stage._password))
    stage.ledger.grant(actor.keyring.address, 3 * 10**18)
    return actor


@pytest.mark.parametrize("name", BAD)
def test_the_patients_command(name: str, stage: Stage, rich: Actor, command: Command, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(BAD[name]())
    ended = command(
        "patient", str(path), *stage.common(rich), CRYPDOC_PASSWORD_FILE=str(stage._password_file)
    )
    one_sentence(ended)
    assert stage.ledger.balance(rich.keyring.address) == 3 * 10**18
    assert not (rich.data / "cases").exists()


@pytest.mark.parametrize("name", BAD)
def test_the_demo(name: str, command: Command, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(BAD[name]())
    one_sentence(command("demo", str(path), "--runs", str(tmp_path / "runs"), patience=90))


def test_a_file_that_is_not_there(command: Command, tmp_path: Path) -> None:
    one_sentence(command("demo", str(tmp_path / "nothing.png"), "--runs", str(tmp_path)), "nothing.png")
