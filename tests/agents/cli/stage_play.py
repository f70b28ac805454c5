"""A stage as `crypdoc demo` sets it, for tests that take the person's part through the pages' own interfaces."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agents.demo.cast import Actor, Cast, Play, Watch
from agents.demo.run import _Stage
from agents.demo.screen import Screen
from models.scans import sample_scan_path

PATIENCE = 120.0


class Page:
    """A local page as its owner's browser sees it."""

    def __init__(self, url: str) -> None:
        whole = urlsplit(url.strip())
        self.base = f"{whole.scheme}://{whole.netloc}"
        self._token = whole.fragment.removeprefix("token=")

    def ask(self, path: str, body: bytes | None = None, kind: str = "application/json") -> tuple[int, bytes]:
        request = urllib.request.Request(self.base + path, body, {"X-CrypDoc-Token": self._token})
        if body is not None:
            request.add_header("Content-Type", kind)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def desk(self) -> dict[str, Any]:
        status, body = self.ask("/api/desk")
        assert status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found

    def upload(self, scan: bytes) -> tuple[int, dict[str, Any]]:
        mark = uuid.uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="scan.png"\r\n\r\n'
        body = head.encode() + scan + f"\r\n--{mark}--\r\n".encode()
        status, answer = self.ask("/image", body, f"multipart/form-data; boundary={mark}")
        return status, json.loads(answer)

    def decide(self, case: str, label: str | None, confidence: int) -> tuple[int, dict[str, Any]]:
        body = json.dumps({"label": label, "confidence": confidence}).encode()
        status, answer = self.ask(f"/api/cases/{case}/decision", body)
        return status, json.loads(answer)


class PlayedStage:
    """A running network whose doctor 1 reads on the page, and whose patient gives scans on a page."""

    def __init__(self, cast: Cast, stage: _Stage) -> None:
        self.cast = cast
        self.stage = stage

    def page(self, actor: Actor) -> Page:
        """The page of an agent, once it is up."""
        file = actor.data / "page.url"
        return Page(until(lambda: file.read_text() if file.exists() else "", f"{actor.name}'s page"))

    def start_patient(self) -> Page:
        patient = self.cast.actors["patient"]
        self.cast.start(patient, "patient", *self.stage._common(patient), "--page-port", "0")
        return self.page(patient)

    def kill(self, actor: Actor) -> None:
        """As a power cut would."""
        assert actor.process is not None
        actor.process.send_signal(signal.SIGKILL)
        actor.process.wait(10)
        (actor.data / "page.url").unlink()

    def restart(self, actor: Actor) -> Page:
        self.cast.start(actor)
        return self.page(actor)


def until(look: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Look until there is something."""
    end = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.2)
    return found


@contextmanager
def played_stage(folder: Path) -> Iterator[PlayedStage]:
    """Chain, contracts, dealer, model, three doctors, the first of them a person."""
    play = Play(doctors=3, panel=3, interactive=True)
    with Cast(folder) as cast, Screen() as screen:
        stage = _Stage(play, cast, Watch(cast, lambda events: None), screen, sample_scan_path())
        stage.set()
        yield PlayedStage(cast, stage)
