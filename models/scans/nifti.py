"""NIfTI-1 and NIfTI-2 into a scan: one axial slice, shown the way radiologists look at it.

The volume's affine says which axis runs to the patient's head. The slice is turned so that the front is at
the top and the patient's right at the picture's left. A header that says nothing of orientation (identity
affine, or both codes 0, as programs write that know no better) leaves the array as it is: first axis rows,
second columns.
"""

from __future__ import annotations

import gzip
import io
from math import prod
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.orientations import apply_orientation, io_orientation
from numpy.typing import NDArray

from models.scans.scan import Scan, check_dimensions, make_scan
from protocols.errors import ScanError

MAX_VOLUME_BYTES = 512 * 2**20
_LOW, _HIGH = 0.5, 99.5  # percentiles of the slice shown as black and white


def read_nifti(data: bytes, slice_index: int | None) -> Scan:
    """One slice of a 2-D or 3-D image: `slice_index` along the axial axis, by default the middle.

    Raises ScanError: gzip of something else, four dimensions, colours or complex numbers, a volume above 512
    MiB, no finite value; and whatever nibabel raises on a damaged file.
    """
    header, whole = _open(data)
    shape = _three_sides(tuple(int(side) for side in header.get_data_shape()))
    slope, intercept = header.get_slope_inter()
    place = (header.get_data_shape(), header.get_data_dtype(), header.get_data_offset(), 1.0, 0.0)
    stored = np.asanyarray(ArrayProxy(io.BytesIO(whole), place).get_unscaled()).reshape(shape)
    values, turned = _oriented(header, stored)
    count = values.shape[2]
    index = count // 2 if slice_index is None else slice_index
    if not 0 <= index < count:
        raise ScanError(f"slice {index} was asked for, and it has {count}", f"choose 0 to {count - 1}")
    check_dimensions(values.shape[1], values.shape[0])
    plane = np.asarray(values[:, :, index], dtype=np.float64)
    plane = plane * (1.0 if slope is None else slope) + (0.0 if intercept is None else intercept)
    notes = [f"Axial slice {index} of {count}, counted from 0."] if count > 1 else []
    if not turned:
        notes.append("The header names no orientation: rows and columns are as stored.")
    return make_scan(_stretched(plane), source_format="NIfTI", notes=notes)


def _open(data: bytes) -> tuple[Any, bytes]:
    """The header, unchecked (nibabel's check talks to the terminal), and the bytes of the unzipped file.

    The size is checked from the header before the voxels are unzipped.
    """
    zipped = data.startswith(b"\x1f\x8b")
    stream: Any = gzip.GzipFile(fileobj=io.BytesIO(data)) if zipped else io.BytesIO(data)
    head = stream.read(540)
    if head[344:347] == b"ni1" or head[4:7] == b"ni2":
        raise ScanError("it is the header half of a NIfTI pair", "convert the pair into one .nii file")
    second = head[4:7] == b"n+2"
    if not second and head[344:347] != b"n+1":
        raise ScanError("it is a gzip file of something else than NIfTI", "give the scan itself")
    header = nib.Nifti2Header(head, check=False) if second else nib.Nifti1Header(head[:348], check=False)
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise ScanError("its values are colours or complex numbers", "give a grey image")
    size = (
        int(header.get_data_offset()) + prod(int(side) for side in header.get_data_shape()) * dtype.itemsize
    )
    if size > MAX_VOLUME_BYTES:
        raise ScanError(
            f"the volume is {size // 2**20} MiB, and the limit is {MAX_VOLUME_BYTES // 2**20} MiB",
            "give one slice of it",
        )
    body = stream.read(max(size - len(head), 0))
    if len(head) + len(body) < size:
        raise EOFError("fewer voxels than the header states")
    return header, head + body


def _three_sides(shape: tuple[int, ...]) -> tuple[int, int, int]:
    sides = shape
    while len(sides) > 3 and sides[-1] == 1:
        sides = sides[:-1]
    if len(sides) > 3:
        raise ScanError(f"it has {len(sides)} dimensions {sides}", "give one 3-D volume or 2-D slice of it")
    if len(sides) < 2 or min(sides) < 1:
        raise ScanError(f"it has the shape {sides} and holds no slice", "give a 3-D volume or 2-D slice")
    return sides[0], sides[1], sides[2] if len(sides) == 3 else 1


def _oriented(header: Any, stored: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """(rows, columns, axial slices) with the front at the top; False when the header names no orientation."""
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    coded = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    if not coded or not np.isfinite(affine).all() or np.allclose(affine, np.eye(4)):
        return stored, False
    volume = apply_orientation(stored, io_orientation(affine))  # axes run to the right, the front, the head
    return volume[::-1, ::-1, :].transpose(1, 0, 2), True


def _stretched(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Percentiles 0.5 to 99.5 of the finite values as 0..1; what is not finite is black."""
    finite = np.isfinite(plane)
    if not bool(finite.any()):
        raise ScanError(
            "the slice holds no number at all (only NaN)", "choose another slice or export it again"
        )
    low, high = np.percentile(plane[finite], [_LOW, _HIGH])
    if high <= low:
        low, high = float(plane[finite].min()), float(plane[finite].max())
    scaled = (np.where(finite, plane, low) - low) / max(high - low, 1e-30)
    greys: NDArray[np.float64] = np.clip(scaled, 0.0, 1.0)
    return greys
