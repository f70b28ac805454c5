"""One DICOM series into a volume: slices in order along their normal, checked to be one stack, decoded one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from models.scans.dicom import _decode
from models.scans.scan import MODALITIES, UNKNOWN
from models.volumes.slices import Slice, aside_notes, find_slices
from models.volumes.volume import SliceSource, Stored, check_volume_size, narrowed, one_slice
from protocols.errors import ScanError

UNEVEN = 0.01  # of the median gap: beyond it, a note
MISSING = 0.5  # of the median gap: beyond it, a refusal
_SAME_PLACE = 0.01  # mm along the normal: nearer slices lie at one place
_ASTRAY = 2.0  # mm off the straight line through the stack: beyond it, a refusal
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_series_voxels(path: Path) -> Stored:
    """The voxels of the one series in a folder, or of one multi-frame file: (columns, rows, slices) as stored.

    Slices are taken along their normal, from low to high. A gap between slices that differs from the median gap by
    more than half of it is refused as missing slices; by more than 1 % it is noted, and the median gap counts. Whole
    numbers stay as stored when all slices share one rescaling. Raises ScanError: several series, slices of several
    shapes, directions or places, two at one place, one missing, one slice only, no decoder for a compression.
    """
    found = find_slices(path)
    _one_series(found.slices)
    if len(found.slices) < 2:
        raise one_slice()
    first = found.slices[0]
    _alike(found.slices)
    normal = np.cross(first.along_row, first.along_column)
    normal /= np.linalg.norm(normal)
    slices = sorted(found.slices, key=lambda one: float(one.position @ normal))
    step, gap_notes = _step(slices, normal)
    hounsfield, unit_notes = _units(slices)
    values, slope, intercept = _decoded(slices)
    return Stored(
        form="DICOM",
        path=path,
        values=values,
        affine=_affine(slices[0], step),
        oriented=True,
        slope=slope,
        intercept=intercept,
        modality=first.modality if first.modality in MODALITIES else UNKNOWN,
        hounsfield=hounsfield,
        notes=(*aside_notes(found), *gap_notes, *unit_notes),
        slices=tuple(SliceSource(one.path, one.frame, one.uid) for one in slices),
    )


def _one_series(slices: Sequence[Slice]) -> None:
    counts = Counter(one.series for one in slices)
    if len(counts) == 1:
        return
    named = {one.series: one.description for one in slices}
    listed = "; ".join(
        f"{count} {'slice' if count == 1 else 'slices'} of '{named[series] or 'no description'}'"
        for series, count in counts.most_common(6)
    )
    more = " and more" if len(counts) > 6 else ""
    raise ScanError(f"it holds {len(counts)} series ({listed}{more})", "give a folder with one of them alone")


def _alike(slices: Sequence[Slice]) -> None:
    """Refuses slices that do not make one stack."""
    first = slices[0]
    if abs(float(np.dot(first.along_row, first.along_column))) > 1e-2 or not _units_long(first):
        raise ScanError("its slices' directions are not at right angles", "export the series again")
    told: tuple[tuple[str, Callable[[Slice], object], Callable[[Slice], bool]], ...] = (
        (
            "size",
            lambda one: f"{one.columns}x{one.rows} pixels",
            lambda one: (one.rows, one.columns) == (first.rows, first.columns),
        ),
        (
            "pixel spacing",
            lambda one: f"{one.spacing[0]:g} x {one.spacing[1]:g} mm",
            lambda one: bool(np.allclose(one.spacing, first.spacing, rtol=1e-3)),
        ),
        (
            "direction",
            lambda one: np.round([*one.along_row, *one.along_column], 3).tolist(),
            lambda one: bool(
                np.allclose(
                    [one.along_row, one.along_column], [first.along_row, first.along_column], atol=1e-3
                )
            ),
        ),
        ("frame of reference", lambda one: one.place or "none", lambda one: one.place == first.place),
        ("modality", lambda one: one.modality or "none", lambda one: one.modality == first.modality),
        (
            "unit",
            lambda one: one.rescaled or "none",
            lambda one: one.rescaled == first.rescaled,
        ),
    )
    for what, show, same in told:
        other = next((one for one in slices if not same(one)), None)
        if other is not None:
            raise ScanError(
                f"its slices differ in {what} ({show(first)}, but {show(other)} in {other.path.name})",
                "give one series of one acquisition",
            )


def _units_long(one: Slice) -> bool:
    return all(abs(float(np.linalg.norm(way)) - 1.0) < 1e-2 for way in (one.along_row, one.along_column))


def _step(
    slices: Sequence[Slice], normal: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The way from slice to slice in mm (LPS), its length along the normal the median gap; and notes."""
    places = np.array([one.position for one in slices])
    heights = places @ normal
    gaps = np.diff(heights)
    if float(gaps.min()) < _SAME_PLACE:
        alone = 1 + int(np.count_nonzero(gaps >= _SAME_PLACE))
        raise ScanError(
            f"{len(slices)} slices lie at {alone} places: it is more than one volume (phases or points in time)",
            "give a folder with one of them alone",
        )
    median = float(np.median(gaps))
    worst = float(gaps[int(np.argmax(np.abs(gaps - median)))])
    if abs(worst - median) > MISSING * median:
        raise ScanError(
            f"slices are missing: a gap of {worst:.2f} mm where the others are {median:.2f} mm",
            "give the whole series",
        )
    notes: tuple[str, ...] = ()
    if abs(worst - median) > UNEVEN * median:
        notes = (
            f"The gaps between slices run from {gaps.min():.2f} to {gaps.max():.2f} mm; "
            f"the median, {median:.2f} mm, counts for all.",
        )
    way = (places[-1] - places[0]) / float(heights[-1] - heights[0])
    astray = places - places[0] - np.outer(heights - heights[0], way)
    if float(np.linalg.norm(astray, axis=1).max()) > _ASTRAY:
        raise ScanError(
            "its slices are not stacked in a straight line", "give one series with one field of view"
        )
    return way * median, notes


def _affine(first: Slice, step: NDArray[np.float64]) -> NDArray[np.float64]:
    """(column, row, slice) to mm in RAS+; PS3.3 C.7.6.2.1.1 in LPS with x and y turned round."""
    affine = np.eye(4)
    affine[:3, 0] = first.along_row * first.spacing[1]
    affine[:3, 1] = first.along_column * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = first.position
    return np.asarray(_TO_RAS @ affine, dtype=np.float64)


def _units(slices: Sequence[Slice]) -> tuple[bool | None, tuple[str, ...]]:
    """Hounsfield units or not; None where the values have to tell."""
    first = slices[0]
    if first.modality == "CT":
        return (True if first.rescaled == "HU" else None), ()  # 'US' is DICOM's word for: not specified
    named = first.modality or "of an unnamed modality"
    return False, (f"The series is {named}, not CT: its values are greys without a known scale.",)


def _decoded(slices: Sequence[Slice]) -> tuple[NDArray[Any], float, float]:
    """(columns, rows, slices), slope and intercept. One array; beside it one file at a time."""
    first = slices[0]
    one_scale = len({(one.slope, one.intercept) for one in slices}) == 1
    kinds = [_kind(one) for one in slices] if one_scale else [np.dtype(np.float32)]
    kind = np.result_type(*set(kinds))
    check_volume_size((first.columns, first.rows, len(slices)), kind.itemsize)
    stack = np.empty((len(slices), first.rows, first.columns), dtype=kind)
    opened: tuple[Path, Dataset] | None = None
    for index, one in enumerate(slices):
        if opened is None or opened[0] != one.path:
            opened = (one.path, dcmread(one.path, force=True))
        plane = _plane(opened[1], one)
        stack[index] = plane if one_scale else plane * np.float32(one.slope) + np.float32(one.intercept)
    values = narrowed(stack).transpose(2, 1, 0)
    if not one_scale or values.dtype.kind != "f":
        return values, *((first.slope, first.intercept) if one_scale else (1.0, 0.0))
    values *= np.float32(first.slope)
    values += np.float32(first.intercept)
    return values, 1.0, 0.0


def _kind(one: Slice) -> np.dtype[Any]:
    if one.bits not in (1, 8, 16, 32):
        raise ScanError(f"{one.path.name} stores {one.bits} bits a pixel", "export it with 16 bits a pixel")
    return np.dtype(f"{'i' if one.signed else 'u'}{max(one.bits, 8) // 8}")


def _plane(dataset: Dataset, one: Slice) -> NDArray[Any]:
    """Stored values of one slice, (rows, columns)."""
    if "PixelData" not in dataset:
        raise ScanError(f"{one.path.name} holds no picture", "export the series again")
    try:
        plane = _decode(dataset, one.frame)
    except ScanError:
        raise
    except Exception as error:
        raise ScanError(f"{one.path.name} is damaged or cut short", "export or copy it again") from error
    if plane.shape != (one.rows, one.columns):
        raise ScanError(
            f"{one.path.name} is not of the size that its header states", "export the series again"
        )
    unused = plane.dtype.itemsize * 8 - int(dataset.get("BitsStored") or plane.dtype.itemsize * 8)
    if plane.dtype.kind in "iu" and 0 < unused < plane.dtype.itemsize * 8:
        return (plane << unused) >> unused  # bits above the stored ones may hold an overlay
    return plane
