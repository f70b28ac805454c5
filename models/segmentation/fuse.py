"""From probabilities along the axes to masks.

Means over the axes count z twice, which sees slices as they were taken (`WEIGHTS`). The lung is where the mean reaches
a half, without pieces below a twentieth of the largest and with holes filled slice by slice. An infection is where it
reaches `INFECTION` within the lung, grown by a voxel: what lies at its rim was often left out of it, and joins it so.
Weights and floors were chosen on networks that held out other volumes than those of the suite. BUNET asks for a sum
above 2 of three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.segmentation.grid import Geometry, between

Bools = NDArray[np.bool_]
Probabilities: TypeAlias = NDArray[np.uint8]  # (planes, grid, grid), 255 is certain
LUNG, INFECTION = 0.5, 0.4
WEIGHTS = {"x": 1.0, "y": 1.0, "z": 2.0}
_LEAST_PIECE = 0.05  # of the largest piece of lung
_AT_ONCE = 8
_COUNTED = 1 << 20  # voxels counted at once


def fused(
    sweeps: Mapping[str, Probabilities], slices: int, weights: Mapping[str, float] = WEIGHTS
) -> Iterator[NDArray[np.float32]]:
    """The weighted mean probability over the axes, slice by slice: (grid, grid), rows along y, columns along x.

    sweeps: by axis; z is (slices, y, x), x is (grid: x, z, y), y is (grid: y, z, x).
    """
    for number in range(slices):
        total: NDArray[np.float32] = np.float32(0)  # type: ignore[assignment]
        for axis, planes in sweeps.items():
            total = total + np.float32(weights[axis]) * _seen(axis, planes, number, slices)
        yield total / np.float32(255 * sum(weights[axis] for axis in sweeps))


def _seen(axis: str, planes: Probabilities, number: int, slices: int) -> NDArray[np.float32]:
    if axis == "z":
        own: NDArray[np.float32] = planes[number].astype(np.float32)
        return own
    rows = planes.transpose(1, 2, 0) if axis == "x" else planes.transpose(1, 0, 2)  # (z, y, x)
    count = len(rows)
    return between(rows, (number + 0.5) * count / slices - 0.5)


def cut(
    planes: Iterator[NDArray[np.float32]],
    geometry: Geometry,
    slices: int,
    floor: float,
    step: Callable[[], None],
) -> Bools:
    """Where the probability reaches a floor, in the volume's own frame: (X, Y, Z). step: called for every slice."""
    width, height = geometry.voxels
    mask = np.zeros((width, height, slices), np.bool_)
    held: list[NDArray[np.float32]] = []
    done = 0
    for plane in planes:
        held.append(plane)
        step()
        if len(held) == _AT_ONCE or done + len(held) == slices:
            mask[:, :, done : done + len(held)] = (geometry.back(np.stack(held)) >= floor).transpose(2, 1, 0)
            done += len(held)
            held = []
    return mask


def tidied(lung: Bools) -> Bools:
    """Without small pieces, holes filled in every slice along z. Beside the result it takes four bytes a voxel."""
    labels, count = ndimage.label(lung)
    flat, sizes = labels.reshape(-1), np.zeros(count + 1, np.int64)
    for start in range(0, flat.size, _COUNTED):  # numpy counts and selects by 64-bit copies of the labels
        sizes += np.bincount(flat[start : start + _COUNTED], minlength=count + 1)
    sizes[0] = 0
    kept = sizes >= _LEAST_PIECE * sizes.max()
    kept[0] = False
    made = np.empty_like(lung)
    for number in range(lung.shape[2]):
        made[:, :, number] = ndimage.binary_fill_holes(kept[labels[:, :, number]])
    return made


def within(infection: Bools, lung: Bools) -> Bools:
    """The infection that lies in the lung or touches it in its slice."""
    made = np.empty_like(infection)
    for number in range(lung.shape[2]):
        made[:, :, number] = infection[:, :, number] & ndimage.binary_dilation(lung[:, :, number])
    return made
