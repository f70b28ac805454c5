"""What an owner lets the agent sign: the rules that the decision maker holds every transaction against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ALLOWED_CALLS: dict[str, frozenset[str]] = {
    "patient": frozenset(
        {
            "Models.purchase",
            "Models.reclaim",
            "Models.withdraw",
            "Cases.open",
            "Cases.advance",
            "Cases.withdraw",
            "DataMarket.list",
            "DataMarket.withdraw",
            "pay",
        }
    ),
    "doctor": frozenset(
        {
            "Doctors.register",
            "Doctors.updateRecord",
            "Doctors.resign",
            "Doctors.withdrawDeposit",
            "Doctors.setResting",
            "Cases.accept",
            "Cases.decline",
            "Cases.commit",
            "Cases.reveal",
            "Cases.advance",
            "Cases.withdraw",
            "DataMarket.withdraw",
        }
    ),
    "model": frozenset(
        {"Models.register", "Models.unregister", "Models.release", "Models.withdraw", "DataMarket.withdraw"}
    ),
    "dealer": frozenset({"Models.withdraw"}),
    "researcher": frozenset({"DataMarket.buy"}),
}
"""Role -> the calls that its agent may sign. A call that is not here is refused whatever it costs."""


@dataclass(frozen=True, slots=True)
class SpendingPolicy:
    """The owner's terms, in wei. What a transaction may cost is its value and the most that its gas can take.

    own: the owner's addresses, the only ones that plain payments may go to (a wallet and its case accounts are
    both the owner's; which ones are is asked of the keyring, see `objection`).
    """

    role: str
    cap_case: int
    cap_day: int

    def objection(self, name: str, cost: int, spent_case: int, spent_day: int, *, to_own: bool) -> str:
        """Why a transaction must not be signed, or "".

        name: `Contract.function` or `pay`. spent_case, spent_day: wei that this case and this day have cost so far.
        """
        if name not in ALLOWED_CALLS[self.role]:
            return f"a {self.role}'s agent may not call {name}"
        if name == "pay" and not to_own:
            return "plain payments go to the owner's own accounts alone"
        if name == "pay":
            return ""  # from one pocket to the other: spent only when the other pocket spends it
        if spent_case + cost > self.cap_case:
            return f"{name} would bring the case to {spent_case + cost} wei, over its cap of {self.cap_case}"
        if spent_day + cost > self.cap_day:
            return f"{name} would bring the day to {spent_day + cost} wei, over its cap of {self.cap_day}"
        return ""


def call_name(body: dict[str, Any]) -> str:
    """How the policy knows a transact effect."""
    return f"{body['contract']}.{body['function']}"
