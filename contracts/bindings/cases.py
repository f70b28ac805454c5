"""The `Cases` contract: bounty, blind panel, verdict."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any, ClassVar

from contracts.bindings.base import EventSearch, Payer, Read, word
from contracts.bindings.terms import Terms
from contracts.chain.values import Call
from protocols.case.view import CaseView, Phase, Seat, SeatStatus
from protocols.crypto.eip712 import Receipt


@dataclass(frozen=True, slots=True)
class OpenCase:
    """What a case account says when it opens a case. Hashes and keys are 32 bytes, `consent_hash` 0 for
    none.
    """

    specialty: bytes
    scan_commitment: bytes
    panel_size: int
    network: bytes
    consent_hash: bytes
    sealing_key: bytes
    contact: bytes

    def as_tuple(self) -> tuple[Any, ...]:
        """The contract's struct."""
        return astuple(self)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a closed round decided and paid."""

    agree_share: int
    reader_share: int
    seated: int
    revealed: int
    code: int
    agreeing: int
    decided: bool
    closed: bool


class Cases(Payer):
    """See `ICases.sol`."""

    contract: ClassVar[str] = "Cases"

    # -- reads

    def view(self, case_id: int, block: int, now: int) -> Read[CaseView]:
        """Everything public about a case. Read it at `block`, whose timestamp `now` is."""
        return self._ask(lambda found: _case_view(found, case_id, block, now), "view_", case_id)

    def is_due(self, case_id: int) -> Read[bool]:
        """Whether `advance` has something to do in the next block."""
        return self._ask(bool, "isDue", case_id)

    def outcome_of(self, case_id: int, round_: int) -> Read[Outcome]:
        """What a round decided and paid."""
        return self._ask(lambda found: Outcome(*found), "outcomeOf", case_id, round_)

    def agreeing_doctors(self, case_id: int) -> Read[tuple[str, ...]]:
        """Doctors behind the verdict of a settled case."""
        return self._ask(tuple, "agreeingDoctors", case_id)

    def case_id_of(self, case_account: str, scan_commitment: bytes) -> Read[int]:
        """The case id, known before the case is opened."""
        return self._ask(int, "caseIdOf", case_account, scan_commitment)

    def commitment_of(
        self, case_id: int, round_: int, doctor: str, code: int, confidence: int, salt: bytes
    ) -> Read[bytes]:
        """What to commit to; equal to `commitment.ballot_commitment`."""
        return self._ask(bytes, "commitmentOf", case_id, round_, doctor, code, confidence, salt)

    def escrow_for(self, bucket: int, panel_size: int) -> Read[int]:
        """Wei to send to `open`."""
        return self._ask(int, "escrowFor", bucket, panel_size)

    def books(self) -> Read[tuple[int, int, int]]:
        """Held bounties, held seat deposits, unpaid credits."""
        return self._ask(lambda bounties, deposits, credits: (bounties, deposits, credits), "books")

    def terms(self) -> Read[Terms]:
        """The deployment's parameters."""
        return self._ask(lambda found: Terms(*found), "terms")

    # -- writes

    def open(self, account: str, case: OpenCase, receipt: Receipt, signature: bytes, value: int) -> Call:
        """Open a case for `account`. value: `escrow_for` the receipt's bucket."""
        return self._do(account, "open", case.as_tuple(), receipt.as_tuple(), signature, value=value)

    def accept(self, account: str, case_id: int, seat_deposit: int) -> Call:
        """Take the seat."""
        return self._do(account, "accept", case_id, value=seat_deposit)

    def decline(self, account: str, case_id: int) -> Call:
        """Give the invitation back."""
        return self._do(account, "decline", case_id)

    def commit(self, account: str, case_id: int, commitment: bytes) -> Call:
        """Commit to a verdict, once."""
        return self._do(account, "commit", case_id, commitment)

    def reveal(self, account: str, case_id: int, code: int, confidence: int, salt: bytes) -> Call:
        """Open the commitment."""
        return self._do(account, "reveal", case_id, code, confidence, salt)

    def advance(self, account: str, case_id: int) -> Call:
        """Do whatever is due."""
        return self._do(account, "advance", case_id)

    # -- events

    def of_case(self, case_id: int) -> EventSearch:
        """All events of one case."""
        return self.search(None, word(case_id))

    def invitations(self, doctor: str) -> EventSearch:
        """Where a doctor was drawn."""
        return self.search("Drawn", None, word(doctor))

    def opened(self, specialty: bytes | None = None) -> EventSearch:
        """Cases opened, of one specialty if given."""
        return self.search("CaseOpened", None, specialty)


def _seat(found: Any) -> Seat:
    doctor, round_, status, commitment, code, confidence, band, newcomer, paid, before, after = found
    return Seat(
        doctor=doctor,
        round=round_,
        status=SeatStatus(status),
        commitment=commitment,
        code=code,
        confidence=confidence,
        paid_wei=paid,
        reputation_before=before,
        reputation_after=after,
        band=band,
        newcomer=newcomer,
    )


def _case_view(found: Any, case_id: int, block: int, now: int) -> CaseView:
    phase, round_, attempt, size, wanted, seated, committed, revealed, account, *rest = found
    specialty, scan, network, consent, sealing, contact, bucket, band, *money = rest
    bounty, escrow, fee, seed_block, deadline, result, agreeing, seats = money
    return CaseView(
        case_id=case_id,
        phase=Phase(phase),
        round=round_,
        panel_size=size,
        case_account=account,
        specialty=specialty,
        scan_commitment=scan,
        network=network,
        bucket=bucket,
        bounty_wei=bounty,
        seat_fee=fee,
        seed_block=seed_block,
        deadline=deadline,
        code=result,
        agreeing=agreeing,
        seats=tuple(_seat(seat) for seat in seats),
        block=block,
        now=now,
        attempt=attempt,
        wanted=wanted,
        seated=seated,
        committed=committed,
        revealed=revealed,
        band=band,
        escrow_wei=escrow,
        consent_hash=consent,
        sealing_key=sealing,
        contact=contact,
    )
