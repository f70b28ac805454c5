"""Topologies and networks: canonical bytes, strict validation, and the proof that no accumulator wraps."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from blind_samples import every_topology, fill, images, lenet, residual, tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.blind.bounds import term_interval, worst_case
from protocols.blind.bytesio import IntArray
from protocols.blind.layers import Affine, Conv, Dense, Flatten, MaxPool, Relu, Scale, SumPool
from protocols.blind.network import Network, weight_shapes
from protocols.blind.reference import run_reference, stochastic
from protocols.blind.topology import MAX_TOPOLOGY_BYTES, Topology
from protocols.errors import ProtocolError


@pytest.mark.parametrize("name", every_topology())
def test_bytes_are_canonical(name: str) -> None:
    top = every_topology()[name]
    assert Topology.decode(top.encode()) == top
    network = fill(top, 2)
    again = Network.decode(network.encode())
    assert again == network
    assert again.network_hash() == network.network_hash()
    assert len(network.network_hash()) == 32


def test_hash_binds_weights_topology_and_salt() -> None:
    network = fill(tiny(), 2)
    weights, biases = network.weights, network.biases
    changed = [[w.copy() for w in layer] for layer in weights]
    changed[0][0][0, 0, 0, 0] -= 1
    others = [
        Network(network.topology, changed, biases, fill(tiny(), 2).encode()[-32:]),
        Network(network.topology, weights, biases, bytes(32)),
        Network(replace(network.topology, thresholds=(3, 40, 901)), weights, biases, bytes(32)),
    ]
    names = {n.network_hash() for n in (network, *others)}
    assert len(names) == 4


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_refused(data: bytes) -> None:
    for decode in (Topology.decode, Network.decode):
        for head in (b"", b"CDT1", b"CDN1"):
            with pytest.raises(ProtocolError):
                decode(head + data)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_changed_bytes_are_refused_or_another_valid_network(data: st.DataObject) -> None:
    encoded = bytearray(fill(tiny(), 2).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        network = Network.decode(bytes(encoded))
    except ProtocolError:
        return
    assert network.encode() == bytes(encoded)


def test_too_long_or_too_short_is_refused() -> None:
    good = fill(tiny(), 2).encode()
    for bad in (good[:-1], good + b"\0", good[: len(good) // 2], b""):
        with pytest.raises(ProtocolError):
            Network.decode(bad)
    with pytest.raises(ProtocolError):
        Topology.decode(bytes(MAX_TOPOLOGY_BYTES + 1))


CONV = Affine((Conv(0, 2, 3, 1, 1),))
END = Affine((Conv(2, 1, 4),))
BAD: dict[str, dict[str, object]] = {
    "ring too wide": {"ring_bits": 25},
    "ring too narrow": {"ring_bits": 7},
    "table too wide": {"table_bits": 13},
    "table as wide as the ring": {"ring_bits": 10, "table_bits": 10},
    "thresholds fall": {"thresholds": (5, 4, 9)},
    "thresholds two": {"thresholds": (5, 9)},
    "threshold zero": {"thresholds": (0, 4, 9)},
    "threshold beyond": {"thresholds": (1, 2, 1 << 15)},
    "scale not finite": {"logit_scale": float("nan")},
    "scale not positive": {"input_scale": 0.0},
    "range without zero": {"input_low": 1},
    "range beyond int8": {"input_high": 200},
    "overflow unknown": {"overflow": "perhaps"},
    "no nodes": {"nodes": ()},
    "ends without an affine": {"nodes": (CONV, Relu(1, 5))},
    "reads ahead": {"nodes": (Affine((Conv(1, 2, 3),)),)},
    "reads itself": {"nodes": (CONV, Relu(2, 5), END)},
    "relu of an image": {"nodes": (CONV, Relu(0, 5), END)},
    "relu of a relu": {"nodes": (CONV, Relu(1, 5), Relu(2, 5), END)},
    "cap zero": {"nodes": (CONV, Relu(1, 0), END)},
    "cap beyond": {"nodes": (CONV, Relu(1, 32), END)},
    "bits out of range": {"nodes": (CONV, Relu(1, 5, 13), END)},
    "kernel beyond": {"nodes": (Affine((Conv(0, 1, 9),)),)},
    "stride zero": {"nodes": (Affine((Conv(0, 1, 3, 0),)),)},
    "no channels": {"nodes": (Affine((Conv(0, 0, 3),)),)},
    "dense of an image": {"nodes": (Affine((Dense(0, 1),)),)},
    "no terms": {"nodes": (Affine(()),)},
    "unequal terms": {"nodes": (Affine((Conv(0, 2, 3), Scale(0))),)},
    "pool of a row": {"nodes": (Affine((Conv(0, 1, 4),)), Relu(1, 5), SumPool(2), Affine((Scale(3),)))},
    "max pool of an accumulator": {"nodes": (CONV, MaxPool(1), Affine((Scale(2),)))},
    "shape empty": {"input_shape": (1, 0, 4)},
    "shape huge": {"input_shape": (4096, 4096, 4096)},
    "three logits with thresholds": {"nodes": (Affine((Conv(0, 3, 4),)),), "thresholds": (1, 2, 3)},
}


@pytest.mark.parametrize("name", BAD)
def test_bad_topology_is_refused(name: str) -> None:
    good: dict[str, object] = {
        "input_shape": (1, 4, 4),
        "nodes": (CONV, Relu(1, 5), END),
        "ring_bits": 14,
        "table_bits": 6,
        "thresholds": (1, 2, 3),
    }
    Topology(**good)  # type: ignore[arg-type]
    with pytest.raises(ProtocolError):
        Topology(**(good | BAD[name]))  # type: ignore[arg-type]


def test_weights_that_do_not_fit_are_refused() -> None:
    good = fill(tiny(), 2)
    top, w, b, salt = good.topology, good.weights, good.biases, bytes(32)
    for weights, biases, s in (
        (w[:1], b, salt),
        (((w[0][0].astype(float),), w[1]), b, salt),
        (((w[0][0][:1],), w[1]), b, salt),
        (((w[0][0] + (1 << 13),), w[1]), b, salt),
        (w, b[:1], salt),
        (w, (b[0][:1], b[1]), salt),
        (w, b, bytes(31)),
    ):
        with pytest.raises(ProtocolError):
            Network(top, weights, biases, s)


def test_arrays_are_copied_and_frozen() -> None:
    mine = [[np.zeros(s, np.int64) for s in layer] for layer in weight_shapes(tiny())]
    network = Network(tiny(), mine, [np.zeros(2, np.int64), np.zeros(1, np.int64)], bytes(32))
    mine[0][0][:] = 9
    assert not network.weights[0][0].any()
    with pytest.raises(ValueError, match="read-only"):
        network.weights[0][0][:] = 1


def test_a_network_that_could_wrap_is_refused_unless_calibrated() -> None:
    with pytest.raises(ProtocolError, match="can reach"):
        fill(tiny(), 2, use=1.3)
    loose = fill(tiny(overflow="calibrated"), 2, use=1.3)
    assert not worst_case(loose).proved


def test_proof_survives_numbers_that_overflow_int64() -> None:
    """Affine upon affine with the largest weights: the bound is huge, never wrapped round to a small one."""
    nodes = (
        Affine((Conv(0, 64, 3),)),
        Affine((Conv(1, 64, 3),)),
        Affine((Conv(2, 64, 3),)),
        Flatten(3),
        Affine((Dense(4, 1),)),
    )
    top = Topology((64, 7, 7), nodes, ring_bits=24)
    worst = (1 << 23) - 1
    weights = [[np.full(s, worst) for s in layer] for layer in weight_shapes(top)]
    with pytest.raises(ProtocolError, match="can reach"):
        Network(top, weights, [np.zeros(64, np.int64)] * 3 + [np.zeros(1, np.int64)], bytes(32))


@pytest.mark.parametrize("name", every_topology())
def test_bounds_hold_on_hostile_images(name: str) -> None:
    """No image found by hand or by following the weights leaves the safe range of a proved network."""
    top = every_topology()[name]
    network = fill(top, 5)
    rng = np.random.default_rng(5)
    hostile = [*images(top.input_shape, 5).values(), *images(top.input_shape, 6).values()]
    term = top.nodes[0]
    assert isinstance(term, Affine)
    assert isinstance(term.terms[0], Conv)
    for channel in network.weights[0][0][:4]:  # the image that drives one channel as far as it goes
        reps = [-(-a // b) for a, b in zip(top.input_shape, channel.shape, strict=True)]
        tiled = np.tile(channel, reps)[tuple(slice(n) for n in top.input_shape)]
        hostile += [np.where(tiled > 0, 127, -128), np.where(tiled > 0, -128, 127)]
    for image in hostile:
        for _ in range(3):
            assert run_reference(network, image, stochastic(rng)).overflow == 0


def test_zero_padding_is_part_of_the_bound() -> None:
    """A wire that is 100 everywhere, under taps that cancel: only the border, where padding stands, is not 0."""
    nodes = (Affine((Conv(0, 1, 1),)), Affine((Conv(1, 1, 3, 1, 1),)))
    top = Topology((1, 4, 4), nodes, ring_bits=20)
    taps = np.zeros((1, 1, 3, 3), np.int64)
    taps[0, 0, 1, 1], taps[0, 0, 1, 2] = -10, 10
    network = Network(
        top, [[np.zeros((1, 1, 1, 1), np.int64)], [taps]], [np.array([100]), np.array([0])], bytes(32)
    )
    bound = worst_case(network).bounds[1]
    assert bound.low <= -1000
    assert bound.high >= 1000


def test_real_weights_give_a_real_interval() -> None:
    source = cast("tuple[IntArray, IntArray]", (np.zeros(2), np.ones(2)))
    low, high = term_interval(Dense(0, 1), cast("IntArray", np.array([[0.25, -0.5]])), source)
    assert (low[0], high[0]) == (-0.5, 0.25)


def test_bound_is_reached() -> None:
    """The first layer's bound is no looser than the image that follows its weights' signs."""
    nodes = (Affine((Conv(0, 1, 4),)),)
    top = Topology((1, 4, 4), nodes, ring_bits=20)
    rng = np.random.default_rng(1)
    w = rng.integers(-99, 99, (1, 1, 4, 4))
    network = Network(top, [[w]], [np.array([7])], bytes(32))
    image = np.where(w[0] > 0, 127, -128)
    v = int((w[0] * image).sum()) + 7
    assert worst_case(network).bounds[0].high == v


def test_calibrated_network_tells_of_an_unusual_image() -> None:
    """Headroom used up: the reference counts overflow, and the count of cut activations exceeds the limit."""
    network = fill(lenet(32, overflow="calibrated", saturation_limit=300), 4, use=3.0)
    usual = (images((3, 32, 32), 4)["smooth"] // 8).astype(np.int8)
    assert run_reference(network, usual).overflow == 0
    assert run_reference(network, usual).saturated <= 300
    flagged = [run_reference(network, image) for image in images((3, 32, 32), 4).values()]
    assert any(r.overflow for r in flagged)
    assert all(r.saturated > 300 for r in flagged if r.overflow)


def test_residual_network_reads_two_wires() -> None:
    shapes = weight_shapes(residual())
    assert [len(s) for s in shapes] == [1, 1, 2, 1]
