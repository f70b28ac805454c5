"""The model card of a suite as a page, from its networks' cards: `python -m models.segmentation.cardpage
SUITE`."""

from __future__ import annotations

import sys
from pathlib import Path

from models.segmentation.plan import AXES, TASKS
from models.segmentation.suite import Suite, load_suite

_HEAD = """# chest-ct-suite: lung and infection in slices of a chest CT

Written by `python -m models.segmentation.cardpage`; the figures are those of the cards beside the weights.

**For research and demonstrations. Not a medical device; no one should be treated, or left untreated, on its
word.**

- Six U-Nets, one for each task and axis. Each reads five neighbouring slices of {side}x{side} greys
  (`models/segmentation/grid.py` says how a volume becomes
  those) and says one logit a pixel of the middle slice; above 0 is lung, or infection. No confidence buckets.
- Widths {widths}, convolutions down {down} and up {up}; 3x3, batch norm, ReLU, maximum pooling, repeated
  points on the way up.
- A file holds the integer network (K = {ring}, {bits} low bits) and the float weights that it was made from,
  in half precision.
  Licence: Apache-2.0. Identity of the suite: `{identity}`.

## Trained on

{origin}: volumes {volumes}; every fourth volume by name is held out. Labels by Ma et al.; greys, not
Hounsfield units; slices without infection are left out there, so a stack has gaps, and the spacing is nominal.
The volumes are not redistributed; their upstream terms were not verified. Sixteen patients in all: enough to
show the method, not to trust a mask.

## How good, each network alone

Dice of the float network on held-out volumes, and of the integer network with the float one on the eight
slices with most of the task, with the protocol's rounding. Masks are
made from three axes together, within the lung: [figures](../../docs/segmentation.md#figures).

"""

_TAIL = """
## Not for

Other organs, contrast-enhanced CT, children; telling COVID-19 from another pneumonia (every training volume
has it, and nearly every training slice); volumes in Hounsfield units
have not been measured. Consolidation that touches the chest wall is often left out of the lung, and of the
infection with it.
"""


def page(suite: Suite) -> str:
    """The page of a suite whose networks share one architecture."""
    first = next(iter(suite.networks.values()))
    card, architecture = first.card, first.card.architecture
    head = _HEAD.format(
        side=card.side,
        widths=_told(architecture["widths"]),
        down=_told(architecture["down"]),
        up=_told(architecture["up"]),
        ring=card.quantisation["ring_bits"],
        bits=card.quantisation["low_bits"],
        identity=suite.identity.hex(),
        origin=card.training_data["origin"],
        volumes=", ".join(card.training_data["volumes"]),
    )
    held = list(card.held_out["volumes"])
    rows = [f"| network | epochs | {' | '.join(held)} |", f"|---|--:|{'--:|' * len(held)}"]
    for task in TASKS:
        for axis in AXES:
            one = suite.networks[task, axis].card
            told = (one.held_out["volumes"][name] for name in held)
            cells = [f"{each['dice']:.3f} ({each['integer_against_float']:.4f})" for each in told]
            rows.append(f"| {task} along {axis} | {one.training_data['epochs']} | {' | '.join(cells)} |")
    return head + "\n".join(rows) + "\n" + _TAIL


def _told(values: list[int]) -> str:
    return ", ".join(map(str, values))


if __name__ == "__main__":
    sys.stdout.write(page(load_suite(Path(sys.argv[1]) if len(sys.argv) > 1 else None)))
