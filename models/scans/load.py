"""Reading a file into a `Scan`: the format is told from the first bytes, never from the name.

The decoders are other people's, and a malformed file makes them raise nearly anything; here that ends as one
`ScanError`, which names the fault and the remedy. Sizes are checked from headers before pixels are decoded.
"""

from __future__ import annotations

import stat
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

from models.scans.dicom import read_dicom
from models.scans.nifti import read_nifti
from models.scans.raster import read_jpeg, read_png
from models.scans.scan import MAX_FILE_BYTES, Scan, scan_from_bytes
from protocols.errors import ScanError

READABLE = "JPEG, PNG, DICOM and NIfTI"

_QUIET = threading.Lock()  # warning filters belong to the whole process: one thread at a time may bend them

_FOREIGN = (
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"RIFF", "a WebP or other RIFF file"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x00\x00\x00\x0cjP  ", "a bare JPEG 2000 picture"),
)


def load_scan(
    source: Path | str | bytes, name: str | None = None, *, slice: int | None = None, frame: int | None = None
) -> Scan:
    """The scan in a file, or in the bytes of one.

    name: what to call it in an error (default: the file's own name); it is not kept. slice: which axial
    slice of a NIfTI volume, from 0 (default: the middle one). frame: which frame of a multi-frame DICOM
    file, from 0 (no default: such a file is refused without it). Raises ScanError on whatever is not one
    readable scan, and nothing else.
    """
    path = None if isinstance(source, bytes) else Path(source)
    label = name or (path.name if path else "") or "the file"
    try:
        data = source if isinstance(source, bytes) else _read(Path(source))
        if not data:
            raise ScanError("it is empty", "give the scan itself")
        if len(data) > MAX_FILE_BYTES:
            raise _too_large(len(data))
        return _decode(data, slice, frame)
    except ScanError as error:
        raise ScanError(f"{label} cannot be read as a scan: {error.fault}", error.remedy) from error.__cause__


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ScanError("it is a directory", "give one file of it")
        if not stat.S_ISREG(status.st_mode):
            raise ScanError("it is not an ordinary file", "give a file")
        if status.st_size > MAX_FILE_BYTES:
            raise _too_large(status.st_size)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ScanError("there is no such file", "check the path") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the path is not valid"
        raise ScanError(f"it cannot be opened ({reason})", "check the path and its permissions") from error


def _too_large(size: int) -> ScanError:
    return ScanError(
        f"it is {size // 2**20} MiB, and the limit is {MAX_FILE_BYTES // 2**20} MiB", "give one slice of it"
    )


def _decode(data: bytes, slice_index: int | None, frame: int | None) -> Scan:
    kind, read = _reader(data, slice_index, frame)
    if slice_index is not None and kind != "NIfTI":
        raise ScanError(f"a slice was asked for, and it is a {kind} file", "leave the slice out")
    if frame is not None and kind != "DICOM":
        raise ScanError(f"a frame was asked for, and it is a {kind} file", "leave the frame out")
    try:
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a decoder's remarks on odd headers are not for the person
            return read(data)
    except ScanError:
        raise
    except (Exception, RecursionError, MemoryError) as error:
        raise ScanError(
            f"it begins as {kind} but is damaged or cut short", "export or copy it again"
        ) from error


def _reader(data: bytes, slice_index: int | None, frame: int | None) -> tuple[str, Callable[[bytes], Scan]]:
    """The format by its first bytes, and what reads it. Raises ScanError naming what else it seems to be."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG", read_png
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG", read_jpeg
    if data[128:132] == b"DICM" or data[:4] in (
        b"\x08\x00\x05\x00",
        b"\x08\x00\x08\x00",
        b"\x08\x00\x16\x00",
    ):
        return "DICOM", lambda whole: read_dicom(whole, frame)
    if data.startswith(b"\x1f\x8b") or data[344:347] in (b"n+1", b"ni1") or data[4:7] in (b"n+2", b"ni2"):
        return "NIfTI", lambda whole: read_nifti(whole, slice_index)
    if data.startswith(b"CDSCAN\x00"):
        return "CrypDoc", scan_from_bytes
    for magic, what in _FOREIGN:
        if data.startswith(magic):
            raise ScanError(f"it is {what}", f"convert it; CrypDoc reads {READABLE}")
    raise ScanError("it is not an image that CrypDoc knows", f"give one of {READABLE}")
