"""A scan as the networks take it, int8, by the preparation that a network's card names.

Training used this very function. All of it is public arithmetic on the patient's own machine.

`views`, for a slice of the head: the head alone, levelled, in up to three views:

0. the picture: the head's box stretched to the square, greys levelled between percentiles 1 and 99;
1. the asymmetry: how much brighter (+) or darker (-) a place is than every place around its mirror image
   across the midline. Healthy brains are nearly symmetric, most tumours are not;
2. the texture: standard deviation of the greys around a place, which rings and borders raise.

`grey3`: the whole picture in grey, levelled, three times over, as networks trained on photographs take it.
`rgb`: the whole picture's red, green and blue as they are (a grey one's grey, three times).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.scans.head import head_box
from models.scans.resample import resample
from models.scans.scan import Pixels, Scan

INPUT_SCALE = 1 / 127  # the real value of one int8 step, as the networks' first layer understands it
VIEWS = ("picture", "asymmetry", "texture")

_WIDEST = 225
_FINE = 128  # side at which the views are computed
_TOLERANCE = 4  # a mirror image may lie this many fine pixels off and still count as the same place


def prepare(scan: Scan, channels: int, side: int, preparation: str = "views") -> NDArray[np.int8]:
    """The network's input: int8 (channels, side, side), -127..127 for each plane's -1..1.

    channels 1 to 3 takes the first of the planes; side 8 to 225 (views are computed at 128). preparation: one of
    `PREPARATIONS`. Raises ValueError on others. Depends on the pixels alone.
    """
    if not 1 <= channels <= len(VIEWS) or not 8 <= side <= _WIDEST:
        raise ValueError(f"no network takes {channels} channels of side {side}")
    if preparation not in PREPARATIONS:
        raise ValueError(f"there is no preparation {preparation!r}")
    return _steps(_PLANES[preparation](scan, channels, side))


def prepare_sides(scan: Scan, sides: tuple[int, ...]) -> dict[int, NDArray[np.int8]]:
    """`prepare(scan, 3, side)` for several sides at once, at little more than the cost of one."""
    views = _fine(scan, 3)
    return {side: _steps([resample(view, side, side) for view in views]) for side in sides}


def _steps(planes: list[Pixels]) -> NDArray[np.int8]:
    steps: NDArray[np.int8] = np.rint(np.clip(np.stack(planes), -1, 1) / INPUT_SCALE).astype(np.int8)
    return steps


def _fine(scan: Scan, channels: int) -> list[Pixels]:
    fine = _levelled(resample(scan.pixels, _FINE, _FINE, head_box(scan.pixels)))
    return [2 * fine - 1, 2 * _asymmetry(fine), 4 * _texture(fine) - 1][:channels]


def _views(scan: Scan, channels: int, side: int) -> list[Pixels]:
    return [resample(view, side, side) for view in _fine(scan, channels)]


def _grey3(scan: Scan, channels: int, side: int) -> list[Pixels]:
    plane: Pixels = 2 * _levelled(resample(scan.pixels, side, side)) - 1
    return [plane] * channels


def _rgb(scan: Scan, channels: int, side: int) -> list[Pixels]:
    hues = [scan.pixels] * 3 if scan.colour is None else [scan.colour[..., c] for c in range(3)]
    return [2 * resample(hue, side, side) - 1 for hue in hues[:channels]]


_PLANES: dict[str, Callable[[Scan, int, int], list[Pixels]]] = {"views": _views, "grey3": _grey3, "rgb": _rgb}
PREPARATIONS = tuple(_PLANES)


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
