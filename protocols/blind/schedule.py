"""What is sent, in which order, how long: fixed by the topology alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from protocols.blind import bucket, masking
from protocols.blind.messages import HEADER_BYTES, Item, Kind, Role, parts
from protocols.blind.network import weight_shapes
from protocols.blind.ring import packed_size
from protocols.blind.topology import Topology
from protocols.blind.walk import AffineStep, clip_steps, steps

DIGEST_BYTES = 32
FLAGS = 3  # table bits that ride beside an opened word


@dataclass(frozen=True, slots=True)
class Costs:
    """Bytes on the wire by (sender, receiver), headers included; rounds: times that P waits for M."""

    sent: dict[tuple[Role, Role], int]
    rounds: int

    @property
    def total(self) -> int:
        return sum(self.sent.values())


def weight_count(topology: Topology) -> int:
    return sum(prod(shape) for node in weight_shapes(topology) for shape in node)


def weights_size(topology: Topology) -> int:
    """Bytes of the masked weights E."""
    return packed_size(weight_count(topology), topology.ring_bits)


def _linked(sender: Role, receiver: Role, sizes: list[tuple[Kind, int, int]]) -> list[Item]:
    return [Item(sender, receiver, *entry) for entry in sizes]


def _dealer_to_model(topology: Topology) -> Iterator[tuple[Kind, int, int]]:
    yield Kind.SEEDS, 0, 2 * DIGEST_BYTES
    for step in steps(topology):
        if isinstance(step, AffineStep):
            yield Kind.LINEAR, step.index, packed_size(step.size, topology.ring_bits)
        else:
            yield Kind.TABLES, step.index, masking.correction_size(step, topology.ring_bits)
    if topology.thresholds:
        yield Kind.BUCKET, 0, bucket.correction_size(topology)


def _patient_to_model(topology: Topology) -> Iterator[tuple[Kind, int, int]]:
    k = topology.ring_bits
    yield Kind.HELLO, 0, 4 * DIGEST_BYTES
    yield Kind.IMAGE, 0, packed_size(prod(topology.input_shape), k)
    for step in clip_steps(topology):
        yield Kind.MASKED, step.index, packed_size(step.size, step.bits)
    if topology.thresholds:
        yield Kind.MASKED_LOGIT, 0, packed_size(1, topology.logit_bits)
    for step in clip_steps(topology):
        yield Kind.REPLY, step.index, packed_size(step.size, k + FLAGS)
    if topology.thresholds:
        yield Kind.ANSWER, 0, 1


def _model_to_patient(topology: Topology, known: bool) -> Iterator[tuple[Kind, int, int]]:
    if known:
        yield Kind.KNOWN, 0, DIGEST_BYTES
    else:
        yield Kind.WEIGHTS, 0, weights_size(topology)
    for step in clip_steps(topology):
        yield Kind.OPEN, step.index, packed_size(step.size, step.bits + FLAGS)
    yield Kind.LOGITS, 0, logits_size(topology)


def logits_size(topology: Topology) -> int:
    """The logits' shares, the count's share when calibrated, m of the bucket when there is one."""
    words = prod(topology.output_shape) + (topology.overflow == "calibrated")
    return packed_size(words, topology.ring_bits) + packed_size(
        bool(topology.thresholds), topology.logit_bits
    )


@lru_cache(maxsize=64)
def schedule(topology: Topology, known: bool = False) -> tuple[Item, ...]:
    """Every message of a session, link by link, each link in the order sent. known: P holds E already."""
    p, m, d = Role.PATIENT, Role.MODEL, Role.DEALER
    return (
        *_linked(d, m, list(_dealer_to_model(topology))),
        *_linked(p, m, list(_patient_to_model(topology))),
        *_linked(m, p, list(_model_to_patient(topology, known))),
    )


def costs(topology: Topology, known: bool = False) -> Costs:
    """What a session will send, to the byte."""
    sent: dict[tuple[Role, Role], int] = {}
    for item in schedule(topology, known):
        link = item.sender, item.receiver
        sent[link] = sent.get(link, 0) + item.size + HEADER_BYTES * parts(item.size)
    return Costs(sent, 2 + len(clip_steps(topology)))
