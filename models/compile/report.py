"""How a network was compiled, layer by layer: for the model's owner alone, since it tells of the weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One `Clip`, or the logits.

    low_bits, high_bits, shift: b, h, S (0, 0 and the logit shift for the logits). largest_weight: of the sum it
    reads. use: the part of the exact range that the worst image takes, at most 1. headroom: that worst case by the
    activation's ceiling (logits: by the largest met in calibration). coverage: the part of the calibration values
    that are not cut. coarser: how much larger its steps are than calibration alone asked for, at worst.
    """

    name: str
    channels: int
    low_bits: int
    high_bits: int
    shift: int
    largest_weight: int
    use: float
    headroom: float
    coverage: float
    coarser: float


@dataclass(frozen=True, slots=True)
class Report:
    """Every layer of a compiled network in order."""

    layers: tuple[LayerReport, ...]

    def as_text(self) -> str:
        """A table, one line a layer."""
        head = f"{'layer':40} {'ch':>5}  b  h  S {'|w|':>6} {'use':>5} {'room':>7} {'cover':>7} {'step':>6}"
        rows = [
            f"{x.name[-40:]:40} {x.channels:5} {x.low_bits:2} {x.high_bits:2} {x.shift:2} {x.largest_weight:6} "
            f"{x.use:5.2f} {x.headroom:7.1f} {x.coverage:7.4f} {x.coarser:6.2f}"
            for x in self.layers
        ]
        return "\n".join([head, *rows])
