"""What a round pays, by hand-worked figures: seat fee 40, deposit 5, reading fee 8 (a fifth), in gwei."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.contracts.evm import refused
from tests.contracts.world import (
    GWEI,
    REFUNDED,
    SETTLED,
    Actor,
    Ballot,
    CaseHandle,
    World,
)

FEE, DEPOSIT, READING = 40 * GWEI, 5 * GWEI, 8 * GWEI
MISSING = None
"""Accepts and never commits."""


def play(world: World, codes: Sequence[int | None], name: str = "case") -> tuple[CaseHandle, list[Actor]]:
    """One round in which the seats vote so; closed."""
    case = world.open_case(name, panel_size=len(codes))
    panel = world.seat_all(case)
    world.vote(
        case, {d: None if code is None else Ballot(code) for d, code in zip(panel, codes, strict=True)}
    )
    world.advance(case)
    return case, panel


def earned(world: World, panel: list[Actor]) -> list[int]:
    """Credits less the deposit, in wei; None-voters have no deposit back."""
    return [world.credit(doctor) for doctor in panel]


@pytest.mark.parametrize(
    ("codes", "pays"),
    [
        # unanimous: a fee each
        ([7, 7, 7], [FEE + DEPOSIT] * 3),
        # a dissenter has its deposit back, and no fee
        ([7, 7, 8], [FEE * 3 // 2 + DEPOSIT] * 2 + [DEPOSIT]),
        ([7, 7, 7, 7, 9], [FEE * 5 // 4 + DEPOSIT] * 4 + [DEPOSIT]),
        # "insufficient evidence" earns a reading fee out of the pot
        ([7, 7, 0], [(3 * FEE - READING) // 2 + DEPOSIT] * 2 + [READING + DEPOSIT]),
        # a no-show loses the deposit to those who agree
        ([7, 7, None], [(3 * FEE + DEPOSIT) // 2 + DEPOSIT] * 2 + [0]),
        ([7, 7, 7, 0, None], [(5 * FEE - READING + DEPOSIT) // 3 + DEPOSIT] * 3 + [READING + DEPOSIT, 0]),
    ],
)
def test_agreement_on_a_label(world: World, codes: list[int | None], pays: list[int]) -> None:
    case, panel = play(world, codes)
    seen = world.view(case)
    assert (seen.phase, seen.result, seen.agreeing) == (SETTLED, 7, codes.count(7))
    assert earned(world, panel) == pays
    back = [DEPOSIT if code is not None else 0 for code in codes]
    assert [s.paidWei for s in seen.seats] == [p - b for p, b in zip(pays, back, strict=True)]
    # All that went in comes out: the bounty and the deposits.
    assert sum(pays) + world.credit(case.account) == seen.bountyWei + len(codes) * DEPOSIT
    assert world.chain.view(world.cases, "books")[:2] == (0, 0)


@pytest.mark.parametrize(
    ("codes", "pays"),
    [
        ([0, 0, 0], [READING + DEPOSIT] * 3),
        ([0, 0, 7], [READING + DEPOSIT] * 3),
        ([0, 0, None], [READING + DEPOSIT + DEPOSIT // 2] * 2 + [0]),
    ],
)
def test_agreement_on_insufficient_evidence_pays_reading_fees(
    world: World, codes: list[int | None], pays: list[int]
) -> None:
    case, panel = play(world, codes)
    seen = world.view(case)
    assert (seen.phase, seen.result) == (SETTLED, 0)
    assert seen.agreeing == codes.count(0)
    assert earned(world, panel) == pays
    assert world.credit(case.account) == seen.bountyWei + 3 * DEPOSIT - sum(pays)


@pytest.mark.parametrize(
    "codes",
    [
        [1, 2, 3],
        [7, 7, 8, 8, 8],  # three of five are no two thirds
        [7, 7, 7, 0, 0],
        [7, 7, 8, None, None],  # two of three revealed, not half of the seats
        [7, None, None],
        [0, 0, 7, 7, 9],
    ],
)
def test_a_hung_round_pays_reading_fees_and_calls_a_larger_panel(
    world: World, codes: list[int | None]
) -> None:
    case, panel = play(world, codes)
    seen = world.view(case)
    assert (seen.round, seen.wanted, seen.phase) == (2, 2 * len(codes) + 1, 1)
    missing = codes.count(None)
    share = READING + missing * DEPOSIT // (len(codes) - missing)
    assert earned(world, panel) == [0 if code is None else share + DEPOSIT for code in codes]
    assert world.credit(case.account) == 0, "the patient's part waits for the end"
    outcome = world.chain.view(world.cases, "outcomeOf", case.id, 1)
    assert (outcome.closed, outcome.decided, outcome.agreeing) == (True, False, 0)
    paid = (len(codes) - missing) * share
    assert seen.escrowWei == seen.bountyWei + missing * DEPOSIT - paid


def test_three_of_three_revealed_can_carry_a_panel_of_five(world: World) -> None:
    case, _ = play(world, [7, 7, 7, None, None])
    assert world.view(case).phase == SETTLED


def test_round_two_decides_and_pays_its_own_pot(world: World) -> None:
    case, first = play(world, [1, 2, 3])
    before = [world.credit(d) for d in first]
    second = world.round(case, [5, 5, 5, 5, 5, 6, 0])
    seen = world.view(case)
    assert (seen.phase, seen.round, seen.result, seen.agreeing) == (SETTLED, 2, 5, 5)
    share = (7 * FEE - READING) // 5
    assert [world.credit(d) for d in second] == [share + DEPOSIT] * 5 + [DEPOSIT, READING + DEPOSIT]
    assert [world.credit(d) for d in first] == before
    paid = 3 * READING + 5 * share + READING
    assert world.credit(case.account) == seen.bountyWei - paid


def test_the_last_round_without_agreement_refunds(world: World) -> None:
    case, _ = play(world, [1, 2, 3])
    second = world.round(case, [1, 1, 1, 1, 2, 2, 2])
    seen = world.view(case)
    assert (seen.phase, seen.result, seen.agreeing) == (REFUNDED, 0, 0)
    assert [world.credit(d) for d in second] == [READING + DEPOSIT] * 7
    assert world.credit(case.account) == seen.bountyWei - 10 * READING
    with refused("NothingDue"):
        world.advance(case)


def test_deposits_of_a_panel_that_vanished_go_to_the_patient(world: World) -> None:
    case = world.open_case(panel_size=3)
    panel = world.seat_all(case)
    world.vote(case, dict.fromkeys(panel))
    assert world.view(case).round == 2
    world.vote(case, dict.fromkeys(world.seat_all(case)))
    seen = world.view(case)
    assert seen.phase == REFUNDED
    assert world.credit(case.account) == seen.bountyWei + 10 * DEPOSIT
    assert earned(world, panel) == [0, 0, 0]


def test_dust_goes_to_the_patient(world: World) -> None:
    """3 * 40 gwei + 5 gwei among 2 divides; among 7 of 9 it does not."""
    case, panel = play(world, [7] * 7 + [8, 8])
    share = 9 * FEE // 7
    assert (9 * FEE) % 7
    assert earned(world, panel)[:7] == [share + DEPOSIT] * 7
    assert world.credit(case.account) == 28 * FEE - 7 * share


def test_settling_twice_is_refused(world: World) -> None:
    case, panel = play(world, [7, 7, 7])
    before = [world.credit(d) for d in panel]
    for _ in range(3):
        with refused("NothingDue"):
            world.advance(case)
    assert [world.credit(d) for d in panel] == before


def test_everybody_draws_what_is_theirs_once(world: World) -> None:
    case, panel = play(world, [7, 7, 8])
    for who in (*panel, case.account):
        owed, before = world.credit(who), world.chain.balance(who.address)
        receipt = world.send(who, world.cases, "withdraw")
        assert receipt.only("Withdrawn").values["amount"] == owed
        assert world.chain.balance(who.address) - before == owed
        with refused("NothingToWithdraw"):
            world.send(who, world.cases, "withdraw")
    assert world.chain.balance(world.cases.address) == 0


def test_credits_name_the_case_they_come_from(world: World) -> None:
    case = world.open_case(panel_size=3)
    panel = world.seat_all(case)
    world.vote(case, {d: Ballot(7) for d in panel})
    credited = world.advance(case).all("Credited")
    assert {e.values["caseId"] for e in credited} == {case.id}
    assert {e.values["account"] for e in credited} == {d.address for d in (*panel, case.account)}
    assert sum(e.values["amount"] for e in credited) == 10 * FEE + 3 * DEPOSIT


def test_cases_do_not_touch_each_others_money(world: World) -> None:
    first = world.open_case("first", bucket=0, panel_size=3)
    second = world.open_case("second", bucket=3, panel_size=3)
    bounties, deposits, credits_ = world.chain.view(world.cases, "books")
    assert (bounties, deposits, credits_) == (10 * FEE + 10 * 10 * GWEI, 0, 0)
    world.round(first, [7, 7, 7])
    assert world.chain.view(world.cases, "books")[0] == world.view(second).escrowWei == 100 * GWEI


def test_the_contract_takes_no_other_money(world: World) -> None:
    for contract in (world.cases, world.doctors, world.models, world.market, world.reputation):
        with pytest.raises(RuntimeError):
            world.chain.evm.message_call(world.stranger.address, contract.address, value=1)
