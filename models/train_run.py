"""A training run from folders of pictures to a network that CrypDoc opens: what `crypdoc train` does.

1. Read the two folders, prepare every picture, set some training pictures aside for calibration.
2. Train epoch by epoch; after each, measure on the evaluation pictures and write a checkpoint.
3. Calibrate on the pictures set aside, compile to the integer network, measure it against the float one.
4. At will, run the evaluation pictures through the encrypted engine beside the plain one.
5. Write network, card, metrics, history and curves together.

The same options, pictures and threads give the same weights, also after a stop and `--resume`.
"""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.metrics import Labels, Logits, class_figures, platt, probabilities, temperature
from models.networks import Architecture, Backbone, EfficientNetLite0, architecture, load_imagenet
from models.networks.backbone import fold_in
from models.train_augment import Augment
from models.train_checkpoint import Checkpoint
from models.train_encrypted import side_by_side
from models.train_export import THRESHOLDS, encode, integer_network, plain_logits
from models.train_files import make_room, write_together
from models.train_folders import Folder, read_folder
from models.train_loop import Material, Plan, Trainer, logits_of
from models.train_plots import plot, reliability_panel
from models.zoo import Card
from protocols.blind.network import Network
from protocols.errors import UserError

ASIDE = 0.15  # of each class's training pictures, for calibration
_LEAST = 20  # pictures of a class below which none is set aside
_FROZEN = 6  # leading layers of a network with ImageNet weights that stay: stem and three blocks


@dataclass(frozen=True)
class Options:
    """What a run is told; see `crypdoc train --help`. preparation: a word of `PREPARATIONS`, or 'auto'."""

    source_dir_train: Path
    source_dir_eval: Path
    training_run_out: Path
    backbone: str
    num_classes: int
    max_epochs: int
    batch_size: int
    lr: float
    validate_encrypted: bool = False
    seed: int = 0
    resume: bool = False
    preparation: str = "auto"


class Screen(Protocol):
    """Where a run shows how far it is."""

    def step(self, stage: str, done: int, total: int) -> None:
        """`stage` is `done` of `total` along."""

    def say(self, text: str) -> None:
        """A sentence that stays."""


@dataclass(frozen=True)
class _Data:
    """The pictures of a run, prepared; kept and aside index the training ones."""

    classes: tuple[str, ...]
    images: NDArray[np.int8]
    labels: Labels
    seen: NDArray[np.int8]
    truth: Labels
    preparation: str
    digest: str
    kept: NDArray[np.int64]
    aside: NDArray[np.int64]

    @property
    def outputs(self) -> int:
        return 1 if len(self.classes) == 2 else len(self.classes)


def run(options: Options, screen: Screen) -> dict[str, Any]:
    """The whole run; returns what it wrote as metrics. Raises `UserError`; leaves nothing half-written."""
    made = architecture(options.backbone)
    out = output_path(options.training_run_out)
    make_room(out)
    data = _read(options, made, screen)
    trainer, history = _train(options, made, data, out, screen)
    network = trainer.result()
    calibration = _calibrate(network, data)
    screen.say("compiling to the integer network")
    compiled = _compile(network, data, screen)
    floating, plain = logits_of(network, data.seen), plain_logits(compiled, data.seen)
    metrics: dict[str, Any] = {
        "options": {name: str(v) if isinstance(v, Path) else v for name, v in asdict(options).items()},
        "network": {
            "backbone": made.name,
            "parameters": _size(network),
            "hash": compiled.network_hash().hex(),
        },
        "classes": list(data.classes),
        "preparation": data.preparation,
        "pictures": {"train": len(data.kept), "calibration": len(data.aside), "eval": len(data.seen)},
        "float": class_figures(data.truth, floating),
        "compiled": class_figures(data.truth, plain),
        "compiled_agreement": _agreement(floating, plain),
        "calibration": calibration,
        "history": history,
    }
    if options.validate_encrypted:
        screen.say(f"running {len(data.seen)} pictures plain and encrypted, side by side")
        metrics["validate_encrypted"] = side_by_side(compiled, data.seen, data.truth, screen.step)
    write_together(_files(out, made, data, network, compiled, metrics))
    out.with_suffix(".checkpoint").unlink(missing_ok=True)
    return metrics


def output_path(path: Path) -> Path:
    """The network's file: `path`, with `.safetensors` at its end."""
    return path if path.suffix == ".safetensors" else path.with_name(path.name + ".safetensors")


def _read(options: Options, made: Architecture, screen: Screen) -> _Data:
    told = []
    for word, root in (("training", options.source_dir_train), ("evaluation", options.source_dir_eval)):
        told.append(read_folder(root, partial(screen.step, f"reading {word} pictures")))
    train, evaluation = told
    if len(train.classes) != options.num_classes:
        raise UserError(
            f"{options.source_dir_train} holds {len(train.classes)} classes ({', '.join(train.classes)}), and "
            f"--num-classes says {options.num_classes}",
            f"say --num-classes {len(train.classes)}, or mend the folders",
        )
    strange = [name for name in evaluation.classes if name not in train.classes]
    if strange:
        raise UserError(
            f"{options.source_dir_eval} holds the class {strange[0]!r}, which the training folder has not",
            "name the classes alike in both folders",
        )
    word = options.preparation
    if word == "auto":
        word = "rgb" if train.coloured() else "views"
    kept, aside = _set_aside(train.labels, options.seed)
    truth = np.array([train.classes.index(evaluation.classes[label]) for label in evaluation.labels])
    return _Data(
        classes=train.classes,
        images=train.prepared(word, 3, made.side),
        labels=train.labels,
        seen=evaluation.prepared(word, 3, made.side),
        truth=truth,
        preparation=word,
        digest=_digest(train, evaluation),
        kept=kept,
        aside=aside,
    )


def _digest(train: Folder, evaluation: Folder) -> str:
    return train.digest() + evaluation.digest()


def _set_aside(labels: Labels, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(kept, aside): of each class the same part; nothing aside when a class is small."""
    rng = np.random.default_rng([seed, 77])
    members = [rng.permutation(np.nonzero(labels == label)[0]) for label in np.unique(labels)]
    if min(len(m) for m in members) < _LEAST:
        return np.arange(len(labels)), np.zeros(0, np.int64)
    aside = np.sort(np.concatenate([m[: math.ceil(ASIDE * len(m))] for m in members]))
    return np.setdiff1d(np.arange(len(labels)), aside), aside


def _plan(options: Options, made: Architecture, preparation: str) -> Plan:
    augment = (
        Augment() if preparation == "views" else Augment(turn=0.15, zoom=(-0.2, 0.08), tint=0.04, shift=0.04)
    )
    return Plan(
        epochs=options.max_epochs,
        batch=options.batch_size,
        rate=options.lr,
        body=0.5 if made.transfers else 1.0,
        mixup=0.2,
        frozen=_FROZEN if made.transfers else 0,
        augment=augment,
    )


def _train(
    options: Options, made: Architecture, data: _Data, out: Path, screen: Screen
) -> tuple[Trainer, list[dict[str, Any]]]:
    torch.manual_seed(options.seed)
    network = made.make(data.outputs, 0.3)
    if isinstance(network, EfficientNetLite0):
        load_imagenet(network)
    truth = data.labels[data.kept]
    targets = (truth[:, None] if data.outputs == 1 else np.eye(data.outputs)[truth]).astype(np.float32)
    material = Material(data.images[data.kept][:, None], targets[:, None])
    plan = _plan(options, made, data.preparation)
    trainer = Trainer(network, made.side, material, plan, options.seed)
    checkpoint = Checkpoint(out.with_suffix(".checkpoint"), _fingerprint(options, made, data))
    history = checkpoint.read(trainer) if options.resume else []
    if options.resume:
        screen.say(
            f"going on after epoch {trainer.done}" if history else "there is no checkpoint; starting anew"
        )
    while trainer.done < plan.epochs:
        row = _epoch(trainer, data, plan, screen)
        history.append(row)
        checkpoint.write(trainer, history)
        score = "" if row["auc"] is None else f", AUC {row['auc']:.3f}"
        screen.say(
            f"epoch {row['epoch']:>3}: loss {row['loss']:.4f}, evaluation accuracy {row['accuracy']:.3f}{score}"
        )
    return trainer, history


def _epoch(trainer: Trainer, data: _Data, plan: Plan, screen: Screen) -> dict[str, Any]:
    number, steps = trainer.done + 1, trainer.steps_an_epoch
    count = iter(range(1, steps + 1))
    stage = f"epoch {number} of {plan.epochs}"
    loss = trainer.epoch(lambda: screen.step(stage, next(count), steps))
    logits = logits_of(trainer.result(), data.seen)
    told = probabilities(logits)[np.arange(len(data.truth)), data.truth]
    measured = class_figures(data.truth, logits)
    return {
        "epoch": number,
        "loss": round(loss, 5),
        "eval_loss": round(float(-np.log(np.maximum(told, 1e-12)).mean()), 5),
        "accuracy": measured["accuracy"],
        "auc": measured["auc"],
    }


def _fingerprint(options: Options, made: Architecture, data: _Data) -> dict[str, Any]:
    """What a checkpoint must agree with, or going on would not be the same run."""
    return {
        "backbone": made.name,
        "classes": list(data.classes),
        "preparation": data.preparation,
        "max epochs": options.max_epochs,
        "batch size": options.batch_size,
        "lr": options.lr,
        "seed": options.seed,
        "pictures": data.digest,
    }


def _calibrate(network: Backbone, data: _Data) -> dict[str, Any]:
    """Fits on the pictures set aside and folds the fit into the last layer."""
    if not len(data.aside):
        return {"method": "none", "n": 0}
    logits, labels = logits_of(network, data.images[data.aside]), data.labels[data.aside]
    if data.outputs == 1:
        scale, offset = platt(labels, logits[:, 0])
        fold_in(network, scale, offset)
        return {"method": "Platt", "scale": round(scale, 4), "offset": round(offset, 4), "n": len(labels)}
    scale = temperature(labels, logits)
    fold_in(network, scale, 0.0)
    return {"method": "temperature", "scale": round(scale, 4), "n": len(labels)}


def _compile(network: Backbone, data: _Data, screen: Screen) -> Network:
    """With confidence buckets where there are two classes, and the network can ever be that sure."""
    images = data.images[data.kept]
    if data.outputs > 1:
        return integer_network(network, images, [])
    try:
        return integer_network(network, images, [math.log(p / (1 - p)) for p in THRESHOLDS])
    except UserError:
        made = integer_network(network, images, [])
        screen.say(
            "the network is never sure enough for confidence buckets, and goes without; train it for longer"
        )
        return made


def _agreement(one: Logits, other: Logits) -> dict[str, float]:
    same = (one > 0) == (other > 0) if one.shape[1] == 1 else (one.argmax(1) == other.argmax(1))[:, None]
    return {
        "same_class": round(float(same.mean()), 4),
        "largest_logit_difference": round(float(np.abs(one - other).max()), 4),
    }


def _size(network: Backbone) -> int:
    return sum(value.numel() for value in network.parameters())


def _files(
    out: Path,
    made: Architecture,
    data: _Data,
    network: Backbone,
    compiled: Network,
    metrics: dict[str, Any],
) -> dict[Path, bytes]:
    card = _card(made, data, compiled, metrics)
    curves = plot(
        [
            {
                "title": "Loss",
                "x": "epoch",
                "curves": {
                    "training": [(row["epoch"], row["loss"]) for row in metrics["history"]],
                    "evaluation": [(row["epoch"], row["eval_loss"]) for row in metrics["history"]],
                },
            },
            {
                "title": "On the evaluation pictures",
                "x": "epoch",
                "range": (0.0, 1.0),
                "curves": {
                    "accuracy": [(row["epoch"], row["accuracy"]) for row in metrics["history"]],
                    "AUC": [
                        (row["epoch"], row["auc"]) for row in metrics["history"] if row["auc"] is not None
                    ],
                },
            },
            reliability_panel(data.truth, logits_of(network, data.seen)),
        ]
    )
    return {
        out: encode(network, compiled),
        out.with_suffix(".card.json"): card.to_json().encode(),
        out.with_suffix(".metrics.json"): (json.dumps(metrics, indent=1) + "\n").encode(),
        out.with_suffix(".history.csv"): _csv(metrics["history"]),
        out.with_suffix(".curves.png"): curves,
    }


def _csv(rows: list[dict[str, Any]]) -> bytes:
    held = io.StringIO()
    writer = csv.DictWriter(held, ["epoch", "loss", "eval_loss", "accuracy", "auc"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return held.getvalue().encode()


def _card(made: Architecture, data: _Data, compiled: Network, metrics: dict[str, Any]) -> Card:
    return Card(
        name=made.name,
        task="trained on " + " against ".join(data.classes),
        specialty="research",
        labels=data.classes,
        modalities=(),
        channels=3,
        side=made.side,
        logit_scale=compiled.topology.logit_scale,
        thresholds=THRESHOLDS if compiled.topology.thresholds else (),
        held_out={**metrics["compiled"], "split": "the evaluation folder"},
        cross_validation={},
        quantisation=metrics["compiled_agreement"],
        calibration=metrics["calibration"],
        training_data={"name": "the training folder", "n": len(data.kept), "redistributed": False},
        licence="of whoever trained it",
        network_hash=compiled.network_hash().hex(),
        preparation=data.preparation,
        domain="",
    )
