"""A scan as the networks take it: the head alone, levelled, in up to three views, as int8.

Training used this very function. The views are public arithmetic on the patient's own machine:

0. the picture: the head's box stretched to the square, greys levelled between percentiles 1 and 99;
1. the asymmetry: how much brighter (+) or darker (-) a place is than every place around its mirror image
   across the midline. Healthy brains are nearly symmetric, most tumours are not;
2. the texture: standard deviation of the greys around a place, which rings and borders raise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.scans.head import head_box
from models.scans.resample import resample
from models.scans.scan import Pixels, Scan

INPUT_SCALE = 1 / 127  # the real value of one int8 step, as the networks' first layer understands it
VIEWS = ("picture", "asymmetry", "texture")

_FINE = 128  # side at which the views are computed
_TOLERANCE = 4  # a mirror image may lie this many fine pixels off and still count as the same place


def prepare(scan: Scan, channels: int, side: int) -> NDArray[np.int8]:
    """The network's input: int8 (channels, side, side), -127..127 for each view's -1..1.

    channels 1 to 3 takes the first of the views; side 8 to 128. Raises ValueError on others. Depends on the
    pixels alone.
    """
    if not 1 <= channels <= len(VIEWS) or not 8 <= side <= _FINE:
        raise ValueError(f"no network takes {channels} channels of side {side}")
    fine = _levelled(resample(scan.pixels, _FINE, _FINE, head_box(scan.pixels)))
    views = [2 * fine - 1, 2 * _asymmetry(fine), 4 * _texture(fine) - 1][:channels]
    values = np.stack([resample(view, side, side) for view in views])
    steps: NDArray[np.int8] = np.rint(np.clip(values, -1, 1) / INPUT_SCALE).astype(np.int8)
    return steps


def _levelled(head: Pixels) -> Pixels:
    low, high = np.percentile(head, [1, 99])
    scaled: Pixels = np.clip((head - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
    return scaled


def _asymmetry(fine: Pixels) -> Pixels:
    smooth = _mean(fine, 2)
    mirror = smooth[:, ::-1]
    highest, lowest = _extreme(mirror, np.maximum), _extreme(mirror, np.minimum)
    excess: Pixels = np.maximum(smooth - highest, 0) - np.maximum(lowest - smooth, 0)
    return excess


def _texture(fine: Pixels) -> Pixels:
    variance = _mean(fine * fine, 3) - _mean(fine, 3) ** 2
    deviation: Pixels = np.sqrt(np.maximum(variance, 0)).astype(np.float32)
    return deviation


def _mean(image: Pixels, radius: int) -> Pixels:
    """Box mean, by running sums; the edge repeats."""
    result = image.astype(np.float64)
    for _ in range(2):
        wide = np.pad(result, ((radius + 1, radius), (0, 0)), mode="edge")
        sums = np.cumsum(wide, axis=0)
        result = ((sums[2 * radius + 1 :] - sums[: -2 * radius - 1]) / (2 * radius + 1)).T
    return result.astype(np.float32)


def _extreme(image: Pixels, choose: np.ufunc) -> Pixels:
    """Largest (or smallest) value within the tolerance, square window."""
    result = image
    for _ in range(2):
        wide = np.pad(result, ((_TOLERANCE, _TOLERANCE), (0, 0)), mode="edge")
        rows = result.shape[0]
        result = choose.reduce([wide[shift : shift + rows] for shift in range(2 * _TOLERANCE + 1)]).T
    return result
