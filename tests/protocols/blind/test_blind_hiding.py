"""What each party receives is uniform noise, whatever the other side's secret; and the known attack fails.

Each view is simulatable: every field below is uniform over its range given the party's own inputs, but for the final
opening, which the party's output determines (tested in `test_blind_exact.py`: it is the reference's result).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from blind_samples import fill, images, lenet, seeds, session, tiny
from numpy.typing import NDArray

from protocols.blind.bytesio import IntArray
from protocols.blind.local import Transcript, make_parties, run_local, run_parties
from protocols.blind.masking import flips, read_correction, table_bytes, unflag
from protocols.blind.masks import PatientMasks
from protocols.blind.messages import HEADER_BYTES, Kind, Role, decode_frame
from protocols.blind.network import Network
from protocols.blind.ring import apply_term, signed, unpack
from protocols.blind.topology import Conv
from protocols.blind.walk import clip_steps
from protocols.blind.weights import pads

RUNS = 220
TOP = tiny()
STEP = clip_steps(TOP)[0]
K, B = TOP.ring_bits, TOP.table_bits


def fields(transcript: Transcript) -> dict[str, IntArray]:
    """Every field that somebody receives, cut to at most six bits: values in 0..63."""
    got: dict[str, IntArray] = {}
    for _, _, data in transcript:
        frame = decode_frame(data)
        kind, body = Kind(frame.kind), frame.body
        if kind in (Kind.IMAGE, Kind.LINEAR, Kind.WEIGHTS):
            got[f"{kind.name} {frame.sequence}"] = unpack(body, len(body) * 8 // K, K) >> (K - 6)
        elif kind is Kind.TABLES:
            cut = STEP.size * table_bytes(STEP)
            got["TABLES bits"] = np.frombuffer(body[:cut], np.uint8).astype(np.int64) >> 2
            words = unpack(body[cut:], 6 * STEP.size, K)
            got |= {f"TABLES word {i}": w >> (K - 6) for i, w in enumerate(words.reshape(6, -1))}
        elif kind is Kind.MASKED:
            got["MASKED"] = unpack(body, STEP.size, B)
        elif kind in (Kind.OPEN, Kind.REPLY):
            bits = B if kind is Kind.OPEN else K
            word = unpack(body, STEP.size, bits + 3)
            got[f"{kind.name} word"] = (word & ((1 << bits) - 1)) >> (bits - 6)
            got[f"{kind.name} flags"] = (word >> bits) & 3
            got[f"{kind.name} raw"] = word
        elif kind is Kind.BUCKET:
            got["BUCKET"] = np.frombuffer(body[:64], np.uint8).astype(np.int64) >> 2
        elif kind is Kind.MASKED_LOGIT:
            got["MASKED_LOGIT"] = unpack(body, 1, TOP.logit_bits) >> (TOP.logit_bits - 6)
        elif kind is Kind.ANSWER:
            got["ANSWER"] = np.frombuffer(body, np.uint8).astype(np.int64)
        elif kind is Kind.LOGITS:
            got["LOGITS share"] = unpack(body[: (K + 7) // 8], 1, K) >> (K - 6)
    asked, answered = got.pop("OPEN raw"), got.pop("REPLY raw")
    m = asked & ((1 << B) - 1)
    a, b, e = unflag(asked >> B) ^ unflag(answered >> K) ^ flips(STEP, m)
    assert not e[m >= STEP.cap].any()
    got |= {
        "[t < 0] ^ c1 flags": a,
        "[t < C] ^ c2 flags": b,
        "both flags": a ^ b,
        "[wrap] ^ d flags": e[m < STEP.cap],
    }
    got["m and a"] = (m >> 1) << 1 | a
    got["m and b"] = (m >> 1) << 1 | b
    return got


@lru_cache(maxsize=8)
def histograms(net: int, picture: str) -> dict[str, IntArray]:
    """Counts of every field's values over many runs with fresh seeds, the secrets held fixed."""
    network, image = fill(TOP, net), images(TOP.input_shape, 1)[picture]
    total: dict[str, IntArray] = {}
    for run in range(RUNS):
        number = hash((net, picture == "white", run)) % (1 << 40)
        *_, transcript = run_local(network, image, seeds(number), session(number))
        for name, values in fields(transcript).items():
            total[name] = total.get(name, np.zeros(64, np.int64)) + np.bincount(values, minlength=64)
    return total


def bins(name: str) -> int:
    if name.endswith("flags"):
        return 4 if name in ("OPEN flags", "REPLY flags") else 2
    return 4 if name == "ANSWER" else 64


def unlikely(freedom: int) -> float:
    """What chi-square exceeds about once in 3,500,000 times: five sigma by Wilson and Hilferty's approximation."""
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + 5 * np.sqrt(part)) ** 3)


SECRETS = [(1, "white"), (1, "black"), (2, "white")]


@pytest.mark.parametrize(("net", "picture"), SECRETS)
def test_all_that_is_received_is_uniform(net: int, picture: str) -> None:
    for name, counts in histograms(net, picture).items():
        n = bins(name)
        mean = counts.sum() / n
        statistic = ((counts[:n] - mean) ** 2 / mean).sum()
        assert counts[n:].sum() == 0
        assert statistic < unlikely(n - 1), (name, statistic)


@pytest.mark.parametrize("other", SECRETS[1:])
def test_no_field_tells_one_secret_from_another(other: tuple[int, str]) -> None:
    one, two = histograms(*SECRETS[0]), histograms(*other)
    assert one.keys() == two.keys()
    for name in one:
        n = bins(name)
        a, b = one[name][:n], two[name][:n]
        statistic = ((a - b) ** 2 / np.maximum(a + b, 1)).sum()
        assert statistic < unlikely(n - 1), (name, statistic)


def test_the_test_sees_what_is_not_masked() -> None:
    """The same statistic on the image itself, unmasked, is far off."""
    image = images(TOP.input_shape, 1)["white"]
    counts = (
        np.bincount((image.astype(np.int64).reshape(-1) & ((1 << K) - 1)) >> (K - 6), minlength=64) * RUNS
    )
    mean = counts.sum() / 64
    assert ((counts - mean) ** 2 / mean).sum() > 1000


def shape_of(transcript: Transcript) -> list[tuple[Role, Role, int, int]]:
    return [(s, t, decode_frame(f).kind, len(f)) for s, t, f in transcript]


def test_length_and_order_do_not_depend_on_secrets() -> None:
    seen = []
    for net in (1, 2):
        for image in images((3, 32, 32), net).values():
            *_, transcript = run_local(fill(lenet(32), net), image, seeds(net), session(net))
            seen.append(shape_of(transcript))
    assert all(s == seen[0] for s in seen)


def test_dealer_receives_nothing_and_repeats_nothing() -> None:
    network, image = fill(TOP, 1), images(TOP.input_shape, 1)["white"]
    *_, one = run_local(network, image, seeds(1), session(1))
    *_, two = run_local(network, image, seeds(1), session(2))
    assert all(to is not Role.DEALER for _, to, _ in one)
    for a, b in zip(one, two, strict=True):
        if len(a[2]) > HEADER_BYTES + 8 and decode_frame(a[2]).kind not in (
            Kind.HELLO,
            Kind.SEEDS,
            Kind.WEIGHTS,
        ):
            assert a[2][HEADER_BYTES:] != b[2][HEADER_BYTES:], (
                "a session's noise came again in another session"
            )


def test_dealer_draws_afresh_for_each_session_even_from_one_seed() -> None:
    network, image = fill(TOP, 1), images(TOP.input_shape, 1)["white"]
    drawn = []
    for number in (1, 2):
        *_, transcript = run_local(network, image, seeds(1), session(number))
        body = next(decode_frame(f).body for _, _, f in transcript if decode_frame(f).kind == Kind.TABLES)
        model = read_correction(STEP, body, K).words[0]
        masks = PatientMasks(TOP, network.network_hash(), session(number), seeds(1).patient_dealer)
        r = (model + masks.clip(STEP)[0].words[0]) % (1 << K)
        assert (r < 1 << B).all()
        drawn.append(r)
    assert (drawn[0] != drawn[1]).any()


def correlation(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    return abs(float(np.corrcoef(a.reshape(-1).astype(float), b.reshape(-1).astype(float))[0, 1]))


def recover(transcript: Transcript, network: Network, mask: IntArray) -> IntArray:
    """The attack on a provider that lets the model draw the masks: masked image + the mask it knows."""
    top = network.topology
    body = next(decode_frame(f).body for _, _, f in transcript if decode_frame(f).kind == Kind.IMAGE)
    sent = unpack(body, mask.size, top.ring_bits).reshape(mask.shape)
    return signed(sent + mask, top.ring_bits)


def test_model_cannot_recover_the_image() -> None:
    network = fill(lenet(32), 9)
    top, k, name = network.topology, network.topology.ring_bits, network.network_hash()
    image, keys = images(top.input_shape, 9)["smooth"], seeds(9)
    parties = make_parties(network, image, keys, session(9))
    transcript = run_parties(parties)
    true_mask = PatientMasks(top, name, session(9), keys.patient_dealer).image
    assert correlation(recover(transcript, network, true_mask), image) > 0.9999, "the attack itself works"

    body = next(decode_frame(f).body for _, _, f in transcript if decode_frame(f).kind == Kind.LINEAR)
    u = unpack(body, 6 * 28 * 28, k).reshape(6, 28, 28)
    a = pads(top, name, keys.model_dealer)[0][0]
    back = Conv(0, 3, 5, 1, 4)  # the transpose of the first layer, on what the dealer sent
    turned = a[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    guesses = {
        "nothing": np.zeros(top.input_shape, np.int64),
        "the pad turned on u": apply_term(back, turned, u, k),
        "its negative": -apply_term(back, turned, u, k),
        "own seed": PatientMasks(top, name, session(9), keys.model_dealer).image,
    }
    for guess, mask in guesses.items():
        assert correlation(recover(transcript, network, mask), image) < 0.08, guess


def test_model_never_sees_the_sign_of_the_logit() -> None:
    """Two images whose logits differ in sign and not in bucket: M's whole view is alike in length, and uniform."""
    network = fill(TOP, 1)
    signs: dict[bool, list[int]] = {True: [], False: []}
    for number in range(300):
        image = np.random.default_rng(number).integers(-128, 128, TOP.input_shape).astype(np.int8)
        patient, model, transcript = run_local(network, image, seeds(number), session(number))
        if model.bucket == 2:
            opened = next(f for _, _, f in transcript if decode_frame(f).kind == Kind.LOGITS)
            body = decode_frame(opened).body
            m = int(unpack(body[(K + 7) // 8 :], 1, TOP.logit_bits)[0])
            signs[bool(patient.logits.flat[0] > 0)].append(m >> (TOP.logit_bits - 1))
    assert min(len(v) for v in signs.values()) > 30
    for halves in signs.values():
        assert abs(np.mean(halves) - 0.5) < 4 * 0.5 / np.sqrt(len(halves))
