"""Who plays in a demo: the processes, their keys and folders, started in order and stopped together.

Each participant gets a folder of its own with an encrypted keystore, whose random password is in a file that only
this user can read and that is removed at the end. Nothing is shared but the chain's address, the address book and
the dealer's multiaddr.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agents.keyring import Keyring
from agents.keystore import create
from agents.progress import ProgressEvent, ProgressReader
from protocols.errors import UserError, WireError


@dataclass(frozen=True)
class Play:
    """What was asked for; see `crypdoc demo --help`."""

    scan: Path | None = None
    json_file: Path | None = None
    rpc: str = ""
    doctors: int = 5
    panel: int = 3
    seed: int = 0
    outcome: str = "agree"
    interactive: bool = False
    networks: tuple[str, ...] = ("LeNet",)
    slice_: int | None = None
    volume: Path | None = None
    axes: str = "xyz"
    runs: Path = Path("runs")
    timeout: float = 600.0

    @property
    def field(self) -> str:
        """The specialty of doctors, model and case."""
        return "chest radiology" if self.volume else "neuroradiology"

    def check(self) -> None:
        """Raises `UserError` for a wish that cannot come true."""
        if self.volume and (self.scan or self.slice_ is not None):
            raise UserError(
                "a demo is of one scan, or of one volume", "leave SCAN and --slice out, or --volume"
            )
        if self.panel % 2 == 0:
            raise UserError(f"a panel of {self.panel} could be tied", "choose 3, 5, 7 or 9")
        if self.interactive and self.outcome != "agree":
            raise UserError(
                f"--outcome {self.outcome} cannot be promised with a person on the panel",
                "leave --outcome or --interactive out",
            )
        needed = self.panel + (2 * self.panel + 1 if self.outcome == "disagree" else 0)
        if self.doctors < needed:
            raise UserError(
                f"{self.doctors} doctors are too few for a panel of {self.panel}"
                + (f" and a second one of {2 * self.panel + 1}" if self.outcome == "disagree" else ""),
                f"ask for --doctors {needed} or more",
            )


READER_OF = {"agree": "auto", "disagree": "auto-split", "no-show": "auto-absent"}


@dataclass
class Actor:
    """One process and what belongs to it."""

    name: str
    role: str
    data: Path
    keyring: Keyring
    process: subprocess.Popen[bytes] | None = None
    arguments: list[str] = field(default_factory=list)

    @property
    def progress(self) -> Path:
        return self.data / "progress.jsonl"


class Cast:
    """The running processes of one demo. A context: leaving it stops them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.actors: dict[str, Actor] = {}
        self.chain: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.password_file = folder / ".password"
        fd = os.open(self.password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._password = secrets.token_urlsafe(24)
        with os.fdopen(fd, "w") as file:
            file.write(self._password + "\n")

    def __enter__(self) -> Cast:
        return self

    def __exit__(self, *_: object) -> None:
        running = [a.process for a in self.actors.values() if a.process is not None]
        if self.chain is not None:
            running.append(self.chain)
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 8
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.password_file.unlink(missing_ok=True)

    def add(self, name: str, role: str) -> Actor:
        """A participant with a fresh wallet."""
        data = self.folder / "agents" / name.replace(" ", "-")
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        actor = Actor(name, role, data, create(data / "keystore.json", self._password))
        self.actors[name] = actor
        return actor

    def environment(self) -> dict[str, str]:
        """What the processes see: one thread of arithmetic each, and where the password is."""
        return os.environ | {
            "CRYPDOC_PASSWORD_FILE": str(self.password_file),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def spawn(self, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `crypdoc ARGUMENTS`, its output in `log`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            return subprocess.Popen(  # noqa: S603 (our own command)
                [sys.executable, "-m", "agents.cli", *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self.environment(),
            )

    def start(self, actor: Actor, *arguments: str) -> None:
        """Start a participant's process (again)."""
        if arguments:
            actor.arguments = list(arguments)
        actor.process = self.spawn(actor.data / "log.txt", *actor.arguments)

    def fallen(self) -> Actor | None:
        """A participant whose process ended by itself with an error."""
        ended = (
            a for a in self.actors.values() if a.process is not None and a.process.poll() not in (None, 0)
        )
        return next(ended, None)


def last_words(log: Path) -> str:
    """The last lines of a log, for an error."""
    try:
        lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return lines[-1].removeprefix("crypdoc: ") if lines else ""


class Watch:
    """The progress of all participants, and waiting for steps in it."""

    def __init__(self, cast: Cast, show: Callable[[list[ProgressEvent]], None]) -> None:
        self._cast = cast
        self._show = show
        self._reader = ProgressReader()
        self.events: list[ProgressEvent] = []

    def poll(self) -> list[ProgressEvent]:
        """What is new; shown as it is read."""
        for actor in self._cast.actors.values():
            self._reader.add(actor.progress)
        fresh = self._reader.poll()
        self.events += fresh
        self._show(fresh)
        return fresh

    def until(self, done: Callable[[], bool], timeout: float, what: str) -> None:
        """Poll until `done`. Raises `WireError` when it takes too long or a process fell."""
        deadline = time.monotonic() + timeout
        while not done():
            self.poll()
            if (actor := self._cast.fallen()) is not None:
                words = last_words(actor.data / "log.txt")
                raise WireError(f"{actor.name} stopped: {words}", f"its log is {actor.data / 'log.txt'}")
            if time.monotonic() > deadline:
                raise WireError(
                    f"{what} did not happen within {timeout:.0f} s", f"see the logs in {self._cast.folder}"
                )
            time.sleep(0.1)
        self.poll()

    def said(self, name: str, step: str) -> bool:
        """Whether a participant has reported a step."""
        return any(e.who == name and e.step == step for e in self.events)

    def step(self, name: str, step: str) -> ProgressEvent | None:
        """The first report of a step by a participant."""
        return next((e for e in self.events if e.who == name and e.step == step), None)
