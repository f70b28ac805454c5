"""M, the model's side: holds the weights, learns the confidence bucket alone.

Online it does one exact integer layer after another on masked wires x - r: z0 = W.(x - r) + u + bias, u =
A.r - s from the dealer's tape; P holds z1 = E.r + s; z0 + z1 = W.x + bias.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from protocols.blind import bucket
from protocols.blind.kernels.interface import Buffer, Mask, Words
from protocols.blind.masking import WINDOW, chunk, chunks
from protocols.blind.messages import Item, Kind, Role, bad_frame
from protocols.blind.party import Clock, Party, Script
from protocols.blind.session import UsedSessions
from protocols.blind.walk import AffineStep, ClipStep, clip_steps, walk
from protocols.blind.weights import ModelWeights
from protocols.errors import ProtocolError, SeedsDiffer


@dataclass(frozen=True)
class ModelResult:
    """bucket: 0 unsure .. 3 very sure, of the image that counts; None for a network without thresholds."""

    bucket: int | None


class ModelParty(Party):
    """M in one session. weights: shared with the tape's dealer by their seed. batch: images, as in the tape."""

    role = Role.MODEL

    def __init__(
        self,
        weights: ModelWeights,
        session: bytes,
        tape: bytes,
        used: UsedSessions,
        batch: int = 1,
        clock: Clock | None = None,
    ) -> None:
        topology = weights.network.topology
        super().__init__(topology, session, tape, used, batch, clock=clock)
        self._weights: ModelWeights | None = weights
        self._topology, self._kernels = topology, weights.kernels
        self._clips = clip_steps(topology)
        self._replies = 0
        self._result: ModelResult | None = None

    @property
    def result(self) -> ModelResult:
        if self._result is None:
            raise ProtocolError("this session has no result", "wait until it is done, or start a new one")
        return self._result

    def _forget(self) -> None:
        self._weights = None

    def _free(self, frm: Role) -> bool:
        """Both may send ahead of need; `_read` refuses what answers a message that was not sent yet."""
        return True

    def _in_turn(self, kind: Kind) -> bool:
        said = self._emitted
        if kind is Kind.REPLY:
            self._replies += 1
            return self._replies <= said[Kind.OPEN]
        if kind in (Kind.MASKED, Kind.MASKED_LOGIT, Kind.IMAGE):
            return said[Kind.WEIGHTS] + said[Kind.KNOWN] > 0
        return kind is not Kind.ANSWER or said[Kind.LOGITS] > 0

    def _read(self, kind: Kind, item: Item, body: Buffer) -> Any:
        top, n, kernels = self._topology, self.batch, self._kernels
        if not self._in_turn(kind):
            raise bad_frame("its sender is not to speak now")
        if kind is Kind.LINEAR:
            return self._with_bias(
                item.index, kernels.unpack(body, n * prod(top.shapes[item.place + 1]), top.ring_bits)
            )
        if kind is Kind.MASKED:
            step = self._clips[item.index]
            return kernels.unpack(body, n * step.size, step.clip.width)
        if kind is Kind.TABLES:
            step = self._clips[item.index]
            part = chunk(n * step.size, item.part)
            return Mask.read(step.clip, part.stop - part.start, body)
        if kind is Kind.MASKED_LOGIT:
            return kernels.unpack(body, n, top.logit_bits)
        if kind is Kind.BUCKET:
            return bucket.read_bucket_correction(top, body, n, kernels)
        if kind is Kind.IMAGE:
            shape = n, *top.input_shape
            return kernels.unpack(body, prod(shape), top.ring_bits).reshape(shape)
        return body if kind is Kind.REPLY else bytes(body)

    def _run(self) -> Script:
        p, top = Role.PATIENT, self._topology
        hello = yield p
        seeds = yield Role.DEALER
        self._greet(hello, seeds)
        masked: list[Words] = []
        for _ in self._clips:
            masked.append((yield p))
        ahead: Words | None = (yield p) if top.thresholds else None
        image = yield p
        self._lap(-1)
        z0 = yield from self._infer(image, masked)
        yield from self._finish(z0, ahead)

    def _greet(self, hello: bytes, seeds: bytes) -> None:
        """Checks that all three speak of one network and one set of seeds; sends the masked weights."""
        weights = self._weights
        assert weights is not None
        masked = weights.masked
        name, held, fingerprint = hello[:64], hello[64:96], hello[96:]
        if name != self._topology.digest + weights.network_hash:
            raise ProtocolError("the patient asks for another network", "quote the network again")
        if seeds != fingerprint + masked.epoch:
            raise SeedsDiffer(
                "the dealer gave the patient another seed than that of the tape, or holds another of the model",
                "take another tape",
            )
        if held == masked.digest:
            self._emit(Role.PATIENT, Kind.KNOWN, held)
        else:
            self._emit(Role.PATIENT, Kind.WEIGHTS, masked.encode())

    def _infer(self, image: Words, masked: list[Words]) -> Generator[Role, Any, Words]:
        """The layers in turn; returns M's share of the logits."""
        script = walk(self._topology, image)
        try:
            step, sources = next(script)
            while True:
                if isinstance(step, AffineStep):
                    u = yield Role.DEALER
                    made = self._affine(step, sources, u.reshape(self.batch, *step.shape))
                else:
                    made = yield from self._clip(step, sources[0], masked[step.index])
                    masked[step.index] = made[:0]
                self._lap(step.place)
                step, sources = script.send(made)
        except StopIteration as end:
            z0: Words = end.value
            return z0

    def _with_bias(self, index: int, u: Words) -> Words:
        """u + bias, ahead of the inference, flat."""
        weights = self._weights
        assert weights is not None
        bias = weights.biases[index].astype(np.uint32)
        made = u.reshape(self.batch, len(bias), -1)
        made += bias[:, None]
        return u

    def _affine(self, step: AffineStep, sources: list[Words], z: Words) -> Words:
        weights = self._weights
        assert weights is not None
        weights.linear.add(step, sources, z)
        return z

    def _clip(self, step: ClipStep, z0: Words, p: Words) -> Generator[Role, Any, Words]:
        """Opens every chunk, closes it with P's reply: the masked wire x - r."""
        flat = np.ascontiguousarray(z0).reshape(-1)
        made = np.empty_like(flat)
        waiting: deque[tuple[slice, Words, Mask]] = deque()
        for part in chunks(flat.size):
            mask = yield Role.DEALER
            message, opened = self._kernels.open(step.clip, flat[part], p[part], mask)
            self._emit(Role.PATIENT, Kind.OPEN, message)
            waiting.append((part, opened, mask))
            if len(waiting) == WINDOW:
                yield from self._close(step, made, *waiting.popleft())
        while waiting:
            yield from self._close(step, made, *waiting.popleft())
        return made.reshape(self.batch, *step.shape)

    def _close(
        self, step: ClipStep, made: Words, part: slice, opened: Words, mask: Mask
    ) -> Generator[Role, Any, None]:
        reply = yield Role.PATIENT
        made[part] = self._kernels.close(step.clip, opened, reply, mask)

    def _finish(self, z0: Words, ahead: Words | None) -> Generator[Role, Any, None]:
        """Opens the logits to P, and the bucket to both."""
        top, p, kernels = self._topology, Role.PATIENT, self._kernels
        body = kernels.pack(np.ascontiguousarray(z0).reshape(-1), top.ring_bits)
        if ahead is None:
            self._emit(p, Kind.LOGITS, body)
            self._result = ModelResult(None)
            self._lap(-1)
            return
        mask = yield Role.DEALER
        m = bucket.high_part(top, bucket.margin(top, z0)) + mask.r + ahead
        m &= np.uint32((1 << top.logit_bits) - 1)
        self._emit(p, Kind.LOGITS, body + kernels.pack(m, top.logit_bits))
        answer = yield p
        counts, theirs = int.from_bytes(answer[:2], "big"), answer[2]
        if theirs > 3 or counts >= self.batch:
            raise ProtocolError("the patient's answer is no bucket share", "end the session")
        self._result = ModelResult(bucket.entry(mask, m, counts) ^ theirs)
        self._lap(-1)
