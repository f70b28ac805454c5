"""Train the networks of a suite: `python -m models.segmentation.train --data DIR --out DIR`.

One U-Net for each task and axis, on labelled volumes of which every fourth is held out whole. bfloat16; AdamW, one
cycle of the learning rate, a running mean of the weights; the loss is cross-entropy and soft Dice over the batch. The
other task's mask is learnt beside the network's own (it helps), and that output is cut off at the end. In the last
epochs activations are rounded as the blind engine will round them (`models.qat`).

The x and y networks learn on planes along either of the two: files do not agree which of them runs from front to back.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.networks.unet import SLICES, UNet
from models.qat import simulated
from models.segmentation.augment import augmented
from models.segmentation.card import SegCard
from models.segmentation.export import INPUT_SCALE, SETTINGS, halved, integer, write
from models.segmentation.material import SIDE, Labelled, load, names
from models.segmentation.measure import dice
from models.segmentation.plan import AXES, TASKS
from models.segmentation.suite import load_one
from protocols.blind.network import Network
from protocols.blind.reference import run_reference, stochastic
from protocols.errors import CrypDocError, UserError

FOLDS = 4
ARCHITECTURE: dict[str, Any] = {"widths": [16, 32, 64, 96], "down": [1, 2, 2, 2], "up": [1, 2, 2]}
_MEAN = 0.995  # of the running mean of weights, a step
_OTHER = 0.3  # weight of the other task's loss
_AT_ONCE = 32


@dataclass(frozen=True)
class Recipe:
    """epochs of `images` slices each, the last `rounded` of them with rounding; batch; highest learning rate."""

    epochs: int = 24
    images: int = 1200
    batch: int = 16
    rate: float = 3e-3
    rounded: int = 2
    seed: int = 0


def split(found: Sequence[str], fold: int) -> tuple[list[str], list[str]]:
    """(training, held out): every fourth volume by name is held out, from number `fold` on; none below 0."""
    held = [name for place, name in enumerate(found) if place % FOLDS == fold]
    return [name for name in found if name not in held], held


def inputs(stacks: Tensor) -> Tensor:
    """What a network reads of float greys: whole steps in -1..1."""
    steps = (stacks - 128).round().clamp(-127, 127) * INPUT_SCALE
    return steps.contiguous(memory_format=torch.channels_last)


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy and soft Dice over the batch, of one task."""
    entropy = functional.binary_cross_entropy_with_logits(logits, labels)
    chance = torch.sigmoid(logits)
    common, total = (chance * labels).sum(), chance.sum() + labels.sum()
    return 2 * entropy + 1 - (2 * common + 1) / (total + 1)


class Trainer:
    """One network of one task, on volumes along the axes that it may see. Prints a line an epoch."""

    def __init__(
        self,
        task: str,
        volumes: list[Labelled],
        quarters: bool,
        recipe: Recipe,
        architecture: dict[str, Any] = ARCHITECTURE,
        other: float = _OTHER,
    ) -> None:
        """other: weight of the other task's loss."""
        self.task, self.volumes, self.quarters, self.recipe = task, volumes, quarters, recipe
        self.generator = torch.Generator().manual_seed(recipe.seed)
        torch.manual_seed(recipe.seed)
        self.architecture, self.other = architecture, other
        self.network = UNet(outputs=2, **architecture).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.rows = [(v, n) for v, one in enumerate(volumes) for n in range(len(one.greys))]
        self.steps = 0

    def run(self) -> UNet:
        """The trained network of one output, its weights the running mean."""
        recipe = self.recipe
        per_epoch = min(recipe.images, len(self.rows)) // recipe.batch
        if per_epoch < 1:
            raise UserError(
                f"{len(self.rows)} slices to learn on are fewer than a batch of {recipe.batch}",
                "give more volumes, or hold none out (--fold -1)",
            )
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.rate, weight_decay=1e-2, fused=True
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, recipe.rate, total_steps=recipe.epochs * per_epoch, pct_start=0.2
        )
        for epoch in range(recipe.epochs):
            rounding = epoch >= recipe.epochs - recipe.rounded
            begun, total = time.perf_counter(), 0.0
            with simulated(self.network, self.some(64), SETTINGS.low_bits) if rounding else nullcontext():
                for number in range(per_epoch):
                    total += self.step(optimiser, number)
                    schedule.step()
            print(
                f"  epoch {epoch + 1}/{recipe.epochs}  loss {total / per_epoch:.4f}  "
                f"{time.perf_counter() - begun:.0f} s",
                flush=True,
            )
        return self.result()

    def step(self, optimiser: torch.optim.Optimizer, number: int) -> float:
        """One batch."""
        if number == 0:
            self.order = torch.randperm(len(self.rows), generator=self.generator).tolist()
        batch = self.recipe.batch
        chosen = [self.rows[place] for place in self.order[number * batch : (number + 1) * batch]]
        stacks = torch.cat([self.volumes[v].stacks(torch.tensor([n])) for v, n in chosen])
        other = next(task for task in TASKS if task != self.task)
        labels = torch.cat(
            [
                torch.cat([self.volumes[v].label(task, torch.tensor([n])) for task in (self.task, other)], 1)
                for v, n in chosen
            ]
        )
        stacks, labels = augmented(stacks, labels, self.quarters, self.generator)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.network(inputs(stacks))
        logits = logits.float()
        loss = loss_of(logits[:, :1], labels[:, :1]) + self.other * loss_of(logits[:, 1:], labels[:, 1:])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        optimiser.step()
        self.steps += 1
        kept = min(_MEAN, (1 + self.steps) / (10 + self.steps))
        for name, value in self.network.state_dict().items():
            if value.dtype.is_floating_point:
                self.mean[name].lerp_(value, 1 - kept)
            else:
                self.mean[name] = value.clone()
        return float(loss.detach())

    def some(self, count: int) -> NDArray[np.int8]:
        """Images of the training volumes, spread evenly: int8 (n, 5, side, side)."""
        places = np.linspace(0, len(self.rows) - 1, count).astype(int)
        made = [self.volumes[v].stacks(torch.tensor([n])) for v, n in (self.rows[place] for place in places)]
        return (torch.cat(made) - 128).clamp(-127, 127).to(torch.int8).numpy()

    def lit(self, count: int) -> NDArray[np.int8]:
        """Such images, turned and lit otherwise: activations of volumes that were never seen reach further."""
        steps = torch.from_numpy(self.some(count)).float() + 128
        made, _ = augmented(steps, torch.zeros(len(steps), 1, SIDE, SIDE), self.quarters, self.generator)
        return (made - 128).round().clamp(-127, 127).to(torch.int8).numpy()

    def result(self) -> UNet:
        """See `run`."""
        state = copy.deepcopy(self.mean)
        state["last.weight"], state["last.bias"] = state["last.weight"][:1], state["last.bias"][:1]
        single = UNet(**self.architecture)
        single.load_state_dict(state)
        return halved(single)


def masks_of(network: UNet, volume: Labelled) -> NDArray[np.bool_]:
    """Where one network alone says yes, in the clear."""
    made = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for part in torch.split(torch.arange(len(volume.greys)), _AT_ONCE):
            made.append(network(inputs(volume.stacks(part)))[:, 0].float() > 0)
    return torch.cat(made).numpy()


def integer_agreement(network: UNet, compiled: Network, volume: Labelled, task: str) -> float:
    """Dice of integer and float network on the eight slices with most of the task, rounding as the protocol does."""
    marks = volume.label(task, torch.arange(len(volume.greys)))
    busiest = marks.sum((1, 2, 3)).argsort(descending=True)[:8]
    images = (volume.stacks(busiest) - 128).clamp(-127, 127).to(torch.int8).numpy()
    told = run_reference(compiled, images.astype(np.int64), stochastic(np.random.default_rng(0)))
    with torch.inference_mode():
        plain = network(torch.from_numpy(images).float() * INPUT_SCALE)[:, 0].numpy()
    return dice(told.logits.reshape(plain.shape) > 0, plain > 0)


Volumes = dict[str, dict[str, Labelled]]  # by name and axis


def train_one(
    task: str, axis: str, given: Volumes, held: Sequence[str], recipe: Recipe
) -> tuple[SegCard, UNet, Network]:
    """One network and its card."""
    trainer = _trainer(task, axis, given, held, recipe)
    return describe(task, axis, given, held, trainer, trainer.run())


def quantise_one(
    folder: Path, task: str, axis: str, given: Volumes, held: Sequence[str], recipe: Recipe
) -> tuple[SegCard, UNet, Network]:
    """The network in a suite's folder with a new integer form. Raises `UserError` without it."""
    old = load_one(folder / task / f"{axis}.safetensors", task, axis)
    told = old.card.training_data
    recipe = replace(recipe, epochs=int(told["epochs"]), seed=int(told["seed"]))
    return describe(task, axis, given, held, _trainer(task, axis, given, held, recipe), old.plain())


def _trainer(task: str, axis: str, given: Volumes, held: Sequence[str], recipe: Recipe) -> Trainer:
    seen = "z" if axis == "z" else "xy"
    learnt = [given[name][a] for name in given if name not in held for a in seen]
    return Trainer(task, learnt, axis == "z", recipe)


def describe(
    task: str,
    axis: str,
    given: Volumes,
    held: Sequence[str],
    trainer: Trainer,
    network: UNet,
) -> tuple[SegCard, UNet, Network]:
    """A trained network's integer form and card. trainer: its volumes calibrate, as they are and lit otherwise."""
    compiled = integer(network, np.concatenate([trainer.some(160), trainer.lit(160)])).network
    recipe = trainer.recipe
    by_volume: dict[str, Any] = {}
    for name in held:
        one = given[name][axis]
        drawn = one.label(task, torch.arange(len(one.greys)))[:, 0].numpy() > 0
        by_volume[name] = {
            "dice": round(dice(masks_of(network, one), drawn), 4),
            "integer_against_float": round(integer_agreement(network, compiled, one, task), 4),
        }
        print(f"  held out {name}: {by_volume[name]}", flush=True)
    top = compiled.topology
    card = SegCard(
        name=f"U-Net for {task} along {axis}",
        task=task,
        axis=axis,
        architecture=ARCHITECTURE,
        slices=SLICES,
        side=SIDE,
        input_scale=INPUT_SCALE,
        held_out={"volumes": by_volume, "note": "this network alone, of one axis, without the lung's mask"},
        training_data={
            "origin": "COVID-19-CT-Seg (Ma et al., Zenodo 3757476), by way of dstaroff/COVID19-CT-Segmentation@9f345c0",
            "volumes": [name for name in given if name not in held],
            "seed": recipe.seed,
            "epochs": recipe.epochs,
        },
        quantisation={"ring_bits": top.ring_bits, "low_bits": SETTINGS.low_bits},
        licence="Apache-2.0",
        network_hash=compiled.network_hash().hex(),
    )
    return card, network, compiled


def _check(tasks: list[str], axes: str, images: int, epochs: int) -> None:
    """Before the volumes are read. Raises `UserError`."""
    for kind, given, known in (("task", tasks, TASKS), ("axis", list(axes), tuple(AXES))):
        wrong = next((word for word in given if word not in known), None)
        if wrong is not None or not given:
            raise UserError(f"there is no {kind} '{wrong or ''}'", f"name some of {', '.join(known)}")
    if images < Recipe.batch:
        raise UserError(f"{images} slices an epoch are fewer than a batch", f"give {Recipe.batch} or more")
    if epochs < 1:
        raise UserError(f"{epochs} epochs train nothing", "give 1 or more")


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m models.segmentation.train", description="Train the networks of a segmentation."
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="NAME_ct, NAME_lung and NAME_infection .nii.gz"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the suite")
    parser.add_argument(
        "--fold", type=int, default=0, help="which quarter of the volumes is held out; -1: none"
    )
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--axes", default=AXES)
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--images", type=int, default=Recipe.images, help="slices an epoch")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument(
        "--quantise-only",
        action="store_true",
        help="keep the float weights in --out and make the integer networks anew",
    )
    given = parser.parse_args(arguments)
    tasks = given.tasks.split(",")
    try:
        _check(tasks, given.axes, given.images, given.epochs)
        found = names(given.data)
        _, held = split(found, given.fold)
        needed = "".join(
            axis for axis in AXES if axis in given.axes or (axis in "xy" and set("xy") & set(given.axes))
        )
        volumes = {name: load(given.data, name, needed) for name in found}
        for place, axis in enumerate(given.axes):
            for task in tasks:
                print(f"{task} along {axis}, held out: {', '.join(held) or 'none'}", flush=True)
                rounded = min(Recipe.rounded, given.epochs // 2)
                recipe = Recipe(given.epochs, given.images, rounded=rounded, seed=given.seed + place)
                wanted = task, axis, volumes, held, recipe
                made = quantise_one(given.out, *wanted) if given.quantise_only else train_one(*wanted)
                write(given.out, *made)
    except CrypDocError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
