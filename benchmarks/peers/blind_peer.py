#!/usr/bin/env python3
"""One network through the blind engine, measured: `blind_peer.py FILE [--kernels K] [--wan MS MBIT] [--batch N]`.

FILE holds `Network.encode()`. The patient is this process, which never imports torch; model and dealer are processes
of their own; one thread each. The first session, which carries the masked weights, is not counted. Runs alternate
between a dealer that deals while the model computes (seconds: the least from the call to the logits, the dealer's work
in it) and one that is done before the image goes out (seconds_online, after the image; seconds_apart in all). Prints
one JSON object with those, bytes, rounds, and the peak memory of each party.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.wan import wan
from models.engines.base import Prediction
from models.engines.blind import BlindEngine
from models.engines.memory import keep_freed_memory
from protocols.blind.network import Network
from protocols.blind.schedule import costs


def peak_memory(pid: int) -> int:
    """Bytes that a process has held at most (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def measure(engine: BlindEngine, network: Network, batch: int, seconds: float, runs: int) -> dict[str, Any]:
    """At least one run after the first, at most `runs`, until so many seconds are gone."""
    rng, top = np.random.default_rng(5), network.topology
    images = rng.integers(top.input_low, top.input_high + 1, (batch, *top.input_shape)).astype(np.int8)
    engine.predict(images)
    until = time.perf_counter() + seconds
    told: dict[bool, list[tuple[float, Prediction]]] = {True: [], False: []}
    while not told[False] or (len(told[False]) < runs and time.perf_counter() < until):
        for engine.overlap in (True, False):
            begun = time.perf_counter()
            answer = engine.predict(images)
            told[engine.overlap].append((time.perf_counter() - begun, answer))
    online = min((one for _, one in told[False]), key=lambda one: one.seconds)
    apart = min(told[False], key=lambda one: one[0])
    bill = costs(top, batch, known=True)
    return {
        "seconds": min(total for total, _ in told[True]),
        "seconds_online": online.seconds,
        "seconds_apart": apart[0],
        "seconds_ahead": apart[1].seconds_ahead,
        "bytes_online": bill.bytes_online,
        "bytes_ahead": bill.bytes_ahead,
        "rounds": bill.rounds,
        "runs": len(told[False]),
        "logits": online.logits.tolist(),
        "memory": {
            role: peak_memory(pid) for role, pid in [("patient", os.getpid()), *engine.processes.items()]
        },
        "layers": [[one.name, one.seconds, one.bytes] for one in online.layers],
    }


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="blind_peer.py", description="One network through the blind engine."
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--kernels", default="best")
    parser.add_argument(
        "--wan", nargs=2, type=float, metavar=("MS", "MBIT"), help="emulated round trip and rate"
    )
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0, help="time for repeated runs (default: 10)")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="two seconds of runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args(arguments)
    keep_freed_memory()
    network = Network.decode(given.file.read_bytes())
    if given.wan:
        milliseconds, megabits = given.wan
        engine = BlindEngine(network, given.kernels, lambda: wan(milliseconds / 2000, megabits * 1e6 / 8))
    else:
        engine = BlindEngine(network, given.kernels)
    with engine:
        told = measure(engine, network, given.batch, 2.0 if given.quick else given.seconds, given.runs)
    told |= {"kernels": engine.kernels}
    print(json.dumps(told))
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
