"""U-Nets for slices: five neighbouring slices in, one logit a pixel out (Ronneberger et al. 2015).

Two sizes, by what the blind engine pays for. `UNet` works at the full size of a slice; `HalfUNet` halves it first and
makes four logits of every point at the end, so it pays for a quarter of the non-linear steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SLICES = 5  # neighbouring slices that a network sees: the middle one is segmented


def _convolutions(inputs: int, out: int, many: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for number in range(many):
        conv = nn.Conv2d(out if number else inputs, out, 3, padding=1, bias=False)
        parts += [conv, nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*parts)


class UNet(nn.Module):
    """(n, channels, H, W) to (n, 1, H, W) logits; H and W are multiples of 2^(levels - 1).

    widths: channels of each level, the largest picture first. convolutions: of each level, on the way down; on the way
    up one fewer for every level but the last. Maximum pooling down, transposed convolutions up.
    """

    def __init__(
        self,
        channels: int = SLICES,
        widths: Sequence[int] = (16, 32, 64, 96),
        down: Sequence[int] = (1, 2, 2, 2),
        up: Sequence[int] = (1, 2, 2),
    ) -> None:
        super().__init__()
        inputs = [channels, *widths]
        levels = range(len(widths) - 1)
        self.down = nn.ModuleList(_convolutions(inputs[at], width, down[at]) for at, width in enumerate(widths))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(widths[at + 1], widths[at], 2, 2) for at in levels)
        self.join = nn.ModuleList(_convolutions(2 * widths[at], widths[at], up[at]) for at in levels)
        self.last: nn.Module = nn.Conv2d(widths[0], 1, 1)

    def forward(self, slices: Tensor) -> Tensor:
        """slices: float, in -1..1. Returns the logits."""
        kept = []
        for block in self.down[:-1]:
            slices = block(slices)
            kept.append(slices)
            slices = self.pool(slices)
        slices = self.down[-1](slices)
        for at in reversed(range(len(kept))):
            slices = self.join[at](torch.cat([self.up[at](slices), kept[at]], 1))
        logits: Tensor = self.last(slices)
        return logits


class HalfUNet(nn.Module):
    """A `UNet` on slices that a first convolution halves; every point of it makes 2x2 logits. Sides as in `UNet`, twice."""

    def __init__(
        self,
        channels: int = SLICES,
        stem: int = 24,
        widths: Sequence[int] = (32, 64, 96, 128),
        down: Sequence[int] = (2, 2, 2, 2),
        up: Sequence[int] = (2, 2, 2),
    ) -> None:
        super().__init__()
        conv = nn.Conv2d(channels, stem, 3, stride=2, padding=1, bias=False)
        self.stem = nn.Sequential(conv, nn.BatchNorm2d(stem), nn.ReLU())
        self.body = UNet(stem, widths, down, up)
        self.body.last = nn.ConvTranspose2d(widths[0], 1, 2, 2)

    def forward(self, slices: Tensor) -> Tensor:
        """slices: float, in -1..1. Returns the logits."""
        logits: Tensor = self.body(self.stem(slices))
        return logits
