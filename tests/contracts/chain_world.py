"""A whole case on any chain, by the client and the bindings alone: what the chain tests share."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

from coincurve import PrivateKey

from contracts.bindings import Application, Consent, Contracts, OpenCase, SignedCredential
from contracts.chain.client import ChainClient
from contracts.chain.deploy import deploy
from contracts.chain.faucet import fund
from contracts.chain.signer import LocalSigner
from contracts.chain.terms import DEMO
from contracts.chain.values import Call, Receipt
from protocols.case.view import CaseView, Phase, SeatStatus
from protocols.crypto import bls, certificate, commitment, eip712
from protocols.specialty import SPECIALTIES

ETHER = 10**18
SPECIALTY = SPECIALTIES["neuroradiology"]
NETWORK = b"\x4e" * 32
FOREVER = 2**40
QUICK = replace(DEMO, seating_seconds=20, commit_seconds=20, reveal_seconds=20)


def secret(name: str) -> bytes:
    """A key of a test's own, by name."""
    return hashlib.sha256(f"crypdoc chain tests {name}".encode()).digest()


class World:
    """Deployed contracts, a model and doctors, all funded."""

    def __init__(self, client: ChainClient, names: list[str]) -> None:
        self.client = client
        self.secrets = {name: secret(name) for name in names}
        self.signer = LocalSigner(self.secrets.values())
        self.address = dict(zip(names, self.signer.accounts, strict=True))
        self.doctors = [name for name in names if name.startswith("doctor")]
        self.bls = {name: bls.BlsKey(self.secrets[name]) for name in [*self.doctors, "stranger"]}
        self.gas: dict[str, int] = {}

    @classmethod
    async def make(cls, client: ChainClient, doctors: int = 3) -> World:
        """Fund, deploy, and register `doctors` doctors and a network."""
        names = ["deployer", "attester", "model", "case", "stranger", *(f"doctor{i}" for i in range(doctors))]
        world = cls(client, names)
        for account in world.address.values():
            await fund(client, account, 10 * ETHER)
        at = world.address
        book = await deploy(client, world.signer, at["deployer"], QUICK, [at["attester"]])
        world.client = client.with_book(book)
        world.book, world.c = book, Contracts(book)
        await world.do(world.c.models.register(at["model"], NETWORK, SPECIALTY.id, 1000, b"record", "a card"))
        for name in world.doctors:
            await world.do(
                world.c.doctors.register(at[name], world.application(name), QUICK.registration_deposit)
            )
        return world

    async def do(self, call: Call) -> Receipt:
        """Send a call and wait."""
        receipt = await self.client.transact(call, self.signer)
        self.gas[f"{call.contract}.{call.function}"] = receipt.gas_used
        return receipt

    def sign(self, name: str, digest: bytes) -> bytes:
        """An EIP-712 signature."""
        return eip712.sign(PrivateKey(self.secrets[name]), digest)

    def application(self, name: str) -> Application:
        """A doctor's application, attested and proven."""
        chain_id, doctors, key = self.client.chain_id, self.c.doctors.address, self.bls[name]
        credential = eip712.Credential(self.address[name], SPECIALTY.id, FOREVER)
        signature = self.sign("attester", eip712.doctors_domain(chain_id, doctors).digest(credential))
        message = commitment.possession_message(chain_id, doctors, self.address[name], key.public)
        signed = SignedCredential(SPECIALTY.id, self.address["attester"], FOREVER, signature)
        proof = key.sign(commitment.POSSESSION_DOMAIN, message)
        return Application((signed,), b"\x05" * 32, key.public, proof, b"peer record")

    def consent(self) -> Consent:
        """What the patient consents to."""
        return Consent(b"\x09" * 32, 5, 0)

    async def open(self) -> int:
        """Open a case of three seats; its id."""
        at, c, chain_id = self.address, self.c, self.client.chain_id
        scan = commitment.scan_commitment(b"scan", b"\x01" * 32)
        case_id = commitment.case_id(chain_id, c.cases.address, at["case"], scan)
        receipt = eip712.Receipt(case_id, NETWORK, 2, FOREVER)
        signature = self.sign("model", eip712.models_domain(chain_id, c.models.address).digest(receipt))
        consent = self.consent()
        consent_hash = commitment.consent_hash(
            chain_id, c.market.address, at["case"], consent.text, consent.floor_price, consent.until
        )
        case = OpenCase(SPECIALTY.id, scan, 3, NETWORK, consent_hash, b"\x06" * 32, b"\x07" * 32)
        block, _ = await self.client.head()
        value = await self.client.read(c.cases.escrow_for(2, 3), block)
        await self.do(c.cases.open(at["case"], case, receipt, signature, value))
        return case_id

    async def view(self, case_id: int) -> CaseView:
        """The case now."""
        block, now = await self.client.head()
        return await self.client.read(self.c.cases.view(case_id, block, now), block)

    async def advance_when_due(self, case_id: int, seconds: float = 30) -> CaseView:
        """Wait until something is due, and do it."""
        async with asyncio.timeout(seconds):
            while not (view := await self.view(case_id)).due or view.block <= view.seed_block:
                await asyncio.sleep(0.2)
        await self.do(self.c.cases.advance(self.address["stranger"], case_id))
        return await self.view(case_id)

    def ballot(self, case_id: int, name: str, code: int) -> tuple[bytes, bytes]:
        """A commitment with its salt."""
        salt = hashlib.sha256(name.encode()).digest()
        digest = commitment.ballot_commitment(
            chain_id=self.client.chain_id,
            cases=self.c.cases.address,
            case_id=case_id,
            round_=1,
            doctor=self.address[name],
            code=code,
            confidence=90,
            salt=salt,
        )
        return digest, salt

    async def seat_all(self, case_id: int) -> list[str]:
        """Draw and have all the drawn accept; their names."""
        view = await self.advance_when_due(case_id)
        assert view.phase is Phase.SEATING
        drawn = [seat.doctor for seat in view.seats]
        names = [name for name in self.doctors if self.address[name] in drawn]
        for name in names:
            await self.do(self.c.cases.accept(self.address[name], case_id, QUICK.seat_deposit))
        return names

    async def settle(self) -> tuple[int, CaseView]:
        """A case from opening to verdict, all agreeing on code 77."""
        case_id = await self.open()
        names = await self.seat_all(case_id)
        for name in names:
            await self.do(self.c.cases.commit(self.address[name], case_id, self.ballot(case_id, name, 77)[0]))
        for name in names:
            salt = self.ballot(case_id, name, 77)[1]
            await self.do(self.c.cases.reveal(self.address[name], case_id, 77, 90, salt))
        view = await self.advance_when_due(case_id)
        assert view.phase is Phase.SETTLED
        assert all(seat.status is SeatStatus.REVEALED for seat in view.seats)
        return case_id, view

    def certify(self, view: CaseView, label: str, date: int) -> certificate.Certificate:
        """The panel's certificate."""
        by_address = {self.address[name]: self.bls[name] for name in self.doctors}
        text = certificate.message(self.client.chain_id, self.c.cases.address, view.case_id, label, date)
        keys = {seat.doctor: (i, by_address[seat.doctor].public.g2) for i, seat in enumerate(view.seats)}
        attests = {d: bls.signature_bytes(by_address[d].sign(certificate.DOMAIN, text)) for d in keys}
        at = (self.client.chain_id, self.c.cases.address, view.case_id)
        return certificate.assemble(*at, label, date, keys, attests)
