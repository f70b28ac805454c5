"""Encrypted against plain, and how good the networks are.

From the committed cards, which the training run wrote: figures on folds that a network had not seen, of the float
network and of the integer network with the protocol's own rounding. Where the private images lie beside the checkout,
the held-out fold goes through the blind engine itself as well, patient, model and dealer in processes of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.tell import Figure, measured
from models.dataset import DEFAULT, HELD_OUT, SKIN, Pictures, load_pictures, load_skin
from models.engines import make_engine
from models.metrics import auc
from models.scans import prepare
from models.zoo import NETWORKS, load_card, load_network

LEAST_SAME, MOST_AUC_DROP = 0.995, 0.005
LEAST_AUC = {"neuroradiology": 0.95, "dermatology": 0.88}
MOST_ECE = 0.08
Told = dict[str, Any]


def accuracy_figures() -> tuple[Told, list[Figure]]:
    """Every network of the zoo."""
    told: Told = {}
    made: list[Figure] = []
    best: dict[str, tuple[float, str]] = {}
    for name in NETWORKS:
        card = load_card(name)
        cross, quantised = card.cross_validation, card.quantisation
        told[name] = {"held_out": card.held_out, "cross_validation": cross, "quantisation": quantised}
        best[card.specialty] = max(best.get(card.specialty, (0.0, "")), (cross["auc"], name))
        same, drop = quantised["same_class"], abs(quantised["auc_float"] - quantised["auc_integer"])
        made += [
            measured(
                f"{name}: same class, integer and float",
                same,
                "",
                f"at least {LEAST_SAME:g}",
                same >= LEAST_SAME,
            ),
            measured(
                f"{name}: AUC lost by encryption",
                drop,
                "",
                f"at most {MOST_AUC_DROP:g}",
                drop <= MOST_AUC_DROP,
            ),
        ]
    for specialty, (value, name) in best.items():
        least, ece = LEAST_AUC[specialty], load_card(name).cross_validation["ece"]
        words = f"{specialty}, best network {name}"
        made.append(
            measured(f"{words}: AUC, cross-validated", value, "", f"at least {least:g}", value >= least)
        )
        made.append(
            measured(f"{words}: ECE, cross-validated", ece, "", f"at most {MOST_ECE:g}", ece <= MOST_ECE)
        )
    told["through the engine"] = []
    for specialty, folder, load in (
        ("neuroradiology", DEFAULT, load_pictures),
        ("dermatology", SKIN, load_skin),
    ):
        if folder.is_dir():
            answer, figures = held_out_by_engine(best[specialty][1], load())
            told["through the engine"].append(answer)
            made += figures
    return told, made


def held_out_by_engine(name: str, pictures: Pictures) -> tuple[Told, list[Figure]]:
    """The held-out pictures through the blind engine and the plain one."""
    network, card = load_network(name)
    chosen = [i for i, fold in enumerate(pictures.folds) if fold == HELD_OUT]
    images = np.stack(
        [prepare(pictures.scans[i], card.channels, card.side, card.preparation) for i in chosen]
    )
    labels = pictures.labels[chosen]
    logits, seconds = {}, 0.0
    for engine_name in ("blind", "plain"):
        with make_engine(engine_name, network) as engine:
            answers = [engine.predict(images[i : i + 1]) for i in range(len(images))]
        logits[engine_name] = np.concatenate([one.logits[:, 0] for one in answers])
        seconds += sum(one.seconds + one.seconds_ahead for one in answers) if engine_name == "blind" else 0.0
    same = float(np.mean((logits["blind"] > 0) == (logits["plain"] > 0)))
    drop = abs(auc(labels, logits["blind"]) - auc(labels, logits["plain"]))
    told = {
        "network": name,
        "n": len(images),
        "same_class": same,
        "auc_blind": auc(labels, logits["blind"]),
        "auc_plain": auc(labels, logits["plain"]),
        "largest_difference": float(np.abs(logits["blind"] - logits["plain"]).max()),
        "seconds_each": seconds / len(images),
    }
    words = f"{name}, {len(images)} held-out pictures through three processes"
    return told, [
        measured(f"{words}: same class as plain", same, "", f"at least {LEAST_SAME:g}", same >= LEAST_SAME),
        measured(
            f"{words}: AUC against plain", drop, "", f"at most {MOST_AUC_DROP:g}", drop <= MOST_AUC_DROP
        ),
        measured(f"{words}: a picture, dealer included", told["seconds_each"], "s"),
    ]
