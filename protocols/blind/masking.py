"""The non-linearity on shares: clip, requantise and lift at once, by one truth table an element.

P and M hold z1 + z0 = v mod 2^K. Wanted: shares of y = clip(t, 0, C), t = round(v / 2^S) as a signed B-bit
number.

Ahead, the dealer draws for each element a mask r in 0..2^B-1 and bits c1, c2, d. P's share of all below
comes from its seed; the dealer sends M the other share (a correction), so each side alone holds uniform
    noise. tables, XOR-shared:   T1[i] = [(i - r) mod 2^B >= 2^(B-1)] ^ c1            i in 0..2^(B-1)-1
                          T2[i] = the same bit ^ c2
                          T3[i] = [(i - r) mod 2^B < C and i < r] ^ d           i in 0..C-1
    words, shared mod 2^K:  r, c1, c1 r, c2, c2 r, d
1. P -> M (before the inference):  p = t1 + r_P mod 2^B,  t1 = (z1 >> S) + [S > 0]
2. M -> P:  m = (z0 >> S) + r_M + p mod 2^B, so that t = m - r; and M's table bits at m
3. P -> M:  P's table bits at m, and delta = y_P - (mask of the new wire).
With m public, the three opened bits are, for a flip f1 = [m >= 2^(B-1)], f2 = [(m - C) mod 2^B >= 2^(B-1)]:
    a = T1[m mod 2^(B-1)] ^ f1 = [t < 0] ^ c1,    b = T2[(m - C) mod 2^(B-1)] ^ f2 = [t < C] ^ c2,
    e = T3[m] = [0 <= t < C and m < r] ^ d for m < C; for m >= C that bit is publicly 0 and nothing is
    looked up.
Then  y = ([t<C] - [t<0]) (m - r) + 2^B [0<=t<C and m<r] + C (1 - [t<C])  is linear in the shared words.
[t < C] is right for t >= C - 2^(B-1): `bounds.py` keeps accumulators there.

Rounding: local shifts lose the carry of the low S bits; t = floor((v + u) / 2^S) with u = 2^S - (z1 mod
2^S), uniform in 1..2^S because z1 is: unbiased but for 2^-S of a unit, and known to P alone.

Who learns what: M sees p, P's table bits and delta, each under a one-time mask of P's; P sees m under r
and three bits under c1, c2, d, which only the dealer knows whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from protocols.blind.bytesio import IntArray
from protocols.blind.prg import Stream
from protocols.blind.ring import Bytes, mod, pack, packed_size, unpack
from protocols.blind.secret import Secret
from protocols.blind.walk import ClipStep

WORDS = 6  # shared words an element: r, c1, c1 r, c2, c2 r, d


def table_bytes(step: ClipStep) -> int:
    """Bytes of the three tables of one element: two of 2^(B-1) bits, one of C bits."""
    return (1 << step.bits) // 8 + (step.cap + 7) // 8


def correction_size(step: ClipStep, ring_bits: int) -> int:
    """Bytes that the dealer sends M for one step."""
    return step.size * table_bytes(step) + packed_size(WORDS * step.size, ring_bits)


@dataclass(frozen=True, repr=False, eq=False)
class Mask(Secret):
    """One side's share of a step's preprocessing. table: (n, table_bytes); words: (6, n)."""

    table: Bytes
    words: IntArray


def draw_mask(step: ClipStep, stream: Stream, ring_bits: int) -> tuple[Mask, IntArray]:
    """P's share of a step, and the mask of the wire that the step makes. P and the dealer both draw it."""
    n = step.size
    table = stream.octets(n * table_bytes(step)).reshape(n, -1)
    words = stream.words(WORDS * n, ring_bits).reshape(WORDS, n)
    return Mask(table, words), stream.words(n, ring_bits).reshape(step.shape)


@lru_cache(maxsize=16)
def _truth(bits: int, cap: int) -> Bytes:
    """The unmasked tables of every r, one row each."""
    size, half = 1 << bits, 1 << (bits - 1)
    r, i = np.arange(size)[:, None], np.arange(size)[None, :]
    t = (i - r) & (size - 1)
    sign = np.packbits(t[:, :half] >= half, axis=1, bitorder="little")
    wrap = np.packbits((t < cap)[:, :cap] & (i < r)[:, :cap], axis=1, bitorder="little")
    made = np.concatenate([sign, sign, wrap], axis=1)
    made.setflags(write=False)
    return made


def deal(step: ClipStep, patient: Mask, fresh: Stream, ring_bits: int) -> bytes:
    """The correction that makes M's share fit the patient's: what the dealer sends M for this step."""
    n, part = step.size, (1 << step.bits) // 16
    r = fresh.words(n, step.bits)
    c1, c2, d = fresh.words(3 * n, 1).reshape(3, n)
    table = _truth(step.bits, step.cap)[r] ^ patient.table
    for start, end, bit in ((0, part, c1), (part, 2 * part, c2), (2 * part, table.shape[1], d)):
        table[:, start:end] ^= (bit * 255).astype(np.uint8)[:, None]
    words = np.stack([r, c1, c1 * r, c2, c2 * r, d]) - patient.words
    return table.tobytes() + pack(mod(words, ring_bits), ring_bits)


def read_correction(step: ClipStep, body: bytes, ring_bits: int) -> Mask:
    """M's share, from the dealer's bytes."""
    n, at = step.size, step.size * table_bytes(step)
    table = np.frombuffer(body[:at], np.uint8).reshape(n, -1)
    return Mask(table, unpack(body[at:], WORDS * n, ring_bits).reshape(WORDS, n))


def look_up(step: ClipStep, mask: Mask, m: IntArray) -> IntArray:
    """One side's shares of the table bits at the public m, shape (3, n), the flips not yet applied."""
    half = 1 << (step.bits - 1)
    rows = np.arange(m.size)

    def bit(start: int, index: IntArray) -> IntArray:
        octet = mask.table[rows, start + (index >> 3)].astype(np.int64)
        found: IntArray = (octet >> (index & 7)) & 1
        return found

    low = m < step.cap
    third = np.where(low, bit(half // 4, np.where(low, m, 0)), 0)
    return np.stack([bit(0, m & (half - 1)), bit(half // 8, (m - step.cap) & (half - 1)), third])


def flips(step: ClipStep, m: IntArray) -> IntArray:
    """The public bits that the half tables leave out, shape (3, n)."""
    top = step.bits - 1
    return np.stack([(m >> top) & 1, ((m - step.cap) >> top) & 1, np.zeros_like(m)])


def flag(bits: IntArray) -> IntArray:
    """Three rows of bits as one number of three bits an element, to ride beside a word."""
    flags: IntArray = bits[0] | bits[1] << 1 | bits[2] << 2
    return flags


def unflag(flags: IntArray) -> IntArray:
    """The inverse of `flag`."""
    return np.stack([flags & 1, (flags >> 1) & 1, (flags >> 2) & 1])


def share_of_clip(step: ClipStep, mask: Mask, m: IntArray, opened: IntArray, public: bool) -> IntArray:
    """One side's share of y, not reduced. opened: the bits a, b, e. public: add the public part (M does)."""
    (a, b, e), (r, c1, c1r, c2, c2r, d) = opened, mask.words
    low = (m < step.cap).astype(np.int64) << step.bits
    y: IntArray = (m - step.cap) * (1 - 2 * b) * c2 - m * (1 - 2 * a) * c1 - (b - a) * r
    y += (1 - 2 * a) * c1r - (1 - 2 * b) * c2r + low * (1 - 2 * e) * d
    if public:
        y += m * (b - a) + low * e + step.cap * (1 - b)
    return y


def share_of_count(mask: Mask, opened: IntArray, public: bool) -> int:
    """One side's share of the number of elements with not [t < C]: those cut at the cap."""
    b, c2 = opened[1], mask.words[3]
    return int(((1 - b) * public - (1 - 2 * b) * c2).sum())
