"""What a seed means: who takes part, who misbehaves, what breaks and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from protocols.specialty import Specialty, specialty
from tests.sim.chain import ChainFaults
from tests.sim.network import NetFaults

BRAIN, CHEST = specialty("neuroradiology"), specialty("chest radiology")
LABELS = BRAIN.labels


@dataclass(frozen=True)
class CrashPlan:
    """agent dies at the count-th passing of a kind of moment (`time`: at count tenths of a second), and is
    back after so many seconds, or never (None).
    """

    agent: str
    kind: str
    count: int
    back: float | None


@dataclass
class Plan:
    """One run, before it runs. faults: what was put in, in words. volume: of a CT volume, not of a slice."""

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
    faults: list[str] = field(default_factory=list)
    volume: bool = False

    @property
    def specialty(self) -> Specialty:
        """What the panel reads."""
        return CHEST if self.volume else BRAIN

    @property
    def doctors(self) -> list[str]:
        """Names of the doctors."""
        return [name for name in self.cast if name.startswith("doctor")]

    @property
    def models(self) -> list[str]:
        """Names of the models."""
        return [name for name in self.cast if name.startswith("model")]

    def leaves(self, name: str) -> bool:
        """Whether somebody is planned to vanish for good."""
        return any(c.agent == name and c.back is None for c in self.crashes)


def calm(seed: int, doctors: int = 4, models: int = 1) -> Plan:
    """A run in which nothing goes wrong."""
    rng = Random(f"{seed}/plan")
    plan = Plan(seed, truth=rng.choice(LABELS), scan=rng.randrange(3))
    plan.cast = ["dealer 0", *(f"model {i}" for i in range(models)), *(f"doctor {i}" for i in range(doctors))]
    plan.cast += ["patient", "researcher"]
    for name in plan.doctors:
        plan.opinions[name] = plan.truth
        plan.confidence[name] = rng.randint(55, 100)
    return plan


def of_volume(plan: Plan) -> Plan:
    """The same run about a volume of the chest: labels are those of its panel."""
    plan.volume = True
    words = dict(zip(BRAIN.labels, CHEST.labels, strict=True))
    plan.truth = words[plan.truth]
    plan.opinions = {name: words.get(label, label) for name, label in plan.opinions.items()}
    return plan


# ---- faults, each by name
def _messages(plan: Plan, rng: Random) -> None:
    plan.net.drop = rng.choice((0.05, 0.2, 0.4))
    plan.net.double = rng.choice((0.0, 0.2, 0.5))


def _lateness(plan: Plan, rng: Random) -> None:
    plan.net.linger = rng.choice((0.05, 0.15))
    plan.net.spread = rng.choice((0.5, 2.0))


def _channels(plan: Plan, rng: Random) -> None:
    plan.net.cut = rng.choice((0.01, 0.03, 0.08))


def _slow_chain(plan: Plan, rng: Random) -> None:
    plan.chain.stall = rng.choice((0.02, 0.08))
    plan.chain.hold = rng.choice((0.0, 0.2, 0.5))
    plan.chain.interval = rng.choice((1.0, 2.0, 4.0))


def _odd_node(plan: Plan, rng: Random) -> None:
    plan.chain.forget = rng.choice((0.0, 0.1, 0.2))
    plan.chain.mute = rng.choice((0.1, 0.3))
    plan.chain.shuffle = True


_MOMENTS = {
    "commit-before": 40,
    "commit-after": 40,
    "say": 8,
    "said": 8,
    "send": 5,
    "sent": 5,
    "before-write": 12,
    "after-write": 20,
    "after-sign": 5,
    "after-send": 12,
    "before-done": 12,
    "frame-in": 12,
    "frame-out": 12,
    "time": 400,
}


def _crash(plan: Plan, rng: Random, who: str, back: float | None) -> None:
    kind = rng.choice(list(_MOMENTS))
    first = 3 if kind.startswith("commit") else 1
    plan.crashes.append(CrashPlan(who, kind, rng.randint(first, _MOMENTS[kind]), back))


def _crashes(plan: Plan, rng: Random) -> None:
    who = rng.choice(plan.cast)
    for _ in range(rng.choice((1, 1, 2, 3))):
        _crash(plan, rng, who, rng.choice((0.1, 1.0, 5.0, 15.0)))


def _patient_crashes(plan: Plan, rng: Random) -> None:
    for _ in range(rng.choice((1, 2, 4))):
        _crash(plan, rng, "patient", rng.choice((0.1, 1.0, 5.0, 15.0)))


def _doctor_crashes(plan: Plan, rng: Random) -> None:
    for name in rng.sample(plan.doctors, 3):
        _crash(plan, rng, name, rng.choice((0.1, 1.0, 5.0)))


def _patient_leaves(plan: Plan, rng: Random) -> None:
    _crash(plan, rng, "patient", None)


def _server_leaves(plan: Plan, rng: Random) -> None:
    who = rng.choice(("dealer 0", "model 0"))
    plan.crashes.append(
        CrashPlan(who, rng.choice(("frame-in", "frame-out", "said")), rng.randint(1, 4), None)
    )


def _doctor_leaves(plan: Plan, rng: Random) -> None:
    moment = rng.choice(("sent", "said", "before-done", "after-write"))
    plan.crashes.append(CrashPlan(rng.choice(plan.doctors), moment, rng.randint(2, 4), None))


def _vice(name: str) -> Callable[[Plan, Random], None]:
    def put(plan: Plan, rng: Random) -> None:
        for doctor in rng.sample(plan.doctors, rng.choice((1, 1, 2))):
            plan.vices[doctor] = name

    return put


def _liar(plan: Plan, rng: Random) -> None:
    plan.vices["model 0"] = "liar"


def _dissent(plan: Plan, rng: Random) -> None:
    other = next(label for label in LABELS if label != plan.truth)
    plan.opinions[rng.choice(plan.doctors)] = rng.choice((other, ""))


def _split(plan: Plan, rng: Random) -> None:
    for name in plan.doctors:
        plan.opinions[name] = rng.choice((*LABELS, "", plan.truth))


FAULTS: dict[str, Callable[[Plan, Random], None]] = {
    "messages": _messages,
    "lateness": _lateness,
    "channels": _channels,
    "slow chain": _slow_chain,
    "odd node": _odd_node,
    "crash": _crashes,
    "patient crashes": _patient_crashes,
    "doctor crashes": _doctor_crashes,
    "patient leaves": _patient_leaves,
    "server leaves": _server_leaves,
    "doctor leaves": _doctor_leaves,
    "copy": _vice("copy"),
    "twice": _vice("twice"),
    "late": _vice("late"),
    "absent": _vice("absent"),
    "decline": _vice("decline"),
    "liar": _liar,
    "dissent": _dissent,
    "split": _split,
}


def draw(seed: int, only: tuple[str, ...] = ()) -> Plan:
    """The plan of a seed: a few in which nothing goes wrong, most with one or two faults, some with many.

    only: exactly these faults instead.
    """
    rng = Random(f"{seed}/faults")
    many = rng.choices((0, 1, 2, 5), (1, 5, 3, 1))[0]
    chosen = list(only) or rng.sample(sorted(FAULTS), many)
    models = 2 if {"liar", "server leaves"} & set(chosen) or rng.random() < 0.2 else 1
    doctors = 4 + rng.randrange(3) if "split" not in chosen else 11
    plan = calm(seed, doctors, models)
    plan.consent = rng.random() < 0.85
    plan.faults = chosen
    for name in chosen:
        FAULTS[name](plan, rng)
    return plan
