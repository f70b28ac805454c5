"""The clip on shares: every value, every share and every mask of small rings; the bucket likewise."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from blind_samples import every_kernels, fill, seeds, tiny, topology

from protocols.blind import bucket
from protocols.blind.bounds import clip_range, logit_range
from protocols.blind.bytesio import IntArray
from protocols.blind.kernels import ClipSize, Kernels, Mask, PortableKernels, Words
from protocols.blind.kernels.interface import INDEX_BYTES
from protocols.blind.kernels.portable import signed
from protocols.blind.layers import Affine, Clip, Conv
from protocols.blind.masking import CHUNK, ahead_word, chunks
from protocols.blind.prg import Stream
from protocols.errors import ProtocolError

SEED = seeds(0).dealer
KERNELS = every_kernels()
LEVELS = pytest.mark.parametrize("level", KERNELS)
# K, low_bits, high_bits, low
CLIPS = [
    (7, 3, 1, 0),
    (8, 3, 2, -4),
    (8, 4, 2, 0),
    (9, 3, 4, -7),
    (9, 5, 1, -16),
    (8, 4, 4, 0),
    (8, 3, 5, -3),
]


def size_of(k: int, b: int, h: int, low: int) -> ClipSize:
    return ClipSize(k, b, h, k - b - h, low)


def safe_range(clip: ClipSize) -> tuple[int, int]:
    """What `bounds.py` allows such a clip to read."""
    node = Clip(0, clip.low_bits, clip.high_bits, clip.low)
    top = topology((node, Affine((Conv(1, 1, 1),))), (1, 2, 2), max(8, clip.ring_bits))
    assert top.clip_shift(node) == clip.shift + max(0, 8 - clip.ring_bits)
    low, high = clip_range(top, node)
    if clip.ring_bits >= 8:
        return low, high
    spare = 8 - clip.ring_bits
    return low >> spare, ((high + 1) >> spare) - 1 if clip.shift else high >> spare


def patient_mask(clip: ClipSize, count: int, what: bytes = b"p") -> Mask:
    stream = Stream(SEED, what)
    index = stream.octets(INDEX_BYTES * count).view("<u2")
    return Mask(clip, index, stream.octets(count * clip.element_bytes))


def clip_on_shares(
    kernels: Kernels, clip: ClipSize, v: IntArray, z1: IntArray, fresh: Words | None = None
) -> IntArray:
    """Both sides of one clip, over the wire; y opened."""
    patient = patient_mask(clip, v.size)
    drawn = Stream(SEED, b"d").words(v.size) if fresh is None else fresh
    dealt = Mask.blank(clip, v.size)
    kernels.deal(clip, patient, drawn, dealt)
    model = Mask.read(clip, v.size, dealt.encode())
    wire = Stream(SEED, b"w").words(v.size)
    junk = Stream(SEED, b"j").words(v.size) << np.uint32(clip.ring_bits)  # any representative will do
    z1_words = z1.astype(np.uint32) + junk
    z0 = v.astype(np.uint32) - z1_words
    p = kernels.pack(ahead_word(clip, z1_words, patient.index), clip.width)
    message, opened = kernels.open(clip, z0, kernels.unpack(p, v.size, clip.width), model)
    reply = kernels.answer(clip, message, patient, wire)
    return signed(kernels.close(clip, opened, reply, model) + wire, clip.ring_bits)


def right(clip: ClipSize, v: IntArray, z1: IntArray) -> IntArray:
    """clip(floor((v + u) / 2^S), low, low + C), u = 2^S - (z1 mod 2^S)."""
    u = (1 << clip.shift) - (z1 & ((1 << clip.shift) - 1)) if clip.shift else np.zeros_like(z1)
    return np.clip((v + u) >> clip.shift, clip.low, clip.low + clip.ceiling)


def every_pair(clip: ClipSize) -> tuple[IntArray, IntArray]:
    """Every safe value under every share z1."""
    low, high = safe_range(clip)
    v, z1 = np.meshgrid(np.arange(low, high + 1), np.arange(1 << clip.ring_bits))
    return v.reshape(-1), z1.reshape(-1)


@LEVELS
@pytest.mark.parametrize("sizes", CLIPS)
def test_clip_of_every_value_under_every_share(sizes: tuple[int, int, int, int], level: str) -> None:
    clip = size_of(*sizes)
    v, z1 = every_pair(clip)
    assert v.size >= (1 << (2 * clip.ring_bits)) - (2 << (clip.ring_bits + clip.shift))
    y = clip_on_shares(KERNELS[level], clip, v, z1)
    np.testing.assert_array_equal(y, right(clip, v, z1))
    assert set(np.unique(y)) == set(range(clip.low, clip.low + clip.ceiling + 1))


@LEVELS
@pytest.mark.parametrize("low", [0, -5])
def test_clip_of_every_value_under_every_share_and_every_mask(low: int, level: str) -> None:
    """K = 5, B = 4: all that the dealer can draw (r, d, c0, c1, g0, g1), for every value and share."""
    clip = size_of(5, 3, 1, low)
    pairs_v, pairs_z = every_pair(clip)
    v, fresh = (
        a.reshape(-1) for a in np.meshgrid(pairs_v, np.arange(1 << (clip.width + 5), dtype=np.uint32))
    )
    z1 = np.tile(pairs_z, 1 << (clip.width + 5))
    y = clip_on_shares(KERNELS[level], clip, v, z1, fresh.astype(np.uint32))
    np.testing.assert_array_equal(y, right(clip, v, z1))


@LEVELS
@pytest.mark.parametrize("sizes", CLIPS)
def test_clip_one_past_the_safe_range_fails(sizes: tuple[int, int, int, int], level: str) -> None:
    """The bound is needed and tight: just outside it some share gives another value.

    Below, where there is a shift, one unit of v is to spare: u >= 1.
    """
    clip = size_of(*sizes)
    low, high = safe_range(clip)
    z1 = np.arange(1 << clip.ring_bits)

    def holds(value: int) -> bool:
        v = np.full(z1.size, value)
        return bool((clip_on_shares(KERNELS[level], clip, v, z1) == right(clip, v, z1)).all())

    spare = 1 if clip.shift else 0
    assert holds(low)
    assert holds(high)
    assert holds(low - spare)
    assert not holds(high + 1)
    assert not holds(low - spare - 1)


@LEVELS
@pytest.mark.parametrize("bits", [3, 4, 7, 10])
def test_comparison_of_a_maximum(bits: int, level: str) -> None:
    """S = 0, h = 1: max(a, b) = b + clip(a - b) for all activations (all pairs up to 7 bits)."""
    clip = ClipSize(13, bits, 1, 0)
    every = np.arange(1 << bits) if bits < 10 else np.random.default_rng(1).integers(0, 1 << bits, 300)
    a, b = (x.reshape(-1) for x in np.meshgrid(every, every))
    z1 = Stream(SEED, b"z").words(a.size).astype(np.int64) & 0x1FFF
    np.testing.assert_array_equal(b + clip_on_shares(KERNELS[level], clip, a - b, z1), np.maximum(a, b))


@LEVELS
@pytest.mark.parametrize("k", [18, 20, 24])
@pytest.mark.parametrize("digits", [(10, 6), (8, 8), (3, 8), (10, 1), (7, 3)])
def test_large_clips_at_their_edges(k: int, digits: tuple[int, int], level: str) -> None:
    """Too many values for all of them: both ends of the range, of every digit, and random ones."""
    rng = np.random.default_rng(k)
    for low in (0, -1, 1 - (1 << digits[0])):
        clip = size_of(k, *digits, low)
        ends = safe_range(clip)
        steps = np.arange(-(1 << digits[1]), 1 << digits[1]) << (digits[0] + clip.shift)
        near = (steps[:, None] + np.arange(-3, 4)).reshape(-1) + (low << clip.shift)
        v = np.concatenate([rng.integers(*ends, 3000), near[(near >= ends[0]) & (near <= ends[1])], ends])
        z1 = rng.integers(0, 1 << k, v.size)
        np.testing.assert_array_equal(clip_on_shares(KERNELS[level], clip, v, z1), right(clip, v, z1))


def test_rounding_is_unbiased_but_for_one_part_in_2_to_the_s() -> None:
    """Over all shares u takes each of 1..2^S equally often: the mean of t is (v + 1) / 2^S, exactly."""
    clip = size_of(9, 3, 3, 0)
    z1 = np.arange(1 << 9)
    for v in range(8, 48):
        y = clip_on_shares(PortableKernels(), clip, np.full(z1.size, v), z1)
        assert y.mean() == (v + 1) / 8
        assert set(np.unique(y)) == {(v + 1) >> 3, (v + 8) >> 3}


def test_chunks_cover_a_clip_in_order() -> None:
    for total in (1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5):
        parts = list(chunks(total))
        assert parts[0].start == 0
        assert parts[-1].stop == total
        assert all(a.stop == b.start for a, b in pairwise(parts))
        assert max(p.stop - p.start for p in parts) <= CHUNK


def test_a_network_one_past_the_safe_range_cannot_be_made() -> None:
    top = tiny(14, 4, 2)
    fill(top, 1, 0.99)
    with pytest.raises(ProtocolError, match="can reach"):
        fill(top, 1, 1.2)


@pytest.mark.parametrize("k", [14, 18, 24])
def test_logit_range_is_where_no_rounding_wraps(k: int) -> None:
    top = tiny(k, 4, 2)
    (low, high), s, half = logit_range(top), top.logit_shift, 1 << (top.logit_bits - 1)
    u = (1, 1 << s) if s else (0, 0)
    assert (low + u[0]) >> s >= -half
    assert (high + u[1]) >> s == half - 1
    assert (high + 1 + u[1]) >> s == half


@pytest.mark.parametrize("k", [12, 18])
def test_bucket_of_every_logit(k: int) -> None:
    top = tiny(k, 4, 2, thresholds=(3, 40, 900))
    kernels, n = PortableKernels(), 3
    patient = bucket.draw_bucket_mask(top, Stream(SEED, b"b"), n)
    correction = bucket.deal_bucket(top, patient, Stream(SEED, b"d"), kernels)
    assert len(correction) == bucket.correction_size(top, n)
    model = bucket.read_bucket_correction(top, correction, n, kernels)
    size = 1 << top.logit_bits
    for t in range(-size // 2, size // 2, 1 if k == 12 else 97):
        m = (np.uint32(t % size) + patient.r + model.r) & np.uint32(size - 1)
        for image in range(n):
            found = bucket.entry(patient, m, image) ^ bucket.entry(model, m, image)
            assert found == top.bucket_of(t)


def test_a_clip_of_more_bits_than_an_index_has_is_refused() -> None:
    """Beyond 16 bits the upper ones of m would be neither right nor masked."""
    topology((Clip(0, 10, 6), Affine((Conv(1, 1, 1),))), (1, 2, 2), 24)
    with pytest.raises(ProtocolError, match="more than 16 bits"):
        topology((Clip(0, 10, 7), Affine((Conv(1, 1, 1),))), (1, 2, 2), 24)
