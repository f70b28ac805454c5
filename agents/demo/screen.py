"""The demo on the terminal: who does what, how far the case is, and in the end what came out.

On a terminal the view is drawn in place; elsewhere (a file, CI) each event is one plain line without any
escape sequence.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agents.progress import PHASES, ProgressEvent, printable
from agents.report import facts
from agents.report.result import CaseResult
from agents.report.words import money, plural, reputation, seconds

ROLE_COLOURS: Mapping[str, str] = {
    "chain": "bright_black",
    "patient": "cyan",
    "model": "magenta",
    "dealer": "yellow",
    "doctor": "green",
    "researcher": "blue",
}
RECENT = 6


@dataclass(slots=True)
class Actor:
    """One line of the view."""

    who: str
    role: str
    text: str = "waiting"
    t: float | None = None


class Screen:
    """Shows progress events as they come. Use as a context manager; `feed` may be called from one thread.

    cast: the agents known beforehand as (who, role); others join when they are first heard of.
    """

    def __init__(
        self,
        cast: Sequence[tuple[str, str]] = (),
        *,
        title: str = "CrypDoc",
        console: Console | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.console = console or Console(stderr=False)
        self.title = title
        self.live_view = self.console.is_terminal and not self.console.is_dumb_terminal
        self._clock = clock
        self._start = clock()
        self._actors = {who: Actor(who, role) for who, role in cast}
        self._phase_start: dict[str, float] = {}
        self._now = -1
        self._recent: deque[ProgressEvent] = deque(maxlen=RECENT)
        self._live: Live | None = None
        self._end: float | None = None
        self._pinned = ""

    def __enter__(self) -> Self:
        if self.live_view:
            self._live = Live(self, console=self.console, refresh_per_second=4, transient=False)
            self._live.start()
        else:
            self._plain(f"{self.title}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._end = self._clock()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def feed(self, events: Iterable[ProgressEvent]) -> None:
        """Takes new events, oldest first."""
        for event in events:
            self._take(event)

    def say(self, text: str) -> None:
        """A word from the demo itself."""
        self._take(ProgressEvent(self._clock(), "demo", "", None, "note", printable(text)))

    def pin(self, text: str) -> None:
        """A word that stays in sight until another takes its place; "" takes it down."""
        self._pinned = printable(text)
        if self._live is None and text:
            self._plain(f">>> {self._pinned}")

    def _take(self, event: ProgressEvent) -> None:
        if event.role:
            actor = self._actors.setdefault(event.who, Actor(event.who, event.role))
            actor.text, actor.t = event.text, event.t
        self._recent.append(event)
        if event.phase is not None:
            self._enter(event.phase, event.t)
        if self._live is None:
            role = f" ({event.role})" if event.role and event.role != event.who else ""
            self._plain(f"[{self._since(event.t):7.1f} s] {event.who}{role}: {event.text}")

    def _enter(self, phase: str, t: float) -> None:
        """Moves the case to a phase; a late event of an earlier one does not move it back."""
        index = PHASES.index(phase)
        self._phase_start.setdefault(phase, t)
        self._now = max(self._now, index)

    def _since(self, t: float) -> float:
        return max(0.0, t - self._start)

    def _plain(self, text: str) -> None:
        print(printable(text, 2_000), file=self.console.file, flush=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._frame(options.max_width, options.height or console.height)

    def _frame(self, width: int, height: int) -> RenderableType:
        spent = Text(f" {seconds(self._since(self._end or self._clock()))} ", style="bold")
        room = height - 14 - (4 if self._pinned else 0)
        parts: list[RenderableType] = [self._strip(width - 4), Text(""), self._cast(max(4, room))]
        if self._pinned:
            parts[1:1] = [Text(""), Text(self._pinned, style="bold yellow", overflow="fold")]
        if self._recent:
            parts += [Text(""), self._events()]
        return Panel(
            Group(*parts), title=Text(f" {self.title} ", style="bold"), subtitle=spent, box=box.ROUNDED
        )

    def _strip(self, width: int) -> RenderableType:
        """The phases, wrapped to the width between them: done, now, to come."""
        lines = [Text(no_wrap=True, overflow="ellipsis")]
        for index, phase in enumerate(PHASES):
            done = index < self._now or (self._end is not None and index == self._now)
            if done:
                mark, style = "✓", "green"
            elif index == self._now:
                mark, style = "●", "bold yellow"
            else:
                mark, style = "○", "bright_black"
            length = self._phase_seconds(index)
            label = f"{mark} {phase}" + (f" {length}" if length else "")
            if lines[-1].cell_len + 2 + len(label) > width and lines[-1].cell_len:
                lines.append(Text(no_wrap=True, overflow="ellipsis"))
            lines[-1].append("  " if lines[-1].cell_len else "").append(label, style=style)
        return Group(*lines)

    def _phase_seconds(self, index: int) -> str:
        """How long a phase took (or has taken), until the next one that was seen began."""
        start = self._phase_start.get(PHASES[index])
        if start is None:
            return ""
        later = [t for name, t in self._phase_start.items() if PHASES.index(name) > index]
        end = min(later) if later else (self._end or self._clock())
        return seconds(max(0.0, end - start)) if end - start >= 0.05 else ""

    def _cast(self, rows: int) -> RenderableType:
        table = Table(box=None, padding=(0, 1), expand=True, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, style="bright_black")
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        actors = list(self._actors.values())
        shown = actors if len(actors) <= rows else actors[: rows - 1]
        for actor in shown:
            style = ROLE_COLOURS.get(actor.role, "white")
            name = Text("● ", style=style if actor.t is not None else "bright_black") + Text(
                actor.who, style="bold"
            )
            table.add_row(name, Text(actor.role), Text(actor.text))
        if len(shown) < len(actors):
            table.add_row(Text(f"and {len(actors) - len(shown)} more", style="bright_black"), "", "")
        return table

    def _events(self) -> RenderableType:
        table = Table(box=None, padding=(0, 1), expand=True, show_header=False)
        table.add_column(no_wrap=True, justify="right", style="bright_black", width=9)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis", style="bright_black")
        for event in self._recent:
            table.add_row(Text(seconds(self._since(event.t))), Text(f"{event.who}: {event.text}"))
        return table


def summary_lines(result: Mapping[str, object], report: Path | str | None = None) -> list[tuple[str, str]]:
    """What a patient wants to know, as (heading, text); notes have the heading "Note"."""
    case = CaseResult.parse(result)
    lines = [("Diagnosis", f"{facts.headline(case)}. {facts.explanation(case)}")]
    lines.append(("Model", facts.certainty(case)))
    lines.append(("Panel", facts.agreement(case)))
    lines.append(("Cost", facts.cost(case)))
    paid = [f"{who} {money(wei, case.currency)}" for who, wei in facts.payments(case)]
    lines.append(("Paid", "; ".join(paid) or "nobody"))
    moves = [f"{who} {reputation(old)} → {reputation(new)}" for who, old, new in facts.reputations(case)]
    if moves:
        lines.append(("Reputation", "; ".join(moves)))
    if case.certificate is not None:
        valid = case.certificate.get("valid") is True
        lines.append(("Certificate", "valid, signed by the agreeing doctors" if valid else "NOT valid"))
    if case.records:
        lines.append(("Data market", f"{plural(len(case.records), 'record')} listed, without the scan"))
    where = report or result.get("report")
    if where:
        lines.append(("Report", printable(str(where), 1_000)))
    return [*lines, *(("Note", text) for text in facts.notices(case))]


def summary_text(result: Mapping[str, object], report: Path | str | None = None) -> str:
    """The summary as plain lines."""
    return "\n".join(f"{head + ':':<13}{text}" for head, text in summary_lines(result, report))


def summary(result: Mapping[str, object], report: Path | str | None = None) -> RenderableType:
    """The summary for a terminal. Print it with `show_summary`, which knows when there is none."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(ratio=1)
    for head, text in summary_lines(result, report):
        shown = Text(text, style="yellow" if head == "Note" else "")
        if head == "Diagnosis":
            shown.stylize("bold green", 0, text.index("."))
        table.add_row(Text(head), shown)
    return Panel(table, title=Text(" Your case "), box=box.ROUNDED)


def show_summary(
    result: Mapping[str, object], report: Path | str | None = None, console: Console | None = None
) -> None:
    """Prints the summary: framed on a terminal, as plain lines elsewhere."""
    console = console or Console()
    if console.is_terminal and not console.is_dumb_terminal:
        console.print(summary(result, report))
    else:
        print(summary_text(result, report), file=console.file, flush=True)
