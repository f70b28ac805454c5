"""The opened result is the integer network's, bit for bit given the rounding, for every node and on any image."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from blind_samples import (
    every_kernels,
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
from numpy.typing import NDArray

from protocols.blind.bytesio import IntArray
from protocols.blind.dealer import TapeSeeds, deal_tape
from protocols.blind.kernels import ClipSize, PortableKernels, Words
from protocols.blind.layers import Affine, Clip, Conv, Dense, Flatten, MaxPool, SumPool
from protocols.blind.local import Parties, Seeds, run_local, run_parties
from protocols.blind.masks import PatientMasks
from protocols.blind.messages import Role
from protocols.blind.model import ModelParty, ModelResult
from protocols.blind.network import Network
from protocols.blind.patient import PatientParty, PatientResult
from protocols.blind.reference import Reference, given, nearest, run_reference, stochastic
from protocols.blind.schedule import bytes_by_place, costs
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.blind.walk import AffineStep, walk
from protocols.blind.weights import MaskedWeights, ModelWeights, Pads

KERNELS = every_kernels()


def rounding_of(top: Topology, masks: PatientMasks, weights: MaskedWeights, batch: int) -> list[IntArray]:
    """u = 2^S - (z1 mod 2^S) of every clip, of the logits, and of their margin: `masking.py`, from P's shares."""
    made: list[IntArray] = []

    def note(z: Words, shift: int) -> None:
        low = z.astype(np.int64).reshape(-1) & ((1 << shift) - 1)
        made.append((1 << shift) - low if shift else np.zeros_like(low))

    script = walk(top, masks.image)
    try:
        step, sources = next(script)
        while True:
            if isinstance(step, AffineStep):
                z1 = masks.linear(step)
                weights.linear.add(step, sources, z1)
            else:
                note(sources[0], step.clip.shift)
                z1 = masks.wire(step)
            step, sources = script.send(z1)
    except StopIteration as end:
        last = end.value
    note(last, top.logit_shift)
    flat = last.reshape(batch, -1)
    if flat.shape[1] == 2:
        note(flat[:, 0] - flat[:, 1], top.logit_shift)
    return made


def reference_of(network: Network, batch: NDArray[np.int8], keys: Seeds, name: bytes) -> Reference:
    """The integer network with the very rounding of a session."""
    top = network.topology
    masks = PatientMasks(top, network.network_hash(), tape_of(name), keys.patient_dealer, len(batch))
    weights = ModelWeights(network, keys.model_dealer, PortableKernels()).masked
    return run_reference(network, batch, given(rounding_of(top, masks, weights, len(batch))))


def assert_exact(patient: PatientResult, model: ModelResult, want: Reference) -> None:
    assert want.overflow == 0
    np.testing.assert_array_equal(patient.logits, want.logits)
    assert patient.buckets == want.buckets
    assert model.bucket == patient.bucket == want.bucket


@pytest.mark.parametrize("level", KERNELS)
@pytest.mark.parametrize("name", every_topology())
def test_opened_result_is_the_reference(name: str, level: str) -> None:
    """All hostile images as one batch, with every implementation of the arithmetic."""
    top = every_topology()[name]
    batch = np.stack(list(images(top.input_shape, 5).values()))
    for number in range(2):
        network = fill(top, 11 + number)
        patient, model, _ = run_local(network, batch, seeds(number), session(number), kernels=KERNELS[level])
        assert_exact(patient, model, reference_of(network, batch, seeds(number), session(number)))


@pytest.mark.parametrize("name", every_topology())
@pytest.mark.parametrize("size", [1, 2, 3])
def test_batches(name: str, size: int) -> None:
    top = every_topology()[name]
    network = fill(top, 20)
    batch = np.random.default_rng(size).integers(-128, 128, (size, *top.input_shape)).astype(np.int8)
    patient, model, _ = run_local(network, batch, seeds(size), session(size))
    assert_exact(patient, model, reference_of(network, batch, seeds(size), session(size)))


@pytest.mark.parametrize("k", [8, 10, 13, 16, 17, 21, 24])
@pytest.mark.parametrize("low", [0, -3, -7])
def test_every_ring_and_floor(k: int, low: int) -> None:
    """K from the least to the greatest, S = K - B down to 0, floors down to the lowest that a clip may have."""
    nodes = (
        Affine((Conv(0, 3, 2),)),
        Clip(1, 3, min(8, k - 3), low),
        SumPool(2, 2, 1, 1),
        Clip(3, 3, min(5, k - 3), low),
        *((MaxPool(4, 2, 1),) if k > 8 else (SumPool(4, 2, 1),)),
        Flatten(5),
        Affine((Dense(6, 2),)),
    )
    thresholds = () if k == 8 else (1, 9, 100)
    top = topology(nodes, (1, 4, 4), k, input_low=-4, input_high=3, thresholds=thresholds)
    network = fill(top, k)
    batch = np.stack(list(images(top.input_shape, k).values())) >> np.int8(5)
    for number in range(4):
        patient, model, _ = run_local(network, batch, seeds(number), session(number))
        assert_exact(patient, model, reference_of(network, batch, seeds(number), session(number)))


def test_samples_are_lively() -> None:
    """The exactness tests would prove little if all logits were near 0 or all activations cut."""
    for name, top in every_topology().items():
        network = fill(top, 11)
        batch = np.stack(list(images(top.input_shape, 5).values()))
        run = run_reference(network, batch)
        assert len(np.unique(run.logits)) >= 5, name
        total = sum(
            int(np.prod(top.shapes[i + 1])) for i, n in enumerate(top.nodes) if isinstance(n, Clip)
        ) * len(batch)
        assert not total or 0 < run.saturated < total / 2, name


def test_every_bucket_is_reached() -> None:
    top = lenet(32)
    network = fill(top, 3)
    batches = [np.stack(list(images(top.input_shape, i).values())) for i in range(3)]
    values = np.abs(np.concatenate([run_reference(network, b).logits.reshape(-1) for b in batches]))
    cuts = tuple(int(v) for v in np.quantile(values, [0.25, 0.5, 0.75]))
    network = fill(lenet(32, thresholds=cuts), 3)
    seen: set[int] = set()
    for i, batch in enumerate(batches):
        patient, _, _ = run_local(network, batch, seeds(i), session(i))
        assert patient.buckets == tuple(
            network.topology.bucket_of(int(v)) for v in patient.logits.reshape(-1)
        )
        assert patient.buckets is not None
        seen |= set(patient.buckets)
    assert seen == {0, 1, 2, 3}


def test_rounding_is_unbiased_and_near_the_nearest() -> None:
    """400 copies of one image in four batches: the mean is the stochastic network's, near the rounded one's."""
    top = lenet(32)
    network = fill(top, 4)
    batch = np.repeat(image(top, "smooth", 4), 100, axis=0)
    near = int(run_reference(network, batch[0], nearest).logits.flat[0])
    rng = np.random.default_rng(0)
    rounded = run_reference(network, np.repeat(batch, 4, axis=0), stochastic(rng)).logits.reshape(-1)
    opened = np.concatenate(
        [run_local(network, batch, seeds(i), session(i))[0].logits.reshape(-1) for i in range(4)]
    )
    spread = max(float(np.std(rounded)), 1.0)
    assert abs(opened.mean() - rounded.mean()) < 5 * spread * np.sqrt(2 / 400)
    assert abs(opened.mean() - near) < 3 * spread
    assert 0.8 < opened.std() / rounded.std() < 1.25


@pytest.mark.parametrize("name", every_topology())
@pytest.mark.parametrize("known", [False, True])
def test_costs_are_what_is_sent(name: str, known: bool) -> None:
    top = every_topology()[name]
    network = fill(top, 1)
    masked = ModelWeights(network, seeds(1).model_dealer).masked if known else None
    batch = np.repeat(image(top, "random"), 2, axis=0)
    *_, transcript = run_local(network, batch, seeds(1), session(1), masked)
    sent: dict[tuple[Role, Role], int] = {}
    for sender, to, frame in transcript:
        sent[sender, to] = sent.get((sender, to), 0) + len(frame)
    said = costs(top, 2, known)
    links = said.ahead.keys() | said.online.keys()
    assert sent == {link: said.ahead.get(link, 0) + said.online.get(link, 0) for link in links}
    assert said.total == sum(sent.values())
    assert sum(bytes_by_place(top, 2).values()) == said.bytes_online


def test_rounds_are_what_a_patient_waits() -> None:
    """With clips of one chunk each: P speaks, M speaks, as often as `costs` says."""
    for top in (tiny(), lenet(32)):
        *_, transcript = run_local(fill(top, 1), image(top, "random"), seeds(1), session(1))
        flights = [s for s, t, _ in transcript if Role.DEALER not in (s, t)]
        turns = sum(a is Role.PATIENT and b is Role.MODEL for a, b in pairwise(flights))
        assert turns == costs(top).rounds + 1  # HELLO's answer comes before the image


def test_image_is_clipped_to_the_input_range() -> None:
    top = tiny(input_low=-10, input_high=20)
    network = fill(top, 2)
    wild = image(top, "random", 2)
    one = run_local(network, wild, seeds(1), session(1))[0]
    two = run_local(network, np.clip(wild, -10, 20), seeds(1), session(1))[0]
    far = run_local(network, wild.astype(np.int64) * 10**9, seeds(1), session(1))[0]
    np.testing.assert_array_equal(one.logits, two.logits)
    top_far = np.where(wild > 0, 20, np.where(wild < 0, -10, 0)).astype(np.int8)
    np.testing.assert_array_equal(far.logits, run_local(network, top_far, seeds(1), session(1))[0].logits)


def test_masked_weights_kept_from_before_serve_again() -> None:
    network = fill(lenet(32), 5)
    batch, key = image(network.topology, "random", 5), seeds(1).model_dealer
    kept = ModelWeights(network, key).masked
    stale = ModelWeights(fill(lenet(32), 6), key).masked
    runs = [run_local(network, batch, seeds(1), session(1), known) for known in (None, kept, stale)]
    assert len({int(patient.logits.flat[0]) for patient, _, _ in runs}) == 1
    sent = [sum(len(f) for *_, f in transcript) for _, _, transcript in runs]
    assert sent[1] < sent[0] == sent[2]


def test_only_the_image_that_counts_is_told_to_the_model() -> None:
    top = tiny(thresholds=(3, 100, 400))
    network, keys = fill(top, 1), seeds(1)
    batch = np.stack(list(images(top.input_shape, 1).values()))
    weights, name, tape = ModelWeights(network, keys.model_dealer), network.network_hash(), session(2)
    pads, tape_seeds = Pads(top, name, keys.model_dealer), TapeSeeds(tape, keys.patient_dealer, keys.dealer)
    for counts in range(len(batch)):
        frames = list(deal_tape(pads, tape_seeds, len(batch)))
        patient = PatientParty(
            top, name, batch, session(1), tape, keys.patient_dealer, UsedSessions(), counts=counts
        )
        model = ModelParty(weights, session(1), tape, UsedSessions(), len(batch))
        run_parties(Parties(patient, model, frames))
        assert patient.result.buckets is not None
        assert model.result.bucket == patient.result.buckets[counts]


@pytest.mark.parametrize("level", KERNELS)
def test_clips_longer_than_a_chunk(level: str) -> None:
    """Several chunks under way, the last one short."""
    nodes = (Affine((Conv(0, 5, 3, 1, 1),)), Clip(1, 4, 2), Affine((Conv(2, 1, 1),)))
    top = topology(nodes, (1, 150, 160), 18)
    network = fill(top, 3)
    batch = np.stack([images(top.input_shape, 1)[kind] for kind in ("smooth", "extremes")])
    patient, model, transcript = run_local(network, batch, seeds(1), session(1), kernels=KERNELS[level])
    assert_exact(patient, model, reference_of(network, batch, seeds(1), session(1)))
    assert len(transcript) > 8 * 2


def test_clip_sizes_add_up() -> None:
    clip = ClipSize(20, 6, 3, 11)
    assert (clip.width, clip.ceiling, clip.low_bytes, clip.row_bytes) == (9, 63, 8, 12)
    assert clip.element_bytes == 8 * 3 + 12
    assert clip.correction_size(8) == 8 * (2 + 36)
