"""LeNet (LeCun 1998) and a larger one of its kind: chains of convolution, ReLU and 2x2 average pooling."""

from __future__ import annotations

from torch import nn

from models.networks.backbone import Backbone


class LeNet(Backbone):
    """On 3x32x32: 61,241 weights with one logit, 6,508 activations that the protocol opens masked."""

    def __init__(self, outputs: int = 1, dropout: float = 0.5) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_stage(3, 6, 5),
            *_stage(6, 16, 5),
            nn.Flatten(),
            *_dense(16 * 5 * 5, 120, dropout),
            *_dense(120, 84, dropout),
            nn.Linear(84, outputs),
        )


class BigLeNet(Backbone):
    """The same idea on 3x64x64, one stage deeper: 118,417 weights with one logit, 43,020 masked activations."""

    def __init__(self, outputs: int = 1, dropout: float = 0.5) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_stage(3, 8, 5),
            *_stage(8, 16, 5),
            *_stage(16, 32, 4),
            nn.Flatten(),
            *_dense(32 * 5 * 5, 120, dropout),
            *_dense(120, 84, dropout),
            nn.Linear(84, outputs),
        )


def _stage(channels: int, out: int, kernel: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, kernel), nn.ReLU(), nn.AvgPool2d(2)


def _dense(inputs: int, out: int, dropout: float) -> tuple[nn.Module, ...]:
    return nn.Dropout(dropout), nn.Linear(inputs, out), nn.ReLU()
