"""Training that feels the quantisation to come: activations rounded at random to few levels, as the engine does it.

    with simulated(network, images, low_bits=8):
        trainer.epoch()

Each activation, and each block's output that no activation follows, is replaced in the forward pass by what the blind
engine makes of it: y = u * clip(floor(x / u + r), low, low + 2^low_bits - 1), r uniform in 0..1, u fixed for a channel
so that calibration images fit. Gradients pass as if nothing were there (the straight-through estimator, Bengio 2013).
Batch norm keeps its statistics, as it is folded away before the engine sees it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from models.networks.efficientnet import InvertedBlock

_LEAST = 1e-3  # a channel's range is at least this part of the widest channel's


class Rounder:
    """A forward hook: first it gathers a layer's ranges, then it rounds what the layer gives."""

    def __init__(self, signed: bool, low_bits: int) -> None:
        self.signed, self.levels = signed, 1 << low_bits
        self.peak: torch.Tensor | None = None
        self.gathering = True

    def __call__(self, layer: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        """Rounds `output` (n, C, ...) channel by channel, or looks at it while it gathers."""
        if self.gathering:
            flat = output.detach().transpose(0, 1).flatten(1).abs().amax(1)
            self.peak = flat if self.peak is None else torch.maximum(self.peak, flat)
            return output
        assert self.peak is not None
        peak = self.peak.clamp_min(float(self.peak.max()) * _LEAST + 1e-9)
        low = -(self.levels >> 1) if self.signed else 0
        high = low + self.levels - 1
        unit = (peak / high).reshape(1, -1, *[1] * (output.dim() - 2))
        with torch.no_grad():
            steps = torch.floor(output / unit + torch.rand_like(output)).clamp(low, high)
            error = steps * unit - output
        return output + error


@contextmanager
def simulated(network: nn.Module, images: NDArray[Any], low_bits: int) -> Iterator[None]:
    """Within it the network's activations are rounded; no weight changes. images: int8 (n, C, H, W), to calibrate."""
    rounders, hooks = [], []
    for layer in network.modules():
        signed = isinstance(layer, InvertedBlock)
        if signed or isinstance(layer, nn.ReLU | nn.ReLU6):
            rounder = Rounder(signed, low_bits)
            rounders.append(rounder)
            hooks.append(layer.register_forward_hook(rounder))
    try:
        training = network.training
        network.eval()
        with torch.no_grad():
            for start in range(0, len(images), 32):
                network(torch.from_numpy(images[start : start + 32]).float() / 127)
        network.train(training)
        for rounder in rounders:
            rounder.gathering = False
        yield
    finally:
        for hook in hooks:
            hook.remove()
