"""The integer network computes what the float network computes, and provably never wraps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from models.networks import ARCHITECTURES
from models.quantise import Settings, quantise
from protocols.blind.bounds import worst_case
from protocols.blind.network import Network
from protocols.blind.reference import run_reference, stochastic


def made(name: str) -> tuple[nn.Sequential, torch.Tensor]:
    """A network with random weights, and smooth random images like prepared scans."""
    torch.manual_seed(3)
    network = ARCHITECTURES[name]().eval()
    side = network.side
    coarse = torch.rand(24, 3, side // 4, side // 4) * 2 - 1
    images = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    layers = network.layers
    assert isinstance(layers, nn.Sequential)
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.bias.data.mul_(0.1)  # else the biases of an untrained network drown its images
    return layers, torch.round(images * 127) / 127


def opened(network: Network, images: torch.Tensor) -> np.ndarray:
    rounding = stochastic(np.random.default_rng(0))
    integers = torch.round(images * 127).numpy().astype(np.int64)
    results = [run_reference(network, image, rounding) for image in integers]
    assert sum(result.overflow for result in results) == 0
    return np.array([float(result.logits.flat[0]) for result in results]) * network.topology.logit_scale


@pytest.mark.parametrize(
    ("name", "settings"), [("LeNet", Settings(22, 11, 127)), ("BigLeNet", Settings(24, 11, 127))]
)
def test_integer_logits_follow_the_float_ones(name: str, settings: Settings) -> None:
    layers, images = made(name)
    network = quantise(layers, images, settings=settings)
    with torch.no_grad():
        plain = layers(images)[:, 0].double().numpy()
    got = opened(network, images)
    assert float(np.abs(got - plain).mean()) < 0.25 * float(plain.std())  # untrained: images hardly differ
    assert float(np.corrcoef(got, plain)[0, 1]) > 0.97


def test_no_image_can_make_it_wrap() -> None:
    layers, images = made("LeNet")
    network = quantise(layers, images / 10, settings=Settings(22, 11, 127))  # calibrated on tame images
    assert network.topology.overflow == "proved"
    assert worst_case(network).proved
    wild = torch.sign(torch.rand(4, 3, 32, 32) - 0.5)
    opened(network, torch.cat([wild, torch.ones(1, 3, 32, 32), -torch.ones(1, 3, 32, 32)]))


def test_thresholds_are_in_opened_units() -> None:
    layers, images = made("LeNet")
    topology = quantise(layers, images, (0.02, 0.05, 0.1)).topology
    assert topology.thresholds == tuple(round(value / topology.logit_scale) for value in (0.02, 0.05, 0.1))
    assert topology.bucket_of(topology.thresholds[1]) == 2


def test_the_same_weights_are_the_same_network() -> None:
    layers, images = made("LeNet")
    one, other = quantise(layers, images), quantise(layers, images)
    assert one.network_hash() == other.network_hash()
    assert Network.decode(one.encode()) == one


def test_dropout_is_passed_over_and_other_layers_are_refused() -> None:
    images = torch.rand(4, 3, 8, 8)
    with pytest.raises(ValueError, match="no Tanh"):
        quantise(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(72, 1)), images)
    with pytest.raises(ValueError, match="grouped or dilated"):
        quantise(
            nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 1)), images
        )
