"""What is sent, in which order, how long: fixed by the topology and the batch alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from protocols.blind import bucket
from protocols.blind.kernels.interface import packed_size
from protocols.blind.masking import chunks
from protocols.blind.messages import HEADER_BYTES, Item, Kind, Role, parts
from protocols.blind.network import weight_shapes
from protocols.blind.topology import Topology
from protocols.blind.walk import AffineStep, clip_steps, steps

DIGEST_BYTES = 32
ANSWER_BYTES = 3
MAX_BATCH = 1024
P, M, D = Role.PATIENT, Role.MODEL, Role.DEALER


@dataclass(frozen=True, slots=True)
class Costs:
    """What a session will send: bytes with headers by (sender, receiver).

    online: after the image; ahead: before it, the dealer's among them. rounds: times that P waits for M
    after it sent the image.
    """

    ahead: dict[tuple[Role, Role], int]
    online: dict[tuple[Role, Role], int]
    rounds: int

    @property
    def bytes_ahead(self) -> int:
        return sum(self.ahead.values())

    @property
    def bytes_online(self) -> int:
        return sum(self.online.values())

    @property
    def total(self) -> int:
        return self.bytes_ahead + self.bytes_online

    @property
    def tape(self) -> int:
        """Bytes of the dealer's tape: what M keeps."""
        return self.ahead.get((D, M), 0)


def weight_count(topology: Topology) -> int:
    """Weights of all layers."""
    return sum(prod(shape) for node in weight_shapes(topology) for shape in node)


def weights_size(topology: Topology) -> int:
    """Bytes of the masked weights E."""
    return packed_size(weight_count(topology), topology.ring_bits)


def logits_size(topology: Topology, batch: int) -> int:
    """Bytes of the logits' shares, and of m of the bucket when there is one."""
    shares = packed_size(batch * prod(topology.output_shape), topology.ring_bits)
    return shares + packed_size(batch * bool(topology.thresholds), topology.logit_bits)


@lru_cache(maxsize=64)
def tape_schedule(topology: Topology, batch: int = 1) -> tuple[Item, ...]:
    """The messages of a tape: what the dealer sends M, in order."""
    made = [Item(D, M, Kind.TAPE, 2 * DIGEST_BYTES)]
    for step in steps(topology):
        if isinstance(step, AffineStep):
            size = packed_size(batch * step.size, topology.ring_bits)
            made.append(Item(D, M, Kind.LINEAR, size, step.place, step.index))
        else:
            for number, part in enumerate(chunks(batch * step.size)):
                size = step.clip.correction_size(part.stop - part.start)
                made.append(Item(D, M, Kind.TABLES, size, step.place, step.index, number))
    if topology.thresholds:
        made.append(Item(D, M, Kind.BUCKET, bucket.correction_size(topology, batch)))
    return tuple(made)


def _patient_to_model(topology: Topology, batch: int) -> Iterator[Item]:
    yield Item(P, M, Kind.HELLO, 4 * DIGEST_BYTES)
    for step in clip_steps(topology):
        size = packed_size(batch * step.size, step.clip.width)
        yield Item(P, M, Kind.MASKED, size, step.place, step.index)
    if topology.thresholds:
        yield Item(P, M, Kind.MASKED_LOGIT, packed_size(batch, topology.logit_bits))
    image = packed_size(batch * prod(topology.input_shape), topology.ring_bits)
    yield Item(P, M, Kind.IMAGE, image, online=True)
    for step in clip_steps(topology):
        for number, part in enumerate(chunks(batch * step.size)):
            size = packed_size(part.stop - part.start, step.clip.reply_bits)
            yield Item(P, M, Kind.REPLY, size, step.place, step.index, number, True)
    if topology.thresholds:
        yield Item(P, M, Kind.ANSWER, ANSWER_BYTES, online=True)


def _model_to_patient(topology: Topology, batch: int, known: bool) -> Iterator[Item]:
    if known:
        yield Item(M, P, Kind.KNOWN, DIGEST_BYTES)
    else:
        yield Item(M, P, Kind.WEIGHTS, weights_size(topology))
    for step in clip_steps(topology):
        for number, part in enumerate(chunks(batch * step.size)):
            size = packed_size(part.stop - part.start, step.clip.open_bits)
            yield Item(M, P, Kind.OPEN, size, step.place, step.index, number, True)
    yield Item(M, P, Kind.LOGITS, logits_size(topology, batch), online=True)


@lru_cache(maxsize=64)
def schedule(topology: Topology, batch: int = 1, known: bool = False) -> tuple[Item, ...]:
    """Every message of a session and its tape, link by link, each link in the order sent.

    known: P holds E already.
    """
    return (
        *tape_schedule(topology, batch),
        *_patient_to_model(topology, batch),
        *_model_to_patient(topology, batch, known),
    )


def costs(topology: Topology, batch: int = 1, known: bool = False) -> Costs:
    """What a session will send, to the byte."""
    ahead: dict[tuple[Role, Role], int] = {}
    online: dict[tuple[Role, Role], int] = {}
    for item in schedule(topology, batch, known):
        link, side = (item.sender, item.receiver), online if item.online else ahead
        side[link] = side.get(link, 0) + item.size + HEADER_BYTES * parts(item.size)
    return Costs(ahead, online, 1 + len(clip_steps(topology)))


def bytes_by_place(topology: Topology, batch: int = 1) -> dict[int, int]:
    """Bytes that each node of the topology spends after the image; -1: image, logits and bucket."""
    made: dict[int, int] = {}
    for item in schedule(topology, batch):
        if item.online:
            made[item.place] = made.get(item.place, 0) + item.size + HEADER_BYTES * parts(item.size)
    return made
