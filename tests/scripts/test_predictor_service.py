"""`scripts/predictor.py` from the outside: curl in, a decision, a CSV line out; blind inference by real processes."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.scans import synthetic_scan
from models.zoo import NETWORKS

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "predictor.py"
PATIENCE = 240.0
"""Seconds: a start takes one, on a machine that does much else many."""
COLUMNS = "input_time,decision_time,doctor_is_cancer,predictor_is_cancer"
LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z,\d{4}-\d\d-\d\dT[\d:.]+Z,(True|False),(True|False)")


def _free_pair() -> int:
    """A port that is free together with the next one."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def _until(look: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    end = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.05)
    return found


class Service:
    def __init__(self, folder: Path, *options: str) -> None:
        self.port = _free_pair()
        self.out, self.err = folder / "out.csv", folder / "err.txt"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            command = [sys.executable, str(SCRIPT), "--port", str(self.port), *options]
            self.process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=err)
        _until(lambda: self.lines() or self.process.poll() is not None, "the header")
        assert self.process.poll() is None, self.err.read_text()

    def lines(self) -> list[str]:
        return self.out.read_text().splitlines()

    def send(self, data: bytes) -> tuple[int, dict[str, Any]]:
        mark = uuid.uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="scan"\r\n\r\n'
        body = head.encode() + data + f"\r\n--{mark}--\r\n".encode()
        return self._ask(self.port, "/image", body, f"multipart/form-data; boundary={mark}")

    def waiting(self) -> dict[str, Any]:
        return self._ask(self.port + 1, "/decision", None, "")[1]

    def decide(self, answer: str) -> None:
        form = urllib.parse.urlencode({"case": self.waiting()["case"], "decision": answer}).encode()
        self._ask(self.port + 1, "/decision", form, "application/x-www-form-urlencoded")

    def children(self) -> dict[str, int]:
        """Process ids of the newest model and dealer."""
        table = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True)
        found = {}
        for line in table.stdout.splitlines():
            if (m := re.match(r"\s*(\d+)\s+(\d+) .*agents\.classic\.party (\w+)", line)) is None:
                continue
            if int(m[2]) == self.process.pid:
                found[m[3]] = int(m[1])
        return found

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)

    @staticmethod
    def _ask(port: int, path: str, body: bytes | None, kind: str) -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(
            f"http://localhost:{port}{path}", body, {"Accept": "application/json"}
        )
        if kind:
            request.add_header("Content-Type", kind)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("predictor"))
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def _picture(mode: str) -> bytes:
    pixels = synthetic_scan().pixels
    if mode == "I;16":
        image = Image.fromarray((pixels * 65535).astype(np.uint16))
    else:
        image = Image.fromarray((pixels * 255).astype(np.uint8)).convert(mode)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16"])
def test_every_kind_of_picture_becomes_a_line(service: Service, mode: str) -> None:
    before = len(service.lines())
    assert service.send(_picture(mode))[0] == 202
    answer = {"L": "cancer", "P": "cancer"}.get(mode, "no cancer")
    service.decide(answer)
    _until(lambda: len(service.lines()) > before, "the line")
    assert service.lines()[0] == COLUMNS
    told = LINE.fullmatch(service.lines()[-1])
    assert told is not None, service.lines()[-1]
    assert told[1] == str(answer == "cancer"), "the third column is the doctor's diagnosis itself"


@pytest.mark.parametrize("data", [b"", b"hello", _picture("L")[:200]])
def test_what_is_no_scan_is_415_and_the_service_goes_on(service: Service, data: bytes) -> None:
    status, answer = service.send(data)
    assert (status, set(answer)) == (415, {"error", "remedy"})
    assert service.waiting()["case"] is None


def test_the_answer_comes_from_processes_apart_which_are_replaced_when_they_die(service: Service) -> None:
    before = len(service.lines())
    children = _until(lambda: c if len(c := service.children()) == 2 else None, "both children")
    assert service.process.pid not in children.values()
    for pid in children.values():
        os.kill(pid, signal.SIGKILL)
    assert service.send(_picture("L"))[0] == 202
    service.decide("cancer")
    _until(lambda: len(service.lines()) > before, "the line")
    assert LINE.fullmatch(service.lines()[-1])
    fresh = _until(lambda: c if len(c := service.children()) == 2 else None, "the next children")
    assert not set(fresh.values()) & set(children.values())


def test_a_taken_port_is_one_sentence_and_exit_code_6(service: Service, tmp_path: Path) -> None:
    for port in (service.port, service.port - 1):
        command = [sys.executable, str(SCRIPT), "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert ended.returncode == 6
        assert ended.stdout == ""
        assert f"port {service.port} of this machine is taken" in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1


def test_ctrl_c_ends_it_and_its_children(service: Service) -> None:
    children = _until(service.children, "the children")
    assert service.stop() == 0
    assert "Traceback" not in service.err.read_text()
    for pid in children.values():
        _until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "the end of the children", 10)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model-file", "absent.safetensors"], "absent.safetensors"),
        (["--model-name", "LeNet", "--model-file", "{BigLeNet}"], "and not LeNet"),
    ],
)
def test_a_network_that_cannot_be_had_is_one_sentence(options: list[str], words: str) -> None:
    big = str(ROOT / "models" / "weights" / "biglenet-brain-mri.safetensors")
    options = [option.replace("{BigLeNet}", big) for option in options]
    command = [sys.executable, str(SCRIPT), "--port", str(_free_pair()), *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert words in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_damaged_network_is_one_sentence(tmp_path: Path) -> None:
    weights = ROOT / "models" / "weights"
    shutil.copy(weights / "lenet-brain-mri.card.json", tmp_path)
    cut = tmp_path / "lenet-brain-mri.safetensors"
    cut.write_bytes((weights / cut.name).read_bytes()[:5000])
    command = [sys.executable, str(SCRIPT), "--port", str(_free_pair()), "--model-file", str(cut)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.strip() == (
        "predictor: the network file lenet-brain-mri.safetensors is damaged or not a CrypDoc network; "
        f"restore the file, or name one of: {', '.join(NETWORKS)}."
    )


def test_without_an_environment_it_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    copy = Path(shutil.copy(SCRIPT, tmp_path / "scripts"))
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}"
    ended = subprocess.run([str(base), "-I", str(copy)], capture_output=True, text=True, timeout=PATIENCE)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "scripts/setup" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_bare_python_goes_on_in_the_projects_environment(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    copy = Path(shutil.copy(SCRIPT, tmp_path / "scripts"))
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\necho "entered $@"\n')
    python.chmod(0o755)
    ended = subprocess.run(
        [sys.executable, "-I", str(copy), "--port", "9"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert ended.stdout.strip() == f"entered {copy} --port 9"
