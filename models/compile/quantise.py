"""A folded graph to integers: static post-training quantisation with a proof that nothing wraps.

A wire carries integers; its *unit* is the real value of one step, a channel. For a sum whose step is worth `a`,
weight = round(w * unit_in / a) and bias = round(b / a); after a Clip one step is worth u = a * 2^S, with
S = K - low_bits - high_bits. Calibration asks for a step u (`noise.steps`). Every high bit doubles the worst case
that a Clip stands, and halves the weights. So for each number of high bits, and as many low bits as a Clip then has
room for, the steps are widened where the worst case over *every* image, by the intervals of `protocols.blind.bounds`,
would not fit, and the pair with the least noise at the logits is taken: of rounding activations, u^2 / 6, and of
rounding weights, a^2 / 12 times the variance of the inputs (what their mean makes of it, the bias takes back).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from models.compile.calibrate import Figures
from models.compile.graph import (
    Act,
    Flat,
    GlobalMean,
    Graph,
    Grow,
    Join,
    Op,
    Part,
    Pool,
    Real,
    Sum,
    in_scaled,
    out_scaled,
    unsupported,
)
from models.compile.noise import STEP_NOISE, gains, largest_weights, steps
from models.compile.report import LayerReport, Report
from protocols.blind.bounds import clip_range, logit_range, node_interval, term_interval, worst_case
from protocols.blind.layers import (
    MAX_CLIP_BITS,
    Affine,
    Clip,
    Concat,
    ConvTranspose,
    Flatten,
    GlobalSum,
    MaxPool,
    Node,
    Scale,
    SumPool,
    Upsample,
)
from protocols.blind.network import Network
from protocols.blind.topology import LOGIT_BITS, Shape, Topology
from protocols.errors import ProtocolError, UserError

Ints = NDArray[np.int64]
INPUT = 127  # images are -127..127
_LARGEST = (1 << 15) - 1  # of a weight
_SLACK = 0.999  # part of the safe range that is aimed at; rounding may take a little more
_WIDER = 1.003  # factor by which a channel's step grows until its rounded weights pass the bound
_FLOOR = 1e-4  # a channel that hardly fires is not given a finer step than this part of the liveliest one's


@dataclass(frozen=True)
class Settings:
    """ring_bits K; low_bits: an activation has 2^low_bits levels, or fewer where its Clip needs so many high bits that
    both together would exceed `MAX_CLIP_BITS`; max_high_bits: the most a Clip may take."""

    ring_bits: int = 24
    low_bits: int = 8
    max_high_bits: int = 7


@dataclass
class _Wire:
    """A wire under construction: its index, real value of a step and interval, all by channel."""

    index: int
    unit: Real
    low: Ints
    high: Ints


@dataclass(frozen=True)
class _Ask:
    """What an activation of so many low bits that reads a sum asks of it."""

    value: int
    op: Act
    unit: Real
    lowest: int


@dataclass
class _Sum:
    """A sum in real units on integer inputs. taps: power of the inputs that rounding a weight multiplies, / 12."""

    op: Sum
    parts: tuple[Part, ...]
    low: Real
    high: Real
    largest: Real
    taps: Real


@dataclass
class _Built:
    nodes: list[Node] = field(default_factory=list)
    weights: list[tuple[Ints, ...]] = field(default_factory=list)
    biases: list[Ints] = field(default_factory=list)


def quantise(
    graph: Graph,
    figures: dict[int, Figures],
    input_scale: float,
    thresholds: Sequence[float],
    settings: Settings,
) -> tuple[Network, Report]:
    """The network of a folded graph, proved, and how each layer came out. Raises `UserError` when none can be."""
    return _Quantiser(graph, figures, input_scale, tuple(thresholds), settings).run()


class _Quantiser:
    def __init__(
        self,
        graph: Graph,
        figures: dict[int, Figures],
        input_scale: float,
        thresholds: tuple[float, ...],
        settings: Settings,
    ) -> None:
        self.graph, self.figures, self.settings = graph, figures, settings
        self.input_scale, self.thresholds = input_scale, thresholds
        self.gains = gains(graph, figures)
        self.built = _Built()
        self.wires: dict[int, _Wire] = {}
        self.integers: dict[int, tuple[Ints, ...]] = {}
        self.logit_unit = 1.0
        self.layers: list[tuple[int, LayerReport]] = []  # node, report
        self.clips: dict[int, tuple[Clip, Real, Real]] = {}  # value: node without source, unit, unit asked
        # shapes and clip_shift of a topology that does not exist yet
        self.frame = Topology((1, 1, 1), (Affine((Scale(0),)),), ring_bits=settings.ring_bits)

    def run(self) -> tuple[Network, Report]:
        channels = self.graph.shapes[0][0]
        unit = np.full(channels, self.input_scale)
        self.wires[0] = _Wire(0, unit, np.full(channels, -INPUT), np.full(channels, INPUT))
        for value, op in self.graph.ops.items():
            if isinstance(op, Sum):
                self.sum(value, op)
            elif isinstance(op, Act):
                self.act(value, op)
            elif value:
                self.local(value, op)
        network = self.network()
        return network, self.report(network)

    def sum(self, value: int, op: Sum) -> None:
        made = self.real_sum(op)
        acts = {r: act for r in self.graph.readers(value) if isinstance(act := self.graph.ops[r], Act)}
        if value == self.graph.output:
            step, safe = self.logit_step(made)
        else:
            step, safe = self.clip_step(made, acts)
        weights, bias, step = self.rounded(made, step, safe, uniform=value == self.graph.output)
        for reader in acts:
            clip, _, asked = self.clips[reader]
            self.clips[reader] = clip, step * 2.0 ** self.frame.clip_shift(clip), asked
        if value == self.graph.output:
            self.logit_unit = float(step[0])
        low, high = self.interval(made, weights, bias)
        terms = tuple(replace(p.term, source=self.wires[p.term.source].index) for p in made.parts)
        self.emit(value, Affine(terms), step, low, high)
        self.built.weights.append(weights)
        self.integers[value] = weights
        self.built.biases.append(bias)

    def real_sum(self, op: Sum) -> _Sum:
        parts = tuple(in_scaled(p, self.wires[p.term.source].unit) for p in op.parts)
        out = len(op.bias)
        low, high, largest, taps = op.bias.copy(), op.bias.copy(), np.zeros(out), np.zeros(out)
        for part in parts:
            wire = self.wires[part.term.source]
            ends = term_interval(part.term, cast(Ints, part.weights), (wire.low, wire.high))
            low, high = low + ends[0], high + ends[1]
            power = self.figures[part.term.source].variance / np.maximum(wire.unit, 1e-300) ** 2
            used = cast(Ints, (part.weights != 0).astype(np.float64))
            taps += term_interval(part.term, used, (cast(Ints, 0 * power), cast(Ints, power)))[1] / 12
            largest = np.maximum(largest, largest_weights(part))
        return _Sum(op, parts, low, high, largest, taps)

    def least(self, made: _Sum, safe: tuple[int, int]) -> Real:
        """The least step of a sum, by channel, with which it stays in the safe range and its weights narrow."""
        room = (safe[0] * _SLACK, safe[1] * _SLACK)
        half = (1 << (self.settings.ring_bits - 1)) * _SLACK
        narrow = np.maximum(made.largest / _LARGEST, np.abs(made.op.bias) / half)
        return np.maximum(np.maximum(made.high / room[1], made.low / room[0]), narrow)

    def clip_step(self, made: _Sum, acts: dict[int, Act]) -> tuple[Real, tuple[int, int]]:
        """Chooses high and low bits; returns the sum's step and the range in which all its Clips are exact."""
        best: tuple[float, Real, tuple[int, int]] | None = None
        most = self.settings.max_high_bits
        for high_bits in range(1, most + 1):
            low_bits = min(self.settings.low_bits, MAX_CLIP_BITS - high_bits)
            shift = self.settings.ring_bits - low_bits - high_bits
            if shift < 0:
                break
            asks = [_Ask(r, act, *steps(act, self.figures[r], low_bits)) for r, act in acts.items()]
            clips = [Clip(0, low_bits, high_bits, ask.lowest) for ask in asks]
            ranges = [clip_range(self.frame, clip) for clip in clips]
            safe = max(r[0] for r in ranges), min(r[1] for r in ranges)
            wish = np.maximum.reduce([ask.unit for ask in asks])
            wish = np.maximum(wish, max(float(wish.max()) * _FLOOR, 1e-12)) / 2.0**shift
            step = np.maximum(wish, self.least(made, safe))
            unit = step * 2.0**shift
            weight = np.sum([self.gains[ask.value] for ask in asks], axis=0) + 1e-30
            noise = float((weight * (unit**2 * STEP_NOISE + step**2 * made.taps)).sum())
            if _raised(asks, unit, low_bits):
                continue
            if best is None or noise < best[0]:
                best = noise, step, safe
                for ask, clip in zip(asks, clips, strict=True):
                    self.clips[ask.value] = clip, unit, ask.unit
        if best is None:
            raise unsupported(
                made.op.name,
                f"no clip of up to {most} high bits can stand its worst case",
                "allow more max_high_bits, make its weights smaller (weight decay), or give its activation no ceiling",
            )
        return best[1], best[2]

    def logit_step(self, made: _Sum) -> tuple[Real, tuple[int, int]]:
        safe = logit_range(self.frame)
        if len(made.low) == 2 and self.thresholds:  # their difference must open rightly too
            safe = safe[0] // 2, safe[1] // 2
        step = np.maximum(self.least(made, safe), 1e-12)
        return np.full(len(step), step.max()), safe

    def rounded(
        self, made: _Sum, step: Real, safe: tuple[int, int], uniform: bool
    ) -> tuple[tuple[Ints, ...], Ints, Real]:
        """Integer weights and bias; steps grow by a little where rounding broke the bound."""
        while True:
            weights = tuple(np.rint(out_scaled(p, 1 / step).weights).astype(np.int64) for p in made.parts)
            bias = np.rint(made.op.bias / step - self.drift(made, weights, step)).astype(np.int64)
            low, high = self.interval(made, weights, bias)
            wild = (low < safe[0]) | (high > safe[1])
            if not wild.any():
                return weights, bias, step
            step = np.where(True if uniform else wild, step * _WIDER, step)

    def drift(self, made: _Sum, weights: tuple[Ints, ...], step: Real) -> Real:
        """What rounding the weights adds to a sum on average: the bias takes it back."""
        drift = np.zeros(len(step))
        for part, w in zip(made.parts, weights, strict=True):
            wire, figures = self.wires[part.term.source], self.figures[part.term.source]
            error = w - out_scaled(part, 1 / step).weights
            mean = in_scaled(Part(part.term, error), figures.mean / np.maximum(wire.unit, 1e-300)).weights
            if isinstance(part.term, ConvTranspose):
                drift += mean.sum((0, 2, 3)) / part.term.stride**2
            else:
                drift += mean.reshape(len(mean), -1).sum(1)
        return drift

    def interval(self, made: _Sum, weights: tuple[Ints, ...], bias: Ints) -> tuple[Ints, Ints]:
        low, high = bias, bias
        for part, w in zip(made.parts, weights, strict=True):
            wire = self.wires[part.term.source]
            ends = term_interval(part.term, w, (wire.low, wire.high))
            low, high = low + ends[0], high + ends[1]
        return low, high

    def act(self, value: int, op: Act) -> None:
        clip, unit, asked = self.clips[value]
        wire = self.wires[op.source]
        made = replace(clip, source=wire.index)
        low, high = node_interval(self.frame, replace(made, source=0), [(wire.low, wire.high)])
        self.note(value, op, made, unit, unit / np.maximum(asked, 1e-300))
        self.emit(value, made, unit, low, high)

    def local(self, value: int, op: Op) -> None:
        if isinstance(op, Join):
            wires = [self.wires[s] for s in op.sources]
            unit = np.concatenate([w.unit for w in wires])
            low, high = np.concatenate([w.low for w in wires]), np.concatenate([w.high for w in wires])
            self.emit(value, Concat(tuple(w.index for w in wires)), unit, low, high)
            return
        assert isinstance(op, Pool | GlobalMean | Grow | Flat)
        wire = self.wires[op.source]
        _, h, w = self.graph.shapes[op.source]
        unit, low, high = wire.unit, wire.low, wire.high
        node: Node
        if isinstance(op, Pool):
            kind = MaxPool if op.maximum else SumPool
            node = kind(wire.index, op.kernel, op.stride, op.padding)
            many = 1 if op.maximum else op.kernel**2
            low, high = (np.minimum(low, 0), np.maximum(high, 0)) if op.padding else (low, high)
            unit, low, high = unit / many, low * many, high * many
        elif isinstance(op, GlobalMean):
            node, unit, low, high = GlobalSum(wire.index), unit / (h * w), low * (h * w), high * (h * w)
        elif isinstance(op, Grow):
            node = Upsample(wire.index, op.factor)
        else:
            node = Flatten(wire.index)
            unit, low, high = np.repeat(unit, h * w), np.repeat(low, h * w), np.repeat(high, h * w)
        self.emit(value, node, unit, low, high)

    def emit(self, value: int, node: Node, unit: Real, low: Ints, high: Ints) -> None:
        self.built.nodes.append(node)
        self.wires[value] = _Wire(len(self.built.nodes), unit, low, high)

    def network(self) -> Network:
        shift = max(0, self.settings.ring_bits - LOGIT_BITS)
        logit_scale = self.logit_unit * 2.0**shift
        shape: Shape = self.graph.shapes[0]
        try:
            topology = Topology(
                input_shape=shape,
                nodes=tuple(self.built.nodes),
                ring_bits=self.settings.ring_bits,
                input_low=-INPUT,
                input_high=INPUT,
                input_scale=self.input_scale,
                logit_scale=logit_scale,
                thresholds=tuple(round(value / logit_scale) for value in self.thresholds),
            )
            return Network(topology, self.built.weights, self.built.biases, _salt(self.built))
        except ProtocolError as error:
            raise UserError(
                f"the network cannot be run blind: {error.fault}", "change the network"
            ) from error

    def note(self, value: int, op: Act, clip: Clip, unit: Real, coarser: Real) -> None:
        samples = self.figures[value].samples
        assert samples is not None
        bottom, top = (clip.low - 0.5) * unit, (clip.high + 0.5) * unit
        kept = np.where(np.isfinite(op.high) & (samples > op.high), True, samples <= top)
        if op.low < 0:
            kept &= samples >= bottom
        source = self.graph.ops[op.source]
        assert isinstance(source, Sum)
        alive = self.figures[value].high > 0
        worst = float(coarser[alive].max()) if op.low >= 0 and alive.any() else float(coarser.max())
        layer = LayerReport(
            source.name,
            len(unit),
            clip.low_bits,
            clip.high_bits,
            self.frame.clip_shift(clip),
            max(int(np.abs(w).max(initial=0)) for w in self.integers[op.source]),
            0.0,
            0.0,
            float(kept.mean()),
            worst,
        )
        self.layers.append((len(self.built.nodes), layer))

    def report(self, network: Network) -> Report:
        bounds = {bound.node: bound for bound in worst_case(network).bounds}
        made = []
        for node, layer in self.layers:
            bound, clip = bounds[node], network.topology.nodes[node]
            assert isinstance(clip, Clip)
            ceiling = max(clip.high, -clip.low) << network.topology.clip_shift(clip)
            made.append(replace(layer, use=bound.use, headroom=max(bound.high, -bound.low) / ceiling))
        output, op = self.graph.output, self.graph.ops[self.graph.output]
        bound, seen = bounds[len(network.topology.nodes) - 1], self.figures[output]
        met = max(float(seen.high.max()), -float(seen.low.min()), 1e-12) / self.logit_unit
        largest = max(int(np.abs(w).max(initial=0)) for w in network.weights[-1])
        worst = max(bound.high, -bound.low)
        shift = network.topology.logit_shift
        made.append(
            LayerReport(op.name, len(seen.high), 0, 0, shift, largest, bound.use, worst / met, 1.0, 1.0)
        )
        return Report(tuple(made))


def _raised(asks: list[_Ask], unit: Real, low_bits: int) -> bool:
    """Whether such steps would lift an activation's own ceiling."""
    top = float(unit.max()) * ((1 << low_bits) - 1)
    return any(ask.op.low >= 0 and top > ask.op.high * 1.02 for ask in asks)


def _salt(built: _Built) -> bytes:
    """A salt that the same weights get again: these networks are published, so it need not be secret."""
    digest = hashlib.blake2b(digest_size=32, person=b"crypdoc/salt")
    for weights, bias in zip(built.weights, built.biases, strict=True):
        for array in (*weights, bias):
            digest.update(array.astype("<i8").tobytes())
    return digest.digest()
