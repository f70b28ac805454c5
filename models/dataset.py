"""The pictures that the committed networks learn from: loading, splitting, and made variants.

The folders are not part of the project: `../shared/data/brain-mri-kaggle-yesno` (`manifest.csv` with file, label,
dup_group) and `../shared/data/skin-ham10000-224` (`labels.csv` with file, malignant, dx, lesion_id). Near-duplicates
share a group, as pictures of one lesion do, and a group is never split between training and testing.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.metrics import Labels
from models.scans import Scan, load_scan, make_scan
from models.scans.prepare import prepare_sides
from models.scans.resample import resample
from models.scans.scan import Pixels
from protocols.errors import UserError

FOLDS = 5
HELD_OUT = 0  # the fold that no committed weight has seen
_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DEFAULT = _DATA / "brain-mri-kaggle-yesno"
SKIN = _DATA / "skin-ham10000-224"

_WORKING_SIDE = 200  # pictures are reduced to this before variants are made; `prepare` works at 128


@dataclass(frozen=True)
class Pictures:
    """scans, labels (1 = tumour, or malignant), groups of near-duplicates or of one lesion, and the fold 0..4 of each.

    kinds: a finer diagnosis, 0..k - 1, for a side task; None where there is none.
    """

    scans: tuple[Scan, ...]
    labels: Labels
    groups: NDArray[np.int64]
    folds: NDArray[np.int64]
    kinds: Labels | None = None


def load_pictures(folder: Path = DEFAULT) -> Pictures:
    """All brain MRI pictures of the manifest. Raises UserError when the folder is absent or is something else."""
    rows = _table(folder / "manifest.csv", "name the folder of the brain MRI pictures")
    labels = np.array([int(row["label"]) for row in rows])
    groups = np.array([int(row["dup_group"]) for row in rows])
    scans = tuple(load_scan(folder / row["file"]) for row in rows)
    return Pictures(scans, labels, groups, split(labels, groups))


def load_skin(folder: Path = SKIN) -> Pictures:
    """All dermoscopic pictures of `labels.csv`, label 1 for a malignant lesion. Raises UserError as above."""
    rows = _table(folder / "labels.csv", "name the folder of the skin pictures")
    labels = np.array([int(row["malignant"]) for row in rows])
    groups = np.unique([row["lesion_id"] for row in rows], return_inverse=True)[1].astype(np.int64)
    kinds = np.unique([row["dx"] for row in rows], return_inverse=True)[1].astype(np.int64)
    scans = tuple(load_scan(folder / row["file"]) for row in rows)
    return Pictures(scans, labels, groups, split(labels, groups), kinds)


def _table(path: Path, remedy: str) -> list[dict[str, str]]:
    if not path.is_file():
        raise UserError(f"there is no {path.name} in {path.parent}", remedy)
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


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
            for side, image in prepare_sides(version, sides).items():
                made[side][index, copy] = image
    return made


def altered(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The picture as another collection might hold it: turned up to some 15 degrees, stretched, sheared, with another
    gamma, contrast and noise, and at times coarser, compressed as JPEG, or in a wider frame, black or white."""
    angle, shear = rng.normal(0, 0.12), rng.normal(0, 0.05)
    tall, wide = np.exp(rng.normal(0, 0.06, 2))
    turn = np.array(
        [[tall * np.cos(angle), np.sin(angle)], [shear - np.sin(angle), wide * np.cos(angle)]],
        dtype=np.float64,
    )
    turned = _warped(pixels, turn)
    noise = rng.normal(0, 0.02 * rng.random(), turned.shape)
    lit = np.clip((turned ** np.exp(rng.normal(0, 0.25)) + noise) * np.exp(rng.normal(0, 0.1)), 0, 1)
    made: Pixels = lit.astype(np.float32)
    if rng.random() < 0.3:
        made = _coarser(made, rng.uniform(0.4, 0.9))
    if rng.random() < 0.5:
        made = _compressed(made, int(rng.integers(30, 95)))
    if rng.random() < 0.2:
        made = _framed(made, rng)
    return made


def _coarser(pixels: Pixels, share: float) -> Pixels:
    """Reduced to `share` of its sides and enlarged again."""
    rows, columns = pixels.shape
    return resample(
        resample(pixels, max(32, round(rows * share)), max(32, round(columns * share))), rows, columns
    )


def _compressed(pixels: Pixels, quality: int) -> Pixels:
    """As a JPEG of that quality gives it back."""
    held = io.BytesIO()
    Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(held, "JPEG", quality=quality)
    given: Pixels = np.asarray(Image.open(held), dtype=np.float32) / np.float32(255)
    return given


def _framed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """With more black around, or a white frame."""
    white = rng.random() < 0.3
    widest = 6 if white else 50
    sides = rng.integers(1, widest, 4)
    return np.pad(
        pixels, ((sides[0], sides[1]), (sides[2], sides[3])), constant_values=np.float32(1 if white else 0)
    )


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
