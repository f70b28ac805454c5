"""The whole deployment on one `Chain`, and participants who do the right thing, each step by itself.

    world = World()
    world.add_doctors(5); case = world.open_case(bucket=0, panel_size=5)
    world.draw(case); world.accept_all(case); world.commit_all(case, codes={doctor: 7}); ...

Everything follows from names: the same world has the same addresses and draws each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from coincurve import PrivateKey
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from protocols.crypto.bls import BlsKey
from protocols.crypto.commitment import ballot_commitment, case_id
from protocols.crypto.eip712 import Credential, Quote, doctors_domain, models_domain, sign
from protocols.crypto.eip712 import Receipt as ModelReceipt
from protocols.records import wallet_of_key
from tests.contracts.evm import CHAIN_ID, Chain, Contract, Receipt, create_address

SPECIALTY = keccak(text="neuroradiology")
NETWORK = keccak(text="network")
ETHER = 10**18
GWEI = 10**9
FOREVER = 2**63
NONE, DRAWING, SEATING, COMMIT, REVEAL, SETTLED, REFUNDED = range(7)
INVITED, ACCEPTED, COMMITTED, REVEALED, DECLINED, REPLACED, NO_SHOW = range(1, 8)
POSSESSION_DOMAIN = keccak(text="CrypDoc BLS possession v1")
CERTIFICATE_DOMAIN = keccak(text="CrypDoc BLS certificate v1")


@dataclass(frozen=True)
class Terms:
    """The deployment's parameters, in the contract's order."""

    seat_fee: tuple[int, int, int, int] = (40 * GWEI, 30 * GWEI, 20 * GWEI, 10 * GWEI)
    registration_deposit: int = 50 * GWEI
    seat_deposit: int = 5 * GWEI
    seating_seconds: int = 60
    commit_seconds: int = 120
    reveal_seconds: int = 90
    grace_seconds: int = 600
    epoch_blocks: int = 4
    reading_share_bps: int = 2_000
    max_rounds: int = 2
    draw_attempts: int = 3
    bucket_confidence: tuple[int, int, int, int] = (55, 70, 85, 95)

    def as_tuple(self) -> tuple[Any, ...]:
        """The contract's struct."""
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)


@dataclass(frozen=True)
class Actor:
    """Somebody with a wallet key, made from a name."""

    name: str
    key: PrivateKey = field(repr=False)
    address: str

    @property
    def bls(self) -> BlsKey:
        """The actor's BLS key."""
        return bls_key(self.name)


@lru_cache(maxsize=1024)
def actor(name: str) -> Actor:
    """The actor of that name."""
    key = PrivateKey(keccak(text=f"wallet of {name}"))
    return Actor(name, key, wallet_of_key(key.public_key.format()))


@lru_cache(maxsize=1024)
def bls_key(name: str) -> BlsKey:
    """The BLS key of that name."""
    return BlsKey(keccak(text=f"bls of {name}"))


@lru_cache(maxsize=1024)
def possession_proof(name: str, doctors: str, doctor: str) -> tuple[int, int]:
    """The proof of possession of that key for a doctor's account."""
    key = bls_key(name)
    kinds = ("uint256", "address", "address", "uint256[2]", "uint256[4]")
    message = keccak(encode(kinds, (CHAIN_ID, doctors, doctor, key.public.g1, key.public.g2)))
    return key.sign(POSSESSION_DOMAIN, message)


@dataclass(frozen=True)
class CaseHandle:
    """A case and its account."""

    id: int
    account: Actor
    bucket: int
    panel_size: int


@dataclass(frozen=True)
class Ballot:
    """What a doctor commits to and reveals."""

    code: int
    confidence: int = 80
    salt: bytes = keccak(text="salt")


class World:
    """All contracts deployed, one attester, one model owner with one network. See the module."""

    def __init__(self, terms: Terms | None = None, *, replaced: Mapping[str, Any] | None = None) -> None:
        """replaced: artifacts to deploy instead of the committed ones, by contract name (planted bugs)."""
        self.terms = terms or Terms()
        self.chain = Chain()
        self.deployer, self.attester, self.owner, self.dealer, self.stranger = (
            self.funded(name) for name in ("deployer", "attester", "owner", "dealer", "stranger")
        )
        made = dict(replaced or {})
        place, t = create_address(self.deployer.address, 3), self.terms.as_tuple()

        def deploy(name: str, *arguments: Any) -> Contract:
            return self.chain.deploy(self.deployer.address, name, *arguments, made=made.get(name))

        self.reputation = deploy("Reputation", place)
        self.doctors = deploy("Doctors", t, [self.attester.address], self.reputation.address, place)
        self.models = deploy("Models", t, place)
        partners = (self.doctors.address, self.models.address, self.reputation.address)
        self.cases = deploy("Cases", t, *partners)
        self.certificates = deploy("Certificates", self.cases.address)
        self.market = deploy("DataMarket", self.cases.address)
        self.members: dict[str, Actor] = {}
        self.ballots: dict[tuple[int, str], Ballot] = {}
        self.send(self.owner, self.models, "register", NETWORK, SPECIALTY, 3 * GWEI, b"record", "card")

    # ------------------------------------------------------------------------------------------- plain calls

    def funded(self, name: str) -> Actor:
        """The actor of that name, with a thousand ether when new here."""
        who = actor(name)
        if self.chain.balance(who.address) == 0:
            self.chain.fund(who.address, 1_000 * ETHER)
        return who

    def send(self, who: Actor, contract: Contract, name: str, *arguments: Any, value: int = 0) -> Receipt:
        """A transaction."""
        return self.chain.send(who.address, contract, name, *arguments, value=value)

    def view(self, case: CaseHandle) -> SimpleNamespace:
        """Everything public about a case."""
        seen: SimpleNamespace = self.chain.view(self.cases, "view_", case.id)
        return seen

    def advance(self, case: CaseHandle) -> Receipt:
        """Somebody without interest advances the case."""
        return self.send(self.stranger, self.cases, "advance", case.id)

    def reputation_of(self, who: Actor) -> int:
        """Reputation of a doctor."""
        return int(self.chain.view(self.reputation, "ofDoctor", who.address, SPECIALTY))

    # ----------------------------------------------------------------------------------------------- doctors

    def credential(
        self,
        doctor: Actor,
        specialty: bytes = SPECIALTY,
        until: int = FOREVER,
        attester: Actor | None = None,
        key: PrivateKey | None = None,
    ) -> tuple[str, int, bytes]:
        """A credential by the attester; signed by `key` where given (a forgery)."""
        attester = attester or self.attester
        digest = doctors_domain(CHAIN_ID, self.doctors.address).digest(
            Credential(doctor.address, specialty, until)
        )
        return attester.address, until, sign(key or attester.key, digest)

    def application(self, doctor: Actor, **changes: Any) -> tuple[Any, ...]:
        """What the doctor registers with, in the contract's order, some fields changed."""
        fields = {
            "specialties": [SPECIALTY],
            "credentials": [self.credential(doctor)],
            "sealingKey": keccak(text=f"sealing of {doctor.name}"),
            "blsG1": doctor.bls.public.g1,
            "blsG2": doctor.bls.public.g2,
            "blsProof": possession_proof(doctor.name, self.doctors.address, doctor.address),
            "record": b"record of " + doctor.name.encode(),
        }
        return tuple((fields | changes).values())

    def register(self, doctor: Actor, **changes: Any) -> Receipt:
        """Registers a doctor."""
        application = self.application(doctor, **changes)
        deposit = self.terms.registration_deposit
        receipt = self.send(doctor, self.doctors, "register", application, value=deposit)
        self.members[doctor.address] = doctor
        return receipt

    def add_doctors(self, count: int, prefix: str = "doctor") -> list[Actor]:
        """Registers so many new doctors."""
        first = len(self.members)
        added = [self.funded(f"{prefix} {first + i}") for i in range(count)]
        for doctor in added:
            self.register(doctor)
        return added

    # ------------------------------------------------------------------------------------------------- cases

    def prepare(self, name: str, bucket: int = 0, panel_size: int = 5) -> CaseHandle:
        """A case not opened yet, for the account of that name."""
        account = self.funded(name)
        commitment = keccak(text=f"scan of {name}")
        number = case_id(CHAIN_ID, self.cases.address, account.address, commitment)
        return CaseHandle(number, account, bucket, panel_size)

    def receipt(self, case: CaseHandle, key: PrivateKey | None = None, **changes: Any) -> tuple[Any, bytes]:
        """The model's receipt and its signature, some fields changed before signing."""
        given = replace(ModelReceipt(case.id, NETWORK, case.bucket, FOREVER), **changes)
        digest = models_domain(CHAIN_ID, self.models.address).digest(given)
        return given.as_tuple(), sign(key or self.owner.key, digest)

    def quote(self, case: CaseHandle, key: PrivateKey | None = None, **changes: Any) -> tuple[Any, bytes]:
        """The model's quote and its signature, some fields changed before signing."""
        given = Quote(
            network=NETWORK,
            model=self.owner.address,
            case_id=case.id,
            patient=case.account.address,
            price=3 * GWEI,
            dealer=self.dealer.address,
            dealer_fee=GWEI,
            valid_until=self.chain.time + 3_600,
        )
        given = replace(given, **changes)
        digest = models_domain(CHAIN_ID, self.models.address).digest(given)
        return given.as_tuple(), sign(key or self.owner.key, digest)

    def opening(self, case: CaseHandle, **changes: Any) -> tuple[Any, ...]:
        """What the case account opens with, in the contract's order, some fields changed."""
        fields = {
            "specialty": SPECIALTY,
            "scanCommitment": keccak(text=f"scan of {case.account.name}"),
            "panelSize": case.panel_size,
            "network": NETWORK,
            "consentHash": b"\0" * 32,
            "sealingKey": keccak(text="patient's sealing key"),
            "contact": keccak(text="peer"),
        }
        return tuple((fields | changes).values())

    def bounty(self, case: CaseHandle) -> int:
        """What `open` takes."""
        return int(self.chain.view(self.cases, "escrowFor", case.bucket, case.panel_size))

    def open(self, case: CaseHandle, **changes: Any) -> Receipt:
        """Opens a prepared case."""
        receipt, signature = self.receipt(case)
        opening = self.opening(case, **changes)
        return self.send(
            case.account, self.cases, "open", opening, receipt, signature, value=self.bounty(case)
        )

    def open_case(
        self, name: str = "case", bucket: int = 0, panel_size: int = 5, **changes: Any
    ) -> CaseHandle:
        """Prepares and opens a case."""
        case = self.prepare(name, bucket, panel_size)
        self.open(case, **changes)
        return case

    # ------------------------------------------------------------------------------------------------ panels

    def draw(self, case: CaseHandle) -> list[Actor]:
        """Waits for the seed block and draws; the doctors invited."""
        self.chain.mine(2)
        drawn = self.advance(case).all("Drawn")
        return [self.members[event.values["doctor"]] for event in drawn]

    def at_step(self, case: CaseHandle, status: int) -> list[Actor]:
        """Doctors of the present round whose seat has that status."""
        seen = self.view(case)
        seats = [s for s in seen.seats if s.round == seen.round and s.status == status]
        return [self.members[seat.doctor] for seat in seats]

    def accept(self, case: CaseHandle, doctor: Actor) -> Receipt:
        """One doctor accepts."""
        return self.send(doctor, self.cases, "accept", case.id, value=self.terms.seat_deposit)

    def commit(self, case: CaseHandle, doctor: Actor, ballot: Ballot) -> Receipt:
        """One doctor commits."""
        self.ballots[(case.id, doctor.address)] = ballot
        commitment = ballot_commitment(
            chain_id=CHAIN_ID,
            cases=self.cases.address,
            case_id=case.id,
            round_=self.view(case).round,
            doctor=doctor.address,
            code=ballot.code,
            confidence=ballot.confidence,
            salt=ballot.salt,
        )
        return self.send(doctor, self.cases, "commit", case.id, commitment)

    def reveal(self, case: CaseHandle, doctor: Actor) -> Receipt:
        """One doctor reveals what it committed to."""
        b = self.ballots[(case.id, doctor.address)]
        return self.send(doctor, self.cases, "reveal", case.id, b.code, b.confidence, b.salt)

    def seat_all(self, case: CaseHandle) -> list[Actor]:
        """Draws, and all accept; the panel."""
        self.draw(case)
        panel = self.at_step(case, INVITED)
        for doctor in panel:
            self.accept(case, doctor)
        return panel

    def vote(self, case: CaseHandle, ballots: Mapping[Actor, Ballot | None]) -> None:
        """The seated commit and reveal; None: never commits. Ends with the reveal phase over."""
        for doctor, ballot in ballots.items():
            if ballot is not None:
                self.commit(case, doctor, ballot)
        if self.view(case).phase == COMMIT:
            self.chain.mine(1, self.terms.commit_seconds + 1)
            self.advance(case)
        for doctor, ballot in ballots.items():
            if ballot is not None:
                self.reveal(case, doctor)

    def round(self, case: CaseHandle, codes: list[int], confidence: int = 80) -> list[Actor]:
        """A whole round: seats in order of drawing vote these codes; closes the round. The panel."""
        panel = self.seat_all(case)
        self.vote(case, {d: Ballot(code, confidence) for d, code in zip(panel, codes, strict=True)})
        self.advance(case)
        return panel

    # ------------------------------------------------------------------------------------------------- books

    def check_books(self) -> None:
        """Every contract's balance is what it says it holds."""
        chain = self.chain
        assert chain.balance(self.cases.address) == sum(chain.view(self.cases, "books"))
        assert chain.balance(self.models.address) == sum(chain.view(self.models, "books"))
        assert chain.balance(self.market.address) == chain.view(self.market, "books")
        assert chain.balance(self.doctors.address) == chain.view(self.doctors, "heldDeposits")

    def credit(self, who: Actor, contract: Contract | None = None) -> int:
        """Wei owed to somebody, by `Cases` unless another contract is named."""
        return int(self.chain.view(contract or self.cases, "creditOf", who.address))
