"""The integer network itself, in the clear: what a blind inference must open, rounding for rounding.

Used to quantise, to measure accuracy, and to check the protocol. Accumulators are plain integers, not reduced
mod 2^K, so what would have wrapped is seen and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from protocols.blind.bounds import logit_range, relu_range
from protocols.blind.bytesio import IntArray
from protocols.blind.layers import Relu
from protocols.blind.network import Network
from protocols.blind.ring import apply_term, signed
from protocols.blind.topology import Topology
from protocols.blind.walk import AffineStep, ClipStep, clip_steps, walk

# (index, count, shift) -> `count` integers u in 1..2^shift (0 for shift 0), added before the shift. Indices
# 0..n-1 are the clips in order, n the logits, n + 1 the margin of two logits.
Rounding: TypeAlias = Callable[[int, int, int], IntArray]


def nearest(index: int, count: int, shift: int) -> IntArray:
    """Rounds half up."""
    return np.full(count, (1 << shift) >> 1)


def stochastic(rng: np.random.Generator) -> Rounding:
    """Rounds as the protocol does: u uniform in 1..2^shift."""

    def draw(index: int, count: int, shift: int) -> IntArray:
        return rng.integers(1, 1 << shift, count, endpoint=True) if shift else np.zeros(count, np.int64)

    return draw


def given(bits: Sequence[IntArray]) -> Rounding:
    """The very rounding that a run of the protocol used, index by index."""
    return lambda index, count, shift: bits[index].reshape(count)


@dataclass(frozen=True)
class Reference:
    """logits: opened logits, shape `Topology.output_shape`. overflow: accumulators outside the safe range of
    `bounds.py`. saturated: activations cut at their cap. bucket: None without thresholds."""

    logits: IntArray
    bucket: int | None
    overflow: int
    saturated: int


def _shift(v: IntArray, u: IntArray, shift: int, bits: int) -> IntArray:
    return signed((v.reshape(-1) + u) >> shift, bits)


class _Run:
    def __init__(self, network: Network, rounding: Rounding) -> None:
        self.network, self.rounding, self.topology = network, rounding, network.topology
        self.overflow = self.saturated = 0
        self.ranges = [relu_range(self.topology, n) for n in self.topology.nodes if isinstance(n, Relu)]

    def outside(self, v: IntArray, safe: tuple[int, int]) -> None:
        self.overflow += int(((v < safe[0]) | (v > safe[1])).sum())

    def affine(self, step: AffineStep, sources: list[IntArray]) -> IntArray:
        weights, bias = self.network.weights[step.index], self.network.biases[step.index]
        total = np.zeros(step.shape, np.int64) + bias[:, None, None]
        for term, w, x in zip(step.node.terms, weights, sources, strict=True):
            total += signed(apply_term(term, w, x, 48), 48)
        return total

    def clip(self, step: ClipStep, v: IntArray) -> IntArray:
        if step.counted:
            self.outside(v, self.ranges.pop(0))
        t = _shift(v, self.rounding(step.index, step.size, step.shift), step.shift, step.bits)
        below = signed(t - step.cap, step.bits) < 0
        self.saturated += int((~below).sum()) if step.counted else 0
        return np.where(below, np.maximum(t, 0), np.where(t < 0, 0, step.cap)).reshape(step.shape)

    def run(self, image: IntArray) -> IntArray:
        script = walk(self.topology, image)
        try:
            step, sources = next(script)
            while True:
                made = (
                    self.affine(step, sources)
                    if isinstance(step, AffineStep)
                    else self.clip(step, sources[0])
                )
                step, sources = script.send(made)
        except StopIteration as end:
            logits: IntArray = end.value
            return logits


def open_logits(topology: Topology, v: IntArray, rounding: Rounding) -> tuple[IntArray, int | None]:
    """The opened logits and the bucket of output accumulators `v`."""
    shift, bits, index = topology.logit_shift, topology.logit_bits, len(clip_steps(topology))
    logits = _shift(v, rounding(index, v.size, shift), shift, bits).reshape(v.shape)
    if not topology.thresholds:
        return logits, None
    if v.size == 1:
        return logits, topology.bucket_of(int(logits.flat[0]))
    margin = v.reshape(-1)[:1] - v.reshape(-1)[1:]
    return logits, topology.bucket_of(int(_shift(margin, rounding(index + 1, 1, shift), shift, bits)[0]))


def run_reference(network: Network, image: NDArray[np.generic], rounding: Rounding = nearest) -> Reference:
    """The network on one image (C, H, W) of integers, clipped to the topology's input range.

    Where `overflow` is not 0 the protocol's result may differ: outside the safe range nothing is promised.
    """
    topology = network.topology
    run = _Run(network, rounding)
    v = run.run(np.clip(image.astype(np.int64), topology.input_low, topology.input_high))
    run.outside(v, logit_range(topology))
    logits, bucket = open_logits(topology, v, rounding)
    return Reference(logits, bucket, run.overflow, run.saturated)
