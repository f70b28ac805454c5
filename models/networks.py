"""The two float networks, in torch: layers that the blind engine runs and nothing else.

Convolution, ReLU, 2x2 average pooling, fully connected layers; no batch norm, no bias-free trick, no max
pooling (it costs the protocol a comparison more). Dropout and the noise of training are gone in the product.
One logit: above 0 reads "tumour".
"""

from __future__ import annotations

import torch
from torch import nn


class _Sequential(nn.Module):
    """A network that is one chain of layers; `layers` is what the quantiser walks."""

    layers: nn.Sequential
    channels: int
    side: int

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image: float (n, channels, side, side) in -1..1. Returns the logits, (n,)."""
        logits: torch.Tensor = self.layers(image)
        return logits[:, 0]


class LeNet(_Sequential):
    """LeCun's 1998 network on 3x32x32: 61,241 weights, 6,508 activations that the protocol opens masked."""

    channels, side = 3, 32

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_stage(3, 6, 5),
            *_stage(6, 16, 5),
            nn.Flatten(),
            *_dense(16 * 5 * 5, 120, dropout),
            *_dense(120, 84, dropout),
            nn.Linear(84, 1),
        )


class BigLeNet(_Sequential):
    """The same idea on 3x64x64, one stage deeper: 118,417 weights, 43,020 masked activations."""

    channels, side = 3, 64

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_stage(3, 8, 5),
            *_stage(8, 16, 5),
            *_stage(16, 32, 4),
            nn.Flatten(),
            *_dense(32 * 5 * 5, 120, dropout),
            *_dense(120, 84, dropout),
            nn.Linear(84, 1),
        )


ARCHITECTURES: dict[str, type[_Sequential]] = {"LeNet": LeNet, "BigLeNet": BigLeNet}


def _stage(channels: int, out: int, kernel: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, kernel), nn.ReLU(), nn.AvgPool2d(2)


def _dense(inputs: int, out: int, dropout: float) -> tuple[nn.Module, ...]:
    return nn.Dropout(dropout), nn.Linear(inputs, out), nn.ReLU()
