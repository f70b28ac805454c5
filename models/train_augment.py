"""Pictures altered at random while a network learns: turned, stretched, moved, mirrored, cropped, lit and blurred
otherwise, a whole batch at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate


@dataclass(frozen=True)
class Augment:
    """How far. turn: radians, standard deviation (or `any_way`: any angle and both mirrors). zoom: log of the crop's
    side against the picture, lowest and highest. stretch, shift, gain, offset, tint: standard deviations; gain and
    offset of all channels alike, tint of each channel apart. blur: chance that fine detail is lost. hide: chance that
    a rectangle of up to a third of each side is greyed out (Zhong 2017)."""

    turn: float = 0.06
    any_way: bool = False
    mirror: bool = True
    zoom: tuple[float, float] = (-0.1, 0.05)
    stretch: float = 0.03
    shift: float = 0.03
    gain: float = 0.1
    offset: float = 0.05
    tint: float = 0.03
    blur: float = 0.1
    hide: float = 0.0


def plain(images: NDArray[np.int8], side: int) -> torch.Tensor:
    """The pictures unaltered, float (n, channels, side, side) in -1..1; a larger one is averaged down."""
    whole = torch.from_numpy(images).float() / 127
    if whole.shape[-1] == side:
        return whole
    return interpolate(whole, (side, side), mode="bilinear", antialias=True, align_corners=False)


def augmented(images: NDArray[np.int8], side: int, how: Augment, rng: np.random.Generator) -> torch.Tensor:
    """Altered copies of the pictures, float (n, channels, side, side); each is altered in its own way."""
    count, channels = images.shape[:2]
    grid = affine_grid(_turns(count, how, rng), [count, channels, side, side], align_corners=False)
    whole = torch.from_numpy(images).float() / 127
    made = grid_sample(whole, grid, mode="bilinear", padding_mode="border", align_corners=False)
    gain = _normal(rng, (count, 1, 1, 1), how.gain) + _normal(rng, (count, channels, 1, 1), how.tint)
    shift = _normal(rng, (count, 1, 1, 1), how.offset) + _normal(rng, (count, channels, 1, 1), how.tint)
    made = made * torch.exp(gain) + shift
    for index in _chosen(rng, count, how.blur):
        small = avg_pool2d(made[index : index + 1], 2)
        made[index] = interpolate(small, (side, side), mode="bilinear", align_corners=False)[0]
    for index in _chosen(rng, count, how.hide):
        tall, wide = (int(v) for v in rng.integers(side // 8, side // 3, 2))
        top, left = int(rng.integers(0, side - tall)), int(rng.integers(0, side - wide))
        made[index, :, top : top + tall, left : left + wide] = 0
    return made.clamp(-1, 1)


def _turns(count: int, how: Augment, rng: np.random.Generator) -> torch.Tensor:
    """(count, 2, 3): for each place of the result, the place of the picture it shows."""
    angle = rng.uniform(0, 2 * math.pi, count) if how.any_way else rng.normal(0, how.turn, count)
    zoom = np.exp(rng.uniform(*how.zoom, count))
    stretch = np.exp(rng.normal(0, how.stretch, count))
    sign = np.where(rng.random(count) < 0.5, -1.0, 1.0) if how.mirror else np.ones(count)
    cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
    rows = np.stack(
        [
            np.stack([cos * stretch * sign, -sin / stretch, rng.normal(0, how.shift, count)], 1),
            np.stack([sin * stretch * sign, cos / stretch, rng.normal(0, how.shift, count)], 1),
        ],
        1,
    )
    return torch.from_numpy(rows).float()


def _chosen(rng: np.random.Generator, count: int, chance: float) -> list[int]:
    return [index for index, drawn in enumerate(rng.random(count).tolist()) if drawn < chance]


def _normal(rng: np.random.Generator, shape: tuple[int, ...], spread: float) -> torch.Tensor:
    return torch.from_numpy(rng.normal(0, spread, shape)).float()
