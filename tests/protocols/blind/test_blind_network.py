"""Topologies and networks: canonical bytes, strict validation, the proof that nothing wraps, the reference."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from blind_samples import every_topology, fill, images, residual, tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.blind.bounds import term_interval, worst_case
from protocols.blind.bytesio import IntArray, Reader, Writer
from protocols.blind.layers import (
    Affine,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Flatten,
    MaxPool,
    Node,
    Scale,
    SumPool,
    Term,
    Upsample,
    max_pool_bits,
    range_of,
)
from protocols.blind.network import Network, bias_shapes, weight_shapes
from protocols.blind.reference import apply_term, run_reference, stochastic
from protocols.blind.shapes import weight_shape, wire_shapes
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
        Network(network.topology, changed, biases, bytes(32)),
        Network(network.topology, weights, biases, bytes(32)),
        Network(replace(network.topology, thresholds=(3, 40, 901)), weights, biases, bytes(32)),
    ]
    names = {n.network_hash() for n in (network, *others)}
    assert len(names) == 4


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_refused(data: bytes) -> None:
    for decode in (Topology.decode, Network.decode):
        for head in (b"", b"CDT2", b"CDN2"):
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


@given(st.lists(st.integers(-(1 << 31), (1 << 31) - 1), max_size=9))
def test_arrays_take_the_fewest_bytes_and_no_others_are_read(values: list[int]) -> None:
    array = np.array(values, np.int64)
    writer = Writer()
    writer.ints(array)
    data = writer.bytes()
    fits = [n for n in (1, 2, 3, 4) if all(-(1 << (8 * n - 1)) <= v < 1 << (8 * n - 1) for v in values)]
    assert len(data) == 1 + fits[0] * len(values)
    assert np.array_equal(Reader(data, "x").ints(len(values)), array)
    for width in {0, 5, *fits[1:]}:  # fewer bytes are another array
        wide = array.astype("<i8").reshape(-1, 1).view(np.uint8)[:, :width]
        with pytest.raises(ProtocolError):
            Reader(bytes([width]) + wide.tobytes(), "x").ints(len(values))


CONV, CLIP = Affine((Conv(0, 2, 3, 1, 1),)), Clip(1, 4, 2)
END = Affine((Conv(2, 1, 4),))


def then(*nodes: Node) -> dict[str, object]:
    return {"nodes": (CONV, CLIP, *nodes, Affine((Scale(len(nodes) + 2),)))}


def first(*terms: Term) -> dict[str, object]:
    return {"nodes": (Affine(terms),), "thresholds": ()}


BAD: dict[str, dict[str, object]] = {
    "ring too wide": {"ring_bits": 25},
    "ring too narrow": {"ring_bits": 7},
    "ring no integer": {"ring_bits": 14.0},
    "thresholds fall": {"thresholds": (5, 4, 9)},
    "thresholds two": {"thresholds": (5, 9)},
    "threshold zero": {"thresholds": (0, 4, 9)},
    "threshold beyond": {"thresholds": (1, 2, 1 << 15)},
    "scale not finite": {"logit_scale": float("nan")},
    "scale not positive": {"input_scale": 0.0},
    "range without zero": {"input_low": 1},
    "range beyond int8": {"input_high": 200},
    "no nodes": {"nodes": ()},
    "too many nodes": {"nodes": (CONV, *(Flatten(1) for _ in range(512)), END)},
    "ends without an affine": {"nodes": (CONV, CLIP)},
    "reads ahead": {"nodes": (Affine((Conv(1, 2, 3),)),)},
    "reads before the image": {"nodes": (Affine((Conv(-1, 2, 3),)),)},
    "reads itself": {"nodes": (CONV, Clip(2, 4, 2), END)},
    "not a node": {"nodes": (CONV, "Clip", END)},
    "term outside": {"nodes": (Conv(0, 2, 3),)},
    "node inside": {"nodes": (Affine((CLIP,)),)},  # type: ignore[arg-type]
    "field no integer": {"nodes": (Affine((Conv(0, 2, 3.0),)),)},  # type: ignore[arg-type]
    "field a bool": {"nodes": (Affine((Conv(0, True, 3),)),)},
    "low bits too few": {"nodes": (CONV, Clip(1, 2, 2), END)},
    "low bits too many": {"ring_bits": 24, "nodes": (CONV, Clip(1, 11, 2), END)},
    "no high bits": {"nodes": (CONV, Clip(1, 4, 0), END)},
    "high bits too many": {"ring_bits": 24, "nodes": (CONV, Clip(1, 4, 9), END)},
    "more bits than the ring": {"nodes": (CONV, Clip(1, 8, 7), END)},
    "clip above 0": {"nodes": (CONV, Clip(1, 4, 2, 1), END)},
    "clip below 0": {"nodes": (CONV, Clip(1, 4, 2, -16), END)},
    "kernel beyond": first(Conv(0, 1, 9)),
    "kernel huge": first(Conv(0, 1, 64, 1, 63)),
    "stride zero": first(Conv(0, 1, 3, 0)),
    "padding as wide as the kernel": first(Conv(0, 1, 3, 1, 3)),
    "padding negative": first(Conv(0, 1, 3, 1, -1)),
    "trailing negative": first(Conv(0, 1, 3, 1, 0, -1)),
    "groups zero": first(Conv(0, 1, 3, 1, 0, 0, 0)),
    "groups that do not divide": first(Conv(0, 2, 3, 1, 0, 0, 2)),
    "no channels": first(Conv(0, 0, 3)),
    "transposed, trailing as the stride": first(ConvTranspose(0, 1, 3, 2, 0, 2)),
    "transposed, nothing left": first(ConvTranspose(0, 1, 9, 1, 8)),
    "dense of an image": first(Dense(0, 1)),
    "no terms": first(),
    "unequal terms": first(Conv(0, 2, 3), Scale(0)),
    "too many terms": first(*[Scale(0)] * 9),
    "pool larger than its wire": then(SumPool(2, 5)),
    "pool padded too much": then(SumPool(2, 2, 1, 2)),
    "pool without stride": then(SumPool(2, 2, 0)),
    "max pool of a sum": {"nodes": (CONV, MaxPool(1), Affine((Scale(2),)))},
    "max pool of the image": {"nodes": (MaxPool(0), Affine((Scale(1),)))},
    "max pool of sums of activations": then(SumPool(2, 2, 1), MaxPool(3)),
    "max pool of half a sum": then(Concat((2, 1)), MaxPool(3)),
    "max pool padded, signed": {"nodes": (CONV, Clip(1, 4, 2, -8), MaxPool(2, 3, 2, 1), Affine((Scale(3),)))},
    "joins nothing": then(Concat(())),
    "joins unequal sides": then(SumPool(2), Concat((2, 3))),
    "joins too many": then(Concat((2,) * 65)),
    "grows by nothing": then(Upsample(2, 0)),
    "grows too far": then(Upsample(2, 64), Upsample(3, 64)),
    "shape empty": {"input_shape": (1, 0, 4)},
    "shape huge": {"input_shape": (4096, 4096, 4096)},
    "shape of two": {"input_shape": (4, 4)},
    "three logits with thresholds": {"nodes": (Affine((Conv(0, 3, 4),)),), "thresholds": (1, 2, 3)},
}


@pytest.mark.parametrize("name", BAD)
def test_bad_topology_is_refused(name: str) -> None:
    good: dict[str, object] = {
        "input_shape": (1, 4, 4),
        "nodes": (CONV, CLIP, END),
        "ring_bits": 14,
        "thresholds": (1, 2, 3),
    }
    Topology(**good)  # type: ignore[arg-type]
    with pytest.raises(ProtocolError):
        Topology(**(good | BAD[name]))  # type: ignore[arg-type]


def test_hostile_topologies_cost_little() -> None:
    """Joins of joins, growth upon growth, the longest list of nodes: refused or made, in little time and memory."""
    joins: list[Node] = [Clip(0, 8, 2), *(Concat((i,) * 64) for i in range(1, 500))]
    grown: list[Node] = [Upsample(i, 64) for i in range(500)]
    wide: list[Node] = [Affine((Conv(i, 1 << 16, 1),)) for i in range(500)]
    flat: list[Node] = [Flatten(i) for i in range(500)]
    many: list[Node] = [Clip(0, 8, 2), *(MaxPool(i, 2, 1, 1) for i in range(1, 500))]
    tracemalloc.start()
    start = time.monotonic()
    for nodes in (joins, grown, wide, flat, many):
        try:
            made = Topology((1, 64, 64), (*nodes, Affine((Conv(1, 1, 1),))))
            assert Topology.decode(made.encode()) == made
        except ProtocolError:
            pass
    assert time.monotonic() - start < 5
    assert tracemalloc.get_traced_memory()[1] < 1 << 25
    tracemalloc.stop()


def test_range_of_activations_is_public() -> None:
    nodes = (
        Clip(0, 4, 2),
        Clip(0, 5, 2, -16),
        Concat((1, 2)),
        MaxPool(3, 2, 1),
        Upsample(4, 2),
        Flatten(5),
        SumPool(3),
    )
    assert [range_of(i, nodes) for i in range(1, 7)] == [(0, 15), (-16, 15), *[(-16, 15)] * 4]
    for wire in (0, 7, 8, -1):
        with pytest.raises(ProtocolError, match="Clip"):
            range_of(wire, nodes)
    assert [max_pool_bits(r) for r in ((0, 15), (-16, 15), (0, 16), (0, 3))] == [4, 5, 5, 3]


def test_clip_shift_is_what_the_digits_leave() -> None:
    assert tiny(14, 4, 2).clip_shift(Clip(1, 4, 2)) == 8


def test_weights_that_do_not_fit_are_refused() -> None:
    good = fill(tiny(24, 4, 2), 2)
    top, w, b, salt = good.topology, good.weights, good.biases, bytes(32)
    for weights, biases, s in (
        (w[:1], b, salt),
        (((w[0][0].astype(float),), w[1]), b, salt),
        (((w[0][0][:1],), w[1]), b, salt),
        (((np.full_like(w[0][0], 1 << 15),), w[1]), b, salt),
        (((np.full_like(w[0][0], -1 << 15),), w[1]), b, salt),
        (w, b[:1], salt),
        (w, (b[0][:1], b[1]), salt),
        (w, (b[0] + (1 << 23), b[1]), salt),
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


@pytest.mark.parametrize("name", ["tiny", "residual", "grouped", "max pooled", "segmenter"])
def test_a_network_that_could_wrap_is_refused(name: str) -> None:
    with pytest.raises(ProtocolError, match="can reach"):
        fill(every_topology()[name], 2, use=1.3)


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
    weights = [[np.full(s, (1 << 15) - 1) for s in layer] for layer in weight_shapes(top)]
    with pytest.raises(ProtocolError, match="can reach"):
        Network(top, weights, [np.zeros(64, np.int64)] * 3 + [np.zeros(1, np.int64)], bytes(32))


@pytest.mark.parametrize("name", every_topology())
def test_bounds_hold_on_hostile_images(name: str) -> None:
    """No image found by hand or by following the weights leaves the safe range of a proved network."""
    top = every_topology()[name]
    network = fill(top, 5, use=0.98)
    rng = np.random.default_rng(5)
    hostile = [*images(top.input_shape, 5).values(), *images(top.input_shape, 6).values()]
    for channel in network.weights[0][0].reshape(-1, *network.weights[0][0].shape[-3:])[:4]:
        reps = [-(-a // b) for a, b in zip(top.input_shape, channel.shape, strict=True)]
        tiled = np.tile(channel, reps)[tuple(slice(n) for n in top.input_shape)]
        hostile += [np.where(tiled > 0, 127, -128), np.where(tiled > 0, -128, 127)]
    for _ in range(3):
        assert run_reference(network, np.stack(hostile), stochastic(rng)).overflow == 0


TERMS: dict[str, Term] = {
    "conv": Conv(0, 3, 3),
    "strided, padded": Conv(0, 3, 3, 2, 1),
    "trailing": Conv(0, 3, 2, 2, 0, 1),
    "groups": Conv(0, 4, 3, 1, 1, 0, 2),
    "depthwise, two each": Conv(0, 8, 3, 1, 1, 1, 4),
    "transposed": ConvTranspose(0, 3, 2, 2),
    "transposed, overlapping": ConvTranspose(0, 3, 3, 2, 1, 1),
    "transposed, gaps": ConvTranspose(0, 3, 2, 3, 0, 2),
    "scale": Scale(0),
}


def naive(term: Term, w: IntArray, x: IntArray) -> IntArray:
    """One image, straight from the definition, point by point."""
    c, h, wide = x.shape
    shape = wire_shapes((c, h, wide), (Affine((term,)),), 24)[1]
    made = np.zeros(shape, np.int64)
    if isinstance(term, Scale):
        return x * w[:, None, None]
    assert isinstance(term, Conv | ConvTranspose)
    for i, j, a, b in np.ndindex(*shape[1:], term.kernel, term.kernel):
        if isinstance(term, Conv):
            row, column = i * term.stride + a - term.padding, j * term.stride + b - term.padding
        else:
            row, column = i + term.padding - a, j + term.padding - b
            if row % term.stride or column % term.stride:
                continue
            row, column = row // term.stride, column // term.stride
        if not (0 <= row < h and 0 <= column < wide):
            continue
        if isinstance(term, Conv):
            each, inputs = term.out // term.groups, c // term.groups
            for o in range(term.out):
                first = o // each * inputs
                made[o, i, j] += w[o, :, a, b] @ x[first : first + inputs, row, column]
        else:
            made[:, i, j] += w[:, :, a, b].T @ x[:, row, column]
    return made


@pytest.mark.parametrize("name", TERMS)
def test_reference_is_the_definition_and_the_bound_is_reached(name: str) -> None:
    """The interval of a term holds every image, and some image reaches it: it is as tight as can be."""
    term, rng = TERMS[name], np.random.default_rng(3)
    w = rng.integers(-99, 100, weight_shape(term, [(4, 6, 7)]))
    batch = rng.integers(-128, 128, (3, 4, 6, 7))
    assert np.array_equal(apply_term(term, w, batch.astype(float)), [naive(term, w, x) for x in batch])
    low, high = term_interval(term, w, (np.full(4, -128), np.full(4, 127)))
    unit = np.eye(4 * 6 * 7).reshape(-1, 4, 6, 7)
    slopes = apply_term(term, w, unit)  # what each input point adds to each output point
    reached = np.where(slopes > 0, slopes * 127, slopes * -128).sum(0).max((1, 2))
    fallen = np.where(slopes > 0, slopes * -128, slopes * 127).sum(0).min((1, 2))
    assert np.array_equal(reached, high)
    assert np.array_equal(fallen, low)


def test_zero_padding_is_part_of_the_bound() -> None:
    """A wire that is 100 everywhere, under taps that cancel: only the border, where padding stands, is not 0."""
    for term in (Conv(1, 1, 3, 1, 1), Conv(1, 1, 3, 1, 0, 1), ConvTranspose(1, 1, 3)):
        top = Topology((1, 4, 4), (Affine((Conv(0, 1, 1),)), Affine((term,))), ring_bits=20)
        taps = np.zeros((1, 1, 3, 3), np.int64)
        taps[0, 0, 1, 1], taps[0, 0, 1, 2] = -10, 10
        layers = [[np.zeros((1, 1, 1, 1), np.int64)], [taps]]
        bound = worst_case(Network(top, layers, [np.array([100]), np.array([0])], bytes(32))).bounds[1]
        assert bound.low <= -1000
        assert bound.high >= 1000


def test_real_weights_give_a_real_interval() -> None:
    source = cast("tuple[IntArray, IntArray]", (np.zeros(2), np.ones(2)))
    low, high = term_interval(Dense(0, 1), cast("IntArray", np.array([[0.25, -0.5]])), source)
    assert (low[0], high[0]) == (-0.5, 0.25)


def test_reference_takes_one_image_or_many_and_no_others() -> None:
    network = fill(residual(), 3)
    batch = np.stack([*images((2, 7, 7), 1).values()])
    many = run_reference(network, batch)
    assert many.buckets is not None
    for image, logits, bucket in zip(batch, many.logits, many.buckets, strict=True):
        one = run_reference(network, image)
        assert np.array_equal(one.logits, logits)
        assert one.bucket == bucket
    for wrong in (batch[:0], batch[:, :1], batch[0, 0], batch[None]):
        with pytest.raises(ProtocolError, match="images of shape"):
            run_reference(network, wrong)


def test_bounds_of_a_large_network_take_no_second() -> None:
    """11 million weights, as ResNet18 has."""
    nodes: list[Node] = [Affine((Conv(0, 512, 1),)), Clip(1, 8, 7)]
    for i in range(5):
        nodes += [Affine((Conv(2 * i + 2, 512, 3, 1, 1),)), Clip(2 * i + 3, 8, 7)]
    top = Topology((3, 4, 4), (*nodes, Affine((Conv(12, 1, 4),))))
    weights = [[np.zeros(s, np.int64) + 3 for s in layer] for layer in weight_shapes(top)]
    network = Network(top, weights, [np.zeros(s, np.int64) for s in bias_shapes(top)], bytes(32))
    start = time.process_time()
    assert worst_case(network).proved
    assert time.process_time() - start < 2


def test_residual_network_reads_two_wires() -> None:
    assert [len(s) for s in weight_shapes(residual())] == [1, 1, 2, 2, 1]
