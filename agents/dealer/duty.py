"""The dealer's process."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

from agents.dealer.dealing import Hands, too_long
from agents.dealer.register import Limits, Register
from agents.engine import dealing
from agents.engine.blind import purpose
from agents.engine.duty import Duty, Setup
from agents.engine.faults import point
from agents.engine.store import Pending
from agents.wire.channel import Channel
from contracts.bindings.models import PurchaseState
from protocols.case.dealer import MACHINE, DealerCase
from protocols.case.volume import MAX_DEALT, suite_identity
from protocols.dialogues import Said
from protocols.effects import Event
from protocols.errors import ProtocolError, WireError

SESSION_PATIENCE = 60.0
ORDER_PATIENCE = 900.0  # seconds between two tapes of a volume: a batch is computed meanwhile


class DealerDuty(Duty[DealerCase]):
    """Deals for sessions that are paid for on chain with this dealer named in the quote, and tapes to keep for later.

    options: unpaid (bytes a day that a model may have dealt beyond what was paid for).
    """

    role: ClassVar[str] = "dealer"
    machine = MACHINE
    collects: ClassVar[tuple[str, ...]] = ("models",)

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        limits = Limits(int(setup.options.get("unpaid", Limits().unpaid)))
        self.hands = Hands(self.keyring, Register(self.store, limits), time.time)
        self.switchboard.servers[dealing.STOCK] = self._stock

    async def _stock(self, channel: Channel) -> None:
        """A model lays tapes in."""
        begun = time.perf_counter()
        try:
            count = await self.hands.stock(channel, self._owns)
        except TimeoutError:
            raise WireError("a model took too long over its tapes", "it asks again") from None
        if count:
            seconds = time.perf_counter() - begun
            counts = self.hands.register.counts()
            text = f"dealt {count} tapes to keep in {seconds:.1f} s; {counts.get('dealt', 0)} are with models"
            self.tell("tapes", text, counts=counts)

    async def _owns(self, wallet: str, network: bytes) -> bool:
        found = await self.ask(self.contracts.models.network(network))
        return bool(found.active and found.owner == wallet)

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
        """Is the session paid for, by a quote that names this dealer and is of the model that asks?"""
        body = pending.effect.body
        case = self.core.state(pending.case_key)
        assert case is not None
        purchase = await self.ask(self.contracts.models.purchase_of(body["case_id"], body["network"]))
        paid = (
            purchase.state in (PurchaseState.HELD, PurchaseState.RELEASED)
            and purchase.dealer == self.address
            and purchase.model == case.model
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
            first = await to_model.recv()
            if dealing.is_suite_order(first):
                return await self._deal_suite(first, session, to_model, patient, network)
            order = dealing.read_session_order(first)
            pads = None
            if isinstance(order, dealing.Order):
                _same(order.network, network)
                batch = order.batch
                seeds, pads = await self.hands.live(order, to_model)
            else:
                tape, named, batch = order
                _same(named, network)
                try:
                    seeds = self.hands.give(tape, model, network, batch)
                except ProtocolError as error:
                    await to_model.send(dealing.sorry(error.fault))
                    raise
                await to_model.send(dealing.tape_named(seeds.name))
            theirs = self.switchboard.take(patient, purpose("seed", session), SESSION_PATIENCE)
            async with await theirs as to_patient:
                await to_patient.send(dealing.seed_given(seeds.name, seeds.patient, batch))
            return await self.hands.send_live(pads, seeds, batch, to_model) if pads is not None else 0

    async def _deal_suite(
        self, first: bytes, session: bytes, to_model: Channel, patient: str, network: bytes
    ) -> int:
        """Tape after tape for the batches of one volume, dealt live; bytes sent. The paid id names the networks."""
        members = dealing.read_suite_order(first)
        if suite_identity(members) != network:
            await to_model.send(dealing.sorry("these networks are not those of the suite that was paid for"))
            raise ProtocolError("the model wants other networks dealt than were paid for")
        await to_model.send(dealing.agreed())
        sent = images = 0
        theirs = self.switchboard.take(patient, purpose("seed", session), SESSION_PATIENCE)
        async with await theirs as to_patient:
            while (order := dealing.read_next_order(await to_model.recv(ORDER_PATIENCE))) is not None:
                images += order.batch
                fault = await asyncio.to_thread(too_long, order)
                if order.network not in members.values() or images > MAX_DEALT:
                    fault = "this tape is not one that was paid for"
                if fault:
                    await to_model.send(dealing.sorry(fault))
                    raise ProtocolError(f"the model wants what is not dealt: {fault}")
                seeds, pads = await self.hands.live(order, to_model)
                point("before-write", "batch")
                await to_patient.send(dealing.seed_given(seeds.name, seeds.patient, order.batch))
                sent += await self.hands.send_live(pads, seeds, order.batch, to_model)
                point("after-send", "batch")
        return sent

    def describe(self, after: DealerCase, before: DealerCase | None, event: Event) -> tuple[str, str] | None:
        """Told: dealt, refused, broken."""
        if before is not None and before.phase == after.phase:
            return None
        return {
            "asked": ("blind.asked", "a model asked for a session to be dealt"),
            "dealing": ("blind.dealing", "the session is paid for: dealing"),
            "dealt": ("blind.dealt", _dealt(after.bytes_sent)),
            "refused": ("blind.refused", "a session was refused: it is not paid for"),
            "broken": ("blind.broken", f"a session ended early: {after.trouble}"),
        }.get(after.phase)


def _same(named: bytes, paid: bytes) -> None:
    if named != paid:
        raise ProtocolError("the model wants another network dealt than was paid for")


def _dealt(size: int) -> str:
    if not size:
        return "gave the patient the seed of a tape that the model keeps, seeing nothing"
    return f"dealt {size} bytes of randomness, seeing nothing"
