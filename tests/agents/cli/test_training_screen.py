"""The progress of long commands: time left however slow a step is, and lines where there is no terminal."""

from __future__ import annotations

import pytest

from agents.cli.screen import TrainingScreen


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Clock()


def test_slow_steps_have_a_time_left(clock: Clock) -> None:
    with TrainingScreen(clock) as screen:
        for number in range(2):  # fast work before says nothing of it
            screen.step("preparing slices", number, 2)
        for done in range(4):
            screen.step("blind: lung along x", done, 10)
            clock.now += 45
        (bar,) = screen._bar.tasks
        assert bar.time_remaining == 7 * 45
        screen.step("blind: infection along x", 4, 10)  # goes on under another name
        assert bar.time_remaining == 6 * 45
        screen.step("blind: infection along x", 1, 10)
        assert bar.time_remaining is None


def test_without_a_terminal_there_are_lines(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingScreen(clock) as screen:
        for done in (0, 1, 2, 3, 4):
            screen.step("blind: lung along x", done, 40)
            clock.now += 12
        screen.step("blind: lung along y", 10, 40)
        screen.step("blind: lung along y", 40, 40)
        clock.now += 31
        screen.step("blind: lung along y", 40, 40)
        screen.say("done [so far]")
        screen.step("writing results", 0, 1)
    assert capsys.readouterr().err.splitlines() == [
        "blind: lung along x: 0 of 40",
        "blind: lung along x: 3 of 40, about 7 minutes left",
        "blind: lung along y: 10 of 40, about 3 minutes left",
        "blind: lung along y: 40 of 40",
        "done [so far]",
        "writing results",
    ]


def test_numbered_stages_do_not_fill_a_log(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingScreen(clock) as screen:
        for epoch in range(1, 6):
            for done in range(1, 4):
                screen.step(f"epoch {epoch} of 5", done, 3)
                clock.now += 4
    assert capsys.readouterr().err.splitlines() == [
        "epoch 1 of 5: 1 of 3",
        "epoch 3 of 5: 3 of 3",
    ]
