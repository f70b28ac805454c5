"""Simulators: what each party receives, made from its own input and output alone.

docs/blind-security.md is the argument; here it is run. A simulator is given a corrupted party's input, its own
randomness (its seeds), what it learns (`PatientIdeal`, or a bucket), and what is public, and makes the frames that
the party receives. It never sees the other side's secret.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod

import numpy as np
from blind_samples import tape_of
from blind_views import Frames, opened_bucket, replay_model
from numpy.typing import NDArray

from protocols.blind import bucket
from protocols.blind.bytesio import IntArray
from protocols.blind.kernels import ClipSize, PortableKernels, Words
from protocols.blind.masking import CHUNK
from protocols.blind.masks import PatientMasks
from protocols.blind.messages import Item, Kind, Role, encode_frames
from protocols.blind.network import Network
from protocols.blind.reference import _Run, given
from protocols.blind.schedule import schedule
from protocols.blind.topology import Topology
from protocols.blind.walk import AffineStep, affine_steps, clip_steps, walk
from protocols.blind.weights import MaskedWeights, ModelWeights

KERNELS = PortableKernels()
P, M, D = Role.PATIENT, Role.MODEL, Role.DEALER


class PatientIdeal:
    """The ideal functionality as P's simulator meets it: P's image and rounding in, the logits' sums out.

    It holds the network; the simulator asks it once and sees nothing else of it.
    """

    def __init__(self, network: Network, images: NDArray[np.generic]) -> None:
        self._network, self._images = network, images
        self.answer: IntArray | None = None

    def logits(self, rounding: list[IntArray]) -> IntArray:
        """v of every logit, given u of every clip: integers within K bits, (n, C, H, W)."""
        assert self.answer is None
        top = self._network.topology
        clipped = np.clip(self._images.astype(np.float64), top.input_low, top.input_high)
        self.answer = _Run(self._network, given(rounding)).run(clipped).astype(np.int64)
        return self.answer


def shares_of_patient(
    top: Topology, masks: PatientMasks, weights: MaskedWeights
) -> tuple[list[IntArray], Words]:
    """What P can compute alone: u of every clip, and z1 of the logits."""
    rounding = []
    script = walk(top, masks.image)
    try:
        step, sources = next(script)
        while True:
            if isinstance(step, AffineStep):
                made = masks.linear(step)
                weights.linear.add(step, sources, made)
            else:
                size = 1 << step.clip.shift
                low = sources[0].astype(np.int64).reshape(-1) & (size - 1)
                rounding.append(size - low if step.clip.shift else np.zeros_like(low))
                made = masks.wire(step)
            step, sources = script.send(made)
    except StopIteration as end:
        return rounding, end.value


class _Writer:
    """Frames numbered link by link."""

    def __init__(self, session: bytes) -> None:
        self._session, self._sent, self.frames = session, Counter[Role](), Frames()

    def add(self, sender: Role, kind: Kind, body: bytes) -> None:
        name = tape_of(self._session) if sender is D else self._session
        for frame in encode_frames(kind, name, self._sent[sender], body):
            self._sent[sender] += 1
            self.frames.append((sender, frame))


def _noise(rng: np.random.Generator, count: int, width: int) -> bytes:
    """`count` uniform values of `width` bits, packed."""
    return KERNELS.pack(rng.integers(0, 1 << width, count, dtype=np.uint32), width)


def simulate_patient(
    top: Topology,
    network_hash: bytes,
    images: NDArray[np.generic],
    seed: bytes,
    session: bytes,
    ideal: PatientIdeal,
    rng: np.random.Generator,
) -> Frames:
    """What P receives from M, from P's image and seed and one answer of the ideal functionality."""
    n, k, out = len(images), top.ring_bits, _Writer(session)
    masks = PatientMasks(top, network_hash, tape_of(session), seed, n)
    for item in schedule(top, n):
        if item.receiver is not P:
            continue
        if item.kind is Kind.WEIGHTS:
            body = _noise(rng, item.size * 8 // k, k)
            rounding, z1 = shares_of_patient(top, masks, MaskedWeights(top, network_hash, body))
            v = ideal.logits(rounding)
        elif item.kind is Kind.OPEN:
            body = _noise_of(item, top, rng, n)
        else:
            assert item.kind is Kind.LOGITS
            body = KERNELS.pack((v.astype(np.uint32) - z1).reshape(-1), k)
            body += _noise(rng, n * bool(top.thresholds), top.logit_bits)
        out.add(M, item.kind, body)
    return out.frames


def _noise_of(item: Item, top: Topology, rng: np.random.Generator, n: int) -> bytes:
    """Uniform noise in the place of one message about a step."""
    clips, affine = _sizes(top)
    if item.kind is Kind.LINEAR:
        return _noise(rng, n * affine[item.index], top.ring_bits)
    clip, size = clips[item.index]
    total = n * size
    count = min(CHUNK, total - item.part * CHUNK)
    if item.kind is Kind.MASKED:
        return _noise(rng, total, clip.width)
    if item.kind is Kind.TABLES:
        words = _noise(rng, count, clip.width) + _noise(rng, 8 * count, clip.ring_bits)
        return words + rng.bytes(count * clip.row_bytes)
    return _noise(rng, count, clip.open_bits if item.kind is Kind.OPEN else clip.reply_bits)


def _sizes(top: Topology) -> tuple[list[tuple[ClipSize, int]], list[int]]:
    return [(s.clip, s.size) for s in clip_steps(top)], [s.size for s in affine_steps(top)]


def simulate_model(
    network: Network,
    model_seed: bytes,
    session: bytes,
    batch: int,
    found: int | None,
    counts: int,
    rng: np.random.Generator,
    held: bytes = bytes(32),
) -> Frames:
    """What M receives from D and P, from M's weights and seed and the bucket that it learns."""
    top, out = network.topology, _Writer(session)
    weights = ModelWeights(network, model_seed, KERNELS)
    fingerprint = rng.bytes(32)
    for item in _in_order(top, batch):
        if item.kind is Kind.TAPE:
            body = fingerprint + weights.masked.epoch
        elif item.kind is Kind.HELLO:
            body = top.digest + network.network_hash() + held + fingerprint
        elif item.kind is Kind.IMAGE:
            body = _noise(rng, batch * prod(top.input_shape), top.ring_bits)
        elif item.kind is Kind.BUCKET:
            table = body = rng.bytes(batch * bucket.table_size(top)) + _noise(rng, batch, top.logit_bits)
        elif item.kind is Kind.MASKED_LOGIT:
            body = _noise(rng, batch, top.logit_bits)
        elif item.kind is Kind.ANSWER:  # M's own m, run on what was made so far, says which entry must fit
            assert found is not None
            _, sent = replay_model(weights, session, batch, out.frames)
            mask = bucket.read_bucket_correction(top, table, batch, KERNELS)
            own = bucket.entry(mask, opened_bucket(top, sent[Kind.LOGITS][0], batch), counts)
            body = counts.to_bytes(2, "big") + bytes((own ^ found,))
        else:
            body = _noise_of(item, top, rng, batch)
        assert len(body) == item.size
        out.add(item.sender, item.kind, body)
    return out.frames


def _in_order(top: Topology, batch: int) -> Iterator[Item]:
    """The tape, then the patient's messages."""
    yield from (item for item in schedule(top, batch) if item.receiver is M)


def simulate_dealer() -> Frames:
    """What D receives."""
    return []
