"""The dealer's process."""

from __future__ import annotations

import time
from typing import ClassVar

from agents.engine.blind import SEED_BYTES, fresh_seed, pump, purpose, read_deal_order
from agents.engine.duty import Duty
from agents.engine.store import Pending
from contracts.bindings.models import PurchaseState
from protocols.blind.dealer import DealerParty
from protocols.blind.messages import Role
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.case.dealer import MACHINE, DealerCase
from protocols.dialogues import Said
from protocols.effects import Event
from protocols.errors import ProtocolError, WireError

SESSION_PATIENCE = 60.0


class DealerDuty(Duty[DealerCase]):
    """Deals for sessions that are paid for on chain with this dealer named in the quote."""

    role: ClassVar[str] = "dealer"
    machine = MACHINE
    collects: ClassVar[tuple[str, ...]] = ("models",)

    def accept(self, sender: str, said: Said) -> DealerCase | None:
        """A model asks to have a session dealt."""
        body = said.body
        session, case_id, network, patient = (
            body.get(k) for k in ("session", "case_id", "network", "patient")
        )
        if said.conversation != "session" or not isinstance(session, str) or not session:
            return None
        if not (isinstance(case_id, int) and isinstance(patient, str) and isinstance(network, bytes)):
            return None
        key = f"{sender}/{session}"
        return DealerCase(key, "asked", session, case_id, network, sender, patient, said.thread)

    async def do_check_purchase(self, pending: Pending) -> Event:
        """Is the session paid for, by a quote that names this dealer?"""
        body = pending.effect.body
        purchase = await self.ask(self.contracts.models.purchase_of(body["case_id"], body["network"]))
        paid = (
            purchase.state in (PurchaseState.HELD, PurchaseState.RELEASED) and purchase.dealer == self.address
        )
        return Event("purchase", {"paid": paid, "session": body["session"]}, f"{pending.effect.id}/done")

    async def do_deal(self, pending: Pending) -> Event:
        """Deal one session. What it says to the model is sent once; a second try needs another session."""
        body = pending.effect.body
        session = self.thread_of(body["session"])
        self.tell("blind.deal", "dealing correlated randomness for a session", hex(0))
        start = time.perf_counter()
        try:
            sent = await self._deal(session, body["model"], body["patient"], body["network"])
        except (ProtocolError, WireError) as error:
            return Event("deal_failed", {"reason": str(error)}, f"{pending.effect.id}/failed")
        seconds = time.perf_counter() - start
        return Event("dealt", {"bytes": sent, "seconds": seconds}, f"{pending.effect.id}/dealt")

    async def _deal(self, session: bytes, model: str, patient: str, network: bytes) -> int:
        async with await self.switchboard.take(model, purpose("deal", session), SESSION_PATIENCE) as to_model:
            topology_bytes, name, model_seed = read_deal_order(await to_model.recv())
            if name != network:
                raise ProtocolError("the model wants another network dealt than was paid for")
            async with await self.switchboard.take(
                patient, purpose("seed", session), SESSION_PATIENCE
            ) as hers:
                patient_seed = await hers.recv()
                if len(patient_seed) != SEED_BYTES:
                    raise ProtocolError("the patient's seed is not 32 bytes")
                await hers.send(b"ok")
            topology = Topology.decode(topology_bytes)
            party = DealerParty(
                topology, network, session, patient_seed, model_seed, fresh_seed(), UsedSessions()
            )
            traffic = await pump(party, {Role.MODEL: to_model})
        return traffic.sent

    def describe(self, after: DealerCase, before: DealerCase | None, event: Event) -> tuple[str, str] | None:
        """Told: dealt, refused, broken."""
        if before is not None and before.phase == after.phase:
            return None
        return {
            "asked": ("blind.asked", "a model asked for a session to be dealt"),
            "dealing": ("blind.dealing", "the session is paid for: dealing"),
            "dealt": ("blind.dealt", f"dealt {after.bytes_sent} bytes of randomness, seeing nothing"),
            "refused": ("blind.refused", "a session was refused: it is not paid for"),
            "broken": ("blind.broken", f"a session ended early: {after.trouble}"),
        }.get(after.phase)
