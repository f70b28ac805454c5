"""The patient's side of a segmentation: images out, logits in, masks at the end; all of it on disk, so it can go on.

A folder of a job holds
    job.json      plan, shape of the volume, hash of its greys, what made it
    z.npy         greys (slices, grid, grid), uint8; cube.npy: the same over `grid` planes, where x or y is looked along
    0.prob ...    one a sweep: probabilities (planes, grid, grid), a byte each, 255 is certain
    done          one line a batch that was put, written after its bytes are on disk

A process may be killed at any moment: `resume` finds the batches that are missing. Memory: a few slices, whatever the
volume; at the end one byte a voxel a mask, and four more for a while (`fuse.tidied`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.networks import SLICES
from models.segmentation import fuse
from models.segmentation.grid import Geometry, Grey, Greys, slabs, through
from models.segmentation.plan import Batch, Plan
from models.volumes import Volume
from protocols.errors import UserError

FORM = "CrypDoc segmentation job v1"
_BLACK = 8.0  # a plane whose greys spread less than this holds no tissue
_REMEDY = "begin the segmentation anew in an empty folder"


@dataclass(frozen=True)
class Masks:
    """lung, infection: (X, Y, Z), in the volume's own frame; infection is part of the lung."""

    lung: NDArray[np.bool_]
    infection: NDArray[np.bool_]


def _nothing() -> None:
    """A step that nobody watches."""


class Job:
    """See the module. One process at a time."""

    def __init__(self, folder: Path, plan: Plan, geometry: Geometry, about: dict[str, Any]) -> None:
        """Use `begin` or `resume`."""
        self.folder, self.plan, self.geometry, self.about = folder, plan, geometry, about
        self._batches = list(plan.batches())
        self._planes: dict[str, Greys] = {}
        self._done = self._read_done()

    @classmethod
    def begin(
        cls, folder: Path, volume: Volume, plan: Plan, step: Callable[[], None] = _nothing, by: str = ""
    ) -> Job:
        """A new job for a volume; what an earlier one left in the folder is replaced. step: called for every slice.
        by: what will evaluate it, such as a suite's identity; a job by another is not taken up."""
        if volume.values.shape[2] != plan.slices:
            raise UserError(
                "the plan is for a volume of another number of slices", "make the plan from this volume"
            )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "job.json").unlink(missing_ok=True)
        (folder / "done").unlink(missing_ok=True)
        geometry, grey = Geometry.of(volume, plan.grid), Grey(volume)
        _write_slices(folder / "z.npy", volume, grey, geometry, plan, step)
        if set(plan.axes) & set("xy"):
            _write_cube(folder / "cube.npy", np.load(folder / "z.npy", mmap_mode="r"), plan.grid, step)
        for place, sweep in enumerate(plan.sweeps):
            with (folder / f"{place}.prob").open("wb") as file:
                file.truncate(plan.planes(sweep.axis) * plan.grid**2)
        about = {
            "form": FORM,
            "plan": plan.to_plain(),
            "voxels": list(geometry.voxels),
            "inner": list(geometry.inner),
            "corner": list(geometry.corner),
            "greys": fingerprint(volume),
            "by": by,
            "note": grey.note,
        }
        _write(folder / "job.json", json.dumps(about, indent=1))
        return cls(folder, plan, geometry, about)

    @classmethod
    def resume(cls, folder: Path) -> Job:
        """The job that a folder holds. Raises `UserError` where there is none, or it is damaged."""
        try:
            about = json.loads((folder / "job.json").read_text(encoding="utf-8"))
            plan = Plan.from_plain(about["plan"])
            if about["form"] != FORM:
                raise ValueError("another form")
            pairs = [(int(a), int(b)) for a, b in (about["voxels"], about["inner"], about["corner"])]
        except FileNotFoundError as error:
            raise UserError(f"{folder} holds no segmentation that could go on", _REMEDY) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"the segmentation in {folder} is damaged", _REMEDY) from error
        return cls(folder, plan, Geometry(plan.grid, *pairs), about)

    @classmethod
    def holds(cls, folder: Path, volume: Volume, plan: Plan, by: str = "") -> bool:
        """Whether the folder holds a job of this very volume and plan, by the same networks."""
        try:
            about = cls.resume(folder).about
        except UserError:
            return False
        same = about["plan"] == plan.to_plain() and about.get("by", "") == by
        return bool(same and about["greys"] == fingerprint(volume))

    # ---- the way there
    def pending(self) -> list[Batch]:
        """The batches that are missing, in order."""
        return [batch for number, batch in enumerate(self._batches) if number not in self._done]

    def images(self, batch: Batch) -> NDArray[np.int8]:
        """What the network reads: (n, 5, grid, grid), greys less 128, each slice with two neighbours on either side;
        at the ends the outermost stands in for what is beyond."""
        axis = self.plan.sweeps[batch.sweep].axis
        last = self.plan.planes(axis) - 1
        rows = [
            [min(max(n + d, 0), last) for d in range(-(SLICES // 2), SLICES // 2 + 1)] for n in batch.numbers
        ]
        stacked = np.stack([np.stack([self._plane(axis, number) for number in row]) for row in rows])
        return np.maximum(stacked.astype(np.int16) - 128, -127).astype(np.int8)

    def put(self, batch: Batch, logits: NDArray[np.floating[Any]]) -> None:
        """Takes a batch's logits, (n, ...) of grid * grid each, real units. Safe to repeat; on disk when it returns."""
        grid = self.plan.grid
        if logits.size != batch.count * grid * grid:
            raise UserError("an engine gave logits of another shape than it was asked for", "start it again")
        number = self._batches.index(batch)
        values = np.clip(logits.reshape(batch.count, -1).astype(np.float32), -30, 30)
        made = np.rint(255 / (1 + np.exp(-values))).astype(np.uint8)
        with (self.folder / f"{batch.sweep}.prob").open("r+b") as file:
            for place, row in zip(batch.numbers, made, strict=True):
                os.pwrite(file.fileno(), row.tobytes(), place * grid * grid)
            os.fsync(file.fileno())
        with (self.folder / "done").open("ab") as file:
            file.write(b"%d\n" % number)
            file.flush()
            os.fsync(file.fileno())
        self._done.add(number)

    @property
    def images_done(self) -> int:
        """Images whose logits are here."""
        return sum(self._batches[number].count for number in self._done)

    # ---- the end
    def finish(self, step: Callable[[], None] = _nothing) -> Masks:
        """The masks. step: called for every slice, twice. Raises `UserError` while batches are missing."""
        if self.pending():
            raise UserError("batches of this segmentation are missing", "let it go on")
        lung = fuse.tidied(self._cut("lung", fuse.LUNG, step))
        infection = fuse.within(self._cut("infection", fuse.INFECTION, step), lung)
        lung |= infection
        return Masks(lung, infection)

    def sweeps(self, task: str) -> dict[str, fuse.Probabilities]:
        """A task's probabilities by axis, on disk."""
        grid = self.plan.grid
        made: dict[str, fuse.Probabilities] = {}
        for place, sweep in enumerate(self.plan.sweeps):
            if sweep.task == task:
                shape = (self.plan.planes(sweep.axis), grid, grid)
                made[sweep.axis] = np.memmap(self.folder / f"{place}.prob", np.uint8, "r", shape=shape)
        return made

    def _cut(self, task: str, floor: float, step: Callable[[], None]) -> NDArray[np.bool_]:
        planes = fuse.fused(self.sweeps(task), self.plan.slices)
        return fuse.cut(planes, self.geometry, self.plan.slices, floor, step)

    # ---- inside
    def _plane(self, axis: str, number: int) -> Greys:
        name = "z" if axis == "z" else "cube"
        if name not in self._planes:
            self._planes[name] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        stack = self._planes[name]
        rows = stack.transpose({"z": (0, 1, 2), "x": (2, 0, 1), "y": (1, 0, 2)}[axis])
        plane: Greys = rows[number]
        return plane

    def _read_done(self) -> set[int]:
        try:
            told = (self.folder / "done").read_bytes()
        except FileNotFoundError:
            return set()
        size = told.rfind(b"\n") + 1
        if size < len(told):  # a line that a kill cut short; the next one must not be glued to it
            os.truncate(self.folder / "done", size)
        whole = told[:size].split()
        return {int(word) for word in whole if word.isdigit() and int(word) < len(self._batches)}


def empty_planes(volume: Volume, axes: str) -> dict[str, tuple[int, ...]]:
    """Numbers of slices along z that hold nothing but one grey, for a patient who allows that this be known."""
    if "z" not in axes:
        return {}
    grey = Grey(volume)
    flat = [
        start + n for start, planes in slabs(volume, grey) for n, p in enumerate(planes) if np.ptp(p) < _BLACK
    ]
    return {"z": tuple(flat)} if flat else {}


def fingerprint(volume: Volume) -> str:
    """A hash of a volume's stored values and scale, to know it again."""
    made = hashlib.blake2b(repr((volume.values.shape, volume.slope, volume.intercept, volume.units)).encode())
    for number in range(volume.values.shape[2]):
        made.update(np.ascontiguousarray(volume.values[:, :, number]).tobytes())
    made.update(np.ascontiguousarray(volume.affine).tobytes())
    return made.hexdigest()[:64]


def _write_slices(
    path: Path, volume: Volume, grey: Grey, geometry: Geometry, plan: Plan, step: Callable[[], None]
) -> None:
    with path.open("wb") as file:
        _header(file, (plan.slices, plan.grid, plan.grid))
        for _, planes in slabs(volume, grey):
            made = geometry.into(planes, float(planes.min()))
            file.write(np.rint(np.clip(made, 0, 255)).astype(np.uint8).tobytes())
            for _ in planes:
                step()
        _settle(file)


def _write_cube(path: Path, slices: Greys, grid: int, step: Callable[[], None]) -> None:
    with path.open("wb") as file:
        _header(file, (grid, grid, grid))
        for plane in _cube(slices, grid):
            file.write(np.rint(np.clip(plane, 0, 255)).astype(np.uint8).tobytes())
            step()
        _settle(file)


def _cube(slices: Greys, grid: int) -> Iterator[NDArray[np.float32]]:
    for number in range(grid):
        yield through(slices, grid, number)


def _header(file: Any, shape: tuple[int, int, int]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _settle(file: Any) -> None:
    """On disk, before job.json says that it is."""
    file.flush()
    os.fsync(file.fileno())


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        _settle(file)
    part.replace(path)
