"""What a case does to reputation, and when."""

from __future__ import annotations

import pytest

from tests.contracts.evm import Receipt
from tests.contracts.world import (
    NETWORK,
    REFUNDED,
    SETTLED,
    SPECIALTY,
    Actor,
    Ballot,
    CaseHandle,
    World,
)

START = 2_500


def network_standing(world: World) -> int:
    return int(world.chain.view(world.reputation, "ofNetwork", NETWORK, SPECIALTY))


def play(world: World, ballots: list[Ballot | None], name: str = "case") -> tuple[CaseHandle, list[Actor]]:
    case = world.open_case(name, panel_size=len(ballots))
    panel = world.seat_all(case)
    world.vote(case, dict(zip(panel, ballots, strict=True)))
    world.advance(case)
    return case, panel


def moves(receipt: Receipt) -> int:
    return len(receipt.all("Moved"))


def test_confidence_is_scored_by_the_quadratic_rule(world: World) -> None:
    """Agreed: 160 - 240 (1-p)^2. Dissented: -40 - 240 p^2. Insufficient: nothing. No-show: -500."""
    ballots = [
        Ballot(7, 100),
        Ballot(7, 50),
        Ballot(7, 0),
        Ballot(7, 90),
        Ballot(7, 80),
        Ballot(8, 100),
        None,
    ]
    case, panel = play(world, ballots)
    assert world.view(case).phase == SETTLED
    moved = [world.reputation_of(d) - START for d in panel]
    assert moved == [160, 100, -80, 158, 151, -280, -500]
    for seat, change in zip(world.view(case).seats, moved, strict=True):
        assert (seat.reputationBefore, seat.reputationAfter) == (START, START + change)


def test_insufficient_evidence_is_never_scored(world: World) -> None:
    _, panel = play(world, [Ballot(7), Ballot(7), Ballot(0, 100)])
    assert world.reputation_of(panel[2]) == START
    _, panel = play(world, [Ballot(0), Ballot(0), Ballot(7, 100)], "agreed on 0")
    assert [world.reputation_of(d) for d in panel] == [START] * 3
    assert world.chain.view(world.reputation, "standing", panel[0].address, SPECIALTY) == (START, 0)


def test_a_hung_round_moves_nothing_until_the_end_and_then_only_no_shows(world: World) -> None:
    case, first = play(world, [Ballot(1, 100), Ballot(2, 100), None])
    assert [world.reputation_of(d) for d in first] == [START] * 3
    world.round(case, [5] * 7, confidence=100)
    assert world.view(case).phase == SETTLED
    assert [world.reputation_of(d) for d in first] == [START, START, START - 500]
    seats = world.view(case).seats
    assert [s.reputationAfter for s in seats] == [START, START, START - 500] + [START + 160] * 7


def test_a_refund_moves_only_no_shows(world: World) -> None:
    before = network_standing(world)
    case, _ = play(world, [Ballot(1), Ballot(2), None])
    second = world.seat_all(case)
    world.vote(case, {d: Ballot(i + 1, 100) if i < 6 else None for i, d in enumerate(second)})
    receipt = world.advance(case)
    assert world.view(case).phase == REFUNDED
    assert moves(receipt) == 2
    assert [world.reputation_of(d) for d in second] == [START] * 6 + [START - 500]
    assert network_standing(world) == before


def test_no_step_before_the_end_moves_reputation(world: World) -> None:
    case = world.open_case(panel_size=3)
    world.chain.mine(2)
    receipts = [world.advance(case)]
    panel = [world.members[e.values["doctor"]] for e in receipts[0].all("Drawn")]
    receipts += [world.accept(case, d) for d in panel]
    receipts += [world.commit(case, d, Ballot(7)) for d in panel]
    receipts += [world.reveal(case, d) for d in panel]
    assert sum(moves(r) for r in receipts) == 0
    assert moves(world.advance(case)) == 4, "three doctors and the network"


@pytest.mark.parametrize(
    ("bucket", "agreeing", "points"),
    [(0, 3, 19), (1, 3, 64), (3, 3, 99), (3, 2, 68), (0, 2, 95)],
)
def test_the_network_is_scored_on_the_panels_agreement(
    world: World, bucket: int, agreeing: int, points: int
) -> None:
    """100 - 400 (p - share)^2 with p = 55, 70, 85, 95 percent by bucket; worked by hand, rounded up."""
    case = world.open_case(bucket=bucket, panel_size=3)
    before = network_standing(world)
    world.round(case, [7] * agreeing + [8] * (3 - agreeing))
    assert network_standing(world) - before == points


def test_the_draw_learns_of_the_move(world: World) -> None:
    doctors, weight = world.chain.view(world.doctors, "poolOf", SPECIALTY, 0)
    play(world, [Ballot(7, 100), Ballot(7, 100), Ballot(8, 100)])
    assert world.chain.view(world.doctors, "poolOf", SPECIALTY, 0) == (doctors, weight + 160 + 160 - 280)


def test_a_doctor_who_left_is_scored_all_the_same(world: World) -> None:
    case = world.open_case(panel_size=3)
    panel = world.seat_all(case)
    world.send(panel[0], world.doctors, "resign")
    world.vote(case, {d: Ballot(7, 100) for d in panel})
    world.advance(case)
    assert world.reputation_of(panel[0]) == START + 160
    world.send(panel[0], world.doctors, "withdrawDeposit")
    assert not world.chain.view(world.doctors, "isUsable", panel[0].address, SPECIALTY)


def test_after_five_verdicts_nobody_is_a_newcomer(bare: World) -> None:
    world = bare
    panel = world.add_doctors(3)
    for i in range(5):
        assert {s.newcomer for s in world.view(play(world, [Ballot(7, 100)] * 3, f"case {i}")[0]).seats} == {
            True
        }
    assert world.chain.view(world.doctors, "poolOf", SPECIALTY, 0) == (0, 0)
    assert world.chain.view(world.doctors, "poolOf", SPECIALTY, 2) == (3, 3 * (START + 5 * 160 + 1))
    case, _ = play(world, [Ballot(7, 100)] * 3, "case 6")
    assert {(s.newcomer, s.band) for s in world.view(case).seats} == {(False, 1)}
    assert len(panel) == 3
