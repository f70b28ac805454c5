"""Gas of every call and of whole cases is what the committed snapshot says, to the unit."""

from __future__ import annotations

import json
from functools import lru_cache

from benchmarks.case import SNAPSHOT, Gas, gas_figures, gas_snapshot

REMEDY = "when the change is meant: python benchmarks/case.py --quick --snapshot"


@lru_cache(maxsize=1)
def measured() -> dict[str, Gas]:
    return gas_snapshot()


def test_gas_is_that_of_the_snapshot() -> None:
    kept = json.loads(SNAPSHOT.read_text())
    for kind, gas in measured().items():
        assert gas.keys() == kept[kind].keys(), REMEDY
        moved = {name: (kept[kind][name], cost) for name, cost in gas.items() if kept[kind][name] != cost}
        assert moved == {}, REMEDY


def test_storage_is_cold_at_the_start_of_each_transaction() -> None:
    """A meter that leaves it warm counts a reveal below 30,000."""
    calls = measured()["calls"]
    assert calls["Cases.reveal"] > 40_000
    assert calls["Cases.withdraw"] > 21_000 + 5_000 + 2_600 + 6_000


def test_every_call_fits_a_block() -> None:
    assert all(f["holds"] is not False for f in gas_figures(measured()))
