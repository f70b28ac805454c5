"""M's weights when there is no dealer to hold a pad of them: A = W, so that E, what P is sent, is zeros."""

from __future__ import annotations

import hashlib

from protocols.blind.bytesio import IntArray
from protocols.blind.kernels import Kernels, best_kernels
from protocols.blind.network import Network
from protocols.blind.schedule import weights_size
from protocols.blind.weights import Linear, MaskedWeights, ModelWeights


def epoch_without_dealer(network_hash: bytes) -> bytes:
    """What stands on a tape in place of the name of the pad that M and D share."""
    return hashlib.blake2b(network_hash, digest_size=32, person=b"crypdoc/pair/own").digest()


class OwnWeights(ModelWeights):
    """See `ModelWeights`: the same to `ModelParty`, with no seed and with E = 0."""

    def __init__(self, network: Network, kernels: Kernels | None = None) -> None:
        self.network, self.kernels = network, kernels or best_kernels()
        topology, self.network_hash = network.topology, network.network_hash()
        self.linear = Linear(topology, network.weights, self.kernels, False)
        self.biases: tuple[IntArray, ...] = network.biases
        self.masked = MaskedWeights(
            topology,
            self.network_hash,
            bytes(weights_size(topology)),
            epoch_without_dealer(self.network_hash),
            self.kernels,
        )
