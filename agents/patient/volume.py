"""The patient's side of a segmentation in the network: the batches of a volume, one blind session after another.

What is done lies in the case's folder, in `models.segmentation.job.Job`, on disk before the next batch begins. A
session that breaks, or a process that is killed, costs the batch that was running: the next session asks for those that
are missing, with fresh randomness. Who learns what: the model and the dealer learn how many images there are, and which
batch was asked for twice; the logits are opened here alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.engine.blind import pump, purpose
from agents.engine.dealing import read_seed
from agents.engine.faults import point
from agents.engine.lanes import Lanes
from agents.engine.used import use_tape
from agents.patient.duty import PatientDuty
from agents.patient.leavings import WORK
from agents.patient.montage import montage, overlay
from agents.wire.channel import Channel
from models.scans import Scan
from models.segmentation.grid import whole
from models.segmentation.job import Job, Masks, empty_planes
from models.segmentation.measure import percent_of, severity
from models.segmentation.plan import Batch, Plan, make_plan
from models.volumes import Volume, read_volume, write_dicom_seg, write_nifti
from protocols.blind.messages import Role
from protocols.blind.patient import PatientParty
from protocols.blind.schedule import costs
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.case.volume import MAX_IMAGES, networks_of
from protocols.effects import Event
from protocols.errors import CrypDocError, ProtocolError, ScanError, UserError, WireError

log = logging.getLogger(__name__)

PATIENCE = 90.0
PULSE = 60.0  # seconds between two signs of life, to the case's own log
TELL_EVERY = 10.0  # seconds between two lines of progress


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume ready for a case. picture: what the panel reads; facts: as `PatientCase.volume`."""

    volume: Volume
    plan: Plan
    picture: Scan
    facts: dict[str, Any]


def prepare_volume(path: Path, axes: str = "xyz", batch: int = 4, skip_empty: bool = False) -> Prepared:
    """Read a volume and plan its images. skip_empty: leave out slices of one grey, which tells the model how many they
    are. Raises `ScanError` or `UserError` for what is no CT volume or too large."""
    volume = read_volume(path)
    if volume.modality not in ("CT", "unknown"):
        raise ScanError(
            f"the volume's modality is {volume.modality}, and CT alone is segmented", "give a CT volume"
        )
    slices = volume.values.shape[2]
    skipped = {}
    if skip_empty:
        skipped = empty_planes(volume, axes)
    plan = make_plan(slices, axes, batch=batch, skipped=skipped)
    if plan.images > MAX_IMAGES:
        raise UserError(
            f"the volume has {plan.images} images to be evaluated, and the limit is {MAX_IMAGES}",
            "give fewer slices, or fewer axes with --axes",
        )
    picture, layout = montage(volume)
    facts = {
        "plan": plan.to_plain(),
        "images": plan.images,
        "batches": sum(1 for _ in plan.batches()),
        "side": plan.grid,
        "sweeps": [[sweep.task, sweep.axis, sweep.count] for sweep in plan.sweeps],
        "voxel_ml": volume.voxel_ml,
        "spacing": list(volume.spacing),
        "shape": list(volume.values.shape),
        "layout": layout,
        "path": str(path.resolve()),
        "notes": list(volume.notes),
    }
    return Prepared(volume, plan, picture, facts)


def begin_work(folder: Path, prepared: Prepared) -> None:
    """Write the images down before the case begins. Heavy."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    Job.begin(folder / WORK, prepared.volume, prepared.plan)


def left_words(seconds: float) -> str:
    """How long, as people say it."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s left"
    return f"about {round(seconds / 60)} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"


class Segmenting:
    """The volumes of one patient's agent: one session a case at a time."""

    def __init__(self, duty: PatientDuty) -> None:
        self._duty = duty
        self._turns: dict[str, asyncio.Lock] = {}
        self.left: dict[str, str] = {}
        """Case key -> how long it will take yet, in words."""

    async def run(self, key: str, body: dict[str, Any]) -> dict[str, Any]:
        """All batches that are missing, then what they say. Raises `ProtocolError`, `WireError` or `UserError`."""
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:
            session = _Session(self._duty, self, key, body)
            pulse = asyncio.create_task(session.pulse())
            try:
                outcome = await session.run()
            except OSError as error:  # the case ended meanwhile, or the disk is full
                fault = f"the images of this volume cannot be used ({error.strerror})"
                raise UserError(fault, "see that the disk has room") from None
            finally:
                pulse.cancel()
        self._turns.pop(key, None)
        return outcome


class _Session:
    def __init__(self, duty: PatientDuty, desk: Segmenting, key: str, body: dict[str, Any]) -> None:
        self.duty, self.desk, self.key, self.body = duty, desk, key, body
        self.folder = duty.setup.data / "cases" / key
        self.networks = {
            place: (name, Topology.decode(topology))
            for place, (name, topology) in networks_of(body["suite"]).items()
        }
        self.known: Any = None
        self.sweep = -1
        self._told = 0.0

    async def pulse(self) -> None:
        """Says, as long as it works, that it does: a large batch or the masks of a large volume take their time. A peer
        that stalls is noticed by the pump."""
        while True:
            await asyncio.sleep(PULSE)
            case = self.duty.core.state(self.key)
            images = int(case.served.get("images", 0)) if case is not None else 0
            told = {
                "session": self.body["session"],
                "images": images,
                "bytes": 0,
                "seconds": 0.0,
                "now": time.time(),
            }
            self.duty.core.apply(self.key, Event("progressed", told))

    async def run(self) -> dict[str, Any]:
        job = await asyncio.to_thread(self._job)
        served = f"volume/{self.key}"
        if job.pending() or self.duty.store.meta(served) != self.body["session"]:
            await self._serve(job)
            self.duty.store.set_meta(served, self.body["session"])
        self.desk.left.pop(self.key, None)
        return await self._outcome(job)

    def _job(self) -> Job:
        """What is there. What another suite made of the same volume does not count."""
        work = self.folder / WORK
        suite, marked = self.body["network"].hex(), work / "suite"
        with contextlib.suppress(OSError):
            if marked.exists() and marked.read_text("utf-8") != suite:
                (work / "done").unlink(missing_ok=True)
        job = Job.resume(work)
        marked.write_text(suite, "utf-8")
        return job

    def _wanted(self) -> None:
        """Raises `ProtocolError` when another session has taken this one's place."""
        case = self.duty.core.state(self.key)
        if case is None or case.session != self.body["session"]:
            raise ProtocolError("this session is over; another one goes on", "wait for it")

    async def _serve(self, job: Job) -> None:
        duty, body = self.duty, self.body
        session = duty.thread_of(body["session"])
        async with (
            await duty.dial(body["dealer"], purpose("seed", session)) as to_dealer,
            await duty.dial(body["model"], purpose("blind", session)) as channel,
            Lanes(channel) as to_model,
        ):
            numbers = {batch: number for number, batch in enumerate(job.plan.batches())}
            begun, fresh = time.monotonic(), 0
            for batch in job.pending():
                self._wanted()
                start = time.monotonic()
                moved = await self._batch(job, batch, numbers[batch], to_dealer, to_model)
                fresh += batch.count
                self._progress(job, moved, time.monotonic() - start, (time.monotonic() - begun) / fresh)
            await to_model.say("done")
            await to_model.hear("thanks", 1)

    async def _batch(self, job: Job, batch: Batch, number: int, to_dealer: Channel, to_model: Lanes) -> int:
        """One blind session; bytes moved. Its logits are on disk when this returns."""
        duty, body = self.duty, self.body
        sweep = job.plan.sweeps[batch.sweep]
        name, topology = self.networks[sweep.task, sweep.axis]
        if self.sweep != batch.sweep:
            self.sweep = batch.sweep
            self.known = await asyncio.to_thread(
                duty.masked.get, topology, name, body["model"], body["dealer"]
            )
        images = await asyncio.to_thread(job.images, batch)
        await to_model.say("batch", number, batch.count)
        tape, seed, count = read_seed(await self._seed(to_dealer, to_model))
        if count != batch.count:
            raise ProtocolError(
                f"the dealer's tape is for {count} images, {batch.count} were asked for", "try again"
            )
        use_tape(duty.store, tape, body["dealer"], name, count)
        session = duty.thread_of(f"{body['session']}/{number}")
        lane = to_model.open(session)
        party = await asyncio.to_thread(
            PatientParty, topology, name, images, session, tape, seed, UsedSessions(), self.known
        )
        traffic = await pump(party, {Role.MODEL: lane}, PATIENCE)
        to_model.close(session)
        if party.masked_weights is not None and party.masked_weights is not self.known:
            self.known = party.masked_weights
            await asyncio.to_thread(duty.masked.put, name, body["model"], body["dealer"], self.known)
        logits: NDArray[np.float64] = party.result.values
        point("before-write", "batch")
        await asyncio.to_thread(job.put, batch, logits)
        point("after-write", "batch")
        return traffic.sent + traffic.received

    async def _seed(self, to_dealer: Channel, to_model: Lanes) -> bytes:
        """The dealer's word for the batch that was asked for; what the model says against it, if it does."""
        try:
            return await to_dealer.recv(PATIENCE)
        except WireError:
            if why := await to_model.complaint():
                raise ProtocolError(f"the model refused: {why}", "another session is tried") from None
            raise

    def _progress(self, job: Job, moved: int, seconds: float, each: float) -> None:
        done, due, now = job.images_done, job.plan.images, time.time()
        told = {
            "session": self.body["session"],
            "images": done,
            "bytes": moved,
            "seconds": seconds,
            "now": now,
        }
        self.duty.core.apply(self.key, Event("progressed", told))
        self.desk.left[self.key] = left = left_words(each * (due - done))
        if now - self._told >= TELL_EVERY or done == due:
            self._told = now
            text = f"{done} of {due} images are segmented" + (f"; {left}" if done < due else "")
            self.duty.tell("blind.progress", text, self.duty.name_of_case(self.key), done=done, due=due)

    # ---- the end
    async def _outcome(self, job: Job) -> dict[str, Any]:
        case = self.duty.core.state(self.key)
        assert case is not None
        png, layout = self.duty.store.blob(case.scan), case.volume["layout"]
        findings, mask = await asyncio.to_thread(self._measure, job, png, layout)
        with self.duty.store.transaction():
            blob = self.duty.store.put_blob(mask)
        plan = job.plan
        rounds = sum(
            costs(self.networks[s.task, s.axis][1], plan.batch).rounds * -(-s.count // plan.batch)
            for s in plan.sweeps
        )
        return {
            "logit": None,
            "probability": None,
            "bucket": 0,
            "bytes": int(case.served.get("bytes", 0)),
            "seconds": float(case.served.get("seconds", 0.0)),
            "images": plan.images,
            "rounds": rounds,
            "findings": findings,
            "mask": blob,
        }

    def _measure(self, job: Job, png: bytes, layout: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        masks = job.finish()
        facts = self.body["volume"]
        share = percent_of(masks.infection, masks.lung)
        findings = {
            "severity": severity(share),
            "percent": share,
            "lung_ml": int(masks.lung.sum()) * facts["voxel_ml"],
            "infection_ml": int(masks.infection.sum()) * facts["voxel_ml"],
        }
        findings["notes"] = [*facts["notes"], *([job.about["note"]] if job.about["note"] else [])]
        try:
            self._write(job, masks, findings)
        except (
            Exception
        ) as error:  # whatever it is: the inference is done and paid for, and is not done again
            findings["notes"].append(_note("The masks or their page could not be written", error))
        return findings, overlay(png, layout, masks.lung, masks.infection)

    def _write(self, job: Job, masks: Masks, findings: dict[str, Any]) -> None:
        """Masks and pages into the case's folder, in the volume's own frame. Needs the file that was given. What a
        DICOM segmentation lacks becomes a note of the findings, and costs that file alone."""
        from agents.report.segmentation import write_pages

        facts, body = self.body["volume"], self.body
        path = Path(facts["path"])
        volume = read_volume(path)
        if not Job.holds(job.folder, volume, job.plan):
            raise UserError(
                f"{path.name} is no longer the volume that was given", "the figures are those of the first"
            )
        folder = self.folder / "segmentation"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_nifti(masks.infection.astype(np.uint8), volume, folder / "infection.nii.gz")
        write_nifti(masks.lung.astype(np.uint8), volume, folder / "lung.nii.gz")
        if volume.source.form == "DICOM":
            found = {"lung": masks.lung, "infection": masks.infection}
            try:
                write_dicom_seg(found, volume, folder / "segmentation.dcm")
            except Exception as error:  # the NIfTI masks are there, and the pages follow
                findings["notes"].append(_note("No DICOM segmentation was written", error))
        told = {
            "form": "CrypDoc segmentation v1",
            "volume": path.name,
            "shape": facts["shape"],
            "spacing_mm": facts["spacing"],
            "axes": job.plan.axes,
            "grid": job.plan.grid,
            "engine": "blind",
            "dealer": body["dealer"],
            "suite": body["card"].get("name", ""),
            "images": job.plan.images,
            "lung_ml": findings["lung_ml"],
            "infection_ml": findings["infection_ml"],
            "infection_percent_of_lung": findings["percent"],
            "voxel_ml": facts["voxel_ml"],
            "severity": findings["severity"],
            "notes": findings["notes"],
        }
        write_pages(folder, told, whole(volume), masks.lung, masks.infection, volume.spacing)


def _note(what: str, error: Exception) -> str:
    """A sentence for the patient about a file that there is not. What was not foreseen goes to the log in full."""
    if isinstance(error, CrypDocError | OSError):
        log.warning("%s: %s", what, error)
        return f"{what}: {error}."
    log.error("%s", what, exc_info=error)
    return f"{what}, for a reason that was not foreseen ({type(error).__name__}); the agent's log has more."
