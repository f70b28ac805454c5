"""Packed bits, little-endian: bit i of a row is bit i & 7 of byte i >> 3."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from protocols.blind.kernels.interface import Bytes, Words
from protocols.errors import ProtocolError

_SWAPS = ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0))


def transposed(rows: Bytes) -> Bytes:
    """(128, m) bytes, a row of 8 m bits each, to (8 m, 16): the columns. Each 8 x 8 square is turned in a word."""
    height, width = rows.shape
    squares = np.ascontiguousarray(rows.reshape(height // 8, 8, width).transpose(2, 0, 1)).view("<u8")
    for shift, mask in _SWAPS:
        some = (squares ^ (squares >> np.uint64(shift))) & np.uint64(mask)
        squares ^= some
        squares ^= some << np.uint64(shift)
    turned = squares.view(np.uint8).reshape(width, height // 8, 8).transpose(0, 2, 1)
    made: Bytes = np.ascontiguousarray(turned).reshape(8 * width, height // 8)
    return made


def bytes_of(bits: int) -> int:
    """Bytes of a row of so many bits."""
    return (bits + 7) // 8


def unit(at: NDArray[np.integer], bits: int) -> Bytes:
    """(n, bytes): the row with the bit `at` alone."""
    made = np.zeros((len(at), bytes_of(bits)), np.uint8)
    made[np.arange(len(at)), at >> 3] = np.uint8(1) << (at & 7).astype(np.uint8)
    return made


def rotated(x: Bytes, bits: int, by: int) -> Bytes:
    """Rows of `bits` bits, a power of two, turned so that bit i goes to i + by mod bits."""
    by %= bits
    if bits <= 8:  # what lies beyond the row in its byte does not count, and does not come in
        row = x & np.uint8((1 << bits) - 1)
        made: Bytes = (row << np.uint8(by)) | (row >> np.uint8(bits - by))
        return made
    whole = np.roll(x, by >> 3, axis=1) if by >> 3 else x
    rest = by & 7
    if not rest:
        return whole
    return (whole << np.uint8(rest)) | (np.roll(whole, 1, axis=1) >> np.uint8(8 - rest))


def parity(x: Bytes) -> Bytes:
    """(n,): the parity of each row."""
    folded = np.bitwise_xor.reduce(x, axis=1)
    made: Bytes = np.bitwise_count(folded) & np.uint8(1)
    return made


def top(x: Bytes, bits: int, many: int) -> Bytes:
    """Of rows of `bits` bits, the uppermost `many`, as rows; both powers of two."""
    if many >= 8:
        return x[:, (bits - many) >> 3 :]
    last = x[:, -1:] >> np.uint8(min(bits, 8) - many)
    return last & np.uint8((1 << many) - 1)


def above(x: Bytes) -> Bytes:
    """Bit i of the result: the parity of the bits beyond i. Turns the unit row of r into [i < r]."""
    within = x ^ (x >> np.uint8(1))
    within ^= within >> np.uint8(2)
    within ^= within >> np.uint8(4)  # bit i: parity of bits i.. of the byte
    whole = within & np.uint8(1)  # of the byte
    beyond = np.bitwise_xor.accumulate(whole[:, ::-1], axis=1)[:, ::-1] ^ whole
    made: Bytes = (within >> np.uint8(1)) ^ spread(beyond)
    return made


def spread(bit: Bytes) -> Bytes:
    """Each bit as a byte of eight of it."""
    made: Bytes = (np.uint8(0) - bit.astype(np.uint8)).astype(np.uint8)
    return made


def entries(x: Bytes, bits: int) -> Bytes:
    """(n, bits): a byte of 0 or 1 for each bit."""
    return np.unpackbits(x, axis=1, count=bits, bitorder="little")


def pack_flags(flags: Bytes) -> Bytes:
    """(..., n) of 0 and 1 to (..., bytes)."""
    return np.packbits(flags, axis=-1, bitorder="little")


def unpack_flags(data: Bytes, count: int) -> Bytes:
    """The inverse."""
    return np.unpackbits(data, axis=-1, count=count, bitorder="little")


def to_three(words: Words) -> Bytes:
    """(..., n) words mod 2^24 to (..., n, 3), little-endian."""
    low = np.ascontiguousarray(words).astype("<u4").view(np.uint8)
    made: Bytes = np.ascontiguousarray(low.reshape(*words.shape, 4)[..., :3])
    return made


def from_three(data: Bytes) -> Words:
    """(..., n, 3) or wider, of which three bytes count, to (..., n) words."""
    made = np.zeros((*data.shape[:-1], 4), np.uint8)
    made[..., :3] = data[..., :3]
    return made.view("<u4")[..., 0].astype(np.uint32)


class Cut:
    """Reads a message piece by piece; `ProtocolError` unless it has exactly the length that is asked for."""

    def __init__(self, message: bytes | memoryview, what: str) -> None:
        self._data, self._at, self._what = np.frombuffer(message, np.uint8), 0, what

    def take(self, *shape: int) -> Bytes:
        """The next bytes, (shape)."""
        count = int(np.prod(shape))
        if self._at + count > len(self._data):
            raise self._wrong()
        made = self._data[self._at : self._at + count].reshape(shape)
        self._at += count
        return made

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._data):
            raise self._wrong()

    def _wrong(self) -> ProtocolError:
        return ProtocolError(f"{self._what} has the wrong length", "end the session; its sender is at fault")
