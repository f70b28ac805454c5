"""How good a reading is: figures from real-valued logits and true labels, numpy only."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Labels: TypeAlias = NDArray[np.int64]
Logits: TypeAlias = NDArray[np.float64]


def auc(labels: Labels, logits: Logits) -> float:
    """Area under the ROC curve: the chance that a positive outranks a negative (Mann-Whitney), ties
    counting half."""
    positive, negative = logits[labels == 1], logits[labels == 0]
    difference = positive[:, None] - negative[None, :]
    return float(np.mean(difference > 0) + 0.5 * np.mean(difference == 0))


def figures(labels: Labels, logits: Logits) -> dict[str, Any]:
    """Accuracy, AUC, sensitivity, specificity, Brier score and counts, with logit > 0 read as positive."""
    called = logits > 0
    probability = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    return {
        "n": len(labels),
        "positives": int(labels.sum()),
        "accuracy": round(float(np.mean(called == (labels == 1))), 4),
        "auc": round(auc(labels, logits), 4),
        "sensitivity": round(float(np.mean(called[labels == 1])), 4),
        "specificity": round(float(np.mean(~called[labels == 0])), 4),
        "brier": round(float(np.mean((probability - labels) ** 2)), 4),
        "ece": round(calibration_error(labels, logits), 4),
    }


def probabilities(logits: Logits) -> NDArray[np.float64]:
    """(n, classes) of logits (n,) or (n, 1), by the logistic function, or (n, classes), by softmax."""
    rows = logits.reshape(len(logits), -1)
    if rows.shape[1] == 1:
        rows = np.concatenate([np.zeros_like(rows), rows], axis=1)
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    made: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return made


def called(logits: Logits) -> Labels:
    """The winning class of each row of logits, (n,), (n, 1) or (n, classes); a lone logit of 0 says class 0."""
    rows = logits.reshape(len(logits), -1)
    winner: Labels = (rows[:, 0] > 0).astype(np.int64) if rows.shape[1] == 1 else rows.argmax(axis=1)
    return winner


def calibration_error(labels: Labels, logits: Logits, bins: int = 10) -> float:
    """Expected calibration error (Naeini 2015; Guo 2017): mean gap between the winning class's probability and how
    often it is right, over `bins` equal steps of that probability from 0 to 1, weighted by their counts."""
    told = probabilities(logits)
    sure, right = told.max(axis=1), called(logits) == labels
    step = np.minimum((sure * bins).astype(np.int64), bins - 1)
    gaps = [
        abs(float(sure[step == b].mean() - right[step == b].mean())) * np.mean(step == b) for b in set(step)
    ]
    return float(sum(gaps))


def class_figures(labels: Labels, logits: Logits) -> dict[str, Any]:
    """`figures` for two classes; for more, accuracy, the mean of one-against-rest AUC, Brier score and calibration
    error. A class that is absent has no AUC; where none has one it is None."""
    rows = logits.reshape(len(logits), -1)
    if rows.shape[1] == 1:
        known = 0 < labels.sum() < len(labels)
        told = figures(labels, rows[:, 0]) if known else {}
        return told or {
            "n": len(labels),
            "accuracy": round(float(np.mean(called(rows) == labels)), 4),
            "auc": None,
        }
    told_apart = probabilities(rows)
    present = [c for c in range(rows.shape[1]) if 0 < np.sum(labels == c) < len(labels)]
    scores = [auc((labels == c).astype(np.int64), told_apart[:, c]) for c in present]
    truth = np.eye(rows.shape[1])[labels]
    return {
        "n": len(labels),
        "accuracy": round(float(np.mean(called(rows) == labels)), 4),
        "auc": round(float(np.mean(scores)), 4) if scores else None,
        "brier": round(float(np.mean(np.sum((told_apart - truth) ** 2, axis=1))), 4),
        "ece": round(calibration_error(labels, rows), 4),
    }


def temperature(labels: Labels, logits: Logits) -> float:
    """The factor on logits (n, classes) that makes the log-loss least (Guo 2017), by golden section; 0.05 to 20."""

    def loss(power: float) -> float:
        told = probabilities(logits * math.exp(power))
        return float(-np.log(np.maximum(told[np.arange(len(labels)), labels], 1e-12)).mean())

    low, high, share = math.log(0.05), math.log(20), (math.sqrt(5) - 1) / 2
    for _ in range(60):
        first, second = high - share * (high - low), low + share * (high - low)
        low, high = (low, second) if loss(first) < loss(second) else (first, high)
    return math.exp((low + high) / 2)


def cross_fitted(labels: Labels, logits: Logits, folds: NDArray[np.int64]) -> Logits:
    """Out-of-fold logits calibrated by Platt's method, each fold by a fit on the others: an honest calibration."""
    made = np.zeros(len(logits))
    for fold in np.unique(folds):
        inside = folds == fold
        scale, offset = platt(labels[~inside], logits[~inside])
        made[inside] = scale * logits[inside] + offset
    return made


def platt(labels: Labels, logits: Logits) -> tuple[float, float]:
    """(scale, offset) such that sigmoid(scale * logit + offset) is calibrated (Platt 1999).

    Newton's method on the log-loss with Platt's softened targets, which keep a separable set finite. scale
    > 0.
    """
    count = labels.sum(), len(labels) - labels.sum()
    target = np.where(labels == 1, (count[0] + 1) / (count[0] + 2), 1 / (count[1] + 2))
    design = np.stack([logits, np.ones(len(logits))], axis=1)

    def loss(point: NDArray[np.float64]) -> float:
        value = design @ point
        return float((np.logaddexp(0, value) - target * value).sum())

    at = np.array([1.0, 0.0])
    for _ in range(100):
        probability = 1 / (1 + np.exp(-np.clip(design @ at, -60, 60)))
        slope = design.T @ (probability - target)
        curve = (design * (probability * (1 - probability))[:, None]).T @ design + 1e-6 * np.eye(2)
        move = np.linalg.solve(curve, slope)
        while loss(at - move) > loss(at) + 1e-12 and float(np.abs(move).max()) > 1e-9:
            move = move / 2  # a full step can overshoot where the logits boast
        at = at - move
        if float(np.abs(move).max()) < 1e-9:
            break
    return max(float(at[0]), 1e-3), float(at[1])


def reliability(labels: Labels, logits: Logits, floors: tuple[float, ...]) -> list[dict[str, Any]]:
    """By confidence bucket (bucket 0 below the first floor): how many, the mean confidence, and how many
    were right."""
    probability = 1 / (1 + np.exp(-np.clip(np.abs(logits), 0, 60)))
    right = (logits > 0) == (labels == 1)
    bucket = np.sum(probability[:, None] >= np.array(floors)[None, :], axis=1)
    rows = []
    for index in range(len(floors) + 1):
        inside = bucket == index
        count = int(inside.sum())
        rows.append(
            {
                "bucket": index,
                "n": count,
                "mean_confidence": round(float(probability[inside].mean()), 4) if count else None,
                "right": round(float(right[inside].mean()), 4) if count else None,
            }
        )
    return rows
