"""Drawing and seating: the seed, replacements, too few doctors."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.contracts.evm import refused
from tests.contracts.world import (
    ACCEPTED,
    COMMIT,
    DECLINED,
    DRAWING,
    GWEI,
    INVITED,
    REFUNDED,
    REPLACED,
    SEATING,
    SPECIALTY,
    Ballot,
    CaseHandle,
    World,
)


def test_the_draw_waits_for_the_seed_block(world: World) -> None:
    case = world.open_case()
    with refused("NothingDue"):
        world.advance(case)
    assert world.chain.view(world.cases, "isDue", case.id) is False
    world.chain.mine(1)
    assert world.chain.view(world.cases, "isDue", case.id) is True
    world.advance(case)
    seen = world.view(case)
    assert seen.phase == SEATING
    assert seen.deadline == world.chain.time + 60
    assert [seat.status for seat in seen.seats] == [INVITED] * 5
    assert {seat.band for seat in seen.seats} == {1}
    assert all(seat.newcomer for seat in seen.seats)


def test_a_late_draw_is_anchored_anew(world: World) -> None:
    """The hash of a block older than 256 blocks is out of reach; the case goes on, one draw poorer."""
    case = world.open_case()
    world.chain.mine(300)
    receipt = world.advance(case)
    assert receipt.only("PhaseChanged").values["phase"] == DRAWING
    seen = world.view(case)
    assert (seen.seedBlock, seen.attempt) == (world.chain.number + 1, 2)
    assert len(world.draw(case)) == 5


def test_nobody_can_wait_for_a_draw_to_their_liking(world: World) -> None:
    case = world.open_case()
    seeds = set()
    while world.view(case).phase == DRAWING:
        seeds.add(world.view(case).seedBlock)
        world.chain.mine(300)
        world.advance(case)
    assert len(seeds) == 3
    assert world.view(case).phase == REFUNDED
    assert world.credit(case.account) == world.view(case).bountyWei


def test_a_stale_snapshot_is_anchored_anew(world: World) -> None:
    case = world.open_case("slow")
    for i in range(2):
        world.chain.mine(5)
        world.open_case(f"later {i}")
    world.advance(case)
    assert world.view(case).phase == DRAWING
    assert len(world.draw(case)) == 5


def test_registering_after_opening_is_too_late(world: World) -> None:
    case = world.open_case(panel_size=3)
    late = world.add_doctors(40, prefix="late")
    drawn = world.draw(case)
    assert not {d.address for d in drawn} & {d.address for d in late}


def test_all_accepting_begins_the_reading_at_once(world: World) -> None:
    case = world.open_case(panel_size=3)
    panel = world.draw(case)
    for doctor in panel[:2]:
        world.accept(case, doctor)
        assert world.view(case).phase == SEATING
    last = world.accept(case, panel[2])
    changed = last.only("PhaseChanged").values
    assert (changed["phase"], changed["deadline"]) == (COMMIT, world.chain.time + 120)
    assert world.chain.view(world.cases, "books")[1] == 3 * 5 * GWEI
    with refused("NothingDue"):
        world.advance(case)


def test_only_the_invited_accept_once_in_time_for_the_deposit(world: World) -> None:
    case = world.open_case(panel_size=3)
    panel = world.draw(case)
    bystander = next(d for d in world.members.values() if d not in panel)
    with refused("NoSeat"):
        world.accept(case, bystander)
    for sent in (0, 5 * GWEI - 1, 5 * GWEI + 1):
        with refused("WrongPayment", sent, 5 * GWEI):
            world.send(panel[0], world.cases, "accept", case.id, value=sent)
    world.accept(case, panel[0])
    with refused("NoSeat"):
        world.accept(case, panel[0])
    with refused("NoSeat"):
        world.send(panel[0], world.cases, "decline", case.id)
    world.chain.mine(1, 61)
    with refused("TooLate"):
        world.accept(case, panel[1])
    with refused("TooLate"):
        world.send(panel[1], world.cases, "decline", case.id)


def test_a_doctor_who_left_or_rests_cannot_accept(world: World) -> None:
    case = world.open_case(panel_size=3)
    panel = world.draw(case)
    world.send(panel[0], world.doctors, "resign")
    world.send(panel[1], world.doctors, "setResting", True)
    for doctor in panel[:2]:
        with refused("NotUsable"):
            world.accept(case, doctor)


def test_who_declines_is_replaced_by_somebody_new(world: World) -> None:
    case = world.open_case(panel_size=3)
    panel = world.draw(case)
    world.accept(case, panel[0])
    world.accept(case, panel[1])
    lost = world.send(panel[2], world.cases, "decline", case.id).only("SeatLost").values
    assert lost["status"] == DECLINED
    before = world.reputation_of(panel[2])
    world.advance(case)
    assert world.view(case).attempt == 2
    (substitute,) = world.draw(case)
    assert substitute not in panel
    world.accept(case, substitute)
    assert world.view(case).phase == COMMIT
    assert world.reputation_of(panel[2]) == before
    assert world.chain.view(world.doctors, "isUsable", panel[2].address, SPECIALTY), "declining is no lapse"


def test_silence_is_replaced_after_the_deadline_and_rests(world: World) -> None:
    case = world.open_case(panel_size=3)
    panel = world.draw(case)
    world.accept(case, panel[0])
    with refused("NothingDue"):
        world.advance(case)
    world.chain.mine(1, 60)
    receipt = world.advance(case)
    assert {e.values["doctor"] for e in receipt.all("SeatLost")} == {d.address for d in panel[1:]}
    assert {e.values["status"] for e in receipt.all("SeatLost")} == {REPLACED}
    assert len(receipt.all("Resting")) == 2
    assert not world.chain.view(world.doctors, "isUsable", panel[1].address, SPECIALTY)
    substitutes = world.draw(case)
    assert len(substitutes) == 2
    assert not set(substitutes) & set(panel)


def seat_some(world: World, panel_size: int, accepting: list[int]) -> tuple[CaseHandle, SimpleNamespace]:
    """A case whose three draws have so many accepting; the others decline."""
    case = world.open_case(panel_size=panel_size)
    for count in accepting:
        drawn = world.draw(case)
        for i, doctor in enumerate(drawn):
            if i < count:
                world.accept(case, doctor)
            else:
                world.send(doctor, world.cases, "decline", case.id)
        world.advance(case)
    return case, world.view(case)


@pytest.mark.parametrize(
    ("panel_size", "accepting"),
    [(5, [1, 1, 1]), (5, [3, 0, 0]), (5, [0, 0, 4]), (7, [2, 1, 1]), (9, [5, 0, 0])],
)
def test_a_majority_of_the_seats_goes_on(world: World, panel_size: int, accepting: list[int]) -> None:
    _, seen = seat_some(world, panel_size, accepting)
    assert (seen.phase, seen.seated) == (COMMIT, sum(accepting))


@pytest.mark.parametrize(
    ("panel_size", "accepting"),
    [(3, [1, 1, 0]), (5, [2, 0, 0]), (7, [1, 1, 1]), (9, [0, 0, 0]), (9, [4, 0, 0])],
)
def test_too_few_refund_the_patient_and_the_deposits(
    world: World, panel_size: int, accepting: list[int]
) -> None:
    case, seen = seat_some(world, panel_size, accepting)
    assert seen.phase == REFUNDED
    assert world.credit(case.account) == seen.bountyWei
    seated = [s for s in seen.seats if s.status == ACCEPTED]
    assert len(seated) == sum(accepting)
    for seat in seen.seats:
        doctor = world.members[seat.doctor]
        assert world.credit(doctor) == (5 * GWEI if seat in seated else 0)
        assert seat.reputationBefore == seat.reputationAfter == 2_500
        assert world.chain.view(world.doctors, "doctor", seat.doctor).openSeats == 0
    assert world.chain.view(world.cases, "books")[:2] == (0, 0)
    with refused("NothingDue"):
        world.advance(case)


def test_an_unfilled_seats_fee_goes_back(world: World) -> None:
    case, _ = seat_some(world, 5, [4, 0, 0])
    panel = world.at_step(case, ACCEPTED)
    world.vote(case, {d: Ballot(3) for d in panel})
    world.advance(case)
    for doctor in panel:
        assert world.credit(doctor) == (40 + 5) * GWEI, "no more than a seat's fee each"
    assert world.credit(case.account) == (16 - 4) * 40 * GWEI


def test_with_no_doctor_at_all_the_case_is_refunded(bare: World) -> None:
    case = bare.open_case()
    for _ in range(3):
        bare.chain.mine(2)
        bare.advance(case)
    assert bare.view(case).phase == REFUNDED
    assert bare.credit(case.account) == bare.view(case).bountyWei


def test_round_two_without_enough_new_doctors_is_refunded(bare: World) -> None:
    world = bare
    world.add_doctors(6)
    case = world.open_case(panel_size=3)
    world.round(case, [1, 2, 3])
    assert world.view(case).round == 2
    assert len(world.draw(case)) == 3, "nobody sits twice in a case"
    for _ in range(10):
        if world.view(case).phase == REFUNDED:
            break
        world.chain.mine(2, 100)
        world.advance(case)
    assert world.view(case).phase == REFUNDED


def test_one_doctor_has_one_seat_in_all_rounds(world: World) -> None:
    case = world.open_case(panel_size=7)
    first = world.round(case, [1, 2, 3, 4, 5, 6, 7])
    second = world.draw(case)
    assert len(second) == 15
    assert not set(first) & set(second)
    for doctor in first:
        with refused("NoSeat"):
            world.accept(case, doctor)
