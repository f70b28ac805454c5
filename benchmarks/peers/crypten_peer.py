#!/usr/bin/env python3
"""The benchmark networks through CrypTen 0.4.1 with its third-party provider: three processes, one thread each, weights
and image both secret, loopback.

python -m benchmarks.peers.crypten_peer NETWORK                  one line of JSON
python -m benchmarks.peers.crypten_peer NETWORK --quick --json FILE

seconds: from image to opened result, the provider's work in it (it works on demand); the best of the runs.
bytes_online: between patient and model, both ways; bytes_provider: from the provider. All as CrypTen counts.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib.util
import multiprocessing
import resource
import tempfile
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers import networks
from benchmarks.peers.command import Unavailable, main
from models.engines.crypten_party import (
    MODEL,
    PATIENT,
    PROVIDER,
    convert,
    infer,
    meet,
    prepare,
    serve_triples,
)

TIMEOUT = 900.0


def party(rank: int, meeting: Path, name: str, pooling: str, runs: int, pipe: Connection) -> None:
    """One process: after each run, what it counted; at the end the memory that it took, in bytes."""
    prepare(rank, meeting)
    if rank == PROVIDER:
        serve_triples(pipe)
        return
    image = networks.image(name)
    module = networks.folded(networks.make(name, pooling))
    meet()
    shared = convert(module, tuple(image.shape[1:]))
    shared.encrypt(src=MODEL)
    shared.eval()
    pipe.send(("ready", None))
    for _ in range(runs):
        pipe.send(
            ("told", infer(rank, shared, image.numpy() if rank == PATIENT else 1, tuple(image.shape[1:])))
        )
    pipe.send(("told", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
    pipe.poll(60)  # until it is killed: the others may still be reading


def hear(pipes: list[Connection]) -> list[Any]:
    """One word from each. Raises Unavailable when one is late or gone."""
    words = []
    for pipe in pipes:
        if not wait([pipe], TIMEOUT):
            raise Unavailable(f"CrypTen did not answer within {TIMEOUT:.0f} s")
        try:
            words.append(pipe.recv()[1])
        except EOFError:
            raise Unavailable("a process of CrypTen ended") from None
    return words


def measure(name: str, quick: bool, pooling: str = "") -> dict[str, Any]:
    """One warm-up run and three more, or two where a run takes long; --quick: one and no warm-up."""
    if importlib.util.find_spec("crypten") is None:
        raise Unavailable("the extra crypten is not installed: scripts/setup crypten")
    runs = 1 if quick else 4 if name.startswith("lenet") else 2
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    with tempfile.TemporaryDirectory(prefix="crypdoc-peer-") as folder:
        try:
            for rank in (MODEL, PATIENT, PROVIDER):
                ours, theirs = context.Pipe()
                arguments = (rank, Path(folder) / "meeting", name, pooling, runs, theirs)
                processes.append(context.Process(target=party, args=arguments, daemon=True))
                processes[-1].start()
                theirs.close()
                pipes.append(ours)
            hear(pipes)
            told = [hear(pipes[:PROVIDER]) for _ in range(runs)]
            memory = hear(pipes[:PROVIDER])
        finally:
            for process in processes:
                process.kill()
                process.join()
    best = min(told, key=lambda pair: pair[PATIENT].seconds)
    model, patient = best
    with torch.inference_mode():
        right = networks.folded(networks.make(name, pooling))(networks.image(name))
    worst = max(float((torch.from_numpy(pair[PATIENT].last) - right).abs().max()) for pair in told)
    return {
        "seconds": patient.seconds,
        "bytes_online": patient.bytes,
        "bytes_provider": model.bytes - patient.bytes,
        "rounds": patient.rounds,
        "runs": [pair[PATIENT].seconds for pair in told],
        "largest_difference": worst,
        "largest_logit": float(right.abs().max()),
        "memory": {"model": memory[MODEL], "patient": memory[PATIENT]},
        "version": "0.4.1",
    }


if __name__ == "__main__":
    main("crypten", measure, __doc__)
