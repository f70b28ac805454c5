"""`crypdoc segment` and `scripts/prediction.py`, as a user gives them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result

from agents.cli.predictions import predictions
from agents.cli.results import LOCK, claimed
from agents.cli.segment import name_of, segment
from models.segmentation.job import Job
from models.segmentation.plan import make_plan
from models.segmentation.run import WORK
from models.segmentation.samples import chest
from models.segmentation.suite import BUILT_IN, load_suite
from models.volumes import read_volume

ROOT = Path(__file__).parents[3]


def read_volume_mask(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(nib.load(path).dataobj, np.uint8)


def ask(*words: object) -> Result:
    return CliRunner().invoke(segment, [str(word) for word in words])


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return chest(128, 5).save(tmp_path / "in", "small")


def test_a_volume_in_and_masks_figures_and_pages_out(small: Path, tmp_path: Path) -> None:
    out, figures = tmp_path / "out", tmp_path / "figures.json"
    lung = small.parent / "small_lung.nii.gz"
    labels = ("--labels", small.parent / "small_infection.nii.gz", "--lung-labels", lung)
    done = ask(small, "--engine", "plain", "--axes", "z", "--out", out, "--json", figures, *labels)
    assert done.exit_code == 0, done.output
    told = json.loads(figures.read_text())
    assert told == json.loads((out / "result.json").read_text())
    assert {
        "dice_against_labels",
        "dice_against_plain",
        "seconds",
        "bytes",
        "seconds_per_image",
        "bytes_per_image",
    } <= set(told)
    assert told["lung"]["dice_against_labels"] > 0.8
    mask = nib.load(out / "infection.nii.gz")
    assert mask.shape == (128, 128, 5)
    assert np.allclose(mask.affine, nib.load(small).affine)
    assert np.asarray(mask.dataobj).sum() * np.prod(mask.header.get_zooms()) / 1000 == pytest.approx(
        told["infection_ml"], rel=1e-3
    )
    for name in (told["files"]["page"], *told["files"]["overlays"]):
        assert (out / name).stat().st_size > 1000
    assert not (out / WORK).exists()
    assert not (out / LOCK).exists()


def test_an_npz_has_the_masks_that_its_nifti_has(small: Path, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "one.npz", array=np.asarray(nib.load(small).dataobj))
    for volume, out in ((small, "nifti"), (tmp_path / "one.npz", "npz")):
        done = ask(volume, "--engine", "plain", "--axes", "z", "--out", tmp_path / out)
        assert done.exit_code == 0, done.output
    for name in ("lung", "infection"):
        one, other = (read_volume_mask(tmp_path / out / f"{name}.nii.gz") for out in ("nifti", "npz"))
        assert np.array_equal(one, other)
        assert name == "infection" or one.any()


def test_nothing_of_the_users_is_overwritten_or_removed(small: Path, tmp_path: Path) -> None:
    """A folder of the same name as ours, files that were given, results of another volume, a run that goes on."""
    out = tmp_path / "out"
    (out / "work").mkdir(parents=True)
    (out / "work" / "thesis.txt").write_text("mine")
    quick = ("--engine", "plain", "--axes", "z", "--out", out)
    assert ask(small, *quick).exit_code == 0
    assert (out / "work" / "thesis.txt").read_text() == "mine"
    other = chest(128, 4, seed=9).save(tmp_path / "other", "other")
    done = ask(other, *quick)
    assert done.exit_code == 2
    assert "results of another volume, small_ct.nii.gz" in done.output
    done = ask(small, *quick, "--labels", out / "infection.nii.gz")
    assert done.exit_code == 2
    assert "would be overwritten" in done.output
    with claimed(out):
        done = ask(small, *quick)
    assert done.exit_code == 2
    assert "another segmentation is writing" in done.output
    assert ask(small, *quick).exit_code == 0


def test_work_of_other_networks_is_not_taken_up(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    networks = tmp_path / "mine"
    shutil.copytree(BUILT_IN, networks)
    for name in ("safetensors", "card.json"):
        (networks / "lung" / f"x.{name}").unlink()
    volume = read_volume(small)
    job = Job.begin(out / WORK / "plain", volume, make_plan(5, "z"), by=load_suite(networks).identity.hex())
    job.put(job.pending()[0], np.full((4, 1, 128, 128), 9.0))
    done = ask(small, "--engine", "plain", "--axes", "z", "--out", out)
    assert done.exit_code == 0
    assert "going on" not in done.output
    assert json.loads((out / "result.json").read_text())["infection_percent_of_lung"] < 50


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["nowhere.nii.gz"], "nowhere.nii.gz"),
        ([], "there is no volume"),
        (["SMALL", "--sample"], "there is no volume"),
        (["SMALL", "--axes", "q"], "q"),
        (["SMALL", "--networks", "nowhere"], "no folder of networks"),
        (["SMALL", "--labels", "nowhere.nii.gz"], "nowhere.nii.gz"),
        (["SMALL", "--json", "no/such/folder/x.json"], "cannot be written"),
        (["SMALL", "--out", "SMALL"], "is no folder"),
        (["SMALL", "--grid", "512", "--batch", "4"], "too much memory"),
        (["SMALL", "--axes", "xy", "--skip-empty"], "only slices along z"),
        (["SMALL", "--engine", "plain", "--dealer", "none"], "only the blind engine"),
    ],
)
def test_wrong_words_are_one_sentence(small: Path, words: list[str], fault: str, tmp_path: Path) -> None:
    given = [str(small) if word == "SMALL" else word for word in words]
    with CliRunner().isolated_filesystem(tmp_path):
        done = ask(*given)
    assert done.exit_code not in (0, 1)
    assert fault in done.output
    assert "Traceback" not in done.output
    assert isinstance(done.exception, SystemExit)


def test_labels_of_another_shape_are_refused_before_the_work(small: Path, tmp_path: Path) -> None:
    other = chest(128, 6).save(tmp_path / "other", "other").parent / "other_infection.nii.gz"
    done = ask(small, "--labels", other, "--engine", "plain", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "5" in done.output
    assert "6" in done.output


def test_a_killed_run_goes_on_and_ends_the_same(small: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of the blind engine: no process stays, and the same command goes on."""
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "agents.cli",
        "segment",
        str(small),
        "--axes",
        "z",
        "--batch",
        "1",
        "--out",
        str(out),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    done = out / WORK / "blind" / "done"
    until = time.monotonic() + 120
    while not (done.exists() and len(done.read_bytes().split()) >= 2) and time.monotonic() < until:
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
    children = [int(pid) for pid in Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()]
    assert len(children) == 2
    first.send_signal(signal.SIGKILL)
    first.wait()
    until = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < until, "a process of the engine stayed"
        time.sleep(0.1)
    before = len(done.read_bytes().split())
    assert 2 <= before < 10
    again = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert again.returncode == 0, again.stderr
    assert f"going on, {before} of 10 images were done before" in again.stderr
    told = json.loads((out / "result.json").read_text())
    assert told["images"] == 10
    assert told["bytes_online"] > 10 * 5e6  # what was done before the kill counts, too
    assert told["dice_against_plain"] > 0.98
    assert told["lung"]["dice_against_plain"] > 0.995


def test_many_volumes_in_bunets_layout(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name, slices in (("a1", 4), ("b2", 3)):
        drawn = chest(128, slices)
        (data / name).mkdir(parents=True)
        np.savez_compressed(data / name / f"{name}.npz", array=drawn.greys)
        if name == "a1":
            np.savez_compressed(data / name / f"{name}_label.npz", array=drawn.infection.astype(np.uint8))
    (data / "c3").mkdir()
    (data / "c3" / "c3.npz").write_bytes(b"not a zip")
    words: list[Any] = [
        "--model_infection_dir",
        BUILT_IN / "infection",
        "--model_lung_dir",
        BUILT_IN / "lung",
    ]
    words += ["--test_data_dir", data, "--out", tmp_path / "out", "--engine", "plain", "--axes", "z"]
    done = CliRunner().invoke(predictions, [str(word) for word in words])
    assert done.exit_code == 2
    assert "1 of 3 volumes could not be read: c3" in done.output
    told = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [row["id"] for row in told["volumes"]] == ["a1", "b2"]
    assert told["volumes"][0]["dice_against_labels"] is not None
    assert told["volumes"][1]["dice_against_labels"] is None
    assert told["mean"]["dice_against_plain"] > 0.9
    assert (tmp_path / "out" / "a1" / "infection.nii.gz").is_file()
    again = CliRunner().invoke(predictions, [str(word) for word in words])
    assert again.output.count("done before") == 2
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == told


def test_a_folder_without_volumes_is_refused(tmp_path: Path) -> None:
    words = ["--model_infection_dir", str(BUILT_IN / "infection"), "--model_lung_dir", str(BUILT_IN / "lung")]
    done = CliRunner().invoke(predictions, [*words, "--test_data_dir", str(tmp_path)])
    assert done.exit_code == 2
    assert "ID/ID.npz" in done.output


def test_names_without_what_tells_their_kind() -> None:
    told = [name_of(Path(name)) for name in ("a/chest.nii.gz", "b.nii", "c.npz", "series", "d.NII.GZ")]
    assert told == ["chest", "b", "c", "series", "d"]
