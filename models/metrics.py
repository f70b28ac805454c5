"""How good a reading is: figures from real-valued logits and true labels, numpy only."""

from __future__ import annotations

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
    }


def platt(labels: Labels, logits: Logits) -> tuple[float, float]:
    """(scale, offset) such that sigmoid(scale * logit + offset) is calibrated (Platt 1999).

    Newton's method on the log-loss with Platt's softened targets, which keep a separable set finite. scale
    > 0.
    """
    count = labels.sum(), len(labels) - labels.sum()
    target = np.where(labels == 1, (count[0] + 1) / (count[0] + 2), 1 / (count[1] + 2))
    design = np.stack([logits, np.ones(len(logits))], axis=1)
    at = np.array([1.0, 0.0])
    for _ in range(50):
        probability = 1 / (1 + np.exp(-np.clip(design @ at, -60, 60)))
        slope = design.T @ (probability - target)
        curve = (design * (probability * (1 - probability))[:, None]).T @ design + 1e-6 * np.eye(2)
        move = np.linalg.solve(curve, slope)
        at = at - np.clip(move, -2, 2)
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
