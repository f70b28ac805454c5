"""The brain MRI pictures that the networks learn from: loading, splitting, and made variants.

The folder (`../shared/data/brain-mri-kaggle-yesno`: `manifest.csv` with file, label, dup_group) is not part
of the project. Near-duplicates share a group, and a group is never split between training and testing.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.metrics import Labels
from models.scans import Scan, load_scan, make_scan, prepare
from models.scans.resample import resample
from models.scans.scan import Pixels
from protocols.errors import UserError

FOLDS = 5
HELD_OUT = 0  # the fold that no committed weight has seen
DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data" / "brain-mri-kaggle-yesno"

_WORKING_SIDE = 200  # pictures are reduced to this before variants are made; `prepare` works at 128


@dataclass(frozen=True)
class Pictures:
    """scans, labels (1 = tumour), groups of near-duplicates, and the fold 0..4 of each."""

    scans: tuple[Scan, ...]
    labels: Labels
    groups: NDArray[np.int64]
    folds: NDArray[np.int64]


def load_pictures(folder: Path = DEFAULT) -> Pictures:
    """All pictures of the manifest. Raises UserError when the folder is absent or is something else."""
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        raise UserError(
            f"there is no {manifest.name} in {folder}", "name the folder of the brain MRI pictures"
        )
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = np.array([int(row["label"]) for row in rows])
    groups = np.array([int(row["dup_group"]) for row in rows])
    scans = tuple(load_scan(folder / row["file"]) for row in rows)
    return Pictures(scans, labels, groups, split(labels, groups))


def split(
    labels: Labels, groups: NDArray[np.int64], folds: int = FOLDS, seed: int = 2026
) -> NDArray[np.int64]:
    """The fold of each picture: groups dealt out at random, class by class, so that each fold has both in
    proportion."""
    rng = np.random.default_rng(seed)
    fold_of: dict[int, int] = {}
    for label in (0, 1):
        members = rng.permutation(np.unique(groups[labels == label]))
        fold_of |= {int(group): place % folds for place, group in enumerate(members)}
    return np.array([fold_of[int(group)] for group in groups])


def variants(
    scans: tuple[Scan, ...], count: int, sides: tuple[int, ...], seed: int = 1
) -> dict[int, NDArray[np.int8]]:
    """By side: int8 (scan, 1 + count, 3, side, side), each scan prepared as it is and then `count` altered
    copies.

    Copies pass through the whole of `prepare`, head search included, so that a network meets in training
    what it will meet in use.
    """
    rng = np.random.default_rng(seed)
    made = {side: np.zeros((len(scans), 1 + count, 3, side, side), np.int8) for side in sides}
    for index, scan in enumerate(scans):
        small = _reduced(scan.pixels)
        for copy in range(1 + count):
            version = scan if copy == 0 else make_scan(altered(small, rng))
            for side in sides:
                made[side][index, copy] = prepare(version, 3, side)
    return made


def altered(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The picture turned up to some 15 degrees, stretched, sheared, and with another gamma and some noise."""
    angle, shear = rng.normal(0, 0.12), rng.normal(0, 0.05)
    tall, wide = np.exp(rng.normal(0, 0.06, 2))
    turn = np.array(
        [[tall * np.cos(angle), np.sin(angle)], [shear - np.sin(angle), wide * np.cos(angle)]],
        dtype=np.float64,
    )
    turned = _warped(pixels, turn)
    noise = rng.normal(0, 0.02 * rng.random(), turned.shape)
    made: Pixels = np.clip(turned ** np.exp(rng.normal(0, 0.25)) + noise, 0, 1).astype(np.float32)
    return made


def _reduced(pixels: Pixels) -> Pixels:
    factor = max(1.0, max(pixels.shape) / _WORKING_SIDE)
    return resample(pixels, round(pixels.shape[0] / factor), round(pixels.shape[1] / factor))


def _warped(pixels: Pixels, turn: NDArray[np.float64], margin: int = 20) -> Pixels:
    """Bilinear: the value at place p of the result is that of the picture at turn @ p, from the centre;
    black outside."""
    wide = np.pad(pixels, margin)
    rows, columns = wide.shape
    down, across = np.mgrid[0:rows, 0:columns]
    down, across = down - (rows - 1) / 2, across - (columns - 1) / 2
    y = turn[0, 0] * down + turn[0, 1] * across + (rows - 1) / 2
    x = turn[1, 0] * down + turn[1, 1] * across + (columns - 1) / 2
    inside = (y >= 0) & (y <= rows - 1) & (x >= 0) & (x <= columns - 1)
    top = np.clip(np.floor(y).astype(np.int64), 0, rows - 2)
    left = np.clip(np.floor(x).astype(np.int64), 0, columns - 2)
    part_y, part_x = y - top, x - left
    upper = wide[top, left] * (1 - part_x) + wide[top, left + 1] * part_x
    lower = wide[top + 1, left] * (1 - part_x) + wide[top + 1, left + 1] * part_x
    values: Pixels = np.where(inside, upper * (1 - part_y) + lower * part_y, 0).astype(np.float32)
    return values
