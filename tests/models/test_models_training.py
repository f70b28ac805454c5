"""Splitting, made variants and a whole small training, on synthetic slices: no picture of a person is needed."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from models import train as training
from models.dataset import FOLDS, altered, load_pictures, split, variants
from models.metrics import auc
from models.networks.backbone import fold_in
from models.reader import SIDE, features
from models.recipes import RECIPES
from models.scans import synthetic_scan, to_png
from models.train import Lessons, fit, main
from models.train_loop import Plan, logits_of
from models.train_reader import out_of_fold, regress
from models.zoo import load_network
from protocols.errors import UserError

COUNT = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the real one: COUNT synthetic slices, every second with a lesion."""
    path = tmp_path_factory.mktemp("pictures")
    with (path / "manifest.csv").open("w", newline="") as file:
        rows = csv.DictWriter(file, ["file", "label", "dup_group"])
        rows.writeheader()
        for index in range(COUNT):
            (path / f"{index}.png").write_bytes(to_png(synthetic_scan(index, index % 2 == 1)))
            rows.writerow({"file": f"{index}.png", "label": index % 2, "dup_group": index})
    return path


@pytest.fixture(scope="module")
def lessons(folder: Path) -> Lessons:
    pictures = load_pictures(folder)
    images = variants(pictures.scans, 1, (32, SIDE))
    return Lessons(images[32], images[32][:, 0], pictures.labels, pictures.folds, (features(images[SIDE]),))


def test_a_group_is_never_split_and_folds_are_alike() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(60), rng.integers(1, 5, 60))
    labels = (groups % 3 == 0).astype(np.int64)
    folds = split(labels, groups)
    assert set(folds) == set(range(FOLDS))
    for group in range(60):
        assert len(set(folds[groups == group])) == 1
    shares = [labels[folds == fold].mean() for fold in range(FOLDS)]
    assert max(shares) - min(shares) < 0.25
    assert np.array_equal(folds, split(labels, groups))


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no manifest\.csv"):
        load_pictures(tmp_path)


def test_variants_begin_with_the_scan_itself_and_differ(lessons: Lessons) -> None:
    assert lessons.images.shape == (COUNT, 2, 3, 32, 32)
    assert not np.array_equal(lessons.images[:, 0], lessons.images[:, 1])


def test_altering_keeps_the_picture_in_range() -> None:
    pixels = synthetic_scan().pixels
    shapes = set()
    for seed in range(20):
        made = altered(pixels, np.random.default_rng(seed))
        assert made.dtype == np.float32
        assert 0 <= float(made.min()) <= float(made.max()) <= 1
        assert made.shape[0] >= pixels.shape[0] + 40
        shapes.add(made.shape)
    assert len(shapes) > 1


def test_regression_separates_synthetic_slices_out_of_fold(lessons: Lessons) -> None:
    values = lessons.teachers[0]
    assert auc(lessons.labels, out_of_fold(values, lessons.labels, lessons.folds)) > 0.95
    bag = regress(values, lessons.labels, members=3)
    assert bag.slopes.shape == (3, values.shape[-1])


def test_fit_is_repeatable_and_folding_in_shifts_the_logit(lessons: Lessons) -> None:
    recipe = dataclasses.replace(RECIPES["LeNet"], plan=Plan(epochs=2))
    one, other = (fit(recipe, lessons, seed=5) for _ in range(2))
    before = logits_of(one, lessons.shown[:4])
    assert before.shape == (4, 1)
    assert np.array_equal(before, logits_of(other, lessons.shown[:4]))
    fold_in(one, 2.0, -0.5)
    assert np.allclose(logits_of(one, lessons.shown[:4]), 2 * before - 0.5, atol=1e-4)


def test_a_whole_training_writes_a_network_that_loads(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = dataclasses.replace(RECIPES["LeNet"], plan=Plan(epochs=60))
    monkeypatch.setitem(training.RECIPES, "LeNet", quick)
    monkeypatch.setattr(training, "VARIANTS", 1)
    main(["reader", "LeNet", "--untaught", "--data", str(folder), "--out", str(tmp_path)])
    network, card = load_network(tmp_path / "lenet-brain-mri.safetensors")
    assert card.held_out["n"] == 8
    assert card.quantisation["n"] == card.cross_validation["n"] == COUNT
    assert (tmp_path / "lenet-brain-mri.png").read_bytes().startswith(b"\x89PNG")
    assert card.held_out["auc"] > 0.8
    assert card.network_hash == network.network_hash().hex()
    assert (tmp_path / "lenet-brain-mri.md").read_text().startswith("# LeNet")
    assert '"LeNet"' in capsys.readouterr().out
