"""What an agent does for itself: registering before it is ready, and fetching what contracts owe it.

Both are effects like any other, written down before they are done, under case keys of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from agents.engine.faults import label, point
from protocols.case.steps import transact
from protocols.effects import Effect, Event
from protocols.errors import ChainError, UserError, WireError

if TYPE_CHECKING:
    from agents.engine.duty import Duty
    from contracts.bindings.base import Payer

OWN = "own"
"""The case key of what is done before the agent is ready; it is waited for, not left to the loop of effects."""

COLLECTED = "collected"
"""The case key of fetching what is owed."""

COLLECT_SECONDS = 20.0
LEAST_CREDIT = 10**14
"""Wei; less is not worth the gas."""


class Errands:
    """The errands of one duty."""

    def __init__(self, duty: Duty[Any]) -> None:
        self._duty = duty
        self._collect_due = 0.0

    async def resume(self) -> None:
        """See an earlier life's own transactions through: left half done, they would hold up all later ones."""
        for pending in self._duty.store.pending():
            if pending.case_key == OWN:
                with contextlib.suppress(UserError):
                    await self.run(pending.effect)

    async def run(self, effect: Effect) -> Event:
        """Do a transaction of the agent's own now, repeated until the chain has answered.

        Raises `UserError` when the chain refuses it; it may be wished again then.
        """
        duty, store = self._duty, self._duty.store
        what = label(effect.kind, dict(effect.body))
        point("before-write", what)
        with store.transaction():
            store.add_effect(OWN, effect)
        point("after-write", what)
        while True:
            found = [p for p in store.pending() if p.effect.id == effect.id]
            if not found:
                return Event("mined", {"step": effect.body["step"]})
            try:
                outcome = await duty.ledger.transact(found[0])
            except (ChainError, WireError) as error:
                duty.trouble(str(error))
                await asyncio.sleep(duty.core.later(found[0], time.time(), str(error)))
                continue
            duty.calm()
            if outcome.kind == "reverted":
                with store.transaction():
                    store.forget(effect.id)
                why = f"{str(effect.body['step']).split('/')[0]} was refused by the chain: {outcome.body['reason']}"
                raise UserError(why, "mend that and start again")
            point("before-done", what)
            duty.note_transaction(outcome)
            duty.core.done(found[0], None)
            return outcome

    async def collect(self) -> None:
        """Fetch what the contracts owe this wallet, when it is worth the gas. Looked at now and then."""
        duty = self._duty
        if time.monotonic() < self._collect_due:
            return
        self._collect_due = time.monotonic() + COLLECT_SECONDS
        for name in duty.collects:
            contract: Payer = getattr(duty.contracts, name)
            owed = await duty.ask(contract.credit_of(duty.address))
            if owed < LEAST_CREDIT:
                continue
            step = f"collect/{name}/{duty.seen_block}"
            point("before-write", "tx/collect")
            with duty.store.transaction():
                duty.store.add_effect(COLLECTED, transact(COLLECTED, step, contract.contract, "withdraw", []))
            duty.tell("collect", f"fetching {owed / 1e18:.4f} ether that {contract.contract} owes")
