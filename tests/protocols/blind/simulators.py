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
from blind_views import Frames, Watched, opened_bucket, replay_model
from numpy.typing import NDArray

from protocols.blind import bucket
from protocols.blind.bytesio import IntArray
from protocols.blind.kernels import ClipSize, PortableKernels, Words, packed_size
from protocols.blind.masking import CHUNK
from protocols.blind.masks import PatientMasks
from protocols.blind.messages import Item, Kind, Role, encode_frames
from protocols.blind.network import Network
from protocols.blind.reference import Real, _Run, given, nearest
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


class _ByShares(_Run):
    """The integer network whose rounding M's shares give: u = 2^S - (v - z0 mod 2^S)."""

    def __init__(self, network: Network, shares: list[IntArray]) -> None:
        super().__init__(network, nearest)
        self._shares = shares

    def rounded(self, v: Real, index: int, shift: int) -> Real:
        size, low = 1 << shift, v.astype(np.int64) - self._shares[index].reshape(v.shape)
        u = size - (low & (size - 1)) if shift else 0
        made: Real = np.floor((v + u) / size)
        return made


class ModelIdeal:
    """The ideal functionality as M's simulator meets it: M's weights and shares in, the bucket out.

    It holds the images. Each accumulator v is shared: M's z0, P's z1 = v - z0; the shares say how v is rounded.
    """

    def __init__(self, network: Network, images: NDArray[np.generic], counts: int = 0) -> None:
        self._network, self._images, self._counts = network, images, counts
        self.logits: IntArray | None = None  # what P opens

    def bucket(self, shares: list[IntArray]) -> int | None:
        """shares: z0 of every clip, of the logits, and of their margins; asked once."""
        assert self.logits is None
        top = self._network.topology
        run = _ByShares(self._network, shares)
        clipped = np.clip(self._images.astype(np.float64), top.input_low, top.input_high)
        self.logits, buckets = run.open(run.run(clipped))
        return None if buckets is None else buckets[self._counts]


def shares_of_model(top: Topology, watched: Watched, logits: bytes, batch: int) -> list[IntArray]:
    """z0 of every clip, of the logits, and of the margins of two: what M computed from its view."""
    notes, made = iter(watched.notes), []
    for step in clip_steps(top):
        parts, size = [], 0
        while size < batch * step.size:
            parts.append(next(notes)["z0"].astype(np.int64))
            size += parts[-1].size
        made.append(np.concatenate(parts))
    count = batch * prod(top.output_shape)
    z0 = KERNELS.unpack(logits[: packed_size(count, top.ring_bits)], count, top.ring_bits).astype(np.int64)
    made.append(z0)
    flat = z0.reshape(batch, -1)
    return [*made, flat[:, 0] - flat[:, 1]] if flat.shape[1] == 2 else made


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
        return rng.bytes(item.size)
    return _noise(rng, count, clip.open_bits if item.kind is Kind.OPEN else clip.reply_bits)


def _sizes(top: Topology) -> tuple[list[tuple[ClipSize, int]], list[int]]:
    return [(s.clip, s.size) for s in clip_steps(top)], [s.size for s in affine_steps(top)]


def simulate_model(
    network: Network,
    model_seed: bytes,
    session: bytes,
    batch: int,
    ideal: ModelIdeal,
    counts: int,
    rng: np.random.Generator,
    held: bytes = bytes(32),
) -> Frames:
    """What M receives from D and P, from M's weights and seed and one answer of the ideal functionality."""
    top, out, watched = network.topology, _Writer(session), Watched()
    weights = ModelWeights(network, model_seed, watched)  # type: ignore[arg-type]
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
        elif item.kind is Kind.ANSWER:  # M, run on what was made so far, says its shares and its m
            _, sent = replay_model(weights, session, batch, out.frames)
            found = ideal.bucket(shares_of_model(top, watched, sent[Kind.LOGITS][0], batch))
            assert found is not None
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
