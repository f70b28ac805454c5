"""Registration, credentials, leaving."""

from __future__ import annotations

import pytest
from eth_utils.crypto import keccak

from protocols.crypto.bls import add_signatures
from tests.contracts.evm import refused
from tests.contracts.world import (
    FOREVER,
    GWEI,
    SEATING,
    SPECIALTY,
    Actor,
    World,
    actor,
    bls_key,
    possession_proof,
)

OTHER = keccak(text="chest")
NOBODY, ACTIVE, LEFT = range(3)


@pytest.fixture
def ann(world: World) -> Actor:
    return world.funded("Ann")


def test_registration_is_public_and_holds_the_deposit(world: World, ann: Actor) -> None:
    before = world.chain.balance(world.doctors.address)
    receipt = world.register(ann)
    seen = world.chain.view(world.doctors, "doctor", ann.address)
    assert (seen.state, seen.resting, seen.openSeats) == (ACTIVE, False, 0)
    assert (seen.specialties, seen.validUntil, seen.pools) == ([SPECIALTY], [FOREVER], [0])
    assert tuple(seen.blsG1) == ann.bls.public.g1
    assert tuple(seen.blsG2) == ann.bls.public.g2
    assert seen.record == b"record of Ann"
    assert world.chain.balance(world.doctors.address) - before == seen.deposit == 50 * GWEI
    assert {e.name for e in receipt.events} == {"Registered", "RecordChanged", "Admitted"}
    assert world.chain.view(world.doctors, "isUsable", ann.address, SPECIALTY)
    assert not world.chain.view(world.doctors, "isUsable", ann.address, OTHER)


def test_members_come_in_pages(world: World, ann: Actor) -> None:
    world.register(ann)
    total = world.chain.view(world.doctors, "membersOf", SPECIALTY)
    assert total == 25
    assert world.chain.view(world.doctors, "membersPage", SPECIALTY, 24, 10) == [ann.address]
    assert len(world.chain.view(world.doctors, "membersPage", SPECIALTY, 0, 7)) == 7
    assert world.chain.view(world.doctors, "membersPage", SPECIALTY, 99, 7) == []


@pytest.mark.parametrize("sent", [0, 50 * GWEI - 1, 50 * GWEI + 1])
def test_the_deposit_is_exact(world: World, ann: Actor, sent: int) -> None:
    with refused("WrongDeposit", sent, 50 * GWEI):
        world.send(ann, world.doctors, "register", world.application(ann), value=sent)


def test_nobody_registers_twice(world: World, ann: Actor) -> None:
    world.register(ann)
    with refused("AlreadyRegistered"):
        world.register(ann)


def test_specialties_are_one_to_four_without_repetition(world: World, ann: Actor) -> None:
    def credentials(names: list[bytes]) -> list[tuple[str, int, bytes]]:
        return [world.credential(ann, specialty=name) for name in names]

    five = [keccak(text=f"specialty {i}") for i in range(5)]
    for names in ([], five, [SPECIALTY, SPECIALTY], [b"\0" * 32]):
        with refused("BadSpecialties"):
            world.register(ann, specialties=names, credentials=credentials(names))
    with refused("BadSpecialties"):
        world.register(ann, specialties=[SPECIALTY, OTHER], credentials=credentials([SPECIALTY]))
    world.register(ann, specialties=five[:4], credentials=credentials(five[:4]))
    with refused("BadSpecialties"):
        world.send(ann, world.doctors, "admit", five[4], world.credential(ann, specialty=five[4]))


def test_only_a_known_attesters_own_signature_admits(world: World, ann: Actor) -> None:
    quack = actor("quack")
    with refused("UnknownAttester", quack.address.lower()):
        world.register(ann, credentials=[world.credential(ann, attester=quack)])
    forged = world.credential(ann, key=quack.key)
    short = (*world.credential(ann)[:2], b"\1" * 64)
    lent = world.credential(world.funded("doctor 0"))
    for credential in (forged, short, lent, world.credential(ann, specialty=OTHER)):
        with refused("CredentialForged"):
            world.register(ann, credentials=[credential])


def test_a_malleable_signature_is_refused(world: World, ann: Actor) -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    attester, until, signature = world.credential(ann)
    s = (order - int.from_bytes(signature[32:64], "big")).to_bytes(32, "big")
    other_form = signature[:32] + s + bytes([55 - signature[64]])
    with refused("CredentialForged"):
        world.register(ann, credentials=[(attester, until, other_form)])


def test_credentials_end(world: World, ann: Actor) -> None:
    with refused("CredentialExpired"):
        world.register(ann, credentials=[world.credential(ann, until=world.chain.time - 1)])
    world.register(ann, credentials=[world.credential(ann, until=world.chain.time + 100)])
    world.chain.mine(1, 101)
    assert not world.chain.view(world.doctors, "isUsable", ann.address, SPECIALTY)
    doctors, _ = world.chain.view(world.doctors, "poolOf", SPECIALTY, 0)
    world.send(world.stranger, world.doctors, "refresh", ann.address, SPECIALTY)
    assert world.chain.view(world.doctors, "poolOf", SPECIALTY, 0)[0] == doctors - 1
    world.send(ann, world.doctors, "admit", SPECIALTY, world.credential(ann))
    assert world.chain.view(world.doctors, "poolOf", SPECIALTY, 0)[0] == doctors
    assert world.chain.view(world.doctors, "membersOf", SPECIALTY) == 25, "renewal keeps the leaf"


def test_an_attester_takes_back_its_own_credentials_alone(world: World, ann: Actor) -> None:
    world.register(ann)
    with refused("UnknownAttester"):
        world.send(world.stranger, world.doctors, "revoke", ann.address, SPECIALTY, FOREVER)
    world.send(world.attester, world.doctors, "revoke", ann.address, SPECIALTY, FOREVER - 1)
    assert world.chain.view(world.doctors, "isUsable", ann.address, SPECIALTY), "another credential"
    world.send(world.attester, world.doctors, "revoke", ann.address, SPECIALTY, FOREVER)
    assert not world.chain.view(world.doctors, "isUsable", ann.address, SPECIALTY)
    for until in (FOREVER, FOREVER - 1):
        with refused("CredentialRevoked"):
            credential = world.credential(ann, until=until)
            world.send(ann, world.doctors, "admit", SPECIALTY, credential)
    world.send(ann, world.doctors, "admit", SPECIALTY, world.credential(ann, until=FOREVER - 2))
    assert world.chain.view(world.doctors, "isUsable", ann.address, SPECIALTY)


def test_the_sealing_key_and_record_have_bounds(world: World, ann: Actor) -> None:
    with refused("EmptyKey"):
        world.register(ann, sealingKey=b"\0" * 32)
    with refused("RecordTooLong", 513):
        world.register(ann, record=b"x" * 513)
    world.register(ann, record=b"x" * 512)
    with refused("RecordTooLong", 600):
        world.send(ann, world.doctors, "updateRecord", b"x" * 600)
    world.send(ann, world.doctors, "updateRecord", b"new")
    assert world.chain.view(world.doctors, "doctor", ann.address).record == b"new"


def test_bls_keys_must_match_and_be_proven(world: World, ann: Actor) -> None:
    other = bls_key("other")
    proof = possession_proof("Ann", world.doctors.address, ann.address)
    for changes in (
        {"blsG1": other.public.g1},
        {"blsG2": other.public.g2},
        {"blsProof": other.sign(keccak(text="x"), keccak(text="y"))},
        {"blsProof": possession_proof("Ann", world.doctors.address, actor("doctor 0").address)},
        {"blsProof": possession_proof("Ann", world.cases.address, ann.address)},
        {"blsProof": (0, 0)},
        {"blsG1": (0, 0), "blsG2": (0, 0, 0, 0), "blsProof": (0, 0)},
        {"blsG1": (1, 3)},
        {"blsG2": (1, 2, 3, 4)},
        {"blsProof": (proof[0], proof[1] ^ 1)},
        {"blsProof": (2**256 - 1, 2)},
    ):
        with refused("BadBlsKey"):
            world.register(ann, **changes)


def test_a_rogue_key_cannot_be_registered(world: World, ann: Actor) -> None:
    """g1 = mine - victim's would let one doctor sign for both: its owner cannot prove possession."""
    mine, victim = bls_key("Ann"), bls_key("doctor 0")
    prime = 0x30644E72E131A029B85045B68181585D97816A916871CA8D3C208C16D87CFD47
    x, y = victim.public.g1
    rogue = add_signatures([mine.public.g1, (x, prime - y)])
    with refused("BadBlsKey"):
        world.register(ann, blsG1=rogue)


def test_a_malformed_point_cannot_burn_all_gas(world: World, ann: Actor) -> None:
    with refused("BadBlsKey", most_gas=300_000):
        world.register(ann, blsG2=(2**256 - 1,) * 4)


def test_leaving_gives_the_deposit_back_once(world: World, ann: Actor) -> None:
    world.register(ann)
    with refused("NotLeft"):
        world.send(ann, world.doctors, "withdrawDeposit")
    world.send(ann, world.doctors, "resign")
    assert world.chain.view(world.doctors, "doctor", ann.address).state == LEFT
    for name, arguments in (
        ("resign", ()),
        ("updateRecord", (b"",)),
        ("setResting", (False,)),
        ("admit", (SPECIALTY, world.credential(ann))),
    ):
        with refused("NotRegistered"):
            world.send(ann, world.doctors, name, *arguments)
    with refused("AlreadyRegistered"):
        world.register(ann)
    before = world.chain.balance(ann.address)
    world.send(ann, world.doctors, "withdrawDeposit")
    assert world.chain.balance(ann.address) - before == 50 * GWEI
    with refused("NotLeft"):
        world.send(ann, world.doctors, "withdrawDeposit")


def test_leaving_takes_the_doctor_out_of_every_tree(world: World, ann: Actor) -> None:
    credentials = [world.credential(ann), world.credential(ann, specialty=OTHER)]
    world.register(ann, specialties=[SPECIALTY, OTHER], credentials=credentials)
    assert world.chain.view(world.doctors, "poolOf", OTHER, 0)[0] == 1
    world.send(ann, world.doctors, "resign")
    world.send(world.stranger, world.doctors, "refresh", ann.address, OTHER)
    assert world.chain.view(world.doctors, "poolOf", OTHER, 0) == (0, 0)
    assert world.chain.view(world.doctors, "poolOf", SPECIALTY, 0)[0] == 24


def test_who_comes_back_keeps_key_and_leaf_but_not_credentials(world: World, ann: Actor) -> None:
    credentials = [world.credential(ann), world.credential(ann, specialty=OTHER)]
    world.register(ann, specialties=[SPECIALTY, OTHER], credentials=credentials)
    world.send(ann, world.doctors, "resign")
    world.send(ann, world.doctors, "withdrawDeposit")
    other = bls_key("other")
    with refused("KeyIsForLife"):
        world.register(ann, blsG1=other.public.g1, blsG2=other.public.g2)
    world.register(ann)
    assert world.chain.view(world.doctors, "membersOf", SPECIALTY) == 25
    assert world.chain.view(world.doctors, "isUsable", ann.address, SPECIALTY)
    assert not world.chain.view(world.doctors, "isUsable", ann.address, OTHER)


def test_the_deposit_stays_while_a_seat_is_open(world: World) -> None:
    case = world.open_case(panel_size=3)
    doctor = world.draw(case)[0]
    world.accept(case, doctor)
    world.send(doctor, world.doctors, "resign")
    with refused("SeatsOpen", 1):
        world.send(doctor, world.doctors, "withdrawDeposit")
    world.chain.mine(1, 61)
    while world.view(case).phase <= SEATING:
        world.chain.mine(2, 61)
        world.advance(case)
    assert world.chain.view(world.doctors, "doctor", doctor.address).openSeats == 0
    world.send(doctor, world.doctors, "withdrawDeposit")


def test_resting_is_out_of_the_draws_until_waking(world: World, ann: Actor) -> None:
    world.register(ann)
    for wake, arguments in (("setResting", (False,)), ("updateRecord", (b"here",))):
        world.send(ann, world.doctors, "setResting", True)
        assert not world.chain.view(world.doctors, "isUsable", ann.address, SPECIALTY)
        assert world.chain.view(world.doctors, "poolOf", SPECIALTY, 0)[0] == 24
        receipt = world.send(ann, world.doctors, wake, *arguments)
        assert receipt.only("Resting").values["resting"] is False
        assert world.chain.view(world.doctors, "poolOf", SPECIALTY, 0)[0] == 25


def test_strangers_cannot_act_as_cases(world: World) -> None:
    doctor = actor("doctor 0").address
    for name, argument in (("anchor", SPECIALTY), ("seat", doctor), ("unseat", doctor), ("rest", doctor)):
        with refused("OnlyCases"):
            world.send(world.stranger, world.doctors, name, argument)
