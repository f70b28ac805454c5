"""Reading a volume: the format is told from the first bytes, never from the name.

The decoders are other people's, and a malformed file makes them raise nearly anything; here that ends as one
`ScanError`, which names the fault and the remedy. Sizes are checked from headers before voxels are decoded.
"""

from __future__ import annotations

import gzip
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.scans.load import _FOREIGN, _QUIET
from models.volumes.arrays import read_npz_voxels
from models.volumes.labels import fitted
from models.volumes.nifti import is_nifti, read_nifti_voxels
from models.volumes.seg import read_seg
from models.volumes.series import read_series_voxels
from models.volumes.slices import is_dicom
from models.volumes.volume import Stored, Volume, make_volume, one_slice
from protocols.errors import ScanError, UserError

READABLE_VOLUMES = "NIfTI (.nii, .nii.gz), a folder of one DICOM series, or .npz with the key `array`"

_DICOM, _NIFTI, _NPZ = "DICOM", "NIfTI", ".npz"
_Read = TypeVar("_Read")


def read_volume(path: Path) -> Volume:
    """The volume in a .nii, .nii.gz or .npz file, a folder of one DICOM series, or one multi-frame DICOM file.

    Its axes run to the patient's right, front and head (RAS+), whatever the file's order; voxels are not resampled.
    Raises ScanError on whatever is not one readable volume, and nothing else: a missing or empty file, another
    kind of file, two or four dimensions, one slice, voxels that are not numbers, all of one value, several series,
    missing or doubled slices, a side above 1024 or more than 2 GiB of voxels.
    """
    path = Path(path)
    return _told(
        f"{_label(path)} cannot be read as a volume", lambda: make_volume(_stored(path, _kind(path)))
    )


def read_labels(path: Path, volume: Volume, segment: str | None = None) -> NDArray[np.bool_]:
    """Labels above 0 in a NIfTI, .npz or DICOM SEG file, on the volume's own grid: bool (X, Y, Z).

    segment: which one of a DICOM SEG file of several, by its label; left out, it has to hold one only. A file of one
    segment is taken whatever its label, unless that names the other of lung and infection. Raises UserError when the
    labels have another shape or place than the volume, saying both, and ScanError when the file cannot be read.
    """
    path = Path(path)

    def read() -> NDArray[np.bool_]:
        kind = _kind(path)
        if kind != _DICOM:
            return fitted(_stored(path, kind, label=True), volume)
        if path.is_dir():
            raise ScanError("it is a folder", "give one file of labels: NIfTI, .npz or DICOM SEG")
        return read_seg(path, volume, segment)

    return _told(f"{_label(path)} cannot be read as labels of this volume", read)


def _label(path: Path) -> str:
    return path.name or str(path)


def _told(what: str, read: Callable[[], _Read]) -> _Read:
    """`read`, with every failure as one UserError that begins with `what`."""
    try:
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a decoder's remarks on odd headers are not for the person
            return read()
    except UserError as error:
        raise type(error)(f"{what}: {error.fault}", error.remedy) from error.__cause__
    except MemoryError as error:
        raise ScanError(f"{what}: there is not enough memory for it", "close other programs") from error
    except OSError as error:
        if error.errno is None:
            raise ScanError(f"{what}: it is damaged or cut short", "export or copy it again") from error
        reason = error.strerror or "the path is not valid"
        raise ScanError(
            f"{what}: it cannot be opened ({reason})", "check the path and its permissions"
        ) from error
    except (Exception, RecursionError) as error:
        raise ScanError(f"{what}: it is damaged or cut short", "export or copy it again") from error


def _stored(path: Path, kind: str, label: bool = False) -> Stored:
    if kind == _NIFTI:
        return read_nifti_voxels(path)
    if kind == _NPZ:
        return read_npz_voxels(path, label)
    return read_series_voxels(path)


def _kind(path: Path) -> str:
    """The format by the first bytes. Raises ScanError naming what else it seems to be."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ScanError("there is no such file", "check the path") from error
    except ValueError as error:
        raise ScanError("the path is not valid", "check the path") from error
    if stat.S_ISDIR(status.st_mode):
        return _DICOM
    if not stat.S_ISREG(status.st_mode):
        raise ScanError("it is not an ordinary file", "give a file or a folder of DICOM files")
    with path.open("rb") as raw:
        head = raw.read(1024)
    if not head:
        raise ScanError("it is empty", "give the volume itself")
    return _by_bytes(path, head)


def _by_bytes(path: Path, head: bytes) -> str:
    if head.startswith(b"\x1f\x8b"):
        with gzip.open(path) as unzipped:
            head = unzipped.read(540)
        if not is_nifti(head):
            raise ScanError("it is a gzip file of something else than NIfTI", "give the volume itself")
    if is_nifti(head):
        return _NIFTI
    if is_dicom(head):
        return _DICOM
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _NPZ
    if head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
        raise one_slice()
    if head.startswith(b"\x93NUMPY"):
        raise ScanError("it is a bare NumPy array (.npy)", "save it with numpy.savez(array=...)")
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            raise ScanError(f"it is {what}", f"convert it; CrypDoc reads {READABLE_VOLUMES}")
    raise ScanError("it is not a volume that CrypDoc knows", f"give {READABLE_VOLUMES}")
