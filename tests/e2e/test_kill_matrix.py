"""The most telling cells of the kill matrix; all of them are run by `python -m tests.kill`, see docs/kill-matrix.md."""

from __future__ import annotations

import pytest

from tests.kill.matrix import chosen, together
from tests.kill.points import ROLES, points, why_not
from tests.kill.run import Cell, run_cell
from tests.kill.stage import Stage

TELLING = (
    "patient after-send:tx/purchase",
    "patient after-sign:tx/open",
    "patient before-done:infer",
    "model before-done:host",
    "dealer after-write:deal",
    "doctor after-sign:tx/commit",
    "doctor after-send:tx/reveal",
    "researcher after-send:tx/buy",
)


def _cells() -> dict[str, Cell]:
    return {cell.name: cell for _, cell in chosen(list(ROLES), [])}


@pytest.mark.e2e
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", TELLING)
def test_a_case_outlives_a_kill(name: str, stage: Stage) -> None:
    outcome = run_cell(stage, _cells()[name])
    assert outcome.verdict == "ok", outcome.wrong


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_a_case_outlives_the_chains_fall(stage: Stage) -> None:
    cell = next(c for c in together() if c.name == "chain, while votes are committed")
    outcome = run_cell(stage, cell)
    assert outcome.verdict == "ok", outcome.wrong


def test_the_points_are_all_those_of_the_code() -> None:
    """What every role must have among its points, whoever moves its code about."""
    names = {role: {p.what for p in points(role)} for role in ROLES}
    assert {"tx/fund", "tx/purchase", "tx/open", "tx/list", "tx/sweep", "infer", "certify"} <= names[
        "patient"
    ]
    assert {"say/session.begin", "say/delivery.deliver", "quote.propose"} <= names["patient"]
    assert {"quote", "host", "sign_receipt", "tx/release", "tx/register"} <= names["model"]
    assert {"check_purchase", "deal", "session.begin"} <= names["dealer"]
    assert {"tx/accept", "tx/commit", "tx/reveal", "read", "attest", "delivery.deliver"} <= names["doctor"]
    assert {"browse", "tx/buy", "purchase.records"} <= names["researcher"]


def test_a_point_that_is_left_out_exists() -> None:
    """A reason for leaving out a point that no longer exists is stale."""
    from tests.kill.points import UNREACHED

    known = {(r, n) for r in ROLES for p in points(r) for n in (p.what, p.name)}
    assert set(UNREACHED) <= known


def test_most_points_are_killed_at() -> None:
    left = [p for role in ROLES for p in points(role) if not why_not(p)]
    assert len(left) >= 150
