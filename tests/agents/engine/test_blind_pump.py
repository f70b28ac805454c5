"""The pump: honest sessions, flow control, and every way a peer can fail, each with an error that names it."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from agents.engine.blind import Traffic
from protocols.blind.messages import HEADER_BYTES, MAX_FRAME_BYTES, Kind
from protocols.blind.schedule import costs
from protocols.errors import PeerLeft, PeerMisspoke, PeerStalled, ProtocolError, SeedsDiffer
from tests.agents.engine.blind_pairs import Frames, Stage
from tests.protocols.blind.blind_samples import fill, lenet, tiny

NETWORK = fill(tiny(), 1)
IMAGES = np.random.default_rng(0).integers(-128, 128, (2, *NETWORK.topology.input_shape))


def nothing_opened(stage: Stage) -> None:
    """Neither side has a result, and no answer to the bucket went out."""
    for party in (stage.patient, stage.model):
        with pytest.raises(ProtocolError):
            _ = party.result
    assert all(frame[3:4] != bytes((Kind.ANSWER,)) for frame in stage.at_patient.log)


def test_honest_session() -> None:
    stage = Stage(NETWORK, IMAGES)
    patient, model = asyncio.run(stage.run())
    assert isinstance(patient, Traffic)
    assert isinstance(model, Traffic)
    assert stage.patient.result.bucket == stage.model.result.bucket
    bill = costs(NETWORK.topology, 2)
    assert patient.sent + patient.received == bill.total - bill.tape
    assert model.received == patient.sent + bill.tape


def test_the_dealers_link_is_not_read_ahead_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The patient says nothing: the tape waits in the channel, not in the model's memory."""
    monkeypatch.setattr("agents.engine.blind.QUEUE", 2)
    network, limit = fill(lenet(32), 1), 1 << 20
    images = np.zeros((48, 3, 32, 32), np.int64)
    stage = Stage(network, images, {"patient": silent(0)}, backlog=limit, patience=2)
    asyncio.run(stage.run())
    assert costs(network.topology, 48).tape > 12 * limit
    # The limit, the frame that passed it, and what the pump's queue held.
    assert limit < stage.from_dealer.received < limit + 5 * MAX_FRAME_BYTES


def only(number: int, make: Frames) -> Frames:
    """`make` for one frame."""
    return lambda n, frame: make(n, frame) if n == number else [frame]


def silent(number: int) -> Frames:
    """Nothing from that frame on."""
    return lambda n, frame: [frame] if n < number else []


SPEAKERS = [
    ("patient", 0),
    ("patient", 2),
    ("patient", 4),
    ("model", 0),
    ("model", 1),
    ("dealer", 0),
    ("dealer", 2),
]


@pytest.mark.parametrize(("role", "number"), SPEAKERS)
def test_who_stalls_is_named(role: str, number: int) -> None:
    """Whoever waits for the silent one gives up first; what the others see follows from that."""
    model, patient = (5.0, 0.3) if role == "model" else (0.3, 5.0)
    stage = Stage(NETWORK, IMAGES, {role: silent(number)}, patience=model, patients=patient, stays=True)
    ends = asyncio.run(stage.run())
    named = [e for e in ends if isinstance(e, PeerStalled) and f"the {role} fell silent" in e.fault]
    assert named, ends
    if role != "patient" or number < 4:
        nothing_opened(stage)


@pytest.mark.parametrize(("role", "number"), SPEAKERS)
def test_who_leaves_in_the_middle_is_named(role: str, number: int) -> None:
    leave: Frames = lambda n, frame: [frame] if n < number else None  # noqa: E731
    stage = Stage(NETWORK, IMAGES, {role: leave}, patience=3)
    ends = asyncio.run(stage.run())
    named = [e for e in ends if isinstance(e, PeerLeft) and f"the {role} ended" in e.fault]
    assert named, ends


TWISTS = {
    "cut short": lambda n, frame: [frame[:-1]],
    "made longer": lambda n, frame: [frame + b"\0"],
    "empty": lambda n, frame: [b""],
    "repeated": lambda n, frame: [frame, frame],
    "garbage": lambda n, frame: [bytes(len(frame))],
    "of another session": lambda n, frame: [frame[:8] + bytes(32) + frame[HEADER_BYTES:]],
    "of another kind": lambda n, frame: [frame[:3] + bytes((frame[3] % 14 + 1,)) + frame[4:]],
    "too long for a channel": lambda n, frame: [frame + bytes(2 << 20)],
}


@pytest.mark.parametrize("what", TWISTS)
@pytest.mark.parametrize(("role", "number"), SPEAKERS)
def test_who_misspeaks_is_named(role: str, number: int, what: str) -> None:
    stage = Stage(NETWORK, IMAGES, {role: only(number, TWISTS[what])}, patience=1)
    ends = asyncio.run(stage.run())
    named = [e for e in ends if isinstance(e, PeerMisspoke) and f"the {role} broke the protocol" in e.fault]
    last = role == "patient" and number == 4 and what == "repeated"  # the model had all that it needed
    assert named or last, (ends, what)
    if number < 4:
        nothing_opened(stage)


def test_a_seed_that_is_not_the_tapes_is_noticed() -> None:
    stage = Stage(NETWORK, IMAGES, wrong_seed=True, patience=2)
    _, model = asyncio.run(stage.run())
    assert isinstance(model, SeedsDiffer)
    nothing_opened(stage)
