"""The figures mean what they say."""

from __future__ import annotations

import numpy as np
import pytest

from models.metrics import (
    auc,
    calibration_error,
    called,
    class_figures,
    cross_fitted,
    figures,
    platt,
    probabilities,
    reliability,
    temperature,
)


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


def test_calibration_error_of_a_known_case() -> None:
    logits = np.log(
        np.array([9.0, 9.0, 9.0, 9.0, 1 / 9])
    )  # four say class 1 with 0.9, one says class 0 with 0.9
    assert calibration_error(np.array([1, 1, 1, 0, 0]), logits) == pytest.approx(abs(0.9 - 0.8))
    assert calibration_error(np.array([1, 1]), np.array([40.0, 40.0])) == pytest.approx(0, abs=1e-9)


def test_figures_of_three_classes_and_of_one_logit_in_a_column() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2])
    logits = np.eye(3)[labels] * 4
    assert class_figures(labels, logits)["accuracy"] == class_figures(labels, logits)["auc"] == 1
    two = np.array([0, 1, 1])
    column = np.array([[-1.0], [2.0], [-3.0]])
    assert class_figures(two, column) == figures(two, column[:, 0])
    assert class_figures(np.ones(3, np.int64), column)["auc"] is None
    assert class_figures(np.zeros(2, np.int64), np.zeros((2, 3)))["auc"] is None
    assert called(column).tolist() == [0, 1, 0]
    assert probabilities(column).sum(axis=1) == pytest.approx([1, 1, 1])


def test_temperature_mends_boasting() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    chance = probabilities(logits)
    labels = np.array([rng.choice(3, p=row) for row in chance])
    assert temperature(labels, logits * 5) == pytest.approx(0.2, rel=0.1)
    assert calibration_error(labels, logits) < 0.03 < calibration_error(labels, logits * 5)


def test_cross_fitting_never_sees_its_own_fold() -> None:
    rng = np.random.default_rng(0)
    labels, folds = rng.integers(0, 2, 200), np.arange(200) % 4
    logits = 6 * (labels + rng.normal(0, 1, 200)) - 3
    made = cross_fitted(labels, logits, folds)
    changed = labels.copy()
    changed[folds == 0] = 1 - changed[folds == 0]
    again = cross_fitted(changed, logits, folds)
    assert np.array_equal(made[folds == 0], again[folds == 0])
    assert not np.array_equal(made[folds == 1], again[folds == 1])
    assert calibration_error(labels, made) < calibration_error(labels, logits)
