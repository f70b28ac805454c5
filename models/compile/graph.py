"""The real-valued graph between torch and the integer network: nodes as the blind engine has them, float64 weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from protocols.blind.layers import Conv, ConvTranspose, Dense, Scale, Shape, Term
from protocols.errors import UserError

Real: TypeAlias = NDArray[np.float64]


def unsupported(name: str, what: str, remedy: str) -> UserError:
    """The error for a layer that the blind engine cannot run."""
    return UserError(f"layer {name!r}: {what}", remedy)


@dataclass(frozen=True, eq=False)
class Part:
    """One term of a `Sum`; `term.source` is a value of the graph."""

    term: Term
    weights: Real


@dataclass(frozen=True, eq=False)
class Image:
    """The input."""

    name: str = "input"


@dataclass(frozen=True, eq=False)
class Sum:
    """Sum of terms + bias (out,). Its values are many bits wide."""

    name: str
    parts: tuple[Part, ...]
    bias: Real


@dataclass(frozen=True, eq=False)
class Act:
    """Cut to low..high. (0, inf): ReLU. None, None: no activation, but its values must become few bits wide."""

    name: str
    source: int
    low: float = float("-inf")
    high: float = float("inf")

    @property
    def linear(self) -> bool:
        """Whether it cuts nothing that calibration met."""
        return self.low == float("-inf") and self.high == float("inf")


@dataclass(frozen=True, eq=False)
class Pool:
    """Maximum or mean of blocks."""

    name: str
    source: int
    kernel: int
    stride: int
    padding: int
    maximum: bool


@dataclass(frozen=True, eq=False)
class GlobalMean:
    """Mean over height and width."""

    name: str
    source: int


@dataclass(frozen=True, eq=False)
class Join:
    """Channels one after the other."""

    name: str
    sources: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Grow:
    """Every element `factor` times along rows and columns."""

    name: str
    source: int
    factor: int


@dataclass(frozen=True, eq=False)
class Flat:
    """(C, H, W) to (C*H*W, 1, 1)."""

    name: str
    source: int


@dataclass(frozen=True, eq=False)
class Pad:
    """Zeros around: left, right, top, bottom. Taken up by the convolutions that read it."""

    name: str
    source: int
    sides: tuple[int, int, int, int]


Op: TypeAlias = Image | Sum | Act | Pool | GlobalMean | Join | Grow | Flat | Pad


def sources_of(op: Op) -> tuple[int, ...]:
    """The values that an operation reads."""
    if isinstance(op, Image):
        return ()
    if isinstance(op, Sum):
        return tuple(part.term.source for part in op.parts)
    return op.sources if isinstance(op, Join) else (op.source,)


def reading(op: Op, old: int, new: int) -> Op:
    """The same operation, reading value `new` where it read `old`."""
    if isinstance(op, Image):
        return op
    if isinstance(op, Sum):
        return replace(
            op,
            parts=tuple(
                Part(replace(p.term, source=new), p.weights) if p.term.source == old else p for p in op.parts
            ),
        )
    if isinstance(op, Join):
        return replace(op, sources=tuple(new if s == old else s for s in op.sources))
    return replace(op, source=new if op.source == old else op.source)


@dataclass
class Graph:
    """Operations by the number of the value they make, sources before readers; value 0 is the image."""

    ops: dict[int, Op] = field(default_factory=dict)
    shapes: dict[int, Shape] = field(default_factory=dict)
    output: int = 0

    def add(self, op: Op, shape: Shape) -> int:
        """The number of the new value."""
        value = max(self.ops, default=-1) + 1
        self.ops[value], self.shapes[value] = op, shape
        return value

    def readers(self, value: int) -> list[int]:
        """The values made from `value`, each once."""
        return [made for made, op in self.ops.items() if value in sources_of(op)]

    def redirect(self, old: int, new: int, but: int | None = None) -> None:
        """All readers of `old` but one read `new`, as does the output."""
        for made, op in self.ops.items():
            if made != but and old in sources_of(op):
                self.ops[made] = reading(op, old, new)
        if self.output == old:
            self.output = new

    def tidy(self) -> None:
        """Drop what the output does not need; sources come before readers again."""
        order: dict[int, None] = {}
        stack = [(self.output, False)]
        while stack:
            value, done = stack.pop()
            if done:
                order[value] = None
            elif value not in order:
                stack.append((value, True))
                stack.extend((s, False) for s in reversed(sources_of(self.ops[value])) if s not in order)
        self.ops = {0: self.ops[0]} | {value: self.ops[value] for value in order}

    def pairs(self) -> Iterator[tuple[int, Op]]:
        """A copy of the items, so that the graph may change under the loop."""
        yield from list(self.ops.items())


def channel_scale(graph: Graph, source: int, factor: Real, shift: Real, name: str) -> int:
    """A new value: factor * source + shift, by channel."""
    op = Sum(name, (Part(Scale(source), factor),), shift)
    return graph.add(op, graph.shapes[source])


def out_scaled(part: Part, factor: Real) -> Part:
    """The part whose output channels are multiplied by `factor` (out,)."""
    w = part.weights
    if isinstance(part.term, ConvTranspose):
        return Part(part.term, w * factor[None, :, None, None])
    return Part(part.term, w * factor.reshape(-1, *[1] * (w.ndim - 1)))


def in_scaled(part: Part, factor: Real) -> Part:
    """The part whose input channels are multiplied by `factor` (in,)."""
    w, term = part.weights, part.term
    if isinstance(term, Conv):
        by_group = np.repeat(factor.reshape(term.groups, -1), term.out // term.groups, axis=0)
        return Part(term, w * by_group[:, :, None, None])
    if isinstance(term, ConvTranspose):
        return Part(term, w * factor[:, None, None, None])
    return Part(term, w * (factor if isinstance(term, Scale) else factor[None, :]))


__all__ = [
    "Act",
    "Conv",
    "ConvTranspose",
    "Dense",
    "Flat",
    "GlobalMean",
    "Graph",
    "Grow",
    "Image",
    "Join",
    "Op",
    "Pad",
    "Part",
    "Pool",
    "Real",
    "Scale",
    "Sum",
    "channel_scale",
    "in_scaled",
    "out_scaled",
    "reading",
    "sources_of",
    "unsupported",
]
