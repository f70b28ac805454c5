"""Whatever does not belong raises `ProtocolError`, ends the party, and opens nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
from blind_reach import holds
from blind_samples import fill, image, images, seeds, session, tape_of, tiny, topology
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.blind.dealer import TapeSeeds, deal_tape
from protocols.blind.kernels import PortableKernels
from protocols.blind.layers import Affine, Clip, Conv
from protocols.blind.local import Parties, make_parties, run_parties
from protocols.blind.messages import HEADER_BYTES, PART_BYTES, Kind, Role, decode_frame, encode_frames
from protocols.blind.model import ModelParty
from protocols.blind.party import Party
from protocols.blind.patient import PatientParty
from protocols.blind.schedule import MAX_BATCH, schedule
from protocols.blind.session import UsedSessions
from protocols.blind.weights import MaskedWeights, ModelWeights, Pads
from protocols.errors import ProtocolError

KERNELS = PortableKernels()
NETWORK = fill(tiny(), 1)
TOP, NAME = NETWORK.topology, NETWORK.network_hash()
BATCH = np.stack([images(TOP.input_shape, 1)[kind] for kind in ("random", "smooth")])
KEYS, SESSION, TAPE = seeds(1), session(1), tape_of(session(1))
WEIGHTS = ModelWeights(NETWORK, KEYS.model_dealer, KERNELS)
PADS = Pads(TOP, NAME, KEYS.model_dealer)
DEALT = [bytes(f) for f in deal_tape(PADS, TapeSeeds(TAPE, KEYS.patient_dealer, KEYS.dealer), 2)]
Change = Callable[[bytes], bytes]


def patient(known: MaskedWeights | None = None, picture: object = BATCH) -> PatientParty:
    seed = KEYS.patient_dealer
    return PatientParty(TOP, NAME, picture, SESSION, TAPE, seed, UsedSessions(), known, kernels=KERNELS)  # type: ignore[arg-type]


def model() -> ModelParty:
    return ModelParty(WEIGHTS, SESSION, TAPE, UsedSessions(), 2)


@lru_cache(maxsize=2)
def honest(known: bool = False) -> tuple[tuple[Role, Role, bytes], ...]:
    return tuple(run_parties(Parties(patient(WEIGHTS.masked if known else None), model(), DEALT)))


HONEST = honest()


def replay(until: int, known: bool = False) -> dict[Role, Party]:
    """Parties that have taken part in the first `until` frames of the honest session."""
    parties: dict[Role, Party] = {
        Role.PATIENT: patient(WEIGHTS.masked if known else None),
        Role.MODEL: model(),
    }
    for party in parties.values():
        party.start()
    for sender, to, frame in honest(known)[:until]:
        parties[to].receive(sender, frame)
    return parties


def assert_dead(party: Party) -> None:
    """Nothing is opened, nothing more is taken, nothing secret is kept."""
    assert not party.done
    assert not party.waiting
    with pytest.raises(ProtocolError):
        _ = party.result  # type: ignore[attr-defined]
    for sender, _, frame in HONEST:
        with pytest.raises(ProtocolError):
            party.receive(sender, frame)
    with pytest.raises(ProtocolError):
        party.start()
    if isinstance(party, PatientParty):
        with pytest.raises(ProtocolError):
            party.begin(BATCH)
    assert not holds(BATCH, TOP.ring_bits, party)
    assert not any(holds(w, TOP.ring_bits, party) for layer in NETWORK.weights for w in layer)


CHANGES: dict[str, Change] = {
    "empty": lambda f: b"",
    "cut header": lambda f: f[: HEADER_BYTES - 1],
    "no body": lambda f: f[:HEADER_BYTES],
    "one byte short": lambda f: f[:-1],
    "one byte long": lambda f: f + b"\0",
    "huge": lambda f: f + bytes(PART_BYTES),
    "other magic": lambda f: b"XX" + f[2:],
    "other version": lambda f: f[:2] + bytes((f[2] + 1,)) + f[3:],
    "unknown kind": lambda f: f[:3] + b"\xff" + f[4:],
    "next kind": lambda f: f[:3] + bytes((f[3] + 1,)) + f[4:],
    "kind before": lambda f: f[:3] + bytes((f[3] - 1,)) + f[4:],
    "next sequence": lambda f: f[:4] + (int.from_bytes(f[4:8], "big") + 1).to_bytes(4, "big") + f[8:],
    "sequence from the start": lambda f: f[:4] + (1 << 31).to_bytes(4, "big") + f[8:],
    "foreign session": lambda f: f[:8] + session(2) + f[HEADER_BYTES:],
    "foreign tape": lambda f: f[:8] + tape_of(session(2)) + f[HEADER_BYTES:],
    "session for tape": lambda f: f[:8] + tape_of(f[8:HEADER_BYTES]) + f[HEADER_BYTES:],
}


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("name", CHANGES)
def test_every_frame_changed_in_every_way_is_refused(name: str, known: bool) -> None:
    for at, (sender, to, frame) in enumerate(honest(known)):
        party = replay(at, known)[to]
        with pytest.raises(ProtocolError):
            party.receive(sender, CHANGES[name](frame))
        assert_dead(party)


def test_every_frame_repeated_is_refused() -> None:
    for at, (sender, to, frame) in enumerate(HONEST):
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
                assert_dead(party)


def test_frames_of_one_link_exchanged_are_refused() -> None:
    for at, (sender, to, _) in enumerate(HONEST):
        for frame in [f for s, t, f in HONEST[at + 1 :] if (s, t) == (sender, to)]:
            party = replay(at)[to]
            with pytest.raises(ProtocolError):
                party.receive(sender, frame)


def fed_except(withheld: Kind, until: Kind) -> tuple[ModelParty, bytes]:
    """M with everything in order before P's first `until`, but the dealer's frames from `withheld` on."""
    party = model()
    party.start()
    kinds = [decode_frame(f).kind for f in DEALT]
    for frame in DEALT[: kinds.index(withheld)]:
        party.receive(Role.DEALER, frame)
    for sender, _, frame in HONEST:
        if sender is Role.PATIENT:
            if decode_frame(frame).kind == until:
                return party, frame
            party.receive(sender, frame)
    raise AssertionError(until)


@pytest.mark.parametrize(
    ("withheld", "until"),
    [
        (Kind.TAPE, Kind.MASKED),  # before WEIGHTS
        (Kind.LINEAR, Kind.REPLY),  # before any OPEN
        (Kind.TABLES, Kind.REPLY),
        (Kind.BUCKET, Kind.ANSWER),  # before LOGITS
    ],
)
def test_an_answer_before_its_question_is_refused(withheld: Kind, until: Kind) -> None:
    """Rightly numbered, of the right length, from the right role: only too early."""
    party, frame = fed_except(withheld, until)
    with pytest.raises(ProtocolError, match="not to speak now"):
        party.receive(Role.PATIENT, frame)
    assert_dead(party)


@pytest.mark.parametrize("kind", [Kind.MASKED_LOGIT, Kind.IMAGE])
def test_an_image_before_the_weights_is_refused(kind: Kind) -> None:
    """The same for what follows MASKED, where a network without clips has none."""
    thresholds = (1, 2, 3) if kind is Kind.MASKED_LOGIT else ()
    top = topology((Affine((Conv(0, 1, 2),)),), (1, 2, 2), 12, thresholds=thresholds)
    parties = make_parties(fill(top, 1), image(top, "random"), KEYS, SESSION)
    parties.model.start()
    parties.model.receive(Role.PATIENT, parties.patient.start()[0].frame)
    item = next(i for i in schedule(top) if i.kind is kind)
    early = next(encode_frames(kind, SESSION, 1, bytes(item.size)))
    with pytest.raises(ProtocolError, match="not to speak now"):
        parties.model.receive(Role.PATIENT, early)


def test_an_opening_before_there_is_an_image_is_refused() -> None:
    """P has done what it can ahead and waits for the person; M may not begin."""
    party = patient(picture=2)
    parties = {Role.PATIENT: party, Role.MODEL: model()}
    for one in parties.values():
        one.start()
    for sender, to, frame in HONEST:
        if decode_frame(frame).kind == Kind.OPEN:
            assert party.waiting
            with pytest.raises(ProtocolError, match="not to speak now"):
                party.receive(sender, frame)
            assert_dead(party)
            return
        if decode_frame(frame).kind != Kind.IMAGE:
            parties[to].receive(sender, frame)


def test_images_are_given_once_and_only_when_waited_for() -> None:
    party, other = patient(picture=2), model()
    with pytest.raises(ProtocolError, match="not waiting"):
        party.begin(BATCH)
    outs = party.start()
    other.start()
    other_outs = [o for f in DEALT for o in other.receive(Role.DEALER, f)]
    for out in outs:
        other_outs += other.receive(Role.PATIENT, out.frame)
    ahead = party.receive(Role.MODEL, other_outs[0].frame)
    assert party.waiting
    for bad in (BATCH[:1], BATCH[:, :, :3], BATCH.astype(np.float32), BATCH[0]):
        with pytest.raises(ProtocolError, match="prepare the scan"):
            party.begin(bad)
    assert party.waiting, "a wrong picture is no fault of the protocol"
    sent = party.begin(BATCH)
    assert [decode_frame(o.frame).kind for o in sent] == [Kind.IMAGE]
    assert [o.frame for o in (*outs, *ahead, *sent)] == [
        f for s, _, f in HONEST if s is Role.PATIENT and decode_frame(f).kind <= Kind.IMAGE
    ]
    with pytest.raises(ProtocolError, match="not waiting"):
        party.begin(BATCH)


def test_no_frame_is_taken_before_the_start_or_after_the_end() -> None:
    for party in (patient(), model()):
        with pytest.raises(ProtocolError, match="not started"):
            party.receive(Role.PATIENT, HONEST[0][2])
    parties = Parties(patient(), model(), DEALT)
    transcript = run_parties(parties)
    result = parties.patient.result.bucket
    for sender, to, frame in transcript[-2:]:
        party = parties.patient if to is Role.PATIENT else parties.model
        with pytest.raises(ProtocolError, match="complete"):
            party.receive(sender, frame)
        with pytest.raises(ProtocolError):
            party.start()
    assert parties.patient.result.bucket == parties.model.result.bucket == result
    for party in (parties.patient, parties.model):
        assert party.steps_done == party.steps_total
        assert party.awaits is None


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(HONEST) - 1), st.binary(max_size=200), st.sampled_from(Role), st.booleans())
def test_garbage_raises_protocol_error_and_nothing_else(
    at: int, garbage: bytes, role: Role, headed: bool
) -> None:
    _, to, frame = HONEST[at]
    party = replay(at)[to]
    with pytest.raises(ProtocolError):
        party.receive(
            role, frame[:HEADER_BYTES] + garbage[: len(frame) - HEADER_BYTES - 1] if headed else garbage
        )
    assert_dead(party)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(HONEST) - 1), st.data())
def test_noise_of_the_right_length_is_refused_or_carried_to_the_end(at: int, data: st.DataObject) -> None:
    """Against a lying peer the protocol promises no right result; only that nothing but `ProtocolError` comes of it."""
    frame = HONEST[at][2]
    size = len(frame) - HEADER_BYTES
    noise = np.random.default_rng(data.draw(st.integers(0, 1000))).bytes(size)
    run_on(at, frame[:HEADER_BYTES] + noise)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, len(HONEST) - 1), st.data())
def test_flipped_bits_are_refused_or_harmless(at: int, data: st.DataObject) -> None:
    """A flip in the header is refused. One in the body is refused or gives another value of the same length."""
    frame = HONEST[at][2]
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    changed = bytearray(frame)
    changed[bit // 8] ^= 1 << (bit % 8)
    if run_on(at, bytes(changed)):
        assert bit >= 8 * HEADER_BYTES


def run_on(at: int, frame: bytes) -> bool:
    """The session with one frame changed; whether it came to its end."""
    parties = replay(at)
    queue = [(sender, to, f) for sender, to, f in HONEST[at + 1 :] if sender is Role.DEALER]
    try:
        sender, to, _ = HONEST[at]
        queue = [(to, out.to, out.frame) for out in parties[to].receive(sender, frame)] + queue
        waiting = [(s, t, f) for s, t, f in HONEST[at + 1 :] if s is not Role.DEALER and _sent_by(at, s, f)]
        queue = waiting + queue
        while queue:
            frm, here, data = queue.pop(0)
            queue += [(here, out.to, out.frame) for out in parties[here].receive(frm, data)]
    except ProtocolError:
        return False
    return True


def _sent_by(at: int, sender: Role, frame: bytes) -> bool:
    """Whether `frame` was already on its way when the first `at` frames had been taken."""
    party: Party = patient() if sender is Role.PATIENT else model()
    on_the_way = [o.frame for o in party.start()]
    for frm, to, data in HONEST[:at]:
        if to is sender:
            on_the_way += [o.frame for o in party.receive(frm, data)]
    return frame in on_the_way


def test_seeds_and_networks_that_do_not_match_are_refused() -> None:
    other = seeds(2)

    def run(seed: bytes, name: bytes, tape_seed: bytes, model_seed: bytes, dealt_for: int = 2) -> None:
        one = PatientParty(TOP, name, BATCH, SESSION, TAPE, seed, UsedSessions())
        pads = Pads(TOP, NAME, model_seed)
        frames = list(deal_tape(pads, TapeSeeds(TAPE, tape_seed, KEYS.dealer), dealt_for))
        run_parties(Parties(one, model(), frames))

    mine, shared = KEYS.patient_dealer, KEYS.model_dealer
    run(mine, NAME, mine, shared)
    with pytest.raises(ProtocolError, match="seed"):
        run(other.patient_dealer, NAME, mine, shared)
    with pytest.raises(ProtocolError, match="seed"):
        run(mine, NAME, mine, other.model_dealer)
    with pytest.raises(ProtocolError, match="another network"):
        run(mine, bytes(32), mine, shared)
    with pytest.raises(ProtocolError):  # a tape of another batch
        run(mine, NAME, mine, shared, 1)
    for bad in (b"", bytes(16), bytes(64)):
        with pytest.raises(ProtocolError, match="seed"):
            run(bad, NAME, mine, shared)


def test_a_batch_or_an_image_that_counts_out_of_range_is_refused() -> None:
    for batch in (0, MAX_BATCH + 1):
        with pytest.raises(ProtocolError, match="batch"):
            ModelParty(WEIGHTS, SESSION, TAPE, UsedSessions(), batch)
        with pytest.raises(ProtocolError, match="batch"):
            PatientParty(TOP, NAME, batch, SESSION, TAPE, bytes(32), UsedSessions())
    for counts in (-1, 2):
        with pytest.raises(ProtocolError, match="counts"):
            PatientParty(TOP, NAME, BATCH, SESSION, TAPE, bytes(32), UsedSessions(), counts=counts)


def test_images_of_another_shape_or_type_are_refused() -> None:
    for batch in (
        np.zeros((1, 1, 4, 5), np.int8),
        np.zeros((1, 4, 4), np.int8),
        np.zeros((4, 4), np.int8),
        np.zeros((1, 1, 4, 4), np.float32),
        np.zeros((1, 1, 4, 4), bool),
    ):
        with pytest.raises(ProtocolError, match="prepare the scan"):
            PatientParty(TOP, NAME, batch, SESSION, TAPE, bytes(32), UsedSessions())


def test_an_answer_that_is_no_bucket_share_is_refused() -> None:
    at = next(i for i, (_, _, f) in enumerate(HONEST) if decode_frame(f).kind == Kind.ANSWER)
    frame = HONEST[at][2]
    for body in (b"\0\0\x04", b"\0\0\xff", b"\0\x02\0", b"\xff\xff\0"):
        party = replay(at)[Role.MODEL]
        with pytest.raises(ProtocolError, match="no bucket share"):
            party.receive(Role.PATIENT, frame[:HEADER_BYTES] + body)
        assert_dead(party)


def test_masked_weights_of_a_wrong_name_or_length_are_refused() -> None:
    at = next(i for i, (_, _, f) in enumerate(honest(True)) if decode_frame(f).kind == Kind.KNOWN)
    frame = honest(True)[at][2]
    party = replay(at, True)[Role.PATIENT]
    with pytest.raises(ProtocolError, match="other masked weights"):
        party.receive(Role.MODEL, frame[:HEADER_BYTES] + bytes(32))
    assert_dead(party)
    encoded = WEIGHTS.masked.encode()
    for bad in (b"", encoded[:-1], encoded + b"\0"):
        with pytest.raises(ProtocolError, match="wrong length"):
            MaskedWeights(TOP, NAME, bad)


def test_a_result_that_is_not_trusted_opens_nothing() -> None:
    """What P's own check raises ends it before M learns the bucket."""

    class Doubting(PatientParty):
        def _check(self, result: object) -> None:
            raise ProtocolError("it does not hold", "stop")

    seed = KEYS.patient_dealer
    party = Doubting(TOP, NAME, BATCH, SESSION, TAPE, seed, UsedSessions(), kernels=KERNELS)
    other = model()
    with pytest.raises(ProtocolError, match="does not hold"):
        run_parties(Parties(party, other, DEALT))
    assert_dead(party)
    with pytest.raises(ProtocolError):
        _ = other.result


def test_long_messages_travel_in_bounded_frames() -> None:
    """The largest tables of a whole chunk take several frames; a part left out, cut or repeated is refused."""
    nodes = (Affine((Conv(0, 1, 1),)), Clip(1, 10, 6), Affine((Conv(2, 1, 1),)))
    network = fill(topology(nodes, (1, 128, 256), 24), 2)
    weights, name = ModelWeights(network, KEYS.model_dealer), network.network_hash()
    pads = Pads(network.topology, name, KEYS.model_dealer)
    frames = [bytes(f) for f in deal_tape(pads, TapeSeeds(TAPE, KEYS.patient_dealer, KEYS.dealer))]
    assert max(len(f) for f in frames) == HEADER_BYTES + PART_BYTES
    at = next(i for i, f in enumerate(frames) if len(f) == HEADER_BYTES + PART_BYTES)
    assert frames[at][3] == frames[at + 1][3] == Kind.TABLES
    for given_until, bad in (
        (at, frames[at][:-1]),
        (at, frames[at + 1]),
        (at + 1, frames[at]),
        (at + 1, frames[at + 2]),
    ):
        party = ModelParty(weights, SESSION, TAPE, UsedSessions())
        party.start()
        for frame in frames[:given_until]:
            party.receive(Role.DEALER, frame)
        assert party.backlog(Role.DEALER) > 0
        with pytest.raises(ProtocolError):
            party.receive(Role.DEALER, bad)
        assert party.backlog(Role.DEALER) == 0
