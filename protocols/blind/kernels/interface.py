"""What the blind engine asks of its arithmetic: exact layers mod 2^K, packing, and the steps of a clip.

All arithmetic wraps mod 2^32, of which every 2^K (K <= 24) is a factor, so a word may be any representative
mod 2^K. Implementations: `portable.py` (numpy), `native.py` (C, by what the processor has), and
`models/kernels_torch.py` (float64, also on a GPU). They agree to the bit; `masking.py` has the equations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from protocols.blind.bytesio import IntArray
from protocols.blind.layers import Shape, Term
from protocols.blind.secret import Secret
from protocols.errors import ProtocolError

Words: TypeAlias = NDArray[np.uint32]
Bytes: TypeAlias = NDArray[np.uint8]
Buffer: TypeAlias = bytes | bytearray | memoryview

WORDS = 8  # shared words an element of a clip: w1, w2, c, g, each for e = 0 and e = 1
OPEN_BITS, REPLY_BITS = 5, 3  # bits that ride beside m, and beside the reply's word


@dataclass(frozen=True, slots=True)
class ClipSize:
    """The public numbers of one clip: K, digits b and h, the shift S, and the lowest value it gives."""

    ring_bits: int
    low_bits: int
    high_bits: int
    shift: int
    low: int = 0

    @property
    def width(self) -> int:
        """B = b + h: the bits that a clip looks at."""
        return self.low_bits + self.high_bits

    @property
    def ceiling(self) -> int:
        """C = 2^b - 1: the span of a clip's values."""
        return (1 << self.low_bits) - 1

    @property
    def low_bytes(self) -> int:
        """Bytes of the low digit's table, one bit an entry."""
        return max(1, (1 << self.low_bits) // 8)

    @property
    def row_bytes(self) -> int:
        """Bytes of an element's two tables; the high digit's has four bits an entry."""
        return self.low_bytes + (1 << self.high_bits) // 2

    @property
    def open_bits(self) -> int:
        """Bits an element of M's opening."""
        return self.width + OPEN_BITS

    @property
    def reply_bits(self) -> int:
        """Bits an element of P's reply."""
        return self.ring_bits + REPLY_BITS

    def correction_size(self, count: int) -> int:
        """Bytes that the dealer sends M for `count` elements."""
        words = packed_size(count, self.width) + packed_size(WORDS * count, self.ring_bits)
        return words + count * self.row_bytes


@dataclass(frozen=True, repr=False, eq=False)
class Mask(Secret):
    """One side's share of a clip's preprocessing: index (n,) mod 2^B, words (8, n) mod 2^K, rows (n, row_bytes)."""

    index: Words
    words: Words
    rows: Bytes


class Operator(Protocol):
    """A linear term with its weights made ready."""

    def apply(self, x: Words, out: Words) -> None:
        """out += term(x), exact mod 2^K. x (n, C, H, W) and out (n, Co, Ho, Wo), both contiguous."""


class Kernels(Protocol):
    """One implementation."""

    name: str

    def prepare(self, term: Term, shape: Shape, weights: IntArray, bits: int, wide: bool) -> Operator:
        """The operator of a term on wires of `shape` (C, H, W).

        weights: as `Network` shapes them; signed, below 2^15 in magnitude, or, when `wide`, any
        representatives mod 2^bits.
        """

    def pack(self, words: Words, width: int) -> bytes:
        """Little-endian bit string of the low `width` bits (1..32) of each word, filled up with zeros."""

    def unpack(self, data: Buffer, count: int, width: int) -> Words:
        """The inverse of `pack`; `ProtocolError` unless length and filling are exactly right."""

    def open(self, clip: ClipSize, z0: Words, p: Words, mask: Mask) -> tuple[bytes, Words]:
        """Step 2 of a clip: M's packed message, and the same words unpacked, for `close`."""

    def answer(self, clip: ClipSize, message: Buffer, mask: Mask, wire: Words) -> bytes:
        """Step 3 at P: its packed reply. wire: P's mask of the wire that the clip makes."""

    def close(self, clip: ClipSize, opened: Words, reply: Buffer, mask: Mask) -> Words:
        """Step 3 at M: the new wire less P's mask, mod 2^K."""

    def deal(self, clip: ClipSize, patient: Mask, fresh: Words) -> bytes:
        """What the dealer sends M. fresh: one uniform word an element."""

    def accept(self, clip: ClipSize, count: int, correction: Buffer) -> Mask:
        """M's share, from the dealer's bytes; `ProtocolError` on a wrong length."""


def packed_size(count: int, width: int) -> int:
    """Bytes that `pack` makes."""
    return (count * width + 7) // 8


def wrong_length(what: str) -> ProtocolError:
    """The error for bytes that are not as many as the schedule says."""
    return ProtocolError(f"{what} has the wrong length", "end the session; its sender is at fault")


def filled_tail() -> ProtocolError:
    """The error for a packed array whose last byte is not filled up with zeros."""
    return ProtocolError("a packed array has a filled tail", "end the session; its sender is at fault")
