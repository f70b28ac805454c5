"""The 128 first transfers each way, from which `protocols.blind.pairwise.extension` makes millions.

Chou and Orlandi's transfer (LATINCRYPT 2015) on Ed25519's group of prime order, for passive parties. With A = a G
from the sender, B_i = b_i G + c_i A from the receiver, the two keys of transfer i are hashes of a B_i and a (B_i - A);
the receiver has that of b_i A. Each block of the extension has 16 seeds, all of which but one (at Delta_b) its sender
must get: seed x is sent masked under the key (j, x_j) of each of its four bits j, and the receiver of these keys
chose 1 - Delta_b,j: it lacks all four for x = Delta_b, and for no other x.

Who learns what: B_i is uniform whatever c_i; the key not chosen is a Diffie-Hellman secret (CDH, the hash a random
oracle).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from models.homomorphic import import_sodium
from protocols.blind.pairwise.extension import (
    BLOCKS,
    KEY_BITS,
    KEY_BYTES,
    LEAF_BITS,
    LEAVES,
    ReceiverKeys,
    SenderKeys,
)
from protocols.blind.pairwise.talk import Talk
from protocols.blind.pairwise.tape import Ends
from protocols.blind.prg import SEED_BYTES
from protocols.blind.secret import Secret
from protocols.errors import ProtocolError

Draw = Callable[[int], bytes]  # so many bytes from the system's generator

POINT = 32
_SEALED = BLOCKS * LEAVES * LEAF_BITS * SEED_BYTES


def _refuse(what: str) -> ProtocolError:
    return ProtocolError(f"{what} of the first transfers is none", "end the session; its sender is at fault")


class _Group(Secret):
    """Ed25519 by libsodium."""

    def __init__(self, draw: Draw) -> None:
        self.sodium: Any = import_sodium()
        self._draw = draw

    def scalar(self) -> bytes:
        made: bytes = self.sodium.crypto_core_ed25519_scalar_reduce(self._draw(64))
        return made

    def point(self, data: bytes, what: str) -> bytes:
        """Checks that bytes are a point of the group, not its zero."""
        if len(data) != POINT or not self.sodium.crypto_core_ed25519_is_valid_point(data):
            raise _refuse(what)
        return data

    def base(self, scalar: bytes) -> bytes:
        made: bytes = self.sodium.crypto_scalarmult_ed25519_base_noclamp(scalar)
        return made

    def times(self, scalar: bytes, point: bytes) -> bytes:
        try:
            made: bytes = self.sodium.crypto_scalarmult_ed25519_noclamp(scalar, point)
        except Exception:  # libsodium's own kind: the product is the group's zero
            raise _refuse("a point") from None
        return made


def _key(number: int, a: bytes, b: bytes, shared: bytes) -> bytes:
    h = hashlib.blake2b(digest_size=32, person=b"crypdoc/pair/ot")
    for part in (number.to_bytes(4, "big"), a, b, shared):
        h.update(part)
    return h.digest()


def _masked(seed: bytes, key: bytes, leaf: int) -> bytes:
    pad = hashlib.blake2b(bytes((leaf,)), key=key, digest_size=SEED_BYTES, person=b"crypdoc/leaf").digest()
    return bytes(x ^ y for x, y in zip(seed, pad, strict=True))


class Offering(_Group):
    """Who will choose in the extension: here it offers pairs. Makes the seeds; `first` is its first message."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._a = self.scalar()
        self.first = self.base(self._a)
        self.keys = ReceiverKeys([[draw(SEED_BYTES) for _ in range(LEAVES)] for _ in range(BLOCKS)])

    def answer(self, points: bytes) -> bytes:
        """points: the other side's B_i. The seeds, masked."""
        if len(points) != KEY_BITS * POINT:
            raise _refuse("a message")
        pairs = []
        for i in range(KEY_BITS):
            b = self.point(points[i * POINT : (i + 1) * POINT], "a point")
            other = self.sodium.crypto_core_ed25519_sub(b, self.first)
            shared = self.times(self._a, b), self.times(self._a, other)
            pairs.append([_key(2 * i + bit, self.first, b, one) for bit, one in enumerate(shared)])
        return b"".join(
            _masked(seed, pairs[block * LEAF_BITS + bit][leaf >> bit & 1], leaf)
            for block, seeds in enumerate(self.keys.seeds)
            for leaf, seed in enumerate(seeds)
            for bit in range(LEAF_BITS)
        )


class Choosing(_Group):
    """Who will offer in the extension: here it chooses, by a Delta of its own."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._delta = draw(KEY_BYTES)
        self._known: list[bytes] = []

    def choose(self, first: bytes) -> bytes:
        """first: the other side's A. The points B_i."""
        self.point(first, "a point")
        said = []
        for i in range(KEY_BITS):
            b = self.scalar()
            chosen = 1 - (self._delta[i // 8] >> (i % 8) & 1)
            point = self.base(b)
            if chosen:
                point = self.sodium.crypto_core_ed25519_add(point, first)
            self._known.append(_key(2 * i + chosen, first, point, self.times(b, first)))
            said.append(point)
        return b"".join(said)

    def take(self, sealed: bytes) -> SenderKeys:
        """sealed: the masked seeds."""
        if len(sealed) != _SEALED:
            raise _refuse("a message")
        blank = SenderKeys(self._delta, ())
        made = []
        for block in range(BLOCKS):
            row, hole = [], blank.leaf(block)
            for leaf in range(LEAVES):
                other = leaf ^ hole
                if not other:
                    row.append(bytes(SEED_BYTES))
                    continue
                bit = (other & -other).bit_length() - 1
                at = ((block * LEAVES + leaf) * LEAF_BITS + bit) * SEED_BYTES
                key = self._known[block * LEAF_BITS + bit]
                row.append(_masked(sealed[at : at + SEED_BYTES], key, leaf))
            made.append(row)
        return SenderKeys(self._delta, made)


def patient_setup(draw: Draw, public: bytes) -> Talk[Ends]:
    """P's side, once for a model: P says its encryption's public key and begins the transfers of either way."""
    offering, choosing = Offering(draw), Choosing(draw)
    heard = yield offering.first + public
    first, points = heard[:POINT], heard[POINT:]
    heard = yield choosing.choose(first) + offering.answer(points)
    return b"", Ends(choosing.take(heard), offering.keys)


def model_setup(draw: Draw) -> Talk[tuple[Ends, bytes]]:
    """M's side; returns its ends and the patient's public key."""
    offering, choosing = Offering(draw), Choosing(draw)
    heard = yield b""
    first, public = heard[:POINT], heard[POINT:]
    heard = yield offering.first + choosing.choose(first)
    points, sealed = heard[: KEY_BITS * POINT], heard[KEY_BITS * POINT :]
    ends = Ends(choosing.take(sealed), offering.keys)
    return offering.answer(points), (ends, public)
