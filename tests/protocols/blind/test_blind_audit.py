"""Spot checks: liars are caught as often as is said, and honest ones are never accused."""

from __future__ import annotations

import json
from itertools import combinations
from math import comb, sqrt

import numpy as np
import pytest

from protocols.blind.audit import (
    DEFAULT_SLOTS,
    AuditedPatient,
    Probes,
    check_tape,
    make_probe,
    plan_slots,
    publish_probes,
    slot_detection,
    tape_detection,
)
from protocols.blind.dealer import TapeSeeds, deal_tape
from protocols.blind.local import Parties, run_parties
from protocols.blind.messages import Kind
from protocols.blind.model import ModelParty
from protocols.blind.network import Network
from protocols.blind.session import UsedSessions
from protocols.blind.weights import ModelWeights, Pads
from protocols.errors import DealerCheated, ModelCheated, ProtocolError
from tests.protocols.blind.blind_samples import draw, fill, lenet, residual, tiny

SEED = draw("shared by model and dealer")


def seeds_of(number: int) -> TapeSeeds:
    return TapeSeeds(*(draw(f"tape {number} {what}") for what in ("name", "patient", "fresh")))


def network() -> Network:
    return fill(tiny(logit_scale=0.001), 3)


# ---- tapes
@pytest.mark.parametrize("top", [tiny(), residual(), lenet(32)])
def test_an_honest_tape_is_what_its_seeds_say(top) -> None:  # type: ignore[no-untyped-def]
    pads = Pads(top, draw("network"), SEED)
    check_tape(pads, seeds_of(1), 2, list(deal_tape(pads, seeds_of(1), 2)))


@pytest.mark.parametrize("number", [1, 2, 5, 10])
def test_a_wrong_bit_a_missing_and_an_added_frame(number: int) -> None:
    pads = Pads(tiny(), draw("network"), SEED)
    rng, honest = np.random.default_rng(number), list(deal_tape(pads, seeds_of(1), 2))
    at = number % len(honest)
    wrong = bytearray(honest[at])
    wrong[int(rng.integers(len(wrong)))] ^= 1 << int(rng.integers(8))
    for frames in (
        [*honest[:at], bytes(wrong), *honest[at + 1 :]],
        honest[:-1],
        [*honest, honest[-1]],
        list(deal_tape(pads, seeds_of(2), 2)),
    ):
        with pytest.raises(DealerCheated):
            check_tape(pads, seeds_of(1), 2, frames)


def test_the_probability_is_that_of_counting() -> None:
    """Against all ways of picking."""
    for kept, checked, corrupted in ((4, 2, 1), (4, 2, 2), (3, 3, 2), (1, 1, 1), (5, 2, 6), (4, 2, 6)):
        total = kept + checked
        caught = [any(i < corrupted for i in picked) for picked in combinations(range(total), checked)]
        assert tape_detection(kept, checked, corrupted) == pytest.approx(np.mean(caught))
    assert tape_detection(4, 2, 1) == pytest.approx(1 / 3)
    assert tape_detection(4, 2, 5) == 1


@pytest.mark.parametrize("corrupted", [1, 2])
def test_a_lying_dealer_is_caught_at_the_stated_rate(corrupted: int) -> None:
    kept, checked, rounds = 4, 2, 300
    pads = Pads(tiny(), draw("network"), SEED)
    rng, caught = np.random.default_rng(corrupted), 0
    dealt = [list(deal_tape(pads, seeds_of(i))) for i in range(kept + checked)]
    for _ in range(rounds):
        bad = set(rng.choice(kept + checked, corrupted, replace=False).tolist())
        picked = rng.choice(kept + checked, checked, replace=False).tolist()
        try:
            for i in picked:
                frames = dealt[i]
                if i in bad:
                    last = bytes(frames[-1])
                    frames = [*frames[:-1], last[:-1] + bytes((last[-1] ^ 4,))]
                check_tape(pads, seeds_of(i), 1, frames)
        except DealerCheated:
            caught += 1
    due = tape_detection(kept, checked, corrupted)
    assert abs(caught / rounds - due) < 4 * sqrt(due * (1 - due) / rounds)


# ---- probes
def test_probes_are_the_same_everywhere_and_lively() -> None:
    top = lenet(32)
    probe = make_probe(top, bytes(32), 3)
    assert (probe == make_probe(top, bytes(32), 3)).all()
    assert probe.shape == top.input_shape
    assert probe.min() >= top.input_low
    assert probe.max() <= top.input_high
    assert probe.std() > 20
    assert (probe != make_probe(top, bytes(32), 4)).mean() > 0.9
    assert probe[0, 0, :6].tolist() == make_probe(top, bytes(32), 3)[0, 0, :6].tolist()


def test_probes_go_through_a_card() -> None:
    made = publish_probes(network(), bytes(32), np.random.default_rng(0), 4)
    assert Probes.from_plain(json.loads(json.dumps(made.to_plain()))) == made
    made.fit(network().topology)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": "00"},
        {"seed": 5},
        {"logits": []},
        {"logits": [[1], [1, 2]]},
        {"logits": [["1"]]},
        {"logits": [[True]]},
        {"logits": [[1 << 40]]},
        {"tolerance": -1},
        {"tolerance": 1.5},
        {"tolerance": None},
    ],
)
def test_malformed_probes(change: dict[str, object]) -> None:
    plain = Probes(bytes(32), ((1,),), 4).to_plain()
    for value in (plain | change, None, [], {}):
        with pytest.raises(ProtocolError):
            Probes.from_plain(value)


def test_probes_that_promise_nothing() -> None:
    top = network().topology
    with pytest.raises(ProtocolError, match="allow an error"):
        Probes(bytes(32), ((1,),), 3000).fit(top)
    with pytest.raises(ProtocolError, match="another network"):
        Probes(bytes(32), ((1, 2),), 3).fit(top)


# ---- slots
class Shifting(ModelParty):
    """A model that adds `shift` to the opened logits of `slots`."""

    slots: tuple[int, ...] = ()
    shift = 0

    def _finish(self, z0, ahead):  # type: ignore[no-untyped-def]
        for slot in self.slots:
            z0[slot] += np.uint32(self.shift << self._topology.logit_shift)
        yield from super()._finish(z0, ahead)


def session(net: Network, number: int, probes: Probes, slots: int, cheat: tuple[int, ...], shift: int = 0):  # type: ignore[no-untyped-def]
    """Runs one; (patient, model, transcript or None when the patient refused)."""
    rng = np.random.default_rng(number)
    top, name, seeds = net.topology, net.network_hash(), seeds_of(number)
    plan = plan_slots(slots, probes, lambda n: int(rng.integers(n)))
    image = rng.integers(top.input_low, top.input_high + 1, top.input_shape)
    names = draw(f"session {number}"), seeds.name
    patient = AuditedPatient(top, name, image, plan, *names, seeds.patient, UsedSessions())
    model = Shifting(ModelWeights(net, SEED), *names, UsedSessions(), slots)
    model.slots, model.shift = cheat, shift
    tape = list(deal_tape(Pads(top, name, SEED), seeds, slots))
    try:
        transcript = run_parties(Parties(patient, model, tape))
    except ModelCheated:
        transcript = None
    return patient, model, plan, transcript


@pytest.mark.parametrize("net", [network(), fill(lenet(32, logit_scale=0.001), 2)])
def test_honest_models_are_never_accused(net: Network) -> None:
    probes = publish_probes(net, bytes(32), np.random.default_rng(0), 8)
    probes.fit(net.topology)
    runs = 100 if net.topology.input_shape[0] == 1 else 12
    for number in range(runs):
        patient, model, plan, transcript = session(net, number, probes, DEFAULT_SLOTS, ())
        assert transcript is not None
        assert patient.result.buckets[plan.copies[0]] == model.result.bucket
        assert patient.counts == plan.copies[0]


def test_a_model_that_shifts_two_slots_escapes_one_time_in_six() -> None:
    """Its best: two slots alike, and the hope that they are the two copies."""
    net, runs, slots = network(), 240, 4
    probes = publish_probes(net, bytes(32), np.random.default_rng(0), 8)
    escaped = 0
    for number in range(runs):
        picked = np.random.default_rng(10_000 + number).choice(slots, 2, replace=False)
        cheat = tuple(int(i) for i in picked)
        patient, model, plan, transcript = session(net, number, probes, slots, cheat, 3 * probes.tolerance)
        if transcript is not None:
            assert set(plan.copies) == set(cheat)
            escaped += 1
            continue
        for party in (patient, model):  # nothing was opened, and no bucket went out
            with pytest.raises(ProtocolError):
                _ = party.result
    due = 1 - slot_detection(slots)
    assert due == pytest.approx(1 / 6)
    assert abs(escaped / runs - due) < 4 * sqrt(due * (1 - due) / runs)


@pytest.mark.parametrize("cheat", [(0,), (1, 2, 3), (0, 1, 2, 3)])
def test_other_ways_to_shift_never_escape(cheat: tuple[int, ...]) -> None:
    net = network()
    probes = publish_probes(net, bytes(32), np.random.default_rng(0), 8)
    for number in range(10):
        assert session(net, number, probes, 4, cheat, 3 * probes.tolerance)[3] is None


def test_no_answer_leaves_before_the_check() -> None:
    net = network()
    probes = publish_probes(net, bytes(32), np.random.default_rng(0), 8)
    *_, transcript = session(net, 1, probes, 4, ())
    assert transcript is not None
    assert [frame[3] for *_, frame in transcript][-2:] == [Kind.LOGITS, Kind.ANSWER]


def test_plans_are_uniform_and_refuse_what_checks_nothing() -> None:
    probes = Probes(bytes(32), ((1,),) * 6, 4)
    rng = np.random.default_rng(0)
    seen: dict[tuple[int, int], int] = {}
    for _ in range(3000):
        plan = plan_slots(4, probes, lambda n: int(rng.integers(n)))
        assert len(set(plan.slots)) == 3
        seen[plan.copies] = seen.get(plan.copies, 0) + 1
    assert len(seen) == comb(4, 2)
    assert all(abs(count - 500) < 100 for count in seen.values())
    for slots in (1, 2, 19):
        with pytest.raises(ProtocolError):
            plan_slots(slots, probes, lambda n: 0)
    with pytest.raises(ProtocolError, match="probes alone"):
        plan_slots(9, probes, lambda n: 0)
