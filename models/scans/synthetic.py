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


def synthetic_scan(seed: int = 10, lesion: bool = True) -> Scan:
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
    """Scalp, skull, folded cortex, white matter, midline and ventricles; greys as in a T1 slice with contrast."""
    depth = radius + 0.10 * _nearly_mirrored(rng, 14)  # the border of grey and white matter winds
    white = np.clip((0.66 - depth) / 0.06, 0, 1)
    brain = 0.36 + 0.13 * white + 0.03 * _nearly_mirrored(rng, 30)
    sulci = np.clip(
        1 - np.abs(_nearly_mirrored(rng, 17)) / 0.16, 0, 1
    )  # where the noise crosses 0: winding lines
    brain = brain - 0.24 * sulci * np.clip((radius - 0.50) / 0.12, 0, 1)
    for side in (-1, 1):
        brain = brain - 0.07 * _disc(x, y, side * 0.30, 0.08, 0.13, 0.20)  # deep grey matter
    brain = brain - 0.20 * np.exp(-((x / 0.02) ** 2)) * (np.abs(y) > 0.28)
    for side in (-1, 1):
        size = 1 + 0.1 * rng.random()
        brain = brain - 0.30 * _disc(x, y, side * 0.11, -0.15, 0.07 * size, 0.20 * size)
        brain = brain - 0.30 * _disc(x, y, side * 0.18, 0.23, 0.06 * size, 0.16 * size)
    picture = np.where(radius < 0.86, np.maximum(brain, 0.08), 0.05)
    picture = np.where((radius >= 0.85) & (radius < 0.88), 0.20, picture)
    scalp = 0.62 + 0.15 * _nearly_mirrored(rng, 9)
    return np.where((radius > 0.93) & (radius < 1.0), scalp, picture).astype(np.float32)


def _with_lesion(rng: np.random.Generator, picture: Pixels, x: Pixels, y: Pixels) -> Pixels:
    """An irregular bright mass with a darker core inside a paler oedema, in one half of the brain."""
    side = -1.0 if rng.random() < 0.5 else 1.0
    at_x, at_y = side * (0.40 + 0.08 * rng.random()), 0.5 * (rng.random() - 0.5)
    size = 0.19 + 0.05 * rng.random()
    ragged = 1 + 0.12 * _clouds(rng, 7)
    mass = _disc(x * ragged, y * ragged, at_x, at_y, size, 1.1 * size)
    core = _disc(x * ragged, y * ragged, at_x, at_y, 0.5 * size, 0.55 * size)
    oedema = _disc(x * ragged, y * ragged, at_x, at_y, 1.6 * size, 1.7 * size) * (np.hypot(x, y) < 0.85)
    swollen = picture + oedema * (0.42 - picture) * 0.7
    bright = 0.73 + 0.08 * _clouds(rng, 20)
    return swollen + mass * (bright - swollen) - core * 0.30


def _disc(x: Pixels, y: Pixels, at_x: float, at_y: float, wide: float, tall: float) -> Pixels:
    """1 inside the ellipse, 0 outside, with a soft edge."""
    distance = np.hypot((x - at_x) / wide, (y - at_y) / tall)
    inside: Pixels = np.clip((1.08 - distance) / 0.16, 0, 1).astype(np.float32)
    return inside


def _clouds(rng: np.random.Generator, cells: int) -> Pixels:
    """Smooth noise about -1..1 with `cells` bumps across."""
    coarse: NDArray[np.float32] = (2 * rng.random((cells, cells)) - 1).astype(np.float32)
    return resample(coarse, _ROWS, _COLUMNS)


def _nearly_mirrored(rng: np.random.Generator, cells: int) -> Pixels:
    """Smooth noise, the right half mostly the left one's mirror image, as in a brain."""
    field = _clouds(rng, cells)
    field[:, _COLUMNS // 2 :] = field[:, : _COLUMNS // 2][:, ::-1]
    return 0.8 * field + 0.2 * _clouds(rng, cells)


def _softened(picture: Pixels) -> Pixels:
    """The blur of a scanner's point spread: down to 7/8 and back."""
    return resample(resample(picture, _ROWS * 7 // 8, _COLUMNS * 7 // 8), _ROWS, _COLUMNS)
