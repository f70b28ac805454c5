"""Whatever does not belong raises `ProtocolError`, ends the party, and opens nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from blind_samples import fill, images, lenet, seeds, session, tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.blind.dealer import DealerParty
from protocols.blind.local import Parties, make_parties, run_parties
from protocols.blind.messages import HEADER_BYTES, PART_BYTES, Kind, Role, decode_frame
from protocols.blind.model import ModelParty
from protocols.blind.party import Party
from protocols.blind.patient import PatientParty
from protocols.blind.session import UsedSessions
from protocols.blind.weights import mask_weights
from protocols.errors import ProtocolError

NETWORK = fill(tiny(), 1)
TOP, NAME = NETWORK.topology, NETWORK.network_hash()
IMAGE = images(TOP.input_shape, 1)["random"]
HONEST = run_parties(make_parties(NETWORK, IMAGE, seeds(1), session(1)))
Change = Callable[[bytes], bytes]


def fresh(number: int = 1) -> Parties:
    return make_parties(NETWORK, IMAGE, seeds(number), session(number))


def replay(until: int) -> dict[Role, Party]:
    """Parties that have taken part in the first `until` frames of the honest session."""
    by_role = fresh().by_role()
    for party in by_role.values():
        party.start()
    for sender, to, frame in HONEST[:until]:
        by_role[to].receive(sender, frame)
    return by_role


def assert_dead(party: Party, frm: Role) -> None:
    assert not party.done
    with pytest.raises(ProtocolError):
        _ = party.result  # type: ignore[attr-defined]
    for _, _, frame in HONEST:
        with pytest.raises(ProtocolError):
            party.receive(frm, frame)
    with pytest.raises(ProtocolError):
        party.start()


CHANGES: dict[str, Change] = {
    "empty": lambda f: b"",
    "cut header": lambda f: f[: HEADER_BYTES - 1],
    "no body": lambda f: f[:HEADER_BYTES],
    "one byte short": lambda f: f[:-1],
    "one byte long": lambda f: f + b"\0",
    "huge": lambda f: f + bytes(PART_BYTES),
    "other magic": lambda f: b"XX" + f[2:],
    "other version": lambda f: f[:2] + b"\x09" + f[3:],
    "unknown kind": lambda f: f[:3] + b"\xff" + f[4:],
    "next kind": lambda f: f[:3] + bytes((f[3] + 1,)) + f[4:],
    "next sequence": lambda f: f[:4] + (int.from_bytes(f[4:8], "big") + 1).to_bytes(4, "big") + f[8:],
    "foreign session": lambda f: f[:8] + session(2) + f[HEADER_BYTES:],
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_frame_changed_in_every_way_is_refused(name: str) -> None:
    for at, (sender, to, frame) in enumerate(HONEST):
        party = replay(at)[to]
        with pytest.raises(ProtocolError):
            party.receive(sender, CHANGES[name](frame))
        assert_dead(party, sender)


def test_every_frame_repeated_is_refused() -> None:
    for at in range(len(HONEST)):
        sender, to, frame = HONEST[at]
        party = replay(at + 1)[to]
        with pytest.raises(ProtocolError):
            party.receive(sender, frame)


def test_every_frame_from_the_wrong_role_is_refused() -> None:
    for at, (sender, to, frame) in enumerate(HONEST):
        for role in Role:
            if role is not sender:
                party = replay(at)[to]
                with pytest.raises(ProtocolError):
                    party.receive(role, frame)


def test_a_frame_before_its_turn_is_refused() -> None:
    """P answers before M asked; and any two frames of a link exchanged."""
    for at, (sender, to, _) in enumerate(HONEST):
        later = [f for s, t, f in HONEST[at + 1 :] if (s, t) == (sender, to)]
        for frame in later[:2]:
            party = replay(at)[to]
            with pytest.raises(ProtocolError):
                party.receive(sender, frame)


def test_an_answer_before_the_question_is_refused() -> None:
    """P's reply, rightly numbered, while M still waits for the dealer and has opened nothing."""
    model = fresh().model
    model.start()
    for sender, _, frame in HONEST:
        kind = decode_frame(frame).kind
        if kind == Kind.SEEDS or (sender is Role.PATIENT and kind != Kind.REPLY):
            model.receive(sender, frame)
        if kind == Kind.REPLY:
            with pytest.raises(ProtocolError, match="not to speak now"):
                model.receive(sender, frame)
            return
    raise AssertionError("the session has no reply")


def test_dealer_refuses_every_frame() -> None:
    for _, _, frame in HONEST:
        dealer = fresh().dealer
        dealer.start()
        with pytest.raises(ProtocolError):
            dealer.receive(Role.MODEL, frame)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(HONEST) - 1), st.binary(max_size=200), st.sampled_from(Role))
def test_garbage_raises_protocol_error_and_nothing_else(at: int, garbage: bytes, role: Role) -> None:
    party = replay(at)[HONEST[at][1]]
    with pytest.raises(ProtocolError):
        party.receive(role, garbage)
    assert_dead(party, role)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, len(HONEST) - 1), st.data())
def test_flipped_bits_are_refused_or_harmless(at: int, data: st.DataObject) -> None:
    """A flip in the header is refused. One in the body is refused or gives another value of the same length:
    against a lying peer the protocol promises no right result, only that nothing but `ProtocolError` comes of it."""
    sender, to, frame = HONEST[at]
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    changed = bytearray(frame)
    changed[bit // 8] ^= 1 << (bit % 8)
    by_role = replay(at)
    try:
        queue = [(to, out) for out in by_role[to].receive(sender, bytes(changed))]
        while queue:
            here, out = queue.pop(0)
            queue += [(out.to, o) for o in by_role[out.to].receive(here, out.frame)]
    except ProtocolError:
        return
    assert bit >= 8 * HEADER_BYTES


def test_sessions_and_parties_serve_once() -> None:
    used = UsedSessions()
    masked = mask_weights(NETWORK, seeds(1).model_dealer)
    makers: list[Callable[[UsedSessions], Party]] = [
        lambda u: PatientParty(TOP, NAME, IMAGE, session(1), seeds(1).patient_dealer, u),
        lambda u: ModelParty(NETWORK, masked, session(1), u),
        lambda u: DealerParty(TOP, NAME, session(1), *(bytes(32),) * 3, u),
    ]
    for make in makers:
        used = UsedSessions()
        make(used)
        with pytest.raises(ProtocolError, match="used before"):
            make(used)
        with pytest.raises(ProtocolError, match="used before"):
            make(UsedSessions(used.all()))
    for bad in (b"", bytes(31), bytes(33)):
        with pytest.raises(ProtocolError):
            UsedSessions().claim(bad)
    party = makers[0](UsedSessions())
    party.start()
    with pytest.raises(ProtocolError):
        party.start()


def test_not_started_or_done_takes_no_frame() -> None:
    parties = fresh()
    with pytest.raises(ProtocolError):
        parties.model.receive(Role.PATIENT, HONEST[0][2])
    parties = fresh()
    run_parties(parties)
    result = parties.patient.result.bucket
    with pytest.raises(ProtocolError):
        parties.patient.receive(Role.MODEL, HONEST[-1][2])
    assert parties.patient.result.bucket == result
    assert all(p.steps_done == p.steps_total for p in parties.by_role().values())


def test_seeds_and_networks_that_do_not_match_are_refused() -> None:
    keys, other = seeds(1), seeds(2)
    masked = mask_weights(NETWORK, keys.model_dealer)

    def run(patient_seed: bytes, dealer: tuple[bytes, bytes], name: bytes) -> None:
        parties = Parties(
            PatientParty(TOP, name, IMAGE, session(1), patient_seed, UsedSessions()),
            ModelParty(NETWORK, masked, session(1), UsedSessions()),
            DealerParty(TOP, NAME, session(1), *dealer, keys.dealer, UsedSessions()),
        )
        run_parties(parties)

    run(keys.patient_dealer, (keys.patient_dealer, keys.model_dealer), NAME)
    with pytest.raises(ProtocolError, match="seeds"):
        run(other.patient_dealer, (keys.patient_dealer, keys.model_dealer), NAME)
    with pytest.raises(ProtocolError, match="seeds"):
        run(keys.patient_dealer, (keys.patient_dealer, other.model_dealer), NAME)
    with pytest.raises(ProtocolError, match="another network"):
        run(keys.patient_dealer, (keys.patient_dealer, keys.model_dealer), bytes(32))
    for bad in (b"", bytes(16)):
        with pytest.raises(ProtocolError, match="seed"):
            run(bad, (keys.patient_dealer, keys.model_dealer), NAME)


def test_images_of_another_shape_or_type_are_refused() -> None:
    for image in (np.zeros((1, 4, 5), np.int8), np.zeros((4, 4), np.int8), np.zeros((1, 4, 4), np.float32)):
        with pytest.raises(ProtocolError, match="prepare the scan"):
            PatientParty(TOP, NAME, image, session(1), bytes(32), UsedSessions())


def test_long_messages_travel_in_bounded_frames() -> None:
    """BigLeNet's tables take several frames; a part left out or cut is refused."""
    network = fill(lenet(64), 2)
    image = images((3, 64, 64), 2)["random"]
    parties = make_parties(network, image, seeds(2), session(2))
    outs = parties.dealer.start()
    assert max(len(o.frame) for o in outs) == HEADER_BYTES + PART_BYTES
    at = next(i for i, o in enumerate(outs) if len(o.frame) == HEADER_BYTES + PART_BYTES)
    for bad in (outs[at].frame[:-1], outs[at + 1].frame):
        model = make_parties(network, image, seeds(2), session(2)).model
        model.start()
        for out in outs[:at]:
            model.receive(Role.DEALER, out.frame)
        with pytest.raises(ProtocolError):
            model.receive(Role.DEALER, bad)
    assert decode_frame(outs[at].frame).kind == decode_frame(outs[at + 1].frame).kind
