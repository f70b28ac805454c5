"""The view of each party, element by element: what it received, and what it can compute from that at once.

A view is taken by giving the frames to a party of its own with the same input and seed, real or simulated alike,
whose arithmetic is watched. Fields that a party derives are named with a `~`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from blind_samples import tape_of
from blind_statistics import Field, Group, View
from numpy.typing import NDArray

from protocols.blind import bucket
from protocols.blind.kernels import ClipSize, Kernels, Mask, PortableKernels, Words
from protocols.blind.local import Seeds
from protocols.blind.masks import PatientMasks
from protocols.blind.messages import Kind, Role, decode_frame
from protocols.blind.model import ModelParty
from protocols.blind.network import Network
from protocols.blind.patient import PatientParty
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.blind.walk import affine_steps
from protocols.blind.weights import ModelWeights, Pads, _pads

Frames = list[tuple[Role, bytes]]  # sender, frame; in the order received
KERNELS = PortableKernels()


@dataclass
class Watched:
    """Kernels that note what they were given and gave, clip by clip. Everything else is `inner`."""

    inner: Kernels = field(default_factory=PortableKernels)
    notes: list[dict[str, Any]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def open(self, clip: ClipSize, z0: Words, p: Words, mask: Mask) -> tuple[bytes, Words]:
        made = self.inner.open(clip, z0, p, mask)
        self.notes.append({"clip": clip, "z0": z0.copy(), "p": p, "mask": mask, "opened": made[1]})
        return made

    def close(self, clip: ClipSize, opened: Words, reply: bytes, mask: Mask) -> Words:
        made = self.inner.close(clip, opened, reply, mask)
        note = next(n for n in self.notes if n["opened"] is opened)
        note |= {"reply": self.inner.unpack(reply, opened.size, clip.reply_bits), "wire": made}
        return made

    def answer(self, clip: ClipSize, message: bytes, mask: Mask, wire: Words) -> bytes:
        made = self.inner.answer(clip, message, mask, wire)
        opened = self.inner.unpack(message, wire.size, clip.open_bits)
        reply = self.inner.unpack(made, wire.size, clip.reply_bits)
        self.notes.append({"clip": clip, "opened": opened, "mask": mask, "reply": reply})
        return made


def received(transcript: list[tuple[Role, Role, bytes]], role: Role) -> Frames:
    return [(sender, frame) for sender, to, frame in transcript if to is role]


def messages(frames: Frames) -> dict[Kind, list[bytes]]:
    """Bodies by kind; none here is longer than a frame."""
    made: dict[Kind, list[bytes]] = {}
    for _, data in frames:
        frame = decode_frame(bytes(data))
        made.setdefault(Kind(frame.kind), []).append(bytes(frame.body))
    return made


def replay_model(
    weights: ModelWeights, session: bytes, batch: int, frames: Frames
) -> tuple[ModelParty, dict[Kind, list[bytes]]]:
    """An M that was given these frames, and what it sent."""
    model = ModelParty(weights, session, tape_of(session), UsedSessions(), batch)
    outs = model.start()
    for sender, frame in frames:
        outs += model.receive(sender, frame)
    return model, messages([(Role.MODEL, out.frame) for out in outs])


def _shaped(values: NDArray[Any], width: int, batch: int) -> Field:
    return Field((values.astype(np.int64) & ((1 << width) - 1)).reshape(batch, -1), width)


def _mask_fields(clip: ClipSize, mask: Mask, batch: int, who: str) -> Group:
    made = {f"{who} index": _shaped(mask.index, 16, batch)}
    for i, words in enumerate(mask.words):
        made[f"{who} word {i}"] = _shaped(words, 24, batch)
    for i, rows in enumerate(mask.rows.T):
        made[f"{who} row {i}"] = _shaped(rows, 8, batch)
    return made


def _look_up(clip: ClipSize, mask: Mask, m: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Written anew from the docstring of `masking.py`: one side's bit and nibble at m."""
    low, high, at = m & clip.ceiling, m >> clip.low_bits, np.arange(m.size)
    rows = mask.rows
    bit = rows[at, low >> 3].astype(np.int64) >> (low & 7) & 1
    nibble = rows[at, clip.low_bytes + (high >> 1)].astype(np.int64) >> (4 * (high & 1)) & 15
    return bit, nibble


def _opened(clip: ClipSize, word: Words) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    w = word.astype(np.int64)
    return w & ((1 << clip.width) - 1), w >> clip.width & 1, w >> (clip.width + 1) & 15


def _model_clip(note: dict[str, Any], batch: int) -> tuple[Group, Group]:
    """What M was sent of a clip, and what it makes of it. (Apart: the one is a function of the other.)"""
    clip, mask, reply = note["clip"], note["mask"], note["reply"].astype(np.int64)
    m, beta, nibble = _opened(clip, note["opened"])
    flags = reply >> clip.ring_bits
    e = beta ^ (flags & 1)
    f = (nibble >> (2 * e) & 3) ^ (flags >> 1)
    sent = _mask_fields(clip, mask, batch, "dealt") | {
        "p": _shaped(note["p"], clip.width, batch),
        "reply word": _shaped(reply, clip.ring_bits, batch),
        "reply beta": _shaped(flags, 1, batch),
        "reply pair": _shaped(flags >> 1, 2, batch),
    }
    made = {
        "~m": _shaped(m, clip.width, batch),
        "~m less own index": _shaped(m - mask.index.astype(np.int64), clip.width, batch),
        "~own share": _shaped(note["z0"], clip.ring_bits, batch),
        "~e": _shaped(e, 1, batch),
        "~zo": _shaped(f, 1, batch),
        "~go": _shaped(f >> 1, 1, batch),
        "~new wire": _shaped(note["wire"], clip.ring_bits, batch),
    }
    words = {f"dealt word {i}": sent[f"dealt word {i}"] for i in range(8)}
    return sent, made | words


def model_view(network: Network, keys: Seeds, session: bytes, batch: int, frames: Frames) -> View:
    """M's view. Every group must be uniform noise, whatever the image."""
    top, name = network.topology, network.network_hash()
    watched = Watched()
    weights = ModelWeights(network, keys.model_dealer, watched)  # type: ignore[arg-type]
    _, sent = replay_model(weights, session, batch, frames)
    said = messages(frames)
    view: View = {"hello": {"fingerprint": _octets(said[Kind.HELLO][0][96:])}}
    shape = (batch, *top.input_shape)
    image = KERNELS.unpack(said[Kind.IMAGE][0], int(np.prod(shape)), top.ring_bits)
    view["image"] = {"image": _shaped(image, top.ring_bits, batch)}
    pads = Pads(top, name, keys.model_dealer, KERNELS).linear
    for step, body in zip(affine_steps(top), said[Kind.LINEAR], strict=True):
        u = KERNELS.unpack(body, batch * step.size, top.ring_bits)
        view[f"linear {step.index}"] = {"u": _shaped(u, top.ring_bits, batch)}
        if all(
            term.source == 0 for term in step.node.terms
        ):  # M knows A = W - E, and may try it on what it has
            tried = u.reshape(batch, *step.shape).copy()
            pads.add(step, [image.reshape(shape)] * len(step.node.terms), tried)
            view[f"linear {step.index}"]["~A (x - r) + u"] = _shaped(tried, top.ring_bits, batch)
    for i, note in enumerate(watched.notes):
        view[f"clip {i}"], view[f"clip {i}, opened"] = _model_clip(note, batch)
    if top.thresholds:
        view["bucket"], view["bucket, opened"] = _model_bucket(top, said, sent, batch)
    return view


def _octets(body: bytes) -> Field:
    return Field(np.frombuffer(body, np.uint8).astype(np.int64).reshape(1, -1), 8)


def _model_bucket(
    top: Topology, said: dict[Kind, list[bytes]], sent: dict[Kind, list[bytes]], batch: int
) -> tuple[Group, Group]:
    bits = top.logit_bits
    mask = bucket.read_bucket_correction(top, said[Kind.BUCKET][0], batch, KERNELS)
    p = KERNELS.unpack(said[Kind.MASKED_LOGIT][0], batch, bits)
    m = opened_bucket(top, sent[Kind.LOGITS][0], batch)
    got = {"r": _shaped(mask.r, bits, batch), "p": _shaped(p, bits, batch)}
    for i in range(0, mask.table.shape[1], max(1, mask.table.shape[1] // 24)):
        got[f"table {i}"] = _shaped(mask.table[:, i], 8, batch)
    made = {
        "~m": _shaped(m, bits, batch),
        "~m less own r": _shaped(m.astype(np.int64) - mask.r, bits, batch),
    }
    return got, made


def opened_bucket(top: Topology, body: bytes, batch: int) -> Words:
    """m of the bucket, from the body of LOGITS."""
    return KERNELS.unpack(body[-((batch * top.logit_bits + 7) // 8) :], batch, top.logit_bits)


def patient_view(
    network: Network, keys: Seeds, session: bytes, images: NDArray[np.generic], frames: Frames
) -> tuple[View, PatientParty]:
    """P's view beside its own seed, and P itself. Every group must be uniform noise, whatever the weights."""
    top, name, batch = network.topology, network.network_hash(), len(images)
    watched = Watched()
    tape = tape_of(session)
    party = PatientParty(
        top,
        name,
        images,
        session,
        tape,
        keys.patient_dealer,
        UsedSessions(),
        kernels=watched,  # type: ignore[arg-type]
    )
    party.start()
    for sender, frame in frames:
        party.receive(sender, frame)
    view: View = {}
    for i, note in enumerate(watched.notes):
        view[f"clip {i}"], view[f"clip {i}, opened"] = _patient_clip(note, batch)
    if top.thresholds:
        masks = PatientMasks(top, name, tape, keys.patient_dealer, batch)
        body = messages(frames)[Kind.LOGITS][0]
        m = KERNELS.unpack(body[-((batch * top.logit_bits + 7) // 8) :], batch, top.logit_bits).astype(
            np.int64
        )
        view["bucket"] = {"m": _shaped(m, top.logit_bits, batch)}
        own = masks.bucket()
        view["bucket, opened"] = {"~m less own r": _shaped(m - own.r, top.logit_bits, batch)}
    return view, party


def _patient_clip(note: dict[str, Any], batch: int) -> tuple[Group, Group]:
    """What P was sent of a clip beside its own words, and what it makes of it."""
    clip, mask = note["clip"], note["mask"]
    m, beta, nibble = _opened(clip, note["opened"])
    bit, own = _look_up(clip, mask, m)
    z = nibble ^ own
    sent = _mask_fields(clip, mask, batch, "own") | {
        "m": _shaped(m, clip.width, batch),
        "beta": _shaped(beta, 1, batch),
        "nibble": _shaped(nibble, 4, batch),
    }
    made = {f"own word {i}": _shaped(words, clip.ring_bits, batch) for i, words in enumerate(mask.words)}
    return sent, made | {
        "m": sent["m"],
        "~m less own index": _shaped(m - mask.index.astype(np.int64), clip.width, batch),
        "~e": _shaped(beta ^ bit, 1, batch),
        "~zo 0": _shaped(z, 1, batch),
        "~go 0": _shaped(z >> 1, 1, batch),
        "~zo 1": _shaped(z >> 2, 1, batch),
        "~go 1": _shaped(z >> 3, 1, batch),
        "own reply": _shaped(note["reply"], clip.ring_bits, batch),
    }


def masked_weights(network: Network, seed: bytes) -> NDArray[np.int64]:
    """E, which P keeps: (1, weights)."""
    encoded = ModelWeights(network, seed, KERNELS).masked.encode()
    count = sum(int(np.prod(a.shape)) for layer in _pads_of(network, seed) for a in layer)
    return KERNELS.unpack(encoded, count, network.topology.ring_bits).astype(np.int64).reshape(1, -1)


def _pads_of(network: Network, seed: bytes) -> tuple[tuple[Words, ...], ...]:
    return _pads(network.topology, network.network_hash(), seed)
