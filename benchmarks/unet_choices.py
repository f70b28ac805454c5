#!/usr/bin/env python3
"""What the choices in the segmentation networks cost and bring: Dice on held-out volumes beside bytes and steps.

python benchmarks/unet_choices.py --data DIR            each variant trained alike, a quarter of an hour
python benchmarks/unet_choices.py --data DIR --quick    two variants, hardly trained: that it works
python benchmarks/unet_choices.py --json FILE --page FILE

Every variant is the infection network along z, trained from the same seed on the same volumes for the same number of
slices, with every fourth volume held out. Costs are those of one 128x128 image by the blind protocol; they do not
depend on the machine. Without DIR the costs are told, and Dice is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.tell import Figure, machine, markdown, measured, put_in_page
from models.networks.unet import UNet
from models.segmentation.export import halved, integer
from models.segmentation.material import Labelled, load, names
from models.segmentation.measure import dice
from models.segmentation.train import ARCHITECTURE, Recipe, Trainer, masks_of, split
from protocols.blind.network import Network
from protocols.blind.schedule import costs
from protocols.blind.walk import clip_steps

FOLD, EPOCHS, IMAGES = 1, 6, 800
Variant = tuple[dict[str, Any], float]  # architecture, weight of the other task's loss
VARIANTS: dict[str, Variant] = {
    "as shipped": (ARCHITECTURE, 0.3),
    "average pooling": (ARCHITECTURE | {"pooling": "average"}, 0.3),
    "without the other task": (ARCHITECTURE, 0.0),
    "half as wide": ({"widths": [8, 16, 32, 48], "down": [1, 2, 2, 2], "up": [1, 2, 2]}, 0.3),
    "one convolution a level": ({"widths": [16, 32, 64, 96], "down": [1, 1, 1, 1], "up": [1, 1, 1]}, 0.3),
    "two convolutions at full size": (
        {"widths": [16, 32, 64, 96], "down": [2, 2, 2, 2], "up": [2, 2, 2]},
        0.3,
    ),
}


def cost(network: Network) -> dict[str, float]:
    """Of one image: elements through a non-linear step, megabytes, rounds."""
    bill = costs(network.topology, 1, known=True)
    return {
        "elements": float(sum(step.size for step in clip_steps(network.topology))),
        "ahead": bill.bytes_ahead / 1e6,
        "online": bill.bytes_online / 1e6,
        "rounds": float(bill.rounds),
    }


def untrained(architecture: dict[str, Any]) -> Network:
    """The integer network of fresh weights: its costs are those of any."""
    torch.manual_seed(0)
    module = UNet(**architecture)
    with torch.no_grad():
        for _ in range(4):
            module(torch.randn(2, 5, 64, 64).clamp(-1, 1))
    images = np.random.default_rng(0).integers(-127, 128, (4, 5, 128, 128)).astype(np.int8)
    return integer(halved(module), images).network


def trained(variant: Variant, volumes: dict[str, Labelled], quick: bool) -> tuple[Network, dict[str, float]]:
    """The integer network, and Dice of the float one on each held-out volume."""
    learnt, held = split(list(volumes), FOLD)
    recipe = Recipe(1, 32, rounded=0) if quick else Recipe(EPOCHS, IMAGES, rounded=2)
    trainer = Trainer("infection", [volumes[name] for name in learnt], True, recipe, *variant)
    network = trainer.run()
    told = {}
    for name in held[:1] if quick else held:
        drawn = volumes[name].label("infection", torch.arange(len(volumes[name].greys)))[:, 0].numpy() > 0
        told[name] = round(dice(masks_of(network, volumes[name]), drawn), 4)
    return integer(network, trainer.some(64)).network, told


def measure(quick: bool, data: Path | None) -> dict[str, Any]:
    """Everything: {"figures", "machine", "variants", ...}."""
    begun = time.time()
    volumes = {name: load(data, name, "z")["z"] for name in names(data)} if data else {}
    answer: dict[str, Any] = {"figures": [], "machine": machine(), "variants": {}, "missing": []}
    figures: list[Figure] = answer["figures"]
    for name in list(VARIANTS)[:2] if quick else VARIANTS:
        print(f"  {name}", file=sys.stderr, flush=True)
        told: dict[str, Any] = {}
        if volumes:
            network, told["dice"] = trained(VARIANTS[name], volumes, quick)
            figures.append(
                measured(
                    f"{name}: Dice, mean of held-out volumes",
                    float(np.mean([*told["dice"].values()])),
                    "Dice",
                )
            )
        else:
            network = untrained(VARIANTS[name][0])
        told |= cost(network)
        figures += [
            measured(f"{name}: elements of non-linear steps", told["elements"], ""),
            measured(f"{name}: from the dealer", told["ahead"], "MB"),
            measured(f"{name}: online", told["online"], "MB"),
        ]
        answer["variants"][name] = told
    if not volumes:
        answer["missing"].append("Dice: name the folder of labelled volumes with --data")
    answer["minutes"] = round((time.time() - begun) / 60, 1)
    return answer


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 1 when figures are missing."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/unet_choices.py", description="Choices in the U-Nets, measured."
    )
    parser.add_argument("--quick", action="store_true", help="two variants, hardly trained")
    parser.add_argument("--data", type=Path, metavar="DIR", help="labelled volumes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the table between its marks")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    answer = measure(given.quick, given.data)
    print(markdown(answer["figures"]))
    for line in answer["missing"]:
        print(f"missing: {line}")
    if given.json:
        given.json.write_text(json.dumps(answer, indent=1) + "\n")
    if given.page:
        put_in_page(given.page, "benchmarks/unet_choices.py", markdown(answer["figures"]))
    return 1 if answer["missing"] else 0


if __name__ == "__main__":
    sys.exit(main())
