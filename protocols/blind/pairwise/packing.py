"""An affine term as products of polynomials, for encryption whose plain texts are polynomials mod X^N + 1 and 2^K.

The packing is that of Cheetah (Huang, Lu, Hong, Ding, USENIX Security 2022): no rotations, no slots. Every kind of
term is first arranged as a plain convolution, stride 1, no padding, of C channels to O with a kernel kh x kw:
    stride s: the s^2 phases of the padded image are channels of their own, and so are those of the kernel;
    transposed: each phase of the output is a channel, the image padded by ceil(k / s) - 1;
    dense: images of one point; scale, groups: blocks of weights that are zero by structure.
A tile of the image of B = th x tw points, halo included, ci channels of it, is one polynomial; the kernels of co
outputs for these are another, with co ci B <= N:
    x = sum X[c, i, j]    X^(c B + i tw + j)
    w = sum w[o, c, l, m] X^(T + o ci B - c B - l tw - m),     T = (ci - 1) B + (kh - 1) tw + kw - 1
In x w the term at T + o ci B + i tw + j is output (o, i, j) of these channels: (c' - c + (o' - o) ci) B + y = z with
0 <= y, z < B has the one solution c' = c, o' = o, y = z, and what wraps at N stays below it. Products of other
channels are added. Which products there are follows from the topology alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from protocols.blind.bytesio import IntArray
from protocols.blind.kernels.interface import Words
from protocols.blind.layers import Conv, ConvTranspose, Dense, Scale, Shape, Term

DEGREE = 8192
_CARRY, _PRODUCT, _KERNEL = (
    8.0,
    0.26,
    0.8,
)  # milliseconds, roughly: to carry one, to multiply one, to make a kernel


@dataclass(frozen=True, slots=True)
class _Plain:
    """The plain convolution that a term is: channels, outputs, sides of the arranged image, kernel, groups."""

    channels: int
    outputs: int
    high: int
    wide: int
    kernel: int
    groups: int


def _phases(term: Conv | ConvTranspose) -> int:
    """Phases along one side that hold a weight at all."""
    return min(term.stride, term.kernel)


def _short(term: Conv | ConvTranspose) -> int:
    """The side of one phase of the kernel."""
    return -(-term.kernel // term.stride)


def _plain(term: Term, shape: Shape) -> _Plain:
    c, h, w = shape
    if isinstance(term, Dense):
        return _Plain(c * h * w, term.out, 1, 1, 1, 1)
    if isinstance(term, Scale):
        return _Plain(c, c, h, w, 1, c)
    many, short = _phases(term) ** 2, _short(term)
    if isinstance(term, ConvTranspose):
        return _Plain(c, term.out * many, h + 2 * (short - 1), w + 2 * (short - 1), short, 1)
    more = 2 * term.padding + term.trailing - term.kernel
    high, wide = ((side + more) // term.stride + short for side in (h, w))
    return _Plain(c * many, term.out, high, wide, short, term.groups)


def _fitted(x: Words, high: int, wide: int) -> Words:
    """Cut or filled with zeros at the bottom and on the right."""
    x = x[:, :, :high, :wide]
    return np.pad(x, ((0, 0), (0, 0), (0, high - x.shape[2]), (0, wide - x.shape[3])))


@dataclass(frozen=True)
class Packing:
    """How one term is packed. tiles: the corners (row, column) of the outputs that each gives."""

    term: Term
    shape: Shape
    plain: _Plain
    rows: int  # outputs of a tile
    columns: int
    ci: int
    co: int

    # ---- what there is
    @property
    def tile(self) -> tuple[int, int]:
        """Sides of a tile, halo included."""
        return self.rows + self.plain.kernel - 1, self.columns + self.plain.kernel - 1

    @property
    def out_sides(self) -> tuple[int, int]:
        """Sides of the plain convolution's output."""
        return self.plain.high - self.plain.kernel + 1, self.plain.wide - self.plain.kernel + 1

    @property
    def tiles(self) -> list[tuple[int, int]]:
        high, wide = self.out_sides
        return [(i, j) for i in range(0, high, self.rows) for j in range(0, wide, self.columns)]

    @property
    def in_blocks(self) -> int:
        return -(-self.plain.channels // self.ci)

    @property
    def out_blocks(self) -> int:
        return -(-self.plain.outputs // self.co)

    def inputs_of(self, block: int) -> list[int]:
        """The blocks of channels that a block of outputs reads: all, unless there are groups."""
        p = self.plain
        out, into = p.outputs // p.groups, p.channels // p.groups
        last = min((block + 1) * self.co, p.outputs) - 1
        first, end = block * self.co // out * into, (last // out + 1) * into
        return list(range(first // self.ci, -(-end // self.ci)))

    @property
    def products(self) -> int:
        """Products of two polynomials, for one image."""
        return len(self.tiles) * sum(len(self.inputs_of(b)) for b in range(self.out_blocks))

    # ---- P
    def encode(self, x: Words) -> Iterator[Words]:
        """The polynomials (N,) of a wire (n, C, H, W): by image, tile and block of channels."""
        x = self._arranged(x)
        high, wide = self.tile
        for image in x:
            for i, j in self.tiles:
                part = image[:, i : i + high, j : j + wide]
                part = np.pad(part, ((0, 0), (0, high - part.shape[1]), (0, wide - part.shape[2])))
                for block in range(self.in_blocks):
                    made = np.zeros(DEGREE, np.uint32)
                    some = part[block * self.ci : (block + 1) * self.ci].reshape(-1)
                    made[: some.size] = some
                    yield made

    def _arranged(self, x: Words) -> Words:
        n, term, p = len(x), self.term, self.plain
        if isinstance(term, Dense):
            return x.reshape(n, -1, 1, 1)
        if isinstance(term, Scale):
            return x
        if isinstance(term, ConvTranspose):
            ends = (_short(term) - 1, _short(term) - 1)
            return np.pad(x, ((0, 0), (0, 0), ends, ends))
        ends, s = (term.padding, term.padding + term.trailing), term.stride
        x, phases = np.pad(x, ((0, 0), (0, 0), ends, ends)), range(_phases(term))
        parts = [_fitted(x[:, :, a::s, b::s], p.high, p.wide) for a in phases for b in phases]
        return np.stack(parts, 2).reshape(n, -1, p.high, p.wide)

    # ---- M
    def weights(self, w: IntArray) -> IntArray:
        """A term's weights, as `Network` shapes them, arranged: (outputs, channels of a group, kernel, kernel)."""
        term = self.term
        if isinstance(term, Dense | Scale):
            return w.reshape(len(w), -1, 1, 1).astype(np.int64)
        s, short, many = term.stride, _short(term), _phases(term)
        more = short * s - term.kernel
        w = np.pad(w.astype(np.int64), ((0, 0), (0, 0), (0, more), (0, more)))
        phases = [w[:, :, a::s, b::s] for a in range(many) for b in range(many)]
        if isinstance(term, Conv):
            return np.stack(phases, 2).reshape(len(w), -1, short, short)
        turned = np.stack(phases, 2)[..., ::-1, ::-1]  # (in, out, phases, short, short)
        return turned.transpose(1, 2, 0, 3, 4).reshape(-1, len(w), short, short)

    def kernel(self, weights: IntArray, out_block: int, in_block: int) -> IntArray:
        """The polynomial (N,), signed, of `weights` for one block of outputs and one of channels."""
        p, (high, wide) = self.plain, self.tile
        size, made = high * wide, np.zeros(DEGREE, np.int64)
        into, out = p.channels // p.groups, p.outputs // p.groups
        start = (self.ci - 1) * size + (p.kernel - 1) * wide + p.kernel - 1
        taps = np.add.outer(np.arange(p.kernel) * wide, np.arange(p.kernel))
        first = in_block * self.ci
        for o in range(out_block * self.co, min((out_block + 1) * self.co, p.outputs)):
            group = o // out
            low, end = max(first, group * into), min(first + self.ci, (group + 1) * into, p.channels)
            if low >= end:
                continue
            at = start + (o - out_block * self.co) * self.ci * size
            places = at - (np.arange(low - first, end - first) * size)[:, None, None] - taps
            made[places] = weights[o, low - group * into : end - group * into]
        return made

    # ---- both
    def places(self, out_block: int) -> IntArray:
        """Where the outputs of a block lie in a product: (outputs, rows, columns)."""
        p, (high, wide) = self.plain, self.tile
        count = min(self.co, p.outputs - out_block * self.co)
        start = (self.ci - 1) * high * wide + (p.kernel - 1) * wide + p.kernel - 1
        rows = np.add.outer(np.arange(self.rows) * wide, np.arange(self.columns))
        return (start + np.arange(count) * self.ci * high * wide)[:, None, None] + rows

    def decode(self, parts: Iterator[Words], n: int) -> Words:
        """parts: by image, tile and block of outputs, what stood at `places`. The term's value (n, C, H, W)."""
        high, wide = self.out_sides
        made = np.zeros((n, self.plain.outputs, high, wide), np.uint32)
        for image in made:
            for i, j in self.tiles:
                for block in range(self.out_blocks):
                    room = image[
                        block * self.co : (block + 1) * self.co, i : i + self.rows, j : j + self.columns
                    ]
                    room[:] = next(parts)[:, : room.shape[1], : room.shape[2]]
        return self._restored(made)

    def _restored(self, made: Words) -> Words:
        """The plain output, (n, outputs, ...), as the term's."""
        term = self.term
        if not isinstance(term, ConvTranspose):
            return made
        n, _, high, wide = made.shape
        _, h, w = self.shape
        s, many, p = term.stride, _phases(term), term.padding
        rows, columns = ((side - 1) * s + term.kernel + term.trailing for side in (h, w))
        full = np.zeros((n, term.out, max(rows, high * s), max(columns, wide * s)), np.uint32)
        parts = made.reshape(n, term.out, many, many, high, wide)
        for a in range(many):
            for b in range(many):
                full[:, :, a : a + high * s : s, b : b + wide * s : s] = parts[:, :, a, b]
        return full[:, :, p : rows - p, p : columns - p]


def _candidates(side: int) -> list[int]:
    """Outputs of a tile along one side: all, halves, thirds, ..."""
    return sorted({-(-side // parts) for parts in range(1, side + 1)}, reverse=True)


@lru_cache(maxsize=512)
def pack(term: Term, shape: Shape) -> Packing:
    """The packing of a term on wires of `shape` that costs least, by a rough count. The same for both sides."""
    plain = _plain(term, shape)
    best: tuple[float, Packing] | None = None
    high, wide = plain.high - plain.kernel + 1, plain.wide - plain.kernel + 1
    for rows in _candidates(high):
        for columns in _candidates(wide):
            size = (rows + plain.kernel - 1) * (columns + plain.kernel - 1)
            if size > DEGREE or (best is not None and 8 * size < DEGREE and rows < high):
                continue
            room = min(DEGREE // size, plain.channels)
            for ci in sorted({room, *(1 << i for i in range(14) if 1 << i < room)}):
                found = Packing(
                    term, shape, plain, rows, columns, ci, min(DEGREE // (size * ci), plain.outputs)
                )
                tiles = -(-high // rows) * -(-wide // columns)
                cost = tiles * (found.in_blocks + found.out_blocks) * _CARRY
                cost += found.products * (_PRODUCT + _KERNEL / tiles)  # a kernel serves all tiles
                if best is None or cost < best[0]:
                    best = cost, found
    assert best is not None  # a tile of one output fits: kernels are far smaller than the degree
    return best[1]
