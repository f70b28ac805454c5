"""Runs the state machine on a stage, and tells what it did."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.contracts.invariants.machine import machine
from tests.contracts.invariants.stage import Stage
from tests.contracts.invariants.watch import Broken


@dataclass
class Tally:
    """What a run did. broken: the invariant that did not hold, if any; calls: transactions until then."""

    calls: int
    reverts: int
    views: int
    broken: str | None = None
    what: str = ""


def run(stage: Stage, examples: int, steps: int = 50, *, shrink: bool = True) -> None:
    """Plays so many examples, the same each time. Raises with the failing example printed."""
    run_state_machine_as_test(
        machine(stage),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        ),
    )


def hunt(stage: Stage, examples: int) -> Tally:
    """Plays until an invariant breaks, or to the end."""
    try:
        run(stage, examples, shrink=False)
    except Broken as error:
        broken = error
    except BaseExceptionGroup as group:
        broken = next(e for e in group.exceptions if isinstance(e, Broken))
    else:
        return Tally(stage.calls, stage.reverts, stage.views)
    return Tally(stage.fell, stage.reverts, stage.views, broken.name, str(broken))
