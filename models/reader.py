"""The automatic reader that plays the doctors in the demo. IT IS NOT A PHYSICIAN and reads for no patient.

A logistic regression on some two hundred hand-made figures of the prepared scan (asymmetry, texture,
greys), in numpy, in the clear: whoever runs it sees the scan. It stands for the pair of eyes that a person
would bring, so that a case can run from end to end on one machine; everywhere it shows, it says that it is
automatic.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.scans import Scan, prepare
from models.zoo import WEIGHTS
from protocols.errors import UserError

Real: TypeAlias = NDArray[np.float64]

SIDE = 64
LABELS = ("no tumour", "tumour")
DISCLAIMER = "Automatic reader for demonstrations, not a physician."
STEM = "reader-brain-mri"
_CELLS = 8


@dataclass(frozen=True, slots=True)
class Reading:
    """label: one of `LABELS`. confidence_percent: 50..99, the calibrated probability of that label.

    automatic: always True; whoever shows a reading says so.
    """

    label: str
    confidence_percent: int
    automatic: bool = True


def read(scan: Scan, member: int | None = None) -> Reading:
    """What the reader sees. The same scan and member give the same reading.

    member: which of the reader's `members()` looks, taken modulo their number, so that a panel of automatic
    doctors differs as colleagues do (each learnt from another sample of the training set); None: their
    average.
    """
    weights = _weights()
    values = (features(prepare(scan, 3, SIDE)) - weights.mean) / weights.spread
    logits = weights.slopes @ values + weights.offsets
    logit = float(logits.mean()) if member is None else float(logits[member % len(logits)])
    logit = weights.scale * logit + weights.offset
    probability = 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))
    sure = max(probability, 1 - probability)
    return Reading(LABELS[int(logit > 0)], min(99, max(50, round(100 * sure))))


def members() -> int:
    """How many members the reader has."""
    return len(_weights().offsets)


def card() -> dict[str, Any]:
    """The reader's card: what it is, its figures, its training data."""
    text: dict[str, Any] = json.loads((WEIGHTS / f"{STEM}.card.json").read_text(encoding="utf-8"))
    return text


def features(images: NDArray[np.int8]) -> Real:
    """The figures of prepared scans, int8 (..., 3, 64, 64), as (..., 186); a mirrored scan gives nearly the
    same ones.

    Quantiles of each view over the head and its middle; means over an 8 x 8 grid, left and right averaged;
    the grid's eight largest values of bright asymmetry and of texture.
    """
    views = images.astype(np.float64) / 127
    picture, asymmetry, texture = (views[..., view, :, :] for view in range(3))
    inner = np.s_[..., 12:52, 14:50]
    bright = np.maximum(asymmetry, 0)
    figures = [
        _quantiles(np.abs(asymmetry), (0.5, 0.75, 0.9, 0.95, 0.98, 0.995, 1)),
        _quantiles(asymmetry, (0.002, 0.02, 0.1, 0.9, 0.98, 0.998)),
        _quantiles(picture, (0.05, 0.25, 0.5, 0.75, 0.9, 0.97)),
        _quantiles(texture, (0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.995)),
        _quantiles(picture[inner], (0.05, 0.25, 0.5, 0.75, 0.9, 0.97, 0.995)),
        _quantiles(asymmetry[inner], (0.005, 0.05, 0.5, 0.95, 0.995)),
        _quantiles(texture[inner], (0.1, 0.5, 0.9, 0.99)),
        *(_halves(_grid(view)) for view in (np.abs(asymmetry), bright, texture, picture)),
        *(np.sort(_flat(_grid(view)), axis=-1)[..., -8:] for view in (bright, texture)),
    ]
    return np.concatenate(figures, axis=-1)


def _flat(view: Real) -> Real:
    return view.reshape(*view.shape[:-2], -1)


def _quantiles(view: Real, at: tuple[float, ...]) -> Real:
    return np.moveaxis(np.quantile(_flat(view), at, axis=-1), 0, -1)


def _grid(view: Real) -> Real:
    cell = SIDE // _CELLS
    means: Real = view.reshape(*view.shape[:-2], _CELLS, cell, _CELLS, cell).mean(axis=(-3, -1))
    return means


def _halves(grid: Real) -> Real:
    return _flat(((grid + grid[..., ::-1]) / 2)[..., : _CELLS // 2])


@dataclass(frozen=True, slots=True)
class _Weights:
    """mean, spread: of the features, (186,). slopes, offsets: (members, 186), (members,). scale, offset:
    Platt's."""

    mean: Real
    spread: Real
    slopes: Real
    offsets: Real
    scale: float
    offset: float


@cache
def _weights() -> _Weights:
    from safetensors.numpy import load

    path = WEIGHTS / f"{STEM}.safetensors"
    try:
        tensors = {name: value.astype(np.float64) for name, value in load(path.read_bytes()).items()}
        scale, offset = (float(value) for value in tensors.pop("calibration"))
        return _Weights(**tensors, scale=scale, offset=offset)
    except Exception as error:  # the safetensors parser has its own, undeclared errors
        raise UserError(
            "the automatic reader's weights are missing or damaged", "install CrypDoc again"
        ) from error
