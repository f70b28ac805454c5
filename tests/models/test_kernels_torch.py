"""The torch kernels compute what the portable ones do, on the CPU and on a GPU where there is one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.kernels_torch import TorchKernels
from protocols.blind.kernels import PortableKernels
from protocols.blind.layers import Conv, ConvTranspose, Dense, Scale, Shape, Term
from protocols.errors import ProtocolError, UserError

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
CASES: list[tuple[Term, Shape, tuple[int, ...], tuple[int, int, int]]] = [
    (Conv(0, 6, 5, 1, 2), (3, 12, 13), (6, 3, 5, 5), (6, 12, 13)),
    (Conv(0, 5, 3, 2, 1, 1), (4, 9, 8), (5, 4, 3, 3), (5, 5, 5)),
    (Conv(0, 8, 3, 1, 1, 0, 8), (8, 7, 7), (8, 1, 3, 3), (8, 7, 7)),
    (Conv(0, 6, 3, 2, 1, 0, 2), (4, 7, 7), (6, 2, 3, 3), (6, 4, 4)),
    (Conv(0, 9, 3, 1, 1), (256, 4, 4), (9, 256, 3, 3), (9, 4, 4)),
    (ConvTranspose(0, 3, 2, 2), (4, 5, 6), (4, 3, 2, 2), (3, 10, 12)),
    (ConvTranspose(0, 3, 5, 3, 2, 4), (4, 5, 6), (4, 3, 5, 5), (3, 17, 20)),
    (Dense(0, 10), (84, 1, 1), (10, 84), (10, 1, 1)),
    (Scale(0), (5, 4, 4), (5,), (5, 4, 4)),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("bits", "wide"), [(20, False), (24, False), (20, True), (24, True)])
@pytest.mark.parametrize(("term", "shape", "weights", "target"), CASES)
@pytest.mark.parametrize("extreme", [False, True])
def test_layers(
    device: str,
    bits: int,
    wide: bool,
    term: Term,
    shape: Shape,
    weights: tuple[int, ...],
    target: tuple[int, int, int],
    extreme: bool,
) -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(0, 1 << 32, (2, *shape), dtype=np.uint32)
    w = rng.integers(0, 1 << bits, weights) if wide else rng.integers(-32767, 32768, weights)
    if extreme:
        x[:], w[:] = 1 << (bits - 1), -(1 << (bits - 1)) if wide else -32767
    expected = rng.integers(0, 1 << 32, (2, *target), dtype=np.uint32)
    got = expected.copy()
    PortableKernels().prepare(term, shape, w, bits, wide).apply(x, expected)
    TorchKernels(device).prepare(term, shape, w, bits, wide).apply(x, got)
    np.testing.assert_array_equal((got ^ expected) & np.uint32((1 << bits) - 1), 0)


def test_misuse_is_refused() -> None:
    operator = TorchKernels().prepare(Conv(0, 2, 3), (3, 8, 8), np.ones((2, 3, 3, 3), np.int64), 20, False)
    with pytest.raises(ProtocolError, match="does not fit"):
        operator.apply(np.zeros((1, 2, 8, 8), np.uint32), np.zeros((1, 2, 6, 6), np.uint32))
    with pytest.raises(UserError, match="cannot compute"):
        TorchKernels("abacus")
