"""Desks that answer from memory, for the tests of the pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agents.pages.doctor import DeskCase, DeskFindings, DeskResult, DeskState, DeskStatus
from agents.pages.patient import CaseState, PatientCase, PatientStatus
from agents.progress import PHASES
from models.scans import load_scan, synthetic_scan, to_png
from protocols.errors import UserError

NOW = 1_795_000_000.0
ETHER = 10**18
FINDINGS = DeskFindings("moderate", 12.5, 480.0, 3840.0)
RESULT = DeskResult("settled", "tumour", True, 3, 3, 2 * ETHER // 1000, 5120, 5244)


def desk_case(number: int, state: DeskState = DeskState.WAITING, **more: object) -> DeskCase:
    case = DeskCase(
        id="0x" + f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835:064x}"[-64:],
        specialty="neuroradiology",
        labels=("no tumour", "tumour"),
        bounty_wei=2 * ETHER // 1000,
        deadline=NOW + 95,
        state=state,
        received_at=NOW - 20,
        image_available=True,
        modality="MR",
        findings=FINDINGS,
    )
    return replace(case, **more)  # type: ignore[arg-type]


class FakeDesk:
    """One case in each state. Result and findings are on every case, to see that the page hides them in time."""

    def __init__(self) -> None:
        sealed = {"own_label": "tumour", "own_confidence": 85, "result": RESULT}
        lost = replace(RESULT, outcome="refunded", verdict=None, agreed=None, agreeing=1, paid_wei=0)
        self.held = [
            desk_case(1, result=RESULT),
            desk_case(2, image_available=False, result=RESULT),
            desk_case(3, DeskState.COMMITTED, **sealed),
            desk_case(4, DeskState.REVEALED, **sealed),
            desk_case(5, DeskState.SETTLED, **sealed),
            desk_case(6, DeskState.SETTLED, **{**sealed, "result": lost}),
            desk_case(7, DeskState.DECLINED, note="Three cases are open, as many as are read at once."),
        ]
        self.decided: list[tuple[str, str | None, int]] = []
        self.refuse: Exception | None = None

    def cases(self) -> Sequence[DeskCase]:
        return self.held

    def image(self, case_id: str) -> bytes:
        return to_png(synthetic_scan())

    def mask(self, case_id: str) -> bytes:
        return to_png(synthetic_scan(7))

    def decide(self, case_id: str, label: str | None, confidence: int) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.decided.append((case_id, label, confidence))
        self.held = [
            replace(case, state=DeskState.READ, own_label=label, own_confidence=confidence)
            if case.id == case_id
            else case
            for case in self.held
        ]

    def status(self) -> DeskStatus:
        return DeskStatus(
            name="Dr. Ada",
            wallet="0x52908400098527886E0F7030069857D2E4169EE7",
            reputation=5120,
            balance_wei=1_234_500_000_000_000_000,
            peers=7,
            chain="chain 1337, block 42",
            specialties=("neuroradiology",),
        )


class FakePatientDesk:
    """Takes scans that `load_scan` takes."""

    def __init__(self) -> None:
        base = PatientCase(
            "0xc1", "brain-0412.dcm", PHASES[2], CaseState.RUNNING, "Layer 4 of 5 is done", NOW
        )
        self.held = [
            base,
            replace(
                base,
                id="0xc2",
                name="scan.png",
                state=CaseState.SETTLED,
                phase=PHASES[-1],
                text="Certified by 3 of 3 doctors.",
                diagnosis="tumour",
                certainty="93 % sure (very sure)",
                agreement="3 of 3 doctors agreed",
                cost_wei=7_041_000_000_000_000,
                report_available=True,
            ),
            replace(
                base, id="0xc3", name="old.nii", state=CaseState.REFUNDED, text="Too few doctors agreed."
            ),
            replace(base, id="0xc4", name="chest.png", state=CaseState.FAILED, text="No model answered."),
        ]
        self.got: list[tuple[int, str]] = []

    async def submit(self, data: bytes, name: str) -> str:
        load_scan(data)
        self.got.append((len(data), name))
        return "0xc9"

    def cases(self) -> Sequence[PatientCase]:
        return self.held

    def report(self, case_id: str) -> str:
        if case_id != "0xc2":
            raise UserError("no report", "wait")
        return "<!doctype html><title>report</title>"

    def status(self) -> PatientStatus:
        return PatientStatus(
            "Pat", "0x52908400098527886E0F7030069857D2E4169EE7", ETHER, 5, "chain 1337, block 42"
        )
