"""How far a long computation is, on a terminal: one bar that changes its name, and sentences that stay."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingScreen:
    """A `models.train_run.Screen` on standard error; where that is no terminal, sentences only."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, stage: str, done: int, total: int) -> None:
        """`stage` is `done` of `total` along."""
        self._bar.update(self._task, description=stage, completed=done, total=total)

    def say(self, text: str) -> None:
        """A sentence that stays."""
        self._console.print(text, markup=False)
