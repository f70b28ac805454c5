"""I1 to I13 on the committed artifacts, with everybody in the network doing their worst.

CI plays the same examples each time. `CRYPDOC_EXAMPLES=5000 pytest -m deep tests/contracts/invariants` plays more.
"""

from __future__ import annotations

import os

import pytest

from tests.contracts.invariants.run import run
from tests.contracts.invariants.stage import Stage

EXAMPLES, FEWEST_CALLS = 700, 50_000
MET = {
    # what must have come up at least so often, or the run says little
    "CaseOpened": 400,
    "Settled": 400,
    "Refunded": 200,
    "RoundHung": 200,
    "SeatLost": 2_000,
    "Revealed": 2_000,
    "Withdrawn": 2_000,
    "Moved": 2_000,
    "Resting": 1_000,
    "Reclaimed": 1,
    "Released": 200,
    "Listed": 100,
    "Bought": 50,
    "Left": 50,
    "DepositWithdrawn": 1,
}


def test_the_invariants_hold_through_fifty_thousand_calls(capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage()
    run(stage, EXAMPLES)
    with capsys.disabled():
        print(f"\n{stage.calls} contract calls, {stage.reverts} refused, {stage.views} views: I1 to I13 hold")
    assert stage.calls >= FEWEST_CALLS
    assert stage.reverts > stage.calls // 10, "the bad must be bad"
    assert {name: stage.seen[name] for name, fewest in MET.items() if stage.seen[name] < fewest} == {}


@pytest.mark.deep
def test_the_invariants_hold_in_long_stories(capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage()
    run(stage, int(os.environ.get("CRYPDOC_EXAMPLES", "30")), steps=250)
    with capsys.disabled():
        print(f"\n{stage.calls} contract calls in long stories, {stage.views} views: I1 to I13 hold")
