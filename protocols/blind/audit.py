"""Cheating noticed: tapes of a dealer, and answers of a model, are spot-checked.

**Tapes** (cut and choose). A model that wants N tapes has N + q dealt and picks q of them at random, after all
came. The dealer opens those: it marks them dead and sends their seeds; the model deals them itself and compares
byte for byte (`check_tape`). A dealer that corrupted c of the N + q is caught with probability
1 - C(N+q-c, q) / C(N+q, q) (`tape_detection`): q / (N+q) for one tape, 1 for more than N. The cost: (N+q)/N times
the dealer's work and traffic, and q tapes' dealing at the model. A dealer has no other way to be wrong: a tape is
a function of its seeds, and a seed that does not fit is seen by its fingerprint in the tape's first frame.

**Answers** (slots). The patient gives n images in a secret random order: its own twice, and n - 2 *probes*, public
synthetic images whose logits the model's owner published in the network's card. All are masked alike, so the
model cannot tell slots apart. Before it answers the bucket, the patient checks that its two copies agree and that
the probes have their logits, within the card's tolerance (rounding is random). A model that shifts the logits of
some slots by more than that escapes only if those are exactly the two copies, both shifted alike: at most 1 /
C(n, 2) (`slot_detection`). The cost: n times the work, tape and traffic of one image. Wrong tapes are noticed in
the same way. What slots do not see: an owner who published a bad network with the logits of that bad network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from math import comb, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.blind.bytesio import IntArray
from protocols.blind.dealer import TapeSeeds, deal_tape
from protocols.blind.kernels.interface import Buffer, Kernels
from protocols.blind.network import Network
from protocols.blind.party import Clock
from protocols.blind.patient import PatientParty, PatientResult
from protocols.blind.prg import SEED_BYTES, Stream
from protocols.blind.reference import run_reference, stochastic
from protocols.blind.secret import Secret
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.blind.weights import MaskedWeights, Pads
from protocols.errors import DealerCheated, ModelCheated, ProtocolError

LEAST_SLOTS, MOST_SLOTS = 3, 18
DEFAULT_SLOTS = 4  # four times the work; what was changed shows with probability 5/6 at least
MOST_LOGITS = 64  # of one image, that a card lists
LARGEST_TOLERANCE = 2.0  # in real logits: a card that allows more is no promise
SAFETY = 4  # tolerance over the largest rounding error that was seen

Images = NDArray[np.int64]


# ---- tapes
def check_tape(pads: Pads, seeds: TapeSeeds, batch: int, frames: Iterable[Buffer]) -> None:
    """Raises `DealerCheated` unless `frames` are those of `seeds`. See `tape_detection`."""
    for due, came in zip_longest(deal_tape(pads, seeds, batch), frames):
        if due is None or came is None or bytes(due) != bytes(came):
            raise DealerCheated(
                "a tape that the dealer opened is not what its own seeds say",
                "its tapes are thrown away; take another dealer",
            )


def tape_detection(kept: int, checked: int, corrupted: int) -> float:
    """Probability that `corrupted` of `kept + checked` tapes are noticed when `checked` at random are opened."""
    total = kept + checked
    return 1 - comb(total - corrupted, checked) / comb(total, checked)


# ---- probes
def slot_detection(slots: int) -> float:
    """Least probability that changed logits are noticed with `slots` slots."""
    return 1 - 1 / comb(slots, 2) if slots >= LEAST_SLOTS else 0.0


def make_probe(topology: Topology, seed: bytes, index: int) -> Images:
    """Synthetic image `index` of a public 32-byte seed, (C, H, W): blocks of three sizes, in whole numbers."""
    c, h, w = topology.input_shape
    stream = Stream(seed, b"probe", index.to_bytes(4, "big"))
    total = np.zeros((c, h, w), np.int64)
    for parts, weight in ((4, 4), (16, 2), (0, 1)):
        rows, columns = (min(side, parts) or side for side in (h, w))
        blocks = stream.octets(c * rows * columns).reshape(c, rows, columns).astype(np.int64) - 128
        y, x = np.arange(h) * rows // h, np.arange(w) * columns // w
        total += weight * blocks[:, y[:, None], x]
    low, high = topology.input_low, topology.input_high
    made: Images = np.clip(total // 4 + (low + high + 1) // 2, low, high)
    return made


@dataclass(frozen=True, slots=True)
class Probes:
    """What a network's card promises: probe i of `seed` opens to `logits[i]`, give or take `tolerance`.

    All in opened units. `to_plain` is what stands in the card under `probes`.
    """

    seed: bytes
    logits: tuple[tuple[int, ...], ...]
    tolerance: int

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "seed": self.seed.hex(),
            "logits": [list(row) for row in self.logits],
            "tolerance": self.tolerance,
        }

    @classmethod
    def from_plain(cls, value: Any) -> Probes:
        """Raises `ProtocolError` when it is malformed."""
        bad = ProtocolError("the card's probes are malformed", "ask another model, or without audit slots")
        if not isinstance(value, Mapping):
            raise bad
        try:
            seed = bytes.fromhex(value["seed"])
            logits = tuple(tuple(row) for row in value["logits"])
            tolerance = value["tolerance"]
        except (KeyError, TypeError, ValueError):
            raise bad from None
        numbers = [tolerance, *(n for row in logits for n in row)]
        if len(seed) != SEED_BYTES or any(type(n) is not int or abs(n) > 1 << 32 for n in numbers):
            raise bad
        if not logits or len(logits) > 256 or len({len(row) for row in logits}) != 1 or tolerance < 0:
            raise bad
        return cls(seed, logits, tolerance)

    def fit(self, topology: Topology) -> None:
        """Raises `ProtocolError` unless they are for such a network and promise enough."""
        if len(self.logits[0]) != prod(topology.output_shape):
            raise ProtocolError("the card's probes are for another network", "ask another model")
        if self.tolerance * topology.logit_scale > LARGEST_TOLERANCE:
            raise ProtocolError(
                f"the card's probes allow an error of {self.tolerance * topology.logit_scale:.2f} in the logit",
                "ask another model, or without audit slots",
            )


def publish_probes(
    network: Network, seed: bytes, rng: np.random.Generator, count: int = 16, runs: int = 4
) -> Probes:
    """Evaluates the probes of `seed` for the network's card.

    The logits are those of rounding to nearest; the tolerance is `SAFETY` times the largest departure from
    them in `runs` runs with random rounding, as the protocol has it. Raises `ProtocolError` for a network
    with more than `MOST_LOGITS` logits.
    """
    top = network.topology
    if prod(top.output_shape) > MOST_LOGITS:
        raise ProtocolError("a network with so many outputs has no probes", "use it without audit slots")
    images = np.stack([make_probe(top, seed, i) for i in range(count)])
    wanted = run_reference(network, images).logits.reshape(count, -1)
    errors = [
        np.abs(run_reference(network, images, stochastic(rng)).logits.reshape(count, -1) - wanted).max()
        for _ in range(runs)
    ]
    tolerance = SAFETY * max(1, *(int(e) for e in errors))
    return Probes(seed, tuple(tuple(int(v) for v in row) for row in wanted), tolerance)


# ---- slots
@dataclass(frozen=True, repr=False)
class SlotPlan(Secret):
    """Which slot holds what: -1 is the patient's image, i probe i. Secret until the result is checked."""

    slots: tuple[int, ...]
    probes: Probes

    @property
    def copies(self) -> tuple[int, int]:
        """The two slots of the patient's image."""
        first, second = (i for i, what in enumerate(self.slots) if what < 0)
        return first, second

    def images(self, topology: Topology, image: NDArray[np.generic]) -> Images:
        """(n, C, H, W): image (C, H, W) and the probes in their slots."""
        return np.stack(
            [
                image.astype(np.int64) if what < 0 else make_probe(topology, self.probes.seed, what)
                for what in self.slots
            ]
        )

    def check(self, logits: IntArray) -> None:
        """Raises `ModelCheated` unless opened logits (n, ...) agree with each other and with the card."""
        rows = logits.reshape(len(self.slots), -1)
        first, second = self.copies
        wrong = [(rows[first], rows[second])]
        wrong += [(rows[i], np.array(self.probes.logits[w])) for i, w in enumerate(self.slots) if w >= 0]
        if any(int(np.abs(a - b).max()) > self.probes.tolerance for a, b in wrong):
            raise ModelCheated(
                "the model's answers contradict one another or its own card (or its dealer's tape was wrong)",
                "nothing was opened to it; another model is taken",
            )


def plan_slots(slots: int, probes: Probes, below: Callable[[int], int]) -> SlotPlan:
    """A secret order. below(n): uniform in 0..n-1, from the system's generator.

    Raises `ProtocolError` when there are too few slots or probes.
    """
    if not LEAST_SLOTS <= slots <= MOST_SLOTS:
        raise ProtocolError(f"{slots} audit slots are not within {LEAST_SLOTS}..{MOST_SLOTS}", "choose 4")
    if len(probes.logits) < slots - 2:
        raise ProtocolError(f"the card has {len(probes.logits)} probes alone", "use fewer audit slots")
    pool = list(range(len(probes.logits)))
    content = [-1, -1, *(pool.pop(below(len(pool))) for _ in range(slots - 2))]
    order = [content.pop(below(len(content))) for _ in range(slots)]
    return SlotPlan(tuple(order), probes)


class AuditedPatient(PatientParty):
    """P with audit slots: `result` is of all slots, `answer` of its own image. image: (C, H, W)."""

    def __init__(
        self,
        topology: Topology,
        network_hash: bytes,
        image: NDArray[np.generic],
        plan: SlotPlan,
        session: bytes,
        tape: bytes,
        seed: bytes,
        used: UsedSessions,
        known: MaskedWeights | None = None,
        kernels: Kernels | None = None,
        clock: Clock | None = None,
    ) -> None:
        plan.probes.fit(topology)
        images = plan.images(topology, image)
        own = plan.copies[0]
        super().__init__(
            topology, network_hash, images, session, tape, seed, used, known, own, kernels, clock
        )
        self._plan: SlotPlan | None = plan

    def _check(self, result: PatientResult) -> None:
        assert self._plan is not None
        self._plan.check(result.logits)
