"""What the seed of patient and dealer expands to for one tape: P's half of all preprocessing.

Each piece has a stream of its own, so it can be drawn in any order and again: P draws masks of wires and
indices before the inference, and tables as it answers (or ahead too, as far as its memory allows).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from protocols.blind import bucket
from protocols.blind.kernels.interface import CELL, INDEX_BYTES, Indices, Mask, Words
from protocols.blind.masking import CHUNK, chunks
from protocols.blind.prg import Stream
from protocols.blind.secret import Secret
from protocols.blind.topology import Topology
from protocols.blind.walk import AffineStep, ClipStep


class PatientMasks(Secret):
    """fingerprint: 32 public bytes by which M sees that P's seed is that of its tape.

    budget: bytes of tables that `hold` may keep in memory.
    """

    def __init__(
        self, topology: Topology, network_hash: bytes, tape: bytes, seed: bytes, batch: int, budget: int = 0
    ) -> None:
        self._topology, self._seed, self._batch, self._budget = topology, seed, batch, budget
        self._context = b"tape", tape, topology.digest, network_hash, batch.to_bytes(4, "big")
        self._held: dict[tuple[int, int], Mask] = {}
        self._wires: dict[int, Words] = {}
        self._index: dict[int, Indices] = {}
        self.fingerprint = self._stream(b"fingerprint").octets(32).tobytes()
        self.image: Words = self._stream(b"image").words(batch, *topology.input_shape)

    def _stream(self, what: bytes, *indices: int) -> Stream:
        return Stream(self._seed, *self._context, what, *(i.to_bytes(4, "big") for i in indices))

    def linear(self, step: AffineStep) -> Words:
        """s of an affine layer, (n, C, H, W)."""
        return self._stream(b"linear", step.index).words(self._batch, *step.shape)

    def wire(self, step: ClipStep) -> Words:
        """The mask of the wire that a clip makes, (n, C, H, W)."""
        if step.index not in self._wires:
            self._wires[step.index] = self._stream(b"wire", step.index).words(self._batch, *step.shape)
        return self._wires[step.index]

    def index(self, step: ClipStep) -> Indices:
        """P's share of r, flat, mod 2^16."""
        if step.index not in self._index:
            drawn = self._stream(b"index", step.index).octets(INDEX_BYTES * self._batch * step.size)
            self._index[step.index] = drawn.view("<u2")
        return self._index[step.index]

    def mask(self, step: ClipStep, part: slice) -> Mask:
        """P's share of one chunk of a clip."""
        key = step.index, part.start // CHUNK
        held = self._held.pop(key, None)
        return held if held is not None else self._draw(step, part)

    def _draw(self, step: ClipStep, part: slice) -> Mask:
        stream, count = self._stream(b"clip", step.index, part.start // CHUNK), part.stop - part.start
        return Mask(step.clip, self.index(step)[part], stream.octets(count * step.clip.element_bytes))

    def cells(self, step: ClipStep, part: slice) -> Iterator[tuple[slice, Mask]]:
        """One chunk's share cell by cell, in memory that the next cell overwrites: for the dealer."""
        stream, index = self._stream(b"clip", step.index, part.start // CHUNK), self.index(step)[part]
        size = step.clip.element_bytes
        held = np.empty(min(CELL, index.size) * size, np.uint8)
        for start in range(0, index.size, CELL):
            some = index[start : start + CELL]
            stream.fill(held[: some.size * size])
            yield slice(start, start + some.size), Mask(step.clip, some, held[: some.size * size])

    def hold(self, step: ClipStep) -> None:
        """Draws a clip's tables now, as far as the budget allows."""
        for part in chunks(self._batch * step.size):
            size = (part.stop - part.start) * step.clip.element_bytes
            if size > self._budget:
                return
            self._budget -= size
            self._held[step.index, part.start // CHUNK] = self._draw(step, part)

    def drop(self, step: ClipStep) -> None:
        """Forgets a clip's masks once they are spent."""
        self._wires.pop(step.index, None)
        self._index.pop(step.index, None)

    def bucket(self) -> bucket.BucketMask:
        """P's share of the confidence bucket's tables."""
        return bucket.draw_bucket_mask(self._topology, self._stream(b"bucket"), self._batch)
