"""Labelled volumes for training: `NAME_ct.nii.gz`, `NAME_lung.nii.gz`, `NAME_infection.nii.gz` in one folder.

They take the very way that a patient's volume takes (`grid.py`), labels alongside, so that the networks learn on what
they will be given. Nothing of it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.segmentation.grid import Geometry, Grey, Greys, slabs, through
from models.segmentation.plan import TASKS
from models.volumes import Volume, read_labels, read_volume
from protocols.errors import UserError

SIDE = 128
_REACH = (-2, -1, 0, 1, 2)
LAYOUTS = {"z": (0, 1, 2), "x": (2, 0, 1), "y": (1, 0, 2)}  # (z, y, x) to (planes, rows, columns)


@dataclass(frozen=True)
class Labelled:
    """One volume along one axis, on the grid. greys: (planes, rows, columns) uint8; labels: the same, a bit for
    each of `TASKS`, the first the lowest."""

    name: str
    greys: Tensor
    labels: Tensor

    def stacks(self, numbers: Tensor) -> Tensor:
        """Five neighbouring planes for each number, float greys: (n, 5, rows, columns)."""
        rows = (numbers[:, None] + torch.tensor(_REACH)).clamp(0, len(self.greys) - 1)
        return self.greys[rows].float()

    def label(self, task: str, numbers: Tensor) -> Tensor:
        """0 or 1, float: (n, 1, rows, columns)."""
        return (self.labels[numbers] >> TASKS.index(task) & 1).float()[:, None]


def names(folder: Path) -> list[str]:
    """The volumes in a folder, in order. Raises `UserError`: none, or one without labels."""
    found = sorted(path.name[: -len("_ct.nii.gz")] for path in folder.glob("*_ct.nii.gz"))
    if not found:
        raise UserError(
            f"there is no NAME_ct.nii.gz in {folder}", "name the folder with the labelled volumes"
        )
    for name in found:
        for task in TASKS:
            if not (folder / f"{name}_{task}.nii.gz").is_file():
                raise UserError(
                    f"{name}_{task}.nii.gz is missing in {folder}", "add the label, or take the volume out"
                )
    return found


def load(folder: Path, name: str, axes: str) -> dict[str, Labelled]:
    """A volume along some axes. Raises `UserError` as the readers do."""
    volume = read_volume(folder / f"{name}_ct.nii.gz")
    drawn = [read_labels(folder / f"{name}_{task}.nii.gz", volume) for task in TASKS]
    greys, labels = _on_grid(volume, drawn)
    made = {}
    for axis in axes:
        stack, marks = (greys, labels) if axis == "z" else (_cube(greys), _cube_labels(labels))
        turned = (
            torch.from_numpy(np.ascontiguousarray(one.transpose(LAYOUTS[axis]))) for one in (stack, marks)
        )
        made[axis] = Labelled(name, *turned)
    return made


def _on_grid(volume: Volume, drawn: list[NDArray[np.bool_]]) -> tuple[Greys, Greys]:
    geometry, grey = Geometry.of(volume, SIDE), Grey(volume)
    greys, marks = [], []
    for start, planes in slabs(volume, grey):
        greys.append(np.rint(np.clip(geometry.into(planes, float(planes.min())), 0, 255)).astype(np.uint8))
        made = np.zeros(greys[-1].shape, np.uint8)
        for bit, mask in enumerate(drawn):
            part = mask[:, :, start : start + len(planes)].transpose(2, 1, 0).astype(np.float32)
            made |= (geometry.into(part, 0.0) >= 0.5).astype(np.uint8) << bit
        marks.append(made)
    return np.concatenate(greys), np.concatenate(marks)


def _cube(greys: Greys) -> Greys:
    planes = [np.rint(through(greys, SIDE, number)) for number in range(SIDE)]
    return np.stack(planes).astype(np.uint8)


def _cube_labels(labels: Greys) -> Greys:
    made = np.zeros((SIDE, *labels.shape[1:]), np.uint8)
    for bit in range(len(TASKS)):
        alone = (labels >> bit & 1).astype(np.uint8)
        for number in range(SIDE):
            made[number] |= (through(alone, SIDE, number) >= 0.5).astype(np.uint8) << bit
    return made
