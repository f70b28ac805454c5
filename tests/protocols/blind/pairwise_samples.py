"""Both sides of a tape without a dealer in one process, and encryption that hides nothing: for what needs no keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from blind_samples import draw

from protocols.blind.bytesio import IntArray
from protocols.blind.kernels.interface import ClipSize, Mask, Words
from protocols.blind.pairwise.extension import (
    BLOCKS,
    LEAVES,
    Receiver,
    ReceiverKeys,
    Sender,
    SenderKeys,
)
from protocols.blind.pairwise.packing import DEGREE
from protocols.blind.pairwise.tables import model_chunk, patient_chunk
from protocols.blind.pairwise.talk import Talk, Talks
from protocols.blind.pairwise.tape import Ends
from protocols.blind.prg import Stream
from protocols.errors import ProtocolError


def keys(name: str) -> tuple[SenderKeys, ReceiverKeys]:
    """As the first transfers leave them; the seed at Delta is another one at the sender."""
    seeds = [[draw(f"{name} {block} {leaf}") for leaf in range(LEAVES)] for block in range(BLOCKS)]
    delta = draw(name)[:16]
    blank = SenderKeys(delta, ())
    known = [
        [s if leaf != blank.leaf(b) else draw("no seed") for leaf, s in enumerate(row)]
        for b, row in enumerate(seeds)
    ]
    return SenderKeys(delta, known), ReceiverKeys(seeds)


def both_ends(name: str) -> tuple[Ends, Ends]:
    """Those of patient and model."""
    (patient_offers, model_chooses), (model_offers, patient_chooses) = keys(name + " p"), keys(name + " m")
    return Ends(patient_offers, patient_chooses), Ends(model_offers, model_chooses)


def converse(one: Talks[Any], two: Talks[Any]) -> tuple[list[bytes], list[bytes]]:
    """Carries all frames; what each of the two heard."""
    queue = deque([(1, f) for f in one.start()] + [(0, f) for f in two.start()])
    heard: tuple[list[bytes], list[bytes]] = [], []
    while queue:
        to, frame = queue.popleft()
        heard[to].append(frame)
        queue += [(1 - to, f) for f in (two if to else one).receive(frame)]
    assert one.done
    assert two.done
    return heard


def patient_mask(clip: ClipSize, count: int, name: str) -> Mask:
    stream = Stream(draw(name), b"mask")
    return Mask(clip, stream.octets(2 * count).view("<u2"), stream.octets(count * clip.element_bytes))


def chunk_talks(clip: ClipSize, mask: Mask, name: str) -> tuple[Talk[None], Talk[Mask]]:
    """Both sides of one chunk."""
    patient, model = both_ends(name)
    fresh = [Stream(draw(f"{name} fresh {i}"), b"") for i in range(2)]
    return (
        patient_chunk(
            clip, mask, fresh[0], Sender(patient.sender), Receiver(patient.receiver), name.encode()
        ),
        model_chunk(
            clip, mask.index.size, fresh[1], Sender(model.sender), Receiver(model.receiver), name.encode()
        ),
    )


def turned_product(a: Words, b: IntArray) -> Words:
    """a b mod X^N + 1 and 2^32, by the terms of b."""
    made = np.zeros(2 * DEGREE, np.int64)
    for at in np.flatnonzero(b):
        made[at : at + DEGREE] += a.astype(np.int64) * int(b[at])
    return (made[:DEGREE] - made[DEGREE:]).astype(np.uint32)


class Transparent:
    """See `Keyholder` and `Evaluator`: it hides nothing, and keeps what P saw."""

    def __init__(self, bits: int) -> None:
        self._ring = np.uint32((1 << bits) - 1)
        self.seen: list[Words] = []

    def seal(self, coefficients: Words) -> bytes:
        assert coefficients.shape == (DEGREE,)
        assert not (coefficients & ~self._ring).any()
        return coefficients.astype("<u4").tobytes()

    def unseal(self, sealed: bytes) -> Words:
        self.seen.append(self.read(sealed))
        return self.seen[-1]

    def read(self, sealed: bytes) -> Any:
        if len(sealed) != 4 * DEGREE:
            raise ProtocolError("no ciphertext")
        return np.frombuffer(sealed, "<u4").astype(np.uint32)

    def kernel(self, coefficients: IntArray) -> Any:
        return coefficients

    def combine(self, pairs: Sequence[tuple[Any, Any]], mask: Words, fresh: Stream) -> bytes:
        made = mask.copy()
        for cipher, kernel in pairs:
            made += turned_product(cipher, kernel)
        return self.seal(made & self._ring)


def steps_of(talk: Talk[Any], other: Talk[Any]) -> Iterator[tuple[int, bytes]]:
    """What is said in one talk: who (0: the first given) and what; ends with both."""
    said = [next(talk), next(other)]
    speaker = 0 if said[0] else 1
    words, sides = said[speaker], (talk, other)
    while words:
        yield speaker, words
        speaker = 1 - speaker
        try:
            words = sides[speaker].send(words)
        except StopIteration as end:
            words = end.value[0]
