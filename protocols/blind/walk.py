"""One traversal of a topology, shared by patient, model, dealer and the reference network.

`walk` does what is public and linear by itself (sums, joining, repeating, the halves of a maximum) on
whatever it is given: values, shares or masks, since those steps commute with sharing. At an affine layer
and at a clip it asks its driver, by yielding the step with its operands, and is sent the result.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from protocols.blind.kernels.interface import ClipSize
from protocols.blind.layers import (
    Affine,
    Clip,
    Concat,
    Flatten,
    GlobalSum,
    MaxPool,
    Node,
    SumPool,
    Upsample,
    max_pool_bits,
    range_of,
    sources_of,
)
from protocols.blind.topology import Shape, Topology

Wire: TypeAlias = NDArray[Any]  # (n, C, H, W): words mod 2^K, or plain integers


@dataclass(frozen=True, slots=True)
class AffineStep:
    """The `index`-th affine layer; node: its place in the topology."""

    index: int
    node: Affine
    shape: Shape
    place: int

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class ClipStep:
    """The `index`-th non-linearity: a `Clip`, or one comparison of a `MaxPool`: max(a, b) = b + clip(a - b)."""

    index: int
    shape: Shape
    clip: ClipSize
    place: int

    @property
    def size(self) -> int:
        return prod(self.shape)


Step: TypeAlias = AffineStep | ClipStep
Walk: TypeAlias = Generator[tuple[Step, list[Wire]], Wire, Wire]


def pooled(side: int, kernel: int, stride: int, padding: int) -> int:
    """Windows along one side."""
    return (side + 2 * padding - kernel) // stride + 1


@lru_cache(maxsize=64)
def steps(topology: Topology) -> tuple[Step, ...]:
    """The steps that a walk asks for, in order."""
    made: list[Step] = []
    affine = clip = 0
    k = topology.ring_bits
    for place, node in enumerate(topology.nodes):
        shape = topology.shapes[place + 1]
        if isinstance(node, Affine):
            made.append(AffineStep(affine, node, shape, place))
            affine += 1
        elif isinstance(node, Clip):
            size = ClipSize(k, node.low_bits, node.high_bits, topology.clip_shift(node), node.low)
            made.append(ClipStep(clip, shape, size, place))
            clip += 1
        elif isinstance(node, MaxPool):
            for part in _comparisons(node, topology):
                made.append(ClipStep(clip, part, _comparison(node, topology), place))
                clip += 1
    return tuple(made)


def _comparison(node: MaxPool, topology: Topology) -> ClipSize:
    bits = max_pool_bits(range_of(node.source, topology.nodes))
    return ClipSize(topology.ring_bits, bits, 1, 0)


def _comparisons(node: MaxPool, topology: Topology) -> Iterator[Shape]:
    """The shape of each comparison: kernel - 1 along the rows of the wire, then as many along its columns."""
    c, h, w = topology.shapes[node.source]
    wide = pooled(w, node.kernel, node.stride, node.padding)
    for _ in range(node.kernel - 1):
        yield c, h, wide
    for _ in range(node.kernel - 1):
        yield c, pooled(h, node.kernel, node.stride, node.padding), wide


def clip_steps(topology: Topology) -> tuple[ClipStep, ...]:
    """The non-linearities alone."""
    return tuple(s for s in steps(topology) if isinstance(s, ClipStep))


def affine_steps(topology: Topology) -> tuple[AffineStep, ...]:
    """The affine layers alone."""
    return tuple(s for s in steps(topology) if isinstance(s, AffineStep))


def _padded(x: Wire, padding: int, axis: int) -> Wire:
    ends = [(0, 0)] * 4
    ends[axis] = (padding, padding)
    return np.pad(x, ends) if padding else x


def _windows(x: Wire, node: MaxPool | SumPool, axis: int) -> list[Wire]:
    """The `kernel` views along an axis whose elementwise maximum (or sum) is the pooling along it."""
    count = pooled(x.shape[axis], node.kernel, node.stride, node.padding)
    wide = _padded(x, node.padding, axis)
    ends = [slice(None)] * 4
    views = []
    for i in range(node.kernel):
        ends[axis] = slice(i, i + (count - 1) * node.stride + 1, node.stride)
        views.append(wide[tuple(ends)])
    return views


def _max_pool(x: Wire, node: MaxPool, plan: Iterator[Step]) -> Walk:
    for axis in (3, 2):
        best, *others = _windows(x, node, axis)
        for other in others:
            best = best + (yield next(plan), [other - best])
        x = best
    return x


def _local(node: Node, wires: list[Wire]) -> Wire:
    """A node that each party evaluates by itself."""
    if isinstance(node, Concat):
        return np.concatenate([wires[s] for s in node.sources], axis=1)
    assert not isinstance(node, Affine)
    x = wires[node.source]
    if isinstance(node, SumPool):
        rows = _windows(x, node, 2)
        x = sum(rows[1:], start=rows[0])
        columns = _windows(x, node, 3)
        made: Wire = sum(columns[1:], start=columns[0])
        return made
    if isinstance(node, GlobalSum):
        summed: Wire = x.sum((2, 3), keepdims=True, dtype=x.dtype)
        return summed
    if isinstance(node, Upsample):
        return x.repeat(node.factor, axis=2).repeat(node.factor, axis=3)
    assert isinstance(node, Flatten)
    return x.reshape(len(x), -1, 1, 1)


@lru_cache(maxsize=64)
def _last_use(topology: Topology) -> tuple[int, ...]:
    """For each wire, the last node that reads it: after that it is dropped."""
    last = [0] * (len(topology.nodes) + 1)
    for place, node in enumerate(topology.nodes):
        for source in sources_of(node):
            last[source] = place
    return tuple(last)


def walk(topology: Topology, image: Wire) -> Walk:
    """Yields (step, operands): the sources of an affine layer's terms, or the one operand of a clip.

    image: (n, C, H, W). Operands and results are not reduced mod 2^K here; a driver reduces what it needs
    reduced. A wire is dropped after its last use. Returns the last wire.
    """
    plan = iter(steps(topology))
    last = _last_use(topology)
    wires: list[Wire] = [image]
    for place, node in enumerate(topology.nodes):
        if isinstance(node, Affine):
            made = yield next(plan), [wires[t.source] for t in node.terms]
        elif isinstance(node, Clip):
            made = yield next(plan), [wires[node.source]]
        elif isinstance(node, MaxPool):
            made = yield from _max_pool(wires[node.source], node, plan)
        else:
            made = _local(node, wires)
        wires.append(made)
        for source in set(sources_of(node)):
            if last[source] == place:
                wires[source] = made[:0]
    return wires[-1]
