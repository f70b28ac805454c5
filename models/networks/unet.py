"""A U-Net for slices: five neighbouring slices in, one logit a pixel out (Ronneberger et al. 2015).

Shaped by what the blind engine pays for: non-linear steps, and hardly anything else. At full size there is one
convolution on the way down and one on the way up. On the way up, points are repeated and not convolved (a transposed
convolution would need a non-linear step of its own to bring its output back to a few bits). docs/segmentation.md has
what that saves and what other choices cost in Dice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SLICES = 5  # neighbouring slices that a network sees; the middle one is segmented


def _convolutions(inputs: int, out: int, many: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for number in range(many):
        conv = nn.Conv2d(out if number else inputs, out, 3, padding=1, bias=False)
        parts += [conv, nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*parts)


class UNet(nn.Module):
    """(n, channels, H, W) to (n, outputs, H, W) logits; H and W are multiples of 2^(levels - 1).

    widths: channels of each level, the largest picture first. down, up: convolutions of each level on either way; the
    last level has none on the way up. pooling: max or average.
    """

    def __init__(
        self,
        channels: int = SLICES,
        widths: Sequence[int] = (16, 32, 64, 96),
        down: Sequence[int] = (1, 2, 2, 2),
        up: Sequence[int] = (1, 2, 2),
        outputs: int = 1,
        pooling: str = "max",
    ) -> None:
        super().__init__()
        inputs = [channels, *widths]
        self.down = nn.ModuleList(
            _convolutions(inputs[at], width, down[at]) for at, width in enumerate(widths)
        )
        self.pool = nn.MaxPool2d(2) if pooling == "max" else nn.AvgPool2d(2)
        self.grow = nn.Upsample(scale_factor=2, mode="nearest")
        self.up = nn.ModuleList(
            _convolutions(widths[at] + widths[at + 1], widths[at], up[at]) for at in range(len(widths) - 1)
        )
        self.last = nn.Conv2d(widths[0], outputs, 1)

    def forward(self, slices: Tensor) -> Tensor:
        """slices: float, in -1..1. Returns the logits."""
        kept = []
        for block in self.down[:-1]:
            slices = block(slices)
            kept.append(slices)
            slices = self.pool(slices)
        slices = self.down[-1](slices)
        for block, skip in zip(reversed(self.up), reversed(kept), strict=True):
            slices = block(torch.cat([self.grow(slices), skip], 1))
        logits: Tensor = self.last(slices)
        return logits
