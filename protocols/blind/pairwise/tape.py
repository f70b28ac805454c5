"""A whole tape between patient and model: both sides' talks, in the order of the tape's frames.

P's seed expands as with a dealer (`PatientMasks`), so P's online code does not know the difference; M ends with the
tape's frames, byte for byte of the same form (`schedule.tape_schedule`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from protocols.blind.kernels import best_kernels
from protocols.blind.kernels.interface import Words
from protocols.blind.masking import chunks
from protocols.blind.masks import PatientMasks
from protocols.blind.messages import Kind, encode_frames
from protocols.blind.pairwise.extension import Receiver, ReceiverKeys, Sender, SenderKeys
from protocols.blind.pairwise.linear import Evaluator, Keyholder, model_linear, patient_linear
from protocols.blind.pairwise.own import OwnWeights
from protocols.blind.pairwise.packing import Packing, pack
from protocols.blind.pairwise.tables import model_chunk, patient_chunk
from protocols.blind.pairwise.talk import Talk, Talks
from protocols.blind.pairwise.threshold import model_bucket, patient_bucket
from protocols.blind.prg import Stream
from protocols.blind.schedule import DIGEST_BYTES, tape_schedule
from protocols.blind.secret import Secret
from protocols.blind.topology import Topology
from protocols.blind.walk import AffineStep, ClipStep, steps, walk
from protocols.errors import ProtocolError

Made: TypeAlias = tuple[Kind, bytes]  # one message of the tape


@dataclass(frozen=True, repr=False, eq=False)
class Ends(Secret):
    """One side's ends of the transfers: those where it offers, and those where it chooses."""

    sender: SenderKeys
    receiver: ReceiverKeys


def packings(topology: Topology, step: AffineStep) -> tuple[Packing, ...]:
    """How each term of a layer is packed: the same for both sides."""
    return tuple(pack(term, topology.shapes[term.source]) for term in step.node.terms)


class _Names:
    """The streams and names of one side's talks about one tape."""

    def __init__(self, topology: Topology, network_hash: bytes, tape: bytes, seed: bytes, batch: int) -> None:
        self._seed = seed
        self._context = tape, topology.digest, network_hash, batch.to_bytes(4, "big")
        self._tape = b"".join(self._context)

    def fresh(self, what: bytes, *places: int) -> Stream:
        return Stream(
            self._seed, b"pairwise", *self._context, what, *(place.to_bytes(4, "big") for place in places)
        )

    def call(self, *places: int) -> bytes:
        """The name of one talk's transfers."""
        return self._tape + b"".join(place.to_bytes(4, "big") for place in places)


# ---- P
class _Patient(Secret):
    def __init__(
        self, topology: Topology, masks: PatientMasks, ends: Ends, holder: Keyholder, names: _Names, n: int
    ) -> None:
        self._topology, self._masks, self._holder, self._names, self._n = topology, masks, holder, names, n
        self._sender, self._receiver = Sender(ends.sender), Receiver(ends.receiver)
        self._kernels = best_kernels()

    def talks(self) -> Iterator[Talk[None]]:
        top, masks = self._topology, self._masks
        yield self._greet()
        script = walk(top, masks.image)
        try:
            step, sources = next(script)
            while True:
                if isinstance(step, AffineStep):
                    bits = top.ring_bits
                    yield patient_linear(
                        packings(top, step), sources, masks.linear(step), self._holder, self._kernels, bits
                    )
                    made: Words = np.zeros((self._n, *step.shape), np.uint32)
                else:
                    yield from self._clip(step)
                    made = masks.wire(step)
                step, sources = script.send(made)
        except StopIteration:
            pass
        if top.thresholds:
            yield patient_bucket(top, masks.bucket(), self._sender, self._names.call())

    def _greet(self) -> Talk[None]:
        """P's fingerprint alone, said and done: M answers with a byte, so that the talk has two sides."""
        heard = yield self._masks.fingerprint
        if heard != b"\1":
            raise ProtocolError("the model's greeting is none", "start a new session")
        return b"", None

    def _clip(self, step: ClipStep) -> Iterator[Talk[None]]:
        for number, part in enumerate(chunks(self._n * step.size)):
            yield patient_chunk(
                step.clip,
                self._masks.mask(step, part),
                self._names.fresh(b"bits", step.index, number),
                self._sender,
                self._receiver,
                self._names.call(step.index, number),
            )


def patient_talks(
    topology: Topology,
    network_hash: bytes,
    tape: bytes,
    seed: bytes,
    batch: int,
    ends: Ends,
    holder: Keyholder,
    fresh: bytes,
) -> Talks[None]:
    """P's side of one tape. seed: what P's half of the tape expands from; fresh: 32 bytes more, for this tape alone."""
    masks = PatientMasks(topology, network_hash, tape, seed, batch)
    names = _Names(topology, network_hash, tape, fresh, batch)
    return Talks(_Patient(topology, masks, ends, holder, names, batch).talks(), lambda _: None)


# ---- M
class _Model(Secret):
    def __init__(self, weights: OwnWeights, ends: Ends, evaluator: Evaluator, names: _Names, n: int) -> None:
        self._weights, self._evaluator, self._names, self._n = weights, evaluator, names, n
        self._sender, self._receiver = Sender(ends.sender), Receiver(ends.receiver)
        self._topology, self._kernels = weights.network.topology, weights.kernels

    def talks(self) -> Iterator[Talk[Made]]:
        top = self._topology
        yield self._greet()
        for step in steps(top):
            if isinstance(step, AffineStep):
                yield self._linear(step)
            else:
                for number, part in enumerate(chunks(self._n * step.size)):
                    yield self._chunk(step, number, part.stop - part.start)
        if top.thresholds:
            yield self._bucket()

    def _greet(self) -> Talk[Made]:
        fingerprint = yield b""
        if len(fingerprint) != DIGEST_BYTES:
            raise ProtocolError("the patient's fingerprint has the wrong length", "start a new session")
        return b"\1", (Kind.TAPE, fingerprint + self._weights.masked.epoch)

    def _linear(self, step: AffineStep) -> Talk[Made]:
        top, weights = self._topology, self._weights.network.weights[step.index]
        fresh, bits = self._names.fresh(b"linear", step.index), top.ring_bits
        last, u = yield from model_linear(
            step, packings(top, step), weights, self._evaluator, fresh, self._kernels, bits, self._n
        )
        return last, (Kind.LINEAR, u)

    def _chunk(self, step: ClipStep, number: int, count: int) -> Talk[Made]:
        fresh, name = self._names.fresh(b"clip", step.index, number), self._names.call(step.index, number)
        last, mask = yield from model_chunk(step.clip, count, fresh, self._sender, self._receiver, name)
        return last, (Kind.TABLES, mask.encode())

    def _bucket(self) -> Talk[Made]:
        fresh, name = self._names.fresh(b"bucket"), self._names.call()
        last, body = yield from model_bucket(
            self._topology, self._n, fresh, self._receiver, self._kernels, name
        )
        return last, (Kind.BUCKET, body)


def model_talks(
    weights: OwnWeights,
    tape: bytes,
    batch: int,
    ends: Ends,
    evaluator: Evaluator,
    fresh: bytes,
    sink: Callable[[bytes], None],
) -> Talks[Made]:
    """M's side of one tape. fresh: 32 bytes for this tape alone. sink: takes the tape's frames, in order."""
    topology = weights.network.topology
    names = _Names(topology, weights.network_hash, tape, fresh, batch)
    due, sent = iter(tape_schedule(topology, batch)), 0

    def take(made: Made) -> None:
        nonlocal sent
        kind, body = made
        item = next(due)
        assert (item.kind, item.size) == (kind, len(body)), (item, kind, len(body))
        for frame in encode_frames(kind, tape, sent, body):
            sent += 1
            sink(frame)

    return Talks(_Model(weights, ends, evaluator, names, batch).talks(), take)
