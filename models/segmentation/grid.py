"""From a volume to the grid that the networks read, and from probabilities on the grid back to the volume.

Greys. The networks learnt on greys 0..255, from volumes whose contrast had been equalised: air near 25, lung near 65,
soft tissue near 158 (medians). Hounsfield units are brought there by `HU_TO_GREY`, straight lines between tissues;
greys 0..255 stay; other scales are stretched from their percentiles 0.5 and 99.5.

Geometry. In the plane, one grid step is the same length along both sides: the longer side of the slice fills the
grid, the shorter one is centred between rows of the darkest grey. Pixels are averaged where the grid is coarser and
interpolated linearly where it is finer. Through the plane, the z sweep keeps the volume's own slices; the x and y
sweeps read a cube, whose `grid` planes along z span the whole stack. Back, probabilities take the same way in the
other direction and are cut at the end, so a mask has the volume's own shape and frame, and nothing is shifted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.volumes import Volume

Greys = NDArray[np.uint8]
HU_TO_GREY = ((-1160.0, 0.0), (-1000.0, 25.0), (-850.0, 65.0), (40.0, 158.0), (400.0, 215.0), (1000.0, 255.0))
_PERCENTILES = (0.5, 99.5)
_SAMPLE = 1 << 22  # voxels of which percentiles are taken
_SLAB = 16  # slices at a time


@dataclass(frozen=True)
class Geometry:
    """Where a slice of (X, Y) voxels lies in a grid of side `grid`: `inner` pixels from `corner` on, both (x, y)."""

    grid: int
    voxels: tuple[int, int]
    inner: tuple[int, int]
    corner: tuple[int, int]

    @classmethod
    def of(cls, volume: Volume, grid: int) -> Geometry:
        """For one volume."""
        width, height = volume.values.shape[:2]
        sides = width * volume.spacing[0], height * volume.spacing[1]
        step = max(sides) / grid
        inner = tuple(min(grid, max(1, round(side / step))) for side in sides)
        return cls(
            grid, (width, height), (inner[0], inner[1]), ((grid - inner[0]) // 2, (grid - inner[1]) // 2)
        )

    def into(self, slices: NDArray[np.float32], fill: float) -> NDArray[np.float32]:
        """Slices (n, Y, X) onto the grid: (n, grid, grid)."""
        made = np.full((len(slices), self.grid, self.grid), fill, np.float32)
        (x, y), (wide, high) = self.corner, self.inner
        made[:, y : y + high, x : x + wide] = resized(slices, (high, wide))
        return made

    def back(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """The way back: (n, grid, grid) to (n, Y, X)."""
        (x, y), (wide, high) = self.corner, self.inner
        return resized(planes[:, y : y + high, x : x + wide], (self.voxels[1], self.voxels[0]))


def resized(planes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(n, H, W) to (n, *size): averages where it shrinks, linear where it grows, edges on edges."""
    if planes.shape[1:] == size:
        return planes
    given = torch.from_numpy(np.ascontiguousarray(planes))[None]
    made = functional.interpolate(given, size=size, mode="bilinear", align_corners=False, antialias=True)
    result: NDArray[np.float32] = made[0].numpy()
    return result


class Grey:
    """What brings a volume's values to greys 0..255. note: a sentence on it for the user, "" where nothing was done."""

    def __init__(self, volume: Volume) -> None:
        self._from, self._to = (np.array(row, np.float32) for row in zip(*HU_TO_GREY, strict=True))
        self.note = ""
        if volume.units == "HU":
            self.note = (
                f"Hounsfield units were taken as greys, {self._from[0]:g} as black and {self._from[-1]:g} as white; "
                "the networks learnt on greys alone."
            )
            return
        apart = max(1, volume.values.size // _SAMPLE)
        stored = volume.values.flat[::apart]  # no copy of the whole, whatever its order in memory
        sample = stored.astype(np.float32) * volume.slope + volume.intercept
        low, high = 0.0, 255.0
        if not (sample.min() >= 0 and 64 < sample.max() <= 255):
            low, high = (float(value) for value in np.percentile(sample, _PERCENTILES))
            if high <= low:
                low, high = float(sample.min()), float(max(sample.max(), sample.min() + 1))
            self.note = f"Values {low:g} to {high:g} were taken as black to white: the file tells no unit."
        self._from, self._to = np.array([low, high], np.float32), np.array([0, 255], np.float32)

    def of(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Greys 0..255, not rounded."""
        made: NDArray[np.float32] = np.interp(values, self._from, self._to).astype(np.float32)
        return made


def slabs(volume: Volume, grey: Grey, at_once: int = _SLAB) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The volume in slices (n, Y, X) as greys, with the number of the first."""
    for start in range(0, volume.values.shape[2], at_once):
        stored = volume.values[:, :, start : start + at_once].astype(np.float32)
        yield (
            start,
            grey.of((stored * np.float32(volume.slope) + np.float32(volume.intercept)).transpose(2, 1, 0)),
        )


def through(planes: Greys, count: int, number: int) -> NDArray[np.float32]:
    """Plane `number` of `count` that span the stack of planes (Z, H, W): averages where there are fewer than Z."""
    place, width = positions(len(planes), count, number)
    if width <= 1:
        return between(planes, place)
    first, last = place - width / 2 + 0.5, place + width / 2 + 0.5
    total = np.zeros(planes.shape[1:], np.float32)
    for at in range(max(0, int(first)), min(len(planes), int(np.ceil(last)))):
        total += planes[at] * np.float32(max(0.0, min(at + 1, last) - max(at, first)))
    return total / np.float32(min(last, len(planes)) - max(first, 0.0))


def positions(planes: int, count: int, number: int) -> tuple[float, float]:
    """Where plane `number` of `count` lies among `planes`, and how many of them it covers."""
    width = planes / count
    return (number + 0.5) * width - 0.5, width


def between(planes: NDArray[np.generic], place: float) -> NDArray[np.float32]:
    """The plane at a place between two, linearly; the outermost beyond the ends."""
    place = min(max(place, 0.0), len(planes) - 1.0)
    low = int(place)
    high, part = min(low + 1, len(planes) - 1), np.float32(place - low)
    made: NDArray[np.float32] = planes[low] * (1 - part) + planes[high] * part
    return made


def whole(volume: Volume) -> Greys:
    """The volume as greys at its own size, (X, Y, Z): for looking at."""
    grey, made = Grey(volume), np.empty(volume.values.shape, np.uint8)
    for start, planes in slabs(volume, grey):
        made[:, :, start : start + len(planes)] = np.rint(planes).astype(np.uint8).transpose(2, 1, 0)
    return made
