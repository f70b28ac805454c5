"""`crypdoc demo --interactive`: who is seated, what the person is told, who is named."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from agents.cli.main import crypdoc
from agents.demo import run as demo_run
from agents.demo.cast import Play
from agents.demo.run import Person, as_it_should
from agents.demo.screen import Screen
from agents.progress import ProgressEvent
from agents.report import facts
from agents.report.result import CaseResult
from protocols.errors import UserError

URL = "http://127.0.0.1:5/#token=key"


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[Play]:
    plays: list[Play] = []

    def note(play: Play) -> int:
        plays.append(play)
        return 0

    monkeypatch.setattr(demo_run, "run_demo", note)
    return plays


@pytest.mark.parametrize(
    ("options", "doctors", "timeout"),
    [
        ([], 5, 600),
        (["--interactive"], 3, 3600),
        (["--interactive", "--panel", "5"], 5, 3600),
        (["--interactive", "--doctors", "8", "--timeout", "9"], 8, 9),
        (["--outcome", "disagree"], 10, 600),
    ],
)
def test_a_person_is_seated_unless_more_doctors_are_asked_for(
    played: list[Play], options: list[str], doctors: int, timeout: float
) -> None:
    assert CliRunner().invoke(crypdoc, ["demo", *options]).exit_code == 0
    assert (played[0].doctors, played[0].timeout) == (doctors, timeout)


def test_an_outcome_cannot_be_promised_with_a_person() -> None:
    with pytest.raises(UserError, match="cannot be promised"):
        Play(interactive=True, doctors=10, outcome="disagree").check()
    Play(interactive=True, doctors=3).check()


def _event(step: str, who: str = "doctor 1") -> ProgressEvent:
    return ProgressEvent(1.0, who, "doctor", None, step, step)


def test_the_person_is_told_where_to_read_and_when(tmp_path: Path) -> None:
    page, file = tmp_path / "page.url", io.StringIO()
    with Screen(console=Console(file=file)) as screen:
        person = Person(screen, page)
        person.show([_event("up")])
        assert ">>>" not in file.getvalue()
        page.write_text(URL + "\n")
        person.show([])
        assert f">>> You are doctor 1. Your page: {URL}\n" in file.getvalue()
        person.show([_event("reading", "doctor 2")])
        assert "YOUR SCAN WAITS" not in file.getvalue()
        person.show([_event("reading")])
        assert "YOUR SCAN WAITS" in file.getvalue()
        person.show([_event("commit")])
        assert "your verdict is sealed" in file.getvalue()


def test_on_a_terminal_the_address_stays_in_sight_and_whole() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=60, height=30, color_system=None)
    screen = Screen([("doctor 1", "doctor")], console=console)
    screen.pin("Your page: http://127.0.0.1:42723/#token=3atywBwwcQsZVHoqcg6wPXJsohQ4sEWOyYCPZ9iON9E")
    console.print(screen)
    shown = "".join(line.strip("│ ") for line in file.getvalue().splitlines())
    assert "#token=3atywBwwcQsZVHoqcg6wPXJsohQ4sEWOyYCPZ9iON9E" in shown


def test_a_person_may_disagree_and_all_is_well() -> None:
    result: dict[str, Any] = {"outcome": "refunded", "certificate": {"valid": False}, "case": {"rounds": 2}}
    assert as_it_should(result, Play(interactive=True))
    assert not as_it_should(result, Play())
    assert not as_it_should(result | {"outcome": "settled"}, Play(interactive=True))


def test_the_report_names_the_person_and_adds_the_cost_up() -> None:
    spent = {"prediction_wei": 5, "dealer_wei": 1, "panel_wei": 30, "gas_wei": 4}
    case = CaseResult.parse(
        {
            "case": {"id": "0x1", "state": "settled", "rounds": 1},
            "diagnosis": {"label": "tumour", "probability": 0.9},
            "panel": [{"doctor": "0x2", "name": "doctor 1", "committed": True, "revealed": True}],
            "spent": spent,
            "automatic_readers": True,
            "people": ["doctor 1"],
        }
    )
    assert next(iter(facts.notices(case))).startswith("Doctor 1 was played by a person; the other doctors")
    assert facts.spent_items(case)[1] == sum(spent.values())
    assert facts.cost(case) == "40 wei in all: prediction 5 wei, dealer 1 wei, panel 30 wei, gas 4 wei."
