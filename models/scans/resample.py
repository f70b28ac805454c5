"""Resampling a box of a picture to a fixed grid, in numpy: two small matrices, the same on every machine."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.scans.scan import Pixels

Box: TypeAlias = tuple[float, float, float, float]


def resample(pixels: Pixels, rows: int, columns: int, box: Box | None = None) -> Pixels:
    """`box` (top, bottom, left, right, in pixel edges; default: all) of `pixels` at rows x columns.

    Triangle filter as wide as the step between samples, so reducing averages and enlarging is bilinear.
    Parts of the box beyond the picture repeat its edge.
    """
    top, bottom, left, right = box or (0.0, float(pixels.shape[0]), 0.0, float(pixels.shape[1]))
    tall = _weights(pixels.shape[0], rows, top, bottom)
    wide = _weights(pixels.shape[1], columns, left, right)
    result: Pixels = (tall @ pixels @ wide.T).astype(np.float32)
    return result


def _weights(length: int, count: int, start: float, stop: float) -> NDArray[np.float32]:
    """(count, length) matrix; each row sums to 1."""
    step = (stop - start) / count
    reach = max(step, 1.0)
    at = start + (np.arange(count) + 0.5) * step
    first = int(np.floor(min(start, 0.0) - reach)) - 1
    last = int(np.ceil(max(stop, length) + reach)) + 1
    source = np.arange(first, last)
    weights = np.maximum(0.0, 1.0 - np.abs(source[None, :] + 0.5 - at[:, None]) / reach)
    matrix = np.zeros((count, length))
    for column, index in enumerate(np.clip(source, 0, length - 1)):
        matrix[:, index] += weights[:, column]
    normed: NDArray[np.float32] = (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)
    return normed
