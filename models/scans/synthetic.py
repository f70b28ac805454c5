"""Made-up brain-MRI-like slices, for the demo and the tests: no patient was ever in front of them.

A drawing in nested ellipses (scalp, skull, brain, ventricles) with folds and coil shading from smoothed
random grids, in the manner of the Shepp-Logan phantom (1974), with or without a lesion: an enhancing mass
in its oedema. The same seed gives the same picture everywhere. It stands in for a scan where none may be
shown; it proves nothing about accuracy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.scans.resample import resample
from models.scans.scan import Pixels, Scan, make_scan

NOTE = "SYNTHETIC: drawn by models/scans/synthetic.py, not a scan of a person."

_ROWS, _COLUMNS = 256, 224


def sample_scan_path() -> Path:
    """The committed sample, a synthetic slice with a lesion, as PNG; `synthetic_scan()` draws it."""
    return Path(__file__).with_name("samples") / "SYNTHETIC-brain-mri-lesion.png"


def synthetic_scan(seed: int = 7, lesion: bool = True) -> Scan:
    """A 224x256 made-up slice. Modality 'unknown', as that of its PNG."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[0:_ROWS, 0:_COLUMNS].astype(np.float32)
    x = (across - _COLUMNS / 2 + 0.5) / (0.43 * _COLUMNS) * (1 + 0.04 * (rng.random() - 0.5))
    y = (down - _ROWS / 2 + 0.5) / (0.46 * _ROWS)
    x = x + 0.012 * _clouds(rng, 5)
    y = y + 0.012 * _clouds(rng, 5)
    radius = np.hypot(x, y)
    picture = _head(rng, x, y, radius)
    if lesion:
        picture = _with_lesion(rng, picture, x, y)
    picture *= 1 + 0.06 * _clouds(rng, 3)
    noise = 0.012 * (rng.random((_ROWS, _COLUMNS)) + rng.random((_ROWS, _COLUMNS)) - 1)
    return make_scan(
        np.rint(255 * np.clip(_softened(picture) + noise, 0, 1)) / 255, "unknown", "synthetic", (NOTE,)
    )


def _head(rng: np.random.Generator, x: Pixels, y: Pixels, radius: Pixels) -> Pixels:
    """Scalp, skull, cortex with folds, midline and ventricles; greys as in a T1 slice with contrast."""
    halves = 0.7 * _mirrored(_clouds(rng, 22)) + 0.3 * _clouds(rng, 22)
    folds = np.where(radius > 0.52, np.clip(halves, -1, 1), 0) * np.clip((radius - 0.5) * 4, 0, 1)
    brain = 0.40 - 0.10 * np.clip(folds, 0, 1) + 0.04 * np.clip(-folds, 0, 1)
    brain = brain - 0.05 * _disc(x, y, 0.30, 0.10, 0.14, 0.22) - 0.05 * _disc(x, y, -0.30, 0.10, 0.14, 0.22)
    midline = np.exp(-((x / 0.018) ** 2)) * (np.abs(y) > 0.30)
    brain = brain - 0.12 * midline
    for side in (-1, 1):
        for centre_x, centre_y, wide, tall in ((0.12, -0.13, 0.075, 0.20), (0.17, 0.22, 0.07, 0.17)):
            brain = brain - 0.26 * _disc(x, y, side * centre_x, centre_y, wide, tall)
    picture = np.where(radius < 0.86, brain, 0.05)
    picture = np.where((radius >= 0.86) & (radius < 0.885), 0.16, picture)
    return np.where((radius > 0.94) & (radius < 1.0), 0.72, picture).astype(np.float32)


def _with_lesion(rng: np.random.Generator, picture: Pixels, x: Pixels, y: Pixels) -> Pixels:
    """An irregular bright mass with a darker core inside a paler oedema, in one half of the brain."""
    side = -1.0 if rng.random() < 0.5 else 1.0
    at_x, at_y = side * (0.40 + 0.08 * rng.random()), 0.5 * (rng.random() - 0.5)
    size = 0.20 + 0.05 * rng.random()
    ragged = 1 + 0.12 * _clouds(rng, 7)
    mass = _disc(x * ragged, y * ragged, at_x, at_y, size, 1.1 * size)
    core = _disc(x * ragged, y * ragged, at_x, at_y, 0.45 * size, 0.5 * size)
    oedema = _disc(x * ragged, y * ragged, at_x, at_y, 1.6 * size, 1.7 * size) * (np.hypot(x, y) < 0.85)
    swollen = picture + oedema * (0.50 - picture) * 0.6
    return swollen + mass * (0.88 - swollen) - core * 0.35


def _disc(x: Pixels, y: Pixels, at_x: float, at_y: float, wide: float, tall: float) -> Pixels:
    """1 inside the ellipse, 0 outside, with a soft edge."""
    distance = np.hypot((x - at_x) / wide, (y - at_y) / tall)
    inside: Pixels = np.clip((1.08 - distance) / 0.16, 0, 1).astype(np.float32)
    return inside


def _clouds(rng: np.random.Generator, cells: int) -> Pixels:
    """Smooth noise about -1..1 with `cells` bumps across."""
    coarse: NDArray[np.float32] = (2 * rng.random((cells, cells)) - 1).astype(np.float32)
    return resample(coarse, _ROWS, _COLUMNS)


def _mirrored(field: Pixels) -> Pixels:
    half = field.copy()
    half[:, _COLUMNS // 2 :] = field[:, : _COLUMNS // 2][:, ::-1]
    return half


def _softened(picture: Pixels) -> Pixels:
    """The blur of a scanner's point spread: down to 7/8 and back."""
    return resample(resample(picture, _ROWS * 7 // 8, _COLUMNS * 7 // 8), _ROWS, _COLUMNS)
