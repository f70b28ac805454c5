"""A small suite whose networks can be checked by eye, and a small chest for it.

Each network is a tent over the grey of the middle slice: lung where it is near that of aerated lung, infection where it
is near that of consolidated lung. They are compiled and evaluated as the real ones are, at their real side.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor, nn

from models.compile import Settings, compile_network
from models.segmentation.card import SegCard
from protocols.blind.network import Network

SIDE, SCALE = 128, 1 / 127
CENTRES = {"lung": 62.0, "infection": 120.0}
HALF_WIDTH = 26.0


class Tent(nn.Module):
    """8 (1 - |grey - centre| / half width), of the middle of five slices."""

    def __init__(self, centre: float) -> None:
        super().__init__()
        self.sides, self.top = nn.Conv2d(5, 2, 1), nn.Conv2d(2, 1, 1)
        middle = (centre - 128) * SCALE
        with torch.no_grad():
            self.sides.weight.zero_()
            self.sides.weight[0, 2], self.sides.weight[1, 2] = 1.0, -1.0
            self.sides.bias.copy_(torch.tensor([-middle, middle]))
            self.top.weight.fill_(-8 / (HALF_WIDTH * SCALE))
            self.top.bias.fill_(8.0)

    def forward(self, slices: Tensor) -> Tensor:
        """(n, 5, H, W) to (n, 1, H, W)."""
        logits: Tensor = self.top(torch.relu(self.sides(slices)))
        return logits


def tent(task: str, shift: float = 0.0) -> Network:
    """The integer network of one task; the same every time."""
    greys = torch.arange(-128, 128).repeat(1, 5, SIDE * SIDE // 256, 1).reshape(1, 5, SIDE, SIDE).clamp(-127)
    return compile_network(
        Tent(CENTRES[task] + shift).eval(), greys * SCALE, SCALE, settings=Settings(low_bits=8)
    ).network


def card_of(task: str, axis: str, network: Network) -> SegCard:
    """What such a network says of itself."""
    return SegCard(
        name=f"tent for {task} along {axis}",
        task=task,
        axis=axis,
        architecture={},
        slices=5,
        side=SIDE,
        input_scale=SCALE,
        held_out={"volumes": {"synthetic": {"dice": 0.9}}},
        training_data={},
        quantisation={},
        licence="CC0",
        network_hash=network.network_hash().hex(),
    )


def write_suite(folder: Path, axes: str = "z", shift: float = 0.0) -> Path:
    """A suite's folder. shift: makes it another suite, whose tents stand elsewhere."""
    for task in CENTRES:
        network = tent(task, shift)
        (folder / task).mkdir(parents=True, exist_ok=True)
        for axis in axes:
            stored = {"network": np.frombuffer(network.encode(), np.uint8)}
            (folder / task / f"{axis}.safetensors").write_bytes(save(stored))
            (folder / task / f"{axis}.card.json").write_text(card_of(task, axis, network).to_json())
    return folder


def chest(slices: int = 4, side: int = 64, sick: float = 0.8) -> NDArray[np.int16]:
    """(X, Y, Z) Hounsfield units: a body, two lungs, in one of them a dense ball; sick: its share of the radius."""
    x, y = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    made = np.full((side, side, slices), -1000, np.int16)
    made[(x / 0.95) ** 2 + (y / 0.8) ** 2 < 1] = 40
    for middle in (-0.45, 0.45):
        made[((x - middle) / 0.32) ** 2 + (y / 0.5) ** 2 < 1] = -870
    if sick:
        made[((x - 0.45) / (0.32 * sick)) ** 2 + (y / (0.5 * sick)) ** 2 < 1] = -320
    return made


def write_chest(path: Path, **how: Any) -> Path:
    """As a NIfTI file with voxels of 5 x 5 x 8 mm."""
    nibabel.save(nibabel.Nifti1Image(chest(**how), np.diag([5.0, 5.0, 8.0, 1.0])), path)
    return path


def told(path: Path) -> dict[str, Any]:
    """A JSON file."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found
