"""Where the head is in a scan.

Pictures come with black margins, white frames and burned-in text of every size, and in collected data these
go with the label; so every network sees the head's bounding box alone, found the same way for all.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.scans.resample import Box, resample
from models.scans.scan import Pixels

Mask: TypeAlias = NDArray[np.bool_]

_SIDE = 128  # the search runs on a small copy
_WHITE = 0.9
_FAR_SMALLER = 0.66
_LEAST = 0.25  # a box with a side below this part of the picture is no head: the whole picture is used


def head_box(pixels: Pixels) -> Box:
    """The head's bounding box (top, bottom, left, right) in pixel edges; the whole picture if none is found.

    Trims white frames, takes what is brighter than the background, opens it to lose thin text, and keeps the
    largest connected piece. Looks a second time inside what was found, as the picture may lie on a wider, darker
    canvas; that counts only when it is far smaller, or the scalp would be lost from heads of dark bone.
    """
    first = _search(pixels, _without_white_frame(pixels))
    second = _search(pixels, first)
    return second if _area(second) < _FAR_SMALLER * _area(first) else first


def _search(pixels: Pixels, frame: Box) -> Box:
    """The box of the largest bright piece inside `frame`, or `frame` itself."""
    top, bottom, left, right = frame
    small = resample(pixels, _SIDE, _SIDE, frame)
    rows, columns = np.nonzero(_largest_piece(_opened(small > _threshold(small))))
    if len(rows) == 0:
        return frame
    high, low = float(rows.min()) / _SIDE, float(rows.max() + 1) / _SIDE
    near, far = float(columns.min()) / _SIDE, float(columns.max() + 1) / _SIDE
    if low - high < _LEAST or far - near < _LEAST:
        return frame
    height, width = bottom - top, right - left
    return top + high * height, top + low * height, left + near * width, left + far * width


def _area(box: Box) -> float:
    return (box[1] - box[0]) * (box[3] - box[2])


def _without_white_frame(pixels: Pixels) -> Box:
    """Cuts outer rows and columns that are nearly all white."""
    rows, columns = (np.mean(pixels > _WHITE, axis=axis) > 0.8 for axis in (1, 0))
    box: list[float] = []
    for white in (rows, columns):
        kept = np.nonzero(~white)[0]
        box += (
            [float(kept[0]), float(kept[-1] + 1)]
            if len(kept) >= len(white) // 4
            else [0.0, float(len(white))]
        )
    return box[0], box[1], box[2], box[3]


def _threshold(small: Pixels) -> float:
    """A third of Otsu's level (1979) above the darkest fiftieth: dark brain counts, dim background not."""
    floor = float(np.percentile(small, 2))
    counts, edges = np.histogram(np.clip(small, floor, np.percentile(small, 85)), bins=64)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts) / counts.sum()
    mean = np.cumsum(counts * centres) / counts.sum()
    spread = (mean[-1] * below - mean) ** 2 / np.maximum(below * (1 - below), 1e-9)
    return floor + 0.3 * (float(centres[int(np.argmax(spread))]) - floor)


def _opened(mask: Mask) -> Mask:
    """Morphological opening by 3x3."""
    return _neighbours(_neighbours(mask, np.logical_and), np.logical_or)


def _neighbours(mask: Mask, join: np.ufunc) -> Mask:
    edge = join is np.logical_and
    wide = np.pad(mask, 1, constant_values=edge)
    three = join(join(wide[:-2], wide[1:-1]), wide[2:])
    result: Mask = join(join(three[:, :-2], three[:, 1:-1]), three[:, 2:])
    return result


def _largest_piece(mask: Mask) -> Mask:
    """The largest 4-connected piece: runs of each row, joined where they touch those of the row before."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    stops = np.nonzero(edges == -1)[1]
    parent = list(range(len(rows)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    first = np.searchsorted(rows, np.arange(len(mask) + 1))
    for row in range(1, len(mask)):
        above, here = int(first[row - 1]), int(first[row])
        while above < first[row] and here < first[row + 1]:
            if starts[above] < stops[here] and starts[here] < stops[above]:
                parent[root(above)] = root(here)
            if stops[above] < stops[here]:
                above += 1
            else:
                here += 1
    piece = np.zeros_like(mask)
    if len(rows):
        roots = np.array([root(run) for run in range(len(rows))])
        largest = int(np.argmax(np.bincount(roots, weights=stops - starts)))
        for run in np.nonzero(roots == largest)[0]:
            piece[rows[run], starts[run] : stops[run]] = True
    return piece
