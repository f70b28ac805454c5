"""scripts/test and .ci/run: every stage runs, none fails in silence, no test at all is a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STUB = """#!/bin/sh
echo "$(basename "$0") $*" >> "$LOG"
case "$(basename "$0") $*" in *"$FAILS"*) exit "$CODE" ;; esac
exit 0
"""
STAGES = (
    "ruff check .",
    "ruff format --check .",
    "python -m mypy",
    "python scripts/diagrams --check",
    "python -m pytest -n 2",
    "python -m pytest -m e2e",
    "python -m pytest -m crypten",
    "python -m pytest -m he",
)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """The two scripts in an empty house, where every program is a stub that notes how it was called."""
    for name in ("scripts/test", ".ci/run"):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, target)
    for name in (
        "scripts/setup",
        ".venv/bin/ruff",
        ".venv/bin/python",
        "bin/node",
        "bin/npm",
        "bin/chromium",
        "bin/ip",
    ):
        stub = tmp_path / name
        stub.parent.mkdir(parents=True, exist_ok=True)
        stub.write_text(STUB)
        stub.chmod(0o755)
    return tmp_path


def call(
    house: Path, script: str, *arguments: str, fails: str = "\n", code: int = 1
) -> tuple[int, str, list[str]]:
    """(exit code, output, calls) of a script of which the calls that hold `fails` end with `code`."""
    log = house / "log"
    log.write_text("")
    path = f"{house / 'bin'}:{os.environ['PATH']}"
    env = {"PATH": path, "LOG": str(log), "FAILS": fails, "CODE": str(code), "HOME": str(house)}
    done = subprocess.run(
        ["bash", str(house / script), *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        input="",
    )
    return done.returncode, done.stdout + done.stderr, log.read_text().splitlines()


def test_all_stages_run_and_are_told(house: Path) -> None:
    code, said, calls = call(house, "scripts/test")
    assert code == 0
    for stage in STAGES:
        assert any(line.startswith(stage) for line in calls), stage
    assert calls[0] == "setup dev"
    assert "test: everything passed" in said


@pytest.mark.parametrize("stage", STAGES)
def test_one_failing_stage_fails_the_whole_and_stops_no_other(house: Path, stage: str) -> None:
    code, said, calls = call(house, "scripts/test", fails=stage.partition(" ")[2])
    assert code == 1
    assert "FAILED" in said
    assert "test: everything passed" not in said
    assert any(line.startswith(STAGES[-1]) for line in calls)


def test_no_test_at_all_is_a_failure(house: Path) -> None:
    """pytest says 5 when it has found nothing to run."""
    assert call(house, "scripts/test", fails="pytest", code=5)[0] == 1


def test_arguments_go_to_pytest_alone_and_its_code_comes_back(house: Path) -> None:
    code, _, calls = call(house, "scripts/test", "tests/x", "-k", "seal", fails="pytest", code=5)
    assert code == 5
    assert calls == ["setup dev", "python -m pytest tests/x -k seal"]


def test_a_failing_setup_ends_it(house: Path) -> None:
    code, _, calls = call(house, "scripts/test", fails="dev", code=3)
    assert code == 3
    assert calls == ["setup dev"]


def test_ci_runs_the_same_checks_and_passes_their_code_on(house: Path) -> None:
    code, _, calls = call(house, ".ci/run")
    assert code == 0
    assert any(line.startswith(STAGES[-1]) for line in calls)
    assert call(house, ".ci/run", fails="-m pytest")[0] == 1


def test_an_extra_that_does_not_come_is_told(house: Path) -> None:
    code, said, calls = call(house, "scripts/test", fails="setup crypten")
    assert code == 0
    assert "skipped: the extra crypten" in said
    assert not any("-m crypten" in line for line in calls)


def test_ci_names_what_it_could_not_install(house: Path) -> None:
    """Tools from npm that do not come are said, twice, and stop nothing."""
    code, said, calls = call(house, ".ci/run", fails="--prefix .tools/chains")
    assert code == 0
    assert said.count(".bin/anvil") >= 2
    assert any(line.startswith("ruff") for line in calls)


@pytest.mark.parametrize(
    "name", [".ci/run", "scripts/test", "scripts/setup", "scripts/demo", "scripts/diagrams"]
)
def test_scripts_can_be_started(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
    assert (ROOT / name).read_text(encoding="utf-8").startswith("#!/usr/bin/env ")
