"""No wrap-around, proved: the worst case of every value over every image.

Interval arithmetic, channel by channel. If input channel j of a term lies in [lo_j, hi_j], then
    sum_j min(w_j lo_j, w_j hi_j) + bias <= v <= sum_j max(w_j lo_j, w_j hi_j) + bias,
zero padding being one more value of the interval. An activation lies in its `Clip`'s range, so the bound of a
layer never rests on how wild the layers before it were: a clip stops the compounding.

What a value v may be, exactly:
- read by a `Clip` of B = low_bits + high_bits and shift S: (low - 2^(B-1)) 2^S <= v < (low + 2^(B-1) - 1) 2^S.
  There the rounded t = floor((v + u) / 2^S), 1 <= u <= 2^S, has t - low in -2^(B-1)..2^(B-1)-1. For S = 0 there
  is no rounding, and v = t may be one more;
- a logit with shift s and L bits: -2^(L-1) 2^s <= v < (2^(L-1) - 1) 2^s; the difference of two likewise;
- any sum: -2^K..2^K, so that the network in the clear (`reference.py`) is exact without a modulus.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from protocols.blind.bytesio import IntArray
from protocols.blind.layers import (
    Affine,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Flatten,
    GlobalSum,
    MaxPool,
    Node,
    SumPool,
    Term,
    refuse,
    sources_of,
)
from protocols.blind.topology import Topology

if TYPE_CHECKING:
    from protocols.blind.network import Network

Interval = tuple[IntArray, IntArray]  # lowest and highest value a channel
FAR = float(1 << 52)
NEAR = (
    1 << 26
)  # beyond every safe range: a wire past it is unsafe already and is cut here, so nothing overflows


@dataclass(frozen=True)
class Bound:
    """Worst case of what one node makes (a `Clip`: of what it reads) against what it may be: secret."""

    node: int
    low: int
    high: int
    safe_low: int
    safe_high: int

    @property
    def safe(self) -> bool:
        """Whether no image leaves the safe range."""
        return self.safe_low <= self.low and self.high <= self.safe_high

    @property
    def use(self) -> float:
        """The part of the safe range that the worst case takes: at most 1 when safe."""
        return max(self.low / self.safe_low, self.high / self.safe_high)


@dataclass(frozen=True)
class WorstCase:
    """The bounds of every sum, clip and logit, node by node."""

    bounds: tuple[Bound, ...]

    @property
    def proved(self) -> bool:
        """Whether no image leaves a safe range anywhere."""
        return all(b.safe for b in self.bounds)

    def require_safe(self) -> None:
        """Raises `ProtocolError` that names the first node that some image could make wrap."""
        for b in self.bounds:
            if not b.safe:
                raise refuse(
                    f"node {b.node} can reach {b.low}..{b.high} but only {b.safe_low}..{b.safe_high} is safe "
                    "(scale that layer's weights down, or give its Clip more high bits)"
                )


def clip_range(topology: Topology, node: Clip) -> tuple[int, int]:
    """Inclusive range of the values that a `Clip` rounds and cuts rightly."""
    half, shift = 1 << (node.low_bits + node.high_bits - 1), topology.clip_shift(node)
    top = node.low + half - 1
    return (node.low - half) << shift, (top << shift) - 1 if shift else top


def logit_range(topology: Topology) -> tuple[int, int]:
    """Inclusive range of an output value (and of the difference of two) that opens rightly."""
    half, shift = 1 << (topology.logit_bits - 1), topology.logit_shift
    return -half << shift, ((half - 1) << shift) - 1 if shift else half - 1


def _reach(plus: IntArray, minus: IntArray, source: Interval) -> Interval:
    """Interval of w @ x by group, x within `source`: float64 BLAS, exact below 2^52.

    plus, minus: sums of the positive and negative weights of each input channel, (groups, out, in). Where the
    sum of magnitudes reaches 2^52 the answer is plus or minus 2^52: far outside every safe range.
    """
    groups, _, inputs = plus.shape
    low, high = (end.astype(np.float64).reshape(groups, inputs, 1) for end in source)
    p, m = plus.astype(np.float64), minus.astype(np.float64)
    huge = (p - m) @ np.maximum(np.abs(low), np.abs(high)) >= FAR
    bottom = np.where(huge, -FAR, p @ low + m @ high).reshape(-1)
    top = np.where(huge, FAR, p @ high + m @ low).reshape(-1)
    if plus.dtype.kind == "f":
        return bottom, top
    return bottom.astype(np.int64), top.astype(np.int64)


def _with_zero(source: Interval) -> Interval:
    return np.minimum(source[0], 0), np.maximum(source[1], 0)


def _transpose_interval(term: ConvTranspose, weights: IntArray, source: Interval) -> Interval:
    """Output points of one phase (place mod stride) are reached by the same taps; the widest phase bounds.

    A tap may fall outside the input, at the borders: 0 is one more value of the source.
    """
    made = np.zeros(term.out, weights.dtype), np.zeros(term.out, weights.dtype)
    phases = range(min(term.stride, term.kernel))
    for row in phases:
        for column in phases:
            taps = weights[:, :, row :: term.stride, column :: term.stride]
            plus, minus = np.maximum(taps, 0).sum((2, 3)).T[None], np.minimum(taps, 0).sum((2, 3)).T[None]
            low, high = _reach(plus, minus, _with_zero(source))
            made = np.minimum(made[0], low), np.maximum(made[1], high)
    return made


def term_interval(term: Term, weights: IntArray, source: Interval) -> Interval:
    """Interval of one term by output channel, from the interval of its source by input channel.

    A compiler may ask with real weights (float64) as well and gets a real interval.
    """
    if isinstance(term, Conv):
        taps = weights.reshape(term.groups, term.out // term.groups, weights.shape[1], -1)
        padded = term.padding or term.trailing
        plus, minus = np.maximum(taps, 0).sum(3), np.minimum(taps, 0).sum(3)
        return _reach(plus, minus, _with_zero(source) if padded else source)
    if isinstance(term, ConvTranspose):
        return _transpose_interval(term, weights, source)
    if isinstance(term, Dense):
        return _reach(np.maximum(weights, 0)[None], np.minimum(weights, 0)[None], source)
    one, two = weights * source[0], weights * source[1]
    return np.minimum(one, two), np.maximum(one, two)


def node_interval(topology: Topology, node: Node, wires: list[Interval]) -> Interval:
    """Interval of the wire that a node other than an `Affine` makes, by channel."""
    if isinstance(node, Concat):
        low, high = zip(*(wires[s] for s in node.sources), strict=True)
        return np.concatenate(low), np.concatenate(high)
    assert not isinstance(node, Affine)
    low_end, high_end = wires[node.source]
    if isinstance(node, Clip):
        shift = topology.clip_shift(node)
        top = (high_end >> shift) + (1 if shift else 0)
        return np.clip(low_end >> shift, node.low, node.high), np.clip(top, node.low, node.high)
    if isinstance(node, SumPool | MaxPool) and node.padding:
        low_end, high_end = _with_zero((low_end, high_end))
    if isinstance(node, SumPool | GlobalSum):
        _, h, w = topology.shapes[node.source]
        many = node.kernel**2 if isinstance(node, SumPool) else h * w
        return many * low_end, many * high_end
    if isinstance(node, Flatten):
        many = prod(topology.shapes[node.source][1:])
        return np.repeat(low_end, many), np.repeat(high_end, many)
    return low_end, high_end


def worst_case(network: Network) -> WorstCase:
    """The bound of every sum, clip, logit and margin of the network."""
    topology = network.topology
    channels, limit = topology.input_shape[0], 1 << topology.ring_bits
    wires: list[Interval] = [(np.full(channels, topology.input_low), np.full(channels, topology.input_high))]
    bounds: list[Bound] = []
    layers = iter(zip(network.weights, network.biases, strict=True))
    last = {source: i for i, node in enumerate(topology.nodes) for source in sources_of(node)}

    def note(node: int, made: Interval, safe: tuple[int, int]) -> None:
        bounds.append(Bound(node, int(made[0].min()), int(made[1].max()), *safe))

    for i, node in enumerate(topology.nodes):
        if isinstance(node, Affine):
            weights, bias = next(layers)
            parts = [term_interval(t, w, wires[t.source]) for t, w in zip(node.terms, weights, strict=True)]
            made = sum(p[0] for p in parts) + bias, sum(p[1] for p in parts) + bias
        else:
            made = node_interval(topology, node, wires)
        if isinstance(node, Clip):
            note(i, wires[node.source], clip_range(topology, node))
        elif isinstance(node, Affine | SumPool | GlobalSum):
            note(i, made, (-limit, limit))
        wires.append((np.clip(made[0], -NEAR, NEAR), np.clip(made[1], -NEAR, NEAR)))
        for source in sources_of(node):
            if last[source] == i:
                wires[source] = (made[0][:0], made[1][:0])
    note(len(topology.nodes) - 1, wires[-1], logit_range(topology))
    if len(topology.thresholds) and wires[-1][0].size == 2:
        low, high = wires[-1]
        margin = low[:1] - high[1:], high[:1] - low[1:]
        note(len(topology.nodes) - 1, margin, logit_range(topology))
    return WorstCase(tuple(bounds))
