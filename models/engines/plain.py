"""The network in the clear, by torch in float32: what an encrypted engine must agree with.

The same graph with its integer weights taken for real numbers: clips clip and do not round. So that float32, and
CrypTen's fixed point after it, work on numbers near 1, every wire has a *unit*, the real value of one of its
integer steps, and weights are scaled by the units on either side. Nearly all are powers of two, which cost float32
nothing.

| wire | unit |
|---|---|
| image | 2^-7 |
| Clip | 2^-low_bits, so that its values lie in 0..1 |
| Affine | that of its first Clip / 2^S, so that the Clip need not multiply; without one 2^(4 - K) |
| SumPool, GlobalSum | that of the source / how many are summed: a mean instead of a sum |
| others | that of the source |
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.engines.base import Closing, Prediction, buckets, check_images
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
    SumPool,
    Term,
    Upsample,
    sources_of,
)
from protocols.blind.network import Network
from protocols.blind.shapes import weight_shape
from protocols.blind.topology import Topology
from protocols.errors import UserError

IMAGE_UNIT = 2.0**-7


def clip_shift(topology: Topology, clip: Clip) -> int:
    """S of a clip."""
    return topology.ring_bits - clip.low_bits - clip.high_bits


def units(topology: Topology) -> list[float]:
    """The unit of every wire, the image's first."""
    made = [IMAGE_UNIT]
    for index, node in enumerate(topology.nodes):
        made.append(_unit(topology, index, node, made))
    return made


def _unit(topology: Topology, index: int, node: Node, made: Sequence[float]) -> float:
    if isinstance(node, Clip):
        return 2.0**-node.low_bits
    if isinstance(node, Affine):
        for reader in topology.nodes[index + 1 :]:
            if isinstance(reader, Clip) and reader.source == index + 1:
                return 2.0 ** -(reader.low_bits + clip_shift(topology, reader))
        return 2.0 ** (4 - topology.ring_bits)
    if isinstance(node, SumPool):
        return made[node.source] / node.kernel**2
    if isinstance(node, GlobalSum):
        _, height, width = topology.shapes[node.source]
        return made[node.source] / (height * width)
    if isinstance(node, Concat):
        return made[node.sources[0]]
    return made[node.source]


class PlainTerm(nn.Module):
    """One term of an Affine, with weights for the units on its sides."""

    def __init__(self, term: Term, shape: Sequence[int], bias: int) -> None:
        super().__init__()
        self.term = term
        self.trailing = term.trailing if isinstance(term, Conv) else 0
        shape = tuple(shape)
        if self.trailing:
            shape = (*shape[:2], shape[2] + self.trailing, shape[3] + self.trailing)
        if isinstance(term, Scale):
            shape = (1, *shape, 1, 1)
        self.weight = nn.Parameter(torch.randn(shape))
        shaped_bias = (1, bias, 1, 1) if isinstance(term, Scale) else (bias,)
        self.bias = nn.Parameter(torch.randn(shaped_bias)) if bias else None

    def fill(
        self, weight: NDArray[np.generic], bias: NDArray[np.generic] | None, scale: float, unit: float
    ) -> None:
        """Take integer weights times `scale`, an integer bias times `unit`.

        Trailing padding t becomes a kernel with t rows and columns of zeros before it and t more padding on all sides:
        the same windows, without an uneven padding, which CrypTen does not have.
        """
        real = torch.from_numpy(weight.astype(np.float64) * scale)
        if self.trailing:
            real = functional.pad(real, (self.trailing, 0, self.trailing, 0))
        self.weight.data = real.reshape(self.weight.shape).float()
        if bias is not None and self.bias is not None:
            self.bias.data = torch.from_numpy(bias.astype(np.float64) * unit).reshape(self.bias.shape).float()

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W) to (n, C', H', W')."""
        term = self.term
        if isinstance(term, Conv):
            padding = term.padding + term.trailing
            return functional.conv2d(x, self.weight, self.bias, term.stride, padding, groups=term.groups)
        if isinstance(term, ConvTranspose):
            return functional.conv_transpose2d(
                x, self.weight, self.bias, term.stride, term.padding, term.trailing
            )
        if isinstance(term, Dense):
            return functional.linear(x.flatten(1), self.weight, self.bias).reshape(-1, term.out, 1, 1)
        scaled = x * self.weight
        return scaled if self.bias is None else scaled + self.bias


class PlainNode(nn.Module):
    """One node; its weights are made up until they are filled in."""

    def __init__(self, topology: Topology, index: int, units: Sequence[float]) -> None:
        super().__init__()
        self.node = node = topology.nodes[index]
        self.unit = units[index + 1]
        self.sources = sources_of(node)
        self.factors = [self._factor(topology, units[source]) for source in self.sources]
        if isinstance(node, Upsample):
            _, height, width = topology.shapes[node.source]
            self.rows = [row // node.factor for row in range(height * node.factor)]
            self.columns = [column // node.factor for column in range(width * node.factor)]
        self.terms = nn.ModuleList()
        if isinstance(node, Affine):
            out = topology.shapes[index + 1][0]
            for number, term in enumerate(node.terms):
                shape = weight_shape(term, topology.shapes)
                self.terms.append(PlainTerm(term, shape, 0 if number else out))

    def _factor(self, topology: Topology, source: float) -> float:
        if isinstance(self.node, Clip):
            return self.unit / (source * 2.0 ** clip_shift(topology, self.node))
        return self.unit / source if isinstance(self.node, Concat) else 1.0

    def forward(self, *wires: Tensor) -> Tensor:
        """The node's wire, of the wires that it reads."""
        node = self.node
        if isinstance(node, Affine):
            made = [term(x) for term, x in zip(self.terms, wires, strict=True)]
            total: Tensor = made[0]
            for more in made[1:]:
                total = total + more
            return total
        wires = tuple(x if f == 1 else x * f for x, f in zip(wires, self.factors, strict=True))
        if isinstance(node, Concat):
            return torch.cat(wires, 1)
        return self._single(node, wires[0])

    def _single(self, node: Node, x: Tensor) -> Tensor:
        if isinstance(node, Clip):
            return torch.clamp(x, node.low * self.unit, node.high * self.unit)
        if isinstance(node, SumPool):
            return functional.avg_pool2d(x, node.kernel, node.stride, node.padding)
        if isinstance(node, GlobalSum):
            return x.mean((2, 3), keepdim=True)
        if isinstance(node, MaxPool):
            return functional.max_pool2d(x, node.kernel, node.stride, node.padding)
        if isinstance(node, Upsample):
            return x.index_select(2, torch.tensor(self.rows)).index_select(3, torch.tensor(self.columns))
        if isinstance(node, Flatten):
            return x.flatten(1).unsqueeze(-1).unsqueeze(-1)
        raise UserError(f"the plain engine has no {type(node).__name__}", "use the blind engine")


class PlainGraph(nn.Module):
    """A topology in float32 with made-up weights, every wire in its unit: public, so anyone may hold it.

    forward: images in their unit (n, C, H, W) to the last wire in its unit, (n, C', H', W').
    """

    def __init__(self, topology: Topology) -> None:
        super().__init__()
        self.units = units(topology)
        self.nodes = nn.ModuleList(PlainNode(topology, i, self.units) for i in range(len(topology.nodes)))

    def fill(self, network: Network) -> None:
        """Take the weights of a network of this topology."""
        affine = [node for node in self._nodes() if isinstance(node.node, Affine)]
        for node, weights, bias in zip(affine, network.weights, network.biases, strict=True):
            for number, (term, weight) in enumerate(zip(node.terms, weights, strict=True)):
                assert isinstance(term, PlainTerm)
                scale = node.unit / self.units[term.term.source]
                term.fill(weight, None if number else bias, scale, node.unit)

    def _nodes(self) -> Iterator[PlainNode]:
        for node in self.nodes:
            assert isinstance(node, PlainNode)
            yield node

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        wires = [images]
        for node in self._nodes():
            wires.append(node(*(wires[source] for source in node.sources)))
        return wires[-1]


class PlainNetwork(nn.Module):
    """A network as real numbers. forward: integer images as float (n, C, H, W) to real logits (n, L)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.graph = PlainGraph(network.topology)
        self.graph.fill(network)
        self.requires_grad_(False)
        self.eval()
        self.logit_unit = real_logit(network.topology) / self.graph.units[-1]

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        last: Tensor = self.graph(images * IMAGE_UNIT)
        return last.flatten(1) * self.logit_unit


def real_logit(topology: Topology) -> float:
    """The real value of one step of the last accumulator."""
    return topology.logit_scale / 2.0**topology.logit_shift


class PlainEngine(Closing):
    """The network in the clear. Nothing is hidden from whoever runs it."""

    name = "plain"

    def __init__(self, network: Network) -> None:
        self._topology = network.topology
        self._module = PlainNetwork(network)

    def predict(self, images: NDArray[np.int8]) -> Prediction:
        """See `Engine`; nothing is sent, nothing done ahead."""
        check_images(self._topology, images)
        begun = time.perf_counter()
        with torch.inference_mode():
            logits = self._module(torch.from_numpy(images).float()).double().numpy()
        return Prediction(logits, buckets(self._topology, logits), time.perf_counter() - begun, 0.0, 0, 0, 0)
