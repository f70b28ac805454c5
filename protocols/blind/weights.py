"""Masked weights: E = W - A mod 2^K, A expanded from the seed that model and dealer share.

E is a one-time pad of W under A, made once for a network and a seed, so P may keep it and every inference
with that network uses it again. A is derived for one network hash: a changed network gets a fresh pad. P
learns nothing from E as long as the dealer does not hand it A.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from protocols.blind.bytesio import IntArray
from protocols.blind.kernels import best_kernels
from protocols.blind.kernels.interface import Kernels, Operator, Words, packed_size, wrong_length
from protocols.blind.network import Network, weight_shapes
from protocols.blind.prg import Stream
from protocols.blind.secret import Secret
from protocols.blind.topology import Topology
from protocols.blind.walk import AffineStep, affine_steps

Layers: TypeAlias = Sequence[Sequence[NDArray[np.generic]]]  # by affine layer, one array a term


def epoch_of(topology: Topology, network_hash: bytes, seed: bytes) -> bytes:
    """32 public bytes that name the pad, so that model and dealer see that they share a seed."""
    return Stream(seed, b"epoch", topology.digest, network_hash).octets(32).tobytes()


class Linear(Secret):
    """The affine layers of one side with its weights made ready: W at M (narrow), A at D and E at P (wide)."""

    def __init__(self, topology: Topology, layers: Layers, kernels: Kernels, wide: bool) -> None:
        self.kernels = kernels
        self._operators: tuple[tuple[Operator, ...], ...] = tuple(
            tuple(
                kernels.prepare(
                    term, topology.shapes[term.source], w.astype(np.int64), topology.ring_bits, wide
                )
                for term, w in zip(step.node.terms, weights, strict=True)
            )
            for step, weights in zip(affine_steps(topology), layers, strict=True)
        )

    def add(self, step: AffineStep, sources: Sequence[Words], out: Words) -> None:
        """out (n, C, H, W) += the layer's terms of `sources`."""
        for operator, x in zip(self._operators[step.index], sources, strict=True):
            operator.apply(np.ascontiguousarray(x), out)


def _pads(topology: Topology, network_hash: bytes, seed: bytes) -> tuple[tuple[Words, ...], ...]:
    context = b"weights", topology.digest, network_hash
    return tuple(
        tuple(
            Stream(seed, *context, bytes((i >> 8, i & 255, j))).words(*shape) for j, shape in enumerate(node)
        )
        for i, node in enumerate(weight_shapes(topology))
    )


class Pads(Secret):
    """A, made ready: what the dealer keeps for one network and model seed, for any number of tapes."""

    def __init__(
        self, topology: Topology, network_hash: bytes, seed: bytes, kernels: Kernels | None = None
    ) -> None:
        self.topology, self.network_hash = topology, network_hash
        self.epoch = epoch_of(topology, network_hash, seed)
        layers = _pads(topology, network_hash, seed)
        self.linear = Linear(topology, layers, kernels or best_kernels(), True)


class MaskedWeights(Secret):
    """E of one network: what P keeps. `digest` names it in the handshake; `encode` is what travels."""

    def __init__(
        self,
        topology: Topology,
        network_hash: bytes,
        encoded: bytes,
        epoch: bytes = b"",
        kernels: Kernels | None = None,
    ) -> None:
        """encoded: the packed words, in order; raises `ProtocolError` on a wrong length."""
        self._topology, self._kernels = topology, kernels or best_kernels()
        self._count = sum(prod(s) for node in weight_shapes(topology) for s in node)
        if len(encoded) != packed_size(self._count, topology.ring_bits):
            raise wrong_length("the masked weights")
        self._linear: Linear | None = None
        self.epoch = epoch
        self._encoded = encoded
        h = hashlib.blake2b(digest_size=32, person=b"crypdoc/masked")
        h.update(topology.digest + network_hash + encoded)
        self.digest = h.digest()

    @property
    def linear(self) -> Linear:
        """E made ready, when first asked for. Raises `ProtocolError` when its bytes are no packed words."""
        if self._linear is None:
            words = self._kernels.unpack(self._encoded, self._count, self._topology.ring_bits)
            shapes = weight_shapes(self._topology)
            sizes = [prod(s) for node in shapes for s in node]
            arrays = iter(np.split(words, np.cumsum(sizes)[:-1]))
            layers = tuple(tuple(next(arrays).reshape(s) for s in node) for node in shapes)
            self._linear = Linear(self._topology, layers, self._kernels, True)
        return self._linear

    def encode(self) -> bytes:
        return self._encoded


class ModelWeights(Secret):
    """M's side of one network and dealer seed: W made ready, the biases, and E to hand out."""

    def __init__(self, network: Network, seed: bytes, kernels: Kernels | None = None) -> None:
        self.network, self.kernels = network, kernels or best_kernels()
        topology, name = network.topology, network.network_hash()
        self.network_hash = name
        self.linear = Linear(topology, network.weights, self.kernels, False)
        self.biases: tuple[IntArray, ...] = network.biases
        flat = [
            w.astype(np.int64).astype(np.uint32).reshape(-1) - a.reshape(-1)
            for ws, pad in zip(network.weights, _pads(topology, name, seed), strict=True)
            for w, a in zip(ws, pad, strict=True)
        ]
        encoded = self.kernels.pack(np.concatenate(flat), topology.ring_bits)
        epoch = epoch_of(topology, name, seed)
        self.masked = MaskedWeights(topology, name, encoded, epoch, self.kernels)
