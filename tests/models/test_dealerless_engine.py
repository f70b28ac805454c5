"""The engine without a dealer: two real processes, real encryption."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from typing import Any

import engine_samples as samples
import numpy as np
import pytest
from interrupted import interrupted

from models.engines import make_engine
from models.engines.link import Link
from models.engines.talking import carry
from protocols.blind.pairwise.talk import Talk, Talks
from protocols.blind.schedule import costs
from protocols.errors import ProtocolError, UserError


@pytest.mark.he
def test_who_lacks_the_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from models.engines.dealerless import make_dealerless

    for missing in ("tenseal", "tenseal.sealapi"), ("nacl", "nacl.bindings"):
        with monkeypatch.context() as patch:
            for name in missing:
                patch.setitem(sys.modules, name, None)
            with pytest.raises(UserError, match=f"{missing[0]}.*scripts/setup he"):
                make_dealerless(samples.every_kind())


@pytest.mark.he
def test_it_agrees_with_the_plain_engine() -> None:
    """Every kind of layer; a second call, in which E is known; bytes that the socket moved."""
    from models.engines.dealerless import DealerlessEngine

    network = samples.every_kind()
    images = samples.images(network.topology, 2)
    with DealerlessEngine(network) as engine, make_engine("plain", network) as plain:
        right = plain.predict(images)
        for known in (False, True):
            before = engine._moved
            told = engine.predict(images)
            bill = costs(network.topology, 2, known)
            assert np.abs(told.logits - right.logits).max() < 0.08 * np.abs(right.logits).max()
            assert told.bytes_online == bill.bytes_online
            assert (
                0 <= engine._moved - before - told.bytes_ahead - told.bytes_online < 400
            )  # the order, the leak
            assert told.seconds > 0
            assert told.seconds_ahead > told.seconds
            assert told.rounds > bill.rounds
        assert 0 < engine.leak < 2.0**-45
        with pytest.raises(UserError, match="int8"):
            engine.predict(images.astype(np.int16))  # type: ignore[arg-type]
        assert engine.predict(images[:1]).logits.shape == (1, right.logits.shape[1])


@pytest.mark.he
def test_a_killed_process_ends_in_one_sentence() -> None:
    from models.engines.dealerless import DealerlessEngine

    network = samples.every_kind()
    with DealerlessEngine(network) as engine:
        os.kill(engine.process, signal.SIGKILL)
        with pytest.raises(UserError, match="without a dealer stopped") as told:
            engine.predict(samples.images(network.topology, 1))
    assert "\n" not in str(told.value)


@pytest.mark.he
@pytest.mark.parametrize("wait", [0.4, None])
def test_ctrl_c_leaves_no_traceback_and_no_process(wait: float | None) -> None:
    code, said, left = interrupted("models.engines.dealerless", "DealerlessEngine", wait)
    assert (code, said, left) == (130, "", [])


def echo(words: bytes) -> Talk[bytes]:
    heard = yield words
    return b"", heard


def answer(words: bytes) -> Talk[bytes]:
    heard = yield b""
    return words, heard


def test_long_words_go_in_parts() -> None:
    """Twenty megabytes each way at once, longer than frame and buffer, arrive whole."""
    here, there = socket.socketpair()
    long = [np.random.default_rng(i).bytes(20_000_001) for i in range(2)]
    got: list[list[bytes]] = [[], []]
    other = threading.Thread(target=lambda: carry(Talks(iter([answer(long[1])]), got[1].append), Link(there)))
    other.start()
    carry(Talks(iter([echo(long[0])]), got[0].append), Link(here))
    other.join(20)
    assert got == [[long[1]], [long[0]]]


@pytest.mark.parametrize("frame", [b"\2" + bytes(9), b"\0\0\0\0", b"\0" + bytes(4) + b"xy"])
def test_a_part_that_is_none_ends_it(frame: bytes) -> None:
    here, there = socket.socketpair()
    Link(there).send(frame)

    def deaf(_: bytes = b"") -> Talk[bytes]:
        yield b"said"
        raise ProtocolError("not what was due")

    with pytest.raises(ProtocolError):
        carry(Talks(iter([deaf()]), lambda _: None), Link(here), 5)
    there.close()


@pytest.mark.he
def test_a_batch_whose_tape_is_too_long_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    from models.engines import dealerless

    network = samples.every_kind()
    images = samples.images(network.topology, 3)
    monkeypatch.setattr(dealerless, "MOST_TAPE", 2 * costs(network.topology, 1, known=True).tape)
    parts: list[int] = []
    whole = dealerless.DealerlessEngine._predict

    def counted(engine: dealerless.DealerlessEngine, some: Any) -> Any:
        parts.append(len(some))
        return whole(engine, some)

    monkeypatch.setattr(dealerless.DealerlessEngine, "_predict", counted)
    with dealerless.DealerlessEngine(network) as engine, make_engine("plain", network) as plain:
        told, right = engine.predict(images), plain.predict(images)
    assert parts == [2, 1]
    assert told.logits.shape == right.logits.shape
    assert np.abs(told.logits - right.logits).max() < 0.2 * np.abs(right.logits).max() + 0.1
