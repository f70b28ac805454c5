"""What a patient gives as a volume: how it is taken, what its panel is shown, what is refused."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
from chests import chest, write_chest
from PIL import Image

from agents.patient.montage import MOST_TILES, SIDE, montage, overlay
from agents.patient.session import PatientDesk, keep_upload, read_given
from agents.patient.volume import Prepared, begin_work, left_words, prepare_volume
from agents.patient.wishes import Wishes
from models.scans import Scan, sample_scan_path, to_png
from models.segmentation.job import Job
from models.volumes import read_volume
from protocols.case.volume import layout_of, png_size
from protocols.errors import ScanError, UserError
from tests.protocols.case.samples import volume_case


def options(**more: Any) -> dict[str, Any]:
    return {"specialty": None, "slice_": None, "axes": "z", "batch": 2, "skip_empty": False} | more


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_chest(tmp_path / "chest.nii.gz", slices=5)


# ---- how a file is taken
def test_a_ct_volume_is_taken_for_one(scan: Path, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "chest.npz", array=chest())
    for path in (scan, tmp_path / "chest.npz"):
        field, given = read_given(path, options())
        assert field == "chest radiology"
        assert isinstance(given, Prepared)
        assert given.picture.modality == "CT"


def test_a_slice_of_a_volume_and_a_picture_are_what_they_were(tmp_path: Path, scan: Path) -> None:
    field, given = read_given(sample_scan_path(), options())
    assert (field, isinstance(given, Scan)) == ("neuroradiology", True)
    brain = np.random.default_rng(0).integers(0, 255, (40, 40, 6)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(brain, np.eye(4)), tmp_path / "brain.nii.gz")
    field, given = read_given(tmp_path / "brain.nii.gz", options())
    assert (field, isinstance(given, Scan)) == ("neuroradiology", True)
    field, given = read_given(scan, options(slice_=1))
    assert (field, isinstance(given, Scan)) == ("neuroradiology", True)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a slice of a volume that is segmented": ({"specialty": "chest radiology", "slice_": 1}, "--slice"),
    "a specialty that there is not": ({"specialty": "cardiology"}, "there is no specialty"),
    "axes that there are not": ({"axes": "zq"}, "no axes"),
    "axes in another order": ({"axes": "zx"}, "no axes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wish_that_cannot_be_is_one_sentence(name: str, scan: Path) -> None:
    more, words = REFUSED[name]
    with pytest.raises(UserError, match=words):
        read_given(scan, options(**more))


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    chosen = options(specialty="chest radiology")
    (tmp_path / "text.nii.gz").write_bytes(b"no volume")
    (tmp_path / "empty").mkdir()
    for name in ("text.nii.gz", "missing.nii.gz", "empty"):
        with pytest.raises(ScanError):
            read_given(tmp_path / name, chosen)
    with pytest.raises(ScanError):
        read_given(sample_scan_path(), chosen)


def test_a_volume_over_the_limit_is_refused_with_the_limit(
    scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.patient.volume.MAX_IMAGES", 9)
    with pytest.raises(UserError, match="10 images to be evaluated, and the limit is 9"):
        prepare_volume(scan, "z")


def test_an_upload_keeps_its_kind_and_loses_its_name(tmp_path: Path, scan: Path) -> None:
    kept = keep_upload(tmp_path / "given", scan.read_bytes())
    assert kept.name == "scan.nii.gz"
    assert kept.stat().st_mode & 0o077 == 0
    assert read_volume(kept).values.shape == (64, 64, 5)


def test_empty_slices_are_left_out_when_the_patient_allows_it(tmp_path: Path) -> None:
    made = chest(slices=6)
    made[:, :, 0] = -1000
    nibabel.save(nibabel.Nifti1Image(made, np.diag([5.0, 5, 8, 1])), tmp_path / "c.nii.gz")
    assert prepare_volume(tmp_path / "c.nii.gz", "z").facts["images"] == 12
    assert prepare_volume(tmp_path / "c.nii.gz", "z", skip_empty=True).facts["images"] == 10


def test_the_work_begins_on_disk(tmp_path: Path, scan: Path) -> None:
    prepared = prepare_volume(scan, "z", 2)
    begin_work(tmp_path / "case", prepared)
    job = Job.resume(tmp_path / "case" / "work")
    assert len(job.pending()) == prepared.facts["batches"] == 6
    assert (tmp_path / "case").stat().st_mode & 0o077 == 0


# ---- what the panel reads
def test_the_picture_holds_every_slice_as_radiologists_see_it() -> None:
    values = np.full((32, 32, 4), -1000, np.int16)
    for number in range(4):
        values[24:, 24:, number] = 100  # to the patient's right, in front
    volume: Any = SimpleNamespace(
        values=values, units="HU", slope=1.0, intercept=0.0, spacing=(1.0, 1.0, 1.0)
    )
    picture, layout = montage(volume)
    assert (layout["columns"], layout["rows"], layout["slices"], layout["of"]) == (2, 2, [0, 1, 2, 3], 4)
    assert layout_of(layout) == {"columns": 2, "rows": 2, "shown": 4, "of": 4}
    wide, tall = layout["tile"]
    for row in range(2):
        for column in range(2):
            tile = picture.pixels[row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
            assert tile[: tall // 8, : wide // 8].mean() > 0.9, "front up, the patient's right on the left"
            assert tile[tall // 2 :, wide // 2 :].mean() < 0.3


def test_many_slices_are_shown_evenly_and_within_bounds() -> None:
    values = np.random.default_rng(1).integers(-1000, 200, (300, 200, 150)).astype(np.int16)
    volume: Any = SimpleNamespace(
        values=values, units="HU", slope=1.0, intercept=0.0, spacing=(0.7, 0.7, 1.0)
    )
    picture, layout = montage(volume)
    assert len(layout["slices"]) == MOST_TILES
    assert (layout["slices"][0], layout["slices"][-1]) == (0, 149)
    assert max(picture.shape) <= SIDE
    assert layout["tile"][0] > layout["tile"][1], "as wide and as high as it is in millimetres"


def test_the_mask_is_painted_on_the_very_picture(scan: Path) -> None:
    prepared = prepare_volume(scan, "z")
    png = to_png(prepared.picture, 2048)
    lung, sick = np.zeros((64, 64, 5), bool), np.zeros((64, 64, 5), bool)
    lung[8:24, 20:40], sick[12:16, 24:28, 2] = True, True
    shown = overlay(png, prepared.facts["layout"], lung, sick)
    assert png_size(shown) == png_size(png)
    before = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    after = np.asarray(Image.open(io.BytesIO(shown)).convert("RGB")).astype(int)
    red = (after - before)[..., 0] > 20
    wide, tall = prepared.facts["layout"]["tile"]
    column, row = 2 % prepared.facts["layout"]["columns"], 2 // prepared.facts["layout"]["columns"]
    inside = np.zeros_like(red)
    inside[row * tall : (row + 1) * tall, column * wide : (column + 1) * wide] = True
    assert red.any()
    assert not (red & ~inside & (after[..., 2] < after[..., 0])).any(), "infection on its own slice alone"


@pytest.mark.parametrize("told", [None, 5, {}, {"slices": [1], "columns": 0, "rows": 1, "of": 1}])
@pytest.mark.parametrize("more", [{}, {"slices": [1, 2, 3], "columns": 1, "rows": 2, "of": 9}])
def test_a_layout_that_is_none_is_none(told: Any, more: dict[str, Any]) -> None:
    assert layout_of(more if isinstance(told, dict) and more else told) == {}


# ---- the page
class Begun:
    """A patient's agent that only notes what is begun."""

    def __init__(self, folder: Path) -> None:
        self.setup = SimpleNamespace(data=folder)
        self.begun: list[tuple[str, str]] = []

    async def begin(self, scan: Scan, wishes: Wishes) -> str:
        self.begun.append(("picture", wishes.specialty))
        return "key"

    async def begin_volume(self, prepared: Prepared, wishes: Wishes) -> str:
        self.begun.append(("volume", wishes.specialty))
        return "key"


async def test_what_comes_over_the_page_is_taken_for_what_it_is(tmp_path: Path, scan: Path) -> None:
    duty = Begun(tmp_path)
    brain = np.random.default_rng(0).integers(0, 255, (40, 40, 6)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(brain, np.eye(4)), tmp_path / "brain.nii.gz")
    desk = PatientDesk(duty, Wishes(axes="z"))  # type: ignore[arg-type]
    for path in (sample_scan_path(), tmp_path / "brain.nii.gz", scan):
        await desk.submit(path.read_bytes(), "Jane Doe.nii.gz")
    kinds = [("picture", "neuroradiology"), ("picture", "neuroradiology"), ("volume", "chest radiology")]
    assert duty.begun == kinds
    assert len(list((tmp_path / "given").iterdir())) == 1, "only the volume is kept"
    with pytest.raises(ScanError):
        await desk.submit(b"\x1f\x8b no volume", "x")
    assert len(list((tmp_path / "given").iterdir())) == 1
    chest_desk = PatientDesk(duty, Wishes(axes="z", specialty="chest radiology"), "chest radiology")  # type: ignore[arg-type]
    with pytest.raises(ScanError):
        await chest_desk.submit(sample_scan_path().read_bytes(), "x.png")


def test_the_page_says_how_far_a_volume_is() -> None:
    volumes = SimpleNamespace(left={"ab" * 16: "about 4 min left"})
    desk = PatientDesk(SimpleNamespace(volumes=volumes), Wishes())  # type: ignore[arg-type]
    case = volume_case("inferring", served={"images": 4, "bytes": 9, "seconds": 1.0})
    assert "4 of 8 images are done, about 4 min left" in desk._case(case).text
    volumes.left.clear()
    assert desk._case(case).text.endswith("4 of 8 images are done.")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "about 1 s left"), (89, "about 89 s left"), (240, "about 4 min left"), (7200, "2.0 h")],
)
def test_how_long_it_takes_yet(seconds: float, words: str) -> None:
    assert words in left_words(seconds)
