"""Frames: roles, kinds, the fixed header, and cutting a message into bounded frames.

frame = "CB" | version (1) | kind (1) | sequence number on this link and direction (4) | session (32) | body.
The body's length follows from the schedule (`schedule.py`), so no length field exists to lie with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum

from protocols.errors import ProtocolError

MAGIC = b"CB"
VERSION = 1
SESSION_BYTES = 32
HEADER_BYTES = 8 + SESSION_BYTES
PART_BYTES = 1 << 20  # the most a frame carries; a longer message is several frames
MAX_FRAME_BYTES = HEADER_BYTES + PART_BYTES


class Role(Enum):
    """Who a frame is from or for."""

    PATIENT = "patient"
    MODEL = "model"
    DEALER = "dealer"


class Kind(IntEnum):
    """What a message carries. Bit widths are packed tight (`ring.pack`)."""

    HELLO = (
        1  # P -> M: digests of topology, network, masked weights held (zeros: none); fingerprint of its seed
    )
    WEIGHTS = 2  # M -> P: the masked weights E = W - A, K bits each
    KNOWN = 3  # M -> P: instead of WEIGHTS, the digest again: P's copy is current
    LINEAR = 4  # D -> M: u = A.r - s of one affine layer, K bits each
    TABLES = 5  # D -> M: M's share of one clip's tables and words
    BUCKET = 6  # D -> M: M's share of the bucket's table
    IMAGE = 7  # P -> M: image - r, K bits each
    MASKED = 8  # P -> M: p of one clip, B bits each
    MASKED_LOGIT = 9  # P -> M: p of the bucket, L bits
    OPEN = 10  # M -> P: m and M's three table bits of one clip, B + 3 bits each
    REPLY = 11  # P -> M: delta and P's three table bits, K + 3 bits each
    LOGITS = (
        12  # M -> P: its shares of the logits, K bits each; of the count of cut activations; m of the bucket
    )
    ANSWER = 13  # P -> M: its two table bits of the bucket
    SEEDS = 14  # D -> M, first: fingerprints of the seeds it shares with P and with M


@dataclass(frozen=True, slots=True)
class Out:
    """A frame to send to `to`, in the order given."""

    to: Role
    frame: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of a session, decoded."""

    kind: int
    sequence: int
    session: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Item:
    """One message of the schedule: its ends, kind, the step it belongs to, and its exact size in bytes."""

    sender: Role
    receiver: Role
    kind: Kind
    index: int
    size: int


def bad_frame(why: str) -> ProtocolError:
    return ProtocolError(f"a frame of blind inference does not belong: {why}", "start a new session")


def parts(size: int) -> int:
    """Frames that a message of `size` bytes takes."""
    return max(1, -(-size // PART_BYTES))


def encode_frames(kind: Kind, session: bytes, first: int, message: bytes) -> Iterator[bytes]:
    """The frames of one message, numbered from `first`."""
    for i in range(parts(len(message))):
        head = MAGIC + bytes((VERSION, kind)) + (first + i).to_bytes(4, "big") + session
        yield head + message[i * PART_BYTES : (i + 1) * PART_BYTES]


def decode_frame(data: bytes) -> Frame:
    """Splits a frame; raises `ProtocolError` on a wrong size, magic or version."""
    if not isinstance(data, bytes) or not HEADER_BYTES <= len(data) <= MAX_FRAME_BYTES:
        raise bad_frame("it is too short or too long")
    if data[:2] != MAGIC or data[2] != VERSION:
        raise bad_frame("it is of another protocol or version")
    return Frame(data[3], int.from_bytes(data[4:8], "big"), data[8:HEADER_BYTES], data[HEADER_BYTES:])
