"""The opened result is the reference network's, to the last bit of rounding, on any image."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from blind_samples import every_topology, fill, images, lenet, seeds, session, tiny
from numpy.typing import NDArray

from protocols.blind import bucket
from protocols.blind.ahead import walk_ahead
from protocols.blind.bytesio import IntArray
from protocols.blind.local import Seeds, run_local
from protocols.blind.masks import PatientMasks
from protocols.blind.messages import Role
from protocols.blind.network import Network
from protocols.blind.reference import Reference, given, nearest, run_reference, stochastic
from protocols.blind.schedule import costs
from protocols.blind.topology import Topology
from protocols.blind.walk import clip_steps
from protocols.blind.weights import mask_weights


def rounding_of(network: Network, keys: Seeds, name: bytes) -> list[IntArray]:
    """u of every clip, of the logits, and of their margin, as the patient's shares make it."""
    top = network.topology
    masks = PatientMasks(top, network.network_hash(), name, keys.patient_dealer)
    ahead = walk_ahead(top, masks, mask_weights(network, keys.model_dealer))

    def u(z: IntArray, shift: int) -> IntArray:
        return (1 << shift) - (z & ((1 << shift) - 1)) if shift else np.zeros_like(z)

    made = [u(z, s.shift) for z, s in zip(ahead.clips, clip_steps(top), strict=True)]
    made.append(u(ahead.logits, top.logit_shift))
    if ahead.logits.size == 2:
        made.append(u(np.array([bucket.margin(top, ahead.logits)]), top.logit_shift))
    return made


def reference_of(network: Network, image: NDArray[np.int8], number: int) -> Reference:
    return run_reference(network, image, given(rounding_of(network, seeds(number), session(number))))


@pytest.mark.parametrize("name", every_topology())
@pytest.mark.parametrize("kind", images((1, 4, 4), 0))
def test_opened_result_is_the_reference(name: str, kind: str) -> None:
    top = every_topology()[name]
    network = fill(top, 11)
    image = images(top.input_shape, 5)[kind]
    for number in range(3):
        patient, model, _ = run_local(network, image, seeds(number), session(number))
        want = reference_of(network, image, number)
        assert want.overflow == 0
        np.testing.assert_array_equal(patient.logits, want.logits)
        assert patient.bucket == model.bucket == want.bucket
        assert patient.saturated == (want.saturated if top.overflow == "calibrated" else None)


def test_samples_are_lively() -> None:
    """The exactness tests would prove little if all logits were near 0 or all activations cut."""
    for name, top in every_topology().items():
        network = fill(top, 11)
        runs = [run_reference(network, image) for image in images(top.input_shape, 5).values()]
        assert len({int(r.logits.flat[0]) for r in runs}) >= 5, name
        total = sum(s.size for s in clip_steps(top))
        assert any(r.saturated for r in runs), name
        assert any(r.saturated < total / 2 for r in runs), name


def test_every_bucket_is_reached() -> None:
    top = lenet(32)
    network = fill(top, 3)
    values = sorted(
        abs(int(run_reference(network, image).logits.flat[0]))
        for i in range(6)
        for image in images(top.input_shape, i).values()
    )
    cuts = tuple(int(v) for v in np.quantile(values, [0.25, 0.5, 0.75]))
    network = fill(lenet(32, thresholds=cuts), 3)
    seen = set()
    for i in range(6):
        for image in images(top.input_shape, i).values():
            patient, model, _ = run_local(network, image, seeds(i), session(i))
            assert patient.bucket == model.bucket == network.topology.bucket_of(int(patient.logits.flat[0]))
            seen.add(model.bucket)
    assert seen == {0, 1, 2, 3}


def test_rounding_is_unbiased_and_near_the_nearest() -> None:
    top = lenet(32)
    network = fill(top, 4)
    image = images(top.input_shape, 4)["smooth"]
    near = int(run_reference(network, image, nearest).logits.flat[0])
    rng = np.random.default_rng(0)
    rounded = [int(run_reference(network, image, stochastic(rng)).logits.flat[0]) for _ in range(40)]
    opened = [int(run_local(network, image, seeds(i), session(i))[0].logits.flat[0]) for i in range(40)]
    spread = max(float(np.std(rounded)), 1.0)
    assert abs(np.mean(opened) - np.mean(rounded)) < 5 * spread / np.sqrt(40) + 1
    assert abs(np.mean(opened) - near) < 5 * spread + 2


@pytest.mark.parametrize("name", every_topology())
@pytest.mark.parametrize("known", [False, True])
def test_costs_are_what_is_sent(name: str, known: bool) -> None:
    top = every_topology()[name]
    network = fill(top, 1)
    masked = mask_weights(network, seeds(1).model_dealer) if known else None
    image = images(top.input_shape, 1)["random"]
    *_, transcript = run_local(network, image, seeds(1), session(1), masked)
    sent: dict[tuple[Role, Role], int] = {}
    for sender, to, frame in transcript:
        sent[sender, to] = sent.get((sender, to), 0) + len(frame)
    assert sent == costs(top, known).sent
    flights = [s for s, t, _ in transcript if {s, t} == {Role.PATIENT, Role.MODEL}]
    turns = sum(a is Role.PATIENT and b is Role.MODEL for a, b in pairwise(flights))
    assert turns == costs(top, known).rounds


def test_image_is_clipped_to_the_input_range() -> None:
    top = tiny(input_low=-10, input_high=20)
    network = fill(top, 2)
    wild = images(top.input_shape, 2)["random"]
    tame = np.clip(wild, -10, 20)
    one = run_local(network, wild, seeds(1), session(1))[0]
    two = run_local(network, tame, seeds(1), session(1))[0]
    assert int(one.logits.flat[0]) == int(two.logits.flat[0])


def test_masked_weights_kept_from_before_serve_again() -> None:
    network = fill(lenet(32), 5)
    image = images((3, 32, 32), 5)["random"]
    other = mask_weights(fill(lenet(32), 6), seeds(1).model_dealer)
    first = run_local(network, image, seeds(1), session(1))
    kept = run_local(network, image, seeds(1), session(1), mask_weights(network, seeds(1).model_dealer))
    stale = run_local(network, image, seeds(1), session(1), other)
    assert int(first[0].logits.flat[0]) == int(kept[0].logits.flat[0]) == int(stale[0].logits.flat[0])
    assert sum(len(f) for *_, f in kept[2]) < sum(len(f) for *_, f in stale[2])
    sent = sum(len(f) for *_, f in first[2])
    assert sent == sum(len(f) for *_, f in stale[2])


def test_big_lenet_is_quick_enough() -> None:
    """Well under a second, by count of bytes rather than by the clock of a busy machine."""
    top: Topology = lenet(64)
    assert costs(top).total < 8_000_000
    patient, model, _ = run_local(fill(top, 7), images((3, 64, 64), 7)["smooth"], seeds(7), session(7))
    assert patient.bucket == model.bucket
