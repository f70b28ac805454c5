"""The nodes of a topology: fields, shapes, bytes. `topology.py` says what they compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

from protocols.blind.bytesio import Reader, Writer
from protocols.errors import ProtocolError

Shape: TypeAlias = tuple[int, int, int]
MAX_TERMS = 8
MAX_SIDE = 4096


def refuse(why: str) -> ProtocolError:
    return ProtocolError(
        f"this is not a network that CrypDoc can run: {why}", "quantise it again or choose another"
    )


@dataclass(frozen=True, slots=True)
class Conv:
    """Convolution of wire `source`, square kernel, zero padding. Weights (out, in, kernel, kernel)."""

    source: int
    out: int
    kernel: int
    stride: int = 1
    padding: int = 0


@dataclass(frozen=True, slots=True)
class Dense:
    """Matrix times the flat wire `source`. Weights (out, in)."""

    source: int
    out: int


@dataclass(frozen=True, slots=True)
class Scale:
    """Wire `source` times one secret integer a channel: a skip connection. Weights (channels,)."""

    source: int


Term: TypeAlias = Conv | Dense | Scale


@dataclass(frozen=True, slots=True)
class Affine:
    """Sum of terms of equal shape, plus a secret bias a channel."""

    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Relu:
    """clip(round(accumulator / 2^(K - bits)), 0, cap), 1 <= cap < 2^(bits - 1).

    bits = 0 takes the topology's `table_bits`.
    """

    source: int
    cap: int
    bits: int = 0


@dataclass(frozen=True, slots=True)
class SumPool:
    """Sums of 2x2 blocks, stride 2; an odd last row or column is dropped."""

    source: int


@dataclass(frozen=True, slots=True)
class GlobalSum:
    """Sum over height and width."""

    source: int


@dataclass(frozen=True, slots=True)
class MaxPool:
    """Maximum of 2x2 blocks, stride 2, of an activation; an odd last row or column is dropped."""

    source: int


@dataclass(frozen=True, slots=True)
class Flatten:
    """(C, H, W) to (C*H*W, 1, 1)."""

    source: int


Node: TypeAlias = Affine | Relu | SumPool | GlobalSum | MaxPool | Flatten

# The number a kind has on the wire, and the fields that follow it there, in order.
FIELDS: dict[type[Term] | type[Node], tuple[int, tuple[str, ...]]] = {
    Conv: (1, ("source", "out", "kernel", "stride", "padding")),
    Dense: (2, ("source", "out")),
    Scale: (3, ("source",)),
    Relu: (17, ("source", "cap", "bits")),
    SumPool: (18, ("source",)),
    GlobalSum: (19, ("source",)),
    MaxPool: (20, ("source",)),
    Flatten: (21, ("source",)),
}
AFFINE_CODE = 16
BY_CODE = {code: (kind, fields) for kind, (code, fields) in FIELDS.items()}


def write_node(w: Writer, node: Node | Term) -> None:
    """Append a layer in its canonical form."""
    if isinstance(node, Affine):
        w.u8(AFFINE_CODE)
        w.u8(len(node.terms))
        for term in node.terms:
            write_node(w, term)
        return
    code, fields = FIELDS[type(node)]
    w.u8(code)
    for name in fields:
        w.u32(getattr(node, name))


def _read_fields(r: Reader, code: int) -> Node | Term:
    if code not in BY_CODE:
        raise refuse(f"it has a layer of the unknown kind {code}")
    kind, fields = BY_CODE[code]
    return kind(*(r.u32() for _ in fields))  # type: ignore[arg-type]


def read_node(r: Reader) -> Node:
    """The layer that `write_node` wrote. Raises `ProtocolError`."""
    code = r.u8()
    if code == AFFINE_CODE:
        terms = tuple(_read_fields(r, r.u8()) for _ in range(r.u8()))
        if not all(isinstance(t, Conv | Dense | Scale) for t in terms):
            raise refuse("a term of an Affine is no Conv, Dense or Scale")
        return Affine(terms)  # type: ignore[arg-type]
    node = _read_fields(r, code)
    if isinstance(node, Conv | Dense | Scale):
        raise refuse("a term stands outside an Affine")
    return node


def _source(shapes: Sequence[Shape], source: int) -> Shape:
    if not 0 <= source < len(shapes):
        raise refuse(f"a layer reads wire {source}, which is not made before it")
    return shapes[source]


def _term_shape(term: Term, shapes: Sequence[Shape]) -> Shape:
    c, h, w = _source(shapes, term.source)
    if isinstance(term, Scale):
        return c, h, w
    if not 1 <= term.out <= MAX_SIDE * 16:
        raise refuse("a layer has no output channel or too many")
    if isinstance(term, Dense):
        if (h, w) != (1, 1):
            raise refuse("a Dense term needs a flat wire; put a Flatten before it")
        return term.out, 1, 1
    if not 1 <= term.kernel <= 31 or not 1 <= term.stride <= 31 or not 0 <= term.padding < term.kernel:
        raise refuse("a Conv has a kernel, stride or padding out of range")
    ho = (h + 2 * term.padding - term.kernel) // term.stride + 1
    wo = (w + 2 * term.padding - term.kernel) // term.stride + 1
    if h + 2 * term.padding < term.kernel or w + 2 * term.padding < term.kernel or max(h, w) > MAX_SIDE:
        raise refuse("a Conv does not fit its input")
    return term.out, ho, wo


def weight_shape(term: Term, shapes: Sequence[Shape]) -> tuple[int, ...]:
    """The shape of a term's weights, given the shapes of all wires."""
    channels = shapes[term.source][0]
    if isinstance(term, Conv):
        return term.out, channels, term.kernel, term.kernel
    if isinstance(term, Dense):
        return term.out, channels
    return (channels,)


def _relu_shape(node: Relu, shapes: Sequence[Shape], nodes: Sequence[Node], k: int, b: int) -> Shape:
    bits = node.bits or b
    if not 4 <= bits <= 12 or bits >= k or not 1 <= node.cap < 1 << (bits - 1):
        raise refuse("a Relu has bits outside 4..12 or not below K, or a cap outside 1..2^(bits - 1) - 1")
    shape = _source(shapes, node.source)
    if node.source == 0 or not isinstance(nodes[node.source - 1], Affine):
        raise refuse("a Relu must read an Affine")
    return shape


def cap_of(source: int, nodes: Sequence[Node]) -> int:
    """The largest value of an activation wire; refuses a wire that is not one."""
    node = nodes[source - 1] if source > 0 else None
    if isinstance(node, MaxPool):
        return cap_of(node.source, nodes)
    if not isinstance(node, Relu):
        raise refuse("a MaxPool must read a Relu or another MaxPool")
    return node.cap


def shape_of(node: Node, shapes: Sequence[Shape], nodes: Sequence[Node], k: int, b: int) -> Shape:
    """The shape of the wire that `node` makes of the wires before it; `ProtocolError` where it cannot."""
    if isinstance(node, Affine):
        made = {_term_shape(t, shapes) for t in node.terms}
        if not 1 <= len(node.terms) <= MAX_TERMS or len(made) != 1:
            raise refuse("an Affine has no term, too many, or terms of unequal shape")
        return made.pop()
    if isinstance(node, Relu):
        return _relu_shape(node, shapes, nodes, k, b)
    c, h, w = _source(shapes, node.source)
    if isinstance(node, Flatten):
        return prod((c, h, w)), 1, 1
    if isinstance(node, GlobalSum):
        return c, 1, 1
    if h < 2 or w < 2:
        raise refuse("a 2x2 pooling needs two rows and two columns")
    if isinstance(node, MaxPool) and pool_bits(cap_of(node.source, nodes)) > min(12, k):
        raise refuse("a MaxPool reads activations too large for a table")
    return c, h // 2, w // 2


def pool_bits(cap: int) -> int:
    """Table bits b for the difference of two activations in 0..cap: cap - 2^(b-1) <= -cap."""
    return max(4, (2 * cap - 1).bit_length() + 1)
