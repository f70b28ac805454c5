"""The float networks, in torch: layers that the blind engine's compiler takes and nothing else.

Convolution (also depthwise), batch norm, ReLU and ReLU6, average, maximum and global pooling, residual add, fully
connected layers. Dropout and the noise of training are gone in the product.

    network = build("ResNet18", outputs=1, dropout=0.2)

One output is one logit, above 0 for the second class; N outputs are N logits, the largest wins. Every network
takes float images (n, channels, side, side) in -1..1 and returns (n, outputs).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from models.networks.backbone import Backbone
from models.networks.efficientnet import EfficientNetLite0, load_imagenet
from models.networks.lenet import BigLeNet, LeNet
from models.networks.resnet import ResNet18
from models.networks.unet import SLICES, UNet
from protocols.errors import UserError

__all__ = [
    "ARCHITECTURES",
    "SLICES",
    "Architecture",
    "Backbone",
    "BigLeNet",
    "EfficientNetLite0",
    "LeNet",
    "ResNet18",
    "UNet",
    "architecture",
    "build",
    "load_imagenet",
]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A backbone: its name, the side of the square that it reads, how pictures are prepared for it (a word of
    `models.scans.prepare.PREPARATIONS`), and whether it starts from ImageNet weights."""

    name: str
    make: Callable[[int, float], Backbone]
    side: int
    preparation: str
    transfers: bool = False


ARCHITECTURES = {
    made.name: made
    for made in (
        Architecture("LeNet", lambda outputs, dropout: LeNet(outputs, dropout), 32, "views"),
        Architecture("BigLeNet", lambda outputs, dropout: BigLeNet(outputs, dropout), 64, "views"),
        Architecture("ResNet18", lambda outputs, dropout: ResNet18(outputs, dropout), 64, "views"),
        Architecture(
            "EfficientNet-Lite0",
            lambda outputs, dropout: EfficientNetLite0(outputs, dropout),
            129,
            "views",
            transfers=True,
        ),
    )
}


def architecture(name: str) -> Architecture:
    """The backbone of that name, in any case and with or without '-' and '_'. Raises `UserError` for another."""
    plain = _plain(name)
    for known, made in ARCHITECTURES.items():
        if plain == _plain(known):
            return made
    raise UserError(f"there is no backbone {name!r}", "choose one of " + ", ".join(ARCHITECTURES))


def build(name: str, outputs: int = 1, dropout: float = 0.0) -> Backbone:
    """A network of that architecture with fresh weights from torch's generator."""
    return architecture(name).make(outputs, dropout)


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
