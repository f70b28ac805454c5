"""Training the committed networks: `python -m models.train LeNet [--data FOLDER] [--out FOLDER]`.

1. Five folds of groups of near-duplicates; fold 0 is held out and seen by nothing that is committed.
2. Grouped cross-validation over all five folds: the figure for the method.
3. Cross-validation inside folds 1 to 4: out-of-fold logits, on which Platt's scale and offset are fitted;
   both are folded into the last layer, so a logit is a calibrated log-odds.
4. The network is trained on folds 1 to 4, quantised (calibrated on their variants), and both forms are
   measured on fold 0. Weights, card and a page for people are written.

The automatic reader is trained before them, and on each training set its like is the networks' teacher.
Every seed is fixed; one thread, a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from models.dataset import DEFAULT, HELD_OUT, load_pictures, variants
from models.metrics import Labels, Logits, figures, platt, reliability
from models.networks import ARCHITECTURES
from models.pages import card_page
from models.quantise import Settings, quantise
from models.reader import SIDE, features
from models.train_reader import regress, train_reader
from models.zoo import NETWORKS, WEIGHTS, Card
from protocols.blind.network import Network
from protocols.blind.reference import run_reference, stochastic

THRESHOLDS = (0.65, 0.8, 0.92)  # least calibrated probability of the winning label, buckets 1 to 3
VARIANTS = 30
CALIBRATION_VARIANTS = 8
ALTERED = 10  # altered copies of each held-out picture on which the two forms are compared
ROUNDINGS = 5  # runs of the integer network on each held-out picture, each with its own stochastic rounding


@dataclass(frozen=True)
class Recipe:
    """What a training run is told.

    mixup: Beta parameter (Zhang 2018). smoothing: of the labels. share: of the teacher's probability in the
    target, the rest being the label (Hinton 2015).
    """

    steps: int = 1000
    rate: float = 2e-3
    decay: float = 0.02
    batch: int = 32
    dropout: float = 0.5
    mixup: float = 0.4
    smoothing: float = 0.05
    share: float = 0.7
    settings: Settings = Settings(22, 11, 127)  # noqa: RUF009 (frozen)


RECIPES = {"LeNet": Recipe(), "BigLeNet": Recipe()}


@dataclass(frozen=True)
class Lessons:
    """images: int8 (picture, variant, channels, side, side). features: of the same variants, for the
    teacher."""

    images: NDArray[np.int8]
    features: NDArray[np.float64]
    labels: Labels
    folds: NDArray[np.int64]

    def only(self, chosen: NDArray[np.bool_]) -> Lessons:
        return Lessons(self.images[chosen], self.features[chosen], self.labels[chosen], self.folds[chosen])


def fit(name: str, lessons: Lessons, recipe: Recipe, seed: int) -> nn.Module:
    """A trained network of the architecture `name`; its teacher is the reader's regression on the same
    lessons."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = ARCHITECTURES[name](recipe.dropout)
    targets = _targets(lessons, recipe)
    optimiser = torch.optim.AdamW(network.parameters(), recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps)
    network.train()
    for _ in range(recipe.steps):
        batch, target = _batch(lessons.images, targets, recipe, rng)
        loss = binary_cross_entropy_with_logits(network(batch), target)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return network.eval()


def _targets(lessons: Lessons, recipe: Recipe) -> NDArray[np.float64]:
    """(picture, variant): what each should be read as, 0..1."""
    told = 1 / (1 + np.exp(-regress(lessons.features, lessons.labels).logits(lessons.features)))
    smooth = lessons.labels[:, None] * (1 - recipe.smoothing) + recipe.smoothing / 2
    return (1 - recipe.share) * smooth + recipe.share * told


def _batch(
    images: NDArray[np.int8], targets: NDArray[np.float64], recipe: Recipe, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random variants, mirrored half of the time, moved by up to 2 pixels, brightened, mixed in pairs."""
    size = recipe.batch
    picked, variant = rng.integers(0, len(images), size), rng.integers(0, images.shape[1], size)
    batch = torch.from_numpy(images[picked, variant]).float() / 127
    if rng.random() < 0.5:
        batch = batch.flip(3)
    batch = torch.roll(batch, tuple(int(step) for step in rng.integers(-2, 3, 2)), (2, 3))
    channels = (size, batch.shape[1], 1, 1)
    batch = batch * (1 + 0.1 * torch.randn(channels)) + 0.05 * torch.randn(channels)
    target = torch.from_numpy(targets[picked, variant]).float()
    share, order = float(rng.beta(recipe.mixup, recipe.mixup)), torch.from_numpy(rng.permutation(size))
    return share * batch + (1 - share) * batch[order], share * target + (1 - share) * target[order]


def logits_of(network: nn.Module, images: NDArray[np.int8]) -> Logits:
    """Logits of prepared images, int8 (n, channels, side, side)."""
    with torch.no_grad():
        result: Logits = network(torch.from_numpy(images).float() / 127).double().numpy()
    return result


def cross_validate(name: str, lessons: Lessons, recipe: Recipe, seed: int) -> Logits:
    """The logit of each picture from a network (and a teacher) that saw nothing of its fold."""
    logits = np.zeros(len(lessons.labels))
    for fold in np.unique(lessons.folds):
        inside = lessons.folds == fold
        network = fit(name, lessons.only(~inside), recipe, seed)
        logits[inside] = logits_of(network, lessons.images[inside, 0])
    return logits


def fold_in(network: nn.Module, scale: float, offset: float) -> None:
    """Makes the network's logit scale * logit + offset, by its last layer."""
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.mul_(scale)
        last.bias.mul_(scale).add_(offset)


def integer_logits(network: Network, images: NDArray[np.int8], runs: int) -> Logits:
    """(runs, n) opened logits in real units, by the integer network with the protocol's stochastic
    rounding."""
    scale = network.topology.logit_scale
    rows = []
    for run in range(runs):
        rounding = stochastic(np.random.default_rng(run))
        opened = [run_reference(network, image.astype(np.int64), rounding) for image in images]
        if any(result.overflow for result in opened):
            raise ArithmeticError("an accumulator left the range that was proved")
        rows.append([float(result.logits.flat[0]) * scale for result in opened])
    return np.array(rows)


def train(name: str, lessons: Lessons) -> tuple[nn.Module, Network, Card]:
    """Steps 2 to 4 of the module's head."""
    recipe, labels, images = RECIPES[name], lessons.labels, lessons.images
    held, seen = lessons.folds == HELD_OUT, lessons.folds != HELD_OUT
    outside = cross_validate(name, lessons, recipe, seed=1)
    scale, offset = platt(labels[seen], cross_validate(name, lessons.only(seen), recipe, seed=2))
    network = fit(name, lessons.only(seen), recipe, seed=0)
    fold_in(network, scale, offset)
    calibration = torch.from_numpy(images[seen][:, : 1 + CALIBRATION_VARIANTS]).flatten(0, 1).float() / 127
    floors = [math.log(p / (1 - p)) for p in THRESHOLDS]
    layers = network.layers
    assert isinstance(layers, nn.Sequential)
    integer = quantise(layers, torch.cat([calibration, calibration.flip(3)]), floors, recipe.settings)
    plain = logits_of(network, images[held, 0])
    opened = integer_logits(integer, images[held, 0], 1)
    card = Card(
        name=name,
        task="brain tumour on an MRI slice",
        specialty="neuroradiology",
        labels=("no tumour", "tumour"),
        modalities=("MR",),
        channels=3,
        side=images.shape[-1],
        logit_scale=integer.topology.logit_scale,
        thresholds=THRESHOLDS,
        held_out={
            **figures(labels[held], opened[0]),
            "split": f"fold {HELD_OUT} of 5 by dup_group, models/dataset.py",
            "by_confidence": reliability(labels[held], opened[0], THRESHOLDS),
            "float_network": figures(labels[held], plain),
        },
        cross_validation={
            **figures(labels, outside * scale + offset),
            "folds": 5,
            "by_confidence": reliability(labels, outside * scale + offset, THRESHOLDS),
        },
        quantisation=agreement(network, integer, images[held]),
        calibration={
            "method": "Platt",
            "scale": round(scale, 4),
            "offset": round(offset, 4),
            "n": int(seen.sum()),
        },
        training_data=_training_data(seen),
        licence="Apache-2.0",
        network_hash=integer.network_hash().hex(),
    )
    return network, integer, card


def agreement(network: nn.Module, integer: Network, images: NDArray[np.int8]) -> dict[str, Any]:
    """How far the integer network strays from the float one. images: held out, (picture, variant, channels,
    side, side).

    Each picture as it is runs with several random roundings, each altered copy with one.
    """
    plain, opened = logits_of(network, images[:, 0]), integer_logits(integer, images[:, 0], ROUNDINGS)
    altered = images[:, 1 : 1 + ALTERED].reshape(-1, *images.shape[2:])
    same_altered = (integer_logits(integer, altered, 1)[0] > 0) == (logits_of(network, altered) > 0)
    return {
        "ring_bits": integer.topology.ring_bits,
        "table_bits": integer.topology.table_bits,
        "overflow": integer.topology.overflow,
        "same_class": round(float(np.mean((opened > 0) == (plain > 0)[None])), 4),
        "mean_logit_error": round(float(np.abs(opened - plain).mean()), 4),
        "max_logit_error": round(float(np.abs(opened - plain).max()), 4),
        "n": int(plain.size),
        "roundings": ROUNDINGS,
        "same_class_altered": round(float(same_altered.mean()), 4),
        "n_altered": len(altered),
    }


def _training_data(seen: NDArray[np.bool_]) -> dict[str, Any]:
    return {
        "name": "Brain MRI Images for Brain Tumor Detection (N. Chakrabarty, Kaggle)",
        "n": int(seen.sum()),
        "licence": "of the images unknown",
        "redistributed": False,
        "caution": "slices collected from the web; labels unverified; no patient-level information",
    }


def write(folder: Path, network: nn.Module, integer: Network, card: Card) -> None:
    """NAME.safetensors, NAME.card.json and NAME.md in `folder`."""
    from safetensors.numpy import save_file

    stem = folder / NETWORKS[card.name]
    tensors: dict[str, NDArray[Any]] = {
        key: value.contiguous().numpy() for key, value in network.state_dict().items()
    }
    tensors["network"] = np.frombuffer(integer.encode(), dtype=np.uint8)
    save_file(tensors, stem.with_suffix(".safetensors"))
    stem.with_suffix(".card.json").write_text(card.to_json())
    parameters = sum(value.numel() for value in network.parameters())
    stem.with_suffix(".md").write_text(card_page(card, parameters))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: train the networks named and write weights, cards and pages."""
    parser = argparse.ArgumentParser(
        prog="python -m models.train", description="Train the committed networks."
    )
    parser.add_argument("names", nargs="*", default=list(ARCHITECTURES), help="LeNet, BigLeNet; default both")
    parser.add_argument("--data", type=Path, default=DEFAULT, help="folder of the brain MRI pictures")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where weights and cards go")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    pictures = load_pictures(options.data)
    images = variants(pictures.scans, VARIANTS, (SIDE, *(ARCHITECTURES[name].side for name in options.names)))
    train_reader(pictures, images[SIDE], options.out)
    values = features(images[SIDE])
    for name in options.names:
        lessons = Lessons(images[ARCHITECTURES[name].side], values, pictures.labels, pictures.folds)
        network, integer, card = train(name, lessons)
        write(options.out, network, integer, card)
        print(json.dumps({name: [card.held_out, card.cross_validation, card.quantisation]}, indent=1))


if __name__ == "__main__":
    main()
