"""Weights made small enough that the worst image cannot break a clip: the last step before a network is compiled.

A ReLU6 fixes what a clip's full scale is worth, so the sum it reads may reach 6 * 2^(high_bits - 1) and no more, on any
image whatever. A wide layer can exceed that on paper, in a few of its channels. There the weights are drawn towards
zero by one amount (a projection onto the L1 ball, Duchi 2008) until the worst case fits: the smallest, which matter
least, vanish first. What changes is the float network; the integer one follows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.networks.backbone import Backbone

_CEILING = 6.0


def tame(network: Backbone, images: NDArray[np.int8], high_bits: int = 7, part: float = 0.5) -> int:
    """Draws in every channel whose worst case exceeds `part` of what `high_bits` stand; how many there were.

    images: int8 (n, C, H, W), on which the ranges of each layer's inputs are measured.
    """
    network.eval()
    triples = list(_triples(network))
    reach = _reach(network, [convolution for convolution, _ in triples], images)
    drawn = 0
    with torch.no_grad():
        for convolution, norm in triples:
            assert norm.running_var is not None
            gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).abs()
            room = part * _CEILING * 2 ** (high_bits - 1) / gain.clamp_min(1e-12)
            rows = convolution.weight.flatten(1)
            taps = convolution.kernel_size[0] ** 2
            if convolution.groups == 1:
                cost = reach[convolution].repeat_interleave(taps).expand_as(rows)
            else:  # depthwise
                cost = reach[convolution][:, None].expand_as(rows)
            for channel in torch.nonzero((rows.abs() * cost).sum(1) > room).flatten().tolist():
                rows[channel] = _drawn(rows[channel], cost[channel], float(room[channel]))
                drawn += 1
    return drawn


def _triples(network: Backbone) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Every full or depthwise convolution that a batch norm and a ReLU6 follow."""
    for chain in (layer for layer in network.modules() if isinstance(layer, nn.Sequential)):
        layers = list(chain)
        for first, second, third in zip(layers, layers[1:], layers[2:], strict=False):
            if (
                isinstance(first, nn.Conv2d)
                and first.groups in (1, first.out_channels)
                and isinstance(second, nn.BatchNorm2d)
                and isinstance(third, nn.ReLU6)
            ):
                yield first, second


def _reach(
    network: Backbone, layers: list[nn.Conv2d], images: NDArray[np.int8]
) -> dict[nn.Conv2d, torch.Tensor]:
    """The largest absolute value of each input channel of each layer."""
    found: dict[nn.Conv2d, torch.Tensor] = {}

    def look(layer: nn.Conv2d, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        peak = inputs[0].abs().amax((0, 2, 3))
        found[layer] = torch.maximum(found[layer], peak) if layer in found else peak

    hooks = [layer.register_forward_hook(look) for layer in layers]
    try:
        with torch.no_grad():
            for start in range(0, len(images), 32):
                network(torch.from_numpy(images[start : start + 32]).float() / 127)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _drawn(row: torch.Tensor, cost: torch.Tensor, room: float) -> torch.Tensor:
    """The row whose sum of |w| * cost is `room`: each weight nearer to zero by one amount, by bisection."""
    low, high = 0.0, float(row.abs().max())
    for _ in range(40):
        middle = (low + high) / 2
        left = float(((row.abs() - middle).clamp_min(0) * cost).sum())
        low, high = (middle, high) if left > room else (low, middle)
    return row.sign() * (row.abs() - high).clamp_min(0)
