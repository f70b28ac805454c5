"""What a session will take, before it is run: a linear model of its work, bytes and rounds.

seconds = multiply-adds x speed + clip elements x speed + bytes / bandwidth + rounds x (2 delays + overhead). The
coefficients are measured where the work is done (`agents/engine/calibrate.py`); the link's are what one
supposes it to be.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from protocols.blind.layers import Affine, Conv, ConvTranspose, Dense, Shape, Term
from protocols.blind.schedule import Costs, costs
from protocols.blind.topology import Topology
from protocols.blind.walk import clip_steps


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds: a multiply-add with narrow (M) and wide (D, P) weights; an element of a clip to deal, to draw and to
    mask ahead (P), and online on both sides together; of a round beside the link's delay."""

    narrow: float
    wide: float
    deal: float
    ahead: float
    online: float
    turn: float = 0.0005


@dataclass(frozen=True, slots=True)
class Link:
    """One way's delay in seconds, and bytes a second. As it stands: two processes of one machine."""

    delay: float = 0.00005
    bandwidth: float = 1e9

    def seconds(self, size: int) -> float:
        """Seconds that `size` bytes take, without the delay."""
        return size / self.bandwidth


@dataclass(frozen=True, slots=True)
class Work:
    """Of one image: multiply-adds of all affine layers, elements of all clips."""

    multiply_adds: int
    elements: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """dealing: of a tape, with the way to the model; ahead: between patient and model before the image; online."""

    dealing: float
    ahead: float
    online: float
    bill: Costs

    def to_plain(self) -> dict[str, float]:
        """What a quote tells of it: bytes and rounds are whole numbers, seconds are not."""
        return {
            "bytes": self.bill.total,
            "bytes_ahead": self.bill.bytes_ahead,
            "bytes_online": self.bill.bytes_online,
            "rounds": self.bill.rounds,
            "seconds_dealing": self.dealing,
            "seconds_ahead": self.ahead,
            "seconds_online": self.online,
        }


def _multiply_adds(term: Term, source: Shape, made: Shape) -> int:
    if isinstance(term, Dense):
        return prod(source) * term.out
    if isinstance(term, Conv):
        return prod(made) * (source[0] // term.groups) * term.kernel**2
    if isinstance(term, ConvTranspose):
        return prod(source) * term.out * term.kernel**2
    return prod(made)


def work(topology: Topology) -> Work:
    """Counted from the topology alone."""
    total = 0
    for i, node in enumerate(topology.nodes):
        if isinstance(node, Affine):
            shapes = topology.shapes
            total += sum(_multiply_adds(t, shapes[t.source], shapes[i + 1]) for t in node.terms)
    return Work(total, sum(step.size for step in clip_steps(topology)))


def estimate(
    topology: Topology, batch: int, speed: Speed, link: Link | None = None, known: bool = False
) -> Estimate:
    """Seconds and bytes of a session of `batch` images. known: the patient holds the masked weights already."""
    link, todo, bill = link or Link(), work(topology), costs(topology, batch, known)
    adds, elements = batch * todo.multiply_adds, batch * todo.elements
    between = bill.bytes_ahead - bill.tape
    dealing = adds * speed.wide + elements * speed.deal + link.delay + link.seconds(bill.tape)
    ahead = adds * speed.wide + elements * speed.ahead + 3 * link.delay + link.seconds(between)
    turns = bill.rounds * (2 * link.delay + speed.turn)
    online = adds * speed.narrow + elements * speed.online + turns + link.seconds(bill.bytes_online)
    return Estimate(dealing, ahead, online, bill)
