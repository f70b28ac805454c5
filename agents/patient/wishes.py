"""What a patient chooses for a case."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wishes:
    """What the patient chose for a case. price_cap: wei a prediction; record_price: wei a record; slots: images that a
    session computes to notice a model that cheats, 0 for the scan alone. axes, batch, skip_empty: of a volume, as in
    `models.segmentation.plan.Plan`."""

    specialty: str = "neuroradiology"
    panel: int = 3
    consent: bool = True
    record_price: int = 10**15
    price_cap: int = 10**17
    quote_window: float = 2.0
    language: str = "en"
    dealers: tuple[str, ...] = ()
    slots: int = 0
    axes: str = "xyz"
    batch: int = 4
    skip_empty: bool = False
