"""What a volume is once it is read: voxels in the patient's own axes, and how to give a mask back.

Readers hand over a `Stored`: voxels in the file's order. `make_volume` refuses what is no volume and turns the
rest so that its axes run to the patient's right, front and head (RAS+). Turning is a view: nothing is copied,
nothing is resampled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from protocols.errors import ScanError, UserError

MAX_VOLUME_BYTES = 2 * 2**30  # voxels as stored; refused from the header, before anything is decoded
MAX_VOLUME_SIDE = 1024
HOUNSFIELD_FLOOR = -200.0  # values at or below: only Hounsfield units reach there (air is -1000)

_CHUNK = 2**22  # voxels looked at in one go
_CANONICAL = np.array([[0, 1], [1, 1], [2, 1]])


@dataclass(frozen=True, slots=True)
class SliceSource:
    """One slice as it lies in a file: the file, its frame (None for a single picture) and its instance UID."""

    path: Path
    frame: int | None
    uid: str


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What the writers need to give a mask back in the file's own frame. Opaque to everyone else.

    form: 'NIfTI', 'npz' or 'DICOM'. shape and affine: of the stored order. turn: (3, 2), nibabel's orientation
    from stored to RAS+. oriented: False when the file says nothing of orientation. header: of a NIfTI, a header
    with its geometry and nothing else. slices: of a DICOM series, along the third stored axis.
    """

    form: str
    path: Path
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    turn: NDArray[np.int64]
    oriented: bool
    header: bytes = b""
    slices: tuple[SliceSource, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Voxels in the file's order, before any check of what they show.

    values: 3-D. affine: stored index to mm in RAS+; when `oriented` is False it holds the spacing alone.
    hounsfield: True or False when the file says, None when the values have to tell.
    """

    form: str
    path: Path
    values: NDArray[Any]
    affine: NDArray[np.float64]
    oriented: bool
    slope: float = 1.0
    intercept: float = 0.0
    modality: str = "unknown"
    hounsfield: bool | None = None
    notes: tuple[str, ...] = ()
    header: bytes = b""
    slices: tuple[SliceSource, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Volume:
    """A picture of the inside of a patient in three dimensions. Built by `make_volume` only.

    values: (X, Y, Z), read-only, axes to the patient's right, front and head (RAS+). Whole numbers as stored, and
    then `values * slope + intercept` is what they mean; or float32 with slope 1 and intercept 0.
    affine: (4, 4), index of `values` to mm in RAS+. modality: a DICOM code or 'unknown'.
    units: 'HU' or 'grey' (0..255, or a scale that nobody stated). notes: choices made for the user, as sentences.
    Its repr shows no voxel.
    """

    values: NDArray[np.generic]
    affine: NDArray[np.float64]
    modality: str
    units: str
    source: Source
    notes: tuple[str, ...]
    slope: float
    intercept: float

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between voxels along (x, y, z)."""
        x, y, z = (float(side) for side in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    @property
    def voxel_ml(self) -> float:
        """Millilitres that one voxel stands for, also where the axes are not at right angles."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def __repr__(self) -> str:
        sides = "x".join(str(side) for side in self.values.shape)
        return f"<Volume {sides}, {self.modality}, {self.units}, from {self.source.form}>"

    def __reduce__(self) -> Any:
        raise TypeError("a volume is not pickled; read its file again")


def check_volume_size(shape: tuple[int, ...], itemsize: int) -> tuple[int, int, int]:
    """The three sides of a stated shape; trailing sides of 1 beyond the third are dropped.

    Raises ScanError: not 3-D, one slice, a side under 2 or above 1024, more than 2 GiB of voxels.
    """
    sides = shape
    while len(sides) > 3 and sides[-1] == 1:
        sides = sides[:-1]
    if len(sides) > 3:
        stated = "x".join(str(side) for side in sides)
        raise ScanError(f"it has {len(sides)} dimensions ({stated})", "give one 3-D volume of it")
    if len(sides) < 3 or sides[2] == 1:
        raise one_slice()
    x, y, z = sides
    if min(sides) < 2:
        raise ScanError(f"it is {x}x{y}x{z} voxels, and a side has at least 2", "give the whole volume")
    if max(sides) > MAX_VOLUME_SIDE:
        raise ScanError(
            f"it is {x}x{y}x{z} voxels, and the limit is {MAX_VOLUME_SIDE} a side",
            "give a smaller part of it",
        )
    if x * y * z * itemsize > MAX_VOLUME_BYTES:
        raise ScanError(
            f"it is {x * y * z * itemsize // 2**20} MiB of voxels, and the limit is {MAX_VOLUME_BYTES // 2**20} MiB",
            "give a smaller part of it, or 16-bit values",
        )
    return x, y, z


def one_slice() -> ScanError:
    """The refusal of a single picture."""
    return ScanError(
        "one slice is not a volume", "give the whole series, or have the one slice read by `crypdoc evaluate`"
    )


def make_volume(stored: Stored) -> Volume:
    """The volume of stored voxels.

    Raises ScanError: not a volume by its shape, values that are not numbers, all of one value, an affine that
    places the voxels nowhere.
    """
    check_volume_size(stored.values.shape, stored.values.dtype.itemsize)
    low, high = value_range(stored.values)
    if low == high:
        raise ScanError("every voxel has the same value", "check the export and give another file")
    first, last = sorted((low * stored.slope + stored.intercept, high * stored.slope + stored.intercept))
    if not (max(abs(first), abs(last)) < np.finfo(np.float32).max and stored.slope):
        raise ScanError("its header scales the values beyond all numbers", "export the volume again")
    affine, turn = turned(stored)
    notes = (*stored.notes, *_tilt_notes(affine))
    hounsfield = stored.hounsfield
    if hounsfield is None:
        hounsfield = first <= HOUNSFIELD_FLOOR
        notes += (_scale_note(hounsfield, first, last),)
    values = apply_orientation(stored.values, turn)
    values.setflags(write=False)
    affine.setflags(write=False)
    return Volume(
        values=values,
        affine=affine,
        modality=stored.modality,
        units="HU" if hounsfield else "grey",
        source=_source(stored, turn),
        notes=notes,
        slope=stored.slope,
        intercept=stored.intercept,
    )


def turned(stored: Stored) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The affine of the RAS+ order, and the turn from the stored order to it. Raises ScanError: singular affine."""
    linear = np.asarray(stored.affine[:3, :3], dtype=np.float64)
    lengths = np.linalg.norm(linear, axis=0)
    placed = bool(np.isfinite(stored.affine).all() and lengths.min() > 1e-6)
    if not placed or abs(np.linalg.det(linear / lengths)) < 1e-3:
        raise ScanError(
            "its header does not say where the voxels lie (a singular or unreadable affine)",
            "export the volume again with its orientation",
        )
    turn = np.asarray(io_orientation(stored.affine), dtype=np.int64)
    return np.asarray(stored.affine @ inv_ornt_aff(turn, stored.values.shape), dtype=np.float64), turn


def to_stored(mask: NDArray[Any], source: Source) -> NDArray[Any]:
    """An array in the volume's axes, turned back to the file's order (a view)."""
    back: NDArray[Any] = apply_orientation(mask, ornt_transform(_CANONICAL, source.turn))
    return back


def check_mask(mask: NDArray[Any], volume: Volume) -> None:
    """Raises UserError when a mask is not of the volume's shape."""
    if mask.shape != volume.values.shape:
        raise UserError(
            f"the mask is {_sides(mask.shape)} voxels, and the volume is {_sides(volume.values.shape)}",
            "make the mask on the volume's own grid",
        )


def chunks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The voxels in flat pieces, in memory order: no piece is a copy when the array is contiguous either way."""
    flat = values.reshape(-1, order="A") if values.flags.forc else values.ravel(order="K")
    for start in range(0, flat.size, _CHUNK):
        yield flat[start : start + _CHUNK]


def value_range(values: NDArray[Any]) -> tuple[float, float]:
    """The smallest and the largest voxel. Raises ScanError when voxels are not numbers, saying how many."""
    low, high, lost = np.inf, -np.inf, 0
    for piece in chunks(values):
        finite = piece
        if piece.dtype.kind == "f":
            sound = np.isfinite(piece)
            missing = int(piece.size - np.count_nonzero(sound))
            lost += missing
            finite = piece[sound] if missing else piece
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if lost == values.size:
        raise ScanError("it holds no number at all (only NaN or infinite values)", "export the volume again")
    if lost:
        raise ScanError(
            f"{lost} of its {values.size} voxels are not numbers (NaN or infinite)",
            "replace them, in CT by -1024 (air), and give it again",
        )
    return low, high


def fill(values: NDArray[Any], stream: IO[bytes], begun: bytes = b"") -> None:
    """Fills a fresh array from `begun` and then the stream, to the last byte. Raises EOFError: it ends before."""
    target = values.reshape(-1, order="A").view(np.uint8)
    target[: len(begun)] = np.frombuffer(begun, dtype=np.uint8)
    done = len(begun)
    while done < target.size:
        piece = stream.read(min(_CHUNK, target.size - done))
        if not piece:
            raise EOFError("fewer voxels than the header states")
        target[done : done + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
        done += len(piece)


def narrowed(values: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in native byte order and at most 32 bits: 64-bit wholes as int32 where they fit."""
    if not values.dtype.isnative:
        values = values.byteswap(inplace=values.flags.writeable).view(values.dtype.newbyteorder("="))
    if values.dtype.kind == "f" and values.dtype != np.float32:
        with np.errstate(over="ignore"):
            return values.astype(np.float32)  # what overflows is refused as not a number
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        low, high = int(values.min()), int(values.max())
        fits = low >= -(2**31) and high < 2**31
        return values.astype(np.int32 if fits else np.float32)
    return values


def _source(stored: Stored, turn: NDArray[np.int64]) -> Source:
    shape = stored.values.shape
    return Source(
        form=stored.form,
        path=stored.path,
        shape=(shape[0], shape[1], shape[2]),
        affine=stored.affine,
        turn=turn,
        oriented=stored.oriented,
        header=stored.header,
        slices=stored.slices,
    )


def _scale_note(hounsfield: bool, low: float, high: float) -> str:
    reach = f"The file names no units that are known here; its values run from {low:g} to {high:g}"
    if hounsfield:
        return f"{reach} and are taken as Hounsfield units."
    return f"{reach} and are taken as greys without a known scale."


def _tilt_notes(affine: NDArray[np.float64]) -> tuple[str, ...]:
    """Sentences on axes that are tilted against the patient's, or not at right angles to each other."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if float(np.abs(axes.T @ axes - np.eye(3)).max()) > 1e-3:
        return ("The volume's axes are not at right angles (a tilted gantry): it is used as it is stored.",)
    degrees = float(np.degrees(np.arccos(np.clip(np.diag(axes), -1.0, 1.0))).max())
    if degrees > 0.5:
        return (
            f"The volume lies tilted against the patient's axes by up to {degrees:.1f} degrees: "
            "it is used as it is stored.",
        )
    return ()


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
