"""A whole tape made by two, with encryption that hides nothing: exact online, and what is heard is noise.

With real encryption: tests/models/test_homomorphic_seal.py and test_dealerless_engine.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from blind_samples import draw, every_topology, fill, images, session, tape_of, tiny, topology
from blind_statistics import Field, findings
from pairwise_samples import Transparent, both_ends, converse, turned_product
from test_blind_exact import assert_exact, rounding_of

from protocols.blind.kernels import PortableKernels
from protocols.blind.layers import Affine, Clip, Conv, ConvTranspose, Dense, Flatten, Scale, Shape, Term
from protocols.blind.local import Parties, run_parties
from protocols.blind.masks import PatientMasks
from protocols.blind.messages import HEADER_BYTES
from protocols.blind.model import ModelParty
from protocols.blind.network import Network, weight_shapes
from protocols.blind.pairwise.linear import bundle, unbundle
from protocols.blind.pairwise.own import OwnWeights
from protocols.blind.pairwise.packing import DEGREE, pack
from protocols.blind.pairwise.talk import WINDOW, Talk, Talks
from protocols.blind.pairwise.tape import Made, model_talks, patient_talks
from protocols.blind.patient import PatientParty
from protocols.blind.reference import given, run_reference
from protocols.blind.schedule import tape_schedule
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.errors import ProtocolError

TERMS: list[tuple[Term, Shape]] = [
    (Conv(0, 6, 5), (1, 32, 32)),
    (Conv(0, 5, 3, 1, 1), (3, 9, 8)),
    (Conv(0, 4, 3, 2, 1), (3, 9, 8)),
    (Conv(0, 4, 3, 2, 0, 1, 2), (4, 9, 8)),
    (Conv(0, 8, 3, 1, 1, 0, 4), (4, 9, 8)),
    (Conv(0, 6, 3, 2, 1, 0, 6), (6, 12, 12)),
    (Conv(0, 12, 3, 1, 1, 0, 12), (12, 40, 40)),
    (Conv(0, 4, 1, 2), (4, 9, 9)),
    (Conv(0, 3, 7, 4, 2), (2, 20, 20)),
    (Conv(0, 2, 3, 1, 1), (1, 100, 100)),
    (ConvTranspose(0, 2, 3, 2, 1, 1), (3, 5, 6)),
    (ConvTranspose(0, 2, 3, 1, 1), (3, 5, 6)),
    (ConvTranspose(0, 3, 2, 2), (5, 8, 8)),
    (ConvTranspose(0, 2, 2, 3, 0, 1), (2, 4, 5)),
    (ConvTranspose(0, 1, 5, 2, 2, 1), (2, 6, 5)),
    (Dense(0, 120), (400, 1, 1)),
    (Scale(0), (5, 7, 6)),
    (Scale(0), (9, 50, 50)),
]


@pytest.mark.parametrize(("term", "shape"), TERMS)
def test_a_term_is_products_of_polynomials(term: Term, shape: Shape) -> None:
    """With weights of any size, mod 2^24, two images at once."""
    top = Topology(shape, (Affine((term,)),), ring_bits=24)
    rng, n = np.random.default_rng(1), 2
    w = rng.integers(-32767, 32768, weight_shapes(top)[0][0])
    x = rng.integers(0, 1 << 24, (n, *shape)).astype(np.uint32)
    want = np.zeros((n, *top.shapes[1]), np.uint32)
    PortableKernels().prepare(term, shape, w, 24, False).apply(x, want)
    packing = pack(term, shape)
    arranged, inputs, parts = packing.weights(w), list(packing.encode(x)), []
    assert len(inputs) == n * len(packing.tiles) * packing.in_blocks
    for at in range(0, len(inputs), packing.in_blocks):
        for block in range(packing.out_blocks):
            product = np.zeros(DEGREE, np.uint32)
            for other in packing.inputs_of(block):
                product += turned_product(inputs[at + other], packing.kernel(arranged, block, other))
            parts.append(product[packing.places(block)])
    np.testing.assert_array_equal((packing.decode(iter(parts), n) - want) & np.uint32(0xFFFFFF), 0)


def sides(
    network: Network, batch: int, name: bytes, seed: bytes
) -> tuple[Talks[None], Talks[Made], list[bytes], Transparent, OwnWeights]:
    """Both sides of one tape, and where its frames go."""
    top, weights = network.topology, OwnWeights(network)
    frames: list[bytes] = []
    patient, model = both_ends("tape")
    holder = Transparent(top.ring_bits)
    mine = patient_talks(
        top, weights.network_hash, tape_of(name), seed, batch, patient, holder, draw("patient's")
    )
    theirs = model_talks(weights, tape_of(name), batch, model, holder, draw("model's"), frames.append)
    return mine, theirs, frames, holder, weights


@pytest.mark.parametrize("name", every_topology())
@pytest.mark.parametrize("size", [1, 3])
def test_the_online_phase_is_exact_on_such_a_tape(name: str, size: int) -> None:
    """Logits and buckets are the integer network's, bit for bit given P's rounding; the frames are a tape's."""
    top = every_topology()[name]
    network = fill(top, 11)
    batch = np.stack(list(images(top.input_shape, 5).values()))[-size:]
    here, seed = session(size), draw("seed")
    mine, theirs, frames, _, weights = sides(network, size, here, seed)
    converse(mine, theirs)
    wanted = [item.size + HEADER_BYTES for item in tape_schedule(top, size)]
    assert [len(frame) for frame in frames] == wanted
    patient = PatientParty(top, network.network_hash(), batch, here, tape_of(here), seed, UsedSessions())
    model = ModelParty(weights, here, tape_of(here), UsedSessions(), size)
    run_parties(Parties(patient, model, list(frames)))
    masks = PatientMasks(top, network.network_hash(), tape_of(here), seed, size)
    rounding = rounding_of(top, masks, weights.masked, size)
    assert_exact(patient.result, model.result, run_reference(network, batch, given(rounding)))


def test_the_masked_weights_are_zeros() -> None:
    """What P is sent of the weights says nothing."""
    assert not any(OwnWeights(fill(tiny(), 1)).masked.encode())


def test_what_is_opened_of_a_layer_is_noise() -> None:
    """P sees W.r + t, M sees it less s: uniform, for one secret as for another."""
    top = topology((Affine((Conv(0, 2, 3, 1, 1),)), Clip(1, 4, 2), Affine((Conv(2, 1, 1),))), (1, 40, 40), 14)
    for number in (1, 2):
        mine, theirs, _, holder, _ = sides(fill(top, number), 1, session(number), draw(f"seed {number}"))
        heard = converse(mine, theirs)
        assert len(holder.seen) == 2
        seen = np.concatenate(holder.seen)[None].astype(np.int64)
        assert findings({"seen": {"word": Field(seen, 14)}}, 1) == []
        last = max(
            (f for f in heard[1] if int.from_bytes(f[:4], "big") == 1 and len(f) < 4 * DEGREE), key=len
        )
        words = PortableKernels().unpack(last[4:], 2 * 40 * 40, 14)[None].astype(np.int64)
        assert findings({"heard": {"word": Field(words, 14)}}, 1) == []


def test_without_its_mask_a_layer_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """The statistic sees a product that is not masked where no output lies."""

    def bare(self: Transparent, pairs: list, mask: np.ndarray, fresh: object) -> bytes:
        return self.seal(
            sum((turned_product(c, k) for c, k in pairs), np.zeros(DEGREE, np.uint32)) & np.uint32(0x3FFF)
        )

    monkeypatch.setattr(Transparent, "combine", bare)
    top = topology((Affine((Conv(0, 1, 1),)),), (1, 40, 40), 14)
    mine, theirs, _, holder, _ = sides(fill(top, 1), 1, session(1), draw("seed"))
    converse(mine, theirs)
    seen = np.concatenate(holder.seen)[None].astype(np.int64)
    assert findings({"seen": {"word": Field(seen, 14)}}, 1) != []


def frames_of_tiny() -> tuple[list[bytes], list[bytes]]:
    mine, theirs, *_ = sides(fill(tiny(), 1), 1, session(1), draw("seed"))
    return converse(mine, theirs)


@pytest.mark.parametrize("change", ["cut", "longer", "repeated", "foreign", "far", "empty", "noise"])
def test_a_frame_that_does_not_belong_ends_it(change: str) -> None:
    """Nothing but `ProtocolError` comes of it, at either side, wherever it stands; and nothing works afterwards."""
    everything = frames_of_tiny()
    rng = np.random.default_rng(3)
    for side in (0, 1):
        refused = 0
        for at, right in enumerate(everything[side]):
            talks: Talks = sides(fill(tiny(), 1), 1, session(1), draw("seed"))[side]
            talks.start()
            for frame in everything[side][:at]:
                talks.receive(frame)
            wrong = {
                "cut": right[:-1],
                "longer": right + b"\0",
                "repeated": everything[side][at - 1],
                "foreign": (99).to_bytes(4, "big") + right[4:],
                "far": (len(everything[side]) + 2 * WINDOW).to_bytes(4, "big") + right[4:],
                "empty": right[:4],
                "noise": rng.bytes(len(right)),
            }[change]
            try:
                talks.receive(wrong)
            except ProtocolError:
                refused += 1
                with pytest.raises(ProtocolError, match="ended on an error"):
                    talks.receive(right)
        assert refused > len(everything[side]) // 2


def test_another_ring_or_batch_is_refused() -> None:
    """Sides that speak of different networks or batches stop at a length."""
    for other, batch in ((fill(tiny(16), 1), 1), (fill(tiny(), 1), 3)):
        mine = sides(fill(tiny(), 1), 1, session(1), draw("seed"))[0]
        theirs = sides(other, batch, session(1), draw("seed"))[1]
        with pytest.raises(ProtocolError):
            converse(mine, theirs)


def test_a_bundle_has_its_lengths() -> None:
    parts = [b"one", b"three"]
    assert unbundle(bundle(parts), 2) == parts
    for wrong in (bundle(parts)[:-1], bundle(parts) + b"\0", bundle(parts[:1]), bytes(8), b""):
        with pytest.raises(ProtocolError, match="wrong length"):
            unbundle(wrong, 2)


def test_talks_go_on_side_by_side_and_end_in_order() -> None:
    """Later talks may be done first; what they made is handed over in order."""

    def short(number: int) -> Talk[int]:
        yield b"x"
        return b"", number

    def long(number: int) -> Talk[int]:
        yield b"x"
        yield b"y"
        return b"", number

    taken: list[int] = []
    talks = Talks(iter([long(0), short(1), short(2)]), taken.append)
    assert len(talks.start()) == 3
    number = [i.to_bytes(4, "big") for i in range(3)]
    talks.receive(number[2] + b"a")
    talks.receive(number[1] + b"a")
    assert taken == []
    assert talks.receive(number[0] + b"a") == [number[0] + b"y"]
    assert not talks.done
    talks.receive(number[0] + b"a")
    assert taken == [0, 1, 2]
    assert talks.done


def test_a_flat_network() -> None:
    """Dense layers alone, two logits."""
    top = topology((Flatten(0), Affine((Dense(1, 7),)), Clip(2, 4, 3), Affine((Dense(3, 2),))), (1, 3, 5), 18)
    mine, theirs, frames, *_ = sides(fill(top, 2), 2, session(2), draw("seed"))
    converse(mine, theirs)
    assert len(frames) == len(tape_schedule(top, 2))
