"""The `Models` contract: networks, and the escrow of blind inference."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from contracts.bindings.base import EventSearch, Payer, Read, word
from contracts.chain.values import Call
from protocols.crypto.eip712 import Quote, Receipt


class PurchaseState(IntEnum):
    """What became of a purchase."""

    NONE = 0
    HELD = 1
    RELEASED = 2
    RECLAIMED = 3


@dataclass(frozen=True, slots=True)
class NetworkView:
    """A network as registered."""

    owner: str
    price: int
    active: bool
    specialty: bytes
    record: bytes
    card: str


@dataclass(frozen=True, slots=True)
class Purchase:
    """A paid quote."""

    patient: str
    price: int
    dealer: str
    dealer_fee: int
    model: str
    reclaimable_from: int
    state: PurchaseState


class Models(Payer):
    """See `IModels.sol`."""

    contract: ClassVar[str] = "Models"

    # -- reads

    def network(self, network: bytes) -> Read[NetworkView]:
        """A network, registered or withdrawn."""
        return self._ask(lambda found: NetworkView(*found), "network", network)

    def networks_of(self, specialty: bytes) -> Read[int]:
        """How many networks a specialty ever had."""
        return self._ask(int, "networksOf", specialty)

    def networks_page(self, specialty: bytes, start: int, count: int) -> Read[tuple[bytes, ...]]:
        """A page of them."""
        return self._ask(tuple, "networksPage", specialty, start, count)

    def purchase_of(self, case_id: int, network: bytes) -> Read[Purchase]:
        """A purchase; its state is NONE when there is none."""
        return self._ask(_purchase, "purchaseOf", case_id, network)

    def bucket_of(self, case_id: int, network: bytes) -> Read[int | None]:
        """The bucket accepted for a case, None before."""
        return self._ask(lambda accepted, bucket: bucket if accepted else None, "bucketOf", case_id, network)

    def quote_digest(self, quote: Quote) -> Read[bytes]:
        """What the network's owner signs; equal to `models_domain(..).digest(quote)`."""
        return self._ask(bytes, "quoteDigest", quote.as_tuple())

    def receipt_digest(self, receipt: Receipt) -> Read[bytes]:
        """Likewise for a receipt."""
        return self._ask(bytes, "receiptDigest", receipt.as_tuple())

    def books(self) -> Read[tuple[int, int]]:
        """Held escrow and unpaid credits."""
        return self._ask(lambda held, credits: (held, credits), "books")

    # -- writes

    def register(
        self, account: str, network: bytes, specialty: bytes, price: int, record: bytes, card: str
    ) -> Call:
        """Register a network, or change its price, record and card."""
        return self._do(account, "register", network, specialty, price, record, card)

    def unregister(self, account: str, network: bytes) -> Call:
        """Withdraw a network."""
        return self._do(account, "unregister", network)

    def purchase(self, account: str, quote: Quote, signature: bytes) -> Call:
        """Pay a quote into escrow."""
        value = quote.price + quote.dealer_fee
        return self._do(account, "purchase", quote.as_tuple(), signature, value=value)

    def release(self, account: str, receipt: Receipt, signature: bytes) -> Call:
        """Credit model and dealer."""
        return self._do(account, "release", receipt.as_tuple(), signature)

    def reclaim(self, account: str, case_id: int, network: bytes) -> Call:
        """Credit the patient with escrow that was not released in time."""
        return self._do(account, "reclaim", case_id, network)

    # -- events

    def registrations(self, specialty: bytes | None = None) -> EventSearch:
        """Networks registered, of one specialty if given."""
        return self.search("NetworkRegistered", None, specialty)

    def of_case(self, case_id: int) -> EventSearch:
        """All events of one case."""
        return self.search(None, word(case_id))


def _purchase(found: Any) -> Purchase:
    fields = (*found[:-1], PurchaseState(found[-1]))
    return Purchase(*fields)
