"""The `Certificates` contract: checks the panel's aggregated signature on chain, by a read."""

from __future__ import annotations

from typing import ClassVar

from contracts.bindings.base import Binding, Read
from protocols.crypto.bls import EncodedG1, EncodedG2


class Certificates(Binding):
    """See `ICertificates.sol`."""

    contract: ClassVar[str] = "Certificates"

    def check(
        self, case_id: int, label: bytes, date: int, seats: int, signature: EncodedG1, keys: EncodedG2
    ) -> Read[bool]:
        """Whether a certificate holds. seats: bit i says that seat i signed."""
        return self._ask(bool, "check", case_id, label, date, seats, signature, keys)

    def message_of(self, case_id: int, label: bytes, date: int) -> Read[bytes]:
        """What each doctor signs."""
        return self._ask(bytes, "messageOf", case_id, label, date)

    def hash_to_g1(self, domain: bytes, message: bytes) -> Read[EncodedG1]:
        """The point that a message is hashed to."""
        return self._ask(lambda found: (found[0], found[1]), "hashToG1", domain, message)
