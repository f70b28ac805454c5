"""D, the dealer: deals correlated randomness, sees neither image, weights nor anything opened.

A tape is one use of it: from the seed that D gives P for the tape, the seed of M, and fresh randomness of its
own, D makes the bytes that let the halves fit: u = A.r - s for each affine layer, M's share of the tables for
each clip and for the bucket. No patient need be known: M keeps tapes, P is sent a tape's seed when it comes.
D receives no frame at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from protocols.blind import bucket
from protocols.blind.kernels.interface import INDEX_BYTES, Buffer, Kernels, Mask, Words
from protocols.blind.masking import chunks
from protocols.blind.masks import PatientMasks
from protocols.blind.messages import HEADER_BYTES, PART_BYTES, Kind, encode_frames, encode_header
from protocols.blind.prg import Stream
from protocols.blind.schedule import tape_schedule
from protocols.blind.secret import Secret
from protocols.blind.walk import AffineStep, ClipStep, walk
from protocols.blind.weights import Pads


@dataclass(frozen=True, repr=False, eq=False)
class TapeSeeds(Secret):
    """name: 32 public bytes. patient: what P expands. fresh: the dealer's own. All drawn for this tape alone."""

    name: bytes
    patient: bytes
    fresh: bytes


def deal_tape(pads: Pads, seeds: TapeSeeds, batch: int = 1) -> Iterator[Buffer]:
    """The frames of a tape, in order, made as they are asked for. The same seeds make the same bytes."""
    sent = 0
    for item, (kind, room) in zip(
        tape_schedule(pads.topology, batch), _Dealer(pads, seeds, batch).run(), strict=True
    ):
        body = room[HEADER_BYTES:]
        assert (item.kind, item.size) == (kind, len(body)), (item, kind, len(body))
        if len(body) <= PART_BYTES:  # the header goes before the body where it lies
            room[:HEADER_BYTES] = encode_header(kind, seeds.name, sent)
            sent += 1
            yield room
            continue
        for frame in encode_frames(kind, seeds.name, sent, body):
            sent += 1
            yield frame


def _roomy(body: bytes) -> memoryview:
    """The body, with room for a header before it."""
    return memoryview(bytearray(HEADER_BYTES) + body)


class _Dealer:
    def __init__(self, pads: Pads, seeds: TapeSeeds, batch: int) -> None:
        self._pads, self._seeds, self._batch = pads, seeds, batch
        self._topology, self._kernels = pads.topology, pads.linear.kernels
        self._masks = PatientMasks(self._topology, pads.network_hash, seeds.name, seeds.patient, batch)

    def _fresh(self, what: bytes, *indices: int) -> Stream:
        network = self._topology.digest, self._pads.network_hash
        context = b"dealer", self._seeds.name, *network, self._batch.to_bytes(4, "big")
        return Stream(self._seeds.fresh, *context, what, *(i.to_bytes(4, "big") for i in indices))

    def run(self) -> Iterator[tuple[Kind, memoryview]]:
        """Every message of the tape, behind room for a header."""
        top, masks, kernels = self._topology, self._masks, self._kernels
        yield Kind.TAPE, _roomy(masks.fingerprint + self._pads.epoch)
        script = walk(top, masks.image)
        try:
            step, sources = next(script)
            while True:
                if isinstance(step, AffineStep):
                    yield Kind.LINEAR, _roomy(self._linear(step, sources, kernels))
                    made: Words = np.zeros((self._batch, *step.shape), np.uint32)
                else:
                    yield from self._tables(step, kernels)
                    made = masks.wire(step)
                    masks.drop(step)
                step, sources = script.send(made)
        except StopIteration:
            pass
        if top.thresholds:
            dealt = bucket.deal_bucket(top, masks.bucket(), self._fresh(b"bucket"), kernels)
            yield Kind.BUCKET, _roomy(dealt)

    def _linear(self, step: AffineStep, sources: list[Words], kernels: Kernels) -> bytes:
        """u = A.r - s, packed."""
        u = np.negative(self._masks.linear(step))
        self._pads.linear.add(step, sources, u)
        return kernels.pack(u.reshape(-1), self._topology.ring_bits)

    def _tables(self, step: ClipStep, kernels: Kernels) -> Iterator[tuple[Kind, memoryview]]:
        """M's share of each chunk, made cell by cell in the cache, where it will be sent from."""
        size = step.clip.element_bytes
        for number, part in enumerate(chunks(self._batch * step.size)):
            count, stream = part.stop - part.start, self._fresh(b"clip", step.index, number)
            room = np.empty(HEADER_BYTES + step.clip.correction_size(count), np.uint8)
            at = HEADER_BYTES + INDEX_BYTES * count
            index, data = room[HEADER_BYTES:at].view("<u2"), room[at:]
            for some, patient in self._masks.cells(step, part):
                made = Mask(step.clip, index[some], data[some.start * size : some.stop * size])
                kernels.deal(step.clip, patient, stream.words(some.stop - some.start), made)
            yield Kind.TABLES, room.data
