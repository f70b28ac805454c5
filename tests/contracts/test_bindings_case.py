"""A whole case on the embedded chain by client and bindings; what Python computes is what the contracts
compute.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from contracts.bindings import Contracts, DoctorState, PurchaseState, events_now, read_now, word
from contracts.bindings.events import CaseOpened, Credited, Drawn, Listed, Moved, PhaseChanged, Settled
from contracts.chain.client import ChainClient
from contracts.chain.embedded import EmbeddedChain
from contracts.chain.errors import Reverted
from contracts.chain.inprocess import InProcessChain
from contracts.chain.values import CallReader, SyncCallReader
from protocols.case.view import Phase, SeatStatus
from protocols.crypto import bls, certificate, commitment, eip712
from tests.contracts.chain_world import ETHER, FOREVER, NETWORK, QUICK, SPECIALTY, World

LABEL = "tumour"
DATE = 1_800_000_000


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with EmbeddedChain(period=0.3) as chain, await ChainClient.connect(chain.url) as client:
        world = await World.make(client, doctors=4)
        world.chain = chain
        yield world


async def test_a_case_settles_is_paid_certified_and_sold(world: World) -> None:
    c, client, at = world.c, world.client, world.address
    case_id, view = await world.settle()
    assert (view.code, view.agreeing, view.round, len(view.seats)) == (77, 3, 1, 3)
    assert (view.escrow_wei, view.bounty_wei) == (0, QUICK.seat_fee[2] * 10)
    assert view.case_account == at["case"]
    assert view.sealing_key == b"\x06" * 32
    assert view.contact == b"\x07" * 32
    assert not view.due
    block = view.block

    for seat in view.seats:
        assert (seat.code, seat.confidence, seat.paid_wei) == (77, 90, QUICK.seat_fee[2])
        now, scored = await client.read(c.reputation.standing(seat.doctor, SPECIALTY.id), block)
        assert (now, scored) == (seat.reputation_after, 1)
        assert seat.reputation_after > seat.reputation_before
        owed = await client.read(c.cases.credit_of(seat.doctor), block)
        assert owed == seat.paid_wei + QUICK.seat_deposit
        before = await client.balance(seat.doctor)
        receipt = await world.do(c.cases.withdraw(seat.doctor))
        assert await client.balance(seat.doctor) == before + owed - receipt.fee_wei
    outcome = await client.read(c.cases.outcome_of(case_id, 1), block)
    assert (outcome.code, outcome.agreeing, outcome.seated, outcome.decided, outcome.closed) == (
        77,
        3,
        3,
        True,
        True,
    )
    assert set(await client.read(c.cases.agreeing_doctors(case_id), block)) == {s.doctor for s in view.seats}

    held = world.certify(view, LABEL, DATE)
    assert held.valid()
    label = commitment.label_hash(LABEL)
    good = (case_id, label, DATE, held.seats, held.signature, held.keys)
    assert await client.read(c.certificates.check(*good), block)
    for i, wrong in enumerate((case_id, commitment.label_hash("no tumour"), DATE + 1, held.seats >> 1)):
        assert not await client.read(c.certificates.check(*good[:i], wrong, *good[i + 1 :]), block) or i == 0

    await world.do(c.market.list(at["case"], case_id, b"\x08" * 32, 50, world.consent()))
    assert (await client.read(c.market.listing_of(case_id), "latest")).price == 50
    await world.do(c.market.buy(at["stranger"], [case_id], 50))
    assert await client.read(c.market.has_access(at["stranger"], case_id), "latest")
    assert not await client.read(c.market.has_access(at["model"], case_id), "latest")


async def test_events_tell_the_case_in_order(world: World) -> None:
    c, client, since = world.c, world.client, world.book.deployed_block
    case_id, view = await world.settle()
    told = await client.events(c.cases.of_case(case_id), since)
    assert [(e.block, e.index) for e in told] == sorted((e.block, e.index) for e in told)
    assert isinstance(told[0], CaseOpened)
    phases = [e.phase for e in told if isinstance(e, PhaseChanged)]
    assert phases == [Phase.DRAWING, Phase.SEATING, Phase.COMMIT, Phase.REVEAL, Phase.SETTLED]
    settled = told[-1]
    assert isinstance(settled, Settled)
    assert (settled.case_id, settled.code, settled.agreeing) == (case_id, 77, 3)
    assert settled.block <= view.block, "an idle chain may have gone on before the view was read"
    doctor = view.seats[0].doctor
    drawn = await client.events(c.cases.invitations(doctor), since)
    assert [(e.doctor, e.case_id) for e in drawn if isinstance(e, Drawn)] == [(doctor, case_id)]
    assert await client.events(c.cases.invitations(world.address["stranger"]), since) == []
    opened = await client.events(c.cases.opened(SPECIALTY.id), since)
    assert [e.case_account for e in opened if isinstance(e, CaseOpened)] == [world.address["case"]]
    assert await client.events(c.cases.opened(b"\x01" * 32), since) == []
    moved = await client.events(c.reputation.moves_of(NETWORK), since)
    assert [(type(e), e.subject) for e in moved if isinstance(e, Moved)] == [(Moved, NETWORK)]
    credited = [e for e in told if isinstance(e, Credited)]
    assert sum(e.amount for e in credited) == view.bounty_wei + 3 * QUICK.seat_deposit
    assert await client.events(c.cases.of_case(case_id), view.block + 1) == []
    await world.do(c.market.list(world.address["case"], case_id, b"\x08" * 32, 50, world.consent()))
    listed = await client.events(c.market.listings(SPECIALTY.id), since)
    assert [(e.record_hash, e.price) for e in listed if isinstance(e, Listed)] == [(b"\x08" * 32, 50)]


async def test_reads_are_as_of_their_block(world: World) -> None:
    c, client = world.c, world.client
    case_id = await world.open()
    opened = await world.view(case_id)
    assert opened.phase is Phase.DRAWING
    names = await world.seat_all(case_id)
    seated = await world.view(case_id)
    assert (seated.phase, seated.seated, seated.wanted) == (Phase.COMMIT, 3, 3)
    assert [world.address[name] in {s.doctor for s in seated.seats} for name in names] == [True] * 3
    assert await client.read(c.cases.view(case_id, opened.block, opened.now), opened.block) == opened
    nothing = await client.read(c.cases.view(5, seated.block, seated.now), seated.block)
    assert (nothing.phase, nothing.seats, nothing.due) == (Phase.NONE, (), False)


async def test_due_says_what_advance_would_do(world: World) -> None:
    c, client, at = world.c, world.client, world.address
    case_id = await world.open()
    for name in await world.seat_all(case_id):
        view = await world.view(case_id)
        assert view.phase is Phase.COMMIT
        assert view.due == await client.read(c.cases.is_due(case_id), view.block) is False
        await world.do(c.cases.commit(at[name], case_id, world.ballot(case_id, name, 3)[0]))
    for name in world.doctors:
        view = await world.view(case_id)
        held = view.seat_of(at[name])
        if held is not None and held[1].status is SeatStatus.COMMITTED:
            assert not view.due
            await world.do(c.cases.reveal(at[name], case_id, 3, 90, world.ballot(case_id, name, 3)[1]))
    view = await world.view(case_id)
    assert (view.phase, view.due, view.late) == (Phase.REVEAL, True, False)
    assert await client.read(c.cases.is_due(case_id), view.block)


async def test_hashes_are_the_contracts_own(world: World) -> None:
    c, client, at = world.c, world.client, world.address
    chain, cases, doctor = client.chain_id, c.cases.address, at["doctor0"]
    scan = commitment.scan_commitment(b"a scan", b"\x02" * 32)
    quote = eip712.Quote(NETWORK, at["model"], 9, at["case"], 1000, at["stranger"], 50, FOREVER)
    receipt = eip712.Receipt(9, NETWORK, 3, FOREVER)
    credential = eip712.Credential(doctor, SPECIALTY.id, FOREVER)
    models, doctors = (
        eip712.models_domain(chain, c.models.address),
        eip712.doctors_domain(chain, c.doctors.address),
    )
    consent, public = world.consent(), world.bls["doctor0"].public
    ballot = {
        "case_id": 9,
        "round_": 2,
        "doctor": doctor,
        "code": 200,
        "confidence": 88,
        "salt": b"\x03" * 32,
    }
    market = (chain, c.market.address, at["case"], consent.text, consent.floor_price, consent.until)
    same = [
        (c.cases.case_id_of(at["case"], scan), commitment.case_id(chain, cases, at["case"], scan)),
        (
            c.cases.commitment_of(**ballot),
            commitment.ballot_commitment(chain_id=chain, cases=cases, **ballot),
        ),
        (c.models.quote_digest(quote), models.digest(quote)),
        (c.models.receipt_digest(receipt), models.digest(receipt)),
        (c.doctors.credential_digest(doctor, SPECIALTY.id, FOREVER), doctors.digest(credential)),
        (c.market.consent_hash_of(at["case"], consent), commitment.consent_hash(*market)),
        (
            c.certificates.message_of(9, commitment.label_hash(LABEL), DATE),
            certificate.message(chain, cases, 9, LABEL, DATE),
        ),
        (
            c.doctors.possession_message(doctor, public),
            commitment.possession_message(chain, c.doctors.address, doctor, public),
        ),
    ]
    for question, ours in same:
        assert await client.read(question, "latest") == ours
    for i in range(12):
        message = bytes([i]) * 32
        theirs = await client.read(c.certificates.hash_to_g1(certificate.DOMAIN, message), "latest")
        assert theirs == bls.hash_to_g1(certificate.DOMAIN, message)


async def test_a_purchase_is_held_and_released(world: World) -> None:
    c, client, at = world.c, world.client, world.address
    domain = eip712.models_domain(client.chain_id, c.models.address)
    _, now = await client.head()
    quote = eip712.Quote(NETWORK, at["model"], 9, at["case"], 1000, at["stranger"], 50, now + 100)
    await world.do(c.models.purchase(at["case"], quote, world.sign("model", domain.digest(quote))))
    held = await client.read(c.models.purchase_of(9, NETWORK), "latest")
    assert (held.state, held.price, held.dealer) == (PurchaseState.HELD, 1000, at["stranger"])
    assert await client.read(c.models.bucket_of(9, NETWORK), "latest") is None
    receipt = eip712.Receipt(9, NETWORK, 1, now + 100)
    with pytest.raises(Reverted, match="ReceiptForged"):
        await world.do(c.models.release(at["model"], receipt, world.sign("case", domain.digest(receipt))))
    await world.do(c.models.release(at["model"], receipt, world.sign("model", domain.digest(receipt))))
    assert (await client.read(c.models.purchase_of(9, NETWORK), "latest")).state is PurchaseState.RELEASED
    assert await client.read(c.models.credit_of(at["stranger"]), "latest") == 50
    offer = await client.read(c.models.network(NETWORK), "latest")
    assert (offer.owner, offer.price, offer.active, offer.card) == (at["model"], 1000, True, "a card")
    assert await client.read(c.models.networks_page(SPECIALTY.id, 0, 10), "latest") == (NETWORK,)


async def test_what_is_public_of_a_doctor(world: World) -> None:
    c, client, doctor = world.c, world.client, world.address["doctor1"]
    view = await client.read(c.doctors.doctor(doctor), "latest")
    assert (view.state, view.specialties, view.record) == (
        DoctorState.ACTIVE,
        (SPECIALTY.id,),
        b"peer record",
    )
    assert view.bls == world.bls["doctor1"].public
    assert view.deposit == QUICK.registration_deposit
    members = await client.read(c.doctors.members_page(SPECIALTY.id, 0, 10), "latest")
    assert set(members) == {world.address[name] for name in world.doctors}
    await world.do(c.doctors.resign(doctor))
    await world.do(c.doctors.withdraw_deposit(doctor))
    assert not await client.read(c.doctors.is_usable(doctor, SPECIALTY.id), "latest")
    nobody = await client.read(c.doctors.doctor("0x" + "99" * 20), "latest")
    assert nobody.state is DoctorState.NONE


async def test_a_forged_proof_of_possession_does_not_register(world: World) -> None:
    stranger, register = world.address["stranger"], world.c.doctors.register
    mine, stolen = world.application("stranger"), world.application("doctor1")
    mixed = replace(mine, bls=bls.BlsPublic(mine.bls.g1, stolen.bls.g2))
    for bad in (
        replace(mine, bls=stolen.bls),
        replace(mine, proof=stolen.proof),
        replace(mine, proof=(0, 0)),
        mixed,
    ):
        with pytest.raises(Reverted, match="BadBlsKey"):
            await world.do(register(stranger, bad, QUICK.registration_deposit))
    await world.do(register(stranger, mine, QUICK.registration_deposit))


async def test_in_process_reads_agree_with_the_network(world: World) -> None:
    case_id, view = await world.settle()
    evm = world.chain._evm
    assert evm is not None
    local = InProcessChain(evm, world.book)
    assert isinstance(local, SyncCallReader)
    assert isinstance(world.client, CallReader)
    c = Contracts(world.book)
    assert read_now(local, c.cases.view(case_id, view.block, view.now), view.block) == view
    search = c.cases.of_case(case_id)
    since = world.book.deployed_block
    assert events_now(local, search, since) == await world.client.events(search, since)
    with pytest.raises(Reverted, match="NothingDue"):
        local.prepare(c.cases.advance(world.address["stranger"], case_id))
    receipt = local.transact(c.cases.withdraw(view.seats[0].doctor), secret_of(world, view.seats[0].doctor))
    assert receipt.ok
    assert receipt.logs[0].topics[1] == word(view.seats[0].doctor)
    assert await world.client.wait(receipt.tx_hash) == receipt
    assert receipt.fee_wei < ETHER


def secret_of(world: World, address: str) -> bytes:
    """The key of an account."""
    return next(world.secrets[name] for name, held in world.address.items() if held == address)
