"""Whole cases of a CT volume with real processes: what comes out, who sees it when, and that it outlives every kill."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from protocols.case import doctor, model, patient
from protocols.codec import decode, unpack
from tests.kill.run import Cell, Victim, run_cell
from tests.kill.stage import Actor, Stage
from tests.kill.verdict import result_of

sys.path.insert(0, str(Path(__file__).parents[1] / "agents" / "segmentation"))
from chests import write_chest, write_suite

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
SLICES, BATCH = 6, 2
BATCHES = 2 * SLICES // BATCH
FIELD = "chest radiology"


class ChestStage(Stage):
    """Doctors of the chest, a model with a small suite, patients with a volume."""

    field = FIELD

    def newcomers(self) -> tuple[Actor, Actor]:
        """See `Stage`."""
        patient_, researcher = super().newcomers()
        scan = write_chest(patient_.data / "chest.nii.gz", slices=SLICES)
        wishes = ["--specialty", FIELD, "--axes", "z", "--batch", str(BATCH), "--panel", "3", "--stay"]
        patient_.arguments = ["patient", str(scan), *wishes, *self.common(patient_)]
        researcher.arguments += ["--specialty", FIELD]
        return patient_, researcher


@pytest.fixture(scope="module")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChestStage]:
    """Up for all tests of this module."""
    folder = tmp_path_factory.mktemp("chest")
    stage = ChestStage(folder / "stage")
    stage.network = str(write_suite(folder / "suite"))
    with stage:
        yield stage


def rows(actor: Actor, query: str) -> list[Any]:
    """Of the log of a stopped agent, which another reader may have open."""
    with contextlib.closing(sqlite3.connect(actor.data / "cases.sqlite")) as log:
        return log.execute(query).fetchall()


def states(actor: Actor, machine: Any) -> list[Any]:
    """What the log of a stopped agent says of its cases."""
    return [unpack(machine.state, row[0]) for row in rows(actor, "SELECT state FROM cases ORDER BY rowid")]


def sessions(actor: Actor) -> int:
    """Blind sessions that a stopped agent took part in."""
    return int(rows(actor, "SELECT COUNT(*) FROM tapes")[0][0])


KILLS: dict[str, tuple[Victim, ...]] = {
    "nobody": (),
    "patient, a batch computed and not written": (Victim("patient", "before-write:batch#3"),),
    "patient, a batch written and not told": (Victim("patient", "after-write:batch#4"),),
    "patient, all done": (Victim("patient", "before-done:infer"),),
    "model, a batch computed and not counted": (Victim("model", "before-write:batch#3"),),
    "dealer, a seed not given": (Victim("dealer", "before-write:batch#2"),),
    "all three": (
        Victim("patient", "after-write:batch#2"),
        Victim("model", "before-write:batch#4"),
        Victim("dealer", "before-write:batch#5"),
    ),
    "patient, showing the mask": (Victim("patient", "after-send:say/disclosure.show"),),
    "doctor, shown the mask": (Victim("doctor 2", "after-write:disclosure.show"),),
}


@pytest.mark.parametrize("name", KILLS)
def test_a_case_of_a_volume_outlives_a_kill(name: str, chest: ChestStage) -> None:
    """It settles, is paid for once, and no batch that was done is done again."""
    outcome = run_cell(chest, Cell(name, KILLS[name]))
    assert outcome.verdict == "ok", outcome.wrong
    patient_, researcher = chest.actors["patient"], chest.actors["researcher"]
    result = result_of(patient_)
    assert result is not None
    assert 25 < result["segmentation"]["infection_percent_of_lung"] < 40
    assert result["severity"] == result["segmentation"]["severity"] == "severe"
    assert result["segmentation"]["images"] == 2 * SLICES
    assert result["confidence_bucket"] is None
    assert result["diagnosis"]["label"] == "infiltrate"
    broken = sum(v.actor in ("patient", "model", "dealer") for v in KILLS[name])
    assert BATCHES <= sessions(patient_) <= BATCHES + broken
    (record,) = (researcher.data / "records").glob("*.json")
    assert '"severity": "severe"' in record.read_text("utf-8")


def test_what_became_of_a_case(chest: ChestStage) -> None:
    """The masks are the patient's; the panel saw the mask, each doctor after its own commit; the model a number."""
    outcome = run_cell(chest, Cell("an ordinary case", ()))
    assert outcome.verdict == "ok", outcome.wrong
    patient_ = chest.actors["patient"]
    (case,) = states(patient_, patient.MACHINE)
    folder = patient_.data / "cases" / case.key
    infection = np.asarray(nibabel.load(folder / "segmentation" / "infection.nii.gz").dataobj)
    assert infection.shape == (64, 64, SLICES)
    assert infection[46, 32].all(), "the dense ball in the right lung"
    assert not infection[18, 32].any(), "nothing in the other lung"
    share = case.findings["infection_ml"] / case.volume["voxel_ml"]
    assert int(infection.sum()) == round(share)
    assert (folder / "segmentation" / "index.html").stat().st_size > 10_000
    assert (folder / "result.json").exists()
    assert not (folder / "work").exists(), "images and probabilities are gone"
    assert decode(case.record)["severity"] == "severe"
    doctors = [a for a in chest.doctors if case.case_id in {s.case_id for s in _stopped(chest, a)}]
    assert len(doctors) == 3
    for actor in doctors:
        seat = next(s for s in states(actor, doctor.MACHINE) if s.case_id == case.case_id)
        assert seat.findings == {k: case.findings[k] for k in seat.findings}
        assert seat.mask != seat.scan
        steps = [s["step"] for s in actor.steps(False) if s.get("case") == hex(case.case_id)]
        assert steps.index("committed") < steps.index("reveal.shown")
    chest.stop(chest.actors["model"])
    (sold,) = [s for s in states(chest.actors["model"], model.MACHINE) if s.case_id == case.case_id]
    chest.run(chest.actors["model"])
    assert (sold.bucket, sold.served) == (0, BATCHES)
    assert set(sold.volume) == {"plan", "images", "batches"}


def _stopped(stage: Stage, actor: Actor) -> list[Any]:
    stage.stop(actor)
    found = states(actor, doctor.MACHINE)
    stage.run(actor)
    stage.until(lambda: actor.said("ready"), f"{actor.name} is back")
    stage.stop(actor)
    return found
