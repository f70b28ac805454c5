"""Which images of a volume are evaluated by which network, and in which order. Public: it tells shapes and no content.

A sweep is one network's way along one axis. The z sweep reads the volume's own slices, in their number; the x and y
sweeps read a cube of `grid` planes, into which the slices were resampled (`grid.py`). What is in the slices changes
nothing, unless the patient left empty ones out (`skipped`), which tells which are empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from protocols.case.volume import AXES, TASKS
from protocols.errors import UserError

__all__ = ["AXES", "GRIDS", "TASKS", "Batch", "Plan", "Sweep", "make_plan"]

GRIDS = (128, 256, 512)  # sides of a slice image; the networks learnt at the first
MAX_SLICES = 2048
MAX_BATCH = 64


@dataclass(frozen=True, slots=True)
class Sweep:
    """One network along one axis: `count` images."""

    task: str
    axis: str
    count: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Images that are evaluated together: numbers of sweep `sweep` (its place in the plan)."""

    sweep: int
    numbers: tuple[int, ...]

    @property
    def count(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class Plan:
    """grid: side of every image. slices: of the volume along z. axes: a choice of x, y, z in that order. batch: most
    images evaluated together. skipped: numbers of images left out, by axis."""

    grid: int
    slices: int
    axes: str
    batch: int
    skipped: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.grid not in GRIDS:
            raise UserError(f"there is no grid of {self.grid}", f"choose one of {', '.join(map(str, GRIDS))}")
        if not 2 <= self.slices <= MAX_SLICES:
            raise UserError(
                f"a volume has 2 to {MAX_SLICES} slices, not {self.slices}", "give a whole series"
            )
        if not self.axes or self.axes != "".join(axis for axis in AXES if axis in self.axes):
            raise UserError(
                f"there are no axes {self.axes!r}", "name some of x, y and z, each once, in that order"
            )
        if not 1 <= self.batch <= MAX_BATCH:
            raise UserError(f"a batch of {self.batch} is not possible", f"choose 1 to {MAX_BATCH}")
        for axis, numbers in self.skipped.items():
            known = all(0 <= number < self.planes(axis) for number in numbers)
            if axis not in self.axes or not known or len(set(numbers)) < len(numbers):
                raise UserError(
                    "the plan leaves out images that it does not have, or one twice", "make it anew"
                )
        if not self.images:
            raise UserError("the plan leaves out every image", "keep the slices that look empty")

    def planes(self, axis: str) -> int:
        """Images along an axis, left out or not."""
        return self.slices if axis == "z" else self.grid

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """Lung first, so that what it says is there when infection is looked at."""
        return tuple(
            Sweep(task, axis, self.planes(axis) - len(self.skipped.get(axis, ())))
            for task in TASKS
            for axis in self.axes
        )

    @property
    def images(self) -> int:
        """All that will be evaluated, by all networks."""
        return sum(sweep.count for sweep in self.sweeps)

    def batches(self) -> Iterator[Batch]:
        """All, in order."""
        for place, sweep in enumerate(self.sweeps):
            left_out = set(self.skipped.get(sweep.axis, ()))
            numbers = [number for number in range(self.planes(sweep.axis)) if number not in left_out]
            for start in range(0, len(numbers), self.batch):
                yield Batch(place, tuple(numbers[start : start + self.batch]))

    def to_plain(self) -> dict[str, Any]:
        """Plain values, for a file or a message."""
        return {
            "grid": self.grid,
            "slices": self.slices,
            "axes": self.axes,
            "batch": self.batch,
            "skipped": {axis: list(numbers) for axis, numbers in self.skipped.items()},
        }

    @classmethod
    def from_plain(cls, told: Any) -> Plan:
        """The plan of plain values. Raises `UserError` on anything else."""
        try:
            sizes = [told[name] for name in ("grid", "slices", "batch")]
            skipped = {str(axis): tuple(numbers) for axis, numbers in told.get("skipped", {}).items()}
            numbers = [number for row in skipped.values() for number in row]
            if any(type(value) is not int for value in [*sizes, *numbers]) or not isinstance(
                told["axes"], str
            ):
                raise ValueError("a field is of the wrong type")
            return cls(sizes[0], sizes[1], told["axes"], sizes[2], skipped)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError("this is not a plan of a segmentation", "make it anew") from error


def make_plan(
    slices: int,
    axes: str = AXES,
    grid: int = GRIDS[0],
    batch: int = 4,
    skipped: Mapping[str, tuple[int, ...]] | None = None,
) -> Plan:
    """See `Plan`. Raises `UserError` for what cannot be."""
    return Plan(grid, slices, axes, batch, dict(skipped or {}))
