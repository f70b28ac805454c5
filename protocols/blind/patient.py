"""P, the patient's side: holds the images, learns the logits and the bucket. Its preprocessing is a seed."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.blind import bucket
from protocols.blind.ahead import Ahead, walk_ahead
from protocols.blind.bytesio import IntArray
from protocols.blind.kernels import best_kernels
from protocols.blind.kernels.interface import Buffer, Kernels, Words, packed_size
from protocols.blind.kernels.portable import signed
from protocols.blind.masking import chunks
from protocols.blind.masks import PatientMasks
from protocols.blind.messages import Item, Kind, Out, Role
from protocols.blind.party import Clock, Party, Script
from protocols.blind.schedule import weights_size
from protocols.blind.secret import Secret
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.blind.walk import clip_steps
from protocols.blind.weights import MaskedWeights
from protocols.errors import ProtocolError

HOLD_BYTES = 1 << 28  # of tables that P draws before the inference rather than during it


@dataclass(frozen=True, repr=False, eq=False)
class PatientResult(Secret):
    """What P learns.

    logits: opened logits in units of `scale`, shape (n, *Topology.output_shape). buckets: by image; None
    without thresholds.
    """

    logits: IntArray
    scale: float
    buckets: tuple[int, ...] | None

    @property
    def values(self) -> NDArray[np.float64]:
        """The logits as real numbers."""
        return self.logits.astype(np.float64) * np.float64(self.scale)

    @property
    def bucket(self) -> int | None:
        """The bucket of the first image."""
        return None if self.buckets is None else self.buckets[0]


class PatientParty(Party):
    """P in one session.

    images: integers (n, *input_shape); clipped to the input range here. Or their number: then all that can be
    is done before there are any, until `waiting`, and `begin` brings them. seed: 32 bytes that the dealer gave for
    this tape. known: the masked weights kept from an earlier session, if any. counts: the image whose
    bucket M is to learn; of the others it learns none. check: called with the result before M learns the
    bucket: what it raises ends the session with nothing opened.
    """

    role = Role.PATIENT

    def __init__(
        self,
        topology: Topology,
        network_hash: bytes,
        images: NDArray[np.generic] | int,
        session: bytes,
        tape: bytes,
        seed: bytes,
        used: UsedSessions,
        known: MaskedWeights | None = None,
        counts: int = 0,
        kernels: Kernels | None = None,
        clock: Clock | None = None,
    ) -> None:
        batch = images if isinstance(images, int) else len(images)
        if not 0 <= counts < max(1, batch):
            raise ProtocolError("the image that counts is not in the batch", "name one of them")
        super().__init__(topology, session, tape, used, batch, known is not None, clock)
        self._topology, self._hash, self._known = topology, network_hash, known
        self._kernels = kernels or best_kernels()
        self._counts = counts
        self._images = None if isinstance(images, int) else self._clipped(images)
        self._masks: PatientMasks | None = PatientMasks(topology, network_hash, tape, seed, batch, HOLD_BYTES)
        self._result: PatientResult | None = None

    @property
    def result(self) -> PatientResult:
        if self._result is None:
            raise ProtocolError("this session has no result", "wait until it is done, or start a new one")
        return self._result

    @property
    def counts(self) -> int:
        """The image whose bucket M learns."""
        return self._counts

    @property
    def masked_weights(self) -> MaskedWeights | None:
        """E, to keep for the next session with this network and dealer seed; None before it came."""
        return self._known

    def begin(self, images: NDArray[np.generic]) -> list[Out]:
        """The images, for a party that is `waiting` for them; the frames to send."""
        if not self.waiting:
            raise ProtocolError("this party is not waiting for images", "give them once, when it is")
        clipped = self._clipped(images)

        def act() -> None:
            self._images = clipped
            self._advance(True)

        return self._guard(act)

    def _clipped(self, images: NDArray[np.generic]) -> IntArray:
        top = self._topology
        if images.shape != (self.batch, *top.input_shape) or images.dtype.kind not in "iu":
            wanted = f"integers of shape {(self.batch, *top.input_shape)}"
            fault = f"the images are {images.dtype} of shape {images.shape}, the network reads {wanted}"
            raise ProtocolError(fault, "prepare the scan for this network")
        made: IntArray = np.clip(images.astype(np.int64), top.input_low, top.input_high)
        return made

    def _check(self, result: PatientResult) -> None:
        """Raises when the result is not to be trusted; nothing is opened then. See `audit.AuditedPatient`."""

    def _forget(self) -> None:
        self._masks = None
        self._images = None

    def _instead(self) -> dict[Kind, int]:
        waits = self._inboxes[Role.MODEL].items
        return {Kind.WEIGHTS: weights_size(self._topology)} if waits and waits[0].kind is Kind.KNOWN else {}

    def _read(self, kind: Kind, item: Item, body: Buffer) -> Any:
        return (kind, bytes(body)) if kind in (Kind.KNOWN, Kind.WEIGHTS) else body

    def _run(self) -> Script:
        m, top, masks = Role.MODEL, self._topology, self._masks
        assert masks is not None
        held = self._known.digest if self._known is not None else bytes(32)
        self._emit(m, Kind.HELLO, top.digest + self._hash + held + masks.fingerprint)
        weights = self._take_weights(*(yield m))
        ahead = walk_ahead(top, masks, weights, self.batch)
        self._send_ahead(masks, ahead)
        if self._images is None:
            yield Role.PATIENT
            assert self._images is not None
        self._lap(-1)
        image = self._images.astype(np.uint32) - masks.image
        self._emit(m, Kind.IMAGE, self._kernels.pack(image.reshape(-1), top.ring_bits))
        for step in clip_steps(top):
            wire = masks.wire(step).reshape(-1)
            for part in chunks(wire.size):
                body = yield m
                reply = self._kernels.answer(step.clip, body, masks.mask(step, part), wire[part])
                self._emit(m, Kind.REPLY, reply)
            masks.drop(step)
            self._lap(step.place)
        yield from self._finish(masks, ahead.logits)

    def _take_weights(self, kind: Kind, body: bytes) -> MaskedWeights:
        if kind is Kind.KNOWN:
            if self._known is None or body != self._known.digest:
                raise ProtocolError("the model names other masked weights than ours", "start a new session")
            return self._known
        self._known = MaskedWeights(self._topology, self._hash, body, kernels=self._kernels)
        return self._known

    def _send_ahead(self, masks: PatientMasks, ahead: Ahead) -> None:
        """Sends p of every clip and of the bucket."""
        top, m = self._topology, Role.MODEL
        for step in clip_steps(top):
            self._emit(m, Kind.MASKED, self._kernels.pack(ahead.clips[step.index], step.clip.width))
        if top.thresholds:
            high = bucket.high_part(top, bucket.margin(top, ahead.logits)) + np.uint32(top.logit_shift > 0)
            self._emit(m, Kind.MASKED_LOGIT, self._kernels.pack(high + masks.bucket().r, top.logit_bits))

    def _finish(self, masks: PatientMasks, z1: Words) -> Generator[Role, Any, None]:
        """Opens the logits, and answers M's opening of the bucket."""
        top, kernels, n = self._topology, self._kernels, self.batch
        body = yield Role.MODEL
        k, bits, count = top.ring_bits, top.logit_bits, n * prod(top.output_shape)
        at = packed_size(count, k)
        z0 = kernels.unpack(body[:at], count, k).reshape(z1.shape)
        carry = np.uint32(top.logit_shift > 0)
        ring = np.uint32((1 << k) - 1)
        t = signed(bucket.high_part(top, z0 & ring) + bucket.high_part(top, z1 & ring) + carry, bits)
        found = None
        if top.thresholds:
            m = kernels.unpack(body[at:], n, bits)
            ends = [bucket.high_part(top, bucket.margin(top, z)) for z in (z0, z1)]
            found = tuple(bucket.buckets_of(top, signed(ends[0] + ends[1] + carry, bits)).tolist())
        result = PatientResult(t, top.logit_scale, found)
        self._check(result)
        if top.thresholds:
            mine = bucket.entry(masks.bucket(), m, self._counts)
            self._emit(Role.MODEL, Kind.ANSWER, self._counts.to_bytes(2, "big") + bytes((mine,)))
        self._result = result
        self._lap(-1)
