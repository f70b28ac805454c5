"""What the values of a graph do on real images: the graph in float32, and figures by channel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.compile.graph import (
    Act,
    Conv,
    ConvTranspose,
    Dense,
    Flat,
    GlobalMean,
    Graph,
    Grow,
    Image,
    Join,
    Op,
    Part,
    Pool,
    Real,
    Sum,
    sources_of,
    unsupported,
)
from protocols.errors import UserError

_AT_ONCE = 1 << 24  # elements of the largest value in one batch
_SAMPLES = 1024  # of each activation, a channel
_FAITHFUL = 1e-3  # of the largest logit: how far the graph may stand from the module


@dataclass
class Figures:
    """Of one value, by channel: lowest, highest, mean and variance; samples (m, C) before an activation cuts them."""

    low: Real
    high: Real
    mean: Real
    variance: Real
    samples: NDArray[np.float32] | None


_Row: TypeAlias = tuple[
    Tensor, Tensor, Tensor, Tensor, Tensor | None
]  # of one batch: low, high, mean, mean square


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in its evaluation form, without gradients; every part of it is as it was afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training


def measure(graph: Graph, images: Tensor) -> dict[int, Figures]:
    """Figures of every value over calibration images (n, C, H, W), in real units. Keeps no reference to them."""
    largest = max(int(np.prod(shape)) for shape in graph.shapes.values())
    size = max(1, min(len(images), _AT_ONCE // largest))
    keep = max(1, -(-_SAMPLES // len(images)))
    generator = torch.Generator().manual_seed(0)
    gathered: dict[int, list[_Row]] = {}
    for part in torch.split(images, size):
        for value, made, before in _evaluate(graph, part):
            samples = None if before is None else _sampled(before, keep, generator)
            flat = made.transpose(0, 1).flatten(1)
            share = flat.shape[1] / made[0, 0].numel() / len(images)
            mean, square = flat.mean(1).double() * share, flat.square().mean(1).double() * share
            gathered.setdefault(value, []).append((flat.amin(1), flat.amax(1), mean, square, samples))
    return {value: _together(rows) for value, rows in gathered.items()}


def check(graph: Graph, module: nn.Module, images: Tensor) -> None:
    """Raises `UserError` when graph and module do not agree on images."""
    with evaluating(module):
        plain = module(images).reshape(len(images), -1).float()
    *_, (_, ours, _) = _evaluate(graph, images)
    if not float((ours.reshape(plain.shape) - plain).abs().max()) <= _FAITHFUL * max(
        1e-6, float(plain.abs().max())
    ):
        raise UserError(
            "the network does not do the same on every image of a shape",
            "make its forward one fixed sequence of layers",
        )


def _together(rows: list[_Row]) -> Figures:
    low, high = torch.stack([r[0] for r in rows]).amin(0), torch.stack([r[1] for r in rows]).amax(0)
    mean, square = torch.stack([r[2] for r in rows]).sum(0), torch.stack([r[3] for r in rows]).sum(0)
    samples = [r[4] for r in rows if r[4] is not None]
    many = torch.cat(samples).numpy() if samples else None
    variance = (square - mean**2).clamp_min(0).numpy()
    return Figures(low.double().numpy(), high.double().numpy(), mean.numpy(), variance, many)


def _sampled(values: Tensor, keep: int, generator: torch.Generator) -> Tensor:
    """`keep` random places of every image: (n * keep, C)."""
    flat = values.flatten(2)
    places = torch.randint(flat.shape[2], (keep,), generator=generator)
    return flat[:, :, places].transpose(1, 2).flatten(0, 1)


def _evaluate(graph: Graph, images: Tensor) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    """Yields (value, what it is, what an activation read) in order; the output comes last."""
    last = {source: value for value, op in graph.ops.items() for source in sources_of(op)}
    held: dict[int, Tensor] = {}
    for value, op in graph.ops.items():
        with torch.no_grad():
            held[value] = _apply(op, held, images)
        if not bool(torch.isfinite(held[value]).all()):
            raise unsupported(op.name, "it makes numbers that are not finite", "train the network again")
        yield value, held[value], held[op.source] if isinstance(op, Act) else None
        for source in sources_of(op):
            if last[source] == value:
                held.pop(source, None)


def _apply(op: Op, held: dict[int, Tensor], images: Tensor) -> Tensor:
    if isinstance(op, Image):
        return images.float()
    if isinstance(op, Sum):
        bias = torch.from_numpy(op.bias).float()[:, None, None]
        made = _term(op.parts[0], held)
        for part in op.parts[1:]:
            made = made + _term(part, held)
        return made + bias
    if isinstance(op, Join):
        return torch.cat([held[s] for s in op.sources], 1)
    x = held[op.source]
    if isinstance(op, Act):
        return x.clamp(op.low, op.high)
    if isinstance(op, Pool):
        pool = functional.max_pool2d if op.maximum else functional.avg_pool2d
        return pool(x, op.kernel, op.stride, op.padding)
    if isinstance(op, GlobalMean):
        return x.mean((2, 3), keepdim=True)
    if isinstance(op, Grow):
        return x.repeat_interleave(op.factor, 2).repeat_interleave(op.factor, 3)
    assert isinstance(op, Flat)
    return x.flatten(1)[:, :, None, None]


def _term(part: Part, held: dict[int, Tensor]) -> Tensor:
    x, w, term = held[part.term.source], torch.from_numpy(part.weights).float(), part.term
    if isinstance(term, Conv):
        near, far = term.padding, term.padding + term.trailing
        if term.trailing:
            return functional.conv2d(
                functional.pad(x, (near, far, near, far)), w, None, term.stride, 0, 1, term.groups
            )
        return functional.conv2d(x, w, None, term.stride, near, 1, term.groups)
    if isinstance(term, ConvTranspose):
        return functional.conv_transpose2d(x, w, None, term.stride, term.padding, term.trailing)
    if isinstance(term, Dense):
        return functional.linear(x.flatten(1), w)[:, :, None, None]
    return x * w[:, None, None]
