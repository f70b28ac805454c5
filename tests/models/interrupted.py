"""Ctrl-C as a terminal gives it: SIGINT to every process of the group that an engine runs in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_RUN = """
import sys
import time
import engine_samples as samples
from {module} import {engine}
try:
    print("begun", flush=True)
    with {engine}(samples.every_kind()):
        print("ready", flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""


def interrupted(module: str, engine: str, wait: float | None) -> tuple[int, str, list[int]]:
    """Exit code, standard error and the processes left of an engine's run.

    wait: seconds after its first process was started; None: until they answer.
    """
    here = Path(__file__).parent
    run = subprocess.Popen(
        [sys.executable, "-c", _RUN.format(module=module, engine=engine)],
        cwd=here.parents[1],
        env=os.environ | {"PYTHONPATH": f"{here.parents[1]}{os.pathsep}{here}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert run.stdout is not None
        run.stdout.readline()
        end = time.monotonic() + 30
        while len(_members(run.pid)) < 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        if wait is None:
            assert run.stdout.readline() == "ready\n"
        else:
            time.sleep(wait)
        os.killpg(run.pid, signal.SIGINT)
        _, said = run.communicate(timeout=60)
        end = time.monotonic() + 10
        while (left := _members(run.pid)) and time.monotonic() < end:
            time.sleep(0.05)
        return run.returncode, said, left
    finally:
        for number in _members(run.pid):
            os.kill(number, signal.SIGKILL)


def _members(group: int) -> list[int]:
    """The processes of a group, dead ones left out."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z" and int(fields[2]) == group:
            found.append(int(stat.parent.name))
    return found
