"""P's share of every accumulator, known before the inference: the network walked on masks alone."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.blind.bytesio import IntArray
from protocols.blind.masks import PatientMasks
from protocols.blind.ring import apply_term, mod
from protocols.blind.secret import Secret
from protocols.blind.topology import Topology
from protocols.blind.walk import AffineStep, walk
from protocols.blind.weights import MaskedWeights


@dataclass(frozen=True, repr=False, eq=False)
class Ahead(Secret):
    """clips: z1 of each clip's operand, flat, mod 2^K; logits: z1 of the logits, flat, mod 2^K.

    The low bits of a clip's z1 are its rounding: u = 2^S - (z1 mod 2^S).
    """

    clips: tuple[IntArray, ...]
    logits: IntArray


def walk_ahead(topology: Topology, masks: PatientMasks, weights: MaskedWeights) -> Ahead:
    """z1 = E.r + s for each affine layer; the mask of an activation's wire is the seed's own."""
    k = topology.ring_bits
    clips: list[IntArray] = []
    script = walk(topology, masks.image)
    try:
        step, sources = next(script)
        while True:
            if isinstance(step, AffineStep):
                made = masks.linear(step)
                for term, e, r in zip(step.node.terms, weights.layers[step.index], sources, strict=True):
                    made = made + apply_term(term, e, r, k)
                made = mod(made, k)
            else:
                clips.append(mod(sources[0].reshape(-1), k))
                made = masks.clip(step)[1]
            step, sources = script.send(made)
    except StopIteration as end:
        last: IntArray = end.value
        return Ahead(tuple(clips), mod(last.reshape(-1), k))
