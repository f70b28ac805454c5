"""What a doctor takes from whom: a stranger's message leaves nothing on the disk, and nothing is told of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agents.doctor.duty import DoctorDuty
from agents.engine.core import Core
from agents.engine.store import Store, blob_name
from protocols.case import authority
from protocols.case.doctor import MACHINE, DoctorCase
from protocols.crypto.eip712 import sign
from protocols.dialogues import Said
from protocols.effects import Event
from protocols.errors import ProtocolError
from tests.protocols.case.samples import ACCOUNT, CASE_ID, FINDINGS, ME, NOW, OTHER, doctor_case, key, picture

MASK = picture(64, 32)


class Doctor:
    """A doctor's ears and log, without wire and chain."""

    def __init__(self, case: DoctorCase) -> None:
        self.duty: Any = DoctorDuty.__new__(DoctorDuty)
        self.duty.store = Store(None)
        self.duty.core = self.core = Core(MACHINE, self.duty.store, case.doctor)
        self.key, self.told = case.key, []
        with self.core.store.transaction():
            self.core._step(case, Event("nothing"))
        self.core.on_change = self._changed

    def _changed(self, after: DoctorCase, before: DoctorCase | None, event: Event) -> None:
        if (line := self.duty.describe(after, before, event)) is not None:
            self.told.append(line[0])

    def hear(self, sender: str, said: Said) -> None:
        self.core.hear(sender, f"{sender}/{said.thread}", said, NOW, self.duty.accept)

    @property
    def log(self) -> str:
        return "\n".join(self.core.store._db.iterdump())

    @property
    def blobs(self) -> int:
        return int(self.core.store.execute("SELECT COUNT(*) FROM blobs").fetchone()[0])


def show(thread: str = "m", mask: bytes = MASK, **changes: Any) -> Said:
    body = {"case_id": CASE_ID, "round": 1, "mask": mask, "findings": FINDINGS} | changes
    return Said("disclosure", thread, 1, "show", body)


def deliver(thread: str = "x", signed: bytes = b"", scan: bytes = b"scan") -> Said:
    bound = {"nonce": b"n", "code_commitments": [], "code_salt": b"s", "authority": signed}
    fields = {"case_id": CASE_ID, "round": 1, "scan": scan, "codes": [], "modality": "MR"} | bound
    return Said("delivery", thread, 1, "deliver", fields)


@pytest.mark.parametrize("said", [show(), deliver()], ids=["disclosure", "delivery"])
@pytest.mark.parametrize(
    "phase", ["awaiting", "reading", "committed", "revealed", "settled", "lost", "declined"]
)
def test_a_strangers_message_leaves_nothing(phase: str, said: Said) -> None:
    doctor = Doctor(doctor_case(phase))
    before = doctor.log
    with pytest.raises(ProtocolError, match="nothing that is known"):
        doctor.hear(OTHER, said)
    assert doctor.log == before
    assert doctor.told == []


def test_the_patients_mask_is_kept_and_told_once() -> None:
    doctor = Doctor(doctor_case("committed"))
    doctor.hear(ME, show())
    state = doctor.core.state(doctor.key)
    assert state is not None
    assert doctor.core.store.blob(state.mask) == MASK
    before = doctor.log
    doctor.hear(ME, show())  # said again, as it is until it was acknowledged
    with pytest.raises(ProtocolError):
        doctor.hear(ME, show("m2", picture(64, 32) + b"another"))
    assert doctor.log == before
    assert doctor.told == ["reveal.shown"]


def test_a_mask_that_does_not_fit_is_not_kept() -> None:
    doctor = Doctor(doctor_case("committed"))
    doctor.hear(ME, show(mask=picture(64, 33)))
    assert (doctor.blobs, doctor.told) == (0, [])
    (answer,) = doctor.core.due(NOW)
    assert answer.effect.body["performative"] == "refuse"


@pytest.mark.parametrize("phase", ["lost", "settled"])
def test_what_comes_when_all_is_over_is_not_kept(phase: str) -> None:
    doctor = Doctor(replace(doctor_case("committed"), phase=phase))
    signed = sign(key("account"), authority.digest(CASE_ID, OTHER))
    doctor.hear(OTHER, deliver(signed=signed))
    if phase == "lost":
        doctor.hear(ME, show())
    assert (doctor.blobs, doctor.told) == (0, [])


def test_a_scan_that_does_not_fit_is_not_kept() -> None:
    """Its sender speaks for the case account, but the scan is another than the one committed to."""
    doctor = Doctor(doctor_case("awaiting"))
    doctor.hear(OTHER, deliver(signed=sign(key("account"), authority.digest(CASE_ID, OTHER)), scan=b"other"))
    state = doctor.core.state(doctor.key)
    assert state is not None
    assert state.trouble
    assert state.case_account == ACCOUNT
    with pytest.raises(KeyError):
        doctor.core.store.blob(blob_name(b"other"))
