"""A made-up chest, for trying and testing: no patient was ever in front of it.

Ellipses of tissue in the greys that the networks learnt on: a body, two lungs with vessels, a heart, a spine, and
patches of infiltrate at the rims of the lungs. The same arguments give the same voxels. It says nothing of accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.volumes import Volume, read_volume

NOTE = "SYNTHETIC: drawn by models/segmentation/samples.py, not a scan of a person."
AIR, LUNG, PATCH, TISSUE, HEART, BONE, VESSEL = 25.0, 62.0, 105.0, 152.0, 165.0, 225.0, 140.0

WHOLE = 24  # slices of 5 mm from end to end


@dataclass(frozen=True)
class Chest:
    """greys (X, Y, Z) uint8, axes to the right, the front, the head; lung and infection as they were drawn."""

    greys: NDArray[np.uint8]
    lung: NDArray[np.bool_]
    infection: NDArray[np.bool_]

    def save(self, folder: Path, name: str = "chest") -> Path:
        """Writes NAME_ct, NAME_lung and NAME_infection .nii.gz (2.5 mm pixels, 5 mm slices); the path of the first."""
        folder.mkdir(parents=True, exist_ok=True)
        pixel = 320.0 / self.greys.shape[0]
        affine = np.diag([pixel, pixel, 5.0, 1.0])
        for what, values in (("lung", self.lung), ("infection", self.infection), ("ct", self.greys)):
            image = nib.Nifti1Image(np.asarray(values, np.uint8), affine)
            image.header["descrip"] = NOTE[:79].encode()
            nib.save(image, folder / f"{name}_{what}.nii.gz")
        return folder / f"{name}_ct.nii.gz"


def chest(side: int = 128, slices: int = 24, seed: int = 3) -> Chest:
    """A chest of side x side x slices voxels."""
    rng = np.random.default_rng(seed)
    ends = (1.0, 1.0, min(1.0, slices / WHOLE))  # of fewer slices there is the middle of the chest
    sides = (np.linspace(-e, e, n, dtype=np.float32) for e, n in zip(ends, (side, side, slices), strict=True))
    x, y, z = np.meshgrid(*sides, indexing="ij")
    wobble = ndimage.gaussian_filter(rng.standard_normal(x.shape, np.float32), side / 16)
    wobble *= 0.05 / max(float(np.abs(wobble).max()), 1e-6)
    size = np.sqrt(np.clip(1 - 0.45 * z**2, 0, 1))  # both ends are narrower

    def inside(cx: float, cy: float, rx: float, ry: float) -> NDArray[np.float32]:
        made: NDArray[np.float32] = np.hypot((x - cx) / (rx * size), (y - cy) / (ry * size)) + wobble
        return made

    greys = np.full(x.shape, AIR, np.float32)
    greys[inside(0, 0, 0.92, 0.66) < 1] = TISSUE
    lung = (inside(0.42, 0.02, 0.3, 0.46) < 1) | (inside(-0.42, 0.02, 0.3, 0.46) < 1)
    heart = inside(-0.12, 0.2, 0.27, 0.24) < 1
    lung &= ~heart
    greys[lung] = LUNG
    grain = ndimage.gaussian_filter(rng.standard_normal(x.shape, np.float32), side / 128)
    greys[lung & (grain > 1.9 * grain.std())] = VESSEL
    greys[heart] = HEART
    greys[np.hypot(x / 0.12, (y + 0.42) / 0.12) < 1] = BONE
    patches = np.zeros(x.shape, np.bool_)
    for cx, cy, cz in ((0.6, -0.2, 0.1), (-0.58, -0.16, -0.2), (0.5, 0.3, -0.3)):
        patches |= (
            np.sqrt(((x - cx) / 0.15) ** 2 + ((y - cy) / 0.17) ** 2 + ((z - cz) / 0.45) ** 2) + 3 * wobble < 1
        )
    infection = patches & lung
    greys[infection] = PATCH + 20 * grain[infection] / grain.std()
    greys = ndimage.gaussian_filter(greys, (0.6, 0.6, 0)) + rng.normal(0, 5, x.shape).astype(np.float32)
    return Chest(np.clip(np.rint(greys), 0, 255).astype(np.uint8), lung, infection)


def sample_volume(folder: Path, side: int = 128, slices: int = 24) -> Volume:
    """The chest, written to a folder and read back as any volume is."""
    return read_volume(chest(side, slices).save(folder))
