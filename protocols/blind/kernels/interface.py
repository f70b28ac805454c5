"""What the blind engine asks of its arithmetic: exact layers mod 2^K, packing, and the steps of a clip.

All arithmetic wraps mod 2^32, of which every 2^K (K <= 24) is a factor, so a word may be any representative
mod 2^K. Implementations: `portable.py` (numpy), `native.py` (C, by what the processor has), and
`models/kernels_torch.py` (float64, also on a GPU). They agree to the bit; `masking.py` has the equations.
"""

from __future__ import annotations

from collections.abc import Iterator
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
Indices: TypeAlias = NDArray[np.uint16]
Buffer: TypeAlias = bytes | bytearray | memoryview

WORDS = 8  # shared words an element of a clip: w1, w2, c, g, each for e = 0 and e = 1
WORD_BYTES, INDEX_BYTES = 3, 2  # of a shared word (mod 2^24) and of a share of r (mod 2^16)
CELL = 1 << 13  # elements whose preprocessing lies together: small enough for the cache
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

    @property
    def element_bytes(self) -> int:
        """Bytes of an element's words and tables."""
        return WORDS * WORD_BYTES + self.row_bytes

    def correction_size(self, count: int) -> int:
        """Bytes that the dealer sends M for `count` elements."""
        return count * (INDEX_BYTES + self.element_bytes)


@dataclass(frozen=True, repr=False, eq=False)
class Mask(Secret):
    """One side's share of a clip's preprocessing, as it is drawn, sent and used.

    index: uint16 (n,), mod 2^B. data: bytes, by cells of 8,192 elements; a cell of m elements has its words,
    (8, m) of three bytes, little-endian, mod 2^K, and then its rows, (m, row_bytes).
    """

    clip: ClipSize
    index: Indices
    data: Bytes

    @classmethod
    def blank(cls, clip: ClipSize, count: int) -> Mask:
        """One to be filled."""
        return cls(clip, np.empty(count, np.uint16), np.empty(count * clip.element_bytes, np.uint8))

    @classmethod
    def of(cls, clip: ClipSize, index: Words, words: Words, rows: Bytes) -> Mask:
        """From arrays: index (n,), words (8, n), rows (n, row_bytes)."""
        made = cls.blank(clip, index.size)
        made.index[:] = index.astype(np.uint16)
        for part, some, tables in made.cells():
            low = np.ascontiguousarray(words[:, part]).astype("<u4").view(np.uint8)
            some[:] = low.reshape(WORDS, -1, 4)[:, :, :WORD_BYTES]
            tables[:] = rows[part]
        return made

    @classmethod
    def read(cls, clip: ClipSize, count: int, correction: Buffer) -> Mask:
        """M's share, from the dealer's bytes, without a copy; `ProtocolError` on a wrong length."""
        if len(correction) != clip.correction_size(count):
            raise wrong_length("a dealer's correction")
        view = memoryview(correction)
        index = np.frombuffer(view[: INDEX_BYTES * count], "<u2")
        return cls(clip, index, np.frombuffer(view[INDEX_BYTES * count :], np.uint8))

    def encode(self) -> bytes:
        """The inverse of `read`."""
        return self.index.astype("<u2").tobytes() + self.data.tobytes()

    def cells(self) -> Iterator[tuple[slice, Bytes, Bytes]]:
        """By cell: which elements, their words as bytes (8, m, 3), their rows; views."""
        size = self.clip.element_bytes
        for start in range(0, self.index.size, CELL):
            end = min(start + CELL, self.index.size)
            words, rows = np.split(self.data[start * size : end * size], [WORDS * WORD_BYTES * (end - start)])
            yield slice(start, end), words.reshape(WORDS, -1, WORD_BYTES), rows.reshape(end - start, -1)

    @property
    def words(self) -> Words:
        """(8, n), decoded."""
        made = np.zeros((WORDS, self.index.size, 4), np.uint8)
        for part, words, _ in self.cells():
            made[:, part, :WORD_BYTES] = words
        return made.reshape(WORDS, -1).view("<u4")

    @property
    def rows(self) -> Bytes:
        """(n, row_bytes), put together."""
        return np.concatenate([rows for _, _, rows in self.cells()])


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

    def deal(self, clip: ClipSize, patient: Mask, fresh: Words, made: Mask) -> None:
        """Fills `made` with M's share. fresh: one uniform word an element."""


def packed_size(count: int, width: int) -> int:
    """Bytes that `pack` makes."""
    return (count * width + 7) // 8


def wrong_length(what: str) -> ProtocolError:
    """The error for bytes that are not as many as the schedule says."""
    return ProtocolError(f"{what} has the wrong length", "end the session; its sender is at fault")


def filled_tail() -> ProtocolError:
    """The error for a packed array whose last byte is not filled up with zeros."""
    return ProtocolError("a packed array has a filled tail", "end the session; its sender is at fault")
