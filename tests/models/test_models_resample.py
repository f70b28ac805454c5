"""Resampling keeps means, lines and constants."""

from __future__ import annotations

import numpy as np
import pytest

from models.scans.resample import resample

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("side", [7, 31, 200])
def test_constants_stay(side: int) -> None:
    assert np.allclose(resample(np.full((50, 60), 0.3, np.float32), side, side), 0.3, atol=1e-6)


def test_the_same_size_is_the_same_picture() -> None:
    image = RNG.random((20, 30)).astype(np.float32)
    assert np.allclose(resample(image, 20, 30), image, atol=1e-6)


def test_reducing_averages() -> None:
    image = RNG.random((256, 256)).astype(np.float32)
    small = resample(image, 16, 16)
    assert abs(float(small.mean() - image.mean())) < 0.02
    assert float(small.std()) < 0.1 * float(image.std()) * 2


def test_enlarging_is_linear_in_between() -> None:
    ramp = np.tile(np.arange(8, dtype=np.float32), (8, 1))
    wide = resample(ramp, 8, 64)
    assert np.allclose(np.diff(wide[0, 8:-8]), 1 / 8, atol=1e-5)


def test_a_box_beyond_the_edge_repeats_it() -> None:
    image = RNG.random((10, 10)).astype(np.float32)
    beyond = resample(image, 12, 10, (-1.0, 11.0, 0.0, 10.0))
    assert np.allclose(beyond[0], image[0], atol=1e-6)
    assert np.allclose(beyond[-1], image[-1], atol=1e-6)
