"""The plain engine evaluates every kind of node as the integer reference does, and refuses what it cannot take."""

from __future__ import annotations

import importlib.util

import engine_samples as samples
import numpy as np
import pytest

from models.engines import ENGINES, make_engine
from protocols.blind.network import Network
from protocols.blind.reference import run_reference
from protocols.blind.topology import SumPool
from protocols.errors import UserError


@pytest.fixture(scope="module")
def network() -> Network:
    return samples.lenet()


@pytest.mark.parametrize(
    ("made", "close"),
    [(samples.lenet(), 0.06), (samples.lenet(pool=SumPool), 0.06), (samples.every_kind(), 0.06)],
)
def test_the_plain_engine_is_the_reference_without_its_rounding(made: Network, close: float) -> None:
    """close: of the spread of the logits; what is left is the reference's rounding of activations to 7 or 8 bits."""
    topology = made.topology
    images = samples.images(topology, 4)
    with make_engine("plain", made) as engine:
        told = engine.predict(images)
    exact = (
        np.stack([run_reference(made, image).logits.reshape(-1) for image in images]) * topology.logit_scale
    )
    assert told.logits.shape == exact.shape
    assert np.abs(told.logits - exact).max() < close * np.abs(exact).max()
    assert np.ptp(exact) > 20 * topology.logit_scale, "the sample says nothing"


def test_a_batch_is_its_images(network: Network) -> None:
    images = samples.images(network.topology, 5)
    with make_engine("plain", network) as engine:
        whole = engine.predict(images).logits
        apart = [engine.predict(image[None]).logits[0] for image in images]
    assert np.allclose(whole, apart, atol=1e-4)


def test_buckets_are_the_reference_buckets(network: Network) -> None:
    images = samples.images(network.topology, 6)
    with make_engine("plain", network) as engine:
        told = engine.predict(images)
    assert told.bucket is not None
    opened = np.abs(told.logits[:, 0]) / network.topology.logit_scale
    assert list(told.bucket) == [sum(value >= t for t in network.topology.thresholds) for value in opened]


def test_an_unknown_engine_is_refused(network: Network) -> None:
    with pytest.raises(UserError, match="choose one of blind, crypten, plain"):
        make_engine("tenseal", network)
    assert set(ENGINES) == {"blind", "crypten", "plain"}


def test_a_missing_extra_names_its_remedy(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="scripts/setup crypten"):
        make_engine("crypten", network)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((1, 20, 20), np.int8), "shape"),
        (np.zeros((0, 1, 20, 20), np.int8), "at least 1"),
        (np.zeros((1, 3, 20, 20), np.int8), "shape"),
        (np.zeros((1, 1, 20, 20), np.float32), "int8"),
    ],
)
def test_wrong_images_are_refused(network: Network, images: np.ndarray, said: str) -> None:
    with make_engine("plain", network) as engine, pytest.raises(UserError, match=said):
        engine.predict(images)


def test_a_value_outside_the_input_range_is_refused() -> None:
    made = samples.lenet(low=-127)
    images = samples.images(made.topology, 1)
    images[0, 0, 3, 3] = -128
    with make_engine("plain", made) as engine, pytest.raises(UserError, match="input range"):
        engine.predict(images)
