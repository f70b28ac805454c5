"""Keyed streams: what a 32-byte seed expands to. AES-128 in counter mode under a key derived for one purpose.

key | nonce = BLAKE2b-224(key = seed, person = "crypdoc/blind/3", each part of the context with its length before
it); block i of the stream is AES(key, nonce | i + 2), i + 2 in four bytes. That is the key stream of GCM, by which it
is drawn, since the vector code that libraries have for GCM is faster than that for counter mode alone; no tag is
made. Two contexts never share a key, so streams may be expanded in any order. The nonce cannot be foretold, so who
guesses keys tries them against one stream at a time, not against all at once.
"""

from __future__ import annotations

import hashlib
from math import prod

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from protocols.blind.kernels.interface import Bytes, Words
from protocols.blind.secret import Secret
from protocols.errors import ProtocolError

SEED_BYTES = 32
KEY_BYTES, NONCE_BYTES = 16, 12
BLOCK = 1 << 16  # bytes that are encrypted at a time, small enough for the cache
ZEROS = memoryview(bytes(BLOCK))


class Stream(Secret):
    """A pseudorandom stream, read once from its start."""

    def __init__(self, seed: bytes, *context: bytes) -> None:
        if not isinstance(seed, bytes) or len(seed) != SEED_BYTES:
            raise ProtocolError(
                f"a seed is not {SEED_BYTES} bytes", "draw it afresh from the system's generator"
            )
        h = hashlib.blake2b(key=seed, digest_size=KEY_BYTES + NONCE_BYTES, person=b"crypdoc/blind/3")
        for part in context:
            h.update(len(part).to_bytes(4, "big") + part)
        key, nonce = h.digest()[:KEY_BYTES], h.digest()[KEY_BYTES:]
        self._cipher = Cipher(algorithms.AES(key), modes.GCM(nonce)).encryptor()

    def fill(self, made: Bytes) -> None:
        """Writes the next bytes into `made`, contiguous."""
        view = made.data.cast("B")
        for at in range(0, len(view), BLOCK):
            size = min(BLOCK, len(view) - at)
            self._cipher.update_into(ZEROS[:size], view[at : at + size])

    def octets(self, count: int) -> Bytes:
        """The next `count` bytes."""
        made = np.empty(count, np.uint8)
        self.fill(made)
        return made

    def words(self, *shape: int) -> Words:
        """The next words, each uniform in 0..2^32-1: a representative of a uniform element of every Z_2^K."""
        return self.octets(4 * prod(shape)).view("<u4").reshape(shape)
