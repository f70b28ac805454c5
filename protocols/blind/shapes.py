"""Which layers fit together: the shape of every wire, and a clear refusal of what does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from protocols.blind.layers import (
    MAX_CLIP_BITS,
    MAX_HIGH_BITS,
    MAX_LOW_BITS,
    MAX_SOURCES,
    MAX_TERMS,
    MIN_LOW_BITS,
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
    Range,
    Scale,
    Shape,
    SumPool,
    Term,
    Upsample,
    made_range,
    max_pool_bits,
    refuse,
    require_integers,
    sources_of,
)

MAX_SIDE = 4096
MAX_CHANNELS = 1 << 16  # that an affine layer makes
MAX_KERNEL = 63
MAX_FACTOR = 64
MAX_ELEMENTS = 1 << 24  # of any one wire
MAX_TOTAL = 1 << 28  # of all wires together


def wire_shapes(input_shape: Shape, nodes: Sequence[Node], ring_bits: int) -> tuple[Shape, ...]:
    """The shape of every wire, the image first. Raises `ProtocolError` at the first layer that does not fit.

    Takes time and memory in proportion to the number of nodes, whatever they say.
    """
    if len(input_shape) != 3 or not all(type(n) is int for n in input_shape):
        raise refuse("the input shape must be (channels, height, width)")
    if min(input_shape) < 1 or prod(input_shape) > MAX_ELEMENTS or max(input_shape[1:]) > MAX_SIDE:
        raise refuse("the input shape is empty or too large")
    shapes, ranges, total = [input_shape], list[Range | None]([None]), prod(input_shape)
    for wire, node in enumerate(nodes, 1):
        require_integers(node)
        if not all(0 <= source < wire for source in sources_of(node)):
            raise refuse(f"node {wire - 1} reads a wire that is not made before it")
        shape = _shape(node, shapes, ranges, ring_bits)
        total += prod(shape)
        if prod(shape) > MAX_ELEMENTS or total > MAX_TOTAL:
            raise refuse(
                f"wire {wire} has more than {MAX_ELEMENTS} elements, or all have more than {MAX_TOTAL}"
            )
        shapes.append(shape)
        ranges.append(made_range(node, ranges))
    return tuple(shapes)


def weight_shape(term: Term, shapes: Sequence[Shape]) -> tuple[int, ...]:
    """The shape of a term's weights, given the shapes of all wires."""
    channels = shapes[term.source][0]
    if isinstance(term, Conv):
        return term.out, channels // term.groups, term.kernel, term.kernel
    if isinstance(term, ConvTranspose):
        return channels, term.out, term.kernel, term.kernel
    return (term.out, channels) if isinstance(term, Dense) else (channels,)


def _shape(node: Node, shapes: Sequence[Shape], ranges: Sequence[Range | None], ring_bits: int) -> Shape:
    if isinstance(node, Affine):
        made = {_term_shape(t, shapes) for t in node.terms}
        if not 1 <= len(node.terms) <= MAX_TERMS or len(made) != 1:
            raise refuse("an Affine has no term, too many, or terms of unequal shape")
        return made.pop()
    if isinstance(node, Concat):
        return _concat_shape(node, shapes)
    c, h, w = shapes[node.source]
    if isinstance(node, Clip):
        _check_clip(node, ring_bits)
        return c, h, w
    if isinstance(node, SumPool | MaxPool):
        if isinstance(node, MaxPool):
            _check_max_pool(node, ranges[node.source], ring_bits)
        return _pool_shape(node, (c, h, w))
    if isinstance(node, Upsample):
        if not 1 <= node.factor <= MAX_FACTOR or node.factor * max(h, w) > MAX_SIDE:
            raise refuse("an Upsample has a factor out of range")
        return c, h * node.factor, w * node.factor
    assert isinstance(node, GlobalSum | Flatten)
    return (c, 1, 1) if isinstance(node, GlobalSum) else (prod((c, h, w)), 1, 1)


def _term_shape(term: Term, shapes: Sequence[Shape]) -> Shape:
    c, h, w = shapes[term.source]
    if isinstance(term, Scale):
        return c, h, w
    if not 1 <= term.out <= MAX_CHANNELS:
        raise refuse("a layer has no output channel or too many")
    if isinstance(term, Dense):
        if (h, w) != (1, 1):
            raise refuse("a Dense term needs a flat wire; put a Flatten before it")
        return term.out, 1, 1
    if not (1 <= term.kernel <= MAX_KERNEL and 1 <= term.stride <= MAX_KERNEL):
        raise refuse("a convolution has a kernel or stride out of range")
    if not (0 <= term.padding < term.kernel and 0 <= term.trailing <= MAX_KERNEL):
        raise refuse("a convolution has padding out of range")
    if isinstance(term, Conv):
        if term.groups < 1 or c % term.groups or term.out % term.groups:
            raise refuse("the channels of a grouped Conv do not divide into its groups")
        extra = 2 * term.padding + term.trailing - term.kernel
        ho, wo = ((side + extra) // term.stride + 1 if side + extra >= 0 else 0 for side in (h, w))
    else:
        if term.trailing >= term.stride:
            raise refuse("a ConvTranspose keeps more trailing rows than its stride allows")
        extra = term.kernel - 2 * term.padding + term.trailing
        ho, wo = ((side - 1) * term.stride + extra for side in (h, w))
    if not (1 <= ho <= MAX_SIDE and 1 <= wo <= MAX_SIDE):
        raise refuse("a convolution does not fit its input")
    return term.out, ho, wo


def _concat_shape(node: Concat, shapes: Sequence[Shape]) -> Shape:
    parts = [shapes[s] for s in node.sources]
    if not 1 <= len(parts) <= MAX_SOURCES or len({p[1:] for p in parts}) != 1:
        raise refuse("a Concat has no source, too many, or sources of unequal height or width")
    return sum(p[0] for p in parts), parts[0][1], parts[0][2]


def _pool_shape(node: SumPool | MaxPool, shape: Shape) -> Shape:
    c, h, w = shape
    if not (1 <= node.kernel <= MAX_KERNEL and 1 <= node.stride <= MAX_KERNEL):
        raise refuse("a pooling has a kernel or stride out of range")
    if not 0 <= node.padding <= node.kernel // 2:
        raise refuse("a pooling has more padding than half its kernel")
    extra = 2 * node.padding - node.kernel
    if min(h, w) + extra < 0:
        raise refuse("a pooling does not fit its input")
    return c, (h + extra) // node.stride + 1, (w + extra) // node.stride + 1


def _check_clip(node: Clip, ring_bits: int) -> None:
    if not MIN_LOW_BITS <= node.low_bits <= MAX_LOW_BITS or not 1 <= node.high_bits <= MAX_HIGH_BITS:
        raise refuse(f"a Clip has low bits outside {MIN_LOW_BITS}..{MAX_LOW_BITS} or high bits outside 1..8")
    if node.low_bits + node.high_bits > MAX_CLIP_BITS:
        raise refuse(f"a Clip looks at more than {MAX_CLIP_BITS} bits")
    if node.low_bits + node.high_bits > ring_bits:
        raise refuse("a Clip looks at more bits than the ring has")
    if not -(1 << node.low_bits) < node.low <= 0:
        raise refuse("the range of a Clip does not hold 0")


def _check_max_pool(node: MaxPool, span: Range | None, ring_bits: int) -> None:
    if span is None:
        raise refuse("a MaxPool reads a wire that is not an activation; put a Clip before it")
    bits = max_pool_bits(span)
    if bits > MAX_LOW_BITS or bits + 1 > ring_bits:
        raise refuse("a MaxPool reads activations of too many bits")
    if node.padding and span[0] != 0:
        raise refuse("a MaxPool with padding reads activations that may be negative")
