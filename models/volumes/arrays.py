"""Volumes as .npz files, the way BUNET's data lays them out: `ID/ID.npz` and `ID/ID_label.npz`, key `array`.

What the scale is, nobody wrote into such a file. BUNET's own reader calls its arrays normalised and feeds them to
its networks as they are; the preprocessing they come from (KAUST's, for COVID-19 CT) maps Hounsfield units by
(HU + 600) / 1600, so that air, -1000 HU, is -0.25. Floats of that reach are turned back into Hounsfield units, and a
note says so; floats of 0..1 or -1..1 could be any window and stay greys; values down to -200 are Hounsfield units.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from models.volumes.volume import HOUNSFIELD_FLOOR, Stored, check_volume_size, fill, narrowed, value_range
from protocols.errors import ScanError

KEY = "array"
_MAX_HEADER = 65536
_SLOPE, _INTERCEPT = 1600.0, -600.0
_PLANES = (1, 2)


def read_npz_voxels(path: Path, label: bool = False) -> Stored:
    """The array of an .npz: (X, Y, Z), or (X, Y, Z, 1 or 2) whose plane 0 is the picture and plane 1 its label.

    label: take the label plane. Nothing in the file is unpickled, and not a byte beyond its stated size is unzipped.
    Raises ScanError; and zipfile's, zlib's or numpy's errors on a damaged file.
    """
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        if KEY not in names:
            held = (
                ", ".join(f"`{name[:40]}`" for name in names[:5] if name.isprintable()) or "no array at all"
            )
            raise ScanError(
                f"it holds {held}, and not the key `{KEY}`", f"save it with numpy.savez({KEY}=...)"
            )
        with archive.open(f"{KEY}.npy") as stream:
            shape, by_column, dtype = _header(stream)
            plane = _plane(shape, dtype, label)
            values = np.empty(shape, dtype=dtype, order="F" if by_column else "C")
            fill(values, stream)
    if values.ndim == 4:
        values = np.ascontiguousarray(values[..., plane])
    values = narrowed(values.view(np.uint8) if values.dtype.kind == "b" else values)
    hounsfield, scale_notes = (None, ()) if label else _scale(values)
    order = (
        "The file names no orientation: the axes are taken as stored, to the right, the front and the head."
    )
    size = (
        "The file states no spacing: a voxel counts as 1 mm a side, so millilitres are only as true as that."
    )
    return Stored(
        form="npz",
        path=path,
        values=values,
        affine=np.eye(4),
        oriented=False,
        hounsfield=hounsfield,
        notes=(order, size, *scale_notes),
    )


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the first axis runs fastest, dtype; leaves the stream at the first voxel."""
    version = npy.read_magic(stream)
    if version == (1, 0):
        shape, by_column, dtype = npy.read_array_header_1_0(stream)
        return tuple(int(side) for side in shape), bool(by_column), dtype
    counted = stream.read(4)
    if version not in ((2, 0), (3, 0)) or struct.unpack("<I", counted)[0] > _MAX_HEADER:
        raise ValueError("an array header of no known version or size")
    rest = _Rejoined(counted, stream)
    shape, by_column, dtype = npy.read_array_header_2_0(rest)
    return tuple(int(side) for side in shape), bool(by_column), dtype


class _Rejoined:
    """A stream with bytes already taken from it put back in front."""

    def __init__(self, taken: bytes, stream: IO[bytes]) -> None:
        self._taken, self._stream = taken, stream

    def read(self, count: int = -1, /) -> bytes:
        head, self._taken = self._taken[:count], self._taken[count:]
        return head + self._stream.read(count - len(head))


def _plane(shape: tuple[int, ...], dtype: np.dtype[Any], label: bool) -> int:
    """Refuses by the stated size and type; which plane of the fourth axis to take."""
    if dtype.kind == "b" and not label:
        raise ScanError("it holds a mask (true and false)", "give the volume, not its label")
    if dtype.kind not in "iufb":
        raise ScanError("its values are not plain numbers", f"save a number array as `{KEY}`")
    planes = shape[3] if len(shape) == 4 else 1
    if planes not in _PLANES:
        check_volume_size(shape, dtype.itemsize)  # refuses: four sides, and the last is no pair of planes
    check_volume_size(shape[:3], dtype.itemsize * planes)
    if len(shape) > 4:
        raise ScanError(f"it has {len(shape)} dimensions", "give one 3-D volume of it")
    return 1 if label and planes == 2 else 0


def _scale(values: NDArray[Any]) -> tuple[bool | None, tuple[str, ...]]:
    """Turns floats of KAUST's scale into Hounsfield units, in place."""
    if values.dtype.kind != "f":
        return None, ()
    low, high = value_range(values)
    if low <= HOUNSFIELD_FLOOR:
        return None, ()
    symmetric = low <= -0.95 and high <= 1.0
    if not -2.0 <= low <= -0.1 or high > 20.0 or symmetric:
        return None, ()
    values *= np.float32(_SLOPE)
    values += np.float32(_INTERCEPT)
    note = (
        f"Its values run from {low:.2f} to {high:.2f}: read as (HU + 600) / 1600, the scale of BUNET's data, "
        "and turned into Hounsfield units."
    )
    return True, (note,)
