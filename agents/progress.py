"""What an agent is doing now, as JSON lines that the demo and the pages tail.

One line an event: `{"t": unix seconds, "who": name, "role": role, "case": id or null, "step": word,
"text": sentence, ...}`. The step is one word, or words joined by dots of which the first names the phase
(`blind.round`, `commit.sent`); the first words that a screen knows are the keys of `PHASE_OF_STEP`.

Lines carry nothing secret: no scan, no share, no verdict before its reveal. They are a view, never a source
of truth, so a full disk silences them and does not stop the agent.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TextIO

MAX_LINE = 16_384
MAX_TEXT = 500
MAX_POLL = 1 << 20

PHASES: tuple[str, ...] = (
    "Prepare",
    "Quotes",
    "Blind inference",
    "Case open",
    "Panel drawn",
    "Reading",
    "Commit",
    "Reveal",
    "Settled",
    "Certificate",
    "Data market",
)

PHASE_OF_STEP: Mapping[str, str] = {
    "prepare": "Prepare",
    "scan": "Prepare",
    "quote": "Quotes",
    "quotes": "Quotes",
    "purchase": "Quotes",
    "blind": "Blind inference",
    "inference": "Blind inference",
    "receipt": "Blind inference",
    "open": "Case open",
    "opened": "Case open",
    "drawn": "Panel drawn",
    "draw": "Panel drawn",
    "seat": "Panel drawn",
    "seating": "Panel drawn",
    "reading": "Reading",
    "read": "Reading",
    "commit": "Commit",
    "committed": "Commit",
    "reveal": "Reveal",
    "revealed": "Reveal",
    "settle": "Settled",
    "settled": "Settled",
    "refunded": "Settled",
    "certificate": "Certificate",
    "market": "Data market",
    "listed": "Data market",
    "bought": "Data market",
}

# Steps that share a first word with a phase but do not begin it: a researcher looks for records before there
# are any, and a doctor's round can be over while the case goes on.
STEPS_OF_NO_PHASE = frozenset({"market.browse", "market.nothing", "settled.seat"})


def phase_of(step: str) -> str | None:
    """The phase of a case that a step belongs to, or None (start, stop, peer and the like)."""
    step = step.lower()
    return None if step in STEPS_OF_NO_PHASE else PHASE_OF_STEP.get(step.split(".", 1)[0])


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """The text on one line, without control characters: peers choose their names, terminals obey escapes."""
    clean = "".join(c if c.isprintable() else " " for c in text[: limit + 1])
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """One progress line; texts are printable and bounded, whatever the file held."""

    t: float
    who: str
    role: str
    case: str | None
    step: str
    text: str
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def phase(self) -> str | None:
        return phase_of(self.step)

    def as_dict(self) -> dict[str, object]:
        """The line as it is written, also the form of a `timeline` entry."""
        line = {"t": self.t, "who": self.who, "role": self.role, "case": self.case, "step": self.step}
        return {**self.extra, **line, "text": self.text}

    @classmethod
    def parse(cls, line: bytes) -> Self | None:
        """The event in one line, or None when the line is not one."""
        try:
            body = json.loads(line)
            t = float(body["t"])
            who, role, step, text = (body[key] for key in ("who", "role", "step", "text"))
            case = body.get("case")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            return None
        if not all(isinstance(word, str) for word in (who, role, step, text)) or not -1e12 < t < 1e12:
            return None
        known = {"t", "who", "role", "case", "step", "text"}
        return cls(
            t=t,
            who=printable(who, 60),
            role=printable(role, 30),
            case=None if case is None else printable(str(case), 100),
            step=printable(step, 60),
            text=printable(text),
            extra={k: v for k, v in body.items() if k not in known},
        )


class Progress:
    """Appends one agent's progress to a file, and shows it on a stream when one is given.

    Each event is one `write` to a file opened for appending, so lines of several writers do not mix. A line
    left half-written by a killed process is closed before the next one.
    """

    def __init__(
        self,
        path: Path | None,
        who: str,
        role: str,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.who = who
        self.role = role
        self._stream = stream
        self._clock = clock
        self._fd: int | None = None
        self._broken = False
        self._torn = False

    def __call__(self, step: str, text: str, *, case: object = None, **extra: object) -> ProgressEvent:
        """Notes one step. `extra` must be JSON values; what is not is written as its `str`."""
        event = ProgressEvent(
            t=round(self._clock(), 3),
            who=printable(self.who, 60),
            role=printable(self.role, 30),
            case=None if case is None else printable(str(case), 100),
            step=printable(step, 60),
            text=printable(text),
            extra=extra,
        )
        self._append(event)
        self._show(event)
        return event

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, event: ProgressEvent) -> None:
        if self.path is None or self._broken:
            return
        line = _encode(event)
        try:
            if self._fd is None:
                self._fd, self._torn = _open_for_append(self.path)
            if self._torn:
                line = b"\n" + line
            written = os.write(self._fd, line)
            self._torn = written != len(line)
        except OSError as error:
            self._broken = True
            print(
                f"progress: cannot write {self.path} ({error.strerror}); going on without it", file=sys.stderr
            )

    def _show(self, event: ProgressEvent) -> None:
        if self._stream is None:
            return
        try:
            print(f"{event.who}: {event.text}", file=self._stream, flush=True)
        except (OSError, ValueError):
            self._stream = None


def _encode(event: ProgressEvent) -> bytes:
    """The event as one line; extras are dropped when they make it longer than MAX_LINE."""
    for body in (event.as_dict(), ProgressEvent.as_dict(_without_extra(event))):
        line = json.dumps(body, ensure_ascii=False, separators=(",", ":"), default=str)
        data = line.encode("utf-8", "replace") + b"\n"
        if len(data) <= MAX_LINE:
            break
    return data


def _without_extra(event: ProgressEvent) -> ProgressEvent:
    return ProgressEvent(event.t, event.who, event.role, event.case, event.step, event.text)


def _open_for_append(path: Path) -> tuple[int, bool]:
    """The file opened for appending, and whether its last line was left without its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    size = os.fstat(fd).st_size
    return fd, size > 0 and os.pread(fd, 1, size - 1) != b"\n"


class ProgressReader:
    """Tails several progress files. Each `poll` gives what is new in all of them, by time.

    A file may not exist yet, may end in half a line (kept until its end comes), be cut (read again from its
    start) or be replaced by another under the same name (the old one is read to its end first). Lines that
    are no progress are counted in `skipped` and passed over.
    """

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        self._tails = {path: _Tail(path) for path in paths}

    def add(self, path: Path) -> None:
        self._tails.setdefault(path, _Tail(path))

    @property
    def skipped(self) -> int:
        return sum(tail.skipped for tail in self._tails.values())

    def poll(self) -> list[ProgressEvent]:
        events = [event for tail in self._tails.values() for event in tail.poll()]
        return sorted(events, key=lambda event: event.t)

    def close(self) -> None:
        for tail in self._tails.values():
            tail.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Tail:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped = 0
        self._file: BinaryIO | None = None
        self._part = b""
        self._drop = False

    def poll(self) -> list[ProgressEvent]:
        if self._file is None and not self._reopen():
            return []
        events = self._read()
        if self._replaced() and self._reopen():
            events += self._read()
        return events

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _reopen(self) -> bool:
        try:
            fresh = self.path.open("rb", buffering=0)
        except OSError:
            return False
        self.close()
        self._file, self._part, self._drop = fresh, b"", False
        return True

    def _replaced(self) -> bool:
        """Whether the name now stands for another file, or this one was cut."""
        assert self._file is not None
        mine = os.fstat(self._file.fileno())
        try:
            now = self.path.stat()
        except OSError:
            return False
        return (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino) or now.st_size < self._file.tell()

    def _read(self) -> list[ProgressEvent]:
        """The events in the lines that have ended since the last call."""
        assert self._file is not None
        events: list[ProgressEvent] = []
        try:
            while data := self._file.read(MAX_POLL):
                events += self._split(data)
        except OSError:
            pass  # What came so far is good; the next poll tries the rest.
        return events

    def _split(self, data: bytes) -> list[ProgressEvent]:
        *lines, self._part = (self._part + data).split(b"\n")
        if self._drop and lines:
            lines, self._drop = lines[1:], False
        if len(self._part) > 4 * MAX_LINE:
            self._part = b""
            self.skipped += not self._drop
            self._drop = True
        events = [ProgressEvent.parse(line) for line in lines if line]
        good = [event for event in events if event is not None]
        self.skipped += len(events) - len(good)
        return good
