"""The nodes of a topology: fields, bytes, ranges. `topology.py` says what they compute, `shapes.py` what fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from protocols.blind.bytesio import Reader, Writer
from protocols.errors import ProtocolError

Shape: TypeAlias = tuple[int, int, int]
MAX_TERMS = 8
MAX_SOURCES = 64
MIN_LOW_BITS, MAX_LOW_BITS, MAX_HIGH_BITS = 3, 10, 8
MAX_CLIP_BITS = 16  # both together: an index is dealt in two bytes


def refuse(why: str) -> ProtocolError:
    """The error for a topology or network that is none."""
    return ProtocolError(
        f"this is not a network that CrypDoc can run: {why}", "compile it again or choose another"
    )


@dataclass(frozen=True, slots=True)
class Conv:
    """Convolution of wire `source`, square kernel. Weights (out, in / groups, kernel, kernel).

    Zeros stand `padding` wide on all sides and `trailing` more at the bottom and on the right.
    """

    source: int
    out: int
    kernel: int
    stride: int = 1
    padding: int = 0
    trailing: int = 0
    groups: int = 1


@dataclass(frozen=True, slots=True)
class ConvTranspose:
    """Transposed convolution as torch defines it. Weights (in, out, kernel, kernel).

    Every input point adds its kernel to the output at `stride` times its place; `padding` is cut off on all
    sides, and `trailing` rows and columns are kept beyond the last (torch's output_padding).
    """

    source: int
    out: int
    kernel: int
    stride: int = 1
    padding: int = 0
    trailing: int = 0


@dataclass(frozen=True, slots=True)
class Dense:
    """Matrix times the flat wire `source`. Weights (out, in)."""

    source: int
    out: int


@dataclass(frozen=True, slots=True)
class Scale:
    """Wire `source` times one secret integer a channel: a skip connection. Weights (channels,)."""

    source: int


Term: TypeAlias = Conv | ConvTranspose | Dense | Scale


@dataclass(frozen=True, slots=True)
class Affine:
    """Sum of terms of equal shape, plus a secret bias a channel."""

    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Clip:
    """y = clip(round(v / 2^S), low, low + 2^low_bits - 1), S = K - low_bits - high_bits; reads any wire.

    low = 0 is a ReLU with a ceiling; low = -2^(low_bits - 1) brings a signed wire back to few bits. Exact
    while round(v / 2^S) - low lies in -2^(B-1)..2^(B-1)-1, B = low_bits + high_bits; `bounds.py` proves it.
    """

    source: int
    low_bits: int
    high_bits: int
    low: int = 0

    @property
    def high(self) -> int:
        """The largest value it gives."""
        return self.low + (1 << self.low_bits) - 1


@dataclass(frozen=True, slots=True)
class SumPool:
    """Sums of kernel x kernel blocks: average pooling, whose divisor the next weights take up."""

    source: int
    kernel: int = 2
    stride: int = 2
    padding: int = 0


@dataclass(frozen=True, slots=True)
class GlobalSum:
    """Sum over height and width."""

    source: int


@dataclass(frozen=True, slots=True)
class MaxPool:
    """Maximum of kernel x kernel blocks of an activation, along rows and then columns; padding is zeros."""

    source: int
    kernel: int = 2
    stride: int = 2
    padding: int = 0


@dataclass(frozen=True, slots=True)
class Concat:
    """Wires of equal height and width one after the other, along the channels."""

    sources: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Upsample:
    """Every element `factor` times along rows and columns (nearest neighbour)."""

    source: int
    factor: int = 2


@dataclass(frozen=True, slots=True)
class Flatten:
    """(C, H, W) to (C*H*W, 1, 1)."""

    source: int


Local: TypeAlias = SumPool | GlobalSum | Concat | Upsample | Flatten  # what each party evaluates by itself
Node: TypeAlias = Affine | Clip | MaxPool | Local

# The number a kind has on the wire, and the fields that follow it there, in order.
FIELDS: dict[type[Term] | type[Node], tuple[int, tuple[str, ...]]] = {
    Conv: (1, ("source", "out", "kernel", "stride", "padding", "trailing", "groups")),
    ConvTranspose: (2, ("source", "out", "kernel", "stride", "padding", "trailing")),
    Dense: (3, ("source", "out")),
    Scale: (4, ("source",)),
    Clip: (17, ("source", "low_bits", "high_bits", "low")),
    SumPool: (18, ("source", "kernel", "stride", "padding")),
    GlobalSum: (19, ("source",)),
    MaxPool: (20, ("source", "kernel", "stride", "padding")),
    Upsample: (22, ("source", "factor")),
    Flatten: (23, ("source",)),
}
AFFINE_CODE, CONCAT_CODE = 16, 21
BY_CODE = {code: (kind, fields) for kind, (code, fields) in FIELDS.items()}


def sources_of(node: Node) -> tuple[int, ...]:
    """The wires that a node reads, in order."""
    if isinstance(node, Affine):
        return tuple(term.source for term in node.terms)
    return node.sources if isinstance(node, Concat) else (node.source,)


def require_integers(node: Node | Term) -> None:
    """Raises `ProtocolError` unless every field is an int of 32 bits, and every term a term."""
    if isinstance(node, Affine | Concat):
        several: object = node.terms if isinstance(node, Affine) else node.sources
        if not isinstance(several, tuple):
            raise refuse("a layer's terms or sources are no tuple")
    if isinstance(node, Affine):
        if not all(isinstance(term, Conv | ConvTranspose | Dense | Scale) for term in node.terms):
            raise refuse("a term of an Affine is no Conv, ConvTranspose, Dense or Scale")
        for term in node.terms:
            require_integers(term)
        return
    if not isinstance(node, Concat) and type(node) not in FIELDS:
        raise refuse(f"it has a layer of the unknown kind {type(node).__name__}")
    values = node.sources if isinstance(node, Concat) else [getattr(node, f) for f in FIELDS[type(node)][1]]
    if not all(type(value) is int and -(1 << 31) <= value < 1 << 31 for value in values):
        raise refuse(f"a field of a {type(node).__name__} is no integer")


def write_node(w: Writer, node: Node | Term) -> None:
    """Append a layer in its canonical form: its code, then its fields in 32 bits, two's complement."""
    if isinstance(node, Affine):
        w.u8(AFFINE_CODE)
        w.u8(len(node.terms))
        for term in node.terms:
            write_node(w, term)
    elif isinstance(node, Concat):
        w.u8(CONCAT_CODE)
        w.u8(len(node.sources))
        for source in node.sources:
            w.u32(source)
    else:
        code, fields = FIELDS[type(node)]
        w.u8(code)
        for name in fields:
            w.u32(getattr(node, name) & 0xFFFFFFFF)


def _read_fields(r: Reader, code: int) -> Node | Term:
    if code not in BY_CODE:
        raise refuse(f"it has a layer of the unknown kind {code}")
    kind, fields = BY_CODE[code]
    values = [r.u32() for _ in fields]
    return kind(*(v - (1 << 32) if v >> 31 else v for v in values))  # type: ignore[arg-type]


def read_node(r: Reader) -> Node:
    """The layer that `write_node` wrote. Raises `ProtocolError`."""
    code = r.u8()
    if code == AFFINE_CODE:
        terms = tuple(_read_fields(r, r.u8()) for _ in range(r.u8()))
        if not all(isinstance(t, Conv | ConvTranspose | Dense | Scale) for t in terms):
            raise refuse("a term of an Affine is no Conv, ConvTranspose, Dense or Scale")
        return Affine(terms)  # type: ignore[arg-type]
    if code == CONCAT_CODE:
        return Concat(tuple(r.u32() for _ in range(r.u8())))
    node = _read_fields(r, code)
    if isinstance(node, Conv | ConvTranspose | Dense | Scale):
        raise refuse("a term stands outside an Affine")
    return node


Range: TypeAlias = tuple[int, int]


def made_range(node: Node, ranges: Sequence[Range | None]) -> Range | None:
    """The public range of the wire that `node` makes, from those of the wires before it; None: not public."""
    if isinstance(node, Clip):
        return node.low, node.high
    if isinstance(node, Concat):
        parts = [ranges[s] for s in node.sources]
        known = [p for p in parts if p is not None]
        if not parts or len(known) < len(parts):
            return None
        return min(p[0] for p in known), max(p[1] for p in known)
    if isinstance(node, MaxPool | Upsample | Flatten):
        return ranges[node.source]
    return None


@lru_cache(maxsize=16)
def _ranges(nodes: tuple[Node, ...]) -> tuple[Range | None, ...]:
    made: list[Range | None] = [None]
    for node in nodes:
        made.append(made_range(node, made))
    return tuple(made)


def range_of(source: int, nodes: Sequence[Node]) -> Range:
    """The lowest and highest value of an activation wire: public, since a `Clip` sets it.

    Refuses (`ProtocolError`) a wire that is not made by a `Clip`, or by `MaxPool`, `Concat`, `Upsample` or
    `Flatten` of such wires.
    """
    found = _ranges(tuple(nodes))[source] if 0 <= source <= len(nodes) else None
    if found is None:
        raise refuse("a MaxPool reads a wire that is not an activation; put a Clip before it")
    return found


def max_pool_bits(span: Range) -> int:
    """low_bits of the comparisons of a `MaxPool` over values of this range: 2^bits - 1 >= high - low."""
    return max(MIN_LOW_BITS, (span[1] - span[0]).bit_length())
