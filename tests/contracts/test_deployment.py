"""How the contracts are made: partners, parameters, sizes, gas bounds; and the compiler's artifacts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from contracts import compile as compiler
from tests.contracts.evm import ARTIFACTS, Chain, artifact, create_address, refused
from tests.contracts.world import DRAWING, GWEI, SETTLED, Ballot, Terms, World, actor

NAMES = ["Cases", "Certificates", "DataMarket", "Doctors", "Models", "Reputation"]
DEPLOYER, ATTESTER = actor("deployer").address, actor("attester").address
ONE_BLOCK = 16_777_216
"""Most gas of one transaction since EIP-7825."""


def test_every_contract_has_an_artifact_within_the_limits() -> None:
    assert sorted(path.stem for path in ARTIFACTS.glob("*.json")) == NAMES
    for name in NAMES:
        made = artifact(name)
        assert set(made) == {"contractName", "abi", "bytecode", "deployedBytecode"}
        assert made["contractName"] == name
        assert len(made["deployedBytecode"]) // 2 - 1 <= 24_576
        assert len(made["bytecode"]) // 2 - 1 <= 49_152


def test_nobody_owns_or_upgrades_anything() -> None:
    """No owner, no pause, no proxy: no such function, no delegatecall, no selfdestruct."""
    for name in NAMES:
        functions = {e["name"].lower() for e in artifact(name)["abi"] if e["type"] == "function"}
        assert not functions & {"owner", "pause", "unpause", "upgradeto", "initialize", "transferownership"}
        opcodes = plain_opcodes(bytes.fromhex(artifact(name)["deployedBytecode"][2:]))
        assert not opcodes & {0xF4, 0xF2, 0xFF}, "delegatecall, callcode, selfdestruct"
        assert not opcodes & {0x5F, 0x5C, 0x5D, 0x5E}, "nothing newer than paris"


def plain_opcodes(code: bytes) -> set[int]:
    """The opcodes of the code, constants of PUSH left out."""
    found, i = set(), 0
    while i < len(code):
        found.add(code[i])
        i += code[i] - 0x5E if 0x60 <= code[i] <= 0x7F else 1
        if found and code[i - 1 : i] == b"\xfe":
            break  # what follows is data
    return found


def deploy(terms: Terms, **changes: str) -> None:
    """Deploys reputation, doctors, models and cases; some partner replaced."""
    chain, t = Chain(), terms.as_tuple()
    place = create_address(DEPLOYER, 3)
    reputation = chain.deploy(DEPLOYER, "Reputation", changes.get("reputation_for", place)).address
    doctors = chain.deploy(
        DEPLOYER,
        "Doctors",
        t if "doctors_terms" not in changes else replace(terms, epoch_blocks=9).as_tuple(),
        [ATTESTER],
        changes.get("doctors_reputation", reputation),
        changes.get("doctors_for", place),
    ).address
    models = chain.deploy(
        DEPLOYER,
        "Models",
        t if "models_terms" not in changes else replace(terms, grace_seconds=9).as_tuple(),
        changes.get("models_for", place),
    ).address
    chain.deploy(DEPLOYER, "Cases", t, doctors, models, reputation)


def test_the_whole_deploys() -> None:
    deploy(Terms())
    world = World()
    assert world.cases.address == create_address(world.deployer.address, 3)
    assert world.chain.view(world.certificates, "CASES") == world.cases.address
    assert world.chain.view(world.market, "MODELS") == world.models.address


@pytest.mark.parametrize(
    "change",
    ["reputation_for", "doctors_for", "models_for", "doctors_terms", "models_terms", "doctors_reputation"],
)
def test_partners_made_for_something_else_are_refused(change: str) -> None:
    with refused("WrongPartner"):
        deploy(Terms(), **{change: actor("somebody").address})


@pytest.mark.parametrize(
    "changes",
    [
        {"seat_fee": (1, 2, 1, 1)},
        {"seat_fee": (1, 1, 1, 0)},
        {"seat_fee": (2**80, 1, 1, 1)},
        {"seat_deposit": 2**80},
        {"seating_seconds": 0},
        {"commit_seconds": 0},
        {"reveal_seconds": 0},
        {"epoch_blocks": 0},
        {"reading_share_bps": 5_001},
        {"max_rounds": 0},
        {"max_rounds": 3},
        {"draw_attempts": 0},
        {"draw_attempts": 4},
        {"bucket_confidence": (50, 60, 70, 101)},
    ],
)
def test_parameters_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    with refused("BadParameters"):
        deploy(replace(Terms(), **changes))  # type: ignore[arg-type]


def test_doctors_needs_attesters_and_cases() -> None:
    for attesters, cases in (([], DEPLOYER), ([ATTESTER], "0x" + "00" * 20)):
        with refused("BadParameters"):
            Chain().deploy(DEPLOYER, "Doctors", Terms().as_tuple(), attesters, DEPLOYER, cases)


def test_the_terms_can_be_read_back() -> None:
    world = World(Terms(seat_deposit=7 * GWEI))
    told = world.chain.view(world.cases, "terms")
    assert (
        tuple(tuple(v) if isinstance(v, list) else v for v in vars(told).values()) == world.terms.as_tuple()
    )


def test_one_round_when_the_terms_say_so() -> None:
    world = World(Terms(max_rounds=1))
    world.add_doctors(3)
    case = world.open_case(panel_size=3)
    assert world.bounty(case) == 3 * 40 * GWEI
    world.round(case, [1, 2, 3])
    assert world.view(case).phase == 6
    world.check_books()


def test_the_largest_case_fits_into_a_block() -> None:
    """Panels of 9 and 19, every seat replaced twice in both rounds: the dearest of each call."""
    world = World()
    world.add_doctors(110)
    case = world.open_case(panel_size=9)
    dearest = 0
    for codes in ([1, 1, 2, 2, 3, 3, 4, 4, None], [7] * 13 + [0, 0, 8, 8, 8, 8]):
        for _ in range(2):
            world.chain.mine(2)
            dearest = max(dearest, world.advance(case).gas)
            world.chain.mine(1, 61)
            dearest = max(dearest, world.advance(case).gas)
        assert world.view(case).phase == DRAWING
        panel = world.seat_all(case)
        world.vote(case, {d: None if c is None else Ballot(c) for d, c in zip(panel, codes, strict=True)})
        dearest = max(dearest, world.advance(case).gas)
    seen = world.view(case)
    assert (seen.phase, len(seen.seats), seen.agreeing) == (SETTLED, 84, 13)
    assert dearest < ONE_BLOCK // 2
    world.check_books()


@pytest.mark.node
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_the_artifacts_are_those_of_the_sources() -> None:
    assert compiler.main(["--check"]) == 0


def test_differences_are_named() -> None:
    there = {path.name: path.read_text() for path in ARTIFACTS.glob("*.json")}
    assert compiler.differences(there) == []
    changed = dict(there)
    made = json.loads(changed.pop("Cases.json"))
    changed["Models.json"] += " "
    assert compiler.differences(changed) == ["Cases.json", "Models.json"]
    assert made["contractName"] == "Cases"
