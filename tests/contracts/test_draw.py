"""The draw: frozen weights, bands, newcomers' share, exclusion, fairness; with `Cases` played by the test."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from eth_utils.crypto import keccak

from protocols.crypto.eip712 import Credential, doctors_domain, sign
from tests.contracts.evm import CHAIN_ID, Chain, Contract, Receipt, create_address, refused
from tests.contracts.world import (
    FOREVER,
    SPECIALTY,
    Actor,
    Terms,
    actor,
    possession_proof,
)

START_BAND = 1
NEWCOMERS = 0


class Stage:
    """`Doctors` and `Reputation` that take the test for `Cases`."""

    def __init__(self, epoch_blocks: int = 4) -> None:
        self.chain = Chain()
        self.cases = actor("cases").address
        self.attester = actor("attester")
        terms = Terms(registration_deposit=0, epoch_blocks=epoch_blocks).as_tuple()
        self.reputation = self.chain.deploy(self.cases, "Reputation", self.cases)
        attesters = [self.attester.address]
        self.doctors = self.chain.deploy(
            self.cases, "Doctors", terms, attesters, self.reputation.address, self.cases
        )

    def call(self, contract: Contract, name: str, *arguments: object) -> Receipt:
        return self.chain.send(self.cases, contract, name, *arguments)

    def add(self, count: int, standing: int | None = None, prefix: str = "d") -> list[Actor]:
        """New doctors; veterans of about that reputation where one is given."""
        added = [actor(f"{prefix}{i}") for i in range(count)]
        for doctor in added:
            credential = Credential(doctor.address, SPECIALTY, FOREVER)
            digest = doctors_domain(CHAIN_ID, self.doctors.address).digest(credential)
            application = (
                [SPECIALTY],
                [(self.attester.address, FOREVER, sign(self.attester.key, digest))],
                b"\1" * 32,
                doctor.bls.public.g1,
                doctor.bls.public.g2,
                possession_proof(doctor.name, self.doctors.address, doctor.address),
                b"",
            )
            self.chain.send(doctor.address, self.doctors, "register", application)
            if standing is not None:
                self.bring_to(doctor, standing)
        return added

    def bring_to(self, doctor: Actor, standing: int) -> None:
        """Scores a doctor until it is no newcomer and has at least (or at most) that reputation."""
        value, scored = self.standing(doctor)
        up = value < standing
        while scored < 5 or (value < standing if up else value > standing):
            confidence = 100 if up or value <= standing else 0
            self.call(
                self.reputation, "scoreReading", 1, doctor.address, SPECIALTY, value < standing, confidence
            )
            value, scored = self.standing(doctor)
        self.call(self.doctors, "refresh", doctor.address, SPECIALTY)

    def standing(self, doctor: Actor) -> tuple[int, int]:
        value, scored = self.chain.view(self.reputation, "standing", doctor.address, SPECIALTY)
        return value, scored

    def anchor(self) -> int:
        return int(self.call(self.doctors, "anchor", SPECIALTY).value)

    def fresh_anchor(self) -> int:
        self.chain.mine(8)
        return self.anchor()

    def draw(
        self, epoch: int, seats: int, seed: int | str = 0, target: int = 3, excluded: tuple[Actor, ...] = ()
    ) -> SimpleNamespace:
        request = (
            SPECIALTY,
            keccak(text=f"seed {seed}"),
            epoch,
            seats,
            target,
            [e.address for e in excluded],
        )
        drawn: SimpleNamespace = self.chain.view(self.doctors, "draw", request)
        assert len(drawn.doctors) == len(drawn.pools) == len(set(drawn.doctors)), "one seat each"
        return drawn

    def pools(self) -> list[tuple[int, int]]:
        return [self.chain.view(self.doctors, "poolOf", SPECIALTY, pool) for pool in range(5)]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_create_addresses_are_those_of_the_chain(stage: Stage) -> None:
    assert stage.reputation.address == create_address(stage.cases, 0)
    assert stage.doctors.address == create_address(stage.cases, 1)


def test_everybody_is_drawn_when_all_seats_are_wanted(stage: Stage) -> None:
    doctors = stage.add(7)
    drawn = stage.draw(stage.anchor(), 7)
    assert set(drawn.doctors) == {d.address for d in doctors}


def test_a_draw_has_no_more_doctors_than_there_are(stage: Stage) -> None:
    stage.add(2)
    assert len(stage.draw(stage.anchor(), 9).doctors) == 2


def test_an_empty_specialty_gives_an_empty_draw(stage: Stage) -> None:
    assert stage.draw(stage.anchor(), 5).doctors == []


def test_excluded_doctors_are_never_drawn(stage: Stage) -> None:
    doctors = stage.add(12)
    epoch = stage.anchor()
    for seed in range(20):
        drawn = stage.draw(epoch, 5, seed, excluded=tuple(doctors[:7]))
        assert set(drawn.doctors) == {d.address for d in doctors[7:]}


def test_strangers_among_the_excluded_do_no_harm(stage: Stage) -> None:
    stage.add(5)
    assert len(stage.draw(stage.anchor(), 5, excluded=(actor("stranger"),)).doctors) == 5


def test_the_same_seed_draws_the_same_and_another_draws_others(stage: Stage) -> None:
    stage.add(20)
    epoch = stage.anchor()
    assert stage.draw(epoch, 5, 1) == stage.draw(epoch, 5, 1)
    assert len({tuple(stage.draw(epoch, 5, seed).doctors) for seed in range(20)}) == 20


def test_weights_are_those_of_the_snapshot(stage: Stage) -> None:
    """Who registers, leaves or moves after the snapshot cannot move a draw from it."""
    doctors = stage.add(20)
    epoch = stage.anchor()
    before = [stage.draw(epoch, 5, seed).doctors for seed in range(10)]
    late = stage.add(6, prefix="late")
    for doctor in doctors[:8]:
        stage.bring_to(doctor, 4_000)
    after = [stage.draw(epoch, 5, seed).doctors for seed in range(10)]
    assert after == before
    assert not {d.address for d in late} & {a for drawn in after for a in drawn}

    second = stage.fresh_anchor()
    assert second == epoch + 1
    assert [stage.draw(epoch, 5, seed).doctors for seed in range(10)] == before, "one epoch back still holds"
    now = [stage.draw(second, 5, seed).doctors for seed in range(10)]
    assert now != before
    for doctor in doctors[8:]:
        stage.bring_to(doctor, 5_500)
    stage.add(3, prefix="later")
    assert [stage.draw(epoch, 5, seed).doctors for seed in range(10)] == before
    assert [stage.draw(second, 5, seed).doctors for seed in range(10)] == now


def test_who_left_after_the_snapshot_is_passed_over(stage: Stage) -> None:
    doctors = stage.add(6)
    epoch = stage.anchor()
    full = stage.draw(epoch, 3)
    gone = next(d for d in doctors if d.address == full.doctors[1])
    stage.chain.send(gone.address, stage.doctors, "resign")
    drawn = stage.draw(epoch, 3)
    assert [drawn.doctors[0], drawn.doctors[1]] == [full.doctors[0], full.doctors[2]], "the others stay"
    assert gone.address not in drawn.doctors
    assert len(drawn.doctors) == 3


def test_snapshots_join_within_an_epoch_and_go_stale_after_two(stage: Stage) -> None:
    stage.add(3)
    first = stage.anchor()
    assert stage.anchor() == first, "too soon for another"
    assert stage.fresh_anchor() == first + 1
    assert stage.chain.view(stage.doctors, "isFresh", SPECIALTY, first)
    stage.fresh_anchor()
    assert not stage.chain.view(stage.doctors, "isFresh", SPECIALTY, first)
    with refused("StaleSnapshot"):
        stage.draw(first, 3)
    with refused("StaleSnapshot"):
        stage.draw(0, 3)


def test_trees_grow_and_keep_their_sums(stage: Stage) -> None:
    """Across the heights 0, 1, 2, 3; a snapshot taken before still reads the same after."""
    epoch = 0
    first: list[list[str]] = []
    for count, prefix in ((1, "a"), (4, "b"), (12, "c"), (4, "e")):
        stage.add(count, prefix=prefix)
        if epoch:
            assert [stage.draw(epoch, 3, seed).doctors for seed in range(5)] == first
        epoch = stage.fresh_anchor()
        first = [stage.draw(epoch, 3, seed).doctors for seed in range(5)]
        assert stage.pools()[NEWCOMERS] == (
            stage.chain.view(stage.doctors, "membersOf", SPECIALTY),
            2_501 * stage.chain.view(stage.doctors, "membersOf", SPECIALTY),
        )
    assert stage.chain.view(stage.doctors, "membersOf", SPECIALTY) == 21
    assert len(stage.draw(epoch, 9).doctors) == 9


def test_a_doctor_stands_in_the_pool_of_its_reputation(stage: Stage) -> None:
    low, middle, high, top = (
        stage.add(1, r, p)[0] for r, p in ((1_500, "l"), (3_000, "m"), (6_000, "h"), (9_000, "t"))
    )
    new = stage.add(1, prefix="n")[0]
    for doctor, pool in ((new, 0), (low, 1), (middle, 2), (high, 3), (top, 4)):
        assert stage.chain.view(stage.doctors, "doctor", doctor.address).pools == [pool]
        assert stage.pools()[pool] == (1, stage.standing(doctor)[0] + 1)


def test_nobody_is_drawn_above_their_band(stage: Stage) -> None:
    low = stage.add(6, 1_500, "l")
    high = stage.add(6, 6_000, "h")
    stage.add(6, prefix="n")
    epoch = stage.anchor()
    for seed in range(15):
        drawn = stage.draw(epoch, 5, seed, target=2)
        assert drawn.band == 2
        assert set(drawn.doctors) <= {d.address for d in high}, "newcomers stand below band 2"
        drawn = stage.draw(epoch, 5, seed, target=1)
        assert drawn.band == 1
        assert not set(drawn.doctors) & {d.address for d in low}
        drawn = stage.draw(epoch, 5, seed, target=0)
        assert set(drawn.pools) <= {0, 1}, "equals read together"


def test_the_band_comes_down_when_too_few_reach_it(stage: Stage) -> None:
    high = stage.add(4, 6_000, "h")
    stage.add(8, 3_000, "m")
    epoch = stage.anchor()
    assert stage.draw(epoch, 4, target=3).band == 2
    drawn = stage.draw(epoch, 5, target=3)
    assert drawn.band == 1
    assert len(drawn.doctors) == 5
    assert stage.draw(epoch, 1, target=3, excluded=tuple(high)).band == 1, "who sat already does not count"


def test_the_draw_widens_upwards(stage: Stage) -> None:
    stage.add(2, 1_500, "l")
    stage.add(3, 6_000, "h")
    stage.add(3, 9_000, "t")
    epoch = stage.anchor()
    drawn = stage.draw(epoch, 5, target=0)
    assert drawn.band == 0
    assert set(drawn.pools) <= {1, 3}, "as narrow as it can be"
    assert len(drawn.doctors) == 5
    assert len(stage.draw(epoch, 8, target=0).doctors) == 8


def test_newcomers_have_a_share_of_the_seats(stage: Stage) -> None:
    stage.add(10, 3_000, "m")
    stage.add(10, prefix="n")
    epoch = stage.anchor()
    shares = [stage.draw(epoch, 5, seed, target=1).pools.count(NEWCOMERS) for seed in range(30)]
    assert set(shares) == {1}
    thirds = Counter(stage.draw(epoch, 3, seed, target=1).pools.count(NEWCOMERS) for seed in range(60))
    assert set(thirds) == {0, 1}
    assert 20 <= thirds[1] <= 52, "three fifths of the panels of three have one"
    assert set(Counter(stage.draw(epoch, 9, seed).pools.count(NEWCOMERS) for seed in range(20))) <= {1, 2}


def test_seats_go_by_weight(stage: Stage) -> None:
    """Two doctors of 2,501 (newcomers) and one far heavier in the same pool: shares follow the weights."""
    doctors = stage.add(3, 7_600, "x")
    stage.call(stage.reputation, "scoreReading", 1, doctors[0].address, SPECIALTY, True, 100)
    for _ in range(14):
        stage.call(stage.reputation, "scoreReading", 1, doctors[0].address, SPECIALTY, True, 100)
    stage.call(stage.doctors, "refresh", doctors[0].address, SPECIALTY)
    weights = [stage.standing(d)[0] + 1 for d in doctors]
    epoch = stage.anchor()
    draws = 1_500
    hits = Counter(stage.draw(epoch, 1, seed).doctors[0] for seed in range(draws))
    chi = 0.0
    for doctor, weight in zip(doctors, weights, strict=True):
        expected = draws * weight / sum(weights)
        chi += (hits[doctor.address] - expected) ** 2 / expected
    assert weights[0] > 1.2 * weights[1]
    assert chi < 13.8, "p < 0.001 with two degrees of freedom"


def test_without_replacement_over_a_tall_tree_is_uniform(stage: Stage) -> None:
    doctors = stage.add(21)
    epoch = stage.anchor()
    hits = Counter(
        a for seed in range(300) for a in stage.draw(epoch, 7, seed, excluded=(doctors[4],)).doctors
    )
    assert doctors[4].address not in hits
    expected = 300 * 7 / 20
    chi = sum((hits[d.address] - expected) ** 2 / expected for d in doctors if d is not doctors[4])
    assert chi < 43.8, "p < 0.001 with nineteen degrees of freedom"


def test_unusable_doctors_are_passed_over_in_bounds(stage: Stage) -> None:
    """Sixteen are; then seats stay empty for the next draw."""
    doctors = stage.add(24)
    epoch = stage.anchor()
    for doctor in doctors[:20]:
        stage.chain.send(doctor.address, stage.doctors, "setResting", True)
    drawn = stage.draw(epoch, 4)
    assert set(drawn.doctors) <= {d.address for d in doctors[20:]}
    assert len(stage.draw(stage.fresh_anchor(), 4).doctors) == 4
