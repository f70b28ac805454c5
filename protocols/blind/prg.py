"""Keyed streams: what a 32-byte seed expands to. AES-256 in counter mode under a key derived for one purpose.

key = BLAKE2b-256(key = seed, person = "crypdoc/blind/1", each part of the context with its length before it).
Two contexts never share a key, so the counter may start at zero and streams may be expanded in any order.
"""

from __future__ import annotations

import hashlib

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from protocols.blind.bytesio import IntArray
from protocols.blind.ring import Bytes
from protocols.blind.secret import Secret
from protocols.errors import ProtocolError

SEED_BYTES = 32


class Stream(Secret):
    """A pseudorandom stream, read once from its start."""

    def __init__(self, seed: bytes, *context: bytes) -> None:
        if not isinstance(seed, bytes) or len(seed) != SEED_BYTES:
            raise ProtocolError(
                f"a seed is not {SEED_BYTES} bytes", "draw it afresh from the system's generator"
            )
        h = hashlib.blake2b(key=seed, digest_size=32, person=b"crypdoc/blind/1")
        for part in context:
            h.update(len(part).to_bytes(4, "big") + part)
        self._cipher = Cipher(algorithms.AES(h.digest()), modes.CTR(bytes(16))).encryptor()

    def octets(self, count: int) -> Bytes:
        """The next `count` bytes."""
        return np.frombuffer(self._cipher.update(bytes(count)), np.uint8)

    def words(self, count: int, bits: int) -> IntArray:
        """The next `count` uniform integers in 0..2^bits-1, bits <= 32; four bytes are spent on each."""
        raw = np.frombuffer(self._cipher.update(bytes(4 * count)), "<u4").astype(np.int64)
        return raw & ((1 << bits) - 1)
