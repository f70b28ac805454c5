"""What a seed means: who takes part, who misbehaves, what breaks and when."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from protocols.specialty import INSUFFICIENT, specialty
from tests.sim.chain import ChainFaults
from tests.sim.network import NetFaults

LABELS = specialty("neuroradiology").labels


@dataclass(frozen=True)
class CrashPlan:
    """agent dies at the count-th passing of a kind of moment (`time`: at count tenths of a second), and is
    back after so many seconds, or never.
    """

    agent: str
    kind: str
    count: int
    back: float | None


@dataclass
class Plan:
    """One run, before it runs."""

    seed: int
    panel: int = 3
    consent: bool = True
    scan: int = 0
    truth: str = LABELS[1]
    cast: list[str] = field(default_factory=list)
    opinions: dict[str, str] = field(default_factory=dict)
    confidence: dict[str, int] = field(default_factory=dict)
    vices: dict[str, str] = field(default_factory=dict)
    crashes: list[CrashPlan] = field(default_factory=list)
    chain: ChainFaults = field(default_factory=ChainFaults)
    net: NetFaults = field(default_factory=NetFaults)
    kind: str = "calm"

    @property
    def doctors(self) -> list[str]:
        return [name for name in self.cast if name.startswith("doctor")]


def calm(seed: int, doctors: int = 4, models: int = 1) -> Plan:
    """A run in which nothing goes wrong."""
    rng = random.Random(f"{seed}/plan")
    plan = Plan(seed, truth=rng.choice(LABELS))
    plan.cast = ["dealer 0", *(f"model {i}" for i in range(models)), *(f"doctor {i}" for i in range(doctors))]
    plan.cast += ["patient", "researcher"]
    for name in plan.doctors:
        plan.opinions[name] = plan.truth
        plan.confidence[name] = rng.randint(55, 100)
    return plan


def draw(seed: int, faults: str = "") -> Plan:
    """The plan of a seed."""
    return calm(seed)


__all__ = ["INSUFFICIENT", "CrashPlan", "Plan", "calm", "draw"]
