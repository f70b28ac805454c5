"""BLS signatures on bn254 that the contracts check: signatures in G1, keys in both groups.

    secret s;  public g1 = s G1, g2 = s G2;  signature S = s H(domain, message)
    one:   e(S, G2) = e(H, g2)            many on one message: sum of S against sum of g2

Keys are in both groups because on chain a G1 key is cheap to add up and a G2 key is what the pairing takes.
A key counts only after a proof of possession (a signature on itself in a domain of its own), without which
sums of keys can be forged (Ristenpart and Yilek 2007). Hashing to G1 is the contract's: try and increment
on keccak256.

Points travel as the contract takes them: G1 is (x, y), G2 is (x.c1, x.c0, y.c1, y.c0), all zero is infinity.
Source: Boneh, Lynn, Shacham 2001; curve: EIP-196 and EIP-197.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

from eth_utils.crypto import keccak

from protocols.crypto.bn254 import (
    G1,
    G2,
    Fp2,
    P,
    PointG1,
    PointG2,
    R,
    g1_add,
    g1_mul,
    g1_neg,
    g1_valid,
    g2_add,
    g2_mul,
    g2_valid,
    pairing_is_one,
)
from protocols.errors import ProtocolError

EncodedG1 = tuple[int, int]
EncodedG2 = tuple[int, int, int, int]

POINT_BYTES = 64
"""Length of a signature in a message: x and y, 32 bytes each."""


@dataclass(frozen=True, slots=True)
class BlsPublic:
    """One key in both groups, as the contract takes it."""

    g1: EncodedG1
    g2: EncodedG2


class BlsKey:
    """A BLS secret key. Refuses to be shown, compared for truth or pickled."""

    __slots__ = ("__scalar", "public")

    def __init__(self, seed: bytes) -> None:
        """The key of a secret seed of 32 bytes or more: the seed stretched to 512 bits, modulo the group's
        order.
        """
        if len(seed) < 32:
            raise ValueError("a BLS seed has at least 32 bytes")
        wide = keccak(b"crypdoc/v1/bls/0" + seed) + keccak(b"crypdoc/v1/bls/1" + seed)
        self.__scalar = int.from_bytes(wide, "big") % (R - 1) + 1
        self.public = BlsPublic(encode_g1(g1_mul(G1, self.__scalar)), encode_g2(g2_mul(G2, self.__scalar)))

    def sign(self, domain: bytes, message: bytes) -> EncodedG1:
        """The signature on a 32-byte message in a 32-byte domain. Deterministic."""
        return encode_g1(g1_mul(hash_to_g1(domain, message), self.__scalar))

    def __repr__(self) -> str:
        return "BlsKey(secret)"

    def __bool__(self) -> NoReturn:
        raise TypeError("a BLS key has no truth value")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a BLS key is secret and is not pickled")


@lru_cache(maxsize=256)
def hash_to_g1(domain: bytes, message: bytes) -> PointG1:
    """The contract's `hashToG1`: both are 32 bytes; see `Bn254.sol`."""
    if len(domain) != 32 or len(message) != 32:
        raise ValueError("domain and message have 32 bytes each")
    for counter in range(256):
        h = int.from_bytes(keccak(domain + message + bytes([counter])), "big")
        x = h & ((1 << 254) - 1)
        if x >= P:
            continue
        square = (x * x * x + 3) % P
        y = pow(square, (P + 1) // 4, P)
        if y * y % P != square:
            continue
        return x, (y if y & 1 == h >> 255 else P - y)
    raise ArithmeticError("no point in 256 tries: the hash is broken")


def verify(domain: bytes, message: bytes, key: EncodedG2, signature: EncodedG1) -> bool:
    """Whether `signature` is that of `key` (or of a sum of keys) on `message`. Infinity is never right."""
    try:
        point, public = decode_g1(signature), decode_g2(key)
    except ProtocolError:
        return False
    if point is None or public is None:
        return False
    return pairing_is_one([(g1_neg(point), G2), (hash_to_g1(domain, message), public)])


def same_key(public: BlsPublic) -> bool:
    """Whether both halves of a public key are the same key, and not infinity."""
    try:
        g1, g2 = decode_g1(public.g1), decode_g2(public.g2)
    except ProtocolError:
        return False
    if g1 is None or g2 is None:
        return False
    return pairing_is_one([(g1_neg(g1), G2), (G1, g2)])


def add_signatures(signatures: Iterable[EncodedG1]) -> EncodedG1:
    """The sum of points of G1: signatures on one message, or keys. Raises `ProtocolError` on a bad point."""
    total: PointG1 = None
    for signature in signatures:
        total = g1_add(total, decode_g1(signature))
    return encode_g1(total)


def add_keys(keys: Iterable[EncodedG2]) -> EncodedG2:
    """The sum of keys in G2. Raises `ProtocolError` on a bad point."""
    total: PointG2 = None
    for key in keys:
        total = g2_add(total, decode_g2(key))
    return encode_g2(total)


def encode_g1(point: PointG1) -> EncodedG1:
    """A point as the contract takes it."""
    return (0, 0) if point is None else point


def encode_g2(point: PointG2) -> EncodedG2:
    """A point as the contract takes it."""
    if point is None:
        return 0, 0, 0, 0
    (x0, x1), (y0, y1) = point
    return x1, x0, y1, y0


def decode_g1(encoded: Sequence[int]) -> PointG1:
    """The point of G1. Raises `ProtocolError` when there is none such."""
    if len(encoded) != 2 or not all(type(c) is int for c in encoded):
        raise ProtocolError("a point of G1 is two numbers")
    x, y = encoded
    point: PointG1 = None if x == y == 0 else (x, y)
    if not g1_valid(point):
        raise ProtocolError("the point is not on the curve")
    return point


def decode_g2(encoded: Sequence[int]) -> PointG2:
    """The point of G2, its order checked. Raises `ProtocolError` when there is none such."""
    if len(encoded) != 4 or not all(type(c) is int for c in encoded):
        raise ProtocolError("a point of G2 is four numbers")
    x1, x0, y1, y0 = encoded
    x: Fp2 = (x0, x1)
    y: Fp2 = (y0, y1)
    point: PointG2 = None if not any(encoded) else (x, y)
    if not g2_valid(point):
        raise ProtocolError("the point is not in G2")
    return point


def signature_bytes(signature: EncodedG1) -> bytes:
    """64 bytes for a message."""
    return b"".join(c.to_bytes(32, "big") for c in signature)


def signature_from_bytes(data: bytes) -> EncodedG1:
    """The inverse of `signature_bytes`; a point of the curve. Raises `ProtocolError`."""
    if len(data) != POINT_BYTES:
        raise ProtocolError(f"a BLS signature has {POINT_BYTES} bytes")
    return encode_g1(decode_g1((int.from_bytes(data[:32], "big"), int.from_bytes(data[32:], "big"))))
