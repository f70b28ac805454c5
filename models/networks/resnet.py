"""ResNet18 (He 2015), its width a parameter: the standard stem, eight basic blocks, global average."""

from __future__ import annotations

import torch
from torch import nn

from models.networks.backbone import Backbone

WIDTH = 16  # of the committed network: 0.7 million weights; 64 is the paper's, with 11.2 million


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a skip connection, which is a 1x1 convolution where shapes change."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        same = stride == 1 and channels == out
        self.skip = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        )
        self.relu = nn.ReLU()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, channels, H, W) to (n, out, H/stride, W/stride)."""
        result: torch.Tensor = self.relu(self.body(images) + self.skip(images))
        return result


class ResNet18(Backbone):
    """Takes any side; 3x64x64 in the committed network."""

    def __init__(self, outputs: int = 1, dropout: float = 0.0, width: int = WIDTH) -> None:
        super().__init__()
        stages = [width, 2 * width, 4 * width, 8 * width]
        blocks: list[nn.Module] = []
        before = width
        for index, out in enumerate(stages):
            blocks += [BasicBlock(before, out, 1 if index == 0 else 2), BasicBlock(out, out, 1)]
            before = out
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            *blocks,
            nn.AdaptiveAvgPool2d(1),
            nn.ReLU(),  # changes nothing; the blind engine brings the sums back to few bits here
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(before, outputs),
        )
