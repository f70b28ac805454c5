"""The integer network itself, in the clear: what a blind inference must open, rounding for rounding.

Used to compile, to measure accuracy, and to check the protocol. Values are whole numbers in float64, exact since
`bounds.py` keeps every sum of a `Network` within 2^24 (a sum of magnitudes within 2^52), and are not reduced mod
2^K: what would have wrapped is seen and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from protocols.blind.bounds import clip_range, logit_range
from protocols.blind.bytesio import IntArray
from protocols.blind.layers import Clip, Conv, ConvTranspose, Dense, Scale, Term
from protocols.blind.network import Network
from protocols.blind.walk import AffineStep, ClipStep, Step, clip_steps, walk
from protocols.errors import ProtocolError

Real: TypeAlias = NDArray[np.float64]  # whole numbers

# (index, count, shift) -> `count` integers u in 1..2^shift (0 for shift 0), added before the shift. Indices
# 0..n-1 are the clips in order, n the logits, n + 1 the margins of two logits; the batch is the first axis.
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
    """Of n images. logits: opened logits, (n, C, H, W), or (C, H, W) where one image was given without a batch.
    buckets: one an image, None without thresholds. overflow: values outside the safe ranges of `bounds.py`, 0 for
    every network that could be made. saturated: activations at the upper end of their `Clip`."""

    logits: IntArray
    buckets: tuple[int, ...] | None
    overflow: int
    saturated: int

    @property
    def bucket(self) -> int | None:
        """The bucket of the only (or first) image."""
        return None if self.buckets is None else self.buckets[0]


def apply_term(term: Term, weights: IntArray, x: Real) -> Real:
    """One term of an `Affine` on x (n, C, H, W), by its definition."""
    w = weights.astype(np.float64)
    if isinstance(term, Scale):
        return x * w[:, None, None]
    if isinstance(term, Dense):
        return (x.reshape(len(x), -1) @ w.T).reshape(len(x), -1, 1, 1)
    return _transpose(term, w, x) if isinstance(term, ConvTranspose) else _convolve(term, w, x)


def _convolve(term: Conv, w: Real, x: Real) -> Real:
    ends = term.padding, term.padding + term.trailing
    wide = np.pad(x, ((0, 0), (0, 0), ends, ends)) if any(ends) else x
    k, s, groups = term.kernel, term.stride, term.groups
    windows = sliding_window_view(wide, (k, k), axis=(2, 3))[:, :, ::s, ::s]  # (n, C, Ho, Wo, k, k)
    n, c, ho, wo = windows.shape[:4]
    if groups == c:  # depthwise: tap by tap
        several = term.out // groups
        made = np.zeros((n, c, several, ho, wo))
        taps = w.reshape(c, several, 1, 1, k, k)
        for i in range(k):
            for j in range(k):
                made += windows[:, :, None, :, :, i, j] * taps[..., i, j]
        return made.reshape(n, term.out, ho, wo)
    matrix = w.reshape(groups, term.out // groups, -1)
    made = np.empty((n, groups, term.out // groups, ho * wo))
    for image, into in zip(windows, made, strict=True):
        columns = image.transpose(0, 3, 4, 1, 2).reshape(groups, -1, ho * wo)
        np.matmul(matrix, columns, out=into)
    return made.reshape(n, term.out, ho, wo)


def _transpose(term: ConvTranspose, w: Real, x: Real) -> Real:
    n, c, h, wide = x.shape
    k, s, p = term.kernel, term.stride, term.padding
    rows, columns = ((side - 1) * s + k + term.trailing for side in (h, wide))
    full = np.zeros((n, term.out, rows, columns))
    for i in range(k):
        for j in range(k):
            part = (w[:, :, i, j].T @ x.reshape(n, c, -1)).reshape(n, term.out, h, wide)
            full[:, :, i : i + (h - 1) * s + 1 : s, j : j + (wide - 1) * s + 1 : s] += part
    return full[:, :, p : rows - p, p : columns - p]


class _Run:
    def __init__(self, network: Network, rounding: Rounding) -> None:
        self.network, self.rounding, self.topology = network, rounding, network.topology
        self.overflow = self.saturated = 0

    def outside(self, v: Real, safe: tuple[int, int]) -> None:
        self.overflow += int(((v < safe[0]) | (v > safe[1])).sum())

    def rounded(self, v: Real, index: int, shift: int) -> Real:
        u = self.rounding(index, v.size, shift).reshape(v.shape)
        made: Real = np.floor((v + u) * 0.5**shift)
        return made

    def affine(self, step: AffineStep, sources: list[Real]) -> Real:
        weights, bias = self.network.weights[step.index], self.network.biases[step.index]
        parts = [apply_term(t, w, x) for t, w, x in zip(step.node.terms, weights, sources, strict=True)]
        made: Real = sum(parts[1:], start=parts[0]) + bias[:, None, None]
        return made

    def clip(self, step: ClipStep, v: Real) -> Real:
        low, high = step.clip.low, step.clip.low + step.clip.ceiling
        node = self.topology.nodes[step.place]
        made = np.clip(self.rounded(v, step.index, step.clip.shift), low, high)
        if isinstance(node, Clip):
            self.outside(v, clip_range(self.topology, node))
            self.saturated += int((made == high).sum())
        return made

    def step(self, step: Step, sources: list[Real]) -> Real:
        return self.affine(step, sources) if isinstance(step, AffineStep) else self.clip(step, sources[0])

    def run(self, images: Real) -> Real:
        script = walk(self.topology, images)
        try:
            step, sources = next(script)
            while True:
                step, sources = script.send(self.step(step, sources))
        except StopIteration as end:
            logits: Real = end.value
            return logits

    def open(self, v: Real) -> tuple[IntArray, tuple[int, ...] | None]:
        """The opened logits and the buckets of output values v."""
        top, index = self.topology, len(clip_steps(self.topology))
        logits = self.rounded(v, index, top.logit_shift).astype(np.int64)
        if not top.thresholds:
            return logits, None
        flat = v.reshape(len(v), -1)
        if flat.shape[1] == 1:
            return logits, tuple(top.bucket_of(int(logit)) for logit in logits.reshape(-1))
        margin = flat[:, 0] - flat[:, 1]
        self.outside(margin, logit_range(top))
        opened = self.rounded(margin, index + 1, top.logit_shift)
        return logits, tuple(top.bucket_of(int(value)) for value in opened)


def run_reference(network: Network, images: NDArray[np.generic], rounding: Rounding = nearest) -> Reference:
    """The network on integer images (n, C, H, W), or on one (C, H, W), clipped to the topology's input range.

    Raises `ProtocolError` on images of another shape.
    """
    topology = network.topology
    batch = images if images.ndim == 4 else images[None]
    if batch.ndim != 4 or batch.shape[1:] != topology.input_shape or not len(batch):
        raise ProtocolError(
            f"images of shape {images.shape} stand where {topology.input_shape} belongs", "prepare them again"
        )
    run = _Run(network, rounding)
    v = run.run(np.clip(batch.astype(np.float64), topology.input_low, topology.input_high))
    run.outside(v, logit_range(topology))
    logits, buckets = run.open(v)
    return Reference(logits if images.ndim == 4 else logits[0], buckets, run.overflow, run.saturated)
