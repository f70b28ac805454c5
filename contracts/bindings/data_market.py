"""The `DataMarket` contract: bare metadata of settled cases, sold with the patient's consent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, ClassVar

from contracts.bindings.base import EventSearch, Payer, Read, word
from contracts.chain.values import Call


@dataclass(frozen=True, slots=True)
class Consent:
    """What a patient consented to. text: keccak256 of the text read; until: Unix second, 0 for no end."""

    text: bytes
    floor_price: int
    until: int

    def as_tuple(self) -> tuple[Any, ...]:
        """The contract's struct."""
        return astuple(self)


@dataclass(frozen=True, slots=True)
class Listing:
    """A record on the market."""

    case_account: str
    price: int
    record_hash: bytes
    until: int
    open: bool


class DataMarket(Payer):
    """See `IDataMarket.sol`."""

    contract: ClassVar[str] = "DataMarket"

    # -- reads

    def has_access(self, buyer: str, case_id: int) -> Read[bool]:
        """Whether a buyer paid for a record."""
        return self._ask(bool, "hasAccess", buyer, case_id)

    def listing_of(self, case_id: int) -> Read[Listing]:
        """A listing."""
        return self._ask(lambda found: Listing(*found), "listingOf", case_id)

    def consent_hash_of(self, case_account: str, consent: Consent) -> Read[bytes]:
        """The hash to give when opening the case."""
        return self._ask(bytes, "consentHashOf", case_account, consent.as_tuple())

    # -- writes

    def list(self, account: str, case_id: int, record_hash: bytes, price: int, consent: Consent) -> Call:
        """List a record, or change its hash and price."""
        return self._do(account, "list", case_id, record_hash, price, consent.as_tuple())

    def delist(self, account: str, case_id: int) -> Call:
        """Take a record off the market."""
        return self._do(account, "delist", case_id)

    def buy(self, account: str, case_ids: Sequence[int], value: int) -> Call:
        """Buy records. value: the sum of their prices."""
        return self._do(account, "buy", tuple(case_ids), value=value)

    # -- events

    def listings(self, specialty: bytes | None = None) -> EventSearch:
        """Records listed, of one specialty if given."""
        return self.search("Listed", None, specialty)

    def of_case(self, case_id: int) -> EventSearch:
        """All events of one case."""
        return self.search(None, word(case_id))
