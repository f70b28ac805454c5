"""The confidence bucket's table without a dealer, an image: `bucket.py` says what it is.

T turned by r = r_P + r_M mod 2^L, XOR-shared: P begins with T turned by r_P, M with zeros, and each of the L bits of
r_M turns the shared table, as a row of `tables.py` is turned. Messages: M choices | P tables, and its share less its
seed's.
"""

from __future__ import annotations

import numpy as np

from protocols.blind import bucket
from protocols.blind.kernels.interface import Bytes, Kernels, Words
from protocols.blind.kernels.portable import signed
from protocols.blind.pairwise import bits
from protocols.blind.pairwise.bits import Cut
from protocols.blind.pairwise.extension import BLOCKS, Choices, Offers, Receiver, Sender
from protocols.blind.pairwise.talk import Talk
from protocols.blind.prg import Stream
from protocols.blind.topology import Topology

_MESSAGE = "a message of the bucket's table"


def _padded(count: int) -> int:
    return (count + 7) // 8 * 8


def _started(topology: Topology, r: Words) -> Bytes:
    """T turned by r, image by image, four entries a byte."""
    values = np.arange(1 << topology.logit_bits, dtype=np.uint32)
    found = bucket.buckets_of(topology, signed(values, topology.logit_bits)).astype(np.uint8)
    made = []
    for shift in r & np.uint32((1 << topology.logit_bits) - 1):
        four = np.roll(found, int(shift)).reshape(-1, 4)
        made.append(four[:, 0] | four[:, 1] << 2 | four[:, 2] << 4 | four[:, 3] << 6)
    return np.stack(made)


def patient_bucket(topology: Topology, mask: bucket.BucketMask, sender: Sender, name: bytes) -> Talk[None]:
    """P's side. mask: P's share by its seed."""
    heard = yield b""
    n, slots = len(mask.r), topology.logit_bits
    cut = Cut(heard, _MESSAGE)
    message = cut.take(BLOCKS, slots * _padded(n) // 8)
    cut.end()
    keys = sender.extend(message, name, b"bucket").reshape(slots, _padded(n), -1)[:, :n]
    table, width = _started(topology, mask.r), 8 * bucket.table_size(topology)
    said = []
    for j in range(slots):
        offers = Offers(sender, keys[j : j + 1], name + b"/bucket" + bytes((j,)), table.shape[1])
        offered, share = offers.xor(table ^ bits.rotated(table, width, 2 << j), 0)
        said.append(offered.tobytes())
        table = table ^ share
    return b"".join(said) + (table ^ mask.table).tobytes(), None


def model_bucket(
    topology: Topology, n: int, fresh: Stream, receiver: Receiver, kernels: Kernels, name: bytes
) -> Talk[bytes]:
    """M's side; returns the body of the tape's frame."""
    slots, size = topology.logit_bits, bucket.table_size(topology)
    r = fresh.words(n) & np.uint32((1 << slots) - 1)
    flags = np.stack([((r >> np.uint32(j)) & np.uint32(1)).astype(np.uint8) for j in range(slots)])
    message, keys = receiver.extend(bits.pack_flags(flags).reshape(-1), name, b"bucket")
    keys = keys.reshape(slots, _padded(n), -1)[:, :n]
    heard = yield message
    cut, table = Cut(heard, _MESSAGE), np.zeros((n, size), np.uint8)
    for j in range(slots):
        choices = Choices(flags[j : j + 1], keys[j : j + 1], name + b"/bucket" + bytes((j,)), size)
        turned = table ^ bits.rotated(table, 8 * size, 2 << j)
        table = table ^ (turned & bits.spread(flags[j])[:, None]) ^ choices.xor(cut.take(n, size), 0)
    table = table ^ cut.take(n, size)
    cut.end()
    return b"", table.tobytes() + kernels.pack(r, slots)
