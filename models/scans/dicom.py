"""DICOM into a scan: stored values through the modality and window transforms of PS3.3 C.11.1 and C.11.2.

Of the header only what turns numbers into greys is read, and the modality; nothing of it is kept otherwise.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from models.scans.raster import grey
from models.scans.scan import Scan, check_dimensions, make_scan
from protocols.errors import ScanError

_LEAST_CONTRAST = 0.125  # of black to white; a window that shows less was not made for these values
_DEFLATED = b"1.2.840.10008.1.2.1.99"


def read_dicom(data: bytes, frame: int | None) -> Scan:
    """The picture of a DICOM file, black to white as its window (or else its range of values) says.

    frame: required for, and only for, a file of several frames. Raises ScanError: no picture inside,
    several frames and none chosen, a compression without a decoder here; and whatever the decoder raises on
    a damaged file.
    """
    if _DEFLATED in data[:4096]:  # would inflate without bound before its size is known
        raise ScanError("it is a deflated DICOM file", "export it uncompressed (Explicit VR Little Endian)")
    dataset = dcmread(io.BytesIO(data), force=True)
    _check_picture(dataset)
    index = _frame_index(int(dataset.get("NumberOfFrames") or 1), frame)
    values = _decode(dataset, index)
    notes: list[str] = []
    if values.ndim == 2 and dataset.PhotometricInterpretation == "PALETTE COLOR":
        palette = apply_color_lut(values, dataset)
        picture = grey(palette) / float(np.iinfo(palette.dtype).max)
    elif values.ndim == 3:
        picture = grey(values) / float(2 ** int(dataset.BitsStored) - 1)
    else:
        picture, notes = _windowed(dataset, values)
    if index is not None:
        notes.append(f"Frame {index} of {dataset.NumberOfFrames}, counted from 0.")
    return make_scan(picture, str(dataset.get("Modality") or ""), "DICOM", notes)


def _check_picture(dataset: Dataset) -> None:
    if "PixelData" not in dataset or "Rows" not in dataset or "Columns" not in dataset:
        raise ScanError("it is a DICOM file without a picture", "give an image object of the study")
    check_dimensions(int(dataset.Columns), int(dataset.Rows))


def _frame_index(frames: int, frame: int | None) -> int | None:
    """None for a single picture, else the frame chosen."""
    if frames == 1:
        if frame not in (None, 0):
            raise ScanError(f"frame {frame} was asked for, and it has one", "leave the frame out")
        return None
    if frame is None:
        raise ScanError(
            f"it holds {frames} frames, and a scan is one", f"choose one: frame=0 to {frames - 1}"
        )
    if not 0 <= frame < frames:
        raise ScanError(f"frame {frame} was asked for, and it has {frames}", f"choose 0 to {frames - 1}")
    return frame


def _decode(dataset: Dataset, index: int | None) -> NDArray[Any]:
    """Stored values of one frame: (rows, columns), or (rows, columns, 3) in RGB."""
    meta = getattr(dataset, "file_meta", None)
    syntax = UID(str(meta.get("TransferSyntaxUID") or "")) if meta is not None else UID("")
    if not syntax:  # without a file header: the default of PS3.5 section 10
        dataset.file_meta = dataset.file_meta if meta is not None else Dataset()  # type: ignore[assignment]
        dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2")
    try:
        return pixel_array(dataset, index=0 if index is None else index)
    except (NotImplementedError, RuntimeError) as error:
        if syntax and syntax.is_transfer_syntax and syntax.is_compressed:
            raise ScanError(
                f"no decoder here reads its compression ({syntax.name})", "export it uncompressed or as PNG"
            ) from error
        raise


def _windowed(dataset: Dataset, values: NDArray[Any]) -> tuple[NDArray[np.float32], list[str]]:
    """Greys 0..1 of monochrome stored values, and a note on how."""
    physical = np.asarray(apply_modality_lut(values, dataset), dtype=np.float64)
    note = "The file names no window: its smallest to largest value are black to white."
    scaled = _spread(physical)
    if "WindowCenter" in dataset and "WindowWidth" in dataset:
        windowed = _through_window(dataset, physical)
        low, high = np.percentile(windowed, [1, 99])
        if high - low >= _LEAST_CONTRAST:
            scaled, note = windowed, "Shown through the window that the file names."
        else:
            note = (
                "The file's window shows next to nothing: its smallest to largest value are black to white."
            )
    elif "VOILUTSequence" in dataset:
        scaled = _spread(np.asarray(apply_voi_lut(values, dataset), dtype=np.float64))
        note = "Shown through the look-up table that the file holds."
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        scaled = 1.0 - scaled
    return scaled.astype(np.float32), [note]


def _spread(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = float(levels.min()), float(levels.max())
    return (levels - low) / max(high - low, 1e-9)


def _through_window(dataset: Dataset, physical: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear window of PS3.3 C.11.2.1.2 (the first one named), black 0 to white 1."""
    centre, width = (_first(dataset[word].value) for word in ("WindowCenter", "WindowWidth"))
    span = max(width - 1.0, 1e-6)
    clipped: NDArray[np.float64] = np.clip((physical - (centre - 0.5)) / span + 0.5, 0.0, 1.0)
    return clipped


def _first(value: Any) -> float:
    return float(value[0] if hasattr(value, "__getitem__") and not isinstance(value, str) else value)
