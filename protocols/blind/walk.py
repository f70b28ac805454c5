"""One traversal of a topology, shared by patient, model, dealer and the reference network.

`walk` does what is public and linear by itself (pooling sums, flattening, the halves of a maximum) on
whatever it is given: values, shares or masks, since those steps commute with sharing. At an affine layer
and at a clip it asks its driver, by yielding the step with its operands, and is sent the result.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TypeAlias

from protocols.blind.bytesio import IntArray
from protocols.blind.layers import Affine, Flatten, GlobalSum, MaxPool, Relu, SumPool, cap_of, pool_bits
from protocols.blind.topology import Shape, Topology


@dataclass(frozen=True, slots=True)
class AffineStep:
    """The `index`-th affine layer."""

    index: int
    node: Affine
    shape: Shape

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class ClipStep:
    """The `index`-th non-linearity: y = clip(t, 0, cap) with t the rounding of v / 2^shift to `bits`
    signed bits.

    A `Relu` is one; a `MaxPool` is two with shift 0: max(a, b) = b + clip(a - b, 0, cap), first over
    columns, then rows. counted: whether elements at the cap tell of an unusual image (a `Relu`'s do).
    """

    index: int
    shape: Shape
    bits: int
    shift: int
    cap: int
    counted: bool

    @property
    def size(self) -> int:
        return prod(self.shape)


Step: TypeAlias = AffineStep | ClipStep
Walk: TypeAlias = Generator[tuple[Step, list[IntArray]], IntArray, IntArray]


@lru_cache(maxsize=64)
def steps(topology: Topology) -> tuple[Step, ...]:
    """The steps that a walk asks for, in order."""
    made: list[Step] = []
    affine = clip = 0
    for i, node in enumerate(topology.nodes):
        shape = topology.shapes[i + 1]
        if isinstance(node, Affine):
            made.append(AffineStep(affine, node, shape))
            affine += 1
        elif isinstance(node, Relu):
            bits = topology.relu_bits(node)
            made.append(ClipStep(clip, shape, bits, topology.ring_bits - bits, node.cap, True))
            clip += 1
        elif isinstance(node, MaxPool):
            cap = cap_of(node.source, topology.nodes)
            c, h, w = shape
            made.append(ClipStep(clip, (c, 2 * h, w), pool_bits(cap), 0, cap, False))
            made.append(ClipStep(clip + 1, shape, pool_bits(cap), 0, cap, False))
            clip += 2
    return tuple(made)


def clip_steps(topology: Topology) -> tuple[ClipStep, ...]:
    return tuple(s for s in steps(topology) if isinstance(s, ClipStep))


def affine_steps(topology: Topology) -> tuple[AffineStep, ...]:
    return tuple(s for s in steps(topology) if isinstance(s, AffineStep))


def _even(x: IntArray) -> IntArray:
    return x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]


def _max_pool(x: IntArray, plan: Iterator[Step]) -> Walk:
    x = _even(x)
    a, b = x[:, :, 1::2], x[:, :, 0::2]
    x = b + (yield next(plan), [a - b])
    a, b = x[:, 1::2], x[:, 0::2]
    return b + (yield next(plan), [a - b])


def walk(topology: Topology, image: IntArray) -> Walk:
    """Yields (step, operands): the sources of an affine layer's terms, or the one operand of a clip.

    Operands and results are int64 and are not reduced mod 2^K here; a driver reduces what it needs reduced.
    Returns the last wire.
    """
    plan = iter(steps(topology))
    wires = [image]
    for node in topology.nodes:
        if isinstance(node, Affine):
            made = yield next(plan), [wires[t.source] for t in node.terms]
        elif isinstance(node, Relu):
            made = yield next(plan), [wires[node.source]]
        elif isinstance(node, MaxPool):
            made = yield from _max_pool(wires[node.source], plan)
        elif isinstance(node, SumPool):
            x = _even(wires[node.source])
            made = x[:, 0::2, 0::2] + x[:, 1::2, 0::2] + x[:, 0::2, 1::2] + x[:, 1::2, 1::2]
        elif isinstance(node, GlobalSum):
            made = wires[node.source].sum((1, 2)).reshape(-1, 1, 1)
        else:
            assert isinstance(node, Flatten)
            made = wires[node.source].reshape(-1, 1, 1)
        wires.append(made)
    return wires[-1]
