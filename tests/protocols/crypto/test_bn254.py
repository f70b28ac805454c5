"""The pairing in plain integers against py_ecc, an independent implementation."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_ecc import optimized_bn128 as oracle

from protocols.crypto import bn254
from protocols.crypto.bn254 import (
    G1,
    G2,
    P,
    R,
    g1_add,
    g1_mul,
    g1_neg,
    g1_valid,
    g2_add,
    g2_mul,
    g2_valid,
    pairing_is_one,
)

SCALARS = st.integers(0, R + 5) | st.sampled_from([0, 1, 2, 3, R - 2, R - 1, R, R + 1])


def to_oracle_g1(point):
    return (
        (oracle.FQ(1), oracle.FQ(1), oracle.FQ(0))
        if point is None
        else (*map(oracle.FQ, point), oracle.FQ(1))
    )


def from_oracle_g1(point):
    return None if point[2] == oracle.FQ(0) else tuple(c.n for c in oracle.normalize(point))


def to_oracle_g2(point):
    return oracle.Z2 if point is None else (*(oracle.FQ2(list(c)) for c in point), oracle.FQ2.one())


def from_oracle_g2(point):
    if point[2] == oracle.FQ2.zero():
        return None
    return tuple(tuple(int(part) for part in c.coeffs) for c in oracle.normalize(point))


def off_group() -> tuple:
    """A point of the twist that is not of order R: nearly every point with a square right-hand side."""
    for x in range(1, 100):
        right = bn254._mul(bn254._mul((x, 0), (x, 0)), (x, 0))
        right = ((right[0] + bn254._B2[0]) % P, (right[1] + bn254._B2[1]) % P)
        root = square_root(right)
        if root is not None:
            return (x, 0), root
    raise AssertionError("no point found")


def square_root(a: tuple[int, int]) -> tuple[int, int] | None:
    """A square root in Fp2, by the norm; P is 3 modulo 4."""
    norm = pow(a[0] ** 2 + a[1] ** 2, (P + 1) // 4, P)
    for sign in (norm, -norm):
        half = (a[0] + sign) * pow(2, -1, P) % P
        x = pow(half, (P + 1) // 4, P)
        if x and x * x % P == half:
            root = (x, a[1] * pow(2 * x, -1, P) % P)
            if bn254._mul(root, root) == a:
                return root
    return None


@given(SCALARS, SCALARS)
@settings(max_examples=25, deadline=None)
def test_g1_as_py_ecc(a: int, b: int) -> None:
    p, q = g1_mul(G1, a), g1_mul(G1, b)
    assert p == from_oracle_g1(oracle.multiply(oracle.G1, a % R))
    assert g1_add(p, q) == from_oracle_g1(oracle.add(to_oracle_g1(p), to_oracle_g1(q)))
    assert g1_add(p, g1_neg(p)) is None
    assert g1_valid(p)


@given(st.integers(0, 2**64), st.integers(0, 2**64))
@settings(max_examples=10, deadline=None)
def test_g2_as_py_ecc(a: int, b: int) -> None:
    p, q = g2_mul(G2, a), g2_mul(G2, b)
    assert p == from_oracle_g2(oracle.multiply(oracle.G2, a))
    assert g2_add(p, q) == from_oracle_g2(oracle.add(to_oracle_g2(p), to_oracle_g2(q)))
    assert g2_add(p, g2_mul(p, R - 1)) is None
    assert g2_valid(p)


def test_membership() -> None:
    assert g1_valid(None)
    assert g2_valid(None)
    assert not g1_valid((1, 3))
    assert not g1_valid((1 + P, 2))
    assert not g1_valid((-1, 2))
    point = off_group()
    assert oracle.is_on_curve(to_oracle_g2(point), oracle.b2)
    assert not g2_valid(point)
    (x, y), other = G2
    assert not g2_valid(((x + P, y), other))
    assert not g2_valid((other, (x, y)))


def test_the_reduced_pairing_is_py_eccs() -> None:
    a, b = (int.from_bytes(hashlib.sha256(seed).digest(), "big") % R for seed in (b"a", b"b"))
    p, q = g1_mul(G1, a), g2_mul(G2, b)
    theirs = oracle.pairing(to_oracle_g2(q), to_oracle_g1(p))
    assert bn254._final(bn254._miller([(p, q)])) == tuple(int(c) for c in theirs.coeffs)


@given(st.integers(1, R - 1), st.integers(1, R - 1))
@settings(max_examples=12, deadline=None)
def test_the_pairing_is_bilinear(a: int, b: int) -> None:
    pairs = [(g1_mul(G1, a), g2_mul(G2, b)), (g1_neg(g1_mul(G1, a * b % R)), G2)]
    assert pairing_is_one(pairs)
    assert pairing_is_one(reversed(pairs))
    assert not pairing_is_one([pairs[0], (g1_mul(G1, a * b % R), G2)])
    assert not pairing_is_one(pairs[:1])
    assert pairing_is_one([*pairs, (None, G2), (G1, None)])


def test_the_empty_product_is_one() -> None:
    assert pairing_is_one([])


@given(st.lists(st.integers(0, P - 1), min_size=12, max_size=12).map(tuple), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_fp12_as_py_ecc(a: tuple[int, ...], twist: int) -> None:
    ours, theirs = a, oracle.FQ12(list(a))
    b = (*a[twist:], *a[:twist])
    assert bn254._mul12(ours, b) == tuple(int(c) for c in (theirs * oracle.FQ12(list(b))).coeffs)
    if any(a):
        assert bn254._mul12(a, bn254._inverse12(a)) == bn254._ONE


def test_frobenius_is_raising_to_p() -> None:
    a = tuple(int.from_bytes(hashlib.sha512(bytes([i])).digest(), "big") % P for i in range(12))
    assert bn254._frobenius(a) == tuple(int(c) for c in (oracle.FQ12(list(a)) ** P).coeffs)
    b = a
    for _ in range(6):
        b = bn254._frobenius(b)
    assert b == bn254._conjugate(a)
    for _ in range(6):
        b = bn254._frobenius(b)
    assert b == a


def test_a_point_of_order_two_would_not_pass() -> None:
    assert bn254.g2_add(((1, 0), (0, 0)), ((1, 0), (0, 0))) is None
    with pytest.raises(ArithmeticError):
        bn254._Walk((1, 2), ((1, 0), (0, 0))).step(((1, 0), (0, 0)))
