"""Each planted bug is caught, by the invariant that it breaks; the bugs are planted in the sources of today."""

from __future__ import annotations

import json

import pytest

from contracts.compile import install_compiler, read_sources
from tests.contracts.invariants.run import hunt
from tests.contracts.invariants.stage import Stage
from tests.contracts.planted.build import CODE, HELPERS, current, make, with_helpers
from tests.contracts.planted.helpers import artifact_of
from tests.contracts.planted.mutants import MUTANTS, Mutant, planted
from tests.contracts.planted.table import EXAMPLES, PAGE, rows_of

REMEDY = "run python -m tests.contracts.planted.build"


def test_there_are_bugs_for_each_invariant() -> None:
    assert len(MUTANTS) == len({m.name for m in MUTANTS}) >= 10
    assert {m.caught_by for m in MUTANTS} == {f"I{i}" for i in range(1, 14)}


def test_the_planted_code_is_made_from_the_sources_of_today() -> None:
    sources, code = read_sources(), json.loads(CODE.read_text())
    assert set(code) == {m.name for m in MUTANTS}, REMEDY
    stale = [m.name for m in MUTANTS if code[m.name]["made_from"] != current(planted(m, sources))]
    assert stale == [], REMEDY
    assert json.loads(HELPERS.read_text())["made_from"] == current(with_helpers(sources)), REMEDY


def test_a_bug_that_finds_no_place_is_told() -> None:
    sources = read_sources()
    sources["Cases.sol"] = sources["Cases.sol"].replace("++c.revealed;", "c.revealed += 1;")
    tally = next(m for m in MUTANTS if m.name == "a tally kept while reveals come in")
    with pytest.raises(ValueError, match=r"0 places like"):
        planted(tally, sources)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name.replace(" ", "-"))
def test_each_bug_is_caught_by_its_invariant(mutant: Mutant, capsys: pytest.CaptureFixture[str]) -> None:
    tally = hunt(Stage({mutant.contract: artifact_of(mutant)}), EXAMPLES)
    capsys.readouterr()  # the failing example, which is meant to fail
    assert tally.broken == mutant.caught_by, tally.what or f"not caught in {tally.calls} calls"


def test_the_page_names_each_bug() -> None:
    told = {(name, invariant) for name, invariant, _, _ in rows_of(PAGE.read_text())}
    assert told == {(m.name, m.caught_by) for m in MUTANTS}, "run python -m tests.contracts.planted.table"


@pytest.mark.node
def test_the_committed_code_is_what_the_compiler_makes() -> None:
    install_compiler()
    code = json.loads(CODE.read_text())
    for contract in ("Reputation", "DataMarket"):  # small ones; the hash of the sources stands for the others
        mutant = next(m for m in MUTANTS if m.contract == contract)
        assert make(mutant, read_sources()) == code[mutant.name], REMEDY
