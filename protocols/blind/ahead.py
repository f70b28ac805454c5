"""P's share of every accumulator, known before the inference: the network walked on masks alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocols.blind.kernels.interface import Words
from protocols.blind.masking import ahead_word
from protocols.blind.masks import PatientMasks
from protocols.blind.secret import Secret
from protocols.blind.topology import Topology
from protocols.blind.walk import AffineStep, walk
from protocols.blind.weights import MaskedWeights


@dataclass(frozen=True, repr=False, eq=False)
class Ahead(Secret):
    """clips: p of each clip, flat, not reduced mod 2^B; logits: z1 of the logits, (n, C, H, W)."""

    clips: tuple[Words, ...]
    logits: Words


def walk_ahead(topology: Topology, masks: PatientMasks, weights: MaskedWeights, batch: int) -> Ahead:
    """z1 = E.r + s for each affine layer; the mask of a clip's wire is the seed's own. Draws tables too."""
    clips: list[Words] = []
    script = walk(topology, masks.image)
    try:
        step, sources = next(script)
        while True:
            if isinstance(step, AffineStep):
                made = masks.linear(step)
                weights.linear.add(step, sources, made)
            else:
                z1 = np.ascontiguousarray(sources[0]).reshape(-1)
                clips.append(ahead_word(step.clip, z1, masks.index(step)))
                masks.hold(step)
                made = masks.wire(step)
            step, sources = script.send(made)
    except StopIteration as end:
        last: Words = end.value
        return Ahead(tuple(clips), last)
