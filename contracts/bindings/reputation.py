"""The `Reputation` contract: what doctors and networks have earned, by specialty, 0..10000."""

from __future__ import annotations

from typing import ClassVar

from contracts.bindings.base import Binding, EventSearch, Read, word


class Reputation(Binding):
    """See `IReputation.sol`."""

    contract: ClassVar[str] = "Reputation"

    def of_doctor(self, account: str, specialty: bytes) -> Read[int]:
        """A doctor's, drift included."""
        return self._ask(int, "ofDoctor", account, specialty)

    def of_network(self, network: bytes, specialty: bytes) -> Read[int]:
        """A network's, drift included."""
        return self._ask(int, "ofNetwork", network, specialty)

    def standing(self, account: str, specialty: bytes) -> Read[tuple[int, int]]:
        """A doctor's, and how many verdicts of it were scored."""
        return self._ask(lambda value, scored: (value, scored), "standing", account, specialty)

    def moves_of_case(self, case_id: int) -> EventSearch:
        """What a case moved."""
        return self.search("Moved", word(case_id))

    def moves_of(self, subject: str | bytes) -> EventSearch:
        """What moved a doctor (by address) or a network (by hash)."""
        return self.search("Moved", None, word(subject))
