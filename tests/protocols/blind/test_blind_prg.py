"""Streams: the cipher and key derivation as written, and no two contexts alike."""

from __future__ import annotations

import hashlib
from itertools import combinations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from protocols.blind.prg import BLOCK, Stream
from protocols.errors import ProtocolError


def test_stream_is_what_the_docstring_says() -> None:
    seed = bytes(range(32))
    h = hashlib.blake2b(key=seed, digest_size=28, person=b"crypdoc/blind/3")
    h.update(b"\0\0\0\x02ab" + b"\0\0\0\x01c")
    want = (
        Cipher(algorithms.AES(h.digest()[:16]), modes.CTR(h.digest()[16:] + b"\0\0\0\x02"))
        .encryptor()
        .update(bytes(100))
    )
    stream = Stream(seed, b"ab", b"c")
    assert stream.octets(40).tobytes() + stream.octets(60).tobytes() == want
    words = np.frombuffer(want[:48], "<u4").reshape(3, 2, 2)
    np.testing.assert_array_equal(Stream(seed, b"ab", b"c").words(3, 2, 2), words)


def test_a_long_draw_is_the_same_as_short_ones() -> None:
    """Across the blocks in which the cipher is driven."""
    whole = Stream(bytes(32), b"x").octets(2 * BLOCK + 20)
    stream, parts = Stream(bytes(32), b"x"), []
    for size in (1, BLOCK - 1, 16, BLOCK, 4):
        parts.append(stream.octets(size))
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_contexts_and_seeds_never_share_a_stream() -> None:
    long = bytes(40)
    contexts = [(), (b"",), (b"", b""), (b"abc",), (b"ab", b"c"), (b"a", b"bc"), (long,), (long + b"\x01",)]
    made = [
        Stream(seed, *c).octets(32).tobytes() for seed in (bytes(32), bytes(31) + b"\x01") for c in contexts
    ]
    assert all(a != b for a, b in combinations(made, 2))


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33), bytes(64)])
def test_a_seed_of_another_length_is_refused(seed: bytes) -> None:
    with pytest.raises(ProtocolError, match="32 bytes"):
        Stream(seed)
