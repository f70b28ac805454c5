"""An affine layer without a dealer: M gets u = W.r - s, r and s of P's seed, by encryption that adds and multiplies.

A is W itself, so E = W - A = 0 shows P nothing, and the online phase stays as it is.
1. P -> M: r of each term's wire, encrypted under P's key, packed as `packing.py` says.
2. M -> P: W.r + t, term by term, t fresh and uniform at every coefficient, also where no output lies; encrypted anew
   and its noise drowned, so that P, who has the key, sees W.r + t mod 2^K and nothing else.
3. P -> M: y - s, y the sum over the terms; M takes t away.

Who learns what: P sees uniform words (t); M sees ciphertexts, and W.r + t - s, uniform by s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from protocols.blind.bytesio import IntArray
from protocols.blind.kernels.interface import Kernels, Words
from protocols.blind.pairwise.packing import DEGREE, Packing
from protocols.blind.pairwise.talk import Talk
from protocols.blind.prg import Stream
from protocols.blind.walk import AffineStep
from protocols.errors import ProtocolError

MAX_SEALED = 1 << 19  # bytes of one ciphertext, at most


class Keyholder(Protocol):
    """P's side of the encryption."""

    def seal(self, coefficients: Words) -> bytes:
        """The ciphertext of (N,) words mod 2^K."""

    def unseal(self, sealed: bytes) -> Words:
        """Its (N,) coefficients mod 2^K; `ProtocolError` for what is none."""


class Evaluator(Protocol):
    """M's side: it has P's public key. The objects are its own."""

    def read(self, sealed: bytes) -> Any:
        """A ciphertext made ready; `ProtocolError` for what is none."""

    def kernel(self, coefficients: IntArray) -> Any:
        """Signed (N,) weights made ready."""

    def combine(self, pairs: Sequence[tuple[Any, Any]], mask: Words, fresh: Stream) -> bytes:
        """The sum of products of (ciphertext, kernel) plus mask (N,), encrypted so that its noise tells nothing."""


def bundle(parts: Sequence[bytes]) -> bytes:
    """Ciphertexts one after the other, each behind its length."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def unbundle(message: bytes, count: int) -> list[bytes]:
    """The inverse; `ProtocolError` unless there are exactly `count`."""
    made, at = [], 0
    for _ in range(count):
        size = int.from_bytes(message[at : at + 4], "big")
        end = at + 4 + size
        if not 0 < size <= MAX_SEALED or end > len(message):
            raise _wrong()
        made.append(message[at + 4 : end])
        at = end
    if at != len(message):
        raise _wrong()
    return made


def _wrong() -> ProtocolError:
    return ProtocolError(
        "a message of ciphertexts has the wrong length", "end the session; its sender is at fault"
    )


def patient_linear(
    packings: Sequence[Packing],
    sources: Sequence[Words],
    s: Words,
    holder: Keyholder,
    kernels: Kernels,
    ring_bits: int,
) -> Talk[None]:
    """P's side. sources: r of each term's wire; s: as the seed says, (n, C, H, W)."""
    n, ring = len(s), np.uint32((1 << ring_bits) - 1)
    heard = yield bundle(
        [
            holder.seal(polynomial & ring)
            for packing, source in zip(packings, sources, strict=True)
            for polynomial in packing.encode(source)
        ]
    )
    sealed = iter(unbundle(heard, sum(n * len(p.tiles) * p.out_blocks for p in packings)))
    y = np.negative(s)
    for packing in packings:
        places = [packing.places(block).astype(np.int64) for block in range(packing.out_blocks)]
        parts = (holder.unseal(next(sealed))[at] for _ in range(n * len(packing.tiles)) for at in places)
        y += packing.decode(parts, n)
    return kernels.pack(y.reshape(-1), ring_bits), None


def model_linear(
    step: AffineStep,
    packings: Sequence[Packing],
    weights: Sequence[NDArray[np.generic]],
    evaluator: Evaluator,
    fresh: Stream,
    kernels: Kernels,
    ring_bits: int,
    n: int,
) -> Talk[bytes]:
    """M's side; returns u, packed as the tape has it. weights: by term, as `Network` shapes them."""
    heard = yield b""
    sealed = iter(unbundle(heard, sum(n * len(p.tiles) * p.in_blocks for p in packings)))
    said: list[bytes] = []
    t = np.zeros((n, *step.shape), np.uint32)
    for packing, some in zip(packings, weights, strict=True):
        many = n * len(packing.tiles)
        inputs = [[evaluator.read(next(sealed)) for _ in range(packing.in_blocks)] for _ in range(many)]
        made: list[list[bytes]] = [[] for _ in range(many)]
        masks: list[list[Words]] = [[] for _ in range(many)]
        arranged = packing.weights(some.astype(np.int64))
        for block in range(packing.out_blocks):
            reads, places = packing.inputs_of(block), packing.places(block).astype(np.int64)
            ready = [evaluator.kernel(packing.kernel(arranged, block, other)) for other in reads]
            for at in range(many):
                mask = fresh.words(DEGREE) & np.uint32((1 << ring_bits) - 1)
                pairs = [(inputs[at][other], one) for other, one in zip(reads, ready, strict=True)]
                made[at].append(evaluator.combine(pairs, mask, fresh))
                masks[at].append(mask[places])
        said += [one for row in made for one in row]
        t += packing.decode((one for row in masks for one in row), n)
    heard = yield bundle(said)
    u = kernels.unpack(heard, t.size, ring_bits) - t.reshape(-1)
    return b"", kernels.pack(u, ring_bits)
