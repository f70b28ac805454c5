"""`python -m models.segmentation.train` refuses what it cannot train in one sentence, before it reads a volume."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.segmentation.train import Recipe, Trainer, main
from protocols.errors import UserError


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (["--axes", "q"], "there is no axis 'q'; name some of x, y, z"),
        (["--axes", ""], "there is no axis ''; name some of x, y, z"),
        (["--tasks", "lungs"], "there is no task 'lungs'; name some of lung, infection"),
        (["--tasks", "lung,"], "there is no task ''; name some of lung, infection"),
        (["--images", "8"], "8 slices an epoch are fewer than a batch; give 16 or more"),
        (["--epochs", "0"], "0 epochs train nothing; give 1 or more"),
    ],
)
def test_wrong_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], fault: str
) -> None:
    code = main(["--data", str(tmp_path / "none"), "--out", str(tmp_path), *given])
    assert code == UserError("", "").exit_code
    assert capsys.readouterr().err == f"{fault}\n"


def test_fewer_slices_than_a_batch() -> None:
    with pytest.raises(UserError, match="0 slices to learn on are fewer than a batch of 16"):
        Trainer("lung", [], True, Recipe()).run()
