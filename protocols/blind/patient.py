"""P, the patient's side: holds the image, learns the logits and the bucket. Its preprocessing is a seed."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from protocols.blind import bucket, masking
from protocols.blind.ahead import Ahead, walk_ahead
from protocols.blind.bytesio import IntArray
from protocols.blind.masks import PatientMasks
from protocols.blind.messages import Kind, Role
from protocols.blind.party import Party, Script
from protocols.blind.ring import mod, pack, packed_size, signed, unpack
from protocols.blind.schedule import FLAGS, weights_size
from protocols.blind.secret import Secret
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.blind.walk import ClipStep, clip_steps
from protocols.blind.weights import MaskedWeights
from protocols.errors import ProtocolError


@dataclass(frozen=True, repr=False, eq=False)
class PatientResult(Secret):
    """What P learns.

    logits: opened logits in units of `scale`, shape `Topology.output_shape`. bucket: None without thresholds.
    saturated: for a 'calibrated' network, how many activations were cut at their cap, else None.
    trusted: False when that is more than the network's `saturation_limit`: the image is unlike those that the
    network was made for, an accumulator may have wrapped, and the logits mean nothing.
    """

    logits: IntArray
    scale: float
    bucket: int | None
    saturated: int | None
    trusted: bool

    @property
    def values(self) -> NDArray[np.float64]:
        """The logits as real numbers."""
        return self.logits.astype(np.float64) * np.float64(self.scale)


class PatientParty(Party):
    """P in one session.

    image: integers of the network's input shape; clipped to its input range here. seed: 32 fresh bytes that
    the dealer alone shares. known: the masked weights kept from an earlier session, if any.
    """

    role = Role.PATIENT

    def __init__(
        self,
        topology: Topology,
        network_hash: bytes,
        image: NDArray[np.generic],
        session: bytes,
        seed: bytes,
        used: UsedSessions,
        known: MaskedWeights | None = None,
    ) -> None:
        if image.shape != topology.input_shape or image.dtype.kind not in "iu":
            wanted = f"integers of shape {topology.input_shape}"
            fault = f"the image is {image.dtype} of shape {image.shape}, the network reads {wanted}"
            raise ProtocolError(fault, "prepare the scan for this network")
        super().__init__(topology, session, used, known is not None)
        self._topology, self._hash, self._known = topology, network_hash, known
        self._image = np.clip(image.astype(np.int64), topology.input_low, topology.input_high)
        self._masks: PatientMasks | None = PatientMasks(topology, network_hash, session, seed)
        self._result: PatientResult | None = None

    @property
    def result(self) -> PatientResult:
        if self._result is None:
            raise ProtocolError("this session has no result", "wait until it is done, or start a new one")
        return self._result

    @property
    def masked_weights(self) -> MaskedWeights | None:
        """E, to keep for the next session with this network and dealer seed; None before it came."""
        return self._known

    def _forget(self) -> None:
        self._masks = None
        self._image = np.zeros(0, np.int64)

    def _instead(self) -> dict[Kind, int]:
        waits = self._inboxes[Role.MODEL].items
        return {Kind.WEIGHTS: weights_size(self._topology)} if waits and waits[0].kind is Kind.KNOWN else {}

    def _run(self) -> Script:
        m, top, masks = Role.MODEL, self._topology, self._masks
        assert masks is not None
        held = self._known.digest if self._known is not None else bytes(32)
        self._emit(m, Kind.HELLO, top.digest + self._hash + held + masks.fingerprint)
        weights = self._take_weights(*(yield m))
        ahead = walk_ahead(top, masks, weights)
        self._send_ahead(masks, ahead)
        cut = 0
        for step in clip_steps(top):
            _, body = yield m
            cut += self._clip(step, masks, body)
        _, body = yield m
        self._finish(masks, ahead.logits, cut, body)

    def _take_weights(self, kind: Kind, body: bytes) -> MaskedWeights:
        if kind is Kind.KNOWN:
            if self._known is None or body != self._known.digest:
                raise ProtocolError("the model names other masked weights than ours", "start a new session")
            return self._known
        self._known = MaskedWeights(self._topology, self._hash, body)
        return self._known

    def _send_ahead(self, masks: PatientMasks, ahead: Ahead) -> None:
        """Sends the masked image, and p of every clip and of the bucket."""
        top, m, k = self._topology, Role.MODEL, self._topology.ring_bits
        self._emit(m, Kind.IMAGE, pack(mod(self._image - masks.image, k), k))
        for step, z1 in zip(clip_steps(top), ahead.clips, strict=True):
            t1 = (z1 >> step.shift) + (step.shift > 0)
            p = mod(t1 + masks.clip(step)[0].words[0], step.bits)
            self._emit(m, Kind.MASKED, pack(p, step.bits))
        if top.thresholds:
            high = bucket.high_part(top, bucket.margin(top, ahead.logits)) + (top.logit_shift > 0)
            last = np.array([(high + masks.bucket().r) % (1 << top.logit_bits)])
            self._emit(m, Kind.MASKED_LOGIT, pack(last, top.logit_bits))

    def _clip(self, step: ClipStep, masks: PatientMasks, body: bytes) -> int:
        """Answers M's opening of one clip; returns P's share of the count of cut elements."""
        k, b = self._topology.ring_bits, step.bits
        mask, wire = masks.clip(step)
        word = unpack(body, step.size, b + FLAGS)
        m = mod(word, b)
        mine = masking.look_up(step, mask, m)
        opened = mine ^ masking.unflag(word >> b) ^ masking.flips(step, m)
        y = masking.share_of_clip(step, mask, m, opened, False) - wire.reshape(-1)
        self._emit(Role.MODEL, Kind.REPLY, pack(mod(y, k) | masking.flag(mine) << k, k + FLAGS))
        masks.drop(step)
        return masking.share_of_count(mask, opened, False) if step.counted else 0

    def _finish(self, masks: PatientMasks, z1: IntArray, cut: int, body: bytes) -> None:
        """Opens the logits, and answers M's opening of the bucket."""
        top = self._topology
        k, bits, shift = top.ring_bits, top.logit_bits, top.logit_shift
        count, counted = prod(top.output_shape), top.overflow == "calibrated"
        at = packed_size(count + counted, k)
        words = unpack(body[:at], count + counted, k)
        z0 = words[:count]
        t = signed((z0 >> shift) + (z1 >> shift) + (shift > 0), bits)
        found = None
        if top.thresholds:
            m = int(unpack(body[at:], 1, bits)[0])
            self._emit(Role.MODEL, Kind.ANSWER, bytes((bucket.entry(masks.bucket(), m),)))
            ends = [bucket.high_part(top, bucket.margin(top, z)) for z in (z0, z1)]
            found = top.bucket_of(int(signed(np.array([sum(ends) + (shift > 0)]), bits)[0]))
        saturated = (int(words[count]) + cut) % (1 << k) if counted else None
        trusted = saturated is None or saturated <= top.saturation_limit
        self._result = PatientResult(t.reshape(top.output_shape), top.logit_scale, found, saturated, trusted)
