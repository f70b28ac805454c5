"""An owner of a suite in the simulation: who leaves with all of a volume, and who comes with another's purchase."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from agents.dealer.duty import DealerDuty
from agents.engine.lanes import Lanes
from agents.engine.store import Pending
from agents.model.duty import ModelDuty
from contracts.bindings.models import Purchase
from protocols.effects import Event
from protocols.errors import WireError
from tests.sim.plan import calm, of_volume
from tests.sim.world import Result, run


def text(result: Result) -> str:
    """All that happened."""
    return "\n".join(result.lines)


def test_a_patient_who_leaves_without_a_word_has_its_model_paid() -> None:
    """It has every batch, and closes where it should say that it is done."""
    honest = Lanes.say

    async def rude(self: Lanes, *word: Any) -> None:
        if word == ("done",):
            raise WireError("the patient leaves", "it has all")
        await honest(self, *word)

    with patch.object(Lanes, "say", rude):
        result = run(3, of_volume(calm(3)))
    assert "all batches were evaluated, though the session broke" in text(result)
    assert "receipt.earned: the fee is earned" in text(result)


def changed(role: Any, **fields: Any) -> Any:
    """The duty's look at the chain, where a purchase is another's."""
    honest = role.do_check_purchase

    async def look(self: Any, pending: Pending) -> Event:
        ask = self.ask

        async def lie(read: Any, block: Any = None) -> Any:
            found = await ask(read, block) if block is not None else await ask(read)
            if isinstance(found, Purchase):
                found = Purchase(**{n: getattr(found, n) for n in found.__slots__} | fields)
            return found

        self.ask = lie
        try:
            return await honest(self, pending)
        finally:
            self.ask = ask

    return patch.object(role, "do_check_purchase", look)


def test_a_purchase_of_another_account_hosts_nothing() -> None:
    plan = of_volume(calm(4))
    plan.faults = ["planted"]
    with changed(ModelDuty, patient="0x" + "77" * 20):
        result = run(4, plan)
    assert result.outcome == "failed"
    assert "blind.host" not in text(result)


def test_a_dealer_deals_nothing_for_another_models_purchase() -> None:
    plan = of_volume(calm(4))
    plan.faults = ["planted"]
    with changed(DealerDuty, model="0x" + "77" * 20):
        result = run(4, plan)
    assert result.outcome == "failed"
    assert "blind.refused" in text(result)
    assert "blind.host" not in text(result)
