"""The portable kernels' arithmetic mod 2^K against definitions in Python's integers; packing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from protocols.blind.kernels import PortableKernels, packed_size
from protocols.blind.kernels.portable import signed
from protocols.blind.layers import Conv, ConvTranspose, Dense, Scale, Term
from protocols.blind.shapes import weight_shape, wire_shapes
from protocols.blind.topology import Affine, Shape
from protocols.errors import ProtocolError

KERNELS = PortableKernels()
BITS = [8, 16, 20, 23, 24]


def out_shape(term: Term, shape: Shape) -> Shape:
    return wire_shapes(shape, [Affine((term,))], 24)[1]


def defined(term: Term, w: NDArray[np.int64], x: NDArray[np.uint32], shape: Shape) -> list[int]:
    """One image's wire by the definition, element by element, in integers of any size."""
    values = {at: int(v) for at, v in np.ndenumerate(x)}
    c = len(x)
    made = np.zeros(shape, object)
    for (o, i, j), _ in np.ndenumerate(made):
        if isinstance(term, Scale):
            made[o, i, j] = int(w[o]) * values[o, i, j]
        elif isinstance(term, Dense):
            made[o, i, j] = sum(int(w[o, a]) * values[a, 0, 0] for a in range(c))
        elif isinstance(term, Conv):
            per, many = c // term.groups, term.out // term.groups
            first = o // many * per
            for a in range(per):
                for di in range(term.kernel):
                    for dj in range(term.kernel):
                        at = (
                            first + a,
                            i * term.stride + di - term.padding,
                            j * term.stride + dj - term.padding,
                        )
                        made[o, i, j] += int(w[o, a, di, dj]) * values.get(at, 0)
        else:
            for a, di, dj in np.ndindex(c, term.kernel, term.kernel):
                row, column = i + term.padding - di, j + term.padding - dj
                if row % term.stride == column % term.stride == 0:
                    at = a, row // term.stride, column // term.stride
                    made[o, i, j] += int(w[a, o, di, dj]) * values.get(at, 0)
    return [int(v) for v in made.reshape(-1)]


CASES: dict[str, tuple[Term, Shape]] = {
    "plain": (Conv(0, 3, 3), (2, 6, 7)),
    "stride and padding": (Conv(0, 2, 3, 2, 1), (3, 7, 6)),
    "wide stride": (Conv(0, 2, 5, 3, 2), (2, 8, 9)),
    "point": (Conv(0, 4, 1), (3, 3, 4)),
    "stride over point": (Conv(0, 2, 1, 2), (2, 5, 5)),
    "trailing": (Conv(0, 2, 2, 2, 0, 1), (2, 5, 4)),
    "groups": (Conv(0, 6, 3, 1, 1, 0, 2), (4, 4, 4)),
    "depthwise": (Conv(0, 4, 3, 2, 1, 1, 4), (4, 5, 6)),
    "depthwise, several": (Conv(0, 6, 3, 1, 0, 0, 3), (3, 4, 4)),
    "transposed": (ConvTranspose(0, 2, 3, 2, 1, 1), (3, 3, 4)),
    "transposed, plain": (ConvTranspose(0, 3, 2, 2), (2, 3, 3)),
    "transposed, overlapping": (ConvTranspose(0, 2, 4, 3, 0, 2), (2, 2, 3)),
    "transposed, gaps": (ConvTranspose(0, 2, 2, 3), (2, 3, 2)),
    "dense": (Dense(0, 5), (11, 1, 1)),
    "scale": (Scale(0), (3, 2, 4)),
}


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("wide", [False, True])
def test_terms_are_their_definition(name: str, bits: int, wide: bool) -> None:
    """Extremes and random words of 32 bits: any representative mod 2^K will do. `out` is added to."""
    term, shape = CASES[name]
    rng = np.random.default_rng(bits)
    largest = 1 << 31 if wide else (1 << 15) - 1
    w = rng.integers(-largest, largest, weight_shape(term, [shape]), endpoint=True)
    w.reshape(-1)[::3] = largest
    x = rng.integers(0, 1 << 32, (3, *shape), dtype=np.uint32)
    x[1], x[2, ..., ::2] = (1 << (bits - 1)), (1 << 32) - 1
    made = rng.integers(0, 1 << 32, (3, *out_shape(term, shape)), dtype=np.uint32)
    before, kept = made.astype(np.int64), x.copy()
    KERNELS.prepare(term, shape, w, bits, wide).apply(x, made)
    np.testing.assert_array_equal(x, kept)
    for image in range(3):
        want = defined(term, w, x[image], out_shape(term, shape))
        for got, plus, old in zip(made[image].reshape(-1), want, before[image].reshape(-1), strict=True):
            assert (int(got) - int(old) - plus) % (1 << bits) == 0


@pytest.mark.parametrize("wide", [False, True])
def test_long_sums_of_extremes_are_exact(wide: bool) -> None:
    """A layer as wide as float64 must split: all products of one sign, at their largest."""
    n, bits = 20_000, 24
    value = -(1 << 23) if wide else -((1 << 15) - 1)
    x = np.full((1, n, 1, 1), 1 << 23, np.uint32)
    made = np.zeros((1, 2, 1, 1), np.uint32)
    KERNELS.prepare(Dense(0, 2), (n, 1, 1), np.full((2, n), value), bits, wide).apply(x, made)
    assert {int(v) % (1 << bits) for v in made.reshape(-1)} == {n * value * (1 << 23) % (1 << bits)}
    odd = np.full((1, n, 1, 1), (1 << 23) + 1, np.uint32)
    made = np.zeros((1, 2, 1, 1), np.uint32)
    KERNELS.prepare(Dense(0, 2), (n, 1, 1), np.full((2, n), value + 1), bits, wide).apply(odd, made)
    assert {int(v) % (1 << bits) for v in made.reshape(-1)} == {
        n * (value + 1) * ((1 << 23) + 1) % (1 << bits)
    }


def test_signed_representatives() -> None:
    assert signed(np.array([0, 7, 8, 15, 16, 2**32 - 1], np.uint32), 4).tolist() == [0, 7, -8, -1, 0, -1]


@given(st.integers(1, 32), st.lists(st.integers(0, 2**32 - 1), max_size=40))
@settings(deadline=None)
def test_packing_is_tight_and_reversible(width: int, values: list[int]) -> None:
    array = np.array(values, np.uint32)
    data = KERNELS.pack(array, width)
    assert len(data) == packed_size(len(values), width) == (len(values) * width + 7) // 8
    whole = sum((v % (1 << width)) << (i * width) for i, v in enumerate(values))
    assert int.from_bytes(data, "little") == whole
    assert KERNELS.unpack(data, len(values), width).tolist() == [v % (1 << width) for v in values]


def test_unpack_refuses_a_wrong_length_and_a_filled_tail() -> None:
    data = KERNELS.pack(np.array([1, 2, 3], np.uint32), 5)
    for bad in (data + b"\0", data[:-1], b"", data[:-1] + bytes((data[-1] | 0x80,))):
        with pytest.raises(ProtocolError):
            KERNELS.unpack(bad, 3, 5)
    assert KERNELS.unpack(b"", 0, 5).size == 0
