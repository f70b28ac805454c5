#!/usr/bin/env python3
"""A segmentation network of a suite in the clear or through CrypTen, one image, one thread a party.

python -m benchmarks.peers.unet_peer plain|crypten SIDE [--networks DIR] [--quick] [--json FILE]

plain: the float network, batch norm folded, in torch float32; the best of many runs. crypten: the integer network's
graph through CrypTen 0.4.1 with its third-party provider, weights and image both secret; the best of two runs, the
provider's work in it (it works on demand).
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
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.engines.base import make_engine
from models.segmentation.suite import SegNetwork, load_suite
from protocols.errors import UserError


def image(network: SegNetwork, side: int) -> np.ndarray[Any, np.dtype[np.int8]]:
    """Any image will do: nothing depends on what it shows."""
    shape = (1, network.card.slices, side, side)
    return np.random.default_rng(5).integers(-127, 128, shape).astype(np.int8)


def folded(module: nn.Module) -> nn.Module:
    """Batch norm inside the convolutions, as every engine has it."""
    for part in module.modules():
        if isinstance(part, nn.Sequential):
            for name in [n for n, layer in part.named_children() if isinstance(layer, nn.Conv2d)]:
                norm = str(int(name) + 1)
                conv, batch = part._modules[name], part._modules[norm]
                assert isinstance(conv, nn.Conv2d)
                assert isinstance(batch, nn.BatchNorm2d)
                part._modules[name], part._modules[norm] = fuse_conv_bn_eval(conv, batch), nn.Identity()
    return module


def plain(network: SegNetwork, side: int, quick: bool) -> dict[str, Any]:
    """seconds: the best of the runs."""
    torch.set_num_threads(1)
    module = folded(network.plain())
    given = torch.from_numpy(image(network, side)).float() / 127
    taken: list[float] = []
    until = time.perf_counter() + (2 if quick else 6)
    with torch.inference_mode():
        for _ in range(2):
            module(given)
        while len(taken) < 3 or (time.perf_counter() < until and len(taken) < 200):
            begun = time.perf_counter()
            module(given)
            taken.append(time.perf_counter() - begun)
    return {"seconds": min(taken), "repeats": len(taken)}


def crypten(network: SegNetwork, side: int, quick: bool) -> dict[str, Any]:
    """seconds, bytes_online, bytes_provider, rounds, of the better run."""
    with make_engine("crypten", network.at(side)) as engine:
        told = [engine.predict(image(network, side)) for _ in range(1 if quick or side > 128 else 2)]
    best = min(told, key=lambda one: one.seconds)
    return {
        "seconds": best.seconds,
        "bytes_online": best.bytes_online,
        "bytes_provider": best.bytes_ahead,
        "rounds": best.rounds,
    }


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("engine", choices=("plain", "crypten"))
    parser.add_argument("side", type=int, choices=(128, 256, 512))
    parser.add_argument("--networks", type=Path)
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    given = parser.parse_args()
    network = load_suite(given.networks).networks["infection", "z"]
    try:
        told = {"plain": plain, "crypten": crypten}[given.engine](network, given.side, given.quick)
    except UserError as error:
        told = {"unavailable": str(error)}
    print(json.dumps(told))
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 3 if "unavailable" in told else 0


if __name__ == "__main__":
    sys.exit(main())
