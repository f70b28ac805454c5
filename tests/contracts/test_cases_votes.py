"""Commit and reveal: what binds, when, and who sees what."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from eth_utils.crypto import keccak

from protocols.crypto.commitment import ballot_commitment
from tests.contracts.evm import CHAIN_ID, refused
from tests.contracts.world import (
    ACCEPTED,
    COMMIT,
    COMMITTED,
    NO_SHOW,
    REFUNDED,
    REVEAL,
    REVEALED,
    SETTLED,
    Actor,
    Ballot,
    CaseHandle,
    World,
)

SALT = keccak(text="salt")


@pytest.fixture
def seated(world: World) -> tuple[CaseHandle, list[Actor]]:
    """A case with three doctors seated."""
    case = world.open_case(panel_size=3)
    return case, world.seat_all(case)


Seated = tuple[CaseHandle, list[Actor]]


def bound(
    world: World, case: CaseHandle, doctor: Actor, changes: Mapping[str, object] | None = None
) -> bytes:
    """The doctor's commitment to (7, 80), some of what it binds changed."""
    fields = {
        "chain_id": CHAIN_ID,
        "cases": world.cases.address,
        "case_id": case.id,
        "round_": 1,
        "doctor": doctor.address,
        "code": 7,
        "confidence": 80,
        "salt": SALT,
    }
    return ballot_commitment(**(fields | dict(changes or {})))  # type: ignore[arg-type]


def test_the_contract_computes_the_same_commitment(world: World, seated: Seated) -> None:
    case, (ann, *_) = seated
    told = world.chain.view(world.cases, "commitmentOf", case.id, 1, ann.address, 7, 80, SALT)
    assert told == bound(world, case, ann)


@pytest.mark.parametrize(
    "changes",
    [
        {"chain_id": 2},
        {"cases": "0x" + "12" * 20},
        {"case_id": 1},
        {"round_": 2},
        {"doctor": "0x" + "12" * 20},
        {"code": 8},
        {"confidence": 81},
        {"salt": keccak(text="other")},
    ],
)
def test_everything_is_bound(world: World, seated: Seated, changes: dict[str, object]) -> None:
    case, (ann, *others) = seated
    world.send(ann, world.cases, "commit", case.id, bound(world, case, ann, changes))
    for doctor in others:
        world.commit(case, doctor, Ballot(1))
    with refused("CommitmentMismatch"):
        world.send(ann, world.cases, "reveal", case.id, 7, 80, SALT)


def test_a_copied_commitment_cannot_be_revealed(world: World, seated: Seated) -> None:
    case, (ann, bob, eve) = seated
    world.commit(case, ann, Ballot(7, 80, SALT))
    copied = world.view(case).seats[0].commitment
    world.send(eve, world.cases, "commit", case.id, copied)
    world.commit(case, bob, Ballot(7))
    world.reveal(case, ann)
    with refused("CommitmentMismatch"):
        world.send(eve, world.cases, "reveal", case.id, 7, 80, SALT)


def test_there_is_one_commitment(world: World, seated: Seated) -> None:
    case, (ann, *_) = seated
    with refused("EmptyCommitment"):
        world.send(ann, world.cases, "commit", case.id, b"\0" * 32)
    world.commit(case, ann, Ballot(7))
    with refused("NoSeat"):
        world.commit(case, ann, Ballot(8))
    assert world.view(case).seats[0].status == COMMITTED


def test_only_seats_vote(world: World, seated: Seated) -> None:
    case, panel = seated
    outsider = next(d for d in world.members.values() if d not in panel)
    for who in (outsider, world.stranger, case.account):
        with refused("NoSeat"):
            world.send(who, world.cases, "commit", case.id, b"\1" * 32)


def test_nothing_is_revealed_before_the_commit_phase_ends(world: World, seated: Seated) -> None:
    case, (ann, bob, eve) = seated
    world.commit(case, ann, Ballot(7))
    world.commit(case, bob, Ballot(7))
    with refused("WrongPhase", COMMIT):
        world.reveal(case, ann)
    seen = world.view(case)
    assert (seen.result, seen.agreeing, seen.revealed) == (0, 0, 0)
    assert {(seat.code, seat.confidence) for seat in seen.seats} == {(0, 0)}
    world.commit(case, eve, Ballot(7))
    assert world.view(case).phase == REVEAL, "all have committed"
    world.reveal(case, ann)


def test_commit_and_reveal_have_their_time(world: World, seated: Seated) -> None:
    case, (ann, bob, eve) = seated
    world.commit(case, ann, Ballot(7))
    world.commit(case, bob, Ballot(7))
    with refused("NothingDue"):
        world.advance(case)
    world.chain.mine(1, 121)
    with refused("TooLate"):
        world.commit(case, eve, Ballot(7))
    world.advance(case)
    seen = world.view(case)
    assert seen.phase == REVEAL
    assert seen.deadline == world.chain.time + 90, "a late call costs nobody time"
    assert seen.seats[2].status == NO_SHOW
    with refused("WrongPhase", REVEAL):
        world.commit(case, eve, Ballot(7))
    world.reveal(case, ann)
    with refused("NothingDue"):
        world.advance(case)
    world.chain.mine(1, 90)
    with refused("TooLate"):
        world.reveal(case, bob)
    world.advance(case)
    assert [s.status for s in world.view(case).seats[:3]] == [REVEALED, NO_SHOW, NO_SHOW]


def test_a_verdict_is_revealed_once_and_its_confidence_is_a_percentage(world: World, seated: Seated) -> None:
    case, (ann, bob, eve) = seated
    world.send(ann, world.cases, "commit", case.id, bound(world, case, ann, {"confidence": 101}))
    world.commit(case, bob, Ballot(255, 0))
    world.commit(case, eve, Ballot(0, 100))
    with refused("BadConfidence", 101):
        world.send(ann, world.cases, "reveal", case.id, 7, 101, SALT)
    world.reveal(case, bob)
    with refused("NoSeat"):
        world.reveal(case, bob)
    world.reveal(case, eve)
    seats = world.view(case).seats
    assert [(s.code, s.confidence, s.status) for s in seats[1:3]] == [(255, 0, REVEALED), (0, 100, REVEALED)]


def test_no_tally_before_the_reveal_phase_ends(world: World, seated: Seated) -> None:
    case, panel = seated
    for doctor in panel:
        world.commit(case, doctor, Ballot(7))
    for doctor in panel[:2]:
        world.reveal(case, doctor)
    with refused("NothingDue"):
        world.advance(case)
    seen = world.view(case)
    assert (seen.phase, seen.result, seen.agreeing) == (REVEAL, 0, 0)
    assert not world.chain.view(world.cases, "outcomeOf", case.id, 1).closed
    world.reveal(case, panel[2])
    world.advance(case)
    assert world.view(case).phase == SETTLED


def test_without_any_commitment_there_is_no_reveal_phase(world: World, seated: Seated) -> None:
    case, panel = seated
    world.chain.mine(1, 121)
    world.advance(case)
    seen = world.view(case)
    assert seen.round == 2
    assert {s.status for s in seen.seats} == {NO_SHOW}
    assert len(panel) == 3


def test_the_order_of_reveals_does_not_matter(world: World) -> None:
    case = world.open_case(panel_size=5)
    panel = world.seat_all(case)
    ballots = dict(
        zip(panel, (Ballot(7, 90), Ballot(7, 60), Ballot(0), Ballot(7, 75), Ballot(7)), strict=True)
    )
    for doctor, ballot in ballots.items():
        world.commit(case, doctor, ballot)
    ends = []
    for order in ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3)):
        with world.chain.undone():
            for i in order:
                world.reveal(case, panel[i])
            world.advance(case)
            ends.append((world.view(case), [world.credit(d) for d in panel], world.credit(case.account)))
    assert ends[0] == ends[1] == ends[2]
    assert ends[0][0].phase == SETTLED


def test_a_seat_of_round_one_cannot_act_in_round_two(world: World) -> None:
    case = world.open_case(panel_size=3)
    first = world.round(case, [1, 2, 3])
    second = world.seat_all(case)
    with refused("NoSeat"):
        world.commit(case, first[0], Ballot(1))
    for doctor in second:
        world.commit(case, doctor, Ballot(1))
    with refused("NoSeat"):
        world.send(first[0], world.cases, "reveal", case.id, 1, 80, SALT)


def test_everybody_can_vanish_at_every_step(world: World) -> None:
    """Whatever the moment at which all stop acting, a stranger brings the case to an end."""
    for stop in range(5):
        with world.chain.undone():
            case = world.open_case(panel_size=3)
            if stop >= 1:
                panel = world.draw(case)
            if stop >= 2:
                for doctor in panel:
                    world.accept(case, doctor)
            if stop >= 3:
                for doctor in panel:
                    world.commit(case, doctor, Ballot(7))
            if stop >= 4:
                world.reveal(case, panel[0])
            for _ in range(40):
                if world.view(case).phase in (SETTLED, REFUNDED):
                    break
                world.chain.mine(2, 200)
                world.advance(case)
            assert world.view(case).phase == REFUNDED
            assert world.chain.view(world.cases, "books")[:2] == (0, 0)
            world.check_books()
            assert not world.at_step(case, ACCEPTED)
