"""Small networks of every kind of layer, with weights that are proved not to wrap, and hostile images."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from protocols.blind.bounds import logit_range, relu_range
from protocols.blind.layers import (
    Affine,
    Conv,
    Dense,
    Flatten,
    GlobalSum,
    MaxPool,
    Node,
    Relu,
    Scale,
    SumPool,
)
from protocols.blind.local import Seeds
from protocols.blind.network import Network, bias_shapes, weight_shapes
from protocols.blind.topology import Topology


def seeds(number: int) -> Seeds:
    """Three seeds from one number: tests repeat."""
    return Seeds(*(hashlib.sha256(f"{number}/{i}".encode()).digest() for i in range(3)))


def session(number: int) -> bytes:
    return hashlib.sha256(f"session {number}".encode()).digest()


def topology(
    nodes: tuple[Node, ...], shape: tuple[int, int, int], k: int, b: int, **more: object
) -> Topology:
    return Topology(shape, nodes, ring_bits=k, table_bits=b, **more)  # type: ignore[arg-type]


def _largest(top: Topology) -> list[int]:
    """The largest magnitude on every wire that an affine layer may read."""
    made = [128]
    for i, node in enumerate(top.nodes):
        if isinstance(node, Affine):
            made.append(0)
        elif isinstance(node, Relu):
            made.append(node.cap)
        else:
            _, h, w = top.shapes[i]
            factor = {SumPool: 4, GlobalSum: h * w}.get(type(node), 1)
            made.append(made[node.source] * factor)
    return made


def fill(top: Topology, number: int, use: float = 0.95) -> Network:
    """Random weights whose worst case takes `use` of the safe range: lively, and proved when use < 1."""
    rng = np.random.default_rng(number)
    largest = _largest(top)
    weights, biases = [], []
    shapes = iter(zip(weight_shapes(top), bias_shapes(top), strict=True))
    for i, node in enumerate(top.nodes):
        if not isinstance(node, Affine):
            continue
        reader = next((n for n in top.nodes if isinstance(n, Relu) and n.source == i + 1), None)
        low, high = relu_range(top, reader) if reader else logit_range(top)
        room = use * min(-low, high) / len(node.terms) / (1 if reader else 2)  # logits may be subtracted
        per_term, bias = next(shapes)
        layer = []
        for term, shape in zip(node.terms, per_term, strict=True):
            w = rng.normal(0.15, 1.0, shape)
            reach = np.abs(w.reshape(shape[0], -1)).sum(1) * largest[term.source]
            scale = (room * 0.98 / reach).reshape(-1, *(1 for _ in shape[1:]))
            layer.append(np.trunc(w * scale).astype(np.int64))
        weights.append(layer)
        biases.append(rng.integers(-int(room * 0.01) - 1, int(room * 0.01) + 2, bias))
    return Network(top, weights, biases, hashlib.sha256(str(number).encode()).digest())


def lenet(side: int, k: int = 22, b: int = 10, cap: int = 127, **more: object) -> Topology:
    """LeNet with average pooling on 3 x side x side, one logit."""
    nodes = (
        Affine((Conv(0, 6, 5),)),
        Relu(1, cap),
        SumPool(2),
        Affine((Conv(3, 16, 5),)),
        Relu(4, cap),
        SumPool(5),
        Flatten(6),
        Affine((Dense(7, 120),)),
        Relu(8, cap),
        Affine((Dense(9, 84),)),
        Relu(10, cap),
        Affine((Dense(11, 1),)),
    )
    return topology(nodes, (3, side, side), k, b, **({"thresholds": (200, 800, 2000)} | more))


def tiny(k: int = 14, b: int = 6, cap: int = 7, **more: object) -> Topology:
    nodes = (
        Affine((Conv(0, 2, 3, 2, 1),)),
        Relu(1, cap),
        Flatten(2),
        Affine((Dense(3, 1),)),
    )
    return topology(nodes, (1, 4, 4), k, b, **({"thresholds": (3, 40, 900)} | more))


def residual() -> Topology:
    nodes = (
        Affine((Conv(0, 4, 3, 1, 1),)),
        Relu(1, 15),
        Affine((Conv(2, 4, 3, 1, 1),)),
        Relu(3, 30, 9),
        Affine((Conv(4, 4, 3, 1, 1), Scale(2))),
        Relu(5, 15),
        GlobalSum(6),
        Affine((Dense(7, 2),)),
    )
    return topology(nodes, (2, 7, 7), 20, 8, thresholds=(50, 400, 2000))


def max_pooled() -> Topology:
    nodes = (
        Affine((Conv(0, 3, 3),)),
        Relu(1, 100),
        MaxPool(2),
        MaxPool(3),
        Flatten(4),
        Affine((Dense(5, 1),)),
    )
    return topology(nodes, (1, 13, 13), 20, 9, thresholds=(50, 400, 2000))


def many_logits() -> Topology:
    nodes = (Affine((Conv(0, 5, 3, 2),)), Relu(1, 30), Affine((Conv(2, 3, 1), Conv(2, 3, 3, 1, 1))))
    return topology(nodes, (2, 9, 9), 18, 8)


def every_topology() -> dict[str, Topology]:
    return {
        "tiny": tiny(),
        "tiny, wide ring": tiny(24, 12, 500),
        "residual": residual(),
        "max pooled": max_pooled(),
        "many logits": many_logits(),
        "lenet": lenet(32),
        "calibrated": tiny(overflow="calibrated", saturation_limit=4),
    }


def images(shape: tuple[int, int, int], number: int) -> dict[str, NDArray[np.int8]]:
    """Random images and the extremes that make accumulators largest."""
    rng = np.random.default_rng(number)
    board = np.indices(shape).sum(0) % 2
    return {
        "random": rng.integers(-128, 128, shape).astype(np.int8),
        "smooth": np.clip(np.cumsum(rng.normal(0, 9, shape), 2), -128, 127).astype(np.int8),
        "white": np.full(shape, 127, np.int8),
        "black": np.full(shape, -128, np.int8),
        "zero": np.zeros(shape, np.int8),
        "board": np.where(board == 0, 127, -128).astype(np.int8),
        "other board": np.where(board == 0, -128, 127).astype(np.int8),
        "extremes": rng.choice(np.array([-128, 127], np.int8), shape),
    }
