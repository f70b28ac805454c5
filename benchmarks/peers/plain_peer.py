#!/usr/bin/env python3
"""The benchmark networks in the clear: torch in float32, one thread, batch norm folded, the best of many runs.

python -m benchmarks.peers.plain_peer NETWORK      one line of JSON
python -m benchmarks.peers.plain_peer NETWORK --quick --json FILE
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from typing import Any

import torch

from benchmarks.peers import networks
from benchmarks.peers.command import main


def measure(name: str, quick: bool, pooling: str = "") -> dict[str, Any]:
    """seconds: the best of `repeats` runs of one image."""
    torch.set_num_threads(1)
    module = networks.folded(networks.make(name, pooling))
    image = networks.image(name)
    taken: list[float] = []
    until = time.perf_counter() + (1 if quick else 5)
    with torch.inference_mode():
        for _ in range(3):
            module(image)
        while len(taken) < 5 or (time.perf_counter() < until and len(taken) < 200):
            begun = time.perf_counter()
            module(image)
            taken.append(time.perf_counter() - begun)
    return {"seconds": min(taken), "seconds_median": sorted(taken)[len(taken) // 2], "repeats": len(taken)}


if __name__ == "__main__":
    main("plain", measure, __doc__)
