"""What `crypdoc patient` does around its duty: wait for one case, or serve the local page."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from agents.demo.screen import show_summary
from agents.pages.patient import CaseState, PatientCase, PatientStatus, patient_app
from agents.pages.serving import note_url, serve_again
from agents.patient.duty import PatientDuty, Wishes
from agents.patient.leavings import GIVEN
from agents.patient.result import case_result
from agents.progress import PHASES
from agents.report.facts import agreement, certainty, spent_items
from agents.report.report import render_report, write_report
from agents.report.result import CaseResult
from models.scans import Scan, load_scan, require_modality
from protocols.case.patient import PatientCase as Case
from protocols.case.view import CaseView, Phase
from protocols.errors import UserError
from protocols.specialty import specialty

if TYPE_CHECKING:
    from agents.patient.volume import Prepared

VOLUMES = "chest radiology"
"""The specialty whose cases are volumes."""

Given: TypeAlias = "Scan | Prepared"

PHASE_NAMES = {
    "quoting": "Quotes",
    "funding": "Quotes",
    "buying": "Quotes",
    "arranging": "Blind inference",
    "inferring": "Blind inference",
    "opening": "Case open",
    "panel": "Panel drawn",
    "certifying": "Settled",
    "collecting": "Certificate",
    "done": "Data market",
    "refunded": "Settled",
    "failed": "Settled",
}
WORDS = {
    "quoting": "Asking models for their price.",
    "funding": "Setting the money of the case aside.",
    "buying": "Paying for the prediction.",
    "arranging": "Arranging blind inference with the model and the dealer.",
    "inferring": "The model reads the scan without seeing it.",
    "opening": "Opening the case on the chain.",
    "panel": "A panel of doctors is drawn.",
    "certifying": "The panel agreed; collecting its signatures.",
    "collecting": "Closing the books of the case.",
    "done": "Over. The certificate is here and the rest of the money is back.",
    "refunded": "Over. The panel did not agree; what was not spent is back.",
    "failed": "The case ended early.",
}
ENDS = {"done": CaseState.SETTLED, "refunded": CaseState.REFUNDED, "failed": CaseState.FAILED}


async def _ready(duty: PatientDuty) -> None:
    while duty.seen_block < 0:
        await asyncio.sleep(0.05)


def read_given(path: Path, options: Mapping[str, Any]) -> tuple[str, Given]:
    """The specialty of a case and what was given to read: a picture, or a CT volume ready to be segmented.

    A volume it is by the specialty's name; without one, when `path` is a folder, an .npz, or a NIfTI file in Hounsfield
    units of which no slice was chosen. Raises `UserError` on what cannot be read.
    """
    whole = options["slice_"] is None and _is_ct(path)
    field = options["specialty"] or (VOLUMES if whole else Wishes.specialty)
    if specialty(field).name == VOLUMES:
        from agents.patient.volume import prepare_volume

        if options["slice_"] is not None:
            raise UserError(
                "--slice is for a case of one slice", f"leave it out, or leave --specialty {VOLUMES!r} out"
            )
        return field, prepare_volume(path, options["axes"], options["batch"], options["skip_empty"])
    picture = load_scan(path, slice=options["slice_"])
    require_modality(picture, specialty(field).modalities)
    return field, picture


def _is_ct(path: Path) -> bool:
    """Whether a file is a CT volume, as far as it says."""
    from models.volumes import read_volume

    name = path.name.lower()
    if path.is_dir() or name.endswith(".npz"):
        return True
    if not name.endswith((".nii", ".nii.gz")):
        return False
    try:
        volume = read_volume(path)
    except UserError:
        return False  # whatever is wrong with it is told by who reads it then
    return volume.units == "HU" or volume.modality == "CT"


def keep_upload(folder: Path, data: bytes) -> Path:
    """What came over the page, as a file of the patient's own. Its name tells its kind and nothing else."""
    ending = {b"PK": ".npz", b"\x1f\x8b": ".nii.gz"}.get(data[:2], ".nii")
    own = folder / secrets.token_hex(8)
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = own / f"scan{ending}"
    path.touch(0o600)
    path.write_bytes(data)
    return path


def _may_be_volume(data: bytes) -> bool:
    """Whether bytes begin as an archive of arrays or as NIfTI, packed or not."""
    return (
        data.startswith((b"PK\x03\x04", b"\x1f\x8b"))
        or data[344:347] in (b"n+1", b"ni1")
        or data[4:7] == b"n+2"
    )


async def begin(duty: PatientDuty, given: Given, wishes: Wishes) -> str:
    """Begin a case of whatever was given; its key."""
    return await (duty.begin(given, wishes) if isinstance(given, Scan) else duty.begin_volume(given, wishes))


async def wait_for_case(duty: PatientDuty, given: Given, wishes: Wishes, *, stay: bool) -> int:
    """Begin a case unless one is running already (after a crash), and wait for its end; the exit code."""
    await _ready(duty)
    running = duty.core.states(open_only=True)
    key = running[0].key if running else ""
    if running:
        duty.tell("resume", f"carrying on with the case that was begun before, in phase {running[0].phase}")
    elif stay and (before := duty.core.states()):
        key = before[-1].key
    else:
        key = await begin(duty, given, wishes)
    while (case := duty.core.state(key)) is None or case.phase not in duty.machine.final:
        await asyncio.sleep(0.1)
    tell_end(duty, case)
    if stay:
        await duty.stopping.wait()
    return {"done": 0, "refunded": 0}.get(case.phase, 1)


def tell_end(duty: PatientDuty, case: Case) -> None:
    """Print what came out, and write the report beside the result."""
    result = case_result(case)
    if case.phase == "failed":
        print(f"{duty.setup.name}: the case ended early: {case.trouble}", flush=True)
        return
    folder = duty.setup.data / "cases" / case.key
    show_summary(result, write_report(result, duty.store.blob(case.scan), folder))


class PatientDesk:
    """The patient's page, on top of the case log."""

    def __init__(self, duty: PatientDuty, wishes: Wishes, field: str | None = None) -> None:
        """field: the specialty that was asked for; None: what a scan is of is told by the scan."""
        self._duty = duty
        self._wishes = wishes
        self._field = field
        self.balance: int | None = None
        self._views: dict[str, CaseView] = {}

    async def refresh(self) -> None:
        """Look up the wallet's balance, and how far the panels are."""
        duty = self._duty
        self.balance = await duty.chain.balance(duty.address)
        running = [state for state in duty.core.states(open_only=True) if state.phase == "panel"]
        block, now = await duty.chain.head()
        views = [await duty.ask(duty.contracts.cases.view(s.case_id, block, now), block) for s in running]
        self._views = {state.key: view for state, view in zip(running, views, strict=True)}

    async def submit(self, data: bytes, name: str) -> str:
        """Check a scan and begin its case. A volume is kept: its masks are written in its own form."""
        if self._field != VOLUMES and (self._field or not _may_be_volume(data)):
            return await self._duty.begin(await asyncio.to_thread(load_scan, data), self._wishes)
        path = await asyncio.to_thread(keep_upload, self._duty.setup.data / GIVEN, data)
        w = self._wishes
        chosen = {"axes": w.axes, "batch": w.batch, "skip_empty": w.skip_empty}
        try:
            field, given = await asyncio.to_thread(
                read_given, path, {"specialty": self._field, "slice_": None, **chosen}
            )
        except BaseException:
            shutil.rmtree(path.parent, ignore_errors=True)
            raise
        if isinstance(given, Scan):
            shutil.rmtree(path.parent, ignore_errors=True)
        return await begin(self._duty, given, replace(w, specialty=field))

    def cases(self) -> list[PatientCase]:
        """Newest first."""
        return [self._case(state) for state in reversed(self._duty.core.states())]

    def report(self, case_id: str) -> str:
        """The report of a finished case."""
        state = self._duty.core.state(case_id)
        if state is None or state.phase not in ENDS:
            raise UserError("there is no report for this case yet", "wait until it is over")
        return render_report(case_result(state), self._duty.store.blob(state.scan))

    def status(self) -> PatientStatus:
        """Wallet, money, chain."""
        duty = self._duty
        return PatientStatus(
            name=duty.setup.name,
            wallet=duty.address,
            balance_wei=self.balance,
            peers=len(duty.directory.of_role("model")) + len(duty.directory.of_role("doctor")),
            chain=f"chain {duty.setup.book.chain_id}, block {duty.seen_block}",
        )

    def _case(self, state: Case) -> PatientCase:
        over = state.phase in ENDS
        parsed = CaseResult.parse(case_result(state)) if over and state.phase != "failed" else None
        name, text = PHASE_NAMES[state.phase], WORDS[state.phase]
        if state.phase == "inferring" and state.volume and state.served:
            left = self._duty.volumes.left.get(state.key, "")
            done = f"{int(state.served['images'])} of {state.volume['images']} images"
            text = f"The model segments the volume without seeing it: {done} are done{left and ', ' + left}."
        if state.phase == "panel" and (view := self._views.get(state.key)) is not None:
            name, text = panel_words(view)
        if state.trouble and not parsed:
            text = f"{text} {state.trouble[:1].upper()}{state.trouble[1:]}."
        return PatientCase(
            id=state.key,
            name=hex(state.case_id)[:12],
            phase=name if name in PHASES else PHASES[0],
            state=ENDS.get(state.phase, CaseState.RUNNING),
            text=text,
            started_at=state.started,
            diagnosis=parsed.label if parsed else None,
            certainty=certainty(parsed) if parsed else "",
            agreement=agreement(parsed) if parsed else "",
            cost_wei=spent_items(parsed)[1] if parsed else None,
            report_available=over and state.phase != "failed",
        )


def panel_words(view: CaseView) -> tuple[str, str]:
    """(phase of `PHASES`, sentence) for a panel at work."""
    again = "" if view.round == 1 else f"Round {view.round}, with a larger panel. "
    if view.phase is Phase.COMMIT:
        return "Reading" if not view.committed else "Commit", (
            f"{again}The doctors read, each alone: {view.committed} of {view.seated} have sealed their verdict."
        )
    if view.phase is Phase.REVEAL:
        return "Reveal", f"{again}{view.revealed} of {view.committed} verdicts are open."
    seats = view.wanted or view.panel_size
    return "Panel drawn", f"{again}Doctors are drawn: {view.seated} of {seats} seats are taken."


async def serve_page(duty: PatientDuty, wishes: Wishes, port: int, field: str | None = None) -> int:
    """Serve the page until the agent is stopped. field: see `PatientDesk`."""
    await _ready(duty)
    desk = PatientDesk(duty, wishes, field)
    address = duty.setup.data / "page.url"
    served = await serve_again(patient_app(desk), port, address)
    print(f"{duty.setup.name}: give your scan at {served.url}", flush=True)
    note_url(address, served)
    due = 0.0
    try:
        while not duty.stopping.is_set():
            if time.monotonic() >= due:
                due = time.monotonic() + 2
                try:
                    await desk.refresh()
                except Exception as error:  # the page shows what was known last
                    duty.tell("trouble", f"the chain cannot be looked at: {error}")
            await asyncio.sleep(0.2)
    finally:
        await served.close()
    return 0
