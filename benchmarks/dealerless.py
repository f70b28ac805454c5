"""What inference costs when patient and model have no dealer: seconds, bytes, messages.

    .venv/bin/python -m benchmarks.dealerless [--quick] [--json FILE]

Two processes of this machine on a socket pair, one thread each. LeNet on 1x32x32, and, without --quick, one picture of
five slices of 128x128 through the U-Net that segments; random weights, compiled as the committed networks are. Beside
each stands the same with a dealer. Nothing is asserted about time.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.peers import networks
from benchmarks.tell import Figure, machine, markdown, measured
from models.compile import Settings, compile_network
from models.engines.blind import BlindEngine
from models.engines.dealerless import DealerlessEngine
from models.networks.unet import UNet
from protocols.blind.network import Network

STEPS = 31


def _lenet() -> tuple[Network, NDArray[np.int8]]:
    module = networks.folded(networks.make("lenet-1x32x32"))
    return _compiled(module, networks.image("lenet-1x32x32", 8))


def _unet() -> tuple[Network, NDArray[np.int8]]:
    torch.manual_seed(networks.SEED)
    module = UNet()
    module.train()
    with torch.no_grad():
        for _ in range(4):
            module(torch.randn(2, 5, 64, 64))  # batch statistics
    drawn = torch.randn(2, 5, 128, 128, generator=torch.Generator().manual_seed(7))
    return _compiled(module.eval(), torch.round(drawn.clamp(-4, 4) * STEPS) / STEPS)


def _compiled(module: torch.nn.Module, images: torch.Tensor) -> tuple[Network, NDArray[np.int8]]:
    made = compile_network(module, images, input_scale=1 / STEPS, settings=Settings())
    return made.network, torch.round(images[:1] * STEPS).to(torch.int8).numpy()


def _figures(name: str, network: Network, images: NDArray[np.int8]) -> list[Figure]:
    with DealerlessEngine(network) as engine:
        begun, bytes_begun = engine.seconds_begun, engine.bytes_begun
        told = engine.predict(images)
        leak = engine.leak
    with BlindEngine(network) as engine:
        engine.predict(images)
        dealt = engine.predict(images)
    spread = float(np.abs(told.logits - dealt.logits).max() / np.abs(dealt.logits).max())
    return [
        measured(f"{name}: one image in all", told.seconds + told.seconds_ahead, "s"),
        measured(f"{name}: from the image to the logits", told.seconds, "s"),
        measured(f"{name}: before the image", told.seconds_ahead, "s"),
        measured(f"{name}: bytes before the image", told.bytes_ahead, "B"),
        measured(f"{name}: bytes after the image", told.bytes_online, "B"),
        measured(f"{name}: messages that the patient waits for", told.rounds, ""),
        measured(f"{name}: keys and first transfers, once", begun, "s"),
        measured(f"{name}: bytes of these", bytes_begun, "B"),
        measured(f"{name}: what noise may tell of the weights, as a power of two", math.log2(leak), ""),
        measured(f"{name}: with a dealer, in all", dealt.seconds + dealt.seconds_ahead, "s"),
        measured(f"{name}: bytes with a dealer, in all", dealt.bytes_ahead + dealt.bytes_online, "B"),
        measured(f"{name}: largest difference of a logit from that with a dealer", spread, "ratio"),
    ]


def main() -> None:
    """Runs the benchmark and prints its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="LeNet alone, under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE")
    wishes = parser.parse_args()
    torch.set_num_threads(1)
    report = {"machine": machine(), "figures": _figures("lenet-1x32x32", *_lenet())}
    if not wishes.quick:
        report["figures"] += _figures("unet-5x128x128", *_unet())
    print(markdown(report["figures"]))
    if wishes.json:
        wishes.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
