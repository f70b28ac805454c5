"""CrypTen as an engine: agrees with the plain network, runs the third-party provider, ends as it should; and what the
first-party provider would give away."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import engine_samples as samples
import numpy as np
import pytest
import torch

from models.engines.base import Engine, make_engine
from models.engines.crypten import CryptenEngine
from models.zoo import load_network
from protocols.blind.network import Network
from protocols.errors import UserError

pytestmark = [
    pytest.mark.crypten,
    pytest.mark.skipif(
        importlib.util.find_spec("crypten") is None,
        reason="the extra crypten is not installed: scripts/setup crypten",
    ),
]
SHAPE = (1, 1, 12, 12)
KERNEL = (2, 1, 5, 5)


def compare(engine: Engine, network: Network, n: int) -> float:
    """The largest difference to the plain network, as a share of its largest logit."""
    images = samples.images(network.topology, n)
    with make_engine("plain", network) as plain:
        right = plain.predict(images)
    told = engine.predict(images)
    assert told.bucket == right.bucket
    assert told.bytes_online > 1000
    assert told.bytes_ahead > 1000
    assert told.rounds > 5
    assert told.seconds > 0
    assert told.seconds_ahead == 0
    assert sum(layer.bytes for layer in told.layers) <= told.bytes_online
    assert sum(layer.seconds for layer in told.layers) <= told.seconds
    return float(np.abs(told.logits - right.logits).max() / np.abs(right.logits).max())


@pytest.fixture
def engine() -> Iterator[CryptenEngine]:
    with CryptenEngine(samples.lenet()) as made:
        yield made


@pytest.mark.parametrize("made", [samples.lenet, samples.every_kind, samples.resnet18])
def test_it_agrees_with_the_plain_network(made: type[Network]) -> None:
    """A LeNet with max pooling, every kind of node, a ResNet18: CrypTen's fixed point has 16 fractional bits."""
    network = made()
    with make_engine("crypten", network) as engine:
        assert compare(engine, network, 2) < 0.002


def test_it_runs_the_committed_network() -> None:
    network, _ = load_network("LeNet")
    with make_engine("crypten", network) as engine:
        assert compare(engine, network, 1) < 0.01


def test_it_can_be_asked_again_and_for_another_number(engine: CryptenEngine) -> None:
    images = samples.images(samples.lenet().topology, 3)
    first = engine.predict(images).logits
    assert np.abs(engine.predict(images[:1]).logits - first[:1]).max() < 0.05


def children(engine: CryptenEngine) -> list[multiprocessing.process.BaseProcess]:
    assert engine._parties is not None
    return engine._parties._processes


def test_a_process_that_is_gone_is_started_anew(engine: CryptenEngine) -> None:
    images = samples.images(samples.lenet().topology, 1)
    first = engine.predict(images).logits
    children(engine)[2].kill()
    children(engine)[2].join()
    assert np.abs(engine.predict(images).logits - first).max() < 0.05


def test_an_answer_that_is_late_ends_all_processes() -> None:
    images = samples.images(samples.lenet().topology, 1)
    with CryptenEngine(samples.lenet()) as engine:
        engine.predict(images)
        ours = children(engine)
        engine._timeout = 0.01
        with pytest.raises(UserError, match=r"did not answer within"):
            engine.predict(images)
        assert not any(process.is_alive() for process in ours)


def test_a_party_that_dies_at_work_is_said_and_none_is_left() -> None:
    network = samples.resnet18(side=64)
    images = samples.images(network.topology, 4)
    with CryptenEngine(network) as engine:
        engine.predict(images[:1])
        ours = children(engine)
        context = multiprocessing.get_context("spawn")
        killer = context.Process(target=_kill_later, args=(ours[1].pid,))
        killer.start()
        with pytest.raises(UserError, match=r"CrypTen's (patient|model) failed"):
            engine.predict(images)
        killer.join()
        assert not any(process.is_alive() for process in ours)


def _kill_later(pid: int) -> None:
    time.sleep(0.2)
    os.kill(pid, 9)


def test_closing_leaves_no_process(engine: CryptenEngine) -> None:
    engine.predict(samples.images(samples.lenet().topology, 1))
    ours = children(engine)
    engine.close()
    engine.close()
    assert not any(process.is_alive() for process in ours)


def test_no_other_provider_can_be_had() -> None:
    from models.engines.crypten_repairs import cfg, crypten

    assert type(crypten.mpc.get_default_provider()).__name__ == "TrustedThirdParty"
    for name in ("TFP", "HE"):
        with cfg.temp_override({"mpc.provider": name}), pytest.raises(KeyError):
            crypten.mpc.get_default_provider()


# ---- the attack: a model that follows the protocol to the letter, and looks at what it holds
def recover(provider: str, tmp_path: Path) -> float:
    """How far the model's guess at the patient's image is from it, at most, after one convolution.

    Every opened value is image - a for a mask `a`. The model adds the `a` that it drew: under the first-party provider
    that is all of it, under the third-party one a share.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for rank in range(3 if provider == "TTP" else 2):
        ours, theirs = context.Pipe()
        arguments = (rank, provider, (tmp_path / provider).as_uri(), theirs)
        processes.append(context.Process(target=_curious, args=arguments, daemon=True))
        processes[-1].start()
        theirs.close()
        pipes.append(ours)
    try:
        assert all(pipe.poll(90) for pipe in pipes[:2]), "a party did not answer"
        guess, image = (pipe.recv() for pipe in pipes[:2])
    finally:
        for process in processes:
            process.kill()
            process.join()
    return float(np.abs(guess - image).max())


def _curious(rank: int, provider: str, meeting: str, pipe: Connection) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", RENDEZVOUS=meeting, DISTRIBUTED_BACKEND="gloo")
    from crypten_attack import attacked  # test code: the engine's own cannot be asked for another provider

    torch.set_num_threads(1)
    torch.manual_seed(5 + rank)
    pipe.send(attacked(rank, provider, SHAPE, KERNEL))
    time.sleep(60)  # until it is killed: the others may still be reading


def test_the_first_party_provider_gives_the_image_away(tmp_path: Path) -> None:
    assert recover("TFP", tmp_path) < 1e-4


def test_the_third_party_provider_does_not(tmp_path: Path) -> None:
    """The guess is uniform over 48 bits before the point; images lie in 0..1."""
    assert recover("TTP", tmp_path) > 1e6
