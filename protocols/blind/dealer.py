"""D, the dealer: deals correlated randomness, sees neither image, weights nor anything opened, and
receives nothing.

It knows the seed of P and the seed of M; from them, and fresh randomness of its own, it sends M what makes
the halves fit: u = A.r - s for each affine layer, M's share of the tables for each clip and for the bucket.
"""

from __future__ import annotations

import numpy as np

from protocols.blind import bucket, masking
from protocols.blind.bytesio import IntArray
from protocols.blind.masks import PatientMasks
from protocols.blind.messages import Kind, Role
from protocols.blind.party import Party, Script
from protocols.blind.prg import Stream
from protocols.blind.ring import apply_term, mod, pack
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.blind.walk import AffineStep, walk
from protocols.blind.weights import epoch_of, pads


class DealerParty(Party):
    """patient_seed: shared with P for this session. model_seed: shared with M for this network. fresh: its
    own.

    All is sent by `start`; a dealer is done then. It refuses every frame.
    """

    role = Role.DEALER

    def __init__(
        self,
        topology: Topology,
        network_hash: bytes,
        session: bytes,
        patient_seed: bytes,
        model_seed: bytes,
        fresh: bytes,
        used: UsedSessions,
    ) -> None:
        super().__init__(topology, session, used)
        self._topology, self._hash = topology, network_hash
        self._masks: PatientMasks | None = PatientMasks(topology, network_hash, session, patient_seed)
        self._seeds = model_seed, fresh

    @property
    def result(self) -> None:
        """A dealer learns nothing."""

    def _forget(self) -> None:
        self._masks, self._seeds = None, (b"", b"")

    def _fresh(self, what: bytes, index: int) -> Stream:
        context = b"dealer", self.session, self._topology.digest, self._hash
        return Stream(self._seeds[1], *context, what, index.to_bytes(4, "big"))

    def _run(self) -> Script:
        m, top, k, masks = Role.MODEL, self._topology, self._topology.ring_bits, self._masks
        assert masks is not None
        epoch = epoch_of(top, self._hash, self._seeds[0])
        self._emit(m, Kind.SEEDS, masks.fingerprint + epoch)
        a = pads(top, self._hash, self._seeds[0])
        script = walk(top, masks.image)
        try:
            step, sources = next(script)
            while True:
                if isinstance(step, AffineStep):
                    u: IntArray = -masks.linear(step)
                    for term, pad, r in zip(step.node.terms, a[step.index], sources, strict=True):
                        u = u + apply_term(term, pad, r, k)
                    self._emit(m, Kind.LINEAR, pack(mod(u, k), k))
                    made: IntArray = np.zeros(step.shape, np.int64)
                else:
                    mask, made = masks.clip(step)
                    body = masking.deal(step, mask, self._fresh(b"clip", step.index), k)
                    self._emit(m, Kind.TABLES, body)
                    masks.drop(step)
                step, sources = script.send(made)
        except StopIteration:
            pass
        if top.thresholds:
            self._emit(m, Kind.BUCKET, bucket.deal_bucket(top, masks.bucket(), self._fresh(b"bucket", 0)))
        yield from ()
