"""What a patient agent knows of a case, and the small steps that several phases share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from protocols.case import steps
from protocols.effects import Effect, Event, Step
from protocols.specialty import INSUFFICIENT, specialty

MAX_SESSIONS = 6
"""Blind inference is tried this often with one model before the patient turns to the next."""

STALL_PATIENCE = 7200.0
"""Seconds without a new image after which a volume that had some leaves its model, and not after a few tries alone:
it was paid for, and what is there of it would be lost."""

LONGEST_BREATH = 20.0
"""Seconds, at most, between a session that failed and the next one: whoever fell has time to come back."""

STALLED_BREATH = 600.0
"""The same for a volume of which something is there: it waits out an outage with few sessions, as its model counts
those that bring nothing too."""

STALLED_ARRANGING = 1200.0
"""Seconds that such a volume's model has to get a session ready. The wish for it is repeated all the while."""

QUOTE_PATIENCE = 90.0
"""Seconds without any quote after which a case is given up; nothing was paid by then."""

SESSION_PATIENCE = 45.0
"""Seconds that a model has to get a session ready, or to send the receipt after it."""

INFERENCE_PATIENCE = 600.0
"""Seconds after which a running inference is given up; a broken connection ends it at once."""

RECLAIM_GRACE = 60
"""Seconds to wait beyond the contract's own grace before unspent fees are asked back."""

ATTEST_PATIENCE = 60.0
"""Seconds to wait for all signatures once enough of them for a certificate are there."""


@dataclass(frozen=True, slots=True)
class PatientCase:
    """All that a patient agent knows of one case. Plain values only: it is written to the log at every step.

    codes: round by round, one code a label. quotes: model address -> the proposal's body. sessions: model ->
    sessions begun. bought: model -> valid_until.
    attests: doctor -> BLS signature. moves: transactions in the order mined.
    received: threads of deliveries that the doctor has confirmed.
    errands: what is still fetched after the end, see `late`. slots: images of a session, 0 for the scan alone.
    tries: sessions in a row that brought nothing. volume: {} for a picture, else plan, images, batches, side, sweeps
    ((task, axis, count) each), voxel_ml, and where its slices stand in the picture that the panel reads. served: what
    is there of it so far, images, bytes and seconds. findings: what its mask says; mask: the blob of its picture, which
    doctors are shown when their round's votes are sealed, see `shown`. progress_at: when the chosen model last
    brought a new image, 0 for not yet.
    """

    key: str
    phase: str
    case_id: int
    account: str
    account_index: str
    wallet: str
    specialty: str
    panel_size: int
    modality: str
    scan: bytes
    pixels: bytes
    nonce: bytes
    code_salts: list[bytes]
    code_commitments: list[bytes]
    commitment: bytes
    secret: bytes
    codes: list[list[int]]
    sealing_key: bytes
    contact: bytes
    authority: bytes
    consent: bytes
    consent_terms: list[Any]
    record_price: int
    chain_id: int
    models: str
    escrow_by_bucket: list[int]
    gas_reserve: int
    reclaim_after: int
    started: float
    quote_window: float
    price_cap: int
    dealers: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    quotes: dict[str, Any] = field(default_factory=dict)
    reputations: dict[str, float] = field(default_factory=dict)
    model: str = ""
    sessions: dict[str, int] = field(default_factory=dict)
    bought: dict[str, int] = field(default_factory=dict)
    bad_models: list[str] = field(default_factory=list)
    waiting_since: float = 0.0
    inference: dict[str, Any] | None = None
    receipt: dict[str, Any] | None = None
    delivered: list[str] = field(default_factory=list)
    received: list[str] = field(default_factory=list)
    asked_attest: list[str] = field(default_factory=list)
    attests: dict[str, bytes] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    certificate: dict[str, Any] | None = None
    model_reputation: list[int] = field(default_factory=list)
    record: bytes = b""
    listed: bool = False
    withdrawn: bool = False
    outcome: str = ""
    trouble: str = ""
    moves: list[dict[str, Any]] = field(default_factory=list)
    errands: list[str] = field(default_factory=list)
    slots: int = 0
    tries: int = 0
    volume: dict[str, Any] = field(default_factory=dict)
    served: dict[str, float] = field(default_factory=dict)
    findings: dict[str, Any] | None = None
    mask: bytes = b""
    shown: list[str] = field(default_factory=list)
    progress_at: float = 0.0

    @property
    def quote(self) -> dict[str, Any]:
        """The accepted quote's fields."""
        body: dict[str, Any] = self.quotes[self.model]
        return body["quote"]  # type: ignore[no-any-return]

    @property
    def session(self) -> str:
        """The running session's thread: fresh for every attempt."""
        return f"{self.key}:{self.model}:{self.sessions.get(self.model, 0)}"


Out = Step[PatientCase]


def note(case: PatientCase, event: Event) -> PatientCase:
    move = {k: event.body[k] for k in ("step", "hash", "block", "gas", "fee", "sender", "call", "value")}
    return replace(case, moves=[*case.moves, move])


def sweep(case: PatientCase, step: str) -> list[Effect]:
    funded = any(move["step"].startswith("fund/") for move in case.moves)
    return [steps.pay(case.key, step, case.wallet, 0, account=case.account_index)] if funded else []


def label_of(case: PatientCase, code: int, round_: int) -> str:
    """What a verdict code means in a round of this case; codes that mean nothing are `insufficient evidence`."""
    labels, codes = specialty(case.specialty).labels, codes_of(case, round_)
    return labels[codes.index(code)] if code in codes else INSUFFICIENT


def codes_of(case: PatientCase, round_: int) -> list[int]:
    """A round's verdict codes, one a label. Each round has its own: the votes of a round that hung are public, and
    the next panel, which is told its codes, must not be able to read them."""
    return case.codes[min(round_, len(case.codes)) - 1]
