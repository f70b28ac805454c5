"""Oblivious transfers by the million from 128: SoftSpokenOT (Roy, CRYPTO 2022), its form for passive parties.

Once, by 128 public-key transfers (`models/homomorphic/base.py`), the receiver of the extension holds 32 blocks of 16
seeds, the sender all of them but the one at Delta_b, four bits of a secret Delta of 128. For n transfers with choices
x in {0,1}^n each seed is expanded to n bits g_{b,s}; all that follows is linear over GF(2):
    receiver:  u_b = sum_s g_{b,s},   v_{b,j} = sum_s s_j g_{b,s}          (j: the bits of s)
    sender:    w_{b,j} = sum_s (s_j ^ Delta_{b,j}) g_{b,s} = v_{b,j} ^ Delta_{b,j} u_b      (s = Delta_b drops out)
    receiver sends u_b ^ x; the sender adds Delta_{b,j} (u_b ^ x):  w_{b,j} = v_{b,j} ^ Delta_{b,j} x.
Transposed: for each transfer w = v ^ x Delta, 128 bits. H(w), H(w ^ Delta) are two pads, of which the receiver has
H(v), that of its choice. A transfer costs 32 bits on the wire, not 128 as in IKNP.

H(i, x) = p(p(x) ^ i) ^ p(x), p = AES-128 with a public key: correlation robust with tweaks (Guo, Katz, Wang, Yu, S&P
2020). The tweak i is the call's name and the place in it, so that no two transfers share one.

Who learns what: u_b masks x, since the sender lacks the seed at Delta_b; the receiver never gets anything of Delta.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from protocols.blind.kernels.interface import Bytes, Words
from protocols.blind.pairwise.bits import from_three, spread, to_three, transposed
from protocols.blind.prg import Stream
from protocols.blind.secret import Secret
from protocols.errors import ProtocolError

KEY_BITS, LEAF_BITS = 128, 4
BLOCKS, LEAVES, KEY_BYTES = KEY_BITS // LEAF_BITS, 1 << LEAF_BITS, KEY_BITS // 8
_FIXED = hashlib.blake2b(b"transfers", digest_size=16, person=b"crypdoc/pair/1").digest()


@dataclass(frozen=True, repr=False, eq=False)
class ReceiverKeys(Secret):
    """seeds: by block and leaf, 32 bytes each."""

    seeds: Sequence[Sequence[bytes]]


@dataclass(frozen=True, repr=False, eq=False)
class SenderKeys(Secret):
    """delta: 16 bytes, block b its b-th four bits. seeds: as the receiver's; what lies at delta is not looked at."""

    delta: bytes
    seeds: Sequence[Sequence[bytes]]

    def leaf(self, block: int) -> int:
        """Delta_b."""
        return (self.delta[block // 2] >> (4 * (block & 1))) & 15


def transfer_bytes(count: int) -> int:
    """Bytes that the receiver of `count` transfers sends; `count` a multiple of 8."""
    return BLOCKS * count // 8


def _folded(leaves: Bytes) -> tuple[Bytes, list[Bytes]]:
    """(16, m) -> the sum of all, and for each bit j the sum of those whose number has it."""
    sums: list[Bytes] = []
    for _ in range(LEAF_BITS):
        half = len(leaves) // 2
        sums.append(np.bitwise_xor.reduce(leaves[half:], axis=0))
        leaves = leaves[:half] ^ leaves[half:]
    return leaves[0], sums[::-1]


class Receiver(Secret):
    """The side that chooses. The same call never twice: it is named by `call`, unique under these keys."""

    def __init__(self, keys: ReceiverKeys) -> None:
        self._keys = keys

    def extend(self, choices: Bytes, *call: bytes) -> tuple[bytes, Bytes]:
        """choices: packed bits (m,). The message to the sender; v, (8 m, 16)."""
        size = len(choices)
        message, rows = np.empty((BLOCKS, size), np.uint8), np.empty((KEY_BITS, size), np.uint8)
        leaves = np.empty((LEAVES, size), np.uint8)
        for block, seeds in enumerate(self._keys.seeds):
            for leaf, seed in enumerate(seeds):
                Stream(seed, *call).fill(leaves[leaf])
            u, sums = _folded(leaves)
            np.bitwise_xor(u, choices, out=message[block])
            rows[block * LEAF_BITS : (block + 1) * LEAF_BITS] = sums
        return message.tobytes(), transposed(rows)


class Sender(Secret):
    """The side that offers pairs."""

    def __init__(self, keys: SenderKeys) -> None:
        self._keys = keys
        self.delta: Bytes = np.frombuffer(keys.delta, np.uint8)

    def extend(self, message: Bytes, *call: bytes) -> Bytes:
        """message: (blocks, m), as the receiver sent it. w, (8 m, 16)."""
        if message.shape[0] != BLOCKS:
            raise ProtocolError("a message of the transfers has the wrong length", "end the session")
        size = message.shape[1]
        rows, leaves = np.empty((KEY_BITS, size), np.uint8), np.zeros((LEAVES, size), np.uint8)
        for block, seeds in enumerate(self._keys.seeds):
            hole = self._keys.leaf(block)
            for turn in range(1, LEAVES):  # the leaf at Delta itself stays zero: it is not known
                Stream(seeds[turn ^ hole], *call).fill(leaves[turn])
            _, sums = _folded(leaves)
            for bit, one in enumerate(sums):
                if hole >> bit & 1:
                    one = one ^ message[block]
                rows[block * LEAF_BITS + bit] = one
        return transposed(rows)


def _permuted(blocks: NDArray[np.generic]) -> Bytes:
    """p of every 16 bytes."""
    cipher = Cipher(algorithms.AES(_FIXED), modes.ECB()).encryptor()  # noqa: S305 (a public permutation, no cipher)
    made = np.empty(blocks.nbytes + 16, np.uint8)  # the library asks for room beyond the end
    cipher.update_into(blocks.data.cast("B"), made.data)
    return made[: blocks.nbytes]


def pads(keys: Bytes, call: bytes, size: int) -> Bytes:
    """H of keys (..., 16) at their places in the call: (..., size)."""
    flat = np.ascontiguousarray(keys).reshape(-1, 2 * 8)
    count, blocks = len(flat), -(-size // 16)
    first = _permuted(flat)
    name = np.frombuffer(hashlib.blake2b(call, digest_size=8).digest(), "<u8")[0]
    tweaked = np.empty((count, blocks, 2), "<u8")
    wide = first.view("<u8").reshape(count, 1, 2)
    place = np.arange(count * blocks, dtype=np.uint64).reshape(count, blocks)
    np.bitwise_xor(wide[:, :, 0], place, out=tweaked[:, :, 0])
    np.bitwise_xor(wide[:, :, 1], name, out=tweaked[:, :, 1])
    made = _permuted(tweaked).view("<u8").reshape(tweaked.shape)
    made ^= wide
    out: Bytes = made.view(np.uint8).reshape(*keys.shape[:-1], blocks * 16)[..., :size]
    return out


# ---- correlated transfers: shares of (choice x offered)
class Offers(Secret):
    """The sender's side of transfers (slots, n): its two pads of `size` bytes each."""

    def __init__(self, sender: Sender, w: Bytes, call: bytes, size: int) -> None:
        self.zero, self.one = pads(w, call, size), pads(w ^ sender.delta, call, size)

    def xor(self, what: Bytes, slot: int, at: int = 0) -> tuple[Bytes, Bytes]:
        """what: (n, bytes). The message; the sender's XOR share of choice x what: pad zero."""
        end = at + what.shape[-1]
        mine = self.zero[slot, :, at:end]
        return mine ^ self.one[slot, :, at:end] ^ what, mine

    def add(self, what: Words, slot: int, at: int = 0) -> tuple[Bytes, Words]:
        """what: (n,) words. The message (n, 3); the sender's additive share mod 2^24 of choice x what."""
        zero, one = (from_three(p[slot, :, at : at + 3]) for p in (self.zero, self.one))
        return to_three(zero + what - one), np.uint32(0) - zero


class Choices(Secret):
    """The receiver's side: the pad of each choice. bits: (slots, n) of 0 and 1."""

    def __init__(self, bits: Bytes, v: Bytes, call: bytes, size: int) -> None:
        self._bits, self._pads = bits, pads(v, call, size)

    def xor(self, message: Bytes, slot: int, at: int = 0) -> Bytes:
        """The receiver's XOR share."""
        mine = self._pads[slot, :, at : at + message.shape[-1]]
        return mine ^ (message & spread(self._bits[slot])[:, None])

    def add(self, message: Bytes, slot: int, at: int = 0) -> Words:
        """The receiver's additive share mod 2^24."""
        mine = from_three(self._pads[slot, :, at : at + 3])
        made: Words = mine + from_three(message) * self._bits[slot].astype(np.uint32)
        return made
