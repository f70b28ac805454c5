"""The same pictures through the plain and the encrypted engine, side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.engines.base import make_engine
from models.metrics import Labels, called, class_figures
from protocols.blind.network import Network

_BATCH = 16


def side_by_side(
    network: Network,
    images: NDArray[np.int8],
    labels: Labels,
    said: Callable[[str, int, int], None] = lambda stage, done, total: None,
    engines: tuple[str, str] = ("plain", "blind"),
) -> dict[str, Any]:
    """Accuracy, AUC and calibration error of both, how often they agree, the largest difference of a logit, and what
    each cost in seconds and bytes. images: int8 (n, C, H, W)."""
    told: dict[str, Any] = {}
    logits = {}
    for word, engine in zip(("plain", "encrypted"), engines, strict=True):
        logits[word], cost = _through(engine, network, images, said)
        told[word] = {**class_figures(labels, logits[word]), **cost}
    same = called(logits["plain"]) == called(logits["encrypted"])
    difference = np.abs(logits["plain"] - logits["encrypted"])
    return {
        **told,
        "images": len(images),
        "agreement": round(float(same.mean()), 4),
        "largest_logit_difference": round(float(difference.max()), 4),
        "mean_logit_difference": round(float(difference.mean()), 4),
        "seconds": told["encrypted"]["seconds"],
        "bytes": told["encrypted"]["bytes_online"] + told["encrypted"]["bytes_ahead"],
    }


def _through(
    engine: str, network: Network, images: NDArray[np.int8], said: Callable[[str, int, int], None]
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    rows = []
    cost: dict[str, Any] = {
        "engine": engine,
        "seconds": 0.0,
        "seconds_ahead": 0.0,
        "bytes_online": 0,
        "bytes_ahead": 0,
        "rounds": 0,
    }
    with make_engine(engine, network) as ready:
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            made = ready.predict(batch)
            rows.append(made.logits)
            cost["seconds"] = round(cost["seconds"] + made.seconds, 4)
            cost["seconds_ahead"] = round(cost["seconds_ahead"] + made.seconds_ahead, 4)
            cost["bytes_online"] += made.bytes_online
            cost["bytes_ahead"] += made.bytes_ahead
            cost["rounds"] += made.rounds
            said(f"{engine} engine", start + len(batch), len(images))
    return np.concatenate(rows), cost
