"""Small networks of every kind of node, with weights that pass the proof, for the engines' tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
    Term,
    Upsample,
)
from protocols.blind.network import Network, weight_shapes
from protocols.blind.topology import Topology


def _highest(topology: Topology) -> list[int]:
    """The largest magnitude of every wire that an affine layer may read."""
    made = [128]
    for node in topology.nodes:
        made.append(_high(topology, node, made))
    return made


def _high(topology: Topology, node: Node, made: list[int]) -> int:
    if isinstance(node, Clip):
        return max(abs(node.low), node.high)
    if isinstance(node, SumPool):
        return made[node.source] * node.kernel**2
    if isinstance(node, GlobalSum):
        _, h, w = topology.shapes[node.source]
        return made[node.source] * h * w
    if isinstance(node, Concat):
        return max(made[source] for source in node.sources)
    return 1 << (topology.ring_bits - 1) if isinstance(node, Affine) else made[node.source]


def random_network(topology: Topology, seed: int = 0) -> Network:
    """Random weights, as large as the worst case allows, with a tenth to spare."""
    rng, highest = np.random.default_rng(seed), _highest(topology)
    affine = [node for node in topology.nodes if isinstance(node, Affine)]
    weights, biases = [], []
    for node, shapes in zip(affine, weight_shapes(topology), strict=True):
        room = 0.4 * 2**topology.ring_bits / len(node.terms)
        made = []
        for term, shape in zip(node.terms, shapes, strict=True):
            real = rng.standard_normal(shape)
            inputs = _inputs(term, real)
            step = room / (inputs * highest[term.source])
            made.append(np.clip(np.rint(real * step), -32767, 32767).astype(np.int64))
        weights.append(tuple(made))
        out = topology.shapes[topology.nodes.index(node) + 1][0]
        biases.append(rng.integers(-(1 << 12), 1 << 12, out))
    return Network(topology, weights, biases, bytes(32))


def _inputs(term: Term, real: NDArray[np.float64]) -> float:
    """The largest sum of magnitudes that one output adds up."""
    axes = {Conv: (1, 2, 3), ConvTranspose: (0, 2, 3), Dense: (1,), Scale: ()}[type(term)]
    return float(np.abs(real).sum(axis=axes).max())


def images(topology: Topology, n: int, seed: int = 1) -> NDArray[np.int8]:
    rng = np.random.default_rng(seed)
    shape = (n, *topology.input_shape)
    return rng.integers(topology.input_low, topology.input_high, shape, endpoint=True).astype(np.int8)


def lenet(side: int = 20, pool: type[MaxPool] | type[SumPool] = MaxPool, low: int = -128) -> Network:
    """Two convolutions with pooling, two dense layers, three thresholds."""
    nodes: tuple[Node, ...] = (
        Affine((Conv(0, 4, 5),)),
        Clip(1, 8, 4),
        pool(2),
        Affine((Conv(3, 6, 3),)),
        Clip(4, 8, 4),
        pool(5),
        Flatten(6),
        Affine((Dense(7, 10),)),
        Clip(8, 8, 4),
        Affine((Dense(9, 1),)),
    )
    topology = Topology((1, side, side), nodes, 22, low, logit_scale=0.01, thresholds=(10, 200, 900))
    return random_network(topology)


def every_kind() -> Network:
    """One of each: grouped, strided and unevenly padded convolution, skip, signed clip, both poolings with padding,
    transposed convolution, concatenation of unlike units, upsampling, global sum."""
    nodes: tuple[Node, ...] = (
        Affine((Conv(0, 6, 3, 2, 1, trailing=1),)),  # 1
        Clip(1, 8, 5),  # 2
        MaxPool(2, 3, 2, 1),  # 3
        Affine((Conv(3, 6, 3, 1, 1, groups=6),)),  # 4
        Clip(4, 7, 5),  # 5
        Affine((Conv(5, 6, 1), Scale(3))),  # 6
        Clip(6, 8, 5, low=-128),  # 7
        Upsample(7),  # 8
        Affine((ConvTranspose(7, 6, 2, 2),)),  # 9
        Clip(9, 8, 5),  # 10
        Concat((5, 3)),  # 11
        SumPool(11, 3, 2, 1),  # 12
        Concat((8, 10)),  # 13
        Affine((Conv(13, 5, 3, 2, 1), Conv(11, 5, 1))),  # 14
        Clip(14, 8, 5),  # 15
        Clip(12, 8, 4),  # 16
        GlobalSum(15),  # 17
        GlobalSum(16),  # 18
        Concat((17, 18)),  # 19
        Affine((Scale(19),)),  # 20
        Clip(20, 8, 6),  # 21
        Affine((Dense(21, 3),)),  # 22
    )
    return random_network(Topology((2, 16, 16), nodes, 24, logit_scale=0.02))


def resnet18(width: int = 16, side: int = 32) -> Network:
    """ResNet18's shape with fewer channels: max pooling 3/2/1 with padding, eight blocks with skips."""
    nodes: list[Node] = [Affine((Conv(0, width, 7, 2, 3),)), Clip(1, 8, 5), MaxPool(2, 3, 2, 1)]
    wire, channels = 3, width
    for out, stride in ((1, 1), (1, 1), (2, 2), (2, 1), (4, 2), (4, 1), (8, 2), (8, 1)):
        out *= width
        skip = Scale(wire) if stride == 1 and out == channels else Conv(wire, out, 1, stride)
        nodes += [
            Affine((Conv(wire, out, 3, stride, 1),)),
            Clip(wire + 1, 8, 5),
            Affine((Conv(wire + 2, out, 3, 1, 1), skip)),
            Clip(wire + 3, 8, 5),
        ]
        wire, channels = wire + 4, out
    nodes += [GlobalSum(wire), Affine((Dense(wire + 1, 2),))]
    return random_network(Topology((3, side, side), tuple(nodes), 24, logit_scale=0.01))
