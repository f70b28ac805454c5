"""A quantised network: the public `Topology` and the model's secret integer weights.

    from protocols.blind.network import Affine, Clip, Conv, Dense, Flatten, Network, SumPool, Topology

    topology = Topology(
        input_shape=(3, 32, 32), ring_bits=24, input_scale=1 / 64, logit_scale=0.001, thresholds=(500, 1500, 3000),
        nodes=(
            Affine((Conv(source=0, out=6, kernel=5),)),      # makes wire 1
            Clip(source=1, low_bits=8, high_bits=4),         # wire 2: activations 0..255, S = 24 - 12
            SumPool(source=2),                               # wire 3: sums of four, 0..1020
            Affine((Conv(source=3, out=16, kernel=5),)),     # wire 4
            Clip(source=4, low_bits=8, high_bits=4), SumPool(source=5), Flatten(source=6),
            Affine((Dense(source=7, out=1),)),               # wire 8: the logit
        ),
    )
    network = Network(
        topology,
        weights=((w1,), (w2,), (w3,)),   # one tuple an Affine, one integer array a term:
                                         # Conv (out, in / groups, k, k), ConvTranspose (in, out, k, k),
                                         # Dense (out, in), Scale (channels,); all below 2^15 in magnitude
        biases=(b1, b2, b3),             # (out,), within K bits
        salt=secrets.token_bytes(32),    # hides the weights behind `network_hash`; kept with them
    )
    network.network_hash()               # 32 bytes, public, on chain
    Network.decode(network.encode()) == network

A skip connection around two convolutions:
`Affine((Conv(source=5, out=16, kernel=3, padding=1), Scale(source=3)))`.
With one unit of the accumulator worth `a` and one unit of the input wire worth `s`, weight = round(w * s / a)
and bias = round(b / a); the activation after `Clip` has units of a * 2^S.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from protocols.blind.bytesio import IntArray, Reader, Writer
from protocols.blind.layers import refuse
from protocols.blind.secret import Secret
from protocols.blind.shapes import weight_shape
from protocols.blind.topology import (
    MAX_TOPOLOGY_BYTES,
    Affine,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Flatten,
    GlobalSum,
    MaxPool,
    Scale,
    SumPool,
    Topology,
    Upsample,
)

__all__ = [
    "Affine",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Dense",
    "Flatten",
    "GlobalSum",
    "MaxPool",
    "Network",
    "Scale",
    "SumPool",
    "Topology",
    "Upsample",
    "weight_shapes",
]

MAGIC = b"CDN2"
SALT_BYTES = 32
MAX_WEIGHTS = 1 << 26
WEIGHT_BITS = 16  # sign included: |w| < 2^15


def weight_shapes(topology: Topology) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Shapes of the weights: one tuple an Affine node, in order, one shape a term."""
    return tuple(
        tuple(weight_shape(term, topology.shapes) for term in node.terms)
        for node in topology.nodes
        if isinstance(node, Affine)
    )


def bias_shapes(topology: Topology) -> tuple[tuple[int], ...]:
    """Shapes of the biases: one value an output channel of each Affine node."""
    return tuple(
        (topology.shapes[i + 1][0],) for i, node in enumerate(topology.nodes) if isinstance(node, Affine)
    )


class Network(Secret):
    """Topology and integer weights; immutable, secret to the model's owner.

    Weights are integers below 2^15 in magnitude, biases lie in -2^(K-1)..2^(K-1)-1. The worst case over every
    image whatever is computed here, and a network that could leave the range in which the protocol is exact is
    refused (`ProtocolError`), as is one whose arrays do not fit its layers.
    """

    __slots__ = ("_biases", "_salt", "_topology", "_weights")

    def __init__(
        self,
        topology: Topology,
        weights: Sequence[Sequence[NDArray[np.generic]]],
        biases: Sequence[NDArray[np.generic]],
        salt: bytes,
    ) -> None:
        from protocols.blind.bounds import worst_case

        shapes = weight_shapes(topology)
        if len(salt) != SALT_BYTES:
            raise refuse(f"its salt is not {SALT_BYTES} bytes")
        if sum(prod(s) for node in shapes for s in node) > MAX_WEIGHTS:
            raise refuse("it has too many weights")
        if len(weights) != len(shapes) or any(len(a) != len(b) for a, b in zip(weights, shapes, strict=True)):
            raise refuse("its weights do not fit its layers")
        self._topology, self._salt = topology, salt
        largest = (1 << (WEIGHT_BITS - 1)) - 1
        self._weights = tuple(
            tuple(_checked(w, s, -largest, largest) for w, s in zip(ws, ss, strict=True))
            for ws, ss in zip(weights, shapes, strict=True)
        )
        if len(biases) != len(shapes):
            raise refuse("its biases do not fit its layers")
        half = 1 << (topology.ring_bits - 1)
        offsets = zip(biases, bias_shapes(topology), strict=True)
        self._biases = tuple(_checked(b, s, -half, half - 1) for b, s in offsets)
        worst_case(self).require_safe()

    @property
    def topology(self) -> Topology:
        return self._topology

    @property
    def weights(self) -> tuple[tuple[IntArray, ...], ...]:
        """One tuple an Affine node, one read-only int64 array a term."""
        return self._weights

    @property
    def biases(self) -> tuple[IntArray, ...]:
        return self._biases

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self.encode() == other.encode()

    def __hash__(self) -> int:
        return hash(self.network_hash())

    def encode(self) -> bytes:
        """Canonical bytes, secret: topology, salt, weights, biases."""
        w = Writer()
        topology = self._topology.encode()
        w.raw(MAGIC)
        w.u32(len(topology))
        w.raw(topology)
        w.raw(self._salt)
        for terms, bias in zip(self._weights, self._biases, strict=True):
            for term in terms:
                w.ints(term)
            w.ints(bias)
        return w.bytes()

    @classmethod
    def decode(cls, data: bytes) -> Network:
        """The inverse of `encode`; raises `ProtocolError` on anything else."""
        r = Reader(data, "network")
        if r.raw(4) != MAGIC:
            raise refuse("it is of an unknown version")
        size = r.u32()
        if size > MAX_TOPOLOGY_BYTES:
            raise refuse("its topology is too long")
        topology = Topology.decode(r.raw(size))
        salt = r.raw(SALT_BYTES)
        weights, biases = [], []
        for shapes, bias in zip(weight_shapes(topology), bias_shapes(topology), strict=True):
            weights.append([r.ints(prod(s)).reshape(s) for s in shapes])
            biases.append(r.ints(prod(bias)))
        r.end()
        return cls(topology, weights, biases, salt)

    def network_hash(self) -> bytes:
        """32 public bytes that name this network; the salt inside keeps weights from being guessed."""
        return hashlib.blake2b(self.encode(), digest_size=32, person=b"crypdoc/network").digest()


def _checked(values: NDArray[np.generic], shape: tuple[int, ...], low: int, high: int) -> IntArray:
    """A read-only int64 copy of an integer array of the right shape and range."""
    array = np.asarray(values)
    if array.shape != shape or array.dtype.kind not in "iu":
        raise refuse(
            f"weights of shape {array.shape} and type {array.dtype} stand where integers {shape} belong"
        )
    if array.size and (int(array.min()) < low or int(array.max()) > high):
        raise refuse(f"a weight or bias lies outside {low}..{high}")
    copy = np.array(array, dtype=np.int64, order="C")
    copy.setflags(write=False)
    return copy
