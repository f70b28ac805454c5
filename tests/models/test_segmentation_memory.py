"""Masks are tidied and greys sampled as by the short formulas, without their copies of the volume."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from volume_files import affine_of, write_nii

from models.segmentation import grid
from models.segmentation.fuse import tidied
from models.volumes import read_volume


def by_formula(lung: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(lung)
    if count > 1:
        sizes = np.bincount(labels.reshape(-1))
        sizes[0] = 0
        lung = (sizes >= 0.05 * sizes.max())[labels]
    return np.stack([ndimage.binary_fill_holes(lung[:, :, z]) for z in range(lung.shape[2])], axis=2)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.2, 0.31, 0.6, 1.0])
def test_tidied_as_by_the_formula(share: float) -> None:
    rng = np.random.default_rng(7)
    lung = rng.random((130, 110, 90)) < share  # more voxels than are counted at once
    if 0 < share < 1:
        lung[10:60, 10:60, 10:60] = True
        lung[20:30, 20:30, 12] = False  # a hole in one slice
        lung[100:120, 80:100, 60:80] = True  # a second piece that is large enough
    given = lung.copy()
    assert np.array_equal(tidied(lung), by_formula(lung))
    assert np.array_equal(lung, given)


def test_tidied_takes_few_bytes_a_voxel() -> None:
    lung = np.zeros((160, 160, 160), np.bool_)
    lung[10:60, 10:150, 10:150] = lung[90:150, 10:150, 10:150] = True
    tracemalloc.start()
    tidied(lung)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * lung.size


@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_the_sample_of_greys_is_that_of_the_whole(
    tmp_path: Path, flip: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(3).integers(0, 3000, (200, 200, 60)).astype(np.uint16)
    values[:, :100] //= 7
    volume = read_volume(write_nii(tmp_path / "a.nii", values, affine_of() @ np.diag([flip, 1.0, 1.0, 1.0])))
    assert volume.units == "grey"
    monkeypatch.setattr(grid, "_SAMPLE", 1 << 16)
    sample = volume.values.reshape(-1)[:: volume.values.size // (1 << 16)].astype(np.float32)
    tracemalloc.start()
    grey = grid.Grey(volume)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    low, high = np.percentile(sample, (0.5, 99.5))
    assert grey.note.startswith(f"Values {low:g} to {high:g} ")
    assert peak < volume.values.nbytes / 2
