"""The clip on shares, for every value and every mask of a small ring; the bucket likewise."""

from __future__ import annotations

import numpy as np
import pytest
from blind_samples import seeds, tiny

from protocols.blind import bucket, masking
from protocols.blind.bounds import logit_range, relu_range
from protocols.blind.bytesio import IntArray
from protocols.blind.layers import Relu
from protocols.blind.prg import Stream
from protocols.blind.ring import mod, signed
from protocols.blind.walk import ClipStep

SEED = seeds(0).dealer


def clip_on_shares(step: ClipStep, k: int, v: IntArray, z1: IntArray) -> tuple[IntArray, int, IntArray]:
    """Both sides of one clip: y opened, the count of cut elements, and m."""
    patient, _ = masking.draw_mask(step, Stream(SEED, b"p"), k)
    model = masking.read_correction(step, masking.deal(step, patient, Stream(SEED, b"d"), k), k)
    z0 = mod(v - z1, k)
    p = mod((z1 >> step.shift) + (step.shift > 0) + patient.words[0], step.bits)
    m = mod((z0 >> step.shift) + model.words[0] + p, step.bits)
    opened = masking.look_up(step, patient, m) ^ masking.look_up(step, model, m) ^ masking.flips(step, m)
    y = sum(
        masking.share_of_clip(step, mask, m, opened, own) for mask, own in ((model, True), (patient, False))
    )
    count = sum(masking.share_of_count(mask, opened, own) for mask, own in ((model, True), (patient, False)))
    return signed(np.asarray(y), k), count % (1 << k), m


@pytest.mark.parametrize(
    ("bits", "k", "cap"), [(4, 8, 1), (4, 9, 3), (5, 9, 7), (5, 5, 8), (6, 8, 31), (6, 10, 17)]
)
def test_clip_of_every_value_in_the_safe_range(bits: int, k: int, cap: int) -> None:
    """Every accumulator that `bounds.relu_range` allows, under every share z1, rounds as stated."""
    shift, half = k - bits, 1 << (bits - 1)
    low, high = (
        relu_range(tiny(k, bits, cap, thresholds=()), Relu(1, cap)) if shift else (cap - half, half - 1)
    )
    safe = np.arange(low, high + 1)
    v, z1 = (a.reshape(-1) for a in np.meshgrid(safe, np.arange(1 << k)))
    step = ClipStep(0, (v.size, 1, 1), bits, shift, cap, True)
    y, count, _ = clip_on_shares(step, k, v, z1)
    u = (1 << shift) - mod(z1, shift) if shift else np.zeros_like(z1)
    t = (v + u) >> shift
    np.testing.assert_array_equal(y, np.clip(t, 0, cap))
    assert count == int((t >= cap).sum()) % (1 << k)


def test_clip_one_past_the_safe_range_fails() -> None:
    """The bound is tight: the first value outside it is clipped wrongly under some share."""
    bits, k, cap = 5, 8, 7
    step = ClipStep(0, (1 << k, 1, 1), bits, k - bits, cap, True)
    z1 = np.arange(1 << k)
    for v, right in ((15 << 3, cap), (((cap - 16) << 3) - 2, 0)):
        y, _, _ = clip_on_shares(step, k, np.full(1 << k, v), z1)
        assert (y != right).any()


@pytest.mark.parametrize("k", [14, 18, 24])
def test_logit_range_is_where_no_rounding_wraps(k: int) -> None:
    top = tiny(k, 6)
    (low, high), s, half = logit_range(top), top.logit_shift, 1 << (top.logit_bits - 1)
    u = (1, 1 << s) if s else (0, 0)
    assert (low + u[0]) >> s >= -half
    assert (high + u[1]) >> s == half - 1
    assert (high + 1 + u[1]) >> s == half


def test_opened_index_is_uniform_whatever_the_value() -> None:
    step = ClipStep(0, (1 << 15, 1, 1), 6, 6, 9, True)
    z1 = Stream(SEED, b"z").words(step.size, 12)
    for v in (0, 1000, -500):
        _, _, m = clip_on_shares(step, 12, np.full(step.size, v), z1)
        counts = np.bincount(m, minlength=64)
        assert ((counts - 512) ** 2 / 512).sum() < 63 + 6 * np.sqrt(2 * 63)


@pytest.mark.parametrize("k", [12, 18])
def test_bucket_of_every_logit(k: int) -> None:
    top = tiny(k, 6, thresholds=(3, 40, 900))
    patient = bucket.draw_bucket_mask(top, Stream(SEED, b"b"))
    model = bucket.read_bucket_correction(top, bucket.deal_bucket(top, patient, Stream(SEED, b"d")))
    size = 1 << top.logit_bits
    for t in range(-size // 2, size // 2, 1 if k == 12 else 97):
        m = (t + patient.r + model.r) % size
        assert bucket.entry(patient, m) ^ bucket.entry(model, m) == top.bucket_of(t)
