"""How far a long computation is: on a terminal one bar that changes its name, elsewhere lines; sentences stay."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SILENT = 30.0  # seconds between lines where there is no terminal
_LOOK_BACK = 3600.0  # seconds of steps that the time left rests on: one step may take minutes


class TrainingScreen:
    """A `models.train_run.Screen` on standard error.

    Where that is no terminal, each new stage is a line, and then a line comes with a step every half minute.
    Stages that differ in numbers alone ("epoch 2 of 9") are one. clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(stderr=True, highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(
            *columns,
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
            speed_estimate_period=_LOOK_BACK,
            get_time=clock,
        )
        self._task = self._bar.add_task("", total=None)
        self._clock = clock
        self._stage, self._said = "", 0.0
        self._work, self._total = "", -1
        self._begun, self._first, self._done = 0.0, 0, 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, stage: str, done: int, total: int) -> None:
        """`stage` is `done` of `total` along. What stands before a colon may go on under another name behind it."""
        work = _unnumbered(stage).partition(":")[0]
        if (work, total) != (
            self._work,
            self._total,
        ) or done < self._done:  # the speed of other work says nothing
            self._work, self._total, self._begun, self._first = work, total, self._clock(), done
            self._bar.reset(self._task, description=stage, completed=done, total=total)
        else:
            self._bar.update(self._task, description=stage, completed=done, total=total)
        self._done = done
        if not self._console.is_terminal:
            self._tell(stage, done, total)

    def _tell(self, stage: str, done: int, total: int) -> None:
        """A line, where one is due."""
        now, plain = self._clock(), _unnumbered(stage)
        if plain == self._stage and now - self._said < _SILENT:
            return
        self._stage, self._said = plain, now
        text = stage if total <= 1 else f"{stage}: {done} of {total}"
        if self._first < done < total:
            left = (now - self._begun) / (done - self._first) * (total - done)
            text += f", {_minutes(left)} left"
        self._console.print(text, markup=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """A sentence that stays."""
        self._console.print(text, markup=False)


def _unnumbered(stage: str) -> str:
    return re.sub(r"\d+", "#", stage)


def _minutes(seconds: float) -> str:
    count = round(seconds / 60)
    return "less than a minute" if count < 1 else f"about {count} minute{'' if count == 1 else 's'}"
