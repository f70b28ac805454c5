"""M, the model's side: holds the weights, learns the confidence bucket alone.

Online it does one exact integer layer after another on masked wires x - r: z0 = W.(x - r) + u + bias, u =
A.r - s from the dealer; P holds z1 = E.r + s; z0 + z1 = W.x + bias.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from math import prod

import numpy as np

from protocols.blind import bucket, masking
from protocols.blind.bytesio import IntArray
from protocols.blind.messages import Kind, Role
from protocols.blind.network import Network
from protocols.blind.party import Message, Party, Script
from protocols.blind.ring import apply_term, mod, pack, unpack
from protocols.blind.schedule import FLAGS
from protocols.blind.session import UsedSessions
from protocols.blind.walk import AffineStep, ClipStep, clip_steps, walk
from protocols.blind.weights import MaskedWeights
from protocols.errors import ProtocolError


@dataclass(frozen=True)
class ModelResult:
    """bucket: 0 unsure .. 3 very sure; None for a network without thresholds."""

    bucket: int | None


class ModelParty(Party):
    """M in one session. masked: `mask_weights(network, seed)`, the seed shared with this session's dealer."""

    role = Role.MODEL

    def __init__(self, network: Network, masked: MaskedWeights, session: bytes, used: UsedSessions) -> None:
        super().__init__(network.topology, session, used)
        self._network: Network | None = network
        self._masked: MaskedWeights | None = masked
        self._topology = network.topology
        self._cut = 0
        self._result: ModelResult | None = None

    @property
    def result(self) -> ModelResult:
        if self._result is None:
            raise ProtocolError("this session has no result", "wait until it is done, or start a new one")
        return self._result

    def _forget(self) -> None:
        self._network = self._masked = None

    def _run(self) -> Script:
        p, top, k = Role.PATIENT, self._topology, self._topology.ring_bits
        _, hello = yield p
        _, seeds = yield Role.DEALER
        self._greet(hello, seeds)
        _, body = yield p
        image = unpack(body, prod(top.input_shape), k).reshape(top.input_shape)
        masked: list[IntArray] = []
        for step in clip_steps(top):
            _, body = yield p
            masked.append(unpack(body, step.size, step.bits))
        ahead = 0
        if top.thresholds:
            _, body = yield p
            ahead = int(unpack(body, 1, top.logit_bits)[0])
        z0 = yield from self._infer(image, masked)
        yield from self._finish(z0, ahead)

    def _greet(self, hello: bytes, seeds: bytes) -> None:
        """Checks that all three speak of one network and one set of seeds; sends the masked weights."""
        network, masked = self._network, self._masked
        assert network is not None
        assert masked is not None
        name, held, fingerprint = hello[:64], hello[64:96], hello[96:]
        if name != self._topology.digest + network.network_hash():
            raise ProtocolError("the patient asks for another network", "quote the network again")
        if seeds != fingerprint + masked.epoch:
            raise ProtocolError("the dealer holds other seeds than patient or model", "agree on seeds again")
        if held == masked.digest:
            self._emit(Role.PATIENT, Kind.KNOWN, held)
        else:
            self._emit(Role.PATIENT, Kind.WEIGHTS, masked.encode())

    def _infer(self, image: IntArray, masked: list[IntArray]) -> Generator[Role, Message, IntArray]:
        """The layers in turn; returns M's share of the logits."""
        k = self._topology.ring_bits
        script = walk(self._topology, image)
        try:
            step, sources = next(script)
            while True:
                _, body = yield Role.DEALER
                if isinstance(step, AffineStep):
                    made = self._affine(step, sources, unpack(body, step.size, k))
                else:
                    mask = masking.read_correction(step, body, k)
                    m, mine = self._open(step, mask, mod(sources[0], k), masked[step.index])
                    _, reply = yield Role.PATIENT
                    made = self._close(step, mask, m, mine, reply)
                step, sources = script.send(made)
        except StopIteration as end:
            z0: IntArray = end.value
            return z0

    def _affine(self, step: AffineStep, sources: list[IntArray], u: IntArray) -> IntArray:
        network, k = self._network, self._topology.ring_bits
        assert network is not None
        z = u.reshape(step.shape) + network.biases[step.index][:, None, None]
        for term, w, x in zip(step.node.terms, network.weights[step.index], sources, strict=True):
            z = z + apply_term(term, w, x, k)
        return mod(z, k)

    def _open(
        self, step: ClipStep, mask: masking.Mask, z0: IntArray, p: IntArray
    ) -> tuple[IntArray, IntArray]:
        """Sends m and M's table bits; returns them, the flips applied."""
        m = mod((z0.reshape(-1) >> step.shift) + mask.words[0] + p, step.bits)
        mine = masking.look_up(step, mask, m)
        word = m | masking.flag(mine) << step.bits
        self._emit(Role.PATIENT, Kind.OPEN, pack(word, step.bits + FLAGS))
        return m, mine ^ masking.flips(step, m)

    def _close(
        self, step: ClipStep, mask: masking.Mask, m: IntArray, mine: IntArray, reply: bytes
    ) -> IntArray:
        """The masked wire x - r, from P's reply."""
        k = self._topology.ring_bits
        word = unpack(reply, step.size, k + FLAGS)
        opened = mine ^ masking.unflag(word >> k)
        if step.counted:
            self._cut += masking.share_of_count(mask, opened, True)
        y = masking.share_of_clip(step, mask, m, opened, True) + mod(word, k)
        return mod(y, k).reshape(step.shape)

    def _finish(self, z0: IntArray, ahead: int) -> Script:
        """Opens the logits to P, and the bucket to both."""
        top, p = self._topology, Role.PATIENT
        k, bits = top.ring_bits, top.logit_bits
        words = [mod(z0.reshape(-1), k)]
        if top.overflow == "calibrated":
            words.append(np.array([self._cut % (1 << k)]))
        body = pack(np.concatenate(words), k)
        if not top.thresholds:
            self._emit(p, Kind.LOGITS, body)
            self._result = ModelResult(None)
            return
        _, correction = yield Role.DEALER
        mask = bucket.read_bucket_correction(top, correction)
        m = (bucket.high_part(top, bucket.margin(top, z0)) + mask.r + ahead) % (1 << bits)
        self._emit(p, Kind.LOGITS, body + pack(np.array([m]), bits))
        _, answer = yield p
        if answer[0] > 3:
            raise ProtocolError("the patient's answer is no bucket share", "end the session")
        self._result = ModelResult(bucket.entry(mask, m) ^ answer[0])
