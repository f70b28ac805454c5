"""What a finished segmentation writes: a file that cannot be written is a note, and costs that file alone."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from agents.patient.volume import Prepared, _Session, begin_work, prepare_volume
from models.scans import to_png
from models.segmentation.job import Job
from tests.models.volume_files import chest, write_series


@pytest.fixture
def series(tmp_path: Path) -> Path:
    write_series(tmp_path / "ct", chest())
    return tmp_path / "ct"


def measured(folder: Path, series: Path) -> tuple[Prepared, dict[str, Any], bytes]:
    """Every batch of the series is here: what is said of it, and the panel's picture of its mask."""
    prepared = prepare_volume(series, "z")
    begin_work(folder, prepared)
    job = Job.resume(folder / "work")
    for batch in job.pending():
        job.put(batch, np.where(job.images(batch)[:, 2] < 0, 9.0, -9.0))
    session: Any = _Session.__new__(_Session)
    session.folder = folder
    session.body = {"volume": prepared.facts, "dealer": "0x1", "card": {"name": "suite"}}
    session.duty = SimpleNamespace()
    png = to_png(prepared.picture, 2048)
    findings, mask = session._measure(job, png, prepared.facts["layout"])
    return prepared, findings, mask


FILES = {"infection.nii.gz", "lung.nii.gz", "index.html"}


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "segmentation").iterdir()}


def test_a_whole_series_has_all_files(tmp_path: Path, series: Path) -> None:
    _, findings, mask = measured(tmp_path / "case", series)
    assert names(tmp_path / "case") >= FILES | {"segmentation.dcm"}
    assert not [note for note in findings["notes"] if "written" in note]
    assert mask.startswith(b"\x89PNG")


def test_a_series_without_what_a_segmentation_repeats_has_its_pages(tmp_path: Path, series: Path) -> None:
    for path in series.iterdir():
        dataset = dcmread(path)
        del dataset.StudyInstanceUID
        dataset.save_as(path)
    _, findings, _ = measured(tmp_path / "case", series)
    assert names(tmp_path / "case") >= FILES
    assert "segmentation.dcm" not in names(tmp_path / "case")
    (note,) = [note for note in findings["notes"] if "No DICOM segmentation was written" in note]
    assert "headers lack" in note
    assert "No DICOM segmentation was written" in (tmp_path / "case/segmentation/index.html").read_text()


@pytest.mark.parametrize("part", ["write_dicom_seg", "write_nifti", "read_volume"])
def test_what_was_not_foreseen_costs_no_inference(
    part: str, tmp_path: Path, series: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = {"fails": False}
    import agents.patient.volume as place

    honest = getattr(place, part)

    def breaks(*args: Any) -> Any:
        if part == "read_volume" and not real["fails"]:
            real["fails"] = True  # read once to be prepared
            return honest(*args)
        raise RuntimeError("a defect")

    monkeypatch.setattr(place, part, breaks)
    with caplog.at_level(logging.ERROR, "agents.patient.volume"):
        _, findings, mask = measured(tmp_path / "case", series)
    (note,) = [note for note in findings["notes"] if "not foreseen" in note]
    assert "RuntimeError" in note
    assert "a defect" in caplog.text
    assert mask.startswith(b"\x89PNG")
    if part == "write_dicom_seg":
        assert names(tmp_path / "case") >= FILES
