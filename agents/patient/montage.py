"""A volume as one picture that a panel can read: axial slices in a lung window, and these with the mask in colour.

Slices are seen from the feet, as radiologists do: the patient's right is on the left, the front is up. Neither picture
is enlarged or sharpened; the first one holds no mask and no number that a model made.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.scans import Scan, make_scan
from models.volumes import Volume

WINDOW = (-1350.0, 150.0)  # HU that are black and white: level -600, width 1500
PERCENTILES = (0.5, 99.5)  # of grey volumes, whose scale nobody stated
SIDE = 2048
MOST_TILES, TILE = 64, 512
INFECTION, LUNG = (255, 112, 32), (86, 180, 233)
FILL = 0.45
MOST_BYTES = 6 << 20  # of the coloured picture, so that it fits a message; a larger one has 256 colours
_SAMPLE = 1 << 22


def montage(volume: Volume) -> tuple[Scan, dict[str, Any]]:
    """The picture, and where the slices stand in it: columns, rows, tile (columns, rows of pixels), slices, of.

    At most 64 slices, evenly from the lowest to the highest; more pixels than the volume has are not made up.
    """
    layout = _layout(volume)
    low, high = _window(volume)
    wide, tall = layout["tile"]
    picture = np.zeros((layout["rows"] * tall, layout["columns"] * wide), np.float32)
    for box, number in _places(layout):
        stored = volume.values[:, :, number].astype(np.float32) * volume.slope + volume.intercept
        shown = Image.fromarray(_seen(np.clip((stored - low) / (high - low), 0, 1)))
        picture[box] = np.asarray(shown.resize((wide, tall), Image.Resampling.BILINEAR))
    return make_scan(picture, "CT", "volume"), layout


def overlay(
    png: bytes, layout: dict[str, Any], lung: NDArray[np.bool_], infection: NDArray[np.bool_]
) -> bytes:
    """The picture with the infection filled and the lung outlined, PNG of the same size. Masks are (X, Y, Z)."""
    with Image.open(io.BytesIO(png)) as grey:
        colour = np.asarray(grey.convert("RGB")).astype(np.float32)
    scale_y, scale_x = (
        colour.shape[0] / (layout["rows"] * layout["tile"][1]),
        colour.shape[1] / (layout["columns"] * layout["tile"][0]),
    )
    for (rows, columns), number in _places(layout):
        top, bottom = round(rows.start * scale_y), round(rows.stop * scale_y)
        left, right = round(columns.start * scale_x), round(columns.stop * scale_x)
        tile = colour[top:bottom, left:right]
        size = (right - left, bottom - top)
        sick, whole = _fit(infection[:, :, number], size), _fit(lung[:, :, number], size)
        tile[_edge(whole)] = LUNG
        tile[sick] = (1 - FILL) * tile[sick] + FILL * np.array(INFECTION, np.float32)
    made = Image.fromarray(np.rint(colour).astype(np.uint8))
    packed = _packed(made)
    return packed if len(packed) <= MOST_BYTES else _packed(made.quantize(256))


def _packed(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, format="PNG", optimize=True)
    return out.getvalue()


def _layout(volume: Volume) -> dict[str, Any]:
    x, y, slices = volume.values.shape
    shown = min(slices, MOST_TILES)
    columns = math.ceil(math.sqrt(shown))
    rows = math.ceil(shown / columns)
    width, height = x * volume.spacing[0], y * volume.spacing[1]
    side = min(TILE, SIDE // columns, max(64, x, y))
    longest = max(width, height)
    tile = [max(16, round(side * width / longest)), max(16, round(side * height / longest))]
    numbers = np.unique(np.round(np.linspace(0, slices - 1, shown)).astype(int)).tolist()
    return {"columns": columns, "rows": rows, "tile": tile, "slices": numbers, "of": slices}


def _window(volume: Volume) -> tuple[float, float]:
    if volume.units == "HU":
        return WINDOW
    stored = volume.values.reshape(-1)[:: max(1, volume.values.size // _SAMPLE)].astype(np.float32)
    low, high = (float(v) for v in np.percentile(stored * volume.slope + volume.intercept, PERCENTILES))
    return low, max(high, low + 1e-3)


def _places(layout: dict[str, Any]) -> Iterator[tuple[tuple[slice, slice], int]]:
    wide, tall = layout["tile"]
    for place, number in enumerate(layout["slices"]):
        row, column = divmod(place, layout["columns"])
        yield (slice(row * tall, (row + 1) * tall), slice(column * wide, (column + 1) * wide)), number


def _seen(plane: NDArray[Any]) -> NDArray[Any]:
    """(x, y) with x to the right and y to the front, as rows and columns of a picture seen from the feet."""
    return np.ascontiguousarray(plane[::-1, ::-1].T)


def _fit(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    shown = Image.fromarray(_seen(mask).astype(np.uint8) * 255)
    fitted: NDArray[np.bool_] = np.asarray(shown.resize(size, Image.Resampling.BILINEAR)) > 127
    return fitted


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask with a neighbour outside it."""
    wide = np.pad(mask, 1)
    inner = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask & ~inner
