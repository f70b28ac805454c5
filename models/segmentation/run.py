"""A whole segmentation on this machine, by any engine, compared with the network in the clear.

    told = segment(read_volume(path), load_suite(), Wishes(engine="blind"), folder, screen)

The work lies in FOLDER/.crypdoc-work while it runs, and goes on from there when it was interrupted; it is removed at
the end.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.engines.base import Engine, Prediction, check_engine, make_engine
from models.segmentation.job import Job, Masks, empty_planes, fingerprint
from models.segmentation.measure import dice, percent_of, severity
from models.segmentation.plan import AXES, GRIDS, Batch, Plan, make_plan
from models.segmentation.suite import SegNetwork, Suite
from models.volumes import Volume
from protocols.errors import UserError

FORM = "CrypDoc segmentation v1"
MODALITIES = ("CT", "unknown")  # a NIfTI file names none
WORK = ".crypdoc-work"
MOST_AT_ONCE = 16  # images of 128x128, or as many pixels, that are evaluated together
MOST_VOXELS = 1 << 28
_COSTS = ("seconds", "seconds_online", "bytes_online", "bytes_ahead", "rounds")


class Screen(Protocol):
    """Where progress is shown."""

    def step(self, stage: str, done: int, total: int) -> None: ...

    def say(self, text: str) -> None: ...


@dataclass(frozen=True)
class Wishes:
    """engine, dealer: words of `models.engines.base.ENGINES` and `DEALERS`. axes, grid, batch: as in `Plan`.
    skip_empty: leave out slices that hold one grey alone, which tells the model which they are."""

    engine: str = "blind"
    dealer: str = "local"
    axes: str = AXES
    grid: int = GRIDS[0]
    batch: int = 4
    skip_empty: bool = False

    def check(self) -> None:
        """Raises `UserError` for a choice that there is not."""
        check_engine(self.engine, self.dealer)
        if self.batch * (self.grid // GRIDS[0]) ** 2 > MOST_AT_ONCE:
            raise UserError(
                f"{self.batch} images of {self.grid}x{self.grid} together would take too much memory",
                f"at most --batch {MOST_AT_ONCE // (self.grid // GRIDS[0]) ** 2} on this grid",
            )
        if self.skip_empty and "z" not in self.axes:
            raise UserError("only slices along z are left out when they are empty", "add z to --axes")

    @property
    def name(self) -> str:
        """Of the engine, for people and for a folder."""
        return self.engine if self.dealer == "local" else f"{self.engine}-without-dealer"


@dataclass(frozen=True)
class Outcome:
    """What came out. plain: masks of the float networks. told: figures by the names of result.json, without files."""

    masks: Masks
    plain: Masks
    told: dict[str, Any]


def segment(
    volume: Volume,
    suite: Suite,
    wishes: Wishes,
    folder: Path,
    screen: Screen,
    labels: NDArray[np.bool_] | None = None,
    lung_labels: NDArray[np.bool_] | None = None,
) -> Outcome:
    """The masks of a volume. labels: infection as somebody drew it, in the volume's frame, and the lung's, if known.

    Raises `UserError`: a volume that is no CT, axes that the suite has not, an engine that is not installed or stopped.
    """
    wishes.check()
    check_axes(suite, wishes.axes)
    if volume.modality not in MODALITIES:
        raise UserError(f"the volume is {volume.modality}, and the networks read CT", "give a chest CT")
    if volume.values.size > MOST_VOXELS:
        raise UserError(
            f"the volume has {volume.values.size / 1e6:.0f} million voxels, and the limit is {MOST_VOXELS / 1e6:.0f}",
            "give the part with the lungs, or coarser slices",
        )
    begun = time.perf_counter()
    skipped = empty_planes(volume, wishes.axes) if wishes.skip_empty else {}
    plan = make_plan(volume.values.shape[2], wishes.axes, wishes.grid, wishes.batch, skipped)
    if wishes.dealer == "none":
        screen.say(
            f"without a dealer each of the {plan.images} images of {plan.grid}x{plan.grid} takes about "
            f"{(plan.grid // GRIDS[0]) ** 2} GB between patient and model, and half a minute a GB on two cores; "
            "fewer --axes make fewer images, and a run that is stopped goes on later"
        )
    work = folder / WORK
    costs, job = _evaluate(
        volume, suite, plan, work / wishes.name, _engines(wishes), f"{wishes.name} engine", screen
    )
    _, clear = _evaluate(volume, suite, plan, work / "float", FloatEngine, "plain networks", screen)
    masks, plain = (one.finish(_counted(screen, "making masks", 2 * plan.slices)) for one in (job, clear))
    told = _told(volume, suite, plan, wishes, costs, masks, plain)
    told |= _agreement(masks, plain, labels, lung_labels)
    told["notes"] = [*volume.notes, *([note] if (note := job.about["note"]) else [])]
    told["seconds_here"] = time.perf_counter() - begun
    return Outcome(masks, plain, told)


def check_axes(suite: Suite, axes: str) -> None:
    """Raises `UserError` for an axis that the suite has no networks for."""
    if missing := [axis for axis in axes if axis not in suite.axes]:
        raise UserError(
            f"the suite {suite.name} has no networks along {', '.join(missing)}", f"--axes {suite.axes}"
        )


def clean(folder: Path, wishes: Wishes) -> None:
    """Removes the work of a finished segmentation: pictures and probabilities of a patient. That of another engine,
    which may go on, stays."""
    for name in (wishes.name, "float"):
        shutil.rmtree(folder / WORK / name, ignore_errors=True)
    with suppress(OSError):
        (folder / WORK).rmdir()


class FloatEngine:
    """The float network of a sweep, in the clear: what quantisation and encryption are measured against."""

    name = "float"

    def __init__(self, network: SegNetwork, side: int) -> None:
        self._module, self._scale = network.plain(), network.card.input_scale

    def predict(self, images: NDArray[np.int8]) -> Prediction:
        """See `models.engines.base.Engine`."""
        begun = time.perf_counter()
        with torch.inference_mode():
            logits = self._module(torch.from_numpy(images).float() * self._scale)
        made = logits.reshape(len(images), -1).double().numpy()
        return Prediction(made, None, time.perf_counter() - begun, 0.0, 0, 0, 0)

    def close(self) -> None:
        """Nothing to end."""


_Make = Callable[[SegNetwork, int], Any]


def _engines(wishes: Wishes) -> _Make:
    def make(network: SegNetwork, side: int) -> Engine:
        engine = make_engine(wishes.engine, network.at(side), wishes.dealer)
        if hasattr(engine, "overlap"):
            engine.overlap = True  # the dealer deals while slices flow
        return engine

    return make


def _evaluate(
    volume: Volume, suite: Suite, plan: Plan, folder: Path, make: _Make, stage: str, screen: Screen
) -> tuple[dict[str, Any], Job]:
    if Job.holds(folder, volume, plan, suite.identity.hex()):
        job = Job.resume(folder)
        if job.images_done:
            screen.say(f"{stage}: going on, {job.images_done} of {plan.images} images were done before")
    else:
        planes = plan.slices + (plan.grid if set(plan.axes) & set("xy") else 0)
        job = Job.begin(
            folder, volume, plan, _counted(screen, "preparing slices", planes), suite.identity.hex()
        )
        (folder / "costs").unlink(missing_ok=True)
    pending = job.pending()
    with ExitStack() as stack:
        engine, of = None, -1
        for batch in pending:
            if batch.sweep != of:
                stack.close()
                network, of = suite.of(plan, batch.sweep), batch.sweep
                begun = time.perf_counter()
                engine = make(network, plan.grid)
                stack.callback(engine.close)
                start = {
                    "seconds": time.perf_counter() - begun,
                    "bytes_ahead": getattr(engine, "bytes_begun", 0),
                }
                _note(folder, batch.sweep, -1, start)
            assert engine is not None
            sweep = plan.sweeps[batch.sweep]
            screen.step(f"{stage}: {sweep.task} along {sweep.axis}", job.images_done, plan.images)
            _one(job, batch, engine, folder)
    screen.step(stage, plan.images, plan.images)
    return _costs(folder, job), job


def _counted(screen: Screen, stage: str, total: int) -> Callable[[], None]:
    """Shows one more of a stage at every call."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        screen.step(stage, done, total)

    return step


def _one(job: Job, batch: Batch, engine: Any, folder: Path) -> None:
    begun = time.perf_counter()
    made: Prediction = engine.predict(job.images(batch))
    spent = {
        "seconds": time.perf_counter() - begun,
        "seconds_online": made.seconds,
        "bytes_online": made.bytes_online,
        "bytes_ahead": made.bytes_ahead,
        "rounds": made.rounds,
    }
    _note(folder, batch.sweep, batch.numbers[0], spent)
    job.put(batch, made.logits)


def _note(folder: Path, sweep: int, number: int, spent: dict[str, float]) -> None:
    """What a batch cost, or, with number -1, beginning an engine. Each line begins anew: a kill may cut the last."""
    with (folder / "costs").open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({"batch": [sweep, number], **spent}))


def _costs(folder: Path, job: Job) -> dict[str, Any]:
    """Of all batches, those of earlier runs too; a batch that was computed twice counts as it was last."""
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    if not (folder / "costs").exists():
        return dict.fromkeys(_COSTS, 0)
    for line in (folder / "costs").read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
            rows[row["batch"][0], row["batch"][1]] = row
        except (ValueError, KeyError, IndexError, TypeError):  # the line that a kill cut short
            continue
    return {name: sum(row.get(name, 0) for row in rows.values()) for name in _COSTS}


def _told(
    volume: Volume,
    suite: Suite,
    plan: Plan,
    wishes: Wishes,
    costs: dict[str, Any],
    masks: Masks,
    plain: Masks,
) -> dict[str, Any]:
    share = percent_of(masks.infection, masks.lung)
    count = max(1, plan.images)
    total = costs["bytes_online"] + costs["bytes_ahead"]
    networks = [
        {
            "task": sweep.task,
            "axis": sweep.axis,
            "images": sweep.count,
            "hash": suite.of(plan, place).at(plan.grid).network_hash().hex(),
        }
        for place, sweep in enumerate(plan.sweeps)
    ]
    return {
        "form": FORM,
        "shape": list(volume.values.shape),
        "spacing_mm": [round(float(side), 6) for side in volume.spacing],
        "axes": plan.axes,
        "grid": plan.grid,
        "engine": wishes.engine,
        "dealer": wishes.dealer if wishes.engine == "blind" else None,
        "suite": suite.name,
        "suite_identity": suite.identity.hex(),
        "volume_hash": fingerprint(volume),
        "voxel_ml": volume.voxel_ml,
        "networks": networks,
        "images": plan.images,
        "images_skipped": sum(len(numbers) for numbers in plan.skipped.values()) * 2,
        "lung_ml": int(masks.lung.sum()) * volume.voxel_ml,
        "infection_ml": int(masks.infection.sum()) * volume.voxel_ml,
        "infection_percent_of_lung": share,
        "severity": severity(share),
        "seconds": costs["seconds"],
        "bytes": total,
        "seconds_per_image": costs["seconds"] / count,
        "bytes_per_image": total / count,
        "seconds_online": costs["seconds_online"],
        "bytes_online": costs["bytes_online"],
        "bytes_ahead": costs["bytes_ahead"],
        "rounds": costs["rounds"],
    }


def _agreement(
    masks: Masks, plain: Masks, labels: NDArray[np.bool_] | None, lung_labels: NDArray[np.bool_] | None
) -> dict[str, Any]:
    return {
        "dice_against_plain": dice(masks.infection, plain.infection),
        "dice_against_labels": None if labels is None else dice(masks.infection, labels),
        "dice_plain_against_labels": None if labels is None else dice(plain.infection, labels),
        "lung": {
            "dice_against_plain": dice(masks.lung, plain.lung),
            "dice_against_labels": None if lung_labels is None else dice(masks.lung, lung_labels),
            "dice_plain_against_labels": None if lung_labels is None else dice(plain.lung, lung_labels),
        },
    }
