"""Encryption by SEAL: exact mod 2^K at the extremes, its noise drowned, and nothing but one error for garbage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.homomorphic.seal import DATA_BITS, FLOOD_BITS, MOST_LEAK, SealModel, SealPatient
from protocols.blind.pairwise.packing import DEGREE
from protocols.blind.prg import Stream
from protocols.errors import ProtocolError, UserError

pytestmark = pytest.mark.he

PAIRS: dict[int, tuple[SealPatient, SealModel]] = {}


def pair(bits: int) -> tuple[SealPatient, SealModel]:
    """One patient and its model, kept: keys take a while."""
    if bits not in PAIRS:
        patient = SealPatient(bits)
        PAIRS[bits] = patient, SealModel(bits, patient.public)
    return PAIRS[bits]


def fresh(what: str) -> Stream:
    return Stream(hashlib.sha256(what.encode()).digest(), b"test")


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a b mod X^N + 1, mod 2^32; b with few terms."""
    made = np.zeros(2 * DEGREE, np.int64)
    for at in np.flatnonzero(b):
        made[at : at + DEGREE] += a.astype(np.int64) * int(b[at])
    return (made[:DEGREE] - made[DEGREE:]).astype(np.uint32)


@pytest.mark.parametrize("bits", [8, 13, 16, 24])
def test_sums_of_products_are_exact(bits: int) -> None:
    """Weights at their extremes, words at random and all at their greatest, several products, a mask."""
    patient, model = pair(bits)
    rng, ring = np.random.default_rng(bits), np.uint32((1 << bits) - 1)
    words = [rng.integers(0, 1 << bits, DEGREE).astype(np.uint32), np.full(DEGREE, ring, np.uint32)]
    kernels = [np.zeros(DEGREE, np.int64) for _ in words]
    for kernel in kernels:
        kernel[rng.choice(DEGREE, 60, replace=False)] = rng.choice([-32767, 32767, -1, 5], 60)
    mask = rng.integers(0, 1 << bits, DEGREE).astype(np.uint32)
    pairs = [(model.read(patient.seal(w)), model.kernel(k)) for w, k in zip(words, kernels, strict=True)]
    got = patient.unseal(model.combine(pairs, mask, fresh("exact")))
    want = sum((product(w, k) for w, k in zip(words, kernels, strict=True)), mask)
    np.testing.assert_array_equal(got, want & ring)


def test_the_largest_sum_that_may_come_is_exact() -> None:
    """Every coefficient of a kernel at 2^15 - 1, sixty-four times over: the noise stays below what decryption bears."""
    patient, model = pair(24)
    one = patient.seal(np.full(DEGREE, (1 << 24) - 1, np.uint32))
    kernel = model.kernel(np.full(DEGREE, 32767, np.int64))
    read = model.read(one)
    got = patient.unseal(model.combine([(read, kernel)] * 64, np.zeros(DEGREE, np.uint32), fresh("large")))
    signs = (
        np.arange(DEGREE) * 2 + 2 - DEGREE
    )  # minus one times X^i (1 - the rest): how many are added, less how many wrap
    want = (-64 * 32767 * signs.astype(np.int64)) % (1 << 24)
    np.testing.assert_array_equal(got, want)


def test_a_kernel_of_zeros() -> None:
    patient, model = pair(16)
    cipher, nothing = model.read(patient.seal(np.arange(DEGREE, dtype=np.uint32))), np.zeros(DEGREE, np.int64)
    mask = np.arange(DEGREE, dtype=np.uint32)
    np.testing.assert_array_equal(
        patient.unseal(model.combine([(cipher, model.kernel(nothing))], mask, fresh("zero"))), mask
    )


def noise(patient: SealPatient, model: SealModel, kernel: np.ndarray, what: str) -> int:
    """Bits of noise budget that P finds left in an answer."""
    asked = model.read(patient.seal(np.zeros(DEGREE, np.uint32)))
    sealed = model.combine([(asked, model.kernel(kernel))], np.zeros(DEGREE, np.uint32), fresh(what))
    cipher = patient.load(sealed, patient.context.last_parms_id())
    return int(patient._decryptor.invariant_noise_budget(cipher))


def test_the_noise_says_nothing_of_the_weights() -> None:
    """It is as large for no weights as for the largest: the added one, all but the whole budget."""
    patient, model = pair(24)
    budgets = {
        noise(patient, model, np.full(DEGREE, size, np.int64), f"{size} {i}")
        for size in (0, 1, 32767)
        for i in range(3)
    }
    allowed = sum(DATA_BITS) - 24 - 1 - FLOOD_BITS
    assert budgets <= {allowed - 1, allowed}


def test_without_it_the_noise_would_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget falls with the weights when no noise is added."""
    patient, model = pair(24)
    monkeypatch.setattr(SealModel, "_flood", lambda self, _: self.pair(np.zeros((2, DEGREE), np.int64)))
    small, large = (noise(patient, model, np.full(DEGREE, size, np.int64), "bare") for size in (1, 32767))
    assert small >= large
    assert small > 3 + sum(DATA_BITS) - 24 - 1 - FLOOD_BITS


def test_the_added_noise_is_uniform() -> None:
    """Its two residues are one number in -2^93..2^93-1, by the Chinese remainders; its upper bits are fair."""
    _, model = pair(24)
    kept: list[np.ndarray] = []
    right: Callable[..., Any] = model.pair
    model.pair = lambda first: kept.append(first) or right(first)  # type: ignore[method-assign, func-returns-value]
    try:
        model._flood(fresh("uniform"))
    finally:
        del model.pair  # type: ignore[method-assign]
    one, two = model.moduli
    whole, back = one * two, pow(one, -1, two)
    found = [(int(a) + one * ((int(b) - int(a)) * back % two)) for a, b in zip(*kept[0], strict=True)]
    signed = [v - whole if v > whole // 2 else v for v in found]
    assert all(-(1 << FLOOD_BITS) <= v < 1 << FLOOD_BITS for v in signed)
    counts = np.bincount([(v >> (FLOOD_BITS - 3)) + 8 for v in signed], minlength=16)
    assert np.abs(counts - DEGREE / 16).max() < 6 * (DEGREE / 16) ** 0.5


def test_the_same_question_has_another_answer_each_time() -> None:
    """Both halves are fresh: not even the second one shows what was multiplied."""
    patient, model = pair(16)
    asked, kernel = (
        model.read(patient.seal(np.ones(DEGREE, np.uint32))),
        model.kernel(np.ones(DEGREE, np.int64)),
    )
    answers = [
        patient.load(
            model.combine([(asked, kernel)], np.zeros(DEGREE, np.uint32), fresh("same")),
            patient.context.last_parms_id(),
        )
        for _ in range(2)
    ]
    seconds = [np.array([one[i] for i in range(DEGREE, DEGREE + 64)]) for one in answers]
    assert (seconds[0] != seconds[1]).all()


def test_the_account_of_what_noise_tells_has_an_end() -> None:
    patient = SealPatient(16)
    model = SealModel(16, patient.public)
    asked, kernel = (
        model.read(patient.seal(np.ones(DEGREE, np.uint32))),
        model.kernel(np.ones(DEGREE, np.int64)),
    )
    mask = np.zeros(DEGREE, np.uint32)
    model.combine([(asked, kernel)], mask, fresh("one"))
    assert 0 < model.leak < MOST_LEAK / 1000
    model.leak = MOST_LEAK
    with pytest.raises(UserError, match="noise"):
        model.combine([(asked, kernel)], mask, fresh("two"))


def test_garbage_is_refused() -> None:
    """Bytes of any kind, a ciphertext of the other level, of another ring: one error."""
    patient, model = pair(16)
    right = patient.seal(np.ones(DEGREE, np.uint32))
    answer = model.combine(
        [(model.read(right), model.kernel(np.ones(DEGREE, np.int64)))],
        np.zeros(DEGREE, np.uint32),
        fresh("g"),
    )
    other = pair(24)[0].seal(np.ones(DEGREE, np.uint32))
    noise = np.random.default_rng(1).bytes(len(right))
    for wrong in (b"", b"x", right[:-1], right[:200], noise, right[:16] + noise[16:], answer, other):
        with pytest.raises(ProtocolError):
            model.read(wrong)
    for wrong in (b"", answer[:-1], noise, right):
        with pytest.raises(ProtocolError):
            patient.unseal(wrong)
    for wrong in (b"", right, noise, pair(24)[0].public):
        with pytest.raises(ProtocolError):
            SealModel(16, wrong)
