"""How the cost of blind inference grows: image side 32 to 512, batch 1 to 64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDES = (32, 64, 128, 256, 512)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
KEPT = ("seconds", "seconds_online", "seconds_ahead", "bytes_online", "bytes_ahead", "rounds", "memory")
Told = dict[str, Any]


def growth(folder: Path, run: Callable[..., Told], low_bits: int, high_bits: int) -> Told:
    """LeNet 1xSxS by side, LeNet 1x32x32 by batch. run: as `blind_inference.run`."""
    by_side = {side: _measure(folder, run, side, 1, (low_bits, high_bits)) for side in SIDES}
    by_batch = {batch: _measure(folder, run, 32, batch, (low_bits, high_bits)) for batch in BATCHES}
    return {"lenet by side": by_side, "lenet by batch": by_batch}


def _measure(folder: Path, run: Callable[..., Told], side: int, batch: int, bits: tuple[int, int]) -> Told:
    file = folder / f"growth-{side}.net"
    if not file.exists():
        import torch

        from benchmarks.peers import networks
        from models.compile import Settings, compile_network

        torch.manual_seed(networks.SEED)
        images = torch.round(torch.randn(4, 1, side, side).clamp(-4, 4) * 31) / 31
        module = networks.lenet(1, side).eval()
        made = compile_network(
            module, images, 1 / 31, settings=Settings(low_bits=bits[0], max_high_bits=bits[1])
        )
        file.write_bytes(made.network.encode())
    answer = run("blind_peer", str(file), "--batch", str(batch), "--seconds", "2", "--runs", "5")
    return {key: answer[key] for key in KEPT if key in answer} or answer
