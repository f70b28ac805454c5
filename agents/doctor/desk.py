"""The doctor's desk: the local page and the terminal, on top of the doctor's case log."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from typing import Any

from agents.doctor.duty import DoctorDuty
from agents.doctor.readers import AUTOMATIC, AutomaticReader, Reader, Reading
from agents.pages.doctor import DeskCase, DeskFindings, DeskResult, DeskState, DeskStatus, doctor_app
from agents.pages.serving import note_url, serve_again
from protocols.case.doctor import DoctorCase
from protocols.case.view import Phase
from protocols.errors import UserError
from protocols.specialty import INSUFFICIENT, specialty, specialty_of

STATES = {
    "invited": DeskState.WAITING,
    "accepting": DeskState.WAITING,
    "awaiting": DeskState.WAITING,
    "reading": DeskState.WAITING,
    "committing": DeskState.READ,
    "committed": DeskState.COMMITTED,
    "revealing": DeskState.COMMITTED,
    "revealed": DeskState.REVEALED,
    "settled": DeskState.SETTLED,
    "lost": DeskState.DECLINED,
    "declined": DeskState.DECLINED,
    "declining": DeskState.DECLINED,
}


class PageReader:
    """Waits for the doctor's decision on the local page. A decision, once given, is for good."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[Reading]] = {}

    async def read(self, task: dict[str, Any], png: bytes) -> Reading:
        """The decision for this case; waits as long as it takes."""
        key = f"{task['case_id']:x}/{task['round']}"
        future = self._waiting.setdefault(key, asyncio.get_running_loop().create_future())
        return await future

    def decide(self, key: str, label: str | None, confidence: int) -> None:
        """The page's answer. Raises `UserError` when nothing waits for it."""
        future = self._waiting.get(key)
        if future is None or future.done():
            raise UserError("this case is not waiting for a verdict", "reload the page")
        future.set_result(Reading(label or "", confidence))


class TerminalReader:
    """Asks at the terminal, one case after another."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def read(self, task: dict[str, Any], png: bytes) -> Reading:
        """Ask for label and confidence; `?` is insufficient evidence."""
        async with self._turn:
            with tempfile.NamedTemporaryFile(prefix="crypdoc-", suffix=".png") as file:
                file.write(png)
                file.flush()
                return await asyncio.to_thread(self._ask, task, file.name)

    @staticmethod
    def _ask(task: dict[str, Any], path: str) -> Reading:
        labels = list(task["labels"])
        print(f"\nCase {task['case_id']:x}: the scan is in {path}")
        for number, label in enumerate(labels, 1):
            print(f"  {number}  {label}")
        print("  ?  insufficient evidence")
        while True:
            print("Verdict: ", end="", flush=True)
            answer = sys.stdin.readline()
            if not answer:
                return Reading("", 50)
            answer = answer.strip()
            if answer == "?" or (answer.isdigit() and 1 <= int(answer) <= len(labels)):
                break
        print("How sure, in percent [80]: ", end="", flush=True)
        sure = sys.stdin.readline().strip()
        confidence = int(sure) if sure.isdigit() and int(sure) <= 100 else 80
        return Reading("" if answer == "?" else labels[int(answer) - 1], confidence)


def make_reader(name: str, look: int | None = None) -> Reader:
    """The reader of that name (see `readers.READERS`)."""
    if name in AUTOMATIC:
        return AutomaticReader(name, look)
    return TerminalReader() if name == "terminal" else PageReader()


class DoctorDesk:
    """What the page shows, straight from the log."""

    def __init__(self, duty: DoctorDuty, reader: PageReader) -> None:
        self._duty = duty
        self._reader = reader
        self._balance: int | None = None
        self._reputation: int | None = None

    async def refresh(self) -> None:
        """Look the doctor's standing up on chain."""
        duty = self._duty
        self._balance = await duty.chain.balance(duty.address)
        field = specialty(duty.policy.specialties[0]).id
        self._reputation = await duty.ask(duty.contracts.reputation.of_doctor(duty.address, field))

    def cases(self) -> list[DeskCase]:
        """Newest first."""
        return [self._case(state) for state in reversed(self._duty.core.states())]

    def image(self, case_id: str) -> bytes:
        """The delivered scan."""
        return self._duty.store.blob(self._find(case_id).scan)

    def mask(self, case_id: str) -> bytes:
        """The picture of what the model found, which came when the votes were sealed."""
        return self._duty.store.blob(self._find(case_id).mask)

    def decide(self, case_id: str, label: str | None, confidence: int) -> None:
        """Hand the verdict to the agent."""
        self._reader.decide(self._find(case_id).key, label, confidence)

    def status(self) -> DeskStatus:
        """Name, wallet, standing, chain."""
        duty = self._duty
        return DeskStatus(
            name=duty.setup.name,
            wallet=duty.address,
            reputation=self._reputation,
            balance_wei=self._balance,
            peers=len(duty.directory.of_role("patient")),
            chain=f"chain {duty.setup.book.chain_id}, block {duty.seen_block}",
            specialties=duty.policy.specialties,
        )

    def _find(self, name: str) -> DoctorCase:
        state = self._duty.core.state(name.replace("-", "/"))
        if state is None:
            raise UserError("there is no such case", "reload the page")
        return state

    def _case(self, state: DoctorCase) -> DeskCase:
        field = specialty_of(bytes.fromhex(state.specialty))
        return DeskCase(
            id=state.key.replace("/", "-"),
            specialty=field.name if field else "unknown",
            labels=tuple(state.labels),
            bounty_wei=state.seat_fee,
            deadline=float(state.deadline) if state.stage == Phase.COMMIT else None,
            state=STATES[state.phase],
            received_at=state.received,
            image_available=bool(state.scan),
            modality=state.modality,
            own_label=state.label if state.label in state.labels else None,  # None: insufficient evidence
            own_confidence=state.confidence if state.label else None,
            note=state.objection or state.trouble,
            result=_result(state),
            findings=_findings(state),
            slices=dict(state.layout) or None,
        )


def _findings(state: DoctorCase) -> DeskFindings | None:
    found = state.findings
    if not state.mask or found is None:
        return None
    percent = found["percent"]
    return DeskFindings(
        severity=str(found["severity"]),
        percent=None if percent is None else float(percent),
        infection_ml=float(found["infection_ml"]),
        lung_ml=float(found["lung_ml"]),
    )


def _result(state: DoctorCase) -> DeskResult | None:
    found = state.result
    if found is None:
        return None
    verdict = None
    if found["state"] == "settled":
        code = found["code"]
        verdict = state.labels[state.codes.index(code)] if code in state.codes else INSUFFICIENT
    return DeskResult(
        outcome=found["state"],
        verdict=verdict,
        agreed=found["agreed"] if verdict is not None else None,
        agreeing=found["agreeing"],
        panel_size=found["panel_size"],
        paid_wei=found["paid_wei"],
        reputation_before=found["reputation_before"],
        reputation_after=found["reputation_after"],
    )


async def serve_desk(duty: DoctorDuty, reader: Reader, port: int) -> int:
    """Serve the page as long as the agent runs; automatic and terminal readers need none."""
    if not isinstance(reader, PageReader):
        await asyncio.Event().wait()
    assert isinstance(reader, PageReader)
    while duty.seen_block < 0:  # the agent is on its way up; if it cannot come, its own error is told
        await asyncio.sleep(0.05)
    desk = DoctorDesk(duty, reader)
    address = duty.setup.data / "page.url"
    served = await serve_again(doctor_app(desk), port, address)
    print(f"{duty.setup.name}: read your cases at {served.url}", flush=True)
    note_url(address, served)
    try:
        while True:
            try:
                await desk.refresh()
            except Exception as error:  # the page shows the last known standing
                duty.tell("trouble", f"the standing cannot be looked up: {error}")
            await asyncio.sleep(3)
    finally:
        await served.close()
