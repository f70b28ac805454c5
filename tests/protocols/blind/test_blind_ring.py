"""Exact arithmetic mod 2^K by float64, against Python integers; packing and its refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.blind.layers import Conv, Dense, Scale
from protocols.blind.ring import apply_term, matmul, mod, pack, packed_size, signed, unpack
from protocols.errors import ProtocolError


@pytest.mark.parametrize("k", [8, 20, 22, 24])
@pytest.mark.parametrize("n", [1, 7, 300, 5000])
def test_product_is_exact_at_the_extremes(k: int, n: int) -> None:
    rng = np.random.default_rng(k * n)
    half = 1 << (k - 1)
    for a, b in (
        (rng.integers(0, 2 * half, (3, n)), rng.integers(0, 2 * half, (n, 2))),
        (np.full((3, n), half), np.full((n, 2), half)),
        (np.full((3, n), half - 1), np.full((n, 2), half)),
    ):
        want = (a.astype(object) @ b.astype(object)) % (2 * half)
        np.testing.assert_array_equal(matmul(a, b, k), want.astype(np.int64))


@pytest.mark.parametrize(
    ("stride", "padding", "kernel"), [(1, 0, 3), (2, 1, 3), (3, 2, 5), (1, 0, 1), (2, 0, 1)]
)
def test_convolution_is_its_definition(stride: int, padding: int, kernel: int) -> None:
    rng = np.random.default_rng(1)
    x, w = rng.integers(0, 1 << 20, (2, 8, 9)), rng.integers(-99, 99, (3, 2, kernel, kernel))
    got = apply_term(Conv(0, 3, kernel, stride, padding), w, x, 20)
    padded = np.pad(signed(x, 20), ((0, 0), (padding, padding), (padding, padding)))
    for o in range(3):
        for i in range(got.shape[1]):
            for j in range(got.shape[2]):
                at = padded[:, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
                assert got[o, i, j] == int((at * w[o]).sum()) % (1 << 20)
    assert got.shape[1:] == (
        (8 + 2 * padding - kernel) // stride + 1,
        (9 + 2 * padding - kernel) // stride + 1,
    )


def test_dense_and_scale() -> None:
    x = np.array([5, (1 << 12) - 2, 0]).reshape(3, 1, 1)
    dense = apply_term(Dense(0, 1), np.array([[2, 3, 4]]), x, 12)
    assert int(dense[0, 0, 0]) == 4
    scaled = apply_term(Scale(0), np.array([2, 3, 4]), x, 12)
    np.testing.assert_array_equal(signed(scaled, 12).reshape(-1), [10, -6, 0])


@given(st.integers(1, 32), st.lists(st.integers(0, 2**32 - 1), max_size=40))
def test_packing_is_tight_and_reversible(width: int, values: list[int]) -> None:
    array = mod(np.array(values, np.int64), width)
    data = pack(array, width)
    assert len(data) == packed_size(len(values), width) == (len(values) * width + 7) // 8
    np.testing.assert_array_equal(unpack(data, len(values), width), array)


def test_unpack_refuses_a_wrong_length_and_a_filled_tail() -> None:
    data = pack(np.array([1, 2, 3]), 5)
    for bad in (data + b"\0", data[:-1], data[:-1] + bytes((data[-1] | 0x80,))):
        with pytest.raises(ProtocolError):
            unpack(bad, 3, 5)
