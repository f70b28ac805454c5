"""No wrap-around, proved: the worst case of every accumulator over every image.

Interval arithmetic, channel by channel. If input channel j of a term lies in [lo_j, hi_j], then
    sum_j min(w_j lo_j, w_j hi_j) + bias <= accumulator <= sum_j max(w_j lo_j, w_j hi_j) + bias,
zero padding being one more value of the interval. An activation lies in [0, min(cap, top)], so the bound
of a layer never rests on how wild the layers before it were: a capped activation stops the compounding.

What an accumulator v may be, exactly:
- before a `Relu` with shift S, table bits B, cap C: (C - 2^(B-1)) 2^S <= v < (2^(B-1) - 1) 2^S. There the
  rounded t = floor((v + u) / 2^S), 1 <= u <= 2^S, lies in C - 2^(B-1) .. 2^(B-1) - 1, where both comparisons
  of the table hold;
- a logit with shift s and L bits: -2^(L-1) 2^s <= v < (2^(L-1) - 1) 2^s; the difference of two likewise.
Sums (pooling) must stay within -2^(K-1)..2^(K-1)-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from protocols.blind.bytesio import IntArray
from protocols.blind.layers import (
    Affine,
    Conv,
    Dense,
    Flatten,
    GlobalSum,
    MaxPool,
    Node,
    Relu,
    SumPool,
    Term,
    refuse,
)
from protocols.blind.topology import Topology

if TYPE_CHECKING:
    from protocols.blind.network import Network

Interval = tuple[IntArray, IntArray]  # lowest and highest value a channel
FAR = float(1 << 52)
NEAR = (
    1 << 24
)  # beyond every safe range: a wire past it is unsafe already and is cut here, so nothing overflows


@dataclass(frozen=True)
class Bound:
    """Worst case of one node against what it may be. It depends on the weights: secret to the model."""

    node: int
    low: int
    high: int
    safe_low: int
    safe_high: int

    @property
    def safe(self) -> bool:
        return self.safe_low <= self.low and self.high <= self.safe_high


@dataclass(frozen=True)
class WorstCase:
    """The bounds of every accumulator, wire by wire."""

    bounds: tuple[Bound, ...]

    @property
    def proved(self) -> bool:
        return all(b.safe for b in self.bounds)

    def require_safe(self) -> None:
        """Raises `ProtocolError` that names the first node that some image could make wrap."""
        for b in self.bounds:
            if not b.safe:
                raise refuse(
                    f"node {b.node} can reach {b.low}..{b.high} but only {b.safe_low}..{b.safe_high} is safe "
                    "(scale that layer's weights down, or declare the overflow 'calibrated')"
                )


def relu_range(topology: Topology, node: Relu) -> tuple[int, int]:
    """Inclusive range of the accumulators that a `Relu` clips rightly."""
    bits = topology.relu_bits(node)
    half, shift = 1 << (bits - 1), topology.ring_bits - bits
    return (node.cap - half) << shift, ((half - 1) << shift) - 1


def logit_range(topology: Topology) -> tuple[int, int]:
    """Inclusive range of an output accumulator (and of the difference of two) that opens rightly."""
    half, shift = 1 << (topology.logit_bits - 1), topology.logit_shift
    return -half << shift, ((half - 1) << shift) - 1 if shift else half - 1


def _reach(weights: IntArray, source: Interval) -> Interval:
    """Interval of weights @ x, weights (out, in), x within `source`: float64 BLAS, exact below 2^52.

    Where the sum of magnitudes reaches 2^52 the answer is plus or minus 2^52: far outside every safe range.
    """
    w, (low, high) = weights.astype(np.float64), source
    plus, minus = np.maximum(w, 0), np.minimum(w, 0)
    huge = np.abs(w) @ np.maximum(np.abs(low), np.abs(high)).astype(np.float64) >= FAR
    bottom = np.where(huge, -FAR, plus @ low + minus @ high)
    top = np.where(huge, FAR, plus @ high + minus @ low)
    if weights.dtype.kind == "f":
        return bottom, top
    return bottom.astype(np.int64), top.astype(np.int64)


def term_interval(term: Term, weights: IntArray, source: Interval) -> Interval:
    """Interval of one term by output channel, from the interval of its source by input channel.

    A quantiser may ask with real weights (float64) as well and gets a real interval.
    """
    low, high = source
    if isinstance(term, Conv):
        if term.padding:
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        taps = term.kernel * term.kernel
        return _reach(weights.reshape(term.out, -1), (np.repeat(low, taps), np.repeat(high, taps)))
    if isinstance(term, Dense):
        return _reach(weights, source)
    one, two = weights * low, weights * high
    return np.minimum(one, two), np.maximum(one, two)


def _relu_interval(topology: Topology, node: Relu, source: Interval) -> Interval:
    shift = topology.ring_bits - topology.relu_bits(node)
    return np.zeros_like(source[0]), np.clip((source[1] >> shift) + 1, 0, node.cap)


def _local_interval(topology: Topology, node: Node, wire: int, source: Interval) -> Interval:
    low, high = source
    if isinstance(node, SumPool):
        return 4 * low, 4 * high
    if isinstance(node, GlobalSum):
        _, h, w = topology.shapes[wire]
        return h * w * low, h * w * high
    if isinstance(node, Flatten):
        _, h, w = topology.shapes[wire]
        return np.repeat(low, h * w), np.repeat(high, h * w)
    return low, high  # MaxPool


def worst_case(network: Network) -> WorstCase:
    """The bound of every accumulator, pooled sum, logit and margin of the network."""
    topology = network.topology
    channels = topology.input_shape[0]
    wires: list[Interval] = [(np.full(channels, topology.input_low), np.full(channels, topology.input_high))]
    bounds: list[Bound] = []
    half = 1 << (topology.ring_bits - 1)
    layers = iter(zip(network.weights, network.biases, strict=True))

    def note(node: int, made: Interval, safe: tuple[int, int]) -> None:
        bounds.append(Bound(node, int(made[0].min()), int(made[1].max()), *safe))

    for i, node in enumerate(topology.nodes):
        if isinstance(node, Affine):
            weights, bias = next(layers)
            parts = [term_interval(t, w, wires[t.source]) for t, w in zip(node.terms, weights, strict=True)]
            made = sum(p[0] for p in parts) + bias, sum(p[1] for p in parts) + bias
            note(i, made, (-half, half - 1))
        elif isinstance(node, Relu):
            note(i, wires[node.source], relu_range(topology, node))
            made = _relu_interval(topology, node, wires[node.source])
        else:
            made = _local_interval(topology, node, node.source, wires[node.source])
            note(i, made, (-half, half - 1))
        wires.append((np.clip(made[0], -NEAR, NEAR), np.clip(made[1], -NEAR, NEAR)))
    note(len(topology.nodes) - 1, wires[-1], logit_range(topology))
    if len(topology.thresholds) and wires[-1][0].size == 2:
        low, high = wires[-1]
        margin = low[:1] - high[1:], high[:1] - low[1:]
        note(len(topology.nodes) - 1, margin, logit_range(topology))
    return WorstCase(tuple(bounds))


__all__ = ["Bound", "MaxPool", "WorstCase", "logit_range", "relu_range", "term_interval", "worst_case"]
