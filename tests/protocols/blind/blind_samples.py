"""Small networks with every kind of layer, weights that take nearly all of their proved range, hostile images."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from protocols.blind.bounds import clip_range, logit_range, node_interval, term_interval
from protocols.blind.bytesio import IntArray
from protocols.blind.kernels import Kernels, PortableKernels
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
    Scale,
    SumPool,
    Upsample,
    sources_of,
)
from protocols.blind.local import Seeds
from protocols.blind.network import Network, bias_shapes, weight_shapes
from protocols.blind.topology import Shape, Topology


def draw(what: str) -> bytes:
    """32 bytes that a text names: tests repeat."""
    return hashlib.sha256(what.encode()).digest()


def seeds(number: int) -> Seeds:
    """Three seeds from one number."""
    return Seeds(*(draw(f"{number}/{i}") for i in range(3)))


def session(number: int) -> bytes:
    return draw(f"session {number}")


def tape_of(name: bytes) -> bytes:
    """The tape that `local.make_parties` takes for a session."""
    return bytes(b ^ 0x55 for b in name)


def every_kernels() -> dict[str, Kernels]:
    """The portable kernels, and every level of the native ones that was built and that this processor has."""
    made: dict[str, Kernels] = {"portable": PortableKernels()}
    try:
        from protocols.blind.kernels import native
    except ImportError:
        return made
    return made | {level: native.NativeKernels(level) for level in native.levels()}


def topology(nodes: tuple[Node, ...], shape: Shape, k: int, **more: object) -> Topology:
    return Topology(shape, nodes, ring_bits=k, **more)  # type: ignore[arg-type]


def _room(top: Topology, wire: int) -> float:
    """How far from 0 a wire may go: what its readers allow, and for the last one what opens."""
    room = float(1 << (top.ring_bits - 1))
    if wire == len(top.nodes):
        low, high = logit_range(top)
        two = bool(top.thresholds) and top.output_shape[0] == 2  # their difference must open too
        room = min(room, min(-low, high) / (1 + two))
    for place, node in enumerate(top.nodes):
        if wire not in sources_of(node) or isinstance(node, Affine):
            continue
        if isinstance(node, Clip):
            low, high = clip_range(top, node)
            room = min(room, -low, high)
        else:
            _, h, w = top.shapes[wire]
            factor = node.kernel**2 if isinstance(node, SumPool) else h * w
            room = min(room, _room(top, place + 1) / (factor if isinstance(node, SumPool | GlobalSum) else 1))
    return room


def _affine(
    rng: np.random.Generator, room: float, node: Affine, shapes: tuple[tuple[int, ...], ...], wires: list
) -> list[IntArray]:
    """Weights whose worst case takes all of `room`, channel by channel."""
    made = []
    for term, shape in zip(node.terms, shapes, strict=True):
        w = rng.normal(0.15, 1.0, shape)
        outputs = np.swapaxes(w, 0, 1) if isinstance(term, ConvTranspose) else w
        if len(outputs) > 1:
            outputs[0] = np.abs(outputs[0])  # a white image takes this channel to its worst case
        low, high = term_interval(term, w, tuple(end.astype(np.float64) for end in wires[term.source]))  # type: ignore[arg-type]
        reach = np.maximum(np.abs(low), np.abs(high)) + 1e-9
        scale = 0.98 * room / len(node.terms) / reach
        ends = (1, -1, 1, 1) if isinstance(term, ConvTranspose) else (-1,) + (1,) * (len(shape) - 1)
        made.append(np.clip(np.trunc(w * scale.reshape(ends)), -32767, 32767).astype(np.int64))
    return made


def fill(top: Topology, number: int, use: float = 0.95) -> Network:
    """Random weights whose worst case takes `use` of the safe range: lively, and proved while use < 1."""
    rng = np.random.default_rng(number)
    channels = top.input_shape[0]
    wires = [(np.full(channels, top.input_low), np.full(channels, top.input_high))]
    weights: list[list[IntArray]] = []
    biases: list[IntArray] = []
    shapes = iter(zip(weight_shapes(top), bias_shapes(top), strict=True))
    for place, node in enumerate(top.nodes):
        if not isinstance(node, Affine):
            wires.append(node_interval(top, node, wires))
            continue
        room = use * _room(top, place + 1)
        per_term, bias = next(shapes)
        layer = _affine(rng, room, node, per_term, wires)
        small = max(1, int(room * 0.01))
        offset = rng.integers(-small, small + 1, bias)
        parts = [term_interval(t, w, wires[t.source]) for t, w in zip(node.terms, layer, strict=True)]
        wires.append((sum(p[0] for p in parts) + offset, sum(p[1] for p in parts) + offset))
        weights.append(layer)
        biases.append(offset)
    return Network(top, weights, biases, draw(str(number)))


def tiny(k: int = 14, low_bits: int = 4, high_bits: int = 2, **more: object) -> Topology:
    """One convolution, one clip, one logit."""
    nodes = (Affine((Conv(0, 2, 3, 2, 1),)), Clip(1, low_bits, high_bits), Flatten(2), Affine((Dense(3, 1),)))
    return topology(nodes, (1, 4, 4), k, **({"thresholds": (3, 40, 900)} | more))


def lenet(side: int, k: int = 24, **more: object) -> Topology:
    """LeNet with average pooling on 3 x side x side, one logit."""
    nodes = (
        Affine((Conv(0, 6, 5),)),
        Clip(1, 7, 3),
        SumPool(2),
        Affine((Conv(3, 16, 5),)),
        Clip(4, 7, 3),
        SumPool(5),
        Flatten(6),
        Affine((Dense(7, 40),)),
        Clip(8, 7, 3),
        Affine((Dense(9, 1),)),
    )
    return topology(nodes, (3, side, side), k, **({"thresholds": (200, 800, 2000)} | more))


def residual() -> Topology:
    """Skips into signed sums, a linear bottleneck, two logits."""
    nodes = (
        Affine((Conv(0, 4, 3, 1, 1),)),
        Clip(1, 4, 3),
        Affine((Conv(2, 4, 3, 1, 1),)),
        Clip(3, 5, 3, -16),
        Affine((Conv(4, 4, 3, 1, 1), Scale(2))),
        Clip(5, 5, 2, -16),
        Affine((Scale(4), Scale(6))),
        Clip(7, 5, 2),
        GlobalSum(8),
        Flatten(9),
        Affine((Dense(10, 2),)),
    )
    return topology(nodes, (2, 7, 7), 22, thresholds=(50, 400, 2000))


def grouped() -> Topology:
    """Groups, depthwise, stride, trailing padding; a clip of a clip."""
    nodes = (
        Affine((Conv(0, 4, 3, 2, 0, 1, 2),)),
        Clip(1, 6, 2),
        Affine((Conv(2, 8, 3, 1, 1, 0, 4),)),
        Clip(3, 6, 4),
        Clip(4, 6, 8, -3),
        Affine((Conv(5, 3, 2, 2, 1, 1),)),
    )
    return topology(nodes, (4, 9, 8), 15)


def max_pooled() -> Topology:
    """Maxima with and without padding, of signed values, and of joined ones."""
    nodes = (
        Affine((Conv(0, 3, 3),)),
        Clip(1, 7, 2),
        MaxPool(2, 3, 2, 1),
        MaxPool(3),
        Affine((Conv(4, 2, 1),)),
        Clip(5, 5, 2, -20),
        Concat((6, 4)),
        MaxPool(7, 3, 1),
        Flatten(8),
        Affine((Dense(9, 1),)),
    )
    return topology(nodes, (1, 15, 13), 20, thresholds=(50, 400, 2000))


def segmenter() -> Topology:
    """Down and up again: transposed convolution, nearest upsampling, joins; a logit a pixel."""
    nodes = (
        Affine((Conv(0, 3, 3, 1, 1),)),
        Clip(1, 5, 2),
        SumPool(2, 3, 2, 1),
        Affine((Conv(3, 4, 3, 1, 1),)),
        Clip(4, 5, 3),
        Affine((ConvTranspose(5, 2, 3, 2, 1, 1),)),
        Clip(6, 5, 2),
        Upsample(5, 2),
        Concat((2, 7, 8)),
        Affine((Conv(9, 2, 1), ConvTranspose(9, 2, 3, 1, 1))),
    )
    return topology(nodes, (1, 6, 8), 20)


def bare() -> Topology:
    """No clip at all; the least ring."""
    return topology((Affine((Conv(0, 3, 2),)),), (1, 3, 3), 8, input_low=0, input_high=1)


def clipped_image() -> Topology:
    """A clip of the image itself (S = 0), sums of an accumulator, K = B."""
    nodes = (
        Clip(0, 3, 8, -5),
        Affine((Conv(1, 2, 2),)),
        SumPool(2, 2, 1),
        Clip(3, 4, 4),
        GlobalSum(4),
        Flatten(5),
        Affine((Dense(6, 2),)),
    )
    return topology(nodes, (1, 5, 5), 11, thresholds=(2, 20, 300))


def every_topology() -> dict[str, Topology]:
    return {
        "tiny": tiny(),
        "tiny, wide ring": tiny(24, 9, 7),
        "tiny, small tables": tiny(19, 3, 1),
        "residual": residual(),
        "grouped": grouped(),
        "max pooled": max_pooled(),
        "segmenter": segmenter(),
        "clipped image": clipped_image(),
        "bare": bare(),
        "lenet": lenet(32),
    }


def images(shape: Shape, number: int) -> dict[str, NDArray[np.int8]]:
    """Random images and the extremes that make accumulators largest."""
    rng = np.random.default_rng(number)
    board = np.indices(shape).sum(0) % 2
    rows = np.indices(shape)[1] % 2
    return {
        "random": rng.integers(-128, 128, shape).astype(np.int8),
        "smooth": np.clip(np.cumsum(rng.normal(0, 9, shape), 2), -128, 127).astype(np.int8),
        "white": np.full(shape, 127, np.int8),
        "black": np.full(shape, -128, np.int8),
        "zero": np.zeros(shape, np.int8),
        "board": np.where(board == 0, 127, -128).astype(np.int8),
        "other board": np.where(board == 0, -128, 127).astype(np.int8),
        "rows": np.where(rows == 0, 127, -128).astype(np.int8),
        "extremes": rng.choice(np.array([-128, 127], np.int8), shape),
    }


def image(top: Topology, kind: str, number: int = 1) -> NDArray[np.int8]:
    """One of `images` as a batch of one."""
    return images(top.input_shape, number)[kind][None]
