"""The terminal view: plain and clean where there is no terminal, honest about who played the doctors."""

from __future__ import annotations

import io
import re

import pytest
from report_samples import START, disagree, no_show, refunded, settled
from rich.cells import cell_len
from rich.console import Console

from agents.demo.screen import Screen, show_summary, summary, summary_text
from agents.progress import ProgressEvent
from protocols.errors import UserError


def events() -> list[ProgressEvent]:
    return [
        ProgressEvent(e["t"], e["who"], e["role"], "0x1", e["step"], e["text"]) for e in settled()["timeline"]
    ]


def plain() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=False, width=100), out


def terminal(width: int = 100, height: int = 30) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=width, height=height, _environ={"TERM": "xterm"}), out


def test_without_a_terminal_each_event_is_one_plain_line() -> None:
    console, out = plain()
    with Screen([("Pat", "patient")], title="A case", console=console, clock=lambda: START) as screen:
        screen.feed(events())
        screen.say("done \x1b[31mred")
    lines = out.getvalue().splitlines()
    assert lines[0] == "A case"
    assert lines[1] == "[    0.0 s] Pat (patient): Loaded the scan and took out what names a person"
    assert len(lines) == 1 + len(events()) + 1
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_the_view_shows_agents_phases_and_events() -> None:
    console, out = terminal(120, 40)
    screen = Screen([("Pat", "patient"), ("Eve", "researcher")], console=console, clock=lambda: START + 7)
    screen._live = object()  # type: ignore[assignment]
    screen.feed(events()[:15])
    console.print(screen)
    text = out.getvalue()
    for wanted in ("Pat", "Eve", "waiting", "✓ Prepare", "● Reading", "○ Settled", "Dr. Ada"):
        assert wanted in text


def test_a_late_event_of_an_earlier_phase_does_not_move_the_case_back() -> None:
    console, _ = plain()
    screen = Screen(console=console, clock=lambda: START)
    screen.feed(events())
    screen.feed([ProgressEvent(START + 13, "Pat", "patient", None, "quotes.late", "late")])
    assert screen._now == 10


def test_markup_in_names_and_texts_is_text() -> None:
    console, out = terminal()
    screen = Screen(console=console, clock=lambda: START)
    screen._live = object()  # type: ignore[assignment]
    screen.feed([ProgressEvent(START, "[red]x[/red]", "doctor", None, "note", "[link=http://e]y[/link] [/]")])
    console.print(screen)
    assert "[red]x[/red]" in out.getvalue()
    assert "[link=http://e]" in out.getvalue()


@pytest.mark.parametrize(("width", "height"), [(40, 12), (20, 5), (200, 60)])
def test_view_fits_any_terminal(width: int, height: int) -> None:
    console, out = terminal(width, height)
    with Screen(
        [(f"Doctor {i}", "doctor") for i in range(40)], console=console, clock=lambda: START
    ) as screen:
        screen.feed(events())
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert max(cell_len(line) for line in text.splitlines()) <= width


def test_summary_says_what_a_patient_asks() -> None:
    text = summary_text(settled(), "out/report/index.html")
    for wanted in (
        "Diagnosis:   Tumour",
        "93 % sure (very sure)",
        "2 of 3 doctors agreed",
        "0.007041 ETH in all: bounty 0.006 ETH",
        "Dr. Ada 0.002 ETH; Dr. Ben 0.002 ETH; LeNet 0.001 ETH",
        "Dr. Ada 5,000 → 5,140",
        "valid, signed by the agreeing doctors",
        "1 record listed",
        "out/report/index.html",
        "played by automatic readers",
        "not medical advice",
    ):
        assert wanted in text


def test_summary_of_real_doctors_does_not_speak_of_automatic_ones() -> None:
    text = summary_text(settled(automatic_readers=False))
    assert "automatic" not in text
    assert "not medical advice" in text


def test_summary_of_a_refund_and_of_a_bad_certificate() -> None:
    text = summary_text(refunded())
    assert "No diagnosis" in text
    assert "went back to you" in text
    assert "Certificate" not in text
    assert "NOT valid" in summary_text(settled(certificate={"valid": False}))
    assert "NOT valid" in summary_text(settled(certificate={"valid": "true"}))


def test_summary_of_two_rounds_names_each_doctor_once() -> None:
    lines = dict(line.split(":", 1) for line in summary_text(disagree()).splitlines())
    assert lines["Reputation"].count("Dr. Ada") == 1
    assert "Dr. Ada 0.004 ETH" in lines["Paid"]


def test_summary_is_framed_on_a_terminal_and_plain_elsewhere() -> None:
    console, out = terminal()
    show_summary(no_show(), console=console)
    assert "╭" in out.getvalue()
    console, out = plain()
    show_summary(no_show(), console=console)
    assert out.getvalue() == summary_text(no_show()) + "\n"
    assert summary(no_show())


def test_summary_of_damage_is_a_user_error() -> None:
    with pytest.raises(UserError):
        summary_text({"case": {}})
