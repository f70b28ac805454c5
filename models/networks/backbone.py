"""What every network here is: a body that makes features and a last layer that reads logits from them."""

from __future__ import annotations

import torch
from torch import nn


class Backbone(nn.Module):
    """`layers` is the whole network in order; its last layer is the linear one that makes the logits."""

    layers: nn.Sequential

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images: float (n, channels, side, side) in -1..1. Returns the logits, (n, outputs)."""
        logits: torch.Tensor = self.layers(images)
        return logits

    @property
    def last(self) -> nn.Linear:
        """The linear layer that makes the logits."""
        layer = self.layers[-1]
        assert isinstance(layer, nn.Linear)
        return layer


def fold_in(network: Backbone, scale: float, offset: float) -> None:
    """Makes each logit of the network scale * logit + offset, by its last layer (Platt 1999)."""
    with torch.no_grad():
        network.last.weight.mul_(scale)
        network.last.bias.mul_(scale).add_(offset)
