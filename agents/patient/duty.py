"""The patient's process."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Any, ClassVar

from eth_typing import Hash32
from eth_utils.crypto import keccak

from agents.engine.blind import pump, purpose
from agents.engine.duty import Duty, Setup
from agents.engine.store import Pending
from agents.patient.blind import BlindReader, seconds_told
from agents.patient.leavings import clear, sweep
from agents.patient.masked import MaskedCache
from agents.patient.result import FINAL, market_record, write_result
from agents.patient.wishes import Wishes as Wishes
from contracts.bindings.data_market import Consent
from contracts.bindings.events import Moved
from models.scans import Scan, prepare, require_modality, scan_bytes, scan_from_bytes, to_png
from protocols.blind.messages import Role
from protocols.case import authority
from protocols.case.binding import code_commitment, opening_of
from protocols.case.contact import SALT_BYTES, contact
from protocols.case.patient import MACHINE, PatientCase
from protocols.crypto import certificate
from protocols.crypto.bls import EncodedG2
from protocols.crypto.commitment import case_id as case_id_of
from protocols.crypto.commitment import label_hash, scan_commitment
from protocols.crypto.derive import verdict_codes
from protocols.crypto.seal import sealing_public
from protocols.dialogues import Said
from protocols.effects import Event
from protocols.errors import ModelCheated, ProtocolError, UserError, WireError
from protocols.records import PeerRecord
from protocols.specialty import specialty

if TYPE_CHECKING:  # what they import is heavy, and for volumes alone
    from agents.patient.volume import Prepared, Segmenting

GAS_RESERVE = 20_000_000
"""Gas units that a case account is given for its own transactions; what is left is swept back."""

MASKED_BYTES = 256 << 20
PICTURE_SIDE, PANEL_SIDE = 1024, 2048
"""Longest side of what the panel reads."""

PATIENCE = 90.0
"""Seconds without a frame: longer than the model waits for the dealer, so that the one at fault is named."""

CONSENT_TEXT = (
    "I agree that the date, modality, specialty, verdict, confidence, panel size and agreement of this case, "
    "and nothing else, are sold to researchers; half of each price is mine."
)


class PatientDuty(Duty[PatientCase]):
    """Runs cases. options: wishes (Wishes), masked_cache (bytes of masked weights kept between sessions)."""

    role: ClassVar[str] = "patient"
    machine = MACHINE

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        terms = self.contracts.terms
        if terms is None:
            raise UserError("the address book has no terms", "deploy the contracts again")
        self.terms = terms
        self.masked = MaskedCache(setup.data / "masked", int(setup.options.get("masked_cache", MASKED_BYTES)))
        self._blind = BlindReader(self.store, self.masked)
        self._volumes: Segmenting | None = None
        self._reputations: dict[str, float] = {}
        sweep(setup.data, self.core.states(open_only=True))

    @property
    def volumes(self) -> Segmenting:
        """What segments this patient's volumes."""
        from agents.patient.volume import Segmenting

        self._volumes = self._volumes or Segmenting(self)
        return self._volumes

    async def prepare(self) -> None:
        """Say that scans are welcome."""
        balance = await self.chain.balance(self.address)
        self.tell("ready", f"ready; the wallet holds {balance / 1e18:.4f} ether")

    # ---- a new case
    async def begin_volume(self, prepared: Prepared, wishes: Wishes) -> str:
        """As `begin`, of a volume: the panel reads its slices on one picture, a suite segments all of them."""
        from agents.patient.volume import begin_work

        key = secrets.token_bytes(16)
        folder = self.setup.data / "cases" / key.hex()
        try:
            await asyncio.to_thread(begin_work, folder, prepared)
            return await self.begin(prepared.picture, wishes, key, prepared.facts)
        finally:
            if self.core.state(key.hex()) is None:  # refused, or the disk is full
                clear(self.setup.data, key.hex(), prepared.facts)

    async def begin(
        self, scan: Scan, wishes: Wishes, key: bytes = b"", volume: dict[str, Any] | None = None
    ) -> str:
        """Write a case down and start it; its key. Raises `UserError` when it cannot be paid for or read.

        The scan was loaded already: pixels alone, no header. Everything random about the case is drawn here.
        """
        field = specialty(wishes.specialty)
        require_modality(scan, field.modalities)
        escrow = [await self.ask(self.contracts.cases.escrow_for(b, wishes.panel)) for b in range(4)]
        price = int(await self._gas_price())
        await self._check_funds(max(escrow) + wishes.price_cap + GAS_RESERVE * price)
        key = key or secrets.token_bytes(16)
        case_secret, nonce = secrets.token_bytes(32), secrets.token_bytes(32)
        rounds = range(1, self.terms.max_rounds + 1)
        codes = [_codes(case_secret, len(field.labels), n) for n in rounds]
        salts = [keccak(b"crypdoc/v1/code-salt" + bytes([n]) + case_secret) for n in rounds]
        bound = [code_commitment(salt, chosen) for salt, chosen in zip(salts, codes, strict=True)]
        png = await asyncio.to_thread(to_png, scan, PANEL_SIDE if volume else PICTURE_SIDE)
        account = self.keyring.case_account(key).address
        commitment = scan_commitment(png, opening_of(nonce, bound))
        book = self.setup.book
        identity = case_id_of(book.chain_id, book.address("Cases"), account, commitment)
        consent = Consent(keccak(text=CONSENT_TEXT), 0, 0)
        consent_hash = bytes(32)
        if wishes.consent:
            consent_hash = await self.ask(self.contracts.market.consent_hash_of(account, consent))
        now = time.time()
        with self.store.transaction():
            scan_blob, pixels = self.store.put_blob(png), self.store.put_blob(scan_bytes(scan))
        case = PatientCase(
            key=key.hex(),
            phase="quoting",
            case_id=identity,
            account=account,
            account_index=key.hex(),
            wallet=self.address,
            specialty=field.name,
            panel_size=wishes.panel,
            modality=scan.modality,
            scan=scan_blob,
            pixels=pixels,
            nonce=nonce,
            code_salts=salts,
            code_commitments=bound,
            commitment=commitment,
            secret=case_secret,
            codes=codes,
            sealing_key=sealing_public(self.keyring.case_sealing_secret(key)),
            contact=contact(secrets.token_bytes(SALT_BYTES), wishes.language),
            authority=self._authority(key, identity),
            consent=consent_hash,
            consent_terms=list(consent.as_tuple()),
            record_price=wishes.record_price,
            chain_id=book.chain_id,
            models=book.address("Models"),
            escrow_by_bucket=escrow,
            gas_reserve=GAS_RESERVE * price,
            reclaim_after=self.terms.grace_seconds,
            started=now,
            quote_window=wishes.quote_window,
            price_cap=wishes.price_cap,
            dealers=list(wishes.dealers),
            slots=0 if volume else wishes.slots,
            volume=volume or {},
        )
        self.core.open_case(
            case, Event("started", {"models": self._models(), "now": now}, f"{case.key}/started")
        )
        return case.key

    def _authority(self, key: bytes, identity: int) -> bytes:
        """The case account's word that this wallet speaks for it; for the panel's eyes alone."""
        digest = authority.digest(identity, self.address)
        signed = self.keyring.case_account(key).unsafe_sign_hash(Hash32(digest))
        return bytes(signed.signature)

    async def _gas_price(self) -> int:
        probe = await self.chain.prepare_raw(self.address, self.address, b"", 0)
        self.chain.release(probe)
        return int(probe.max_fee_per_gas or probe.gas_price or 0)

    async def _check_funds(self, needed: int) -> None:
        held = await self.chain.balance(self.address)
        if held < needed:
            raise UserError(
                f"the wallet {self.address} holds {held / 1e18:.4f} ether and a case sets aside {needed / 1e18:.4f}",
                "send ether to it; what a case does not use comes back",
            )

    def _models(self) -> list[str]:
        return [record.wallet for record in self.directory.of_role("model")]

    def tick(self, now: float) -> None:
        """Time passes; models that announced themselves meanwhile are asked too."""
        body = {"now": now, "models": self._models(), "reputations": dict(self._reputations)}
        self.core.apply_open(Event("tick", body))

    async def look(self, block: int, now: int) -> None:
        """Look at the cases, and at the reputation of models that made offers."""
        await super().look(block, now)
        for case in self.core.states(open_only=True):
            if case.phase != "quoting":
                continue
            for model, body in case.quotes.items():
                if model not in self._reputations:
                    network, field = body["quote"]["network"], specialty(case.specialty)
                    value = await self.ask(self.contracts.reputation.of_network(network, field.id))
                    self._reputations[model] = value / 10_000

    # ---- blind inference
    async def do_infer(self, pending: Pending) -> Event:
        """Run the patient's side of one session. A second try is another session, asked for by the machine."""
        body = pending.effect.body
        start = time.perf_counter()
        try:
            segment = self.volumes.run(pending.case_key, dict(body)) if body.get("volume") else None
            outcome = await (segment or self._infer(dict(body)))
        except (ProtocolError, WireError, UserError) as error:
            cheated = isinstance(error, ModelCheated)
            if cheated:
                self.tell("blind.cheated", str(error), self._name(dict(body)))
            reason = {
                "session": body["session"],
                "reason": str(error),
                "now": time.time(),
                "cheated": cheated,
            }
            return Event("infer_failed", reason, f"{pending.effect.id}/failed")
        outcome = {"seconds": time.perf_counter() - start} | outcome
        outcome |= {"session": body["session"], "now": time.time()}
        return Event("inferred", outcome, f"{pending.effect.id}/inferred")

    async def _infer(self, body: dict[str, Any]) -> dict[str, Any]:
        session = self.thread_of(body["session"])
        scan = scan_from_bytes(self.store.blob(body["scan"]))
        card = body["card"]
        require_modality(scan, set(card["modalities"]))
        sizes, how = (int(card["channels"]), int(card["side"])), str(card.get("preparation", "views"))
        try:
            image = await asyncio.to_thread(prepare, scan, *sizes, how)
        except ValueError as error:
            raise ProtocolError(f"the model asks for what cannot be prepared: {error}") from None
        async with await self.dial(body["dealer"], purpose("seed", session)) as to_dealer:
            given = await to_dealer.recv()
        tape, seed = self._blind.take(body, given)
        party = await asyncio.to_thread(self._blind.party, body, session, image, tape, seed)
        async with await self.dial(body["model"], purpose("blind", session)) as to_model:
            told = seconds_told(body.get("costs"))
            self.tell(
                "blind.round", f"computing blind, with the model and the dealer{told}", self._name(body)
            )
            traffic = await pump(party, {Role.MODEL: to_model}, PATIENCE)
        return self._blind.outcome(body, party, traffic)

    def _name(self, body: dict[str, Any]) -> str | None:
        state = self.core.state(body["session"].split(":")[0])
        return self.case_name(state) if state else None

    def name_of_case(self, key: str) -> str | None:
        """How a case is named in progress lines."""
        state = self.core.state(key)
        return self.case_name(state) if state else None

    async def sealing_key_of(self, record: PeerRecord) -> bytes:
        """A scan is sealed to the key that the doctor registered on chain."""
        found = await self.ask(self.contracts.doctors.doctor(record.wallet))
        return found.sealing_key if any(found.sealing_key) else record.sealing_key

    async def renew(self, wallet: str) -> PeerRecord | None:
        """Where somebody is: as the directory says, else as a doctor's signed record in the registry says."""
        found = await super().renew(wallet)
        if found is not None:
            return found
        registered = (await self.ask(self.contracts.doctors.doctor(wallet))).record
        if registered:
            with contextlib.suppress(ProtocolError):
                self.directory.add(registered)
        return self.directory.get(wallet)

    # ---- certificate and market
    async def do_certify(self, pending: Pending) -> Event:
        """Add the signatures up, check them here and by the contract, and make the market's record."""
        body, book = pending.effect.body, self.setup.book
        case = self.core.state(pending.case_key)
        assert case is not None
        assert case.result is not None
        keys: dict[str, tuple[int, EncodedG2]] = {}
        for index, seat in enumerate(case.result["panel"]):
            if seat["doctor"] in body["attests"] and seat["round"] == body["round"]:
                view = await self.ask(self.contracts.doctors.doctor(seat["doctor"]))
                keys[seat["doctor"]] = (index, view.bls.g2)
        made = await asyncio.to_thread(
            certificate.assemble,
            book.chain_id,
            book.address("Cases"),
            body["case_id"],
            body["label"],
            body["date"],
            keys,
            body["attests"],
        )
        valid = await asyncio.to_thread(made.valid)
        if valid:
            check = self.contracts.certificates.check(
                body["case_id"],
                label_hash(body["label"]),
                body["date"],
                made.seats,
                made.signature,
                made.keys,
            )
            valid = bool(await self.ask(check))
        fields = made.to_json() | {"valid": valid}
        if not valid:
            fields["why"] = "too few good signatures for a certificate"
        record = market_record(case, case.result)
        outcome = {"certificate": fields, "record": record, "model_reputation": await self._standing(case)}
        return Event("certified", outcome, f"{pending.effect.id}/done")

    async def _standing(self, case: PatientCase) -> list[int]:
        """The model's reputation before the case moved it, and now."""
        search = self.contracts.reputation.moves_of_case(case.case_id)
        network = case.quote["network"]
        for event in await self.chain.events(search, self.setup.book.deployed_block):
            if isinstance(event, Moved) and event.subject == network:
                return [event.before, event.afterwards]
        field = specialty(case.specialty)
        value = await self.ask(self.contracts.reputation.of_network(network, field.id))
        return [value, value]

    def accept(self, sender: str, said: Said) -> PatientCase | None:
        """A researcher asks for a record."""
        if said.conversation != "purchase":
            return None
        wanted = said.body.get("case_id")
        return next((c for c in self.core.states() if c.case_id == wanted and c.record), None)

    async def do_check_access(self, pending: Pending) -> Event:
        """Has whoever asks paid for the record?"""
        body = pending.effect.body
        granted = await self.ask(self.contracts.market.has_access(body["buyer"], body["case_id"]))
        outcome = {"granted": granted, "buyer": body["buyer"], "thread": body["thread"], "from": body["from"]}
        return Event("access", outcome, f"{pending.effect.id}/done")

    def describe(
        self, after: PatientCase, before: PatientCase | None, event: Event
    ) -> tuple[str, str] | None:
        """Told: each phase once, and seats as they fill."""
        if after.phase in FINAL and (before is None or before.phase != after.phase):
            sizes = {"scan to the panel": len(self.store.blob(after.scan)) * len(after.delivered)}
            clear(self.setup.data, after.key, after.volume)
            write_result(after, self.setup.data / "cases" / after.key, sizes)
        if before is not None and before.phase == after.phase:
            if event.kind == "view" and after.delivered != before.delivered:
                return "reading.sent", "sent the sealed scan to a doctor who took a seat"
            if event.kind == "mined" and event.body["step"] == "list":
                return "market.listed", "listed the record of the case, without the scan"
            if event.kind == "inferred":
                return "blind.done", "what the model computed is known here alone; waiting for the receipt"
            if event.kind == "view" and after.shown != before.shown:
                return "reveal.shown", "showed a doctor whose vote is sealed what the model found"
            return None
        label = (after.result or {}).get("label", "")
        return {
            "quoting": ("quotes", "the scan is prepared; asking models for their price"),
            "funding": ("quotes.chosen", "chose an offer; funding the case account"),
            "buying": ("purchase", "paying for the prediction into escrow"),
            "arranging": ("blind.begin", "asking the model for a blind session"),
            "inferring": ("blind", "blind inference begins"),
            "opening": ("open", "opening the case on chain"),
            "panel": ("opened", "the case is open; a panel will be drawn"),
            "certifying": ("settled", f"the panel agreed: {label}; asking for signatures"),
            "collecting": (
                "certificate" if after.certificate else "settled",
                "closing the books of the case",
            ),
            "done": ("end", "done: the certificate is here and the rest of the money is back"),
            "refunded": ("refunded", "the panel did not agree; what was not spent is refunded"),
            "failed": ("failed", f"the case ended early: {after.trouble}"),
        }.get(after.phase)


def _codes(case_secret: bytes, labels: int, round_: int) -> list[int]:
    return list(verdict_codes(keccak(b"crypdoc/v1/round" + bytes([round_]) + case_secret), labels))
