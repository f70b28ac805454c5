"""Training the automatic reader: ridge-penalised logistic regression, a bag of members, Platt's calibration.

It is trained first; `models/train.py` distils it into the networks (Hinton 2015): on two hundred pictures its
strong prior is worth more than their freedom.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.dataset import HELD_OUT, Pictures
from models.metrics import Labels, Logits, figures, platt
from models.reader import DISCLAIMER, LABELS, STEM, features

MEMBERS = 7
PENALTY = 0.3  # of the squared slopes, a training example
_STEPS = 12


@dataclass(frozen=True)
class Regression:
    """logit = (features - mean) / spread . slopes + offset; one row of slopes a member."""

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    slopes: NDArray[np.float64]
    offsets: NDArray[np.float64]

    def logits(self, values: NDArray[np.float64]) -> Logits:
        """The members' average, for features of any leading shape."""
        result: Logits = ((values - self.mean) / self.spread) @ self.slopes.mean(axis=0) + self.offsets.mean()
        return result


def regress(values: NDArray[np.float64], labels: Labels, members: int = 1, seed: int = 3) -> Regression:
    """Fits on features (picture, variant, feature). One member learns from all pictures; several each from
    a sample of four fifths of them."""
    rng = np.random.default_rng(seed)
    every = values.reshape(-1, values.shape[-1])
    mean, spread = every.mean(axis=0), every.std(axis=0) + 1e-9
    rows = []
    for _ in range(members):
        count = len(labels)
        chosen = rng.permutation(count)[: count * 4 // 5] if members > 1 else np.arange(count)
        scaled = ((values[chosen] - mean) / spread).reshape(-1, values.shape[-1])
        rows.append(_newton(scaled, np.repeat(labels[chosen], values.shape[1])))
    found = np.stack(rows)
    slopes, offsets = found[:, :-1].copy(), found[:, -1].copy()  # safetensors writes views wrongly
    return Regression(mean, spread, slopes, offsets)


def _newton(values: NDArray[np.float64], labels: Labels) -> NDArray[np.float64]:
    """Slopes and, last, the offset, which is not penalised."""
    design = np.concatenate([values, np.ones((len(values), 1))], axis=1)
    ridge = np.eye(design.shape[1]) * PENALTY * len(values)
    ridge[-1, -1] = 1e-6
    at = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(design @ at, -30, 30)))
        slope = design.T @ (probability - labels) + ridge @ at
        curve = (design * (probability * (1 - probability) + 1e-6)[:, None]).T @ design + ridge
        at = at - np.linalg.solve(curve, slope)
    return at


def out_of_fold(values: NDArray[np.float64], labels: Labels, folds: NDArray[np.int64]) -> Logits:
    """The logit of each picture as it is, from a regression that saw nothing of its fold."""
    logits = np.zeros(len(labels))
    for fold in np.unique(folds):
        inside = folds == fold
        logits[inside] = regress(values[~inside], labels[~inside]).logits(values[inside, 0])
    return logits


def train_reader(pictures: Pictures, images: NDArray[np.int8], folder: Path) -> None:
    """Writes the reader's weights and card to `folder`. images: as `variants` makes them at side 64."""
    from safetensors.numpy import save_file

    values, labels, folds = features(images), pictures.labels, pictures.folds
    held, seen = folds == HELD_OUT, folds != HELD_OUT
    scale, offset = platt(labels[seen], out_of_fold(values[seen], labels[seen], folds[seen]))
    reader = regress(values[seen], labels[seen], MEMBERS)
    tensors = {
        "mean": reader.mean,
        "spread": reader.spread,
        "slopes": reader.slopes,
        "offsets": reader.offsets,
        "calibration": np.array([scale, offset]),
    }
    save_file(tensors, folder / f"{STEM}.safetensors")
    card: dict[str, Any] = {
        "name": "Automatic reader",
        "warning": DISCLAIMER,
        "task": "brain tumour on an MRI slice",
        "labels": LABELS,
        "members": MEMBERS,
        "held_out": figures(labels[held], scale * reader.logits(values[held, 0]) + offset),
        "cross_validation": figures(labels, scale * out_of_fold(values, labels, folds) + offset),
        "calibration": {"method": "Platt", "scale": round(scale, 4), "offset": round(offset, 4)},
        "licence": "Apache-2.0",
    }
    (folder / f"{STEM}.card.json").write_text(json.dumps(card, indent=1) + "\n")
