"""A network's card as a page for people, in Markdown; written beside the weights by `models.train`."""

from __future__ import annotations

from typing import Any

from models.zoo import Card


def card_page(card: Card, parameters: int) -> str:
    """The model card: what it is for, what it is not for, how it was made, how good it is and how that was measured."""
    scores = _table(
        ("held out, integer network", card.held_out),
        ("held out, float network", card.held_out["float_network"]),
        ("5-fold cross-validation, float", card.cross_validation),
    )
    exact, fitted, data = card.quantisation, card.calibration, card.training_data
    return f"""# {card.name}: {card.task}

Written by `python -m models.train {card.name}`; the figures are those of `{card.name.lower()}-brain-mri.card.json`.

**For research and demonstrations. Not a medical device; no one should be treated, or left untreated, on its word.**

- Reads: one axial slice ({" or ".join(card.modalities)}), prepared by `models.scans.prepare` to
  {card.channels}x{card.side}x{card.side} int8. Says: one logit; above 0 is "{card.labels[1]}", else "{card.labels[0]}".
- {parameters:,} weights; convolution, ReLU, average pooling, fully connected layers. Licence: {card.licence}.
- Network hash `{card.network_hash}`.

## Trained on

{data["name"]}: {data["n"]} of 203 pictures. Licence {data["licence"]}; the pictures are not redistributed.
Caution: {data["caution"]}. One fifth of the groups of near-duplicates is held out; nothing committed has seen it.
Size and borders of the files go with the label in that collection, so only the head's bounding box reaches
the network, found and levelled the same way for all.

## How good

{scores}

With {card.held_out["n"]} pictures held out, the standard error of the accuracy is about
{(card.held_out["accuracy"] * (1 - card.held_out["accuracy"]) / card.held_out["n"]) ** 0.5:.2f}: the
cross-validation over all {card.cross_validation["n"]} is the steadier figure.

Calibration: {fitted["method"]}'s scale {fitted["scale"]} and offset {fitted["offset"]}, fitted on out-of-fold logits of
{fitted["n"]} training pictures and folded into the last layer: the probability is 1 / (1 + exp(-logit)). By confidence
bucket (floors {", ".join(str(floor) for floor in card.thresholds)}), in cross-validation:

{_buckets(card.cross_validation["by_confidence"])}

## As integers

K = {exact["ring_bits"]}, B = {exact["table_bits"]}; that no accumulator wraps is {exact["overflow"]} for every possible
image. Against the float network on {exact["n"]} held-out pictures, {exact["roundings"]} random roundings each:
same class {exact["same_class"]:.2%}, logits off by {exact["mean_logit_error"]} on average
and by {exact["max_logit_error"]} at most. On
{exact["n_altered"]} altered copies of them (turned, stretched, other gamma, noise) the class is the same in
{exact["same_class_altered"]:.2%}.

## Not for

Other organs or modalities; scans of children; slices that miss the lesion; telling one tumour from another. It marks
strokes, inflammation and cysts too, as asymmetry is most of what it looks for, and it overlooks what is symmetric.
"""


def _table(*rows: tuple[str, dict[str, Any]]) -> str:
    names = ("n", "accuracy", "auc", "sensitivity", "specificity", "brier")
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [
        f"| {title} | " + " | ".join(str(figures[name]) for name in names) + " |" for title, figures in rows
    ]
    return "\n".join(lines)


def _buckets(rows: list[dict[str, Any]]) -> str:
    lines = ["| bucket | n | mean confidence | right |", "|---|---|---|---|"]
    lines += [f"| {row['bucket']} | {row['n']} | {row['mean_confidence']} | {row['right']} |" for row in rows]
    return "\n".join(lines)
