"""`crypdoc segment` on a DICOM series: Hounsfield units in, a segmentation of that series out, usable as labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from volume_files import write_series

from agents.cli.segment import segment
from models.segmentation.grid import HU_TO_GREY
from models.segmentation.samples import chest
from models.volumes import read_labels, read_volume


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn chest in Hounsfield units, columns to the patient's left and rows to the back, as scanners write it."""
    units, greys = zip(*HU_TO_GREY, strict=True)
    values = np.interp(chest(128, 6).greys, greys, units).astype(np.int16)
    folder = tmp_path_factory.mktemp("dicom") / "series"
    write_series(folder, np.ascontiguousarray(values[::-1, ::-1]), spacing=(2.5, 2.5), gap=5.0)
    return folder


def test_a_series_in_and_a_dicom_segmentation_out(series: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(segment, [str(series), "--engine", "plain", "--axes", "z", "--out", str(out)])
    assert done.exit_code == 0, done.output
    told = json.loads((out / "result.json").read_text())
    assert told["files"]["dicom_seg"] == "segmentation.dcm"
    assert any("Hounsfield" in note for note in told["notes"])
    assert told["infection_percent_of_lung"] is not None
    volume = read_volume(series)
    made = pydicom.dcmread(out / "segmentation.dcm")
    assert made.Modality == "SEG"
    referenced = {
        item.ReferencedSOPInstanceUID for item in made.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referenced == {pydicom.dcmread(path).SOPInstanceUID for path in series.iterdir()}
    for name in ("lung", "infection"):
        again = read_labels(out / "segmentation.dcm", volume, segment=name)
        assert np.array_equal(again, read_labels(out / f"{name}.nii.gz", volume))
    lung = read_labels(out / "lung.nii.gz", volume)
    drawn = chest(128, 6).lung
    assert 2 * np.count_nonzero(lung & drawn) / (np.count_nonzero(lung) + np.count_nonzero(drawn)) > 0.8


def test_its_own_segmentation_serves_as_labels(series: Path, tmp_path: Path) -> None:
    words = [str(series), "--engine", "plain", "--axes", "z", "--out"]
    assert CliRunner().invoke(segment, [*words, str(tmp_path / "out")]).exit_code == 0
    made = str(tmp_path / "out" / "segmentation.dcm")
    again = [*words, str(tmp_path / "again"), "--labels", made, "--lung-labels", made]
    done = CliRunner().invoke(segment, again)
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "again" / "result.json").read_text())
    assert told["lung"]["dice_against_labels"] == 1.0
    assert told["dice_against_labels"] == 1.0


def test_two_series_in_one_folder_are_told_apart(series: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    write_series(both, np.zeros((64, 64, 4), np.int16) + np.arange(4, dtype=np.int16), spacing=(1.0, 1.0))
    for path in series.iterdir():
        (both / f"other-{path.name}").write_bytes(path.read_bytes())
    done = CliRunner().invoke(segment, [str(both), "--out", str(tmp_path / "out")])
    assert done.exit_code == 3
    assert "series" in done.output
    assert "Traceback" not in done.output
