"""The model owner's process."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

from agents.engine import calibrate
from agents.engine.blind import Link, pump, purpose
from agents.engine.dealing import Order, deal_order, read_tape_named, take_order
from agents.engine.duty import Duty, Setup
from agents.engine.store import Pending
from agents.engine.used import use_tape
from agents.framework.decision import DigestWish
from agents.model.keeper import Keeper
from agents.model.probes import probes_of
from agents.model.tapes import Tape
from agents.wire.channel import Channel
from contracts.bindings.models import Purchase, PurchaseState
from models.zoo import load_network
from protocols.blind.audit import MOST_SLOTS
from protocols.blind.estimate import Speed, estimate
from protocols.blind.messages import Role
from protocols.blind.model import ModelParty
from protocols.blind.session import UsedSessions
from protocols.blind.weights import ModelWeights
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

    options: network (name or file), price and dealer_fee (wei, of one image), dealer (wallet; "" takes the first one
    announced), tape_budget (bytes; 0 keeps no tapes), speed (of this machine; it is measured when left out).
    """

    role: ClassVar[str] = "model"
    machine = MACHINE
    collects: ClassVar[tuple[str, ...]] = ("models", "market")

    def __init__(self, setup: Setup) -> None:
        self.load(str(setup.options["network"]))
        super().__init__(setup)
        self._registered = asyncio.Event()
        self._weights: dict[str, ModelWeights] = {}
        self._weighing = threading.Lock()
        self._speed: Speed | None = setup.options.get("speed")
        self._probes: dict[str, Any] | None = None
        self.keeper = Keeper(self, setup.data / "tapes", int(setup.options.get("tape_budget", 0)))
        self._keeping: asyncio.Task[None] | None = None

    def load(self, name: str) -> None:
        """What is sold: `network_id` on chain, `card`, and for the sessions `network` and `topology`."""
        self.network, self.card = load_network(Path(name) if "/" in name else name)
        self.network_id: bytes = self.network.network_hash()
        self.topology = self.network.topology.encode()

    def record_extra(self) -> dict[str, Any]:
        """Its specialty, for patients who look for models."""
        return {"specialty": self.card.specialty}

    async def prepare(self) -> None:
        """Register the network on chain, once, with its price and card."""
        options = self.setup.options
        self._speed = self._speed or await asyncio.to_thread(calibrate.measure)
        self._probes = await asyncio.to_thread(self.probes)
        found = await self.ask(self.contracts.models.network(self.network_id))
        card = json.dumps({"name": self.card.name, **self.figures()}, sort_keys=True)
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

    def probes(self) -> dict[str, Any] | None:
        """What audit slots check a network by. Heavy the first time."""
        return probes_of(self.network, self.card, self.setup.data)

    def figures(self) -> dict[str, float]:
        """How good the network is, as its card on chain and its offers say."""
        held = self.card.held_out
        return {"auc": float(held["auc"]), "accuracy": float(held["accuracy"]), "n": int(held["n"])}

    def _offer(self) -> None:
        """From now on there are quotes: what they name is registered."""
        self._registered.set()
        self.tell("ready", f"offering {self.card.summary()}")
        self._keeping = asyncio.create_task(self.keeper.run())

    async def _stop(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await super()._stop()

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
        names = [d for d in trusted if isinstance(d, str)] if isinstance(trusted, list) else []
        dealer = self.choose_dealer(names)
        if not dealer:
            why = "no dealer that the patient trusts is known at present"
        objection, batch, volume = self.wish(dict(body))
        why = why or objection
        if not why and not volume:
            self.keeper.asked(batch)
        return ModelCase(
            key,
            "asked",
            case_id,
            account,
            sender,
            field,
            self.network_id,
            dealer,
            said.thread,
            objection=why,
            batch=batch,
            volume=volume,
        )

    def wish(self, body: dict[str, Any]) -> tuple[str, int, dict[str, Any]]:
        """(why it cannot be, images to be paid for, the volume they are of or {}) of what a patient asks for."""
        slots = body.get("slots", 0)
        if type(slots) is not int or not 0 <= slots <= MOST_SLOTS:
            return f"at most {MOST_SLOTS} images are computed at once", 1, {}
        if body.get("volume") is not None:
            return "this network reads pictures, not volumes", 1, {}
        if slots and self._registered.is_set() and self._probes is None:
            return "this network has no probes for audit slots", max(1, slots), {}
        return "", max(1, slots), {}

    def choose_dealer(self, trusted: list[str]) -> str:
        """The dealer of an offer: the owner's own choice, or the first announced, among those the patient trusts.

        One that cheated is never chosen again.
        """
        named = self.setup.options.get("dealer") or ""
        known = [named] if named else [record.wallet for record in self.directory.of_role("dealer")]
        refused = self.keeper.trust.refused
        able = [d for d in known if d != self.address and d not in refused]
        return next((d for d in able if not trusted or d in trusted), "")

    def dealer_seed(self, dealer: str) -> bytes:
        """The seed of this network's pad, shared with one dealer."""
        return self.keyring.derive("dealer-seed", self.network_id + bytes.fromhex(dealer[2:]))

    def _weights_for(self, dealer: str) -> ModelWeights:
        """Made once a dealer. Heavy: not on the event loop."""
        with self._weighing:
            found = self._weights.get(dealer)
            if found is None:
                found = ModelWeights(self.network, self.dealer_seed(dealer))
                self._weights = {dealer: found}
            return found

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
            price=case.batch * options["price"],
            dealer=case.dealer,
            dealer_fee=case.batch * options["dealer_fee"],
            valid_until=max(self.now_chain, int(time.time())) + QUOTE_SECONDS,
        )
        signature = await self._sign("quote", quote)
        proposal = {
            "quote": {name: getattr(quote, name) for name in quote.__dataclass_fields__},
            "signature": signature,
            "dealer": case.dealer,
        } | self.proposal(case)
        return Event("quoted", {"proposal": proposal, "now": time.time()}, f"{pending.effect.id}/done")

    def proposal(self, case: ModelCase) -> dict[str, Any]:
        """What an offer says beside its signed quote: card, topology, costs."""
        card = {
            "name": self.card.name,
            "labels": list(self.card.labels),
            "modalities": list(self.card.modalities),
            "channels": self.card.channels,
            "side": self.card.side,
            "preparation": self.card.preparation,
            "logit_scale": self.card.logit_scale,
            **self.figures(),
            **({"probes": self._probes} if self._probes else {}),
        }
        return {"card": card, "topology": self.topology, "costs": self._costs(case.batch)}

    def _costs(self, batch: int) -> dict[str, Any]:
        """What a session will take, told before it: bytes, rounds, seconds between two processes of one machine."""
        assert self._speed is not None
        return {"batch": batch, **estimate(self.network.topology, batch, self._speed).to_plain()}

    async def _sign(self, what: str, message: Quote | Receipt) -> bytes:
        book = self.setup.book
        digest = models_domain(book.chain_id, book.address("Models")).digest(message)
        return await self.runtime.signer.sign(DigestWish(what, digest))

    # ---- the session
    async def do_check_purchase(self, pending: Pending) -> Event:
        """Is this case's prediction paid for, by its own account, as it was quoted, and for this wallet?"""
        body = pending.effect.body
        purchase = await self.ask(self.contracts.models.purchase_of(body["case_id"], body["network"]))
        case = self.core.state(pending.case_key)
        assert case is not None
        paid = (
            purchase.state in (PurchaseState.HELD, PurchaseState.RELEASED)
            and purchase.model == self.address
            and purchase.patient == body["account"]
            and _as_quoted(purchase, case.quote)
            and self._claim(body["case_id"], body["network"], case.patient)
        )
        released = purchase.state is PurchaseState.RELEASED
        reclaimable = not released and self.now_chain >= purchase.reclaimable_from
        told = {"paid": paid, "released": released, "reclaimable": reclaimable, "session": body["session"]}
        return Event("purchase", told, f"{pending.effect.id}/done")

    def _claim(self, case_id: int, network: bytes, wallet: str) -> bool:
        """Whether a paid purchase is this wallet's: it is the first one's that came with it, and stays so."""
        name = f"purchase/{case_id:x}/{network.hex()}"
        first = self.store.meta(name)
        if first is None:
            self.store.set_meta(name, wallet)
        return first in (None, wallet)

    async def do_host(self, pending: Pending) -> Event:
        """Run the model's side of one session. It is never run twice: another try is another session."""
        body = pending.effect.body
        try:
            bucket, traffic = await self.host(pending.case_key, dict(body))
        except (ProtocolError, WireError) as error:
            reason = {"session": body["session"], "reason": str(error), "now": time.time()}
            return Event("host_failed", reason, f"{pending.effect.id}/failed")
        outcome = {"session": body["session"], "bucket": bucket, "bytes": traffic}
        return Event("hosted", outcome, f"{pending.effect.id}/hosted")

    async def host(self, key: str, body: dict[str, Any]) -> tuple[int, int]:
        """(bucket, bytes) of one session of the case `key`. Raises `ProtocolError` or `WireError`."""
        dealer, patient, batch = body["dealer"], body["patient"], int(body.get("batch", 1))
        session = self.thread_of(body["session"])
        weights = await asyncio.to_thread(self._weights_for, dealer)
        tape = await self.keeper.claim(dealer, batch)
        try:
            async with await self.dial(dealer, purpose("deal", session)) as to_dealer:
                used = await self._arrange(tape, to_dealer, batch)
                use_tape(self.store, used, dealer, self.network_id, batch)
                party = ModelParty(weights, session, used, UsedSessions(), batch)
                taken = await self.switchboard.take(patient, purpose("blind", session), PATIENT_PATIENCE)
                async with taken as to_patient:
                    source: Link = tape or to_dealer
                    traffic = await pump(party, {Role.PATIENT: to_patient, Role.DEALER: source})
        finally:
            self.keeper.release(tape)
        bucket = party.result.bucket
        if bucket is None:
            raise ProtocolError("the network has no confidence thresholds", "use one that has")
        return bucket, traffic.sent + traffic.received

    async def _arrange(self, tape: Tape | None, to_dealer: Channel, batch: int) -> bytes:
        """Agree with the dealer on a kept tape, or on one that is dealt now; its name."""
        if tape is None:
            seed = self.dealer_seed(to_dealer.peer)
            await to_dealer.send(deal_order(Order(self.topology, self.network_id, seed, batch)))
            return read_tape_named(await to_dealer.recv())
        await to_dealer.send(take_order(tape.name, self.network_id, batch))
        try:
            named = read_tape_named(await to_dealer.recv())
        except ProtocolError as error:
            self.keeper.useless(to_dealer.peer, error.fault)
            raise
        if named != tape.name:
            raise ProtocolError(
                "the dealer names another tape than was asked for", "the session is tried again"
            )
        return named

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
        if event.kind == "host_failed":
            return "blind.broken", f"a session ended early: {after.trouble}"
        return {
            "asked": ("quote.asked", "a patient asked for a price"),
            "offered": ("quote.offered", "made an offer"),
            "checking": ("blind.check", "looking up the payment on chain"),
            "arranging": ("blind.arrange", "asking the dealer for a session"),
            "hosting": ("blind.host", f"computing on {_images(after.batch)} that cannot be seen here"),
            "receipted": (
                "receipt",
                "signed the receipt: all images of the volume were evaluated"
                if after.volume
                else f"signed the receipt: confidence bucket {after.bucket}",
            ),
            "earned": ("receipt.earned", "the fee is earned"),
            "refused": ("quote.refused", f"turned a wish away: {after.objection}"),
        }.get(after.phase)


def _as_quoted(purchase: Purchase, quote: dict[str, Any]) -> bool:
    """Whether what was paid is what this owner signed for that case."""
    told = (purchase.price, purchase.dealer_fee, purchase.dealer)
    return told == tuple(quote.get(name) for name in ("price", "dealer_fee", "dealer"))


def _images(count: int) -> str:
    return "a scan" if count == 1 else f"{count} images"
