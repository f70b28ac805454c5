"""One stage with real processes for all tests of this folder, and commands run as processes of their own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kill.stage import Stage

os.environ.setdefault("OMP_NUM_THREADS", "1")


@dataclass
class Ended:
    """How a command ended: its exit code (None: it runs on and was stopped) and what it printed."""

    code: int | None
    text: str

    @property
    def sentences(self) -> list[str]:
        """The lines that speak of a fault."""
        return [line for line in self.text.splitlines() if line.startswith("crypdoc: ")]


Command = Callable[..., Ended]


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Chain, dealer, model and three doctors, up for the whole session."""
    with Stage(tmp_path_factory.mktemp("stage")) as made:
        yield made


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run `crypdoc ARGUMENTS` in a process of its own, to its end or for `patience` seconds."""
    forks: Any = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["tests.kill.actor"])

    def run(*arguments: str, patience: float = 60.0, **environment: str) -> Ended:
        from tests.kill.actor import act

        log = tmp_path / "command.txt"
        log.unlink(missing_ok=True)
        process = forks.Process(target=act, args=(arguments, environment, str(log)), daemon=True)
        process.start()
        process.join(patience)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
        return Ended(code, log.read_text("utf-8", "replace") if log.exists() else "")

    return run


def one_sentence(ended: Ended, *words: str) -> None:
    """It ended with an error that one sentence tells, fault and remedy, and nothing of the machinery."""
    assert ended.code not in (None, 0), ended.text
    assert "Traceback" not in ended.text, ended.text
    assert len(ended.sentences) == 1, ended.text
    for word in words:
        assert word in ended.sentences[0], ended.text
