"""What is told of masks: volumes, shares, severity, agreement."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]

# Least infected share of the lung, in percent: the bands that radiologists report a CT's total severity in
# (none, minimal to 5 %, 5 to 25, 25 to 50, above; Pan et al. 2020, lobe scores).
SEVERITIES = ((50.0, "critical"), (25.0, "severe"), (5.0, "moderate"), (0.1, "mild"))
NONE = "none"


def dice(one: Bools, other: Bools) -> float:
    """2 |A and B| / (|A| + |B|); 1 where both are empty."""
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(one & other)) / total if total else 1.0


def percent_of(infection: Bools, lung: Bools) -> float | None:
    """Infected share of the lung in percent, infection within the lung alone; None without a lung."""
    whole = int(np.count_nonzero(lung))
    return 100 * int(np.count_nonzero(infection & lung)) / whole if whole else None


def severity(percent: float | None) -> str:
    """The band of `SEVERITIES` that a share lies in; "unknown" without a lung."""
    if percent is None:
        return "unknown"
    return next((word for least, word in SEVERITIES if percent >= least), NONE)
