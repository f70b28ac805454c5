"""The doctor's process."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from eth_utils.crypto import keccak

from agents.doctor.readers import Reader
from agents.engine.duty import Duty, Setup
from agents.engine.store import Pending
from agents.framework.decision import AttestWish
from contracts.bindings.doctors import Application, DoctorState, SignedCredential
from contracts.bindings.events import Drawn
from protocols.case.authority import speaks_for
from protocols.case.contact import language_of
from protocols.case.doctor import MACHINE, DoctorCase, DoctorPolicy, ballot
from protocols.case.steps import transact
from protocols.case.view import CaseView
from protocols.crypto import certificate
from protocols.crypto.bls import BlsKey
from protocols.crypto.derive import ballot_salt
from protocols.dialogues import Said
from protocols.effects import Event
from protocols.errors import UserError
from protocols.specialty import specialty_of

POSSESSION_DOMAIN_NAME = "CrypDoc BLS possession v1"


class DoctorDuty(Duty[DoctorCase]):
    """Takes seats by the owner's policy, and has the scans read by `reader`.

    options: policy (DoctorPolicy), credentials (list of SignedCredential).
    """

    role: ClassVar[str] = "doctor"
    machine = MACHINE
    collects: ClassVar[tuple[str, ...]] = ("market",)

    def __init__(self, setup: Setup, reader: Reader) -> None:
        super().__init__(setup)
        self.reader = reader
        self.policy: DoctorPolicy = setup.options["policy"]
        terms = self.contracts.terms
        if terms is None:
            raise UserError("the address book has no terms", "deploy the contracts again")
        self.terms = terms

    async def prepare(self) -> None:
        """Register once, with credentials, keys and proof of possession; wake up when resting."""
        doctors = self.contracts.doctors
        found = await self.ask(doctors.doctor(self.address))
        if found.state is DoctorState.NONE:
            await self._register()
        elif found.resting or found.record != self.directory.own.encode():
            step = f"updateRecord/{int(time.time())}"
            record = self.directory.own.encode()
            await self.errands.run(transact("registration", step, "Doctors", "updateRecord", [record]))
        elif found.state is DoctorState.LEFT:
            raise UserError("this doctor has left the registry", "register with a fresh wallet")
        names = ", ".join(self.policy.specialties)
        self.tell("ready", f"registered for {names}; waiting for cases")

    async def _register(self) -> None:
        credentials: list[SignedCredential] = self.setup.options["credentials"]
        if not credentials:
            raise UserError(
                "this doctor has no credential yet",
                "ask an attester for one (crypdoc keys attest) and name its file with --credential",
            )
        key = BlsKey(self.keyring.bls_seed())
        message = await self.ask(self.contracts.doctors.possession_message(self.address, key.public))
        proof = key.sign(keccak(text=POSSESSION_DOMAIN_NAME), message)
        application = Application(
            tuple(credentials), self.keyring.sealing_key, key.public, proof, self.directory.own.encode()
        )
        effect = transact(
            "registration",
            "register",
            "Doctors",
            "register",
            [application.as_tuple()],
            value=self.terms.registration_deposit,
        )
        await self.errands.run(effect)

    # ---- invitations
    async def look(self, block: int, now: int) -> None:
        """Find seats that were drawn for us, then look at the open cases."""
        cursor = self.store.meta("cursor") or self.setup.book.deployed_block
        if block >= cursor:
            search = self.contracts.cases.invitations(self.address)
            for event in await self.chain.events(search, cursor, block):
                if isinstance(event, Drawn):
                    await self._invited(event.case_id, event.round, block, now)
            with self.store.transaction():
                self.store.set_meta("cursor", block + 1)
        await super().look(block, now)

    async def _invited(self, case_id: int, round_: int, block: int, now: int) -> None:
        key = f"{case_id:x}/{round_}"
        if self.core.state(key) is not None:
            return
        view: CaseView = await self.ask(self.contracts.cases.view(case_id, block, now), block)
        held = [i for i, s in view.round_seats(round_) if s.doctor == self.address]
        first = next((i for i, _ in view.round_seats(round_)), 0)
        if not held:
            return
        field = specialty_of(view.specialty)
        name = field.name if field else view.specialty.hex()
        case = DoctorCase(
            key=key,
            phase="invited",
            case_id=case_id,
            round=round_,
            doctor=self.address,
            chain_id=self.setup.book.chain_id,
            contract=self.setup.book.address("Cases"),
            specialty=view.specialty.hex(),
            seat_fee=view.seat_fee,
            seat_deposit=self.terms.seat_deposit,
            case_account=view.case_account,
            commitment=view.scan_commitment,
            seat=held[-1] - first,
            objection=self.policy.objection(
                name, view.seat_fee, len(self.core.states(open_only=True)), now, language_of(view.contact)
            ),
            turn=2 + held[-1],
            margin=max(20, self.terms.commit_seconds // 20),
        )
        self.core.open_case(case, Event("seated", {"view": view, "now": time.time()}, f"{key}/seated"))

    # ---- conversations
    def accept(self, sender: str, said: Said) -> DoctorCase | None:
        """A patient delivers a scan for a seat that we hold, or shows what the model found in it.

        A scan is taken from whoever speaks for the case account, a mask from whoever delivered the scan, and one alone:
        of a stranger's message nothing is written down.
        """
        case_id, round_ = said.body.get("case_id"), said.body.get("round")
        if (
            said.conversation not in ("delivery", "disclosure")
            or not isinstance(case_id, int)
            or not isinstance(round_, int)
        ):
            return None
        case = self.core.state(f"{case_id:x}/{round_}")
        if case is None:
            return None
        if said.conversation == "disclosure":
            return case if sender == case.patient and not case.mask else None
        authority = said.body.get("authority")
        return case if speaks_for(authority, case.case_id, sender, case.case_account) else None

    async def do_read(self, pending: Pending) -> Event:
        """Have the scan read, and derive the salt of the ballot."""
        body = pending.effect.body
        reading = await self.reader.read(dict(body), self.store.blob(body["scan"]))
        outcome = {
            "label": reading.label,
            "confidence": reading.confidence,
            "withhold": reading.withhold,
            "salt": self._salt(body["case_id"], body["round"]),
            "now": time.time(),
        }
        return Event("was_read", outcome, f"{pending.effect.id}/read")

    def _salt(self, case_id: int, round_: int) -> bytes:
        book = self.setup.book
        key = self.keyring.ballot_salt_key()
        return ballot_salt(key, book.chain_id, book.address("Cases"), case_id, round_)

    async def do_abstain(self, pending: Pending) -> Event:
        """No scan came in time: the ballot says insufficient evidence."""
        body = pending.effect.body
        salt = self._salt(body["case_id"], body["round"])
        outcome = {"label": "", "confidence": 50, "salt": salt, "now": time.time()}
        return Event("was_read", outcome, f"{pending.effect.id}/read")

    async def do_recover(self, pending: Pending) -> Event:
        """Find a lost ballot again: the salt is derived, so only 256 codes x 101 confidences are to be tried."""
        body = pending.effect.body
        case = self.core.state(pending.case_key)
        assert case is not None
        salt = self._salt(case.case_id, case.round)
        outcome: dict[str, Any] = {"found": False}
        for code in range(256):
            for confidence in range(101):
                if ballot(case, code, confidence, salt) == body["commitment"]:
                    outcome = {"found": True, "code": code, "confidence": confidence, "salt": salt}
        return Event("recovered", outcome, f"{pending.effect.id}/done")

    async def do_attest(self, pending: Pending) -> Event:
        """Sign the verdict with the doctor's BLS key."""
        body, book = pending.effect.body, self.setup.book
        message = certificate.message(
            book.chain_id, book.address("Cases"), body["case_id"], body["label"], body["date"]
        )
        signature = await self.runtime.signer.sign(AttestWish(message))
        outcome = {"signature": signature, "thread": body["thread"], "to": body["to"]}
        return Event("attested", outcome, f"{pending.effect.id}/done")

    def describe(self, after: DoctorCase, before: DoctorCase | None, event: Event) -> tuple[str, str] | None:
        """Told: each phase once. The verdict is not told before it is revealed."""
        if event.kind == "disclosure.show":
            what = "the patient shows what the model found; every vote of the round is sealed"
            fresh = after.mask and (before is None or not before.mask)
            return ("reveal.shown", what) if fresh else None
        if before is not None and before.phase == after.phase:
            return None
        result = after.result or {}
        ended = "agreed with the panel" if result.get("agreed") else f"ended as {result.get('status', '')}"
        return {
            "accepting": ("seat.accept", f"drawn for round {after.round}: taking the seat"),
            "declining": ("seat.decline", f"declined a seat: {after.objection}"),
            "awaiting": ("seat.taken", "took a seat; waiting for the scan"),
            "reading": ("reading", "reading the scan, blind"),
            "committing": ("commit", "committing to a verdict"),
            "committed": ("committed", "committed; nobody can see the verdict yet"),
            "revealing": ("reveal", "revealing"),
            "revealed": ("revealed", f"revealed: {after.label}, {after.confidence}% sure"),
            "settled": ("settled.seat", f"round {after.round} is over: {ended}"),
            "lost": ("seat.lost", f"lost the seat {after.trouble}".strip()),
        }.get(after.phase)
