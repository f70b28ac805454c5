"""The blind engine between three real processes, and the links that carry its frames."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable

import engine_samples as samples
import numpy as np
import pytest
from interrupted import interrupted

from models.engines import make_engine
from models.engines.blind import BlindEngine
from models.engines.link import Link, wait
from protocols.blind.kernels import best_kernels
from protocols.blind.messages import MAX_FRAME_BYTES
from protocols.blind.network import Network
from protocols.blind.schedule import costs
from protocols.errors import ProtocolError, UserError, WireError


@pytest.fixture(scope="module")
def network() -> Network:
    return samples.every_kind()


@pytest.mark.parametrize("kernels", ["best", "portable", "torch"])
def test_it_agrees_with_the_plain_engine(network: Network, kernels: str) -> None:
    images = samples.images(network.topology, 3)
    with BlindEngine(network, kernels) as engine, make_engine("plain", network) as plain:
        told, right = engine.predict(images), plain.predict(images)
    assert np.abs(told.logits - right.logits).max() < 0.08 * np.abs(right.logits).max()
    assert told.seconds > 0
    assert told.seconds_ahead > 0
    assert [layer.bytes for layer in told.layers if layer.name.endswith("Clip")]


def test_a_batch_says_what_each_image_says(network: Network) -> None:
    """Rounding is drawn anew each time: equal up to that."""
    images = samples.images(network.topology, 4)
    with BlindEngine(network) as engine:
        whole = engine.predict(images)
        single = np.concatenate([engine.predict(images[i : i + 1]).logits for i in range(4)])
    assert np.abs(whole.logits - single).max() < 0.08 * np.abs(single).max()


def test_a_dealer_may_deal_while_the_model_computes(network: Network) -> None:
    images = samples.images(network.topology, 2)
    with BlindEngine(network) as engine:
        first = engine.predict(images).logits
        engine.overlap = True
        second = engine.predict(images).logits
    assert np.abs(first - second).max() < 0.08 * np.abs(first).max()


def test_bytes_are_those_that_were_told(network: Network) -> None:
    """What the patient's socket moved, frame by frame, is the bill; the second time E is known."""
    images = samples.images(network.topology, 2)
    with BlindEngine(network) as engine:
        engine.predict(images)
        before = engine._model.sent + engine._model.received
        told = engine.predict(images)
        moved = engine._model.sent + engine._model.received - before
    bill = costs(network.topology, 2, known=True)
    assert (told.bytes_online, told.bytes_ahead, told.rounds) == (
        bill.bytes_online,
        bill.bytes_ahead,
        bill.rounds,
    )
    assert (
        0 <= moved - (bill.total - bill.tape) < 4000
    )  # the order, and the model's times by layer, come on top


@pytest.mark.parametrize("role", ["model", "dealer"])
def test_a_killed_process_ends_in_one_sentence(network: Network, role: str) -> None:
    with BlindEngine(network) as engine:
        os.kill(engine.processes[role], signal.SIGKILL)
        begun = time.monotonic()
        with pytest.raises(UserError, match="the blind engine stopped"):
            engine.predict(samples.images(network.topology, 1))
        assert time.monotonic() - begun < 30


def test_processes_end_with_the_engine(network: Network) -> None:
    engine = BlindEngine(network)
    numbers = list(engine.processes.values())
    engine.close()
    engine.close()
    for number in numbers:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


@pytest.mark.parametrize("wait", [0.4, None])
def test_ctrl_c_leaves_no_traceback_and_no_process(wait: float | None) -> None:
    """While its processes still import, and when they serve."""
    code, said, left = interrupted("models.engines.blind", "BlindEngine", wait)
    assert (code, said, left) == (130, "", [])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x[0],
        lambda x: x[:, :, 1:],
        lambda x: x.astype(np.float32),
        lambda x: x[:0],
    ],
)
def test_wrong_images_are_refused(network: Network, spoil: Callable[..., np.ndarray]) -> None:
    with BlindEngine(network) as engine:
        with pytest.raises(UserError):
            engine.predict(spoil(samples.images(network.topology, 1)))
        engine.predict(samples.images(network.topology, 1))  # and goes on


def test_unknown_kernels_are_refused(network: Network) -> None:
    if best_kernels().name == "portable":
        pytest.skip("no native kernels here to be asked for by level")
    with pytest.raises(ProtocolError, match="no kernels"):
        BlindEngine(network, "abacus")


# ---- links


def links() -> tuple[Link, Link]:
    one, other = socket.socketpair()
    return Link(one), Link(other)


def test_both_may_send_much_at_once() -> None:
    """Neither waits for the other to read first."""
    one, other = links()
    frame = bytes(range(256)) * 4096
    got: list[bytes] = []

    def exchange(link: Link) -> None:
        for _ in range(20):
            link.put(frame)
        until = time.monotonic() + 20
        count = 0
        while count < 20 or link.sending:
            if (came := link.take()) is not None:
                got.append(bytes(came))
                count += 1
            else:
                wait([link], until)

    threads = [threading.Thread(target=exchange, args=(link,)) for link in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert got == [frame] * 40
    assert one.sent == other.received == 20 * len(frame)


def test_silence_ends_in_an_error() -> None:
    one, _other = links()
    with pytest.raises(WireError, match="silent"):
        one.receive(0.05)


def test_an_end_in_the_middle_is_an_error() -> None:
    one, other = links()
    other._socket.setblocking(True)
    other._socket.sendall((9).to_bytes(4, "big") + b"abc")
    other.close()
    with pytest.raises(WireError, match="ended in the middle"):
        one.receive(1)


@pytest.mark.parametrize("size", [0, MAX_FRAME_BYTES + 1, 0xFFFFFFFF])
def test_a_frame_of_a_wrong_size_is_refused(size: int) -> None:
    one, other = links()
    other._socket.sendall(size.to_bytes(4, "big"))
    with pytest.raises(ProtocolError, match="frame of"):
        one.receive(1)
