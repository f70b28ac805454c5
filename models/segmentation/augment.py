"""Slices turned, mirrored, stretched and lit otherwise, labels with them: what another patient or scanner might do."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

TILT, STRETCH, SHIFT = 0.25, 0.25, 0.15  # radians, logarithm of a factor, part of a half side
GAMMA, CONTRAST, BRIGHTNESS, NOISE = 0.4, 0.2, 20.0, 8.0  # logarithm, part, greys, greys


def augmented(
    stacks: Tensor, labels: Tensor, quarters: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """stacks: float greys (n, slices, side, side); labels (n, tasks, side, side). quarters: quarter turns too, for
    axial slices, which files do not agree on how to lay; else upside down alone."""
    count, slices = len(stacks), stacks.shape[1]

    def even(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape or (count,), generator=generator)

    turns = torch.randint(0, 4 if quarters else 2, (count,), generator=generator) * (
        math.pi / (2 if quarters else 1)
    )
    angle, scale = even(-TILT, TILT) + turns, torch.exp(even(-STRETCH, STRETCH))
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    rows = torch.zeros(count, 2, 3)
    rows[:, 0, 0], rows[:, 0, 1] = torch.cos(angle) * scale * mirror, -torch.sin(angle) * scale
    rows[:, 1, 0], rows[:, 1, 1] = torch.sin(angle) * scale * mirror, torch.cos(angle) * scale
    rows[:, :, 2] = even(-SHIFT, SHIFT, count, 2)
    both = torch.cat([stacks, labels], 1)
    where = functional.affine_grid(rows, [count, 1, *stacks.shape[2:]], align_corners=False)
    moved = functional.grid_sample(both, where, align_corners=False)
    seen, marks = moved[:, :slices], (moved[:, slices:] > 0.5).float()
    one = count, 1, 1, 1
    gamma, contrast = torch.exp(even(-GAMMA, GAMMA, *one)), even(1 - CONTRAST, 1 + CONTRAST, *one)
    lit = ((seen / 255).clamp(1e-4, 1) ** gamma * 255 - 128) * contrast + 128
    grain = torch.randn(lit.shape, generator=generator) * even(0, NOISE, *one)
    lit = (lit + even(-BRIGHTNESS, BRIGHTNESS, *one) + grain).clamp(0, 255)
    return (lit.flip(1) if torch.rand(1, generator=generator) < 0.5 else lit), marks
