"""Labels on a volume's own grid: turned as the volume is, and refused where they do not fit it."""

from __future__ import annotations

from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation
from numpy.typing import NDArray

from models.volumes.volume import Stored, Volume, turned, value_range
from protocols.errors import UserError

_AS_STORED = [[0, 1], [1, 1], [2, 1]]  # nibabel's orientation of axes to the right, the front and the head
_APART = 0.1  # of the smallest voxel side: how far the corners of labels and volume may lie apart


def fitted(stored: Stored, volume: Volume) -> NDArray[np.bool_]:
    """Labels above 0 in the volume's axes, (X, Y, Z).

    Where both files name an orientation, the labels are turned to the volume's and have to lie where it lies.
    Where one names none, the labels are taken in the voxel order of the volume's file. Raises UserError: another
    shape, another place, another order than a NIfTI volume of no orientation is taken in, values that are not numbers.
    """
    value_range(stored.values)
    above = _above_zero(stored)
    if not (stored.oriented and volume.source.oriented):
        if volume.source.form == "DICOM":
            raise UserError(
                "they name no orientation, and the volume is a DICOM series",
                "give labels as NIfTI or DICOM SEG",
            )
        _check_shape(above.shape, volume.source.shape)
        _check_order(stored, volume)
        return np.asarray(apply_orientation(above, volume.source.turn), dtype=np.bool_)
    affine, turn = turned(stored)
    labels = np.asarray(apply_orientation(above, turn), dtype=np.bool_)
    _check_shape(labels.shape, volume.values.shape)
    _check_place(affine, volume)
    return labels


def _above_zero(stored: Stored) -> NDArray[np.bool_]:
    values = stored.values
    if (stored.slope, stored.intercept) != (1.0, 0.0):
        values = values * np.float32(stored.slope) + np.float32(stored.intercept)
    return np.asarray(values > 0)


def _check_shape(labels: tuple[int, ...], volume: tuple[int, ...]) -> None:
    if labels != volume:
        theirs, ours = ("x".join(str(side) for side in shape) for shape in (labels, volume))
        raise UserError(
            f"they are {theirs} voxels, and the volume is {ours}",
            "give the labels that were made on this volume",
        )


def _check_order(stored: Stored, volume: Volume) -> None:
    """A NIfTI volume of no orientation counts as RAS+: labels whose header says another order lie otherwise."""
    if volume.source.form == "NIfTI" and stored.oriented and (turned(stored)[1] != _AS_STORED).any():
        raise UserError(
            "their header names an orientation, the volume's names none, and they would lie otherwise in it",
            "give the volume or the labels with the other's header",
        )


def _check_place(affine: NDArray[np.float64], volume: Volume) -> None:
    corners = np.array(np.meshgrid(*([0, side - 1] for side in volume.values.shape))).reshape(3, -1)
    apart = (affine - volume.affine)[:3, :3] @ corners + (affine - volume.affine)[:3, 3:]
    if float(np.linalg.norm(apart, axis=0).max()) > _APART * min(volume.spacing):
        raise UserError(
            f"they lie elsewhere ({_placed(affine)}) than the volume ({_placed(volume.affine)})",
            "give the labels that were made on this volume",
        )


def _placed(affine: NDArray[Any]) -> str:
    spacing = " x ".join(f"{side:.4g}" for side in np.linalg.norm(affine[:3, :3], axis=0))
    start = ", ".join(f"{at:.1f}" for at in affine[:3, 3])
    return f"voxels of {spacing} mm from {start}"
