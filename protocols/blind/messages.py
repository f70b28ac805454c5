"""Frames: roles, kinds, the fixed header, and cutting a message into bounded frames.

frame = "CB" | version (1) | kind (1) | sequence number on this link and direction (4) | name (32) | body.
The name is the session's, on the dealer's link the tape's.
The body's length follows from the schedule (`schedule.py`), so no length field exists to lie with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum

from protocols.blind.kernels.interface import Buffer
from protocols.errors import ProtocolError

MAGIC = b"CB"
VERSION = 3
SESSION_BYTES = 32
HEADER_BYTES = 8 + SESSION_BYTES
PART_BYTES = 1 << 22  # the most a frame carries; a longer message is several frames
MAX_FRAME_BYTES = HEADER_BYTES + PART_BYTES


class Role(Enum):
    """Who a frame is from or for."""

    PATIENT = "patient"
    MODEL = "model"
    DEALER = "dealer"


class Kind(IntEnum):
    """What a message carries. Bit widths are packed tight (`Kernels.pack`); n is the batch."""

    HELLO = 1  # P -> M: digests of topology, network, masked weights held (zeros: none); P's fingerprint of the tape
    WEIGHTS = 2  # M -> P: the masked weights E = W - A, K bits each
    KNOWN = 3  # M -> P: instead of WEIGHTS, the digest again: P's copy is current
    TAPE = 4  # D -> M, first: fingerprints of the tape's seed and of the seed it shares with M
    LINEAR = 5  # D -> M: u = A.r - s of one affine layer, K bits each
    TABLES = 6  # D -> M: M's share of one chunk of a clip
    BUCKET = 7  # D -> M: M's share of the bucket's tables
    MASKED = 8  # P -> M: p of one clip, B bits each
    MASKED_LOGIT = 9  # P -> M: p of the bucket, L bits an image
    IMAGE = 10  # P -> M: image - r, K bits each; from here on it is the inference itself
    OPEN = 11  # M -> P: m and M's five table bits of one chunk of a clip, B + 5 bits each
    REPLY = 12  # P -> M: P's new share and three table bits of that chunk, K + 3 bits each
    LOGITS = 13  # M -> P: its shares of the logits, K bits each; m of the bucket, L bits an image
    ANSWER = 14  # P -> M: the number of the image that counts (2 bytes); its two table bits of the bucket


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
    name: bytes
    body: memoryview


@dataclass(frozen=True, slots=True)
class Item:
    """One message of the schedule: its ends, kind, exact size in bytes, and what it belongs to.

    place: the node of the topology, or -1. index, part: the step and chunk it serves. online: whether it is
    sent after the image.
    """

    sender: Role
    receiver: Role
    kind: Kind
    size: int
    place: int = -1
    index: int = 0
    part: int = 0
    online: bool = False


def bad_frame(why: str) -> ProtocolError:
    return ProtocolError(f"a frame of blind inference does not belong: {why}", "start a new session")


def parts(size: int) -> int:
    """Frames that a message of `size` bytes takes."""
    return max(1, -(-size // PART_BYTES))


def encode_header(kind: Kind, name: bytes, sequence: int) -> bytes:
    """The first `HEADER_BYTES` of a frame."""
    return MAGIC + bytes((VERSION, kind)) + sequence.to_bytes(4, "big") + name


def encode_frames(kind: Kind, name: bytes, first: int, message: Buffer) -> Iterator[bytes]:
    """The frames of one message, numbered from `first`."""
    whole = memoryview(message)
    for i in range(parts(len(message))):
        head = encode_header(kind, name, first + i)
        yield b"".join((head, whole[i * PART_BYTES : (i + 1) * PART_BYTES]))


def decode_frame(data: Buffer) -> Frame:
    """Splits a frame, without a copy of its body; raises `ProtocolError` on a wrong size, magic or version."""
    if not isinstance(data, Buffer) or not HEADER_BYTES <= len(data) <= MAX_FRAME_BYTES:
        raise bad_frame("it is too short or too long")
    head = bytes(data[:HEADER_BYTES])
    if head[:2] != MAGIC or head[2] != VERSION:
        raise bad_frame("it is of another protocol or version")
    return Frame(head[3], int.from_bytes(head[4:8], "big"), head[8:], memoryview(data)[HEADER_BYTES:])
