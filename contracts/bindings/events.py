"""The events of all contracts as frozen values, each with its place on the chain.

A class here is named after its event and has the event's fields in snake case; `(block, index)` orders
events and, with `tx_hash`, names one for good.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from contracts.abi import Abi
from contracts.chain.values import Log
from protocols.case.view import Phase, SeatStatus


@dataclass(frozen=True, slots=True)
class ChainEvent:
    """Where an event stands on the chain, and which contract tells it."""

    address: str
    block: int
    index: int
    tx_hash: str


@dataclass(frozen=True, slots=True)
class CaseEvent(ChainEvent):
    """An event of one case."""

    case_id: int


@dataclass(frozen=True, slots=True)
class CaseOpened(CaseEvent):
    """A case was opened."""

    specialty: bytes
    case_account: str


@dataclass(frozen=True, slots=True)
class SeatEvent(CaseEvent):
    """Something happened to a doctor's seat."""

    doctor: str
    round: int


@dataclass(frozen=True, slots=True)
class Drawn(SeatEvent):
    """A doctor was drawn and invited."""


@dataclass(frozen=True, slots=True)
class SeatAccepted(SeatEvent):
    """A doctor took the seat."""


@dataclass(frozen=True, slots=True)
class SeatLost(SeatEvent):
    """A seat was declined, lapsed or forfeited; `status` says which."""

    status: SeatStatus


@dataclass(frozen=True, slots=True)
class Committed(SeatEvent):
    """A doctor committed to a verdict."""


@dataclass(frozen=True, slots=True)
class Revealed(SeatEvent):
    """A doctor opened the commitment."""

    code: int
    confidence: int


@dataclass(frozen=True, slots=True)
class PhaseChanged(CaseEvent):
    """A case went on to a phase that lasts until `deadline`."""

    round: int
    phase: Phase
    deadline: int


@dataclass(frozen=True, slots=True)
class RoundHung(CaseEvent):
    """A round closed without agreement."""

    round: int


@dataclass(frozen=True, slots=True)
class Settled(CaseEvent):
    """The panel agreed."""

    code: int
    agreeing: int


@dataclass(frozen=True, slots=True)
class Refunded(CaseEvent):
    """No agreement: the bounty went back."""


@dataclass(frozen=True, slots=True)
class Credited(CaseEvent):
    """An account is owed more."""

    account: str
    amount: int


@dataclass(frozen=True, slots=True)
class Withdrawn(ChainEvent):
    """An account took what it was owed."""

    account: str
    amount: int


@dataclass(frozen=True, slots=True)
class Moved(CaseEvent):
    """A case moved a reputation. `subject` is a doctor's address in 32 bytes, or a network's hash."""

    subject: bytes
    specialty: bytes
    before: int
    afterwards: int


@dataclass(frozen=True, slots=True)
class DoctorEvent(ChainEvent):
    """Something happened to a doctor's registration."""

    doctor: str


@dataclass(frozen=True, slots=True)
class Registered(DoctorEvent):
    """A doctor registered."""


@dataclass(frozen=True, slots=True)
class RecordChanged(DoctorEvent):
    """A doctor published a peer record."""

    record: bytes


@dataclass(frozen=True, slots=True)
class Admitted(DoctorEvent):
    """A doctor was admitted to a specialty, or renewed the credential."""

    specialty: bytes
    attester: str
    valid_until: int


@dataclass(frozen=True, slots=True)
class Revoked(DoctorEvent):
    """An attester took a credential back."""

    specialty: bytes
    attester: str
    valid_until: int


@dataclass(frozen=True, slots=True)
class Resting(DoctorEvent):
    """A doctor went out of the draws, or came back."""

    resting: bool


@dataclass(frozen=True, slots=True)
class Left(DoctorEvent):
    """A doctor left."""


@dataclass(frozen=True, slots=True)
class DepositWithdrawn(DoctorEvent):
    """A doctor took the deposit back."""

    amount: int


@dataclass(frozen=True, slots=True)
class NetworkRegistered(ChainEvent):
    """A network was registered or its offer changed."""

    network: bytes
    specialty: bytes
    owner: str
    price: int


@dataclass(frozen=True, slots=True)
class NetworkUnregistered(ChainEvent):
    """A network was withdrawn."""

    network: bytes


@dataclass(frozen=True, slots=True)
class Purchased(CaseEvent):
    """A quote was paid into escrow."""

    network: bytes
    patient: str
    amount: int


@dataclass(frozen=True, slots=True)
class ReceiptAccepted(CaseEvent):
    """A receipt fixed the bucket of a case."""

    network: bytes
    bucket: int


@dataclass(frozen=True, slots=True)
class Released(CaseEvent):
    """Escrow went to model and dealer."""

    network: bytes


@dataclass(frozen=True, slots=True)
class Reclaimed(CaseEvent):
    """Escrow went back to the patient."""

    network: bytes


@dataclass(frozen=True, slots=True)
class Listed(CaseEvent):
    """A record came on the market."""

    specialty: bytes
    record_hash: bytes
    price: int


@dataclass(frozen=True, slots=True)
class Delisted(CaseEvent):
    """A record went off the market."""


@dataclass(frozen=True, slots=True)
class Bought(CaseEvent):
    """Somebody paid for a record."""

    buyer: str
    price: int


_ALL = [kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, ChainEvent)]
_BASES = {base for kind in _ALL for base in kind.__bases__}
KINDS: dict[str, type[ChainEvent]] = {kind.__name__: kind for kind in _ALL if kind not in _BASES}
"""The classes by the names of their events, without those that only gather others."""
_WRAPPED = {"phase": Phase, "status": SeatStatus}


def typed_event(abi: Abi, log: Log) -> ChainEvent | None:
    """The event that a log tells, None when it is none of these."""
    found = abi.decode_event(log.topics, log.data)
    if found is None or (kind := KINDS.get(found[0])) is None:
        return None
    values = {_snake(name): value for name, value in found[1].items()}
    values |= {name: wrap(values[name]) for name, wrap in _WRAPPED.items() if name in values}
    return kind(address=log.address, block=log.block, index=log.index, tx_hash=log.tx_hash, **values)


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda letter: f"_{letter[0].lower()}", name)
