"""Training the committed networks: `python -m models.train NAME [--out FOLDER] [--cache FOLDER]`.

1. Five folds of groups (near-duplicates, pictures of one lesion); each fold's network learns from the other four, and
   so do its teachers. Together their logits on what they have not seen are the cross-validation.
2. The network that has not seen fold 0 is the committed one; fold 0 is its held-out set.
3. Platt's scale and offset are fitted on the out-of-fold logits of folds 1 to 4 and folded into the last layer, so a
   logit is a calibrated log-odds. For the cross-validation's own calibration each fold is fitted on the other four.
4. Every fold's network is compiled and compared with its float form on its own held-out fold.
5. Weights, card, and a page with pictures for people are written.

The teachers of brain networks: the automatic reader's regression on hand-made figures, and one on the features of
EfficientNet-Lite0 as ImageNet left it; each is fitted on the same four folds. Every seed is fixed.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.dataset import DEFAULT, FOLDS, HELD_OUT, SKIN, Pictures, load_pictures, load_skin, variants
from models.metrics import Labels, Logits, auc, cross_fitted, figures, platt, reliability
from models.networks import ARCHITECTURES, Backbone, EfficientNetLite0, build, load_imagenet
from models.networks.backbone import fold_in
from models.pages import card_page, page_pictures
from models.qat import simulated
from models.reader import SIDE, features
from models.recipes import RECIPES, Recipe
from models.scans import prepare
from models.tame import tame
from models.train_export import THRESHOLDS, encode, integer_logits, integer_network
from models.train_files import write_together
from models.train_loop import Material, Plan, Trainer, logits_of
from models.train_reader import regress, train_reader
from models.zoo import NETWORKS, WEIGHTS, Card
from protocols.blind.network import Network

VARIANTS = 30
CALIBRATION = 96  # pictures from which the ranges of the rounding that is simulated in training are taken
TAUGHT = 10  # variants of each picture from which the second teacher learns


@dataclass(frozen=True)
class Lessons:
    """images: int8 (picture, variant, channels, S, S), S the network's side or more. shown: int8 (picture, channels,
    side, side), each picture as the product prepares it. teachers: features of the variants, an array a teacher."""

    images: NDArray[np.int8]
    shown: NDArray[np.int8]
    labels: Labels
    folds: NDArray[np.int64]
    teachers: tuple[NDArray[np.float64], ...] = ()
    kinds: Labels | None = None

    def only(self, chosen: NDArray[np.bool_]) -> Lessons:
        kinds = None if self.kinds is None else self.kinds[chosen]
        teachers = tuple(values[chosen] for values in self.teachers)
        return Lessons(
            self.images[chosen], self.shown[chosen], self.labels[chosen], self.folds[chosen], teachers, kinds
        )


@dataclass(frozen=True)
class Subject:
    """What a network is for, as its card says it."""

    task: str
    domain: str
    specialty: str
    labels: tuple[str, str]
    modalities: tuple[str, ...]
    preparation: str
    split: str
    data: dict[str, Any]


SUBJECTS = {
    "brain": Subject(
        task="brain tumour on an MRI slice",
        domain="brain MRI",
        specialty="neuroradiology",
        labels=("no tumour", "tumour"),
        modalities=("MR",),
        preparation="views",
        split=f"fold {HELD_OUT} of 5 by dup_group, models/dataset.py",
        data={
            "name": "Brain MRI Images for Brain Tumor Detection (N. Chakrabarty, Kaggle)",
            "licence": "of the images unknown",
            "redistributed": False,
            "caution": "slices collected from the web; labels unverified; no patient-level information",
        },
    ),
    "skin": Subject(
        task="malignant lesion on a dermoscopic photograph",
        domain="skin",
        specialty="dermatology",
        labels=("benign", "malignant"),
        modalities=("XC",),
        preparation="rgb",
        split=f"fold {HELD_OUT} of 5 by lesion_id, models/dataset.py",
        data={
            "name": "HAM10000 (Tschandl 2018), a sample of 950 pictures",
            "licence": "CC BY-NC 4.0: weights learnt from it are for non-commercial use",
            "redistributed": False,
            "caution": "malignant: melanoma, basal cell carcinoma, actinic keratosis; classes are not as frequent as "
            "in a practice",
        },
    ),
}


def fit(
    recipe: Recipe, lessons: Lessons, seed: int, said: Callable[[str], None] = lambda text: None
) -> Backbone:
    """A trained network; its teachers learn from the same lessons."""
    torch.manual_seed(seed)
    kinds = 0 if lessons.kinds is None or not recipe.plan.side_share else int(lessons.kinds.max()) + 1
    network = build(recipe.architecture, 1 + kinds, recipe.dropout)
    if isinstance(network, EfficientNetLite0):
        load_imagenet(network)
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 0.1
    material = Material(lessons.images, _targets(lessons, recipe), lessons.kinds if kinds else None)
    trainer = Trainer(network, lessons.shown.shape[-1], material, recipe.plan, seed)
    with ExitStack() as stack:
        for epoch in range(recipe.plan.epochs):
            if epoch == recipe.plan.epochs - recipe.rounded_epochs:
                stack.enter_context(simulated(network, lessons.shown[:CALIBRATION], recipe.rounded_bits))
            said(f"epoch {epoch + 1}: loss {trainer.epoch():.4f}")
    made = _first_output(trainer.result())
    return made if recipe.refine is None else refine(made, recipe, recipe.refine, lessons, seed)


def refine(network: Backbone, recipe: Recipe, plan: Plan, lessons: Lessons, seed: int) -> Backbone:
    """The network trained on by `plan`, with activations rounded as the engine will round them."""
    material = Material(lessons.images, _targets(lessons, recipe))
    trainer = Trainer(network, lessons.shown.shape[-1], material, plan, seed + 1)
    with simulated(network, lessons.shown[:CALIBRATION], recipe.rounded_bits):
        for _ in range(plan.epochs):
            trainer.epoch()
    return trainer.result()


def _first_output(network: Backbone) -> Backbone:
    """Without the side task's logits."""
    last = network.last
    kept = nn.Linear(last.in_features, 1)
    with torch.no_grad():
        kept.weight.copy_(last.weight[:1])
        kept.bias.copy_(last.bias[:1])
    network.layers[-1] = kept
    return network.eval()


def _targets(lessons: Lessons, recipe: Recipe) -> NDArray[np.float32]:
    """(picture, variant, 1): what each should be read as, 0..1."""
    label = np.broadcast_to(lessons.labels[:, None], lessons.images.shape[:2]).astype(np.float64)
    if lessons.teachers and recipe.share:
        told = []
        for values in lessons.teachers:
            teacher = regress(values[:, : TAUGHT if values.shape[-1] > 1000 else None], lessons.labels)
            told.append(1 / (1 + np.exp(-teacher.logits(values))))
        label = (1 - recipe.share) * label + recipe.share * np.mean(told, axis=0)
    return label[..., None].astype(np.float32)


def by_fold(
    recipe: Recipe, lessons: Lessons, cache: Path | None = None, folds: int = FOLDS
) -> tuple[list[Backbone], Logits]:
    """The first `folds` folds' networks, each of which saw nothing of its fold, and every picture's logit from the
    network of its fold (0 for the other folds)."""
    networks, logits = [], np.zeros(len(lessons.labels))
    for fold in range(folds):
        inside = lessons.folds == fold
        kept = None if cache is None else cache / f"{recipe.name}-{fold}.pt"
        if kept is not None and kept.exists():
            network = build(recipe.architecture, 1, recipe.dropout).eval()
            network.load_state_dict(torch.load(kept, weights_only=True))
        else:
            network = fit(recipe, lessons.only(~inside), 1)
            if kept is not None:
                torch.save(network.state_dict(), kept)
        drawn = tame(network, lessons.shown[~inside][:CALIBRATION])
        logits[inside] = logits_of(network, lessons.shown[inside])[:, 0]
        print(
            f"{recipe.name}: fold {fold}, {drawn} channels tamed, {figures(lessons.labels[inside], logits[inside])}",
            flush=True,
        )
        networks.append(network)
    return networks, logits


def train(
    recipe: Recipe, lessons: Lessons, cache: Path | None = None, folds: int = FOLDS
) -> tuple[Backbone, Network, Card, bytes]:
    """Steps 1 to 4 of the module's head on the first `folds` folds; the last of what it gives is the page's picture."""
    subject, labels = SUBJECTS[recipe.subject], lessons.labels
    held, seen = lessons.folds == HELD_OUT, lessons.folds != HELD_OUT
    networks, outside = by_fold(recipe, lessons, cache, folds)
    told = lessons.folds < folds
    scale, offset = platt(labels[seen & told], outside[seen & told])
    honest = cross_fitted(labels[told], outside[told], lessons.folds[told])
    integers, agreement, opened = compare(networks, recipe, lessons, scale, offset)
    network, integer = networks[HELD_OUT], integers[HELD_OUT]
    plain = logits_of(network, lessons.shown[held])[:, 0]
    card = Card(
        name=recipe.name,
        task=subject.task,
        specialty=subject.specialty,
        labels=subject.labels,
        modalities=subject.modalities,
        channels=3,
        side=lessons.shown.shape[-1],
        logit_scale=integer.topology.logit_scale,
        thresholds=THRESHOLDS,
        held_out={
            **figures(labels[held], opened[held]),
            "split": subject.split,
            "by_confidence": reliability(labels[held], opened[held], THRESHOLDS),
            "float_network": figures(labels[held], plain),
        },
        cross_validation={
            **figures(labels[told], honest),
            "auc": round(
                auc(labels[told], outside[told]), 4
            ),  # of the logits as they were, not shifted fold by fold
            "folds": folds,
            "by_confidence": reliability(labels[told], honest, THRESHOLDS),
        },
        quantisation=agreement,
        calibration={
            "method": "Platt",
            "scale": round(scale, 4),
            "offset": round(offset, 4),
            "n": int((seen & told).sum()),
        },
        training_data={**subject.data, "n": int(seen.sum()), "of": len(labels)},
        licence="Apache-2.0",
        network_hash=integer.network_hash().hex(),
        preparation=subject.preparation,
        domain=subject.domain,
    )
    return network, integer, card, page_pictures(labels[told], honest, labels[held], opened[held])


def compare(
    networks: list[Backbone], recipe: Recipe, lessons: Lessons, scale: float, offset: float
) -> tuple[list[Network], dict[str, Any], Logits]:
    """Calibrates every fold's network, compiles it, and compares both forms on the pictures it has not seen.

    Returns the integer networks, figures of the comparison, and each picture's logit from the integer network.
    """
    floors = [math.log(p / (1 - p)) for p in THRESHOLDS]
    shown = lessons.folds < len(networks)
    opened, plain = np.zeros((recipe.roundings, len(shown))), np.zeros(len(shown))
    integers = []
    for fold, network in enumerate(networks):
        inside = lessons.folds == fold
        fold_in(network, scale, offset)
        seen = lessons.shown[~inside]
        integers.append(integer_network(network, seen, floors, recipe.settings, recipe.calibration))
        plain[inside] = logits_of(network, lessons.shown[inside])[:, 0]
        for run in range(recipe.roundings):
            opened[run, inside] = integer_logits(integers[-1], lessons.shown[inside], seed=run)[:, 0]
    labels, error = lessons.labels[shown], np.abs(opened - plain)[:, shown]
    same = ((opened > 0) == (plain > 0)[None])[:, shown]
    told = {
        "ring_bits": integers[HELD_OUT].topology.ring_bits,
        "low_bits": recipe.settings.low_bits,
        "overflow": "impossible",
        "same_class": round(float(same.mean()), 4),
        "auc_float": round(auc(labels, plain[shown]), 4),
        "auc_integer": round(float(np.mean([auc(labels, row[shown]) for row in opened])), 4),
        "mean_logit_error": round(float(error.mean()), 4),
        "max_logit_error": round(float(error.max()), 4),
        "n": int(shown.sum()),
        "folds": len(networks),
        "roundings": recipe.roundings,
    }
    return integers, told, opened[0]


def write(folder: Path, network: Backbone, integer: Network, card: Card, picture: bytes) -> None:
    """NAME.safetensors, NAME.card.json, NAME.md and NAME.png in `folder`."""
    stem = folder / NETWORKS[card.name]
    parameters = sum(value.numel() for value in network.parameters())
    data = encode(network, integer, weights=parameters < 200_000)
    write_together(
        {
            stem.with_suffix(".safetensors"): data,
            stem.with_suffix(".card.json"): card.to_json().encode(),
            stem.with_suffix(".md"): card_page(card, parameters, len(data), stem.name).encode(),
            stem.with_suffix(".png"): picture,
        }
    )


def imagenet_features(images: NDArray[np.int8]) -> NDArray[np.float64]:
    """(..., 1280) features of prepared scans, int8 (..., 3, 129, 129), by EfficientNet-Lite0 as ImageNet left it."""
    network = EfficientNetLite0(1)
    load_imagenet(network)
    body = network.layers[:-2].eval()
    body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    flat = images.reshape(-1, *images.shape[-3:])
    rows = []
    with torch.no_grad():
        for start in range(0, len(flat), 32):
            batch = torch.from_numpy(flat[start : start + 32]).float() / 127
            rows.append(body(batch.contiguous(memory_format=torch.channels_last)).double().numpy())
    return np.concatenate(rows).reshape(*images.shape[:-3], -1)


def brain_lessons(pictures: Pictures, sides: set[int], taught: bool = True) -> dict[int, Lessons]:
    """By side. taught: with the teacher that stands on ImageNet features, which needs the extra `train`."""
    wide = ARCHITECTURES["EfficientNet-Lite0"].side
    images = variants(pictures.scans, VARIANTS, tuple(sides | {SIDE} | ({wide} if taught else set())))
    teachers = [features(images[SIDE])]
    if taught:
        teachers.append(imagenet_features(images[wide]))
    return {
        side: Lessons(images[side], images[side][:, 0], pictures.labels, pictures.folds, tuple(teachers))
        for side in sides
    }


def skin_lessons(pictures: Pictures, side: int, source: int) -> Lessons:
    """Pictures held at `source`, cropped to `side` while the network learns."""
    held, shown = (np.stack([prepare(scan, 3, s, "rgb") for scan in pictures.scans]) for s in (source, side))
    return Lessons(held[:, None], shown, pictures.labels, pictures.folds, (), pictures.kinds)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: train the networks named and write weights, cards and pages."""
    parser = argparse.ArgumentParser(
        prog="python -m models.train", description="Train the committed networks."
    )
    parser.add_argument("names", nargs="*", help=", ".join(RECIPES) + ", reader; default all")
    parser.add_argument("--data", type=Path, default=DEFAULT, help="folder of the brain MRI pictures")
    parser.add_argument("--skin", type=Path, default=SKIN, help="folder of the skin pictures")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where weights and cards go")
    parser.add_argument(
        "--cache", type=Path, help="keeps each fold's network here, and takes up what is there"
    )
    parser.add_argument("--untaught", action="store_true", help="without the teacher on ImageNet features")
    parser.add_argument(
        "--folds",
        type=int,
        default=FOLDS,
        choices=range(2, FOLDS + 1),
        help="train and measure the first N folds",
    )
    options = parser.parse_args(arguments)
    names = options.names or ["reader", *RECIPES]
    torch.set_num_threads(1)
    brain = [name for name in names if name != "reader" and RECIPES[name].subject == "brain"]
    lessons: dict[int, Lessons] = {}
    if brain or "reader" in names:
        pictures = load_pictures(options.data)
        sides = {ARCHITECTURES[RECIPES[name].architecture].side for name in brain}
        if "reader" in names:
            train_reader(pictures, variants(pictures.scans, VARIANTS, (SIDE,))[SIDE], options.out)
        lessons = brain_lessons(pictures, sides, not options.untaught) if brain else {}
    for name in (name for name in names if name != "reader"):
        recipe = RECIPES[name]
        side = ARCHITECTURES[recipe.architecture].side
        told = (
            lessons[side]
            if name in brain
            else skin_lessons(load_skin(options.skin), side, recipe.source or side)
        )
        network, integer, card, picture = train(recipe, told, options.cache, options.folds)
        write(options.out, network, integer, card, picture)
        print(json.dumps({name: [card.held_out, card.cross_validation, card.quantisation]}, indent=1))


if __name__ == "__main__":
    main()
