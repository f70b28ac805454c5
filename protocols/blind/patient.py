"""P, the patient's side: holds the image, learns the logits and the bucket. Its preprocessing is a seed.

Before the inference it walks the network on masks alone: its share of every wire is known then (an image
mask, the dealer-free s of each layer, the mask of each activation), and with E also z1 = E.r + s of every
accumulator.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from protocols.blind import bucket, masking
from protocols.blind.bytesio import IntArray
from protocols.blind.masks import PatientMasks
from protocols.blind.messages import Kind, Role
from protocols.blind.party import Party, Script
from protocols.blind.ring import apply_term, mod, pack, signed, unpack
from protocols.blind.schedule import FLAGS, schedule
from protocols.blind.secret import Secret
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.blind.walk import AffineStep, ClipStep, clip_steps, walk
from protocols.blind.weights import MaskedWeights
from protocols.errors import ProtocolError


@dataclass(frozen=True, repr=False, eq=False)
class PatientResult(Secret):
    """logits: opened logits in units of `scale`, shape `Topology.output_shape`. bucket: None without
    thresholds.

    saturated: for a 'calibrated' network, activations that were cut at their cap, else None. trusted:
    False when there were more of them than the network's `saturation_limit`: the image is unlike those it
    was made for.
    """

    logits: IntArray
    scale: float
    bucket: int | None
    saturated: int | None
    trusted: bool

    @property
    def values(self) -> NDArray[np.float64]:
        """The logits as real numbers."""
        return self.logits * self.scale


class PatientParty(Party):
    """seed: 32 fresh bytes that only the dealer shares. known: masked weights kept from an earlier session."""

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
            raise ProtocolError(
                f"the image is
                {image.shape}
              
                 of
              
                
                 {image.dtype}, the
              
               
                
                   network reads
              
               
                
                 
                    integers
              
              
                
                  
                    
                         {topology.input_shape}", "prepare the scan for this network",
         
           
             
               
                    )
        super().__init__(topology, session, used, known is not
        None) self._topology, self._hash = topology, network_hash
        self._image = np.clip(image.astype(np.int64), topology.input_low, topology.input_high)
        self._masks: PatientMasks | None = PatientMasks(topology, network_hash, session, seed)
        self._known = known
        self._result: PatientResult | None = None
        self.rounding: list[IntArray] = []

   
    @property def result(self) -> PatientResult:
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
        first = self._inboxes[Role.MODEL].items[0].kind
        weights = next(i for i in schedule(self._topology) if i.kind is Kind.WEIGHTS)
        return {Kind.WEIGHTS: weights.size} if first is Kind.KNOWN else {}

    def _run(self) -> Script:
        m, top = Role.MODEL, self._topology
        masks = self._masks
        assert masks is not None
        held = self._known.digest if self._known is not None else bytes(32)
        self._emit(m, Kind.HELLO, top.digest + self._hash + held + masks.fingerprint)
        weights = self._take_weights(*(yield m))
        z1 = self._ahead(masks, weights)
        cut = 0
        for step in clip_steps(top):
            _, body = yield m
            cut += self._clip(step, masks, body)
        _, body = yield m
        self._finish(masks, z1, cut, body)

    def _take_weights(self, kind: Kind, body: bytes) -> MaskedWeights:
        if kind is Kind.KNOWN:
            if self._known is None or body != self._known.digest:
                raise ProtocolError("the model names other masked weights than ours", "start a new session")
            return self._known
        self._known = MaskedWeights(self._topology, self._hash, body)
        return self._known

    def _ahead(self, masks: PatientMasks, weights: MaskedWeights) -> IntArray:
        """Sends all that is known ahead; returns P's share of the logits."""
        top, m, k = self._topology, Role.MODEL, self._topology.ring_bits
        self._emit(m, Kind.IMAGE, pack(mod(self._image - masks.image, k), k))
        script = walk(top, masks.image)
        try:
            step, sources = next(script)
            while True:
                if isinstance(step, AffineStep):
                    z = masks.linear(step)
                    for term, e, r in zip(step.node.terms, weights.layers[step.index], sources, strict=True):
                        z = z + apply_term(term, e, r, k)
                    made = mod(z, k)
                else:
                    made = self._mask_clip(step, masks, mod(sources[0], k))
                step, sources = script.send(made)
        except StopIteration as end:
            z1: IntArray = end.value
        if top.thresholds:
            share = bucket.margin(top, z1)
            t1 = (share >> top.logit_shift) + (top.logit_shift > 0)
            p = np.array([(t1 + masks.bucket().r) % (1 << top.logit_bits)])
            self._emit(m, Kind.MASKED_LOGIT, pack(p, top.logit_bits))
        return z1

    def _mask_clip(self, step: ClipStep, masks: PatientMasks, z1: IntArray) -> IntArray:
        """Sends p of one clip; returns the mask of the wire it makes."""
        mask, wire = masks.clip(step)
        t1 = (z1.reshape(-1) >> step.shift) + (step.shift > 0)
        self._emit(Role.MODEL, Kind.MASKED, pack(mod(t1 + mask.words[0], step.bits), step.bits))
        return wire

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
        top = self._topology
        k, bits, shift = top.ring_bits, top.logit_bits, top.logit_shift
        count, counted = prod(top.output_shape), top.overflow == "calibrated"
        at = (k * (count + counted) + 7) // 8
        words = unpack(body[:at], count + counted, k)
        z0, z1 = words[:count], mod(z1.reshape(-1), k)
        t = signed((z0 >> shift) + (z1 >> shift) + (shift > 0), bits)
        found = None
        if top.thresholds:
            m = int(unpack(body[at:], 1, bits)[0])
            self._emit(Role.MODEL, Kind.ANSWER, bytes((bucket.entry(masks.bucket(), m),)))
            found = top.bucket_of(self._margin(z0, z1))
        saturated = int((int(words[count]) + cut) % (1 << k)) if counted else None
        trusted = saturated is None or saturated <= top.saturation_limit
        self._result = PatientResult(t.reshape(top.output_shape), top.logit_scale, found, saturated, trusted)

    def _margin(self, z0: IntArray, z1: IntArray) -> int:
        top = self._topology
        ends = bucket.margin(top, z0), bucket.margin(top, z1)
        t = sum(e >> top.logit_shift for e in ends) + (top.logit_shift > 0)
        return int(signed(np.array([t]), top.logit_bits)[0])




