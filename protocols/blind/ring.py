"""Integers mod 2^K in numpy: exact linear layers by float64 BLAS, and their bytes.

A ring element is held in int64 as 0..2^K-1. A product of signed operands |a| <= 2^i, |b| <= 2^j summed n
times is exact in float64 while i + j + log2(n) <= 53; where it is not, one operand is split into limbs.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from protocols.blind.bytesio import IntArray
from protocols.blind.layers import Conv, Dense, Scale, Term
from protocols.errors import ProtocolError

Bytes = NDArray[np.uint8]
EXACT_BITS = 53


def mod(x: IntArray, bits: int) -> IntArray:
    """x mod 2^bits, in 0..2^bits-1."""
    return x & ((1 << bits) - 1)


def signed(x: IntArray, bits: int) -> IntArray:
    """The representative of x mod 2^bits in -2^(bits-1)..2^(bits-1)-1."""
    half = 1 << (bits - 1)
    return ((x + half) & ((1 << bits) - 1)) - half


def _width(x: IntArray) -> int:
    """The least i with |x| <= 2^i everywhere."""
    return max(1, int(np.abs(x).max(initial=0)) - 1).bit_length()


def matmul(a: IntArray, b: IntArray, bits: int) -> IntArray:
    """a @ b mod 2^bits, exact, for elements of the ring or signed ones. Shapes (m, n) and (n, p)."""
    a, b = signed(a, bits), signed(b, bits)
    room = EXACT_BITS - _width(b) - max(1, a.shape[1] - 1).bit_length()
    if room < 2:
        raise ProtocolError("a layer is too wide for exact arithmetic", "use a smaller ring")
    right = b.astype(np.float64)
    if _width(a) <= room:
        return mod((a.astype(np.float64) @ right).astype(np.int64), bits)
    total = np.zeros((a.shape[0], b.shape[1]), np.int64)
    for shift in range(0, bits, room):
        limb = (a >> shift) & ((1 << room) - 1) if shift + room < bits else a >> shift
        total += mod((limb.astype(np.float64) @ right).astype(np.int64), bits) << shift
    return mod(total, bits)


def columns(x: IntArray, kernel: int, stride: int, padding: int) -> IntArray:
    """im2col: (C, H, W) to (C * kernel^2, Ho * Wo)."""
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding))) if padding else x
    windows = sliding_window_view(padded, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]
    c, ho, wo = windows.shape[:3]
    return windows.transpose(0, 3, 4, 1, 2).reshape(c * kernel * kernel, ho * wo)


def apply_term(term: Term, weights: IntArray, x: IntArray, bits: int) -> IntArray:
    """One term of an Affine node mod 2^bits: weights as `Network` shapes them, x of shape (C, H, W)."""
    if isinstance(term, Scale):
        return mod(signed(x, bits) * signed(weights, bits)[:, None, None], bits)
    if isinstance(term, Dense):
        return matmul(weights, x.reshape(-1, 1), bits).reshape(-1, 1, 1)
    assert isinstance(term, Conv)
    out = matmul(weights.reshape(term.out, -1), columns(x, term.kernel, term.stride, term.padding), bits)
    side = (x.shape[1] + 2 * term.padding - term.kernel) // term.stride + 1
    return out.reshape(term.out, side, -1)


def packed_size(count: int, width: int) -> int:
    """Bytes that `pack` makes."""
    return (count * width + 7) // 8


def pack(values: IntArray, width: int) -> bytes:
    """Little-endian bit string of `width` bits a value (1..32), the last byte filled up with zeros."""
    flat = np.ascontiguousarray(values.reshape(-1)).astype("<u4")
    bits = np.unpackbits(flat.view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")[:, :width]
    return np.packbits(bits.reshape(-1), bitorder="little").tobytes()


def unpack(data: bytes, count: int, width: int) -> IntArray:
    """The inverse of `pack`; raises `ProtocolError` unless length and filling are exactly right."""
    if len(data) != packed_size(count, width):
        raise ProtocolError("a packed array has the wrong length", "end the session; its sender is at fault")
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    if bits[count * width :].any():
        raise ProtocolError("a packed array has a filled tail", "end the session; its sender is at fault")
    wide = np.zeros((count, 32), np.uint8)
    wide[:, :width] = bits[: count * width].reshape(count, width)
    return np.packbits(wide.reshape(-1), bitorder="little").view("<u4").astype(np.int64)
