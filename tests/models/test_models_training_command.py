"""`crypdoc train` on tiny drawn pictures: every kind of file, a stop and a resume, seeds, each error a sentence."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from agents.cli.train import train
from models import train_files, train_run
from models.train_folders import load_any, read_folder
from models.train_run import Options, run
from models.zoo import load_network
from protocols.errors import UserError

MODES = ("RGB", "L", "P", "RGBA", "LA", "1", "CMYK", "I;16")
SIZES = ((20, 20), (40, 33), (90, 300), (64, 64))


class Quiet:
    """A screen that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.stages: list[str] = []

    def step(self, stage: str, done: int, total: int) -> None:
        assert 0 <= done <= total
        self.stages.append(stage)

    def say(self, text: str) -> None:
        self.said.append(text)


def draw(path: Path, hue: tuple[int, int, int], seed: int, size: tuple[int, int] = (48, 40)) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 60, (size[1], size[0], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.array(hue) + noise, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def options(tmp_path: Path) -> Options:
    for part, count in (("train", 12), ("eval", 6)):
        for index in range(count):
            draw(tmp_path / part / "red" / f"{index}.png", (180, 40, 40), index)
            draw(tmp_path / part / "blue" / f"{index}.jpg", (40, 40, 180), 100 + index)
    return Options(
        source_dir_train=tmp_path / "train",
        source_dir_eval=tmp_path / "eval",
        training_run_out=tmp_path / "out" / "mine.safetensors",
        backbone="LeNet",
        num_classes=2,
        max_epochs=8,
        batch_size=8,
        lr=5e-3,
    )


def test_a_run_ends_in_a_network_that_loads_and_every_file(options: Options) -> None:
    screen = Quiet()
    metrics = run(replace(options, validate_encrypted=True), screen)
    network, card = load_network(options.training_run_out)
    assert card.labels == ("blue", "red")
    assert card.preparation == metrics["preparation"] == "rgb"
    assert card.network_hash == network.network_hash().hex() == metrics["network"]["hash"]
    out = options.training_run_out
    assert json.loads(out.with_suffix(".metrics.json").read_text()) == metrics
    rows = list(csv.DictReader(out.with_suffix(".history.csv").open()))
    assert [row["epoch"] for row in rows] == [str(n) for n in range(1, 9)]
    with Image.open(out.with_suffix(".curves.png")) as curves:
        assert curves.width > 1000
    assert {path.name for path in out.parent.iterdir()} == {
        f"mine.{word}" for word in ("safetensors", "card.json", "metrics.json", "history.csv", "curves.png")
    }
    assert metrics["float"]["auc"] == 1
    both = metrics["validate_encrypted"]
    assert both["agreement"] == 1
    assert both["plain"]["auc"] == both["encrypted"]["auc"] == 1
    assert both["images"] == 12
    assert 0 <= both["largest_logit_difference"] < 1
    assert both["bytes"] > 0
    assert both["seconds"] > 0
    assert any("epoch 8 of 8" in stage for stage in screen.stages)


def test_three_classes_of_every_mode_and_size(options: Options, tmp_path: Path) -> None:
    for part in ("train", "eval"):
        for label, grey in (("bright", 230), ("dark", 20), ("middle", 120)):
            for index, mode in enumerate(MODES):
                size = SIZES[index % len(SIZES)]
                rows = np.random.default_rng(index).integers(0, 25, (size[1], size[0]))
                rows[: size[1] // 2] += grey
                path = (
                    tmp_path
                    / "many"
                    / part
                    / label
                    / f"{index}{'.tif' if mode in ('CMYK', 'I;16') else '.png'}"
                )
                path.parent.mkdir(parents=True, exist_ok=True)
                if mode == "I;16":
                    Image.fromarray((rows * 200).astype(np.uint16)).save(path)
                else:
                    Image.fromarray(rows.astype(np.uint8)).convert(mode).save(path)
    many = replace(
        options,
        source_dir_train=tmp_path / "many" / "train",
        source_dir_eval=tmp_path / "many" / "eval",
        num_classes=3,
        max_epochs=2,
        preparation="grey3",
    )
    metrics = run(many, Quiet())
    network, card = load_network(many.training_run_out)
    assert network.topology.output_shape == (3, 1, 1)
    assert network.topology.thresholds == card.thresholds == ()
    assert card.labels == ("bright", "dark", "middle")
    assert metrics["pictures"] == {"train": 24, "calibration": 0, "eval": 24}
    assert 0 <= metrics["compiled_agreement"]["same_class"] <= 1


def test_a_stopped_run_resumes_to_the_same_weights(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = replace(
        options, max_epochs=3, training_run_out=options.training_run_out.with_name("whole.safetensors")
    )
    run(whole, Quiet())

    class Stopping(Quiet):
        def say(self, text: str) -> None:
            if text.startswith("epoch   2"):
                raise KeyboardInterrupt

    cut = replace(whole, training_run_out=options.training_run_out)
    with pytest.raises(KeyboardInterrupt):
        run(cut, Stopping())
    assert {path.suffix for path in cut.training_run_out.parent.glob("mine*")} == {".checkpoint"}
    with pytest.raises(UserError, match="a run with other lr"):
        run(replace(cut, lr=1e-3, resume=True), Quiet())
    screen = Quiet()
    run(replace(cut, resume=True), screen)
    assert "going on after epoch 2" in screen.said
    assert cut.training_run_out.read_bytes() == whole.training_run_out.read_bytes()
    assert not cut.training_run_out.with_suffix(".checkpoint").exists()
    run(replace(cut, seed=1), Quiet())
    assert cut.training_run_out.read_bytes() != whole.training_run_out.read_bytes()


def test_a_damaged_checkpoint_is_named(options: Options) -> None:
    options.training_run_out.parent.mkdir()
    options.training_run_out.with_suffix(".checkpoint").write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match=r"mine\.checkpoint is damaged"):
        run(replace(options, resume=True), Quiet())


def test_wrong_folders_are_one_sentence_each(options: Options, tmp_path: Path) -> None:
    def refused(match: str, **changes: object) -> None:
        with pytest.raises(UserError, match=match):
            run(replace(options, **changes), Quiet())  # type: ignore[arg-type]
        assert not options.training_run_out.exists()

    refused("there is no folder", source_dir_train=tmp_path / "nowhere")
    refused("is not a folder", source_dir_eval=next((tmp_path / "eval" / "red").iterdir()))
    refused("holds 2 classes \\(blue, red\\), and --num-classes says 3", num_classes=3)
    refused("there is no backbone", backbone="VGG")
    (tmp_path / "one" / "cat").mkdir(parents=True)
    refused("holds one class folder only", source_dir_train=tmp_path / "one")
    (tmp_path / "one" / "dog").mkdir()
    refused("the class folder .*cat is empty", source_dir_train=tmp_path / "one")
    refused("holds no class folder", source_dir_train=tmp_path / "train" / "red")
    draw(tmp_path / "eval" / "green" / "0.png", (0, 200, 0), 1)
    refused("the class 'green', which the training folder has not")
    (tmp_path / "train" / "red" / "zz.png").write_bytes(b"not a picture")
    refused(r"zz\.png cannot be read")
    (tmp_path / "train" / "red" / "zz.png").write_bytes(
        (tmp_path / "train" / "red" / "0.png").read_bytes()[:200]
    )
    refused(r"zz\.png cannot be read")


@pytest.mark.parametrize("at", [1, 3])
def test_a_full_disk_leaves_nothing_half_written(
    options: Options, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    count = 0
    real = os.fsync

    def fsync(number: int) -> None:
        nonlocal count
        count += 1
        if count >= at:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    monkeypatch.setattr(train_files.os, "fsync", fsync)
    with pytest.raises(UserError, match="the disk is full"):
        run(replace(options, max_epochs=1), Quiet())
    left = [path.name for path in options.training_run_out.parent.iterdir()]
    assert left == ([] if at == 1 else ["mine.checkpoint"])


def test_a_place_that_cannot_be_written_is_told_before_training(options: Options, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        run(replace(options, training_run_out=tmp_path / "file" / "mine.safetensors"), Quiet())
    with pytest.raises(UserError, match="is a folder"):
        run(replace(options, training_run_out=tmp_path / "train.safetensors"), Quiet()) if (
            tmp_path / "train.safetensors"
        ).mkdir() is None else None


def test_colour_tells_and_hidden_files_do_not_count(options: Options, tmp_path: Path) -> None:
    (tmp_path / "train" / "red" / ".DS_Store").write_bytes(b"x")
    folder = read_folder(options.source_dir_train)
    assert folder.coloured()
    assert len(folder.files) == 24
    images = folder.prepared("rgb", 3, 32)
    assert images.shape == (24, 3, 32, 32)
    red = folder.labels == folder.classes.index("red")
    assert images[red, 0].mean() > images[red, 2].mean() + 50
    tiny = tmp_path / "tiny.gif"
    Image.new("L", (5, 7), 200).save(tiny)
    assert load_any(tiny).shape == (32, 32)


def test_calibration_pictures_are_set_aside_by_class() -> None:
    labels = np.repeat([0, 1], [40, 60])
    kept, aside = train_run._set_aside(labels, 3)
    assert sorted([*kept, *aside]) == list(range(100))
    assert np.bincount(labels[aside]).tolist() == [6, 9]


def test_the_command_says_errors_in_a_sentence_and_help_teaches(options: Options) -> None:
    runner = CliRunner()
    told = runner.invoke(train, ["--help"])
    assert told.exit_code == 0
    assert "--validate-encrypted" in told.output
    common = [
        "--source-dir-eval",
        str(options.source_dir_eval),
        "--training-run-out",
        str(options.training_run_out),
    ]
    failed = runner.invoke(train, ["--source-dir-train", "nowhere", *common])
    assert failed.exit_code == 2
    assert failed.output.startswith("crypdoc: there is no folder nowhere;")
    made = runner.invoke(
        train,
        [
            "--source-dir-train",
            str(options.source_dir_train),
            *common,
            "--max-epochs",
            "1",
            "--batch-size",
            "8",
        ],
    )
    assert made.exit_code == 0, made.output
    assert "integer network" in made.output
    assert options.training_run_out.exists()


def test_the_script_is_the_same_command() -> None:
    script = Path(__file__).parents[2] / "scripts" / "enc_train.py"
    told = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, check=True)
    for option in (
        "--source-dir-train",
        "--source-dir-eval",
        "--training-run-out",
        "--backbone",
        "--num-classes",
    ):
        assert option in told.stdout
