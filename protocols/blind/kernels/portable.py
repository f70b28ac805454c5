"""The kernels in numpy: no compiler, any processor; the definition that the others are tested against.

Products of signed operands |a| <= 2^i, |b| <= 2^j summed n times are exact in float64 while i + j + log2(n)
<= 53; where they are not, one operand is split into limbs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from protocols.blind.bytesio import IntArray
from protocols.blind.kernels.interface import (
    OPEN_BITS,
    Buffer,
    Bytes,
    ClipSize,
    Mask,
    Words,
    filled_tail,
    packed_size,
    wrong_length,
)
from protocols.blind.layers import Conv, ConvTranspose, Dense, Scale, Shape, Term
from protocols.blind.secret import Secret

EXACT_BITS = 53


def signed(x: NDArray[np.generic], bits: int) -> IntArray:
    """The representative of x mod 2^bits in -2^(bits-1)..2^(bits-1)-1, int64."""
    half = 1 << (bits - 1)
    made: IntArray = ((x.astype(np.int64) + half) & ((1 << bits) - 1)) - half
    return made


def _width(x: IntArray) -> int:
    """The least i with |x| <= 2^i everywhere."""
    return max(1, int(np.abs(x).max(initial=0)) - 1).bit_length()


@dataclass(frozen=True, repr=False, eq=False)
class ExactMatrix(Secret):
    """Signed integers (..., m, n) as float64 limbs, such that a product with signed `bits`-bit ones is exact."""

    limbs: tuple[tuple[int, NDArray[np.float64]], ...]

    @classmethod
    def make(cls, a: IntArray, bits: int) -> ExactMatrix:
        """Limbs of `room` bits; most often one."""
        room = EXACT_BITS - (bits - 1) - max(1, a.shape[-1] - 1).bit_length()
        if _width(a) <= room:
            return cls(((0, a.astype(np.float64)),))
        parts = []
        for shift in range(0, bits, room):
            part = (a >> shift) & ((1 << room) - 1) if shift + room < bits else a >> shift
            parts.append((shift, part.astype(np.float64)))
        return cls(tuple(parts))

    def product(self, b: IntArray) -> Words:
        """a @ b mod 2^32, b (..., n, p) signed."""
        right = b.astype(np.float64)
        made = [(limb @ right).astype(np.int64).astype(np.uint32) << np.uint32(s) for s, limb in self.limbs]
        total: Words = sum(made[1:], start=made[0])
        return total


class PortableOperator(Secret):
    """A term with its weights as an exact matrix, by group where there are groups."""

    def __init__(self, term: Term, weights: IntArray, bits: int) -> None:
        self._term, self._bits = term, bits
        self._scale = weights.astype(np.uint32)[:, None, None] if isinstance(term, Scale) else None
        rows: IntArray
        if isinstance(term, Conv):
            rows = weights.reshape(1, term.groups, term.out // term.groups, -1)
        elif isinstance(term, ConvTranspose):
            rows = weights.reshape(1, len(weights), -1).transpose(0, 2, 1)
        else:
            rows = weights.reshape(1, len(weights), -1)
        self._matrix = ExactMatrix.make(rows, bits)

    def apply(self, x: Words, out: Words) -> None:
        """out += term(x)."""
        term = self._term
        if self._scale is not None:
            out += x * self._scale
        elif isinstance(term, Dense):
            out += self._matrix.product(signed(x, self._bits).reshape(len(x), -1, 1)).reshape(out.shape)
        elif isinstance(term, ConvTranspose):
            self._transpose(term, signed(x, self._bits), out)
        elif isinstance(term, Conv):
            self._convolve(term, signed(x, self._bits), out)

    def _convolve(self, term: Conv, x: IntArray, out: Words) -> None:
        """im2col, then one product a group."""
        ends = term.padding, term.padding + term.trailing
        wide = np.pad(x, ((0, 0), (0, 0), ends, ends))
        windows = sliding_window_view(wide, (term.kernel, term.kernel), axis=(2, 3))
        windows = windows[:, :, :: term.stride, :: term.stride]
        columns = windows.transpose(0, 1, 4, 5, 2, 3).reshape(len(x), term.groups, -1, prod(out.shape[2:]))
        out += self._matrix.product(columns).reshape(out.shape)

    def _transpose(self, term: ConvTranspose, x: IntArray, out: Words) -> None:
        """Every input point adds its kernel to the output, which is then cropped."""
        n, c, h, wide = x.shape
        k, s, p = term.kernel, term.stride, term.padding
        made = self._matrix.product(x.reshape(n, c, -1)).reshape(n, term.out, k, k, h, wide)
        rows, columns = (h - 1) * s + k + term.trailing, (wide - 1) * s + k + term.trailing
        full = np.zeros((n, term.out, rows, columns), np.uint32)
        for i in range(k):
            for j in range(k):
                full[:, :, i : i + (h - 1) * s + 1 : s, j : j + (wide - 1) * s + 1 : s] += made[:, :, i, j]
        out += full[:, :, p : rows - p, p : columns - p]


class PortableKernels:
    """See `Kernels`."""

    name = "portable"

    def prepare(self, term: Term, shape: Shape, weights: IntArray, bits: int, wide: bool) -> PortableOperator:
        """See `Kernels.prepare`."""
        return PortableOperator(term, signed(weights, bits) if wide else weights, bits)

    def pack(self, words: Words, width: int) -> bytes:
        """See `Kernels.pack`."""
        flat = np.ascontiguousarray(words.reshape(-1)).astype("<u4")
        bits = np.unpackbits(flat.view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")[:, :width]
        return np.packbits(bits.reshape(-1), bitorder="little").tobytes()

    def unpack(self, data: Buffer, count: int, width: int) -> Words:
        """See `Kernels.unpack`."""
        if len(data) != packed_size(count, width):
            raise wrong_length("a packed array")
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        if bits[count * width :].any():
            raise filled_tail()
        wide = np.zeros((count, 32), np.uint8)
        wide[:, :width] = bits[: count * width].reshape(count, width)
        return np.packbits(wide.reshape(-1), bitorder="little").view("<u4").astype(np.uint32)

    def open(self, clip: ClipSize, z0: Words, p: Words, mask: Mask) -> tuple[bytes, Words]:
        """See `Kernels.open`."""
        ring, width = np.uint32((1 << clip.ring_bits) - 1), clip.width
        z0 = (z0 - np.uint32(clip.low % (1 << 32) << clip.shift & 0xFFFFFFFF)) & ring
        m = ((z0 >> np.uint32(clip.shift)) + mask.index + p) & np.uint32((1 << width) - 1)
        beta, nibble = _look_up(clip, mask, m)
        opened: Words = m | beta << np.uint32(width) | nibble << np.uint32(width + 1)
        return self.pack(opened, width + OPEN_BITS), opened

    def answer(self, clip: ClipSize, message: Buffer, mask: Mask, wire: Words) -> bytes:
        """See `Kernels.answer`."""
        word = self.unpack(message, wire.size, clip.open_bits)
        m, theirs, their_nibble = _split(clip, word)
        beta, nibble = _look_up(clip, mask, m)
        e = theirs ^ beta
        pair = (nibble >> (2 * e)) & np.uint32(3)
        y = _share(clip, mask, m, e, ((their_nibble >> (2 * e)) & np.uint32(3)) ^ pair, False)
        low = (y - wire) & np.uint32((1 << clip.ring_bits) - 1)
        return self.pack(low | (beta | pair << np.uint32(1)) << np.uint32(clip.ring_bits), clip.reply_bits)

    def close(self, clip: ClipSize, opened: Words, reply: Buffer, mask: Mask) -> Words:
        """See `Kernels.close`."""
        word = self.unpack(reply, opened.size, clip.reply_bits)
        m, beta, nibble = _split(clip, opened)
        flags = word >> np.uint32(clip.ring_bits)
        e = beta ^ (flags & np.uint32(1))
        pair = ((nibble >> (2 * e)) & np.uint32(3)) ^ (flags >> np.uint32(1))
        made: Words = (_share(clip, mask, m, e, pair, True) + word) & np.uint32((1 << clip.ring_bits) - 1)
        return made

    def deal(self, clip: ClipSize, patient: Mask, fresh: Words, made: Mask) -> None:
        """See `Kernels.deal`."""
        b, width = clip.low_bits, np.uint32(clip.width)
        r = fresh & np.uint32((1 << clip.width) - 1)
        low, high = r & np.uint32(clip.ceiling), r >> np.uint32(b)
        d, c0, c1, g0, g1 = ((fresh >> (width + np.uint32(i))) & np.uint32(1) for i in (0, 1, 2, 3, 4))
        up, down = (d << np.uint32(b)) - low, -(d << np.uint32(b)) - low
        words = np.stack([up, down, c0 * up, c1 * down, c0, c1, g0, g1]) - patient.words
        low_table, high_table = _truth(clip)
        nibble = c0 | g0 << np.uint32(1) | c1 << np.uint32(2) | g1 << np.uint32(3)
        rows = patient.rows
        rows[:, : clip.low_bytes] ^= low_table[low] ^ _spread(d, 1)
        rows[:, clip.low_bytes :] ^= high_table[high * 2 + d] ^ (nibble * 17).astype(np.uint8)[:, None]
        filled = Mask.of(clip, r - patient.index, words, rows)
        made.index[:], made.data[:] = filled.index, filled.data


def _spread(bit: Words, columns: int) -> Bytes:
    """Each bit as a byte of eight of it."""
    return np.repeat((bit * 255).astype(np.uint8)[:, None], columns, axis=1)


@lru_cache(maxsize=32)
def _truth(clip: ClipSize) -> tuple[Bytes, Bytes]:
    """The unmasked tables: of the low digit by r_lo, of the high digit by 2 r_hi + d."""
    low, high = 1 << clip.low_bits, 1 << clip.high_bits
    below = np.arange(low)[None, :] < np.arange(low)[:, None]
    tables = np.zeros((high, 2, high), np.uint8)
    at, i = np.arange(high)[:, None], np.arange(high)[None, :]
    for d in (0, 1):
        for e in (0, 1):
            q = (i - at - (e ^ d)) % high
            pair = (q == 0) | ((q > 0) & (q < high // 2)) << 1
            tables[:, d] |= (pair << (2 * e)).astype(np.uint8)
    nibbles = tables.reshape(2 * high, high // 2, 2)
    packed: Bytes = nibbles[:, :, 0] | nibbles[:, :, 1] << np.uint8(4)
    made = np.packbits(below, axis=1, bitorder="little"), packed
    for table in made:
        table.setflags(write=False)
    return made


def _split(clip: ClipSize, word: Words) -> tuple[Words, Words, Words]:
    """m, and M's bit and nibble, of an opened word."""
    m = word & np.uint32((1 << clip.width) - 1)
    beta = (word >> np.uint32(clip.width)) & np.uint32(1)
    return m, beta, (word >> np.uint32(clip.width + 1)) & np.uint32(15)


def _look_up(clip: ClipSize, mask: Mask, m: Words) -> tuple[Words, Words]:
    """One side's shares at the public m: the bit of the low digit's table, the nibble of the high one's."""
    rows, low, high = np.arange(m.size), m & np.uint32(clip.ceiling), m >> np.uint32(clip.low_bits)
    bit = mask.rows[rows, low >> np.uint32(3)].astype(np.uint32) >> (low & np.uint32(7))
    nibble = mask.rows[rows, clip.low_bytes + (high >> np.uint32(1))].astype(np.uint32)
    return bit & np.uint32(1), (nibble >> (np.uint32(4) * (high & np.uint32(1)))) & np.uint32(15)


def _share(clip: ClipSize, mask: Mask, m: Words, e: Words, pair: Words, public: bool) -> Words:
    """One side's share of y, not reduced. pair: the opened zo and go. public: add the public part (M does)."""
    w, column = mask.words, np.arange(m.size)
    w1, w2, c, g = (w[2 * i + e, column] for i in range(4))
    zo, go = pair & np.uint32(1), pair >> np.uint32(1)
    digit, ceiling = (m & np.uint32(clip.ceiling)) + (e << np.uint32(clip.low_bits)), np.uint32(clip.ceiling)
    flip, turn = np.uint32(1) - 2 * zo, np.uint32(1) - 2 * go
    y: Words = flip * (digit * c + w2) + zo * w1 + ceiling * turn * g
    if public:
        y += zo * digit + go * ceiling + np.uint32(clip.low % (1 << 32))
    return y
