"""Opening a case: receipt, bounty, bounds."""

from __future__ import annotations

import pytest
from eth_utils.crypto import keccak

from tests.contracts.evm import refused
from tests.contracts.world import DRAWING, GWEI, NETWORK, SPECIALTY, World

FEES = (40 * GWEI, 30 * GWEI, 20 * GWEI, 10 * GWEI)


@pytest.mark.parametrize("bucket", range(4))
@pytest.mark.parametrize(("panel_size", "seats"), [(3, 10), (5, 16), (7, 22), (9, 28)])
def test_the_bounty_follows_the_bucket_and_covers_both_rounds(
    world: World, bucket: int, panel_size: int, seats: int
) -> None:
    case = world.open_case(bucket=bucket, panel_size=panel_size)
    seen = world.view(case)
    assert seen.bountyWei == seen.escrowWei == world.bounty(case) == FEES[bucket] * seats
    assert (seen.phase, seen.round, seen.attempt, seen.wanted) == (DRAWING, 1, 1, panel_size)
    assert seen.caseAccount == case.account.address
    assert (seen.specialty, seen.network, seen.bucket) == (SPECIALTY, NETWORK, bucket)
    assert seen.seedBlock == world.chain.number + 1, "the seed is not made yet"
    assert seen.seats == []


def test_the_id_is_known_before(world: World) -> None:
    case = world.prepare("somebody")
    commitment = keccak(text="scan of somebody")
    assert world.chain.view(world.cases, "caseIdOf", case.account.address, commitment) == case.id


def test_one_wei_less_or_more_is_refused(world: World) -> None:
    case = world.prepare("case")
    receipt, signature = world.receipt(case)
    bounty = world.bounty(case)
    for sent in (0, bounty - 1, bounty + 1):
        with refused("WrongPayment", sent, bounty):
            world.send(case.account, world.cases, "open", world.opening(case), receipt, signature, value=sent)


def test_a_case_opens_once(world: World) -> None:
    case = world.open_case()
    with refused("CaseExists", case.id):
        world.open(case)


@pytest.mark.parametrize("panel_size", [0, 1, 2, 4, 8, 10, 11, 255])
def test_panels_are_odd_and_small(world: World, panel_size: int) -> None:
    case = world.prepare("case")
    with refused("BadPanelSize", panel_size):
        world.open(case, panelSize=panel_size)


@pytest.mark.parametrize("name", ["sealingKey", "specialty", "scanCommitment"])
def test_no_field_that_is_needed_is_empty(world: World, name: str) -> None:
    case = world.prepare("case")
    with refused("EmptyField"):
        world.open(case, **{name: b"\0" * 32})


def test_the_receipt_is_for_this_case_and_network(world: World) -> None:
    case, other = world.prepare("case"), world.prepare("other")
    bounty = world.bounty(case)
    lent, signature = world.receipt(other)
    with refused("WrongReceipt"):
        world.send(case.account, world.cases, "open", world.opening(case), lent, signature, value=bounty)
    with refused("WrongReceipt"):
        world.open(case, network=keccak(text="another"))


def test_nobody_opens_with_somebody_elses_receipt(world: World) -> None:
    """The case id holds the case account: a stranger's `open` is another case."""
    case = world.prepare("case")
    receipt, signature = world.receipt(case)
    with refused("WrongReceipt"):
        world.send(
            world.stranger,
            world.cases,
            "open",
            world.opening(case),
            receipt,
            signature,
            value=world.bounty(case),
        )


def test_the_bucket_is_the_models_word(world: World) -> None:
    case = world.prepare("case", bucket=0)
    (number, network, _, until), signature = world.receipt(case)
    cheaper = (number, network, 3, until)
    for value in (FEES[3] * 16, FEES[0] * 16):
        with refused("ReceiptForged"):
            world.send(
                case.account, world.cases, "open", world.opening(case), cheaper, signature, value=value
            )


def test_receipts_are_checked(world: World) -> None:
    case = world.prepare("case")
    bounty, opening = world.bounty(case), world.opening(case)

    def opens_with(**changes: int) -> None:
        receipt, signature = world.receipt(case, **changes)
        world.send(case.account, world.cases, "open", opening, receipt, signature, value=bounty)

    with refused("ReceiptExpired"):
        opens_with(valid_until=world.chain.time)
    with refused("BadBucket", 4):
        opens_with(bucket=4)
    receipt, signature = world.receipt(case, key=world.stranger.key)
    with refused("ReceiptForged"):
        world.send(case.account, world.cases, "open", opening, receipt, signature, value=bounty)
    with refused("BadSpecialty"):
        world.open(case, specialty=keccak(text="chest"))


def test_receipts_of_an_unknown_network_open_nothing(world: World) -> None:
    case = world.prepare("case")
    unknown = keccak(text="unknown")
    receipt, signature = world.receipt(case, network=unknown)
    opening = world.opening(case, network=unknown)
    with refused("BadSpecialty"):
        world.send(case.account, world.cases, "open", opening, receipt, signature, value=world.bounty(case))


def test_a_withdrawn_network_still_honours_its_receipts(world: World) -> None:
    case = world.prepare("case")
    world.send(world.owner, world.models, "unregister", NETWORK)
    world.open(case)
    assert world.view(case).phase == DRAWING


def test_unknown_cases_can_do_nothing(world: World) -> None:
    case = world.prepare("never opened")
    with refused("NothingDue"):
        world.advance(case)
    for name, arguments in (
        ("accept", ()),
        ("decline", ()),
        ("commit", (b"\1" * 32,)),
        ("reveal", (1, 1, b"\1" * 32)),
    ):
        with refused("WrongPhase", 0):
            world.send(world.stranger, world.cases, name, case.id, *arguments)
    assert world.view(case).phase == 0
