"""The confidence bucket on shares: one truth table over the whole opened logit, an image.

P and M hold z1 + z0 = l mod 2^K, l the logit (or the difference of two). t = round(l / 2^s) has L = min(K,
16) bits, s = K - L. The dealer draws r in 0..2^L-1 and shares, XOR, T[i] = bucket((i - r) mod 2^L), two
bits an entry; P's shares of T and (mod 2^L) of r come from its seed, M's from the dealer.
1. P -> M (before the inference): p = (z1 >> s) + [s > 0] + r_P mod 2^L
2. M -> P: m = (z0 >> s) + r_M + p mod 2^L, beside z0 itself, which opens the logit to P
3. P -> M: the number of the image that counts, and T_P[m] of it (other images of the batch stay unknown to M).
   M has bucket(t) = T_M[m] ^ T_P[m]; t = m - r stays hidden from it.
P has t = (z0 >> s) + (z1 >> s) + [s > 0], the same t: both sides hold one bucket always.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from protocols.blind.bytesio import IntArray
from protocols.blind.kernels.interface import Buffer, Bytes, Kernels, Words, packed_size
from protocols.blind.kernels.portable import signed
from protocols.blind.prg import Stream
from protocols.blind.secret import Secret
from protocols.blind.topology import Topology


@dataclass(frozen=True, repr=False, eq=False)
class BucketMask(Secret):
    """One side's share by image: tables (n, 2^L / 4), four entries a byte, and shares of r (n,)."""

    table: Bytes
    r: Words


def table_size(topology: Topology) -> int:
    """Bytes of one image's table."""
    return (1 << topology.logit_bits) // 4


def correction_size(topology: Topology, batch: int) -> int:
    """Bytes that the dealer sends M."""
    return batch * table_size(topology) + packed_size(batch, topology.logit_bits)


def draw_bucket_mask(topology: Topology, stream: Stream, batch: int) -> BucketMask:
    """P's share; P and the dealer both draw it."""
    r = stream.words(batch)
    return BucketMask(stream.octets(batch * table_size(topology)).reshape(batch, -1), r)


def buckets_of(topology: Topology, t: IntArray) -> IntArray:
    """The bucket of every opened logit in t."""
    found: IntArray = (np.abs(t)[..., None] >= np.array(topology.thresholds)).sum(-1)
    return found


@lru_cache(maxsize=16)
def _bucket_table(topology: Topology) -> Bytes:
    """The bucket of every opened logit, by its residue."""
    values = np.arange(1 << topology.logit_bits)
    made: Bytes = buckets_of(topology, signed(values, topology.logit_bits)).astype(np.uint8)
    made.setflags(write=False)
    return made


def deal_bucket(topology: Topology, patient: BucketMask, fresh: Stream, kernels: Kernels) -> bytes:
    """What the dealer sends M."""
    bits = topology.logit_bits
    r = fresh.words(len(patient.r)) & np.uint32((1 << bits) - 1)
    values = _bucket_table(topology)
    table = np.empty_like(patient.table)
    for row, shift in enumerate(r):
        entries = np.roll(values, int(shift)).reshape(-1, 4)
        table[row] = entries[:, 0] | entries[:, 1] << 2 | entries[:, 2] << 4 | entries[:, 3] << 6
    share = kernels.pack(r - patient.r, bits)
    return (table ^ patient.table).tobytes() + share


def read_bucket_correction(topology: Topology, body: Buffer, batch: int, kernels: Kernels) -> BucketMask:
    """M's share, from the dealer's bytes."""
    at = batch * table_size(topology)
    table = np.frombuffer(body[:at], np.uint8).reshape(batch, -1)
    return BucketMask(table, kernels.unpack(body[at:], batch, topology.logit_bits))


def entry(mask: BucketMask, m: Words, image: int) -> int:
    """One side's two bits at the public m of one image."""
    at = int(m[image])
    return (int(mask.table[image, at >> 2]) >> (2 * (at & 3))) & 3


def margin(topology: Topology, z: Words) -> Words:
    """One side's share of what the bucket is about, by image: the logit, or the difference of two. Mod 2^K."""
    flat = z.reshape(len(z), -1)
    made: Words = flat[:, 0] if flat.shape[1] == 1 else flat[:, 0] - flat[:, 1]
    return made & np.uint32((1 << topology.ring_bits) - 1)


def high_part(topology: Topology, z: Words) -> Words:
    """The bits of a share, reduced mod 2^K, that a logit is opened to."""
    made: Words = z >> np.uint32(topology.logit_shift)
    return made
