"""NIfTI-1 and NIfTI-2 volumes: the header by nibabel, the voxels straight into the one array they end in."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from models.volumes.volume import Stored, check_volume_size, fill, narrowed
from protocols.errors import ScanError

MAX_EXTENSIONS = 64 * 2**20  # bytes between header and voxels
_HEAD = 540
_PIECE = 2**22
_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
_MILLIMETRES = {"meter": 1000.0, "micron": 0.001}


def is_nifti(head: bytes) -> bool:
    """Whether unzipped bytes begin as NIfTI, of either version, whole or the header half of a pair."""
    return head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2")


def read_nifti_voxels(path: Path) -> Stored:
    """The voxels of a .nii or .nii.gz in the file's order.

    A header that names no orientation (both codes 0, or the identity) is taken as RAS+ in stored order, with a
    note. Raises ScanError; and EOFError, OSError, zlib.error or nibabel's errors on a damaged file.
    """
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
        head = stream.read(_HEAD)
        header = _header(head)
        dtype = header.get_data_dtype()
        if dtype.kind not in "iuf":
            raise ScanError("its values are colours or complex numbers", "give a grey volume")
        shape = check_volume_size(tuple(int(side) for side in header.get_data_shape()), dtype.itemsize)
        values = _voxels(stream, head, int(header.get_data_offset()), shape, dtype)
    slope, intercept = header.get_slope_inter()
    values, slope, intercept = _scaled(values, slope, intercept)
    affine, oriented, notes = _affine(header)
    return Stored(
        form="NIfTI",
        path=path,
        values=values,
        affine=affine,
        oriented=oriented,
        slope=slope,
        intercept=intercept,
        notes=notes,
        header=_geometry(header, shape),
    )


def _header(head: bytes) -> Any:
    if not is_nifti(head):
        raise ScanError("it is a gzip file of something else than NIfTI", "give the volume itself")
    if head[344:347] == b"ni1" or head[4:7] == b"ni2":
        raise ScanError("it is the header half of a NIfTI pair", "convert the pair into one .nii file")
    if head[4:7] == b"n+2":
        return nib.Nifti2Header(head, check=False)
    return nib.Nifti1Header(head[:348], check=False)


def _voxels(
    stream: IO[bytes], head: bytes, offset: int, shape: tuple[int, int, int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """The stored voxels, first axis fastest. Reads what the header states and not a byte more."""
    if not 348 <= offset <= MAX_EXTENSIONS:
        raise EOFError("the voxels begin at a senseless place")
    values = np.empty(shape, dtype=dtype, order="F")
    begun = head[offset : offset + values.nbytes]
    skipped = len(head)
    while skipped < offset:
        piece = stream.read(min(_PIECE, offset - skipped))
        if not piece:
            raise EOFError("it ends before its voxels")
        skipped += len(piece)
    fill(values, stream, begun)
    return narrowed(values)


def _scaled(
    values: NDArray[Any], slope: float | None, intercept: float | None
) -> tuple[NDArray[Any], float, float]:
    """Whole numbers keep their slope and intercept beside them; in floats they are applied in place."""
    factor, offset = float(1.0 if slope is None else slope), float(0.0 if intercept is None else intercept)
    if values.dtype.kind != "f" or (factor, offset) == (1.0, 0.0):
        return values, factor, offset
    with np.errstate(over="ignore", invalid="ignore"):
        values *= np.float32(factor)
        values += np.float32(offset)
    return values, 1.0, 0.0


def _affine(header: Any) -> tuple[NDArray[np.float64], bool, tuple[str, ...]]:
    """Index to mm, whether the header names an orientation, and what was decided on the way."""
    unit = header.get_xyzt_units()[0]
    factor = _MILLIMETRES.get(unit, 1.0)
    notes: tuple[str, ...] = ()
    if factor != 1.0:
        notes = (f"Its lengths are in {unit}s and were turned into millimetres.",)
    coded = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    affine = np.asarray(header.get_best_affine(), dtype=np.float64) if coded else _by_spacing(header)
    affine[:3] *= factor
    if coded and not np.allclose(affine, np.eye(4)):
        return affine, True, notes
    said = (
        "The header names no orientation: the axes are taken as stored, to the right, the front and the head."
    )
    return affine, False, (*notes, said)


def _by_spacing(header: Any) -> NDArray[np.float64]:
    sides = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))
    sides[~(np.isfinite(sides) & (sides > 0))] = 1.0
    return np.diag([*sides, 1.0])


def mask_header(kind: Any, shape: tuple[int, ...]) -> Any:
    """A little-endian header of nibabel's class `kind` for a uint8 mask, without any geometry yet."""
    header = kind(endianness="<")
    header.set_data_dtype(np.uint8)
    header.set_data_shape(shape)
    header["vox_offset"] = header.single_vox_offset
    header["scl_slope"], header["scl_inter"] = 1.0, 0.0
    return header


def _geometry(header: Any, shape: tuple[int, int, int]) -> bytes:
    """A little-endian header for a uint8 mask in the same frame; no other word of the file is kept."""
    plain = mask_header(type(header), shape)
    for name in _GEOMETRY:
        plain[name] = header[name]
    plain["pixdim"][4:] = 0
    block: bytes = plain.binaryblock
    return block
