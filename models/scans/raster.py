"""PNG and JPEG into a scan, of every colour mode they come in.

Pillow's format classes are called directly, so that its own size guard (a warning that would reach the
person's terminal) never runs: the size in the header is checked here against our own, lower limit, before
decoding.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from models.scans.scan import Scan, check_dimensions, make_scan

_TINT = 0.03  # mean difference of a picture's channels from which it is one in colour
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def read_png(data: bytes) -> Scan:
    """1, 8 or 16 bits, grey, colour or palette, with or without alpha (what is transparent becomes black)."""
    return _read(PngImageFile(io.BytesIO(data)), "PNG")


def read_jpeg(data: bytes) -> Scan:
    """Grey, colour or CMYK; turned upright as its EXIF orientation says."""
    return _read(JpegImageFile(io.BytesIO(data)), "JPEG")


def grey(colour: NDArray[Any]) -> NDArray[np.float32]:
    """Luminance of (rows, columns, 3), in the same units."""
    luminance: NDArray[np.float32] = colour[..., :3].astype(np.float32) @ _LUMA
    return luminance


def _read(image: ImageFile.ImageFile, source_format: str) -> Scan:
    check_dimensions(*image.size)
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):
        return _deep(upright, source_format)
    if "transparency" in upright.info or upright.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        layers = np.asarray(upright.convert("RGBA"), dtype=np.float32) / 255
        return _coloured(layers[..., :3] * layers[..., 3:], source_format)
    if upright.mode in ("L", "1"):
        return make_scan(
            np.asarray(upright.convert("L"), dtype=np.float32) / 255, source_format=source_format
        )
    return _coloured(np.asarray(upright.convert("RGB")).astype(np.float32) / 255, source_format)


def _coloured(colour: NDArray[Any], source_format: str) -> Scan:
    """Many a grey scan is stored in colour: as coloured counts what is more than JPEG's own tint."""
    spread = np.max(colour, axis=-1) - np.min(colour, axis=-1)
    kept = colour if float(spread.mean()) > _TINT else None
    return make_scan(grey(colour), source_format=source_format, colour=kept)


def _deep(image: Image.Image, source_format: str) -> Scan:
    """16 bits a pixel: scanners fill 10 to 12 of them, so the largest value present is taken as white."""
    values = np.asarray(image).astype(np.float32)
    top = float(values.max())
    note = f"16-bit picture: its largest value, {top:g}, is shown as white."
    return make_scan(values / max(top, 1.0), source_format=source_format, notes=(note,))
