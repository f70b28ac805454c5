"""The model owner's process."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any, ClassVar

from agents.engine.blind import deal_order, pump, purpose
from agents.engine.duty import Duty, Setup
from agents.engine.store import Pending
from agents.framework.decision import DigestWish
from contracts.bindings.models import PurchaseState
from models.zoo import load_network
from protocols.blind.messages import Role
from protocols.blind.model import ModelParty
from protocols.blind.schedule import costs
from protocols.blind.session import UsedSessions
from protocols.blind.weights import mask_weights
from protocols.case.model import MACHINE, ModelCase
from protocols.case.steps import MAIN, transact
from protocols.crypto.eip712 import Quote, Receipt, models_domain
from protocols.dialogues import Said
from protocols.effects import Event
from protocols.errors import ProtocolError, WireError
from protocols.specialty import specialty

QUOTE_SECONDS = 3600
RECEIPT_SECONDS = 86_400
CLAIM_AFTER = 90.0
PATIENT_PATIENCE = 60.0


class ModelDuty(Duty[ModelCase]):
    """Sells blind predictions of one network.

    options: network (name or file), price and dealer_fee (wei), dealer (wallet; "" takes the first one announced).
    """

    role: ClassVar[str] = "model"
    machine = MACHINE
    collects: ClassVar[tuple[str, ...]] = ("models", "market")

    def __init__(self, setup: Setup) -> None:
        self.network, self.card = load_network(Path(n) if "/" in (n := setup.options["network"]) else n)
        self.network_id = self.network.network_hash()
        self.topology = self.network.topology.encode()
        super().__init__(setup)
        self._registered = asyncio.Event()

    def record_extra(self) -> dict[str, Any]:
        """Its specialty, for patients who look for models."""
        return {"specialty": self.card.specialty}

    async def prepare(self) -> None:
        """Register the network on chain, once, with its price and card."""
        options = self.setup.options
        found = await self.ask(self.contracts.models.network(self.network_id))
        card = json.dumps({"name": self.card.name, **_figures(self.card)}, sort_keys=True)
        record = self.directory.own.encode()
        if found.owner == self.address and found.active and found.price == options["price"]:
            self._offer()
            return
        field = specialty(self.card.specialty)
        effect = transact(
            "registration",
            f"register/{self.network_id.hex()[:16]}/{options['price']}",
            "Models",
            "register",
            [self.network_id, field.id, options["price"], record, card],
            account=MAIN,
        )
        await self.errands.run(effect)
        self._offer()

    def _offer(self) -> None:
        """From now on there are quotes: what they name is registered."""
        self._registered.set()
        self.tell("ready", f"offering {self.card.summary()}")

    # ---- quotes
    def accept(self, sender: str, said: Said) -> ModelCase | None:
        """A patient asks for a price, or begins the session it paid for."""
        body = said.body
        case_id = body.get("case_id")
        if not isinstance(case_id, int) or isinstance(case_id, bool) or not 0 < case_id < 1 << 256:
            return None
        key = f"{case_id:x}/{sender}"
        if said.conversation == "session":
            return self.core.state(key)
        account, field = body["patient"], body["specialty"]
        if said.conversation != "quote" or not isinstance(account, str) or not isinstance(field, str):
            return None
        why = "" if field == self.card.specialty else f"this network reads {self.card.specialty}"
        trusted = body.get("dealers")
        dealer = self._dealer([d for d in trusted if isinstance(d, str)] if isinstance(trusted, list) else [])
        if not dealer:
            why = "no dealer that the patient trusts is known at present"
        return ModelCase(
            key, "asked", case_id, account, sender, field, self.network_id, dealer, said.thread, objection=why
        )

    def _dealer(self, trusted: list[str]) -> str:
        """The dealer of an offer: the owner's own choice, or the first announced, among those the patient trusts."""
        named = self.setup.options.get("dealer") or ""
        known = [named] if named else [record.wallet for record in self.directory.of_role("dealer")]
        return next((d for d in known if d != self.address and (not trusted or d in trusted)), "")

    async def do_quote(self, pending: Pending) -> Event:
        """Sign an offer for one case, once the network is registered: a purchase before would be refused."""
        await self._registered.wait()
        case = self.core.state(pending.case_key)
        assert case is not None
        options = self.setup.options
        quote = Quote(
            network=self.network_id,
            model=self.address,
            case_id=case.case_id,
            patient=case.account,
            price=options["price"],
            dealer=case.dealer,
            dealer_fee=options["dealer_fee"],
            valid_until=max(self.now_chain, int(time.time())) + QUOTE_SECONDS,
        )
        signature = await self._sign("quote", quote)
        bill = costs(self.network.topology)
        proposal = {
            "quote": {name: getattr(quote, name) for name in quote.__dataclass_fields__},
            "signature": signature,
            "card": {
                "name": self.card.name,
                "labels": list(self.card.labels),
                "modalities": list(self.card.modalities),
                "channels": self.card.channels,
                "side": self.card.side,
                "logit_scale": self.card.logit_scale,
                **_figures(self.card),
            },
            "topology": self.topology,
            "costs": {"bytes": bill.total, "rounds": bill.rounds},
            "dealer": case.dealer,
        }
        return Event("quoted", {"proposal": proposal, "now": time.time()}, f"{pending.effect.id}/done")

    async def _sign(self, what: str, message: Quote | Receipt) -> bytes:
        book = self.setup.book
        digest = models_domain(book.chain_id, book.address("Models")).digest(message)
        return await self.runtime.signer.sign(DigestWish(what, digest))

    # ---- the session
    async def do_check_purchase(self, pending: Pending) -> Event:
        """Is this case's prediction paid for?"""
        body = pending.effect.body
        purchase = await self.ask(self.contracts.models.purchase_of(body["case_id"], body["network"]))
        paid = (
            purchase.state in (PurchaseState.HELD, PurchaseState.RELEASED) and purchase.model == self.address
        )
        return Event("purchase", {"paid": paid, "session": body["session"]}, f"{pending.effect.id}/done")

    async def do_host(self, pending: Pending) -> Event:
        """Run the model's side of one session. It is never run twice: another try is another session."""
        body = pending.effect.body
        try:
            bucket, traffic = await self._host(body["session"], body["dealer"], body["patient"])
        except (ProtocolError, WireError) as error:
            reason = {"session": body["session"], "reason": str(error), "now": time.time()}
            return Event("host_failed", reason, f"{pending.effect.id}/failed")
        outcome = {"session": body["session"], "bucket": bucket, "bytes": traffic}
        return Event("hosted", outcome, f"{pending.effect.id}/hosted")

    async def _host(self, name: str, dealer: str, patient: str) -> tuple[int, int]:
        session = self.thread_of(name)
        seed = self.keyring.derive("dealer-seed", self.network_id + bytes.fromhex(dealer[2:]))
        masked = mask_weights(self.network, seed)
        party = ModelParty(self.network, masked, session, UsedSessions())
        async with await self.dial(dealer, purpose("deal", session)) as to_dealer:
            await to_dealer.send(deal_order(self.topology, self.network_id, seed))
            taken = await self.switchboard.take(patient, purpose("blind", session), PATIENT_PATIENCE)
            async with taken as to_patient:
                traffic = await pump(party, {Role.PATIENT: to_patient, Role.DEALER: to_dealer})
        bucket = party.result.bucket
        if bucket is None:
            raise ProtocolError("the network has no confidence thresholds", "use one that has")
        return bucket, traffic.sent + traffic.received

    async def do_sign_receipt(self, pending: Pending) -> Event:
        """Sign what blind inference opened: the bucket, and nothing else is known here."""
        body = pending.effect.body
        until = max(self.now_chain, int(time.time())) + RECEIPT_SECONDS
        receipt = Receipt(body["case_id"], body["network"], body["bucket"], until)
        signature = await self._sign("receipt", receipt)
        outcome = {
            "session": body["session"],
            "receipt": {name: getattr(receipt, name) for name in receipt.__dataclass_fields__},
            "signature": signature,
            "claim_after": CLAIM_AFTER,
            "now": time.time(),
        }
        return Event("receipt_signed", outcome, f"{pending.effect.id}/signed")

    def describe(self, after: ModelCase, before: ModelCase | None, event: Event) -> tuple[str, str] | None:
        """Told: each phase once."""
        if before is not None and before.phase == after.phase:
            return None
        return {
            "asked": ("quote.asked", "a patient asked for a price"),
            "offered": ("quote.offered", "made an offer"),
            "checking": ("blind.check", "looking up the payment on chain"),
            "arranging": ("blind.arrange", "asking the dealer for a session"),
            "hosting": ("blind.host", "computing on a scan that cannot be seen here"),
            "receipted": ("receipt", f"signed the receipt: confidence bucket {after.bucket}"),
            "earned": ("receipt.earned", "the fee is earned"),
            "refused": ("quote.refused", f"turned a wish away: {after.objection}"),
        }.get(after.phase)


def _figures(card: Any) -> dict[str, float]:
    held = card.held_out
    return {"auc": float(held["auc"]), "accuracy": float(held["accuracy"]), "n": int(held["n"])}
