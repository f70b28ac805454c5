"""From a trained network to the file that CrypDoc opens, and how its integer form compares."""

from __future__ import annotations

import copy
import lzma
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from models.compile import Settings, compile_network
from models.engines.base import make_engine
from models.metrics import Logits
from models.networks import Backbone
from models.scans.prepare import INPUT_SCALE
from protocols.blind.network import Network
from protocols.blind.reference import run_reference, stochastic

THRESHOLDS = (0.65, 0.8, 0.92)  # least calibrated probability of the winning label, buckets 1 to 3
CALIBRATION = 128  # pictures, and as many mirrored, on which activations are measured
_BATCH = 16


def integer_network(
    network: Backbone,
    images: NDArray[np.int8],
    floors: list[float],
    settings: Settings = Settings(),  # noqa: B008 (frozen)
    calibration: int = CALIBRATION,
) -> Network:
    """The network compiled; images: of the training set, int8 (n, C, H, W), of which `calibration` are looked at.
    Raises `UserError` where no scales make it provable."""
    rows = np.linspace(0, len(images) - 1, min(len(images), calibration)).astype(np.int64)
    shown = torch.from_numpy(images[rows]).float() * INPUT_SCALE
    plain = copy.deepcopy(network).eval()
    plain.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return compile_network(plain, torch.cat([shown, shown.flip(3)]), INPUT_SCALE, floors, settings).network


def integer_logits(network: Network, images: NDArray[np.int8], seed: int = 0) -> Logits:
    """(n, outputs) opened logits in real units, rounded at random as the protocol rounds, by the reference network.

    Raises ArithmeticError when a value left the range that was proved.
    """
    rounding = stochastic(np.random.default_rng(seed))
    rows = []
    for start in range(0, len(images), _BATCH):
        told = run_reference(network, images[start : start + _BATCH], rounding)
        if told.overflow:
            raise ArithmeticError("an accumulator left the range that was proved")
        rows.append(told.logits.reshape(len(told.logits), -1))
    return np.concatenate(rows).astype(np.float64) * network.topology.logit_scale


def plain_logits(network: Network, images: NDArray[np.int8]) -> Logits:
    """(n, outputs) logits of the integer network's graph without rounding, in float32."""
    with make_engine("plain", network) as engine:
        rows = [engine.predict(images[at : at + _BATCH]).logits for at in range(0, len(images), _BATCH)]
    return np.concatenate(rows)


def encode(network: Backbone, compiled: Network, weights: bool = True) -> bytes:
    """The bytes of a .safetensors file: the integer network under "network", compressed as .xz, and the float weights
    beside it."""
    tensors: dict[str, NDArray[Any]] = {}
    if weights:
        state = network.state_dict()
        tensors = {
            name: np.ascontiguousarray(value.numpy())
            for name, value in state.items()
            if not name.endswith("num_batches_tracked")
        }
    tensors["network"] = np.frombuffer(lzma.compress(compiled.encode(), preset=9), dtype=np.uint8)
    made: bytes = save(tensors)
    return made
