"""From a volume to images and from logits to masks: orientation, geometry, resuming. The network here is a threshold,
so that what comes out must be what went in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.segmentation.grid import Geometry, Grey, between, through, whole
from models.segmentation.job import Job, empty_planes
from models.segmentation.measure import dice, percent_of, severity
from models.segmentation.plan import Plan, make_plan
from models.volumes import Volume, read_volume
from protocols.errors import UserError


def volume_of(
    folder: Path, values: NDArray[Any], spacing: tuple[float, float, float] = (2.0, 2.0, 3.0), name: str = "v"
) -> Volume:
    path = folder / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(values, np.diag([*spacing, 1.0])), path)
    return read_volume(path)


def lopsided(shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """A body that looks different from every side and has no two axes alike."""
    x, y, z = (
        np.linspace(0, 1, n)[:, None, None].transpose(p)
        for n, p in zip(shape, ((0, 1, 2), (1, 0, 2), (1, 2, 0)), strict=True)
    )
    body = (np.abs(x - 0.35) < 0.25) & (np.abs(y - 0.6) < 0.3) & (np.abs(z - 0.45) < 0.35)
    return np.asarray(body & ~((x > 0.45) & (y < 0.5)) & ~((z > 0.6) & (y > 0.7)))


def read_off(job: Job, count: int | None = None) -> None:
    """A network that says yes where the middle slice is bright."""
    for batch in job.pending()[:count]:
        job.put(batch, np.where(job.images(batch)[:, 2:3] > 0, 9.0, -9.0))


@pytest.mark.parametrize("axes", ["z", "x", "y", "xy", "xyz"])
def test_a_mask_comes_back_where_it_was_along_every_axis(tmp_path: Path, axes: str) -> None:
    body = lopsided((128, 128, 40))
    volume = volume_of(tmp_path, (body * 200 + 20).astype(np.uint8))
    job = Job.begin(tmp_path / "job", volume, make_plan(40, axes, batch=16))
    read_off(job)
    masks = job.finish()
    least = 0.999 if axes == "z" else 0.97  # the cube of x and y has other planes than the volume along z
    assert dice(masks.lung, body) > least
    assert dice(masks.infection, body) > least


def test_another_shape_and_spacing_come_back_in_their_own_frame(tmp_path: Path) -> None:
    body = lopsided((200, 150, 30))
    volume = volume_of(tmp_path, (body * 200 + 20).astype(np.uint8), (1.0, 1.5, 4.0))
    job = Job.begin(tmp_path / "job", volume, make_plan(30, "xyz", batch=16))
    read_off(job)
    masks = job.finish()
    assert masks.lung.shape == (200, 150, 30)
    assert dice(masks.lung, body) > 0.95


def test_a_volume_stored_backwards_gives_the_same_masks(tmp_path: Path) -> None:
    body = lopsided((128, 128, 24))
    values = (body * 200 + 20).astype(np.uint8)
    told = []
    for name, array, affine in (
        ("ras", values, np.diag([2.0, 2.0, 3.0, 1.0])),
        ("lps", values[::-1, ::-1], np.diag([-2.0, -2.0, 3.0, 1.0])),
    ):
        nib.save(nib.Nifti1Image(np.ascontiguousarray(array), affine), tmp_path / f"{name}.nii.gz")
        job = Job.begin(tmp_path / name, read_volume(tmp_path / f"{name}.nii.gz"), make_plan(24, "z"))
        read_off(job)
        told.append(job.finish().lung)
    assert np.array_equal(told[0], told[1])


@settings(max_examples=25, deadline=None)
@given(st.integers(20, 400), st.integers(20, 400), st.floats(0.3, 3), st.floats(0.3, 3))
def test_the_longer_side_fills_the_grid(width: int, height: int, sx: float, sy: float) -> None:
    class Told:
        values = np.empty((width, height, 2), np.uint8)
        spacing = (sx, sy, 1.0)

    geometry = Geometry.of(Told(), 128)  # type: ignore[arg-type]
    assert max(geometry.inner) == 128
    ratio = (geometry.inner[0] / (width * sx)) / (geometry.inner[1] / (height * sy))
    assert ratio == pytest.approx(1, abs=0.51 / min(geometry.inner) + 0.01) or min(geometry.inner) == 1
    planes = np.random.default_rng(0).random((1, height, width), np.float32)
    assert geometry.back(geometry.into(planes, 0.0)).shape == planes.shape


@pytest.mark.parametrize("count", [4, 7, 16, 40])
def test_planes_through_a_stack_keep_its_mean(count: int) -> None:
    stack = np.random.default_rng(1).integers(0, 255, (16, 3, 3)).astype(np.uint8)
    planes = np.stack([through(stack, count, number) for number in range(count)])
    assert planes.mean() == pytest.approx(stack.mean(), abs=6 if count > 16 else 1e-3)
    if count == 16:
        assert np.array_equal(planes, stack)


def test_between_two_planes_and_beyond_them() -> None:
    stack = np.array([[[0.0]], [[10.0]]], np.float32)
    assert [float(between(stack, place)[0, 0]) for place in (-3, 0, 0.25, 1, 9)] == [0, 0, 2.5, 10, 10]


def test_greys_of_hounsfield_units_greys_and_other_scales(tmp_path: Path) -> None:
    ramp = np.linspace(-1024, 2000, 32 * 32 * 4).reshape(32, 32, 4)
    hounsfield = volume_of(tmp_path, ramp.astype(np.int16), name="hu")
    assert hounsfield.units == "HU"
    told = Grey(hounsfield).of(np.array([-2000, -1000, -850, 40, 3000], np.float32))
    assert told.tolist() == [0, 25, 65, 158, 255]
    grey = volume_of(
        tmp_path, np.linspace(0, 255, ramp.size).reshape(ramp.shape).astype(np.uint8), name="grey"
    )
    assert np.array_equal(whole(grey), grey.values)
    unit = volume_of(
        tmp_path, np.linspace(0, 1, ramp.size).reshape(ramp.shape).astype(np.float32), name="unit"
    )
    made = whole(unit)
    assert made.min() == 0
    assert made.max() == 255
    assert "no unit" in Grey(unit).note


def test_a_job_goes_on_where_it_was(tmp_path: Path) -> None:
    body = lopsided((128, 128, 12))
    volume, plan = volume_of(tmp_path, (body * 200 + 20).astype(np.uint8)), make_plan(12, "z", batch=5)
    folder = tmp_path / "job"
    job = Job.begin(folder, volume, plan)
    read_off(job, 2)
    done = folder / "done"
    done.write_bytes(done.read_bytes() + b"3")  # a line that a kill cut short
    assert Job.holds(folder, volume, plan)
    again = Job.resume(folder)
    assert [batch.numbers for batch in again.pending()] == [
        (10, 11),
        (0, 1, 2, 3, 4),
        (5, 6, 7, 8, 9),
        (10, 11),
    ]
    assert again.images_done == 10
    with pytest.raises(UserError, match="missing"):
        again.finish()
    read_off(again)
    last = Job.resume(folder)
    assert last.pending() == []
    assert dice(last.finish().lung, body) > 0.999


def test_a_job_of_another_volume_or_plan_is_not_taken_up(tmp_path: Path) -> None:
    body = lopsided((128, 128, 12))
    volume, plan = volume_of(tmp_path, (body * 200 + 20).astype(np.uint8)), make_plan(12, "z")
    Job.begin(tmp_path / "job", volume, plan)
    other = volume_of(tmp_path, (body * 201 + 20).astype(np.uint8), name="other")
    assert not Job.holds(tmp_path / "job", other, plan)
    assert not Job.holds(tmp_path / "job", volume, make_plan(12, "xz"))
    assert not Job.holds(tmp_path / "nowhere", volume, plan)
    assert not Job.holds(tmp_path / "job", volume, plan, "of other networks")
    (tmp_path / "job" / "job.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        Job.resume(tmp_path / "job")


def test_logits_of_another_shape_are_refused(tmp_path: Path) -> None:
    volume = volume_of(tmp_path, (lopsided((128, 128, 4)) * 200).astype(np.uint8))
    job = Job.begin(tmp_path / "job", volume, make_plan(4, "z", batch=2))
    with pytest.raises(UserError, match="another shape"):
        job.put(job.pending()[0], np.zeros((2, 64, 64)))
    assert job.images_done == 0


def test_empty_slices_are_left_out_only_when_asked(tmp_path: Path) -> None:
    values = (lopsided((128, 128, 12)) * 200 + 20).astype(np.uint8)
    volume = volume_of(tmp_path, values)
    flat = [n for n in range(12) if np.ptp(values[:, :, n]) == 0]
    assert flat
    assert empty_planes(volume, "xyz") == {"z": tuple(flat)}
    assert make_plan(12, "z").images == 24
    assert make_plan(12, "z", skipped=empty_planes(volume, "z")).images == 2 * (12 - len(flat))


def test_the_plan_depends_on_the_shape_alone() -> None:
    plan = make_plan(30, "xyz", batch=7)
    assert plan.images == 2 * (128 + 128 + 30)
    for place, sweep in enumerate(plan.sweeps):
        numbers = [n for batch in plan.batches() if batch.sweep == place for n in batch.numbers]
        assert numbers == list(range(plan.planes(sweep.axis)))
    assert Plan.from_plain(plan.to_plain()) == plan


@pytest.mark.parametrize(
    "changed",
    [
        {"grid": 100},
        {"slices": 1},
        {"axes": "zz"},
        {"axes": "zx"},
        {"axes": ""},
        {"batch": 0},
        {"slices": True},
        {"skipped": {"q": [1]}},
        {"skipped": {"z": [99]}},
        {"skipped": {"z": [0] * 25}},
        {"axes": "z", "skipped": {"z": list(range(30))}},
        {"axes": 3},
    ],
)
def test_a_plan_that_cannot_be_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        Plan.from_plain(make_plan(30, "xyz").to_plain() | changed)


def test_what_is_told_of_masks() -> None:
    lung, infection = np.zeros((4, 4, 4), np.bool_), np.zeros((4, 4, 4), np.bool_)
    assert dice(lung, infection) == 1
    assert percent_of(infection, lung) is None
    lung[:2] = True
    infection[0, 0] = True
    assert dice(lung, infection) == pytest.approx(2 * 4 / 36)
    assert percent_of(infection, lung) == 12.5
    words = [severity(share) for share in (None, 0.0, 0.2, 5.0, 25.0, 60.0)]
    assert words == ["unknown", "none", "mild", "moderate", "severe", "critical"]
