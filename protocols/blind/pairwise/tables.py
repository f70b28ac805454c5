"""One chunk of a clip without a dealer: six messages, by which M gets the share that fits P's seed.

`masking.py` says what the tables and words are. What the dealer drew is shared: r = r_P + r_M mod 2^B, where r_P is
P's index of the tape and r_M drawn by M; each of d, c_0, c_1, g_0, g_1 is the XOR of a bit of either side. A
correlated transfer makes XOR or additive shares of (bit of one side) x (what the other offers). n elements at once:
1. low digit. P's share is the unit row of r_P,lo, M's zero. For each bit j of r_M,lo: turn the shared row by 2^j
   if it is set. Turning is linear: M turns its own share by itself, P offers (share ^ turned share) against M's
   bit. What passes the upper end is the carry k: the parity of the uppermost 2^j bits, offered beside. Left is the
   unit row of r_lo, shared; "the parity of all bits beyond i" makes it [i < r_lo]; d is added.
2. high digit. Likewise by the bits of r_M,hi, without a carry; then by k, then by d, which are shared themselves:
   (k_P ^ k_M)(D_P ^ D_M), D = row ^ turned row, is two local products and a transfer each way. With V the unit row of
   r_hi and V_d that of r_hi + d, the tables [q = 0] for e = 0, 1 are V_d and V ^ (V turned by 1) ^ V_d; those of
   0 < q < 2^(h-1) are sums of these, turned by 1 .. 2^(h-1) - 1.
3. words mod 2^24. x = x_P + x_M - 2 x_P x_M turns a bit's shares to additive ones: a transfer each for k, d, c_e, g_e.
   r_lo = r_P,lo + r_M,lo - 2^b k; w1_e is linear; w2_e = c_e w1_e = [c_P a_P] + c_M (1 - 2 c_P) a_P + [c_M a_M]
   + c_P (1 - 2 c_M) a_M, a the shares of w1_e: a transfer each way.
4. P sends its own shares less (or XOR) those that its seed says; M adds them to its own.

Messages: M choices | P low and high rows, g; its choices | M choice k, offer k | P offers k, d, c | M offers d, c
| P 4.

Who learns what: each transfer shows its chooser one pad's worth of noise, its offerer nothing; 4 is masked by the
tape's seed, which M lacks. M knows its half of r and of the bits, P its own.
"""

from __future__ import annotations

import numpy as np

from protocols.blind.kernels.interface import Bytes, ClipSize, Indices, Mask, Words
from protocols.blind.pairwise import bits
from protocols.blind.pairwise.bits import Cut, from_three, to_three
from protocols.blind.pairwise.extension import BLOCKS, Choices, Offers, Receiver, Sender
from protocols.blind.pairwise.talk import Talk
from protocols.blind.prg import Stream

WORD = 3  # bytes of an offered word
_D, _C, _G = 0, 1, 3  # the places of the five bits among their slots
_MESSAGE = "a message of the tables"


def row_bits(stream: Stream, count: int) -> Bytes:
    """One side's five bits by element, (5, n): d, c_0, c_1, g_0, g_1."""
    drawn = stream.octets(count)
    return np.stack([(drawn >> np.uint8(i)) & np.uint8(1) for i in range(5)])


def _eight(count: int) -> int:
    return (count + 7) // 8 * 8


def _digits(clip: ClipSize, index: Indices) -> tuple[Indices, Indices]:
    high = (1 << clip.high_bits) - 1
    return index & np.uint16(clip.ceiling), (index >> np.uint16(clip.low_bits)) & np.uint16(high)


class _Sizes:
    """Bytes of rows and pads of a clip."""

    def __init__(self, clip: ClipSize, count: int) -> None:
        self.n, self.padded = count, _eight(count)
        self.low_bits, self.high_bits = 1 << clip.low_bits, 1 << clip.high_bits
        self.low, self.high = bits.bytes_of(self.low_bits), bits.bytes_of(self.high_bits)
        self.flags = self.padded // 8

    def keys(self, wide: Bytes, slots: int) -> Bytes:
        """(slots x padded, 16) to (slots, n, 16)."""
        return wide.reshape(slots, self.padded, -1)[:, : self.n]


def _choose(receiver: Receiver, sizes: _Sizes, flags: Bytes, *call: bytes) -> tuple[bytes, Bytes]:
    message, v = receiver.extend(bits.pack_flags(flags).reshape(-1), *call)
    return message, sizes.keys(v, len(flags))


def _offer(sender: Sender, sizes: _Sizes, cut: Cut, slots: int, *call: bytes) -> Bytes:
    message = cut.take(BLOCKS, slots * sizes.flags)
    return sizes.keys(sender.extend(message, *call), slots)


def _turn(row: Bytes, width: int) -> Bytes:
    """row ^ the row turned by one."""
    return row ^ bits.rotated(row, width, 1)


def _where(flag: Bytes, row: Bytes) -> Bytes:
    return row & bits.spread(flag)[:, None]


def _tables(clip: ClipSize, low: Bytes, v: Bytes, v_d: Bytes, five: Bytes) -> Bytes:
    """One side's share of the rows of both tables, from its share of the unit rows."""
    sizes = 1 << clip.high_bits
    below = bits.above(low) ^ bits.spread(five[_D])[:, None]
    z = [bits.entries(v_d, sizes), bits.entries(_turn(v, sizes) ^ v_d, sizes)]
    nibble = np.zeros_like(z[0])
    for e in (0, 1):
        doubled = np.bitwise_xor.accumulate(
            np.concatenate([np.zeros_like(z[e][:, :1]), z[e], z[e]], 1), axis=1
        )
        half, at = sizes // 2, np.arange(sizes) + sizes
        within = doubled[:, at] ^ doubled[:, at - max(half - 1, 0)]  # the half - 1 entries before each
        nibble |= (z[e] ^ five[_C + e][:, None]) << np.uint8(2 * e)
        nibble |= (within ^ five[_G + e][:, None]) << np.uint8(2 * e + 1)
    return np.concatenate([below, nibble[:, 0::2] | nibble[:, 1::2] << np.uint8(4)], axis=1)


def _raised(low: Words, carry: Words, d: Words, b: int) -> list[Words]:
    """One side's share of w1_0, w1_1, from its share of r_P,lo + r_M,lo, of the carry and of d."""
    r = low - (carry << np.uint32(b))
    return [(d << np.uint32(b)) - r, np.uint32(0) - (d << np.uint32(b)) - r]


def patient_chunk(
    clip: ClipSize, mask: Mask, fresh: Stream, sender: Sender, receiver: Receiver, name: bytes
) -> Talk[None]:
    """P's side. mask: P's share, from the tape's seed. fresh: its own bits. name: of this chunk, never used before."""
    heard = yield b""
    sizes, five, b, h = (
        _Sizes(clip, mask.index.size),
        row_bits(fresh, mask.index.size),
        clip.low_bits,
        clip.high_bits,
    )
    r_low, r_high = _digits(clip, mask.index)
    slots, said = b + h + 5, []

    cut = Cut(heard, _MESSAGE)
    keys = _offer(sender, sizes, cut, slots, name, b"model's")
    cut.end()
    low, carry = bits.unit(r_low, sizes.low_bits), np.zeros(sizes.n, np.uint8)
    offers = Offers(sender, keys[:b], name + b"/low", sizes.low + 1)
    for j in range(b):
        upper = bits.parity(bits.top(low, sizes.low_bits, 1 << j))
        message, share = offers.xor(low ^ bits.rotated(low, sizes.low_bits, 1 << j), j)
        flag, mine = offers.xor(upper[:, None], j, sizes.low)
        said += [message, bits.pack_flags(flag[:, 0] & np.uint8(1))]
        low, carry = low ^ share, carry ^ (mine[:, 0] & np.uint8(1))
    v = bits.unit(r_high, sizes.high_bits)
    offers = Offers(sender, keys[b : b + h], name + b"/high", sizes.high)
    for j in range(h):
        message, share = offers.xor(v ^ bits.rotated(v, sizes.high_bits, 1 << j), j)
        said.append(message)
        v = v ^ share
    offers = Offers(sender, keys[b + h :], name + b"/bits", max(2 * WORD, WORD + sizes.high))
    wide = five.astype(np.uint32)
    arithmetic = list(wide)
    for slot in (_G, _G + 1):
        message, added = offers.add(np.uint32(0) - 2 * wide[slot], slot)
        said.append(message)
        arithmetic[slot] = wide[slot] + added
    flags = np.stack([carry, *five[:_G]])
    chosen, keys = _choose(receiver, sizes, flags, name, b"patient's")
    choices = Choices(flags, keys, name + b"/mine", max(WORD, sizes.high))
    heard = yield b"".join(one.tobytes() for one in said) + chosen

    cut = Cut(heard, _MESSAGE)
    key_k = _offer(sender, sizes, cut, 1, name, b"carry")
    theirs = cut.take(sizes.n, sizes.high)
    cut.end()
    offer_k = Offers(sender, key_k, name + b"/carry", WORD + sizes.high)
    turn = _turn(v, sizes.high_bits)
    message, share = offer_k.xor(turn, 0, WORD)
    said = [message]
    v = v ^ _where(carry, turn) ^ share ^ choices.xor(theirs, 0)
    message, added = offer_k.add(np.uint32(0) - 2 * carry.astype(np.uint32), 0)
    said.append(message)
    k = carry + added
    turn = _turn(v, sizes.high_bits)
    message, share = offers.xor(turn, _D, WORD)
    said.append(message)
    v_d = v ^ _where(five[_D], turn) ^ share
    message, added = offers.add(np.uint32(0) - 2 * wide[_D], _D)
    said.append(message)
    w1 = _raised(r_low.astype(np.uint32), k, wide[_D] + added, b)
    w2 = []
    for e in (0, 1):
        c = wide[_C + e]
        message, added = offers.add((1 - 2 * c) * w1[e], _C + e)
        w2.append(c * w1[e] + added)
        said.append(message)
        message, added = offers.add(np.uint32(0) - 2 * c, _C + e, WORD)
        arithmetic[_C + e] = c + added
        said.append(message)
    heard = yield b"".join(one.tobytes() for one in said)

    cut = Cut(heard, _MESSAGE)
    v_d = v_d ^ choices.xor(cut.take(sizes.n, sizes.high), 1)
    for e in (0, 1):
        w2[e] = w2[e] + choices.add(cut.take(sizes.n, WORD), 2 + e)
    cut.end()
    words = np.stack([*w1, *w2, *arithmetic[_C:]]) - mask.words
    rows = _tables(clip, low, v, v_d, five) ^ mask.rows
    return to_three(words).tobytes() + rows.tobytes(), None


def model_chunk(
    clip: ClipSize, count: int, fresh: Stream, sender: Sender, receiver: Receiver, name: bytes
) -> Talk[Mask]:
    """M's side; returns its share of the chunk, as the tape's frame carries it (`Mask.encode`)."""
    sizes, b, h = _Sizes(clip, count), clip.low_bits, clip.high_bits
    index: Indices = fresh.octets(2 * count).view("<u2").astype(np.uint16)
    five = row_bits(fresh, count)
    r_low, r_high = _digits(clip, index)
    flags = np.stack(
        [((r_low >> np.uint16(j)) & np.uint16(1)).astype(np.uint8) for j in range(b)]
        + [((r_high >> np.uint16(j)) & np.uint16(1)).astype(np.uint8) for j in range(h)]
        + list(five)
    )
    chosen, keys = _choose(receiver, sizes, flags, name, b"model's")
    heard = yield chosen

    cut = Cut(heard, _MESSAGE)
    low, carry = np.zeros((count, sizes.low), np.uint8), np.zeros(count, np.uint8)
    choices = Choices(flags[:b], keys[:b], name + b"/low", sizes.low + 1)
    for j in range(b):
        theirs = cut.take(count, sizes.low)
        flag = bits.unpack_flags(cut.take(sizes.flags), count)[:, None]
        upper = bits.parity(bits.top(low, sizes.low_bits, 1 << j))
        carry = carry ^ (upper & flags[j]) ^ (choices.xor(flag, j, sizes.low)[:, 0] & np.uint8(1))
        turned = low ^ bits.rotated(low, sizes.low_bits, 1 << j)
        low = low ^ _where(flags[j], turned) ^ choices.xor(theirs, j)
    v = np.zeros((count, sizes.high), np.uint8)
    choices = Choices(flags[b : b + h], keys[b : b + h], name + b"/high", sizes.high)
    for j in range(h):
        turned = v ^ bits.rotated(v, sizes.high_bits, 1 << j)
        v = v ^ _where(flags[b + j], turned) ^ choices.xor(cut.take(count, sizes.high), j)
    choices = Choices(five, keys[b + h :], name + b"/bits", max(2 * WORD, WORD + sizes.high))
    wide = five.astype(np.uint32)
    arithmetic = list(wide)
    for slot in (_G, _G + 1):
        arithmetic[slot] = wide[slot] + choices.add(cut.take(count, WORD), slot)
    offers = Offers(
        sender, _offer(sender, sizes, cut, 4, name, b"patient's"), name + b"/mine", max(WORD, sizes.high)
    )
    cut.end()
    chosen, key_k = _choose(receiver, sizes, carry[None], name, b"carry")
    choice_k = Choices(carry[None], key_k, name + b"/carry", WORD + sizes.high)
    turn = _turn(v, sizes.high_bits)
    offered, share = offers.xor(turn, 0)
    v = v ^ _where(carry, turn) ^ share
    heard = yield chosen + offered.tobytes()

    cut = Cut(heard, _MESSAGE)
    v = v ^ choice_k.xor(cut.take(count, sizes.high), 0, WORD)
    k = carry + choice_k.add(cut.take(count, WORD), 0)
    turn = _turn(v, sizes.high_bits)
    offered, share = offers.xor(turn, 1)
    v_d = v ^ _where(five[_D], turn) ^ share ^ choices.xor(cut.take(count, sizes.high), _D, WORD)
    said = [offered]
    d = wide[_D] + choices.add(cut.take(count, WORD), _D)
    w1 = _raised(r_low.astype(np.uint32), k, d, b)
    w2 = []
    for e in (0, 1):
        c = wide[_C + e]
        got = choices.add(cut.take(count, WORD), _C + e)
        arithmetic[_C + e] = c + choices.add(cut.take(count, WORD), _C + e, WORD)
        offered, added = offers.add((1 - 2 * c) * w1[e], 2 + e)
        said.append(offered)
        w2.append(c * w1[e] + got + added)
    cut.end()
    heard = yield b"".join(one.tobytes() for one in said)

    cut = Cut(heard, _MESSAGE)
    words = np.stack([*w1, *w2, *arithmetic[_C:]]) + from_three(cut.take(8, count, WORD))
    rows = _tables(clip, low, v, v_d, five) ^ cut.take(count, clip.row_bytes)
    cut.end()
    return b"", Mask.of(clip, index.astype(np.uint32), words, rows)
