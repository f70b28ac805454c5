"""The non-linearity on shares: clip, requantise and lift at once, by two small truth tables an element.

P and M hold z1 + z0 = v mod 2^K. Wanted: shares of y = clip(t, low, low + C), t = round(v / 2^S). With low
subtracted from t first (M adds -low 2^S to z0), t has B = b + h signed bits and C = 2^b - 1, so

    y - low = Z t_lo + C G,     t = 2^b t_hi + t_lo,  Z = [t_hi = 0],  G = [t_hi > 0].

The low digit's table has 2^b entries, the high digit's 2^h: a wide window costs little, which is what lets
`bounds.py` prove that no image leaves it.

Ahead, the dealer draws for each element a mask r = 2^b r_hi + r_lo in 0..2^B-1 and bits d, c_0, c_1, g_0,
g_1. P's share of all below comes from its seed; the dealer sends M the other share, so each side alone holds
uniform noise.
    low table, XOR-shared:   [i < r_lo] ^ d                        i in 0..2^b-1
    high table, XOR-shared:  [q = 0] ^ c_e, [0 < q < 2^(h-1)] ^ g_e   q = i - r_hi - (e ^ d) mod 2^h, e in {0, 1}
    index, shared mod 2^B:   r
    words, shared mod 2^K:   w1_e = 2^b (1 - 2e) d - r_lo,  w2_e = c_e w1_e,  c_e,  g_e
1. P -> M (before the inference):  p = (z1 >> S) + [S > 0] + r_P mod 2^B
2. M -> P:  m = (z0 >> S) + r_M + p mod 2^B, so that t = m - r; M's bit of the low table at m_lo, and M's four
   bits of the high table at m_hi: both cases of the borrow, so that one message is enough
3. P -> M:  P's bit of the low table; P's two bits of the high table for the case that holds; y_P - (mask of
   the new wire).
Opened are e = [m_lo < r_lo] ^ d, zo = Z ^ c_e, go = G ^ g_e. With the borrow beta = e + (1 - 2e) d,
    t_lo = m_lo - r_lo + 2^b beta,   Z = zo + (1 - 2 zo) c_e,   G = go + (1 - 2 go) g_e:
    y - low = (1-2zo)(m_lo + 2^b e) c_e + zo w1_e + (1-2zo) w2_e + C (1-2go) g_e   on shares
            + zo (m_lo + 2^b e) + C go                                             in public (M adds it).

Rounding: local shifts lose the carry of the low S bits; t = floor((v + u) / 2^S) with u = 2^S - (z1 mod
2^S), uniform in 1..2^S because z1 is: unbiased but for 2^-S of a unit, and known to P alone.

Who learns what: M sees p, P's table bits and y_P, each under a one-time mask of P's. P sees m under r and
five bits under d, c_0, g_0, c_1, g_1, which only the dealer knows whole; the two bits of the case that does
not hold are masked by bits that serve nothing else. `kernels/portable.py` is this in numpy.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from protocols.blind.kernels.interface import ClipSize, Indices, Words

CHUNK = 1 << 15  # elements of a clip that travel together
WINDOW = 8  # chunks under way at once: M, P and the wire work at the same time


def chunk(total: int, number: int) -> slice:
    """The `number`-th chunk of a clip of `total` elements."""
    return slice(number * CHUNK, min((number + 1) * CHUNK, total))


def chunks(total: int) -> Iterator[slice]:
    """All chunks, in order."""
    for number in range(-(-total // CHUNK)):
        yield chunk(total, number)


def ahead_word(clip: ClipSize, z1: Words, index: Indices) -> Words:
    """p, not reduced: what P sends before the inference. z1: P's share of the operand, any representative."""
    high = (z1 & np.uint32((1 << clip.ring_bits) - 1)) >> np.uint32(clip.shift)
    made: Words = high + np.uint32(clip.shift > 0) + index
    return made
