"""The figures mean what they say."""

from __future__ import annotations

import numpy as np
import pytest

from models.metrics import auc, figures, platt, reliability


def test_auc_counts_pairs_and_halves_ties() -> None:
    labels = np.array([0, 0, 1, 1])
    assert auc(labels, np.array([0.0, 1.0, 2.0, 3.0])) == 1.0
    assert auc(labels, np.array([3.0, 2.0, 1.0, 0.0])) == 0.0
    assert auc(labels, np.array([0.0, 1.0, 1.0, 2.0])) == pytest.approx(0.875)


def test_figures() -> None:
    got = figures(np.array([1, 1, 0, 0, 0]), np.array([2.0, -1.0, -3.0, -0.5, 0.5]))
    assert (got["n"], got["positives"], got["accuracy"]) == (5, 2, 0.6)
    assert (got["sensitivity"], got["specificity"]) == (0.5, 0.6667)


def test_platt_recovers_the_scale_it_was_made_with() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 20000)
    labels = (rng.random(20000) < 1 / (1 + np.exp(-true))).astype(np.int64)
    scale, offset = platt(labels, (true - 0.7) / 3)
    assert scale == pytest.approx(3, rel=0.05)
    assert offset == pytest.approx(0.7, abs=0.06)


def test_platt_stays_finite_where_the_classes_are_apart() -> None:
    scale, offset = platt(np.array([0, 0, 1, 1]), np.array([-2.0, -1.0, 1.0, 2.0]))
    assert 0 < scale < 10
    assert abs(offset) < 1


def test_reliability_puts_each_reading_in_its_bucket() -> None:
    logits = np.log(np.array([0.6, 0.7, 0.85, 0.95]) / np.array([0.4, 0.3, 0.15, 0.05]))
    rows = reliability(np.array([1, 0, 1, 1]), logits, (0.65, 0.8, 0.92))
    assert [row["n"] for row in rows] == [1, 1, 1, 1]
    assert [row["right"] for row in rows] == [1.0, 0.0, 1.0, 1.0]
