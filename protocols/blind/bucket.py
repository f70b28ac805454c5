"""The confidence bucket on shares: one truth table over the whole opened logit.

P and M hold z1 + z0 = l mod 2^K, l the logit (or the difference of two). t = round(l / 2^s) has L = min(K,
16) bits, s = K - L. The dealer draws r in 0..2^L-1 and shares, XOR, T[i] = bucket((i - r) mod 2^L), two
bits an entry; P's shares of T and (mod 2^L) of r come from its seed, M's from the dealer.
1. P -> M (before the inference): p = (z1 >> s) + [s > 0] + r_P mod 2^L
2. M -> P: m = (z0 >> s) + r_M + p mod 2^L, beside z0 itself, which opens the logit to P
3. P -> M: T_P[m].  M has bucket(t) = T_M[m] ^ T_P[m]; t = m - r stays hidden from it.
P has t = (z0 >> s) + (z1 >> s) + [s > 0], the same t: both sides hold one bucket always.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocols.blind.bytesio import IntArray
from protocols.blind.prg import Stream
from protocols.blind.ring import Bytes, pack, packed_size, signed, unpack
from protocols.blind.secret import Secret
from protocols.blind.topology import Topology


@dataclass(frozen=True, repr=False, eq=False)
class BucketMask(Secret):
    """One side's share: the table, four entries a byte, and the share of r."""

    table: Bytes
    r: int


def table_size(topology: Topology) -> int:
    return (1 << topology.logit_bits) // 4


def correction_size(topology: Topology) -> int:
    """Bytes that the dealer sends M."""
    return table_size(topology) + packed_size(1, topology.logit_bits)


def draw_bucket_mask(topology: Topology, stream: Stream) -> BucketMask:
    """P's share; P and the dealer both draw it."""
    return BucketMask(stream.octets(table_size(topology)), int(stream.words(1, topology.logit_bits)[0]))


def buckets_of(topology: Topology, t: IntArray) -> IntArray:
    """The bucket of every opened logit in t."""
    found: IntArray = (np.abs(t)[:, None] >= np.array(topology.thresholds)).sum(1)
    return found


def deal_bucket(topology: Topology, patient: BucketMask, fresh: Stream) -> bytes:
    """What the dealer sends M."""
    bits = topology.logit_bits
    r = int(fresh.words(1, bits)[0])
    entries = buckets_of(topology, signed(np.arange(1 << bits) - r, bits)).astype(np.uint8).reshape(-1, 4)
    table = entries[:, 0] | entries[:, 1] << 2 | entries[:, 2] << 4 | entries[:, 3] << 6
    share = np.array([(r - patient.r) % (1 << bits)])
    return (table ^ patient.table).astype(np.uint8).tobytes() + pack(share, bits)


def read_bucket_correction(topology: Topology, body: bytes) -> BucketMask:
    """M's share, from the dealer's bytes."""
    at = table_size(topology)
    return BucketMask(np.frombuffer(body[:at], np.uint8), int(unpack(body[at:], 1, topology.logit_bits)[0]))


def entry(mask: BucketMask, m: int) -> int:
    """One side's two bits at the public m."""
    return (int(mask.table[m >> 2]) >> (2 * (m & 3))) & 3


def high_part(topology: Topology, z: int) -> int:
    """The bits of a share that a logit is opened to."""
    return z >> topology.logit_shift


def margin(topology: Topology, z: IntArray) -> int:
    """One side's share of what the bucket is about: the logit, or the difference of two."""
    flat = z.reshape(-1)
    return int(flat[0] if flat.size == 1 else flat[0] - flat[1]) % (1 << topology.ring_bits)
