"""What the seed of patient and dealer expands to in one session: P's half of all preprocessing.

Each piece has a stream of its own, so it can be drawn in any order and again (P draws the mask of a clip
when it sends p, and once more when it answers, rather than keep the tables).
"""

from __future__ import annotations

from math import prod

from protocols.blind import bucket, masking
from protocols.blind.bytesio import IntArray
from protocols.blind.prg import Stream
from protocols.blind.secret import Secret
from protocols.blind.topology import Topology
from protocols.blind.walk import AffineStep, ClipStep


class PatientMasks(Secret):
    """fingerprint: 32 public bytes by which M sees that P and the dealer share a seed."""

    def __init__(self, topology: Topology, network_hash: bytes, session: bytes, seed: bytes) -> None:
        self._topology, self._seed = topology, seed
        self._context = b"session", session, topology.digest, network_hash
        self._clips: dict[int, tuple[masking.Mask, IntArray]] = {}
        self.fingerprint = self._stream(b"fingerprint").octets(32).tobytes()
        shape, k = topology.input_shape, topology.ring_bits
        self.image: IntArray = self._stream(b"image").words(prod(shape), k).reshape(shape)

    def _stream(self, what: bytes, index: int = 0) -> Stream:
        return Stream(self._seed, *self._context, what, index.to_bytes(4, "big"))

    def linear(self, step: AffineStep) -> IntArray:
        """s of an affine layer."""
        words = self._stream(b"linear", step.index).words(step.size, self._topology.ring_bits)
        return words.reshape(step.shape)

    def clip(self, step: ClipStep) -> tuple[masking.Mask, IntArray]:
        """P's share of a clip's preprocessing, and the mask of the wire it makes."""
        if step.index not in self._clips:
            stream = self._stream(b"clip", step.index)
            self._clips[step.index] = masking.draw_mask(step, stream, self._topology.ring_bits)
        return self._clips[step.index]

    def drop(self, step: ClipStep) -> None:
        """Forgets a clip's masks once they are spent."""
        self._clips.pop(step.index, None)

    def bucket(self) -> bucket.BucketMask:
        return bucket.draw_bucket_mask(self._topology, self._stream(b"bucket"))
