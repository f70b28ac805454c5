"""The scale: bounds, drift, who may move it, and that the rule is proper."""

from __future__ import annotations

import pytest

from tests.contracts.evm import Chain, Contract, refused
from tests.contracts.world import SPECIALTY, actor

CASES, ANN = actor("cases").address, actor("Ann").address
START, YEAR = 2_500, 365 * 24 * 3_600


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def book(chain: Chain) -> Contract:
    return chain.deploy(CASES, "Reputation", CASES)


def of(chain: Chain, book: Contract, account: str = ANN) -> int:
    return int(chain.view(book, "ofDoctor", account, SPECIALTY))


def score(chain: Chain, book: Contract, agreed: bool, confidence: int) -> int:
    before, after = chain.send(CASES, book, "scoreReading", 1, ANN, SPECIALTY, agreed, confidence).value
    return int(after - before)


def test_only_cases_moves_it(chain: Chain, book: Contract) -> None:
    for name, arguments in (
        ("scoreReading", (1, ANN, SPECIALTY, True, 100)),
        ("scoreAbsence", (1, ANN, SPECIALTY)),
        ("scoreNetwork", (1, SPECIALTY, SPECIALTY, 50, 3, 3)),
    ):
        with refused("OnlyCases"):
            chain.send(ANN, book, name, *arguments)


def test_it_stays_within_the_scale(chain: Chain, book: Contract) -> None:
    for _ in range(10):
        chain.send(CASES, book, "scoreAbsence", 1, ANN, SPECIALTY)
    assert of(chain, book) == 0
    for _ in range(70):
        score(chain, book, True, 100)
    assert of(chain, book) == 10_000


def test_the_rule_is_proper(chain: Chain, book: Contract) -> None:
    """Whatever a reader believes, no other statement has a higher expected score."""
    stated = list(range(0, 101, 5))
    points = {}
    for p in stated:
        with chain.undone():
            agreed = score(chain, book, True, p)
        with chain.undone():
            points[p] = (agreed, score(chain, book, False, p))
    for belief in stated:
        expected = {p: belief * yes + (100 - belief) * no for p, (yes, no) in points.items()}
        assert expected[belief] >= max(expected.values()) - 100, "but for rounding to whole points"


def test_a_coin_flip_earns_nothing_and_absence_costs_most(chain: Chain, book: Contract) -> None:
    with chain.undone():
        assert score(chain, book, True, 50) == 100
    with chain.undone():
        assert score(chain, book, False, 50) == -100
    with chain.undone():
        assert score(chain, book, False, 100) == -280
    before, after = chain.send(CASES, book, "scoreAbsence", 1, ANN, SPECIALTY).value
    assert after - before == -500


def test_it_drifts_half_the_way_back_in_a_year(chain: Chain, book: Contract) -> None:
    for _ in range(10):
        score(chain, book, True, 100)
    peak = of(chain, book)
    assert peak == START + 1_600
    for seconds, value in (
        (YEAR // 2, 1_200),
        (YEAR // 2, 800),
        (YEAR, 400),
        (YEAR // 2, 300),
        (20 * YEAR, 0),
    ):
        chain.mine(1, seconds)
        assert of(chain, book) == START + value
    for _ in range(2):
        chain.send(CASES, book, "scoreAbsence", 1, ANN, SPECIALTY)
    chain.mine(1, YEAR)
    assert of(chain, book) == START - 500, "from below as well"


def test_doctors_networks_and_specialties_are_apart(chain: Chain, book: Contract) -> None:
    """A network whose hash is a doctor's address is another subject."""
    alias = bytes.fromhex(ANN[2:]).rjust(32, b"\0")
    chain.send(CASES, book, "scoreNetwork", 1, alias, SPECIALTY, 95, 0, 3)
    assert chain.view(book, "ofNetwork", alias, SPECIALTY) == START - 261
    assert of(chain, book) == START
    score(chain, book, True, 100)
    assert chain.view(book, "ofDoctor", ANN, b"\2" * 32) == START
    assert chain.view(book, "ofNetwork", alias, SPECIALTY) == START - 261
