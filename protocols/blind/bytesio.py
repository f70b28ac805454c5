"""A strict reader and writer of fixed-width fields: every fault is a `ProtocolError`, nothing is left over.

Integers are big-endian, floats IEEE 754 double. An array of known element count is one byte that says how many
bytes an element takes (1 to 4, the least that holds them all), then the elements, little-endian two's complement.
"""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

from protocols.errors import ProtocolError

IntArray = NDArray[np.int64]


def _width(values: IntArray) -> int:
    """The least number of bytes that holds every element."""
    largest = max(int(values.max(initial=0)), -1 - int(values.min(initial=0)))
    return max(1, (largest.bit_length() + 8) // 8)


class Writer:
    """Appends fields; `bytes()` gives what was written."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def raw(self, data: bytes) -> None:
        self._parts.append(data)

    def u8(self, value: int) -> None:
        self._parts.append(struct.pack(">B", value))

    def u32(self, value: int) -> None:
        self._parts.append(struct.pack(">I", value))

    def i64(self, value: int) -> None:
        self._parts.append(struct.pack(">q", value))

    def f64(self, value: float) -> None:
        self._parts.append(struct.pack(">d", value))

    def ints(self, values: IntArray) -> None:
        """values: within int32."""
        width = _width(values)
        octets = values.astype("<i4").reshape(-1).view(np.uint8).reshape(-1, 4)
        self.u8(width)
        self._parts.append(octets[:, :width].tobytes())

    def bytes(self) -> bytes:
        return b"".join(self._parts)


class Reader:
    """Takes the fields of `data` in order; `end()` must come last."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data, self._at, self._what = data, 0, what

    def raw(self, size: int) -> bytes:
        if size < 0 or self._at + size > len(self._data):
            raise ProtocolError(f"the {self._what} ends too early", "ask its sender for it again")
        self._at += size
        return self._data[self._at - size : self._at]

    def u8(self) -> int:
        return self.raw(1)[0]

    def u32(self) -> int:
        return int.from_bytes(self.raw(4), "big")

    def i64(self) -> int:
        return int.from_bytes(self.raw(8), "big", signed=True)

    def f64(self) -> float:
        value = float(struct.unpack(">d", self.raw(8))[0])
        if not math.isfinite(value):
            raise ProtocolError(f"the {self._what} holds a number that is not finite", "encode it again")
        return value

    def ints(self, count: int) -> IntArray:
        """What `Writer.ints` wrote of `count` values."""
        width = self.u8()
        if not 1 <= width <= 4:
            raise ProtocolError(f"the {self._what} holds an array of an unknown kind", "encode it again")
        octets = np.frombuffer(self.raw(width * count), np.uint8).reshape(count, width)
        wide = np.zeros((count, 4), np.uint8)
        wide[:, 4 - width :] = octets
        values = (wide.reshape(-1).view("<i4") >> (32 - 8 * width)).astype(np.int64)
        if _width(values) != width:
            raise ProtocolError(f"the {self._what} holds an array that is not canonical", "encode it again")
        return values

    def end(self) -> None:
        if self._at != len(self._data):
            raise ProtocolError(f"the {self._what} has bytes left over", "ask its sender for it again")
