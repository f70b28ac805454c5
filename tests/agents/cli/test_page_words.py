"""The pages have a word for every phase that their machines know."""

from __future__ import annotations

from dataclasses import replace

from agents.doctor.desk import STATES
from agents.patient.session import ENDS, PHASE_NAMES, WORDS, panel_words
from agents.progress import PHASES
from protocols.case.doctor import MACHINE as DOCTOR
from protocols.case.patient import MACHINE as PATIENT
from protocols.case.view import CaseView, Phase

VIEW = CaseView(
    case_id=1,
    phase=Phase.COMMIT,
    round=1,
    panel_size=3,
    case_account="0x1",
    specialty=bytes(32),
    scan_commitment=bytes(32),
    network=bytes(32),
    bucket=1,
    bounty_wei=0,
    seat_fee=0,
    seed_block=0,
    deadline=0,
    code=0,
    agreeing=0,
    seats=(),
    block=1,
    now=1,
    wanted=3,
    seated=3,
)


def test_every_phase_has_its_words() -> None:
    assert set(DOCTOR.phases()) <= set(STATES)
    assert set(PATIENT.phases()) <= set(WORDS)
    assert set(PATIENT.phases()) <= set(PHASE_NAMES)
    assert set(PHASE_NAMES.values()) <= set(PHASES)
    assert PATIENT.final <= set(ENDS)


def test_a_panel_at_work_is_told() -> None:
    assert panel_words(VIEW) == (
        "Reading",
        "The doctors read, each alone: 0 of 3 have sealed their verdict.",
    )
    assert panel_words(replace(VIEW, committed=2))[0] == "Commit"
    reveal = panel_words(replace(VIEW, phase=Phase.REVEAL, committed=3, revealed=1, round=2))
    assert reveal == ("Reveal", "Round 2, with a larger panel. 1 of 3 verdicts are open.")
    seating = panel_words(replace(VIEW, phase=Phase.SEATING, seated=1))
    assert seating == ("Panel drawn", "Doctors are drawn: 1 of 3 seats are taken.")
    assert all(panel_words(replace(VIEW, phase=phase))[0] in PHASES for phase in Phase)
