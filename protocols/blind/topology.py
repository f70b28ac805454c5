"""The public shape of a network: what patient, model and dealer all know. No weights here.

A topology is a list of nodes in order. Wire 0 is the image; node i makes wire i + 1 and reads earlier wires
only. All wires are integers mod 2^K (`ring_bits` = K) of shape (channels, height, width), in batches of n.

| node | wire it makes |
|---|---|
| `Affine(terms)` | sum of terms + bias. Terms: `Conv`, `ConvTranspose`, `Dense`, `Scale` (skips) |
| `Clip(source, low_bits, high_bits, low)` | round(v / 2^S) cut to low..low + 2^low_bits - 1; S = K - B |
| `SumPool(source, kernel, stride, padding)` | sums of blocks: average pooling; the next weights take up the divisor |
| `GlobalSum(source)` | sum over height and width, shape (C, 1, 1) |
| `MaxPool(source, kernel, stride, padding)` | maximum of blocks of an activation |
| `Concat(sources)` | the wires' channels one after the other |
| `Upsample(source, factor)` | every element `factor` times along rows and columns |
| `Flatten(source)` | the same numbers in C order, shape (C*H*W, 1, 1) |

The last node is an `Affine`: its values are the logits.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from math import prod

from protocols.blind.bytesio import Reader, Writer
from protocols.blind.layers import (
    Affine,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Flatten,
    GlobalSum,
    MaxPool,
    Node,
    Scale,
    Shape,
    SumPool,
    Term,
    Upsample,
    read_node,
    refuse,
    write_node,
)
from protocols.blind.shapes import wire_shapes

__all__ = [
    "Affine",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Dense",
    "Flatten",
    "GlobalSum",
    "MaxPool",
    "Node",
    "Scale",
    "Shape",
    "SumPool",
    "Term",
    "Topology",
    "Upsample",
]

MAGIC = b"CDT2"
MAX_TOPOLOGY_BYTES = 64 * 1024
MAX_NODES = 512
MAX_RING_BITS, MIN_RING_BITS = 24, 8
LOGIT_BITS = 16


@dataclass(frozen=True)
class Topology:
    """Everything public about a network. Validated when made; raises `ProtocolError`.

    input_shape: (channels, height, width). input_low, input_high: the image is clipped to this, within int8.
    input_scale: the real (float) value of one input unit, for display and for the compiler's own use.
    ring_bits: K, 8..24.
    logit_scale: the real value of one unit of an *opened* logit. An opened logit is
        floor((v + u) / 2^logit_shift), u in 1..2^logit_shift, with logit_shift = max(0, K - 16);
        for K <= 16 it is v itself.
    thresholds: three increasing positive integers in units of an opened logit (below 2^15): bucket = how many
        of them |logit| (one logit) or |logit 0 - logit 1| (two) reaches. Empty: no bucket (the only choice
        beyond two logits).
    """

    input_shape: Shape
    nodes: tuple[Node, ...]
    ring_bits: int = 24
    input_low: int = -128
    input_high: int = 127
    input_scale: float = 1.0
    logit_scale: float = 1.0
    thresholds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if type(self.ring_bits) is not int or not MIN_RING_BITS <= self.ring_bits <= MAX_RING_BITS:
            raise refuse(f"K = {self.ring_bits} is outside {MIN_RING_BITS}..{MAX_RING_BITS}")
        if not -128 <= self.input_low <= 0 < self.input_high <= 127:
            raise refuse("the input range must hold 0 and lie within int8")
        for value in (self.input_scale, self.logit_scale):
            if not (math.isfinite(value) and value > 0):
                raise refuse("a scale is not a positive number")
        if not 1 <= len(self.nodes) <= MAX_NODES:
            raise refuse(f"a network has 1 to {MAX_NODES} nodes")
        if not isinstance(self.nodes[-1], Affine):
            raise refuse("the last node must be an Affine, its values are the logits")
        _ = self.shapes
        self._check_thresholds()

    def _check_thresholds(self) -> None:
        if not self.thresholds:
            return
        if prod(self.output_shape) > 2:
            raise refuse("confidence thresholds need a network of one or two logits")
        a = self.thresholds
        if len(a) != 3 or not 0 < a[0] < a[1] < a[2] < 1 << (self.logit_bits - 1):
            raise refuse(f"the thresholds must be three, increasing, within 1..2^{self.logit_bits - 1} - 1")

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """The shape of every wire, wire 0 (the image) first."""
        return wire_shapes(self.input_shape, self.nodes, self.ring_bits)

    @property
    def output_shape(self) -> Shape:
        """The shape of the logits."""
        return self.shapes[-1]

    @property
    def logit_bits(self) -> int:
        """Bits of an opened logit, sign included."""
        return min(self.ring_bits, LOGIT_BITS)

    @property
    def logit_shift(self) -> int:
        """Bits of a logit that its opening rounds away."""
        return self.ring_bits - self.logit_bits

    def bucket_of(self, logit: int) -> int:
        """The confidence bucket 0..3 of an opened logit (or margin). Needs thresholds."""
        return sum(abs(logit) >= t for t in self.thresholds)

    def clip_shift(self, node: Clip) -> int:
        """S: what a `Clip` rounds away of the values it reads."""
        return self.ring_bits - node.low_bits - node.high_bits

    def encode(self) -> bytes:
        """Canonical bytes: equal topologies, equal bytes."""
        w = Writer()
        w.raw(MAGIC)
        for n in self.input_shape:
            w.u32(n)
        w.u8(self.ring_bits)
        w.i64(self.input_low)
        w.i64(self.input_high)
        w.f64(self.input_scale)
        w.f64(self.logit_scale)
        w.u8(len(self.thresholds))
        for t in self.thresholds:
            w.u32(t)
        w.u32(len(self.nodes))
        for node in self.nodes:
            write_node(w, node)
        return w.bytes()

    @classmethod
    def decode(cls, data: bytes) -> Topology:
        """The inverse of `encode`; `ProtocolError` on anything but canonical bytes of a valid topology."""
        if len(data) > MAX_TOPOLOGY_BYTES:
            raise refuse("its bytes are too many")
        r = Reader(data, "topology")
        if r.raw(4) != MAGIC:
            raise refuse("it is of an unknown version")
        shape = (r.u32(), r.u32(), r.u32())
        k, low, high, scale, logit_scale = r.u8(), r.i64(), r.i64(), r.f64(), r.f64()
        thresholds = tuple(r.u32() for _ in range(r.u8()))
        count = r.u32()
        if count > MAX_NODES:
            raise refuse("it has too many nodes")
        nodes = tuple(read_node(r) for _ in range(count))
        r.end()
        made = cls(shape, nodes, k, low, high, scale, logit_scale, thresholds)
        if made.encode() != data:
            raise refuse("its bytes are not canonical")
        return made

    def __hash__(self) -> int:
        return hash(self.digest)  # computed once: a topology is looked up at every step

    @cached_property
    def digest(self) -> bytes:
        """32 bytes that name this topology."""
        return hashlib.blake2b(self.encode(), digest_size=32, person=b"crypdoc/topology").digest()
