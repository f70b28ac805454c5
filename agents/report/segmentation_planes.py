"""How a slice of a volume lies on a picture: the display that radiologists use.

Arrays are (X, Y, Z), whose axes run to the patient's right, front and head. On a picture the patient's right is at
the left, the front is at the top of an axial slice and at the left of a sagittal one, and the head is at the top.
So every picture is the slice turned round along both of its axes and transposed: row 0 is the far end of one
axis, column 0 the far end of the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Spacing: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Plane:
    """One way of cutting a volume. Letters name what lies at the picture's edges, ends what the axis runs between."""

    key: str
    axis: int
    columns: int
    rows: int
    name: str
    edges: tuple[str, str, str, str]  # left, right, top, bottom
    ends: tuple[str, str]  # at index 0, at the last index

    def picture(self, values: NDArray[Any], index: int) -> NDArray[Any]:
        """Slice `index` as (rows, columns), a view."""
        cut: list[slice | int] = [slice(None, None, -1)] * 3
        cut[self.axis] = index
        return values[tuple(cut)].T

    def size_mm(self, shape: tuple[int, ...], spacing: Spacing) -> tuple[float, float]:
        """Width and height of a picture."""
        return shape[self.columns] * spacing[self.columns], shape[self.rows] * spacing[self.rows]


AXIAL = Plane("z", 2, 0, 1, "Axial", ("R", "L", "A", "P"), ("feet", "head"))
CORONAL = Plane("y", 1, 0, 2, "Coronal", ("R", "L", "S", "I"), ("back", "front"))
SAGITTAL = Plane("x", 0, 1, 2, "Sagittal", ("A", "P", "S", "I"), ("left", "right"))
PLANES = (AXIAL, CORONAL, SAGITTAL)


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """What the pages show: grey values and marks of one shape (X, Y, Z), spacing in mm; nothing copies them whole."""

    grey: NDArray[np.uint8]
    lung: NDArray[np.bool_]
    infection: NDArray[np.bool_]
    labels: NDArray[np.bool_] | None
    spacing: Spacing

    def __post_init__(self) -> None:
        masks = [mask for mask in (self.lung, self.infection, self.labels) if mask is not None]
        if self.grey.ndim != 3 or 0 in self.grey.shape or any(m.shape != self.grey.shape for m in masks):
            raise ValueError("grey values and marks must be volumes of one shape")
        if self.grey.dtype != np.uint8 or any(mask.dtype != np.bool_ for mask in masks):
            raise ValueError("grey values must be uint8 and marks bool")
        if len(self.spacing) != 3 or not all(0 < step < float("inf") for step in self.spacing):
            raise ValueError("spacing must be three lengths in mm")

    @property
    def shape(self) -> tuple[int, int, int]:
        x, y, z = self.grey.shape
        return x, y, z


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Voxels marked in each slice along one axis."""

    lung: NDArray[np.int64]
    infection: NDArray[np.int64]
    labels: NDArray[np.int64]

    def percents(self) -> list[float | None]:
        """Infection as percent of lung in each slice, at most 100; None where there is no lung."""
        pairs = zip(self.lung.tolist(), self.infection.tolist(), strict=True)
        return [min(100.0, 100 * part / whole) if whole else None for whole, part in pairs]


def count(study: Study, plane: Plane) -> Counts:
    """Slice by slice, so that nothing of the volume's size is made."""
    found = np.zeros((3, study.shape[plane.axis]), np.int64)
    for row, mask in enumerate((study.lung, study.infection, study.labels)):
        if mask is not None:
            found[row] = [np.count_nonzero(plane.picture(mask, index)) for index in range(found.shape[1])]
    return Counts(found[0], found[1], found[2])


def shrink(picture: NDArray[np.uint8], down: int, across: int) -> NDArray[np.uint8]:
    """Rounded means over blocks of `down` rows and `across` columns; the far edges are repeated to fill blocks."""
    if down == across == 1:
        return picture
    area = down * across
    total = np.full(_blocks(picture.shape, down, across), area // 2, np.uint32)
    for part in _parts(picture, down, across):
        total += part
    return (total // area).astype(np.uint8)


def shrink_mask(picture: NDArray[np.bool_], down: int, across: int) -> NDArray[np.bool_]:
    """The same for a mark: a block is marked where any of it is, so that no small mark is lost from sight."""
    if down == across == 1:
        return picture
    marked = np.zeros(_blocks(picture.shape, down, across), np.bool_)
    for part in _parts(picture, down, across):
        marked |= part
    return marked


def _blocks(shape: tuple[int, ...], down: int, across: int) -> tuple[int, int]:
    return -(-shape[0] // down), -(-shape[1] // across)


def _parts(picture: NDArray[Any], down: int, across: int) -> Iterator[NDArray[Any]]:
    """The pixels at each place within their blocks, as pictures of one pixel a block."""
    rows, columns = _blocks(picture.shape, down, across)
    missing = (0, rows * down - picture.shape[0]), (0, columns * across - picture.shape[1])
    whole = np.pad(picture, missing, mode="edge")
    for row in range(down):
        for column in range(across):
            yield whole[row::down, column::across]
