"""The terms that contracts are deployed with, by profile."""

from __future__ import annotations

from dataclasses import replace

from contracts.bindings.terms import Terms
from protocols.errors import UserError

FINNEY = 10**15
HOUR = 3600

STANDARD = Terms(
    seat_fee=(40 * FINNEY, 30 * FINNEY, 20 * FINNEY, 10 * FINNEY),
    registration_deposit=100 * FINNEY,
    seat_deposit=10 * FINNEY,
    seating_seconds=6 * HOUR,
    commit_seconds=48 * HOUR,
    reveal_seconds=12 * HOUR,
    grace_seconds=HOUR,
    epoch_blocks=32,
    reading_share_bps=2_500,
    max_rounds=2,
    draw_attempts=3,
    bucket_confidence=(55, 70, 85, 95),
)
"""For people: a doctor has two days to read."""

DEMO = replace(
    STANDARD, seating_seconds=40, commit_seconds=60, reveal_seconds=40, grace_seconds=60, epoch_blocks=1
)
"""For agents that read by themselves. Phases end as soon as all have acted; these bounds leave time to
restart.
"""

ATTENDED = replace(DEMO, commit_seconds=HOUR // 2)
"""For a demonstration with a person on the panel."""

PROFILES = {"demo": DEMO, "attended": ATTENDED, "standard": STANDARD}


def profile(name: str) -> Terms:
    """The terms of that name. Raises `UserError`."""
    try:
        return PROFILES[name]
    except KeyError:
        raise UserError(f"there is no profile {name!r}", f"choose one of {', '.join(PROFILES)}") from None
