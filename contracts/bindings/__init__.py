"""Typed bindings of the contracts: pure encoding and decoding, and the performers that use it.

c = Contracts(book)
block, now = await client.head()
view = await client.read(c.cases.view(case_id, block, now), block)
receipt = await client.transact(c.cases.advance(account, case_id), signer)
"""

from __future__ import annotations

from contracts.bindings.base import EventSearch, Read, events_now, read_now, word
from contracts.bindings.cases import Cases, OpenCase, Outcome
from contracts.bindings.certificates import Certificates
from contracts.bindings.data_market import Consent, DataMarket, Listing
from contracts.bindings.doctors import Application, Doctors, DoctorState, DoctorView, SignedCredential
from contracts.bindings.models import Models, NetworkView, Purchase, PurchaseState
from contracts.bindings.reputation import Reputation
from contracts.bindings.terms import Terms
from contracts.chain.address_book import AddressBook

__all__ = [
    "Application",
    "Cases",
    "Certificates",
    "Consent",
    "Contracts",
    "DataMarket",
    "DoctorState",
    "DoctorView",
    "Doctors",
    "EventSearch",
    "Listing",
    "Models",
    "NetworkView",
    "OpenCase",
    "Outcome",
    "Purchase",
    "PurchaseState",
    "Read",
    "Reputation",
    "SignedCredential",
    "Terms",
    "events_now",
    "read_now",
    "word",
]


class Contracts:
    """All bindings of one deployment."""

    def __init__(self, book: AddressBook) -> None:
        self.book = book
        self.doctors = Doctors(book.address("Doctors"))
        self.models = Models(book.address("Models"))
        self.reputation = Reputation(book.address("Reputation"))
        self.cases = Cases(book.address("Cases"))
        self.certificates = Certificates(book.address("Certificates"))
        self.market = DataMarket(book.address("DataMarket"))
        self.terms = Terms.from_json(book.terms) if book.terms else None
