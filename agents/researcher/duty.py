"""The researcher's process."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any, ClassVar

from agents.engine.duty import Duty
from agents.engine.store import Pending
from contracts.bindings.events import Listed
from protocols.case.researcher import MACHINE, Order
from protocols.effects import Event
from protocols.specialty import specialty


class ResearcherDuty(Duty[Order]):
    """Places one order and sees it through.

    options: specialty, wanted (records), budget (wei), patience (seconds to look for them).
    """

    role: ClassVar[str] = "researcher"
    machine = MACHINE

    async def prepare(self) -> None:
        """Take the order up again that is open or was not handed over yet, or place one."""
        if self.order is None:
            self.place()
        self.tell("ready", "looking for records on the data market")

    @property
    def order(self) -> Order | None:
        """The order that runs, or that is complete and was not handed over yet."""
        orders = self.core.states()
        return orders[-1] if orders and self.store.meta("handed over") != orders[-1].key else None

    def handed_over(self, order: str) -> None:
        """The owner has the records: the next start places another order."""
        with self.store.transaction():
            self.store.set_meta("handed over", order)

    def place(self) -> str:
        """Write an order down; its key."""
        options = self.setup.options
        now = time.time()
        order = Order(
            key=secrets.token_hex(8),
            phase="browsing",
            wallet=self.address,
            specialty=options["specialty"],
            wanted=options["wanted"],
            budget=options["budget"],
            patience=options["patience"],
            since=now,
        )
        self.core.open_case(order, Event("tick", {"now": now}, f"{order.key}/placed"))
        return order.key

    async def look(self, block: int, now: int) -> None:
        """The market is looked at by the order's own effect."""

    async def do_browse(self, pending: Pending) -> Event:
        """What is listed now, and who holds it."""
        field = specialty(pending.effect.body["specialty"])
        block, _ = await self.chain.head()
        search = self.contracts.market.listings(field.id)
        found: dict[int, dict[str, Any]] = {}
        holders = [record.wallet for record in self.directory.of_role("patient")]
        for event in await self.chain.events(search, self.setup.book.deployed_block, block):
            if not isinstance(event, Listed):
                continue
            listing = await self.ask(self.contracts.market.listing_of(event.case_id), block)
            bought = await self.ask(self.contracts.market.has_access(self.address, event.case_id), block)
            if listing.open and not bought and holders:
                entry = {"case_id": event.case_id, "price": listing.price, "record_hash": listing.record_hash}
                found[event.case_id] = entry | {"holders": holders}
        order = self.core.state(pending.case_key)
        assert order is not None
        final = time.time() - order.since > order.patience
        outcome = {"listings": list(found.values()), "final": final, "now": time.time()}
        return Event("listed", outcome, f"{pending.effect.id}/done")

    def case_name(self, state: Order) -> str:
        """An order is no case on chain."""
        return next((hex(int(name)) for name in state.listings), "")

    def describe(self, after: Order, before: Order | None, event: Event) -> tuple[str, str] | None:
        """Told: each phase once; the records at the end."""
        if before is not None and before.phase == after.phase:
            return None
        if after.phase == "done":
            folder = self.setup.data / "records"
            folder.mkdir(exist_ok=True)
            for name, fields in after.records.items():
                plain = {k: v.hex() if isinstance(v, bytes) else v for k, v in fields.items()}
                (folder / f"{int(name):x}.json").write_text(json.dumps(plain, indent=1) + "\n")
        return {
            "browsing": ("market.browse", f"wants {after.wanted} record(s) of {after.specialty}"),
            "buying": ("bought.pay", f"buying {len(after.listings)} record(s) for {after.spent} wei"),
            "fetching": ("bought", "paid; asking the patients for the records"),
            "done": ("market.done", f"holds {len(after.records)} record(s), each as listed"),
            "nothing": ("market.nothing", f"no purchase: {after.trouble}"),
        }.get(after.phase)
