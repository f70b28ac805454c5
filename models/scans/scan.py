"""What a scan is once it is loaded: a bounded grey picture and how it came to be.

Pixels lie on the 16-bit grid k / 65535, so that `scan_bytes` (what a case's commitment is made over, and what
the panel receives) and `scan_from_bytes` are each other's inverse, bit for bit, on every machine.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from protocols.errors import ScanError

Pixels: TypeAlias = NDArray[np.float32]

MIN_SIDE = 32
MAX_SIDE = 2048  # a longer side is averaged down at loading: bounds what travels to the panel to 8 MiB
MAX_PIXELS = 40_000_000  # refused from the header, before anything is decoded
MAX_FILE_BYTES = 512 * 2**20
MODALITIES = frozenset(
    {"CR", "CT", "DX", "ES", "GM", "MG", "MR", "NM", "OP", "OT", "PT", "RF", "SC", "SM"}
) | {
    "US",
    "XA",
    "XC",
}  # DICOM PS3.3 C.7.3.1.1.1, those that pictures come in; any other word is not carried along
UNKNOWN = "unknown"

_MAGIC = b"CDSCAN\x00\x01"
_HEAD = struct.Struct(">8s8sII")
_FULL = 65535.0


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Scan:
    """A picture of the inside of a patient, without the patient's name.

    pixels: float32 (rows, columns) in 0..1, read-only, each a multiple of 1/65535; sides 32..2048.
    modality: a DICOM modality code ('MR', 'CT', ...) or 'unknown'. source_format: 'PNG', 'JPEG', 'DICOM',
    'NIfTI', ... notes: what loading decided, in sentences fit for a person. Built by `make_scan` only. Its
    repr shows no pixel.

    colour: of a picture in colour (a photograph of skin), float32 (rows, columns, 3) in 0..1, the same rows and
    columns; None for a grey one. It stays on this machine, for the network alone: `scan_bytes`, which the commitment
    is made over and the panel receives, is of `pixels`, its luminance.
    """

    pixels: Pixels
    modality: str
    source_format: str
    notes: tuple[str, ...] = ()
    colour: Pixels | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"<Scan {columns}x{rows}, {self.modality}, from {self.source_format}>"

    def __reduce__(self) -> Any:
        raise TypeError("a scan is not pickled; use scan_bytes")


def check_dimensions(columns: int, rows: int) -> None:
    """Refuse a picture by its stated size, before decoding it.

    Raises ScanError: a side under 32, or more than 40 megapixels in all.
    """
    if columns < MIN_SIDE or rows < MIN_SIDE:
        raise ScanError(
            f"the picture is {columns}x{rows} pixels, and the minimum is {MIN_SIDE}x{MIN_SIDE}",
            "give the scan at its original size",
        )
    if columns * rows > MAX_PIXELS:
        raise ScanError(
            f"the picture is {columns}x{rows} pixels, and the limit is {MAX_PIXELS // 10**6} megapixels",
            "give a smaller or cropped export of the scan",
        )


def make_scan(
    picture: NDArray[Any],
    modality: str = UNKNOWN,
    source_format: str = "array",
    notes: Collection[str] = (),
    colour: NDArray[Any] | None = None,
) -> Scan:
    """A `Scan` of a 2-D array whose values 0..1 mean black to white (values outside are clipped).

    colour: the same picture in red, green and blue, (rows, columns, 3), values 0..1.

    A side above 2048 is averaged down by a whole factor, with a note. An unknown modality word becomes
    'unknown'. Raises ScanError: not 2-D, too small or large, not finite, or all of one grey (it shows
    nothing to read).
    """
    if picture.ndim != 2:
        raise ScanError(f"the picture has {picture.ndim} dimensions, not 2", "give one slice")
    check_dimensions(picture.shape[1], picture.shape[0])
    pixels = np.asarray(picture, dtype=np.float32)
    if not bool(np.isfinite(pixels).all()):
        raise ScanError("the picture holds values that are not numbers", "export the scan again")
    remarks = list(notes)
    factor = -(-max(pixels.shape) // MAX_SIDE)
    if factor > 1:
        pixels = _block_mean(pixels, factor)
        remarks.append(f"Averaged down {factor} times to {pixels.shape[1]}x{pixels.shape[0]} pixels.")
        check_dimensions(pixels.shape[1], pixels.shape[0])
    grid = np.rint(np.clip(pixels, 0.0, 1.0).astype(np.float64) * _FULL)
    if float(grid.max() - grid.min()) < _FULL / 255:
        raise ScanError(
            "the picture is all of one grey and shows nothing", "check the export and give another file"
        )
    hues = None
    if colour is not None:
        if colour.shape != (*picture.shape, 3):
            raise ScanError("the picture's colours do not match its size", "export the picture again")
        hues = np.clip(np.asarray(colour, dtype=np.float32), 0, 1)
        if factor > 1:
            hues = np.stack([_block_mean(hues[..., c], factor) for c in range(3)], axis=-1)
        hues.setflags(write=False)
    word = modality if modality in MODALITIES else UNKNOWN
    return Scan(_frozen(grid), word, source_format, tuple(remarks), hues)


def scan_bytes(scan: Scan) -> bytes:
    """Canonical bytes: magic, modality, rows, columns, 16-bit big-endian pixels in reading order.

    The same pixels and modality give the same bytes, whatever file they came from; notes and format are not
    in it.
    """
    rows, columns = scan.shape
    grid = np.rint(scan.pixels.astype(np.float64) * _FULL).astype(">u2")
    return _HEAD.pack(_MAGIC, scan.modality.encode("ascii"), rows, columns) + grid.tobytes()


def scan_from_bytes(data: bytes) -> Scan:
    """The scan of canonical bytes, from which `scan_bytes` gives `data` back. Raises ScanError on others."""
    if len(data) < _HEAD.size or not data.startswith(_MAGIC):
        raise ScanError("these are not the bytes of a CrypDoc scan", "ask the sender for the scan again")
    _, word, rows, columns = _HEAD.unpack_from(data)
    modality = word.rstrip(b"\x00").decode("ascii", "replace")
    if word != modality.encode("ascii", "replace").ljust(8, b"\x00") or modality not in MODALITIES | {
        UNKNOWN
    }:
        raise ScanError(
            "the scan's modality is not one that CrypDoc knows", "ask the sender for the scan again"
        )
    check_dimensions(columns, rows)
    if max(rows, columns) > MAX_SIDE or len(data) != _HEAD.size + 2 * rows * columns:
        raise ScanError("the scan's bytes do not match its stated size", "ask the sender for the scan again")
    grid = np.frombuffer(data, dtype=">u2", offset=_HEAD.size).reshape(rows, columns).astype(np.float64)
    if float(grid.max() - grid.min()) < _FULL / 255:
        raise ScanError(
            "the picture is all of one grey and shows nothing", "ask the sender for the scan again"
        )
    return Scan(_frozen(grid), modality, "CrypDoc")


def require_modality(scan: Scan, accepted: Collection[str]) -> None:
    """Refuse a scan whose modality is known and not among those a network reads.

    A JPEG or PNG says nothing of its modality and passes. Raises ScanError.
    """
    if scan.modality != UNKNOWN and scan.modality not in accepted:
        wanted = " or ".join(sorted(accepted))
        raise ScanError(
            f"the scan's modality is {scan.modality}, and this network reads {wanted} only",
            f"give a scan of modality {wanted}, or choose a network for {scan.modality}",
        )


def _frozen(grid: NDArray[np.float64]) -> Pixels:
    pixels = np.ascontiguousarray((grid / _FULL).astype(np.float32))
    pixels.setflags(write=False)
    return pixels


def _block_mean(pixels: Pixels, factor: int) -> Pixels:
    """Mean of factor x factor blocks; the remainder at the right and bottom edge is dropped."""
    rows, columns = (side // factor for side in pixels.shape)
    kept = pixels[: rows * factor, : columns * factor]
    mean: Pixels = kept.reshape(rows, factor, columns, factor).mean(axis=(1, 3), dtype=np.float32)
    return mean
