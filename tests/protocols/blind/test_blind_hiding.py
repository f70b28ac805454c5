"""Each party's view: uniform noise, the same for any secret of the other side, and made by a simulator.

`blind_views.py` takes the views apart, `blind_statistics.py` states the probability of a false alarm, and broken
variants of the protocol show that what would leak is seen. The rest: length and order say nothing, and the attack on
CrypTen's default provider fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from blind_samples import (
    draw,
    every_topology,
    fill,
    image,
    images,
    lenet,
    seeds,
    session,
    tape_of,
    tiny,
    topology,
)
from blind_statistics import LIMIT, Field, View, differences, findings, stack, whole
from blind_views import (
    Watched,
    masked_weights,
    model_view,
    opened_bucket,
    patient_view,
    received,
    replay_model,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from simulators import (
    ModelIdeal,
    PatientIdeal,
    shares_of_model,
    simulate_dealer,
    simulate_model,
    simulate_patient,
)

from protocols.blind import bucket, weights
from protocols.blind.kernels import ClipSize, Mask, PortableKernels, Words
from protocols.blind.kernels.portable import signed
from protocols.blind.layers import Affine, Clip, Conv, ConvTranspose, Dense, Flatten, MaxPool
from protocols.blind.local import Seeds, Transcript, run_local
from protocols.blind.masks import PatientMasks
from protocols.blind.messages import HEADER_BYTES, Kind, Role, decode_frame
from protocols.blind.network import Network
from protocols.blind.schedule import schedule
from protocols.blind.walk import affine_steps
from protocols.blind.weights import ModelWeights, _pads

RUNS, FEW, BATCH = 24, 8, 64
# A clip that floors at 0, one that goes below, a maximum, two logits with a bucket of their difference.
TOP = topology(
    (
        Affine((Conv(0, 2, 3, 2, 1),)),
        Clip(1, 3, 2),
        Affine((Conv(2, 2, 1),)),
        Clip(3, 4, 1, -8),
        MaxPool(4, 2, 2),
        Flatten(5),
        Affine((Dense(6, 2),)),
    ),
    (1, 4, 4),
    12,
    thresholds=(2, 20, 200),
)
SECRETS = [(1, "white"), (1, "smooth"), (2, "white")]  # network, image


def keys_of(run: int) -> Seeds:
    """Fresh seeds, but for the one of model and dealer: E is made once for a network."""
    fresh = seeds(run)
    return Seeds(fresh.patient_dealer, seeds(0).model_dealer, fresh.dealer)


def real_run(
    net: int, picture: str, run: int, kernels: PortableKernels | None = None
) -> tuple[Network, Seeds, bytes, NDArray[np.int8], Transcript]:
    network, keys, name = fill(TOP, net), keys_of(run), session(run)
    batch = np.repeat(image(TOP, picture), BATCH, axis=0)
    return network, keys, name, batch, run_local(network, batch, keys, name, kernels=kernels)[2]


def views(runs: Iterator[tuple[Network, Seeds, bytes, NDArray[np.int8], Transcript]]) -> dict[Role, View]:
    model, patient = [], []
    for network, keys, name, batch, transcript in runs:
        model.append(model_view(network, keys, name, BATCH, received(transcript, Role.MODEL)))
        frames = received(transcript, Role.PATIENT)
        patient.append(patient_view(network, keys, name, batch, frames)[0])
    return {Role.MODEL: stack(model), Role.PATIENT: stack(patient)}


@lru_cache(maxsize=8)
def real(net: int, picture: str) -> dict[Role, View]:
    """Both views over many runs with fresh seeds, the secrets held fixed."""
    return views(
        real_run(net, picture, run + 1000 * net + 7919 * (picture == "white")) for run in range(RUNS)
    )


@lru_cache(maxsize=8)
def simulated(net: int, picture: str) -> dict[Role, View]:
    """The same from the simulators; seeds of their own."""
    rng = np.random.default_rng(net)
    model, patient = [], []
    network, batch = fill(TOP, net), np.repeat(image(TOP, picture), BATCH, axis=0)
    for run in range(5000, 5000 + RUNS):
        keys, name = keys_of(run), session(run)
        frames = simulate_model(network, keys.model_dealer, name, BATCH, ModelIdeal(network, batch), 0, rng)
        model.append(model_view(network, keys, name, BATCH, frames))
        ideal = PatientIdeal(network, batch)
        frames = simulate_patient(TOP, network.network_hash(), batch, keys.patient_dealer, name, ideal, rng)
        patient.append(patient_view(network, keys, name, batch, frames)[0])
    return {Role.MODEL: stack(model), Role.PATIENT: stack(patient)}


SIDES = pytest.mark.parametrize("side", [Role.MODEL, Role.PATIENT])


@SIDES
@pytest.mark.parametrize("secret", SECRETS)
def test_all_that_is_received_is_uniform_and_independent(secret: tuple[int, str], side: Role) -> None:
    """Values, bits at each place, pairs and triples of an element's bits, masks used again."""
    assert findings(real(*secret)[side], BATCH) == []


@SIDES
def test_every_pair_of_bits_of_a_whole_view_is_independent(side: Role) -> None:
    """Across layers and places too: all that a party receives for one image, taken together."""
    assert whole(real(1, "white")[side]) == []


@SIDES
@pytest.mark.parametrize("other", SECRETS[1:])
def test_no_field_tells_one_secret_from_another(other: tuple[int, str], side: Role) -> None:
    assert differences(real(*SECRETS[0])[side], real(*other)[side]) == []


@SIDES
@pytest.mark.parametrize("secret", SECRETS)
def test_simulated_views_are_as_the_real_ones(secret: tuple[int, str], side: Role) -> None:
    assert findings(simulated(*secret)[side], BATCH) == []
    assert differences(real(*secret)[side], simulated(*secret)[side]) == []


def test_masked_weights_are_uniform_over_seeds() -> None:
    """E, which is made once for a network and a seed, for two networks."""
    made = []
    for net in (1, 2):
        network = fill(TOP, net)
        made.append(np.concatenate([masked_weights(network, draw(f"{net} E {i}")) for i in range(1500)]))
        view = {"weights": {"E": Field(made[-1], TOP.ring_bits)}}
        assert findings(view, len(made[-1])) == []
        assert whole(view) == []
    one, two = ({"weights": {"E": Field(e, TOP.ring_bits)}} for e in made)
    assert differences(one, two) == []


# --- what the tests would see -------------------------------------------------------------------------------


class Leaky(PortableKernels):
    """A dealer whose draws are changed by `bend` before use."""

    def __init__(self, bend: Callable[[ClipSize, Words], Words]) -> None:
        self._bend = bend

    def deal(self, clip: ClipSize, patient: Mask, fresh: Words, made: Mask) -> None:
        super().deal(clip, patient, self._bend(clip, fresh), made)


def cleared(first: int, count: int = 1) -> Callable[[ClipSize, Words], Words]:
    """Bits first..first + count - 1 above the index are 0."""
    return lambda clip, fresh: fresh & ~np.uint32(((1 << count) - 1) << (clip.width + first))


def copied(frm: int, to: int) -> Callable[[ClipSize, Words], Words]:
    """One bit above the index again as another."""

    def bend(clip: ClipSize, fresh: Words) -> Words:
        bit = (fresh >> np.uint32(clip.width + frm)) & np.uint32(1)
        return cleared(to)(clip, fresh) | bit << np.uint32(clip.width + to)

    return bend


Bend = Callable[[ClipSize, Words], Words]
# What the dealer draws too little of, and the field of P's view in which it must show.
DRAWS: dict[str, tuple[Bend, str]] = {
    "d left out": (cleared(0), "values of ~e"),
    "c left out": (cleared(1, 2), "~zo 0"),
    "g left out": (cleared(3, 2), "values of ~go 1"),
    "one c for both cases": (copied(1, 2), "~zo 0[0] ~zo 1[0]"),
    "one g for both cases": (copied(3, 4), "~go 0[0] ~go 1[0]"),
    "g is c": (copied(1, 3), "~go 0[0] ~zo 0[0]"),
    "d is c": (copied(0, 1), "~zo 0"),
    "r left out": (lambda clip, fresh: fresh & ~np.uint32((1 << clip.width) - 1), "values of m"),
    "high digit of r left out": (
        lambda clip, fresh: fresh & ~np.uint32(((1 << clip.high_bits) - 1) << clip.low_bits),
        "values of m",
    ),
    "low digit of r left out": (lambda clip, fresh: fresh & ~np.uint32(clip.ceiling), "values of m"),
    "r is even": (lambda clip, fresh: fresh & ~np.uint32(1), "values of m"),
    "one draw for all elements": (lambda _, fresh: np.full_like(fresh, fresh[0]), "m less next place"),
    "one draw for two elements": (
        lambda _, fresh: np.repeat(fresh[::2], 2)[: fresh.size],
        "m less next place",
    ),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_dealer_that_draws_less_is_seen(name: str) -> None:
    bend, where = DRAWS[name]
    found = views(real_run(1, "smooth", run, Leaky(bend)) for run in range(FEW))[Role.PATIENT]
    assert any(where in finding for finding in findings(found, BATCH))


def zero(method: str) -> Callable[[pytest.MonkeyPatch], None]:
    """A piece of P's seed that is all 0."""

    def change(patch: pytest.MonkeyPatch) -> None:
        real_one = getattr(PatientMasks, method)
        patch.setattr(PatientMasks, method, lambda self, *args: np.zeros_like(real_one(self, *args)))

    return change


def changed_mask(change: Callable[[Mask], Mask]) -> Callable[[pytest.MonkeyPatch], None]:
    def apply(patch: pytest.MonkeyPatch) -> None:
        drawn, cells = PatientMasks._draw, PatientMasks.cells
        patch.setattr(PatientMasks, "_draw", lambda self, *args: change(drawn(self, *args)))
        patch.setattr(
            PatientMasks, "cells", lambda self, *args: [(s, change(m)) for s, m in cells(self, *args)]
        )

    return apply


def changed_image(change: Callable[[Words], Words]) -> Callable[[pytest.MonkeyPatch], None]:
    def apply(patch: pytest.MonkeyPatch) -> None:
        made = PatientMasks.__init__

        def init(self: PatientMasks, *args: Any) -> None:
            made(self, *args)
            self.image = change(self.image)

        patch.setattr(PatientMasks, "__init__", init)

    return apply


def changed_bucket(
    change: Callable[[bucket.BucketMask], bucket.BucketMask],
) -> Callable[[pytest.MonkeyPatch], None]:
    def apply(patch: pytest.MonkeyPatch) -> None:
        drawn = bucket.draw_bucket_mask
        patch.setattr(bucket, "draw_bucket_mask", lambda *args: change(drawn(*args)))

    return apply


def one_tape(patch: pytest.MonkeyPatch) -> None:
    """Every tape expands the same seed under the same name."""
    made = PatientMasks.__init__

    def init(self: PatientMasks, top: Any, name: bytes, tape: bytes, seed: bytes, *more: Any) -> None:
        made(self, top, name, bytes(32), bytes(32), *more)

    patch.setattr(PatientMasks, "__init__", init)


# A piece of P's seed that is missing, and the field of M's view in which it must show.
PIECES: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "wires not masked": (zero("wire"), "values of ~new wire"),
    "layers not masked": (zero("linear"), "~A (x - r) + u"),
    "P's index left out": (zero("index"), "values of ~m less own index"),
    "P's words left out": (
        changed_mask(lambda m: Mask.of(m.clip, m.index, np.zeros_like(m.words), m.rows)),
        "values of dealt word 7",
    ),
    "P's rows left out": (
        changed_mask(lambda m: Mask.of(m.clip, m.index, m.words, np.zeros_like(m.rows))),
        "values of dealt row 0",
    ),
    "one row for all elements": (
        changed_mask(lambda m: Mask.of(m.clip, m.index, m.words, np.repeat(m.rows[:1], len(m.rows), 0))),
        "dealt row 0 less next place",
    ),
    "image not masked": (changed_image(np.zeros_like), "values of image"),
    "one mask for all images": (
        changed_image(lambda r: np.repeat(r[:1], len(r), 0)),
        "image less next image",
    ),
    "image masked by few bits": (changed_image(lambda r: r & np.uint32(0xFF)), "values of image"),
    "bucket's index left out": (
        changed_bucket(lambda m: bucket.BucketMask(m.table, np.zeros_like(m.r))),
        "values of ~m less own r",
    ),
    "bucket's table left out": (
        changed_bucket(lambda m: bucket.BucketMask(np.zeros_like(m.table), m.r)),
        "bucket: table 0",
    ),
    "a tape used again": (one_tape, "image less next run"),
}


@pytest.mark.parametrize("name", PIECES)
def test_a_mask_that_is_missing_or_used_again_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, where = PIECES[name]
    change(monkeypatch)
    found = views(real_run(1, "smooth", run) for run in range(FEW))[Role.MODEL]
    assert any(where in finding for finding in findings(found, BATCH))


def test_weights_that_are_not_masked_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_pads", lambda *a: tuple(tuple(w >> 3 for w in n) for n in _pads(*a)))
    network = fill(TOP, 1)
    e = np.concatenate([masked_weights(network, draw(f"E {i}")) for i in range(300)])
    assert findings({"weights": {"E": Field(e, TOP.ring_bits)}}, len(e)) == []  # 29 bits still mask 12
    monkeypatch.setattr(weights, "_pads", lambda *a: tuple(tuple(w & 1 for w in n) for n in _pads(*a)))
    e = np.concatenate([masked_weights(network, draw(f"E {i}")) for i in range(300)])
    assert findings({"weights": {"E": Field(e, TOP.ring_bits)}}, len(e))


# --- lengths and order --------------------------------------------------------------------------------------


def shape_of(frames: list[tuple[Role, bytes]]) -> dict[Role, list[tuple[int, int, int]]]:
    """Kind, sequence number and length of what comes, link by link."""
    made: dict[Role, list[tuple[int, int, int]]] = {}
    for sender, data in frames:
        frame = decode_frame(data)
        made.setdefault(sender, []).append((frame.kind, frame.sequence, len(data)))
    return made


@pytest.mark.parametrize("name", every_topology())
def test_simulators_make_frames_of_the_same_lengths_in_the_same_order(name: str) -> None:
    top = every_topology()[name]
    network, keys, rng = fill(top, 3), seeds(3), np.random.default_rng(3)
    batch = np.stack([images(top.input_shape, 3)[kind] for kind in ("white", "smooth")])
    patient, _, transcript = run_local(network, batch, keys, session(3))
    answer = ModelIdeal(network, batch)
    frames = simulate_model(network, keys.model_dealer, session(3), 2, answer, 0, rng)
    assert shape_of(frames) == shape_of(received(transcript, Role.MODEL))
    frames = simulate_patient(
        top, network.network_hash(), batch, keys.patient_dealer, session(3), PatientIdeal(network, batch), rng
    )
    assert shape_of(frames) == shape_of(received(transcript, Role.PATIENT))
    assert simulate_dealer() == received(transcript, Role.DEALER) == []
    assert patient.logits.shape == (2, *top.output_shape)


@pytest.mark.parametrize("name", every_topology())
def test_parties_on_simulated_views_come_to_their_outputs(name: str) -> None:
    """View and output together: P opens the ideal logits, M the bucket that the simulator was given."""
    top = every_topology()[name]
    network, keys, rng = fill(top, 4), seeds(4), np.random.default_rng(4)
    batch = np.stack([images(top.input_shape, 4)[kind] for kind in ("extremes", "smooth")])
    ideal = PatientIdeal(network, batch)
    frames = simulate_patient(top, network.network_hash(), batch, keys.patient_dealer, session(4), ideal, rng)
    _, patient = patient_view(network, keys, session(4), batch, frames)
    assert ideal.answer is not None
    rounded = (patient.result.logits << top.logit_shift) - ideal.answer
    if top.logit_shift:
        assert (np.abs(rounded) <= 1 << top.logit_shift).all()
    else:
        assert not rounded.any()
    for counts in (0, 1):
        answer = ModelIdeal(network, batch, counts)
        frames = simulate_model(network, keys.model_dealer, session(4), 2, answer, counts, rng)
        watched = Watched()
        weights_of = ModelWeights(network, keys.model_dealer, watched)  # type: ignore[arg-type]
        party, sent = replay_model(weights_of, session(4), 2, frames)
        again = ModelIdeal(network, batch, counts)
        assert party.result.bucket == again.bucket(shares_of_model(top, watched, sent[Kind.LOGITS][0], 2))


@pytest.mark.parametrize("name", every_topology())
def test_view_and_output_of_the_other_are_bound_as_in_the_ideal_world(name: str) -> None:
    """M's view, image and P's output together: the rounding is what M's shares say, no more and no less.

    So it is in the ideal functionality, whose answer the simulated view gives; both being so, view and outputs are
    jointly distributed as in a real run whenever the views are.
    """
    top = every_topology()[name]
    network, keys = fill(top, 5), seeds(5)
    batch = np.stack([images(top.input_shape, 5)[kind] for kind in ("extremes", "smooth")])
    patient, model, transcript = run_local(network, batch, keys, session(5))
    watched = Watched()
    weights_of = ModelWeights(network, keys.model_dealer, watched)  # type: ignore[arg-type]
    _, sent = replay_model(weights_of, session(5), 2, received(transcript, Role.MODEL))
    ideal = ModelIdeal(network, batch)
    assert ideal.bucket(shares_of_model(top, watched, sent[Kind.LOGITS][0], 2)) == model.bucket
    np.testing.assert_array_equal(ideal.logits, patient.logits)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([n for n in every_topology() if n != "lenet"]),
    st.integers(0, 10**6),
    st.integers(1, 3),
    st.data(),
)
def test_transcripts_say_no_more_than_topology_and_batch(
    name: str, number: int, batch: int, data: st.DataObject
) -> None:
    """Any weights, any images: the frames are the schedule's, in kind, length and order, and so is who speaks when."""
    top = every_topology()[name]
    kinds = st.sampled_from(list(images(top.input_shape, 0)))
    pictures = np.stack([images(top.input_shape, number)[data.draw(kinds)] for _ in range(batch)])
    *_, transcript = run_local(fill(top, number), pictures, seeds(number), session(number))
    other = np.zeros((batch, *top.input_shape), np.int8)
    *_, plain = run_local(fill(top, 0), other, seeds(0), session(0))
    assert [(s, t, bytes(f[:8]), len(f)) for s, t, f in transcript] == [
        (s, t, bytes(f[:8]), len(f)) for s, t, f in plain
    ]
    for link in {(s, t) for s, t, _ in plain}:
        said = [(i.kind, i.size) for i in schedule(top, batch) if (i.sender, i.receiver) == link]
        sent = [(f[3], len(f) - HEADER_BYTES) for s, t, f in transcript if (s, t) == link]
        assert sent == said


def test_nothing_of_a_session_comes_again_in_another() -> None:
    """Two sessions with the same weights, image and seed of model and dealer: all but names and E differs."""
    fixed = {Kind.HELLO, Kind.WEIGHTS, Kind.TAPE, Kind.ANSWER}
    one, two = real_run(1, "white", 1)[-1], real_run(1, "white", 2)[-1]
    for (_, _, a), (_, _, b) in zip(one, two, strict=True):
        if decode_frame(a).kind not in fixed:
            same = sum(x == y for x, y in zip(a[HEADER_BYTES:], b[HEADER_BYTES:], strict=True))
            assert same < 0.05 * len(a) + 10


# --- the attack on a provider that lets the model draw the masks ----------------------------------------------


def correlation(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    return abs(float(np.corrcoef(a.reshape(-1).astype(float), b.reshape(-1).astype(float))[0, 1]))


def recover(transcript: Transcript, network: Network, mask: Words) -> NDArray[np.int64]:
    """Masked image plus the mask that the attacker holds for true."""
    k = network.topology.ring_bits
    body = next(bytes(decode_frame(f).body) for _, _, f in transcript if decode_frame(f).kind == Kind.IMAGE)
    sent = PortableKernels().unpack(body, mask.size, k).reshape(mask.shape)
    return signed(sent + mask, k)


def test_model_cannot_recover_the_image() -> None:
    """With CrypTen's default provider the model draws the masks itself; here it cannot guess them."""
    network, kernels = fill(lenet(32), 9), PortableKernels()
    top, k, name = network.topology, network.topology.ring_bits, network.network_hash()
    batch, keys = image(top, "smooth", 9), seeds(9)
    *_, transcript = run_local(network, batch, keys, session(9))
    tape = tape_of(session(9))
    true_mask = PatientMasks(top, name, tape, keys.patient_dealer, 1).image
    assert correlation(recover(transcript, network, true_mask), batch) > 0.9999, "the attack itself works"

    body = next(bytes(decode_frame(f).body) for _, _, f in transcript if decode_frame(f).kind == Kind.LINEAR)
    step = affine_steps(top)[0]
    u = kernels.unpack(body, step.size, k).reshape(1, *step.shape)
    a = _pads(top, name, keys.model_dealer)[0][0].astype(np.int64)
    turned = np.zeros((1, *top.input_shape), np.uint32)
    kernels.prepare(ConvTranspose(0, 3, 5), step.shape, a, k, True).apply(u, turned)
    guesses = {
        "nothing": np.zeros_like(turned),
        "the pad turned on u": turned,
        "its negative": np.negative(turned),
        "own seed": PatientMasks(top, name, tape, keys.model_dealer, 1).image,
        "the patient's seed, another tape": PatientMasks(top, name, bytes(32), keys.patient_dealer, 1).image,
    }
    for guess, mask in guesses.items():
        assert correlation(recover(transcript, network, mask), batch) < 0.08, guess


def test_model_never_sees_the_sign_of_the_logit() -> None:
    """Images whose logits differ in sign and not in bucket: the top bit of M's opened m is a fair coin for both."""
    top = tiny()
    network, batch = fill(top, 1), 200
    signs: dict[bool, list[int]] = {True: [], False: []}
    for number in range(4):
        pictures = (
            np.random.default_rng(number).integers(-128, 128, (batch, *top.input_shape)).astype(np.int8)
        )
        patient, _, transcript = run_local(network, pictures, seeds(number), session(number))
        body = next(
            bytes(decode_frame(f).body) for _, _, f in transcript if decode_frame(f).kind == Kind.LOGITS
        )
        m = opened_bucket(top, body, batch)
        assert patient.buckets is not None
        for logit, found, at in zip(patient.logits.reshape(-1), patient.buckets, m, strict=True):
            if found == 2:
                signs[bool(logit > 0)].append(int(at) >> (top.logit_bits - 1))
    assert min(len(v) for v in signs.values()) > 30
    for halves in signs.values():
        assert abs(2 * sum(halves) - len(halves)) < LIMIT * np.sqrt(len(halves))
