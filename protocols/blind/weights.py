"""Masked weights: E = W - A mod 2^K, A expanded from the seed that model and dealer share.

E is a one-time pad of W under A, made once for a network and a seed, so P may keep it and every inference
with that network uses it again. A is derived for one network hash: a changed network gets a fresh pad. P
learns nothing from E as long as the dealer does not hand it A.
"""

from __future__ import annotations

import hashlib
from math import prod
from typing import TypeAlias

import numpy as np

from protocols.blind.bytesio import IntArray
from protocols.blind.network import Network, weight_shapes
from protocols.blind.prg import Stream
from protocols.blind.ring import mod, pack, unpack
from protocols.blind.secret import Secret
from protocols.blind.topology import Topology

Layers: TypeAlias = tuple[tuple[IntArray, ...], ...]  # one tuple an affine layer, one array a term


def epoch_of(topology: Topology, network_hash: bytes, seed: bytes) -> bytes:
    """32 public bytes that name the pad, so that model and dealer see that they share a seed."""
    return Stream(seed, b"epoch", topology.digest, network_hash).octets(32).tobytes()


def pads(topology: Topology, network_hash: bytes, seed: bytes) -> Layers:
    """A: what the model-dealer seed expands to for one network. The dealer and the model draw it."""
    shapes = weight_shapes(topology)
    context = b"weights", topology.digest, network_hash
    return tuple(
        tuple(
            Stream(seed, *context, bytes((i >> 8, i & 255, j)))
            .words(prod(shape), topology.ring_bits)
            .reshape(shape)
            for j, shape in enumerate(node)
        )
        for i, node in enumerate(shapes)
    )


class MaskedWeights(Secret):
    """E of one network: what P keeps. `digest` names it in the handshake; `encode` is what travels."""

    def __init__(self, topology: Topology, network_hash: bytes, encoded: bytes, epoch: bytes = b"") -> None:
        """encoded: the packed words, in order; raises `ProtocolError` on a wrong length."""
        shapes = [shape for node in weight_shapes(topology) for shape in node]
        words = unpack(encoded, sum(prod(s) for s in shapes), topology.ring_bits)
        arrays = iter(np.split(words, np.cumsum([prod(s) for s in shapes])[:-1]))
        self.layers: Layers = tuple(
            tuple(next(arrays).reshape(shape) for shape in node) for node in weight_shapes(topology)
        )
        self.epoch = epoch
        self._encoded = encoded
        h = hashlib.blake2b(digest_size=32, person=b"crypdoc/masked")
        h.update(topology.digest + network_hash + encoded)
        self.digest = h.digest()

    def encode(self) -> bytes:
        return self._encoded


def mask_weights(network: Network, seed: bytes) -> MaskedWeights:
    """The model's side: made once, kept for all sessions with this dealer seed."""
    topology, name = network.topology, network.network_hash()
    flat = [
        mod(w - a, topology.ring_bits).reshape(-1)
        for ws, pad in zip(network.weights, pads(topology, name, seed), strict=True)
        for w, a in zip(ws, pad, strict=True)
    ]
    encoded = pack(np.concatenate(flat), topology.ring_bits)
    return MaskedWeights(topology, name, encoded, epoch_of(topology, name, seed))
