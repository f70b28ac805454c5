"""A volume's greys and uploads: gone when its case was refused or is over, and when the process died in between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest

from agents.engine.store import Store
from agents.patient.duty import PatientDuty
from agents.patient.leavings import clear, sweep
from agents.patient.session import PatientDesk, keep_upload
from agents.patient.volume import prepare_volume
from agents.patient.wishes import Wishes
from protocols.effects import Event
from protocols.errors import UserError
from tests.protocols.case.samples import volume_case

KEY = volume_case().key


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    made = np.random.default_rng(0).integers(-1000, 100, (32, 32, 4)).astype(np.int16)
    path = tmp_path / "chest.nii.gz"
    nibabel.save(nibabel.Nifti1Image(made, np.diag([5.0, 5, 8, 1])), path)
    return path


class Poor(PatientDuty):
    """A patient whose wallet is empty, without wire and chain."""

    def __init__(self, data: Path) -> None:
        self.setup: Any = SimpleNamespace(data=data)
        self.core: Any = SimpleNamespace(state=lambda key: None)
        self.begun: list[bool] = []

    async def begin(self, *args: Any) -> str:
        self.begun.append(any((self.setup.data / "cases").rglob("job.json")))
        raise UserError("the wallet is empty", "fill it")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_a_case_that_is_refused_leaves_no_greys(tmp_path: Path, scan: Path) -> None:
    duty = Poor(tmp_path / "data")
    with pytest.raises(UserError, match="wallet"):
        await duty.begin_volume(prepare_volume(scan, "z"), Wishes())
    assert duty.begun == [True], "they were there"
    assert files(tmp_path / "data") == []
    assert list((tmp_path / "data" / "cases").iterdir()) == []
    assert scan.exists(), "the patient's own file stays"


async def test_a_disk_that_is_full_leaves_no_greys(
    tmp_path: Path, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, prepared: Any) -> None:
        (folder / "work").mkdir(parents=True)
        (folder / "work" / "z.npy").write_bytes(b"greys")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("agents.patient.volume.begin_work", full)
    with pytest.raises(OSError, match="space"):
        await Poor(tmp_path / "data").begin_volume(prepare_volume(scan, "z"), Wishes())
    assert files(tmp_path / "data") == []


async def test_an_upload_whose_case_is_refused_goes(tmp_path: Path, scan: Path) -> None:
    duty = Poor(tmp_path / "data")
    desk = PatientDesk(duty, Wishes(axes="z", specialty="chest radiology"), "chest radiology")
    with pytest.raises(UserError, match="wallet"):
        await desk.submit(scan.read_bytes(), "x.nii.gz")
    assert duty.begun == [True]
    assert files(tmp_path / "data") == []


def leave(data: Path, key: str, scan: Path) -> dict[str, Any]:
    """A case's greys, mask and upload; what its state says of it."""
    kept = keep_upload(data / "given", scan.read_bytes())
    for name in ("work/z.npy", "segmentation/lung.nii.gz"):
        path = data / "cases" / key / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    return {"path": str(kept.resolve())}


def test_at_the_end_of_a_case_its_masks_alone_stay(tmp_path: Path, scan: Path) -> None:
    told = leave(tmp_path / "data", KEY, scan)
    duty: Any = PatientDuty.__new__(PatientDuty)
    duty.setup = SimpleNamespace(data=tmp_path / "data")
    duty.store = Store(None)
    case = volume_case("inferring")
    case = replace(case, volume=case.volume | prepare_volume(scan, "z").facts | told)
    with duty.store.transaction():
        case = replace(case, scan=duty.store.put_blob(b"scan"))
    over = replace(case, phase="failed", outcome="failed", trouble="no model is left")
    duty.describe(over, case, Event("tick"))
    left = files(tmp_path / "data")
    assert f"cases/{KEY}/segmentation/lung.nii.gz" in left
    assert not [name for name in left if "work" in name or "given" in name]


def test_a_file_that_the_patient_named_is_never_removed(tmp_path: Path, scan: Path) -> None:
    clear(tmp_path / "data", KEY, {"path": str(scan)})
    clear(tmp_path / "data", KEY, {"path": str(tmp_path / "data" / "given" / "scan.nii")})
    clear(tmp_path / "data", KEY, {})
    sweep(tmp_path / "data", [])
    assert scan.exists()


def test_what_a_process_that_died_left_is_swept(tmp_path: Path, scan: Path) -> None:
    data, runs, over = tmp_path / "data", "ab" * 16, "cd" * 16
    told = leave(data, runs, scan)
    leave(data, over, scan)
    leave(data, "ef" * 16, scan)
    (data / "cases" / ("12" * 16) / "work").mkdir(parents=True)  # refused: nothing but its greys
    case = replace(volume_case("inferring"), key=runs)
    sweep(data, [replace(case, volume=case.volume | told)])
    kept = [f"cases/{key}/segmentation/lung.nii.gz" for key in (runs, over, "ef" * 16)]
    upload = str(Path(told["path"]).relative_to(data.resolve()))
    assert files(data) == sorted([*kept, str(Path("cases", runs, "work", "z.npy")), upload])
    assert not (data / "cases" / ("12" * 16)).exists()
    assert len(list((data / "given").iterdir())) == 1


def test_an_agent_sweeps_before_it_begins(
    tmp_path: Path, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path / "data", KEY, scan)

    def started(duty: Any, setup: Any) -> None:
        duty.setup, duty.store = setup, Store(None)
        duty.contracts = SimpleNamespace(terms=object())
        duty.core = SimpleNamespace(states=lambda open_only: [])

    monkeypatch.setattr("agents.engine.duty.Duty.__init__", started)
    PatientDuty(SimpleNamespace(data=tmp_path / "data", options={}))  # type: ignore[arg-type]
    assert files(tmp_path / "data") == [f"cases/{KEY}/segmentation/lung.nii.gz"]
