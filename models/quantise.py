"""Float network to integer network: static post-training quantisation with a proof that nothing wraps.

A wire carries integers; `unit` is the real value of one step, a channel. For an `Affine` whose accumulator
step is worth `a`, weight = round(w * unit_in / a) and bias = round(b / a); after the ReLU one step is worth
u = a * 2^S, S = K - B. Per output channel the step u is the least that satisfies all of

- u * cap >= the largest activation met in calibration (a larger one is cut, as by a ReLU with a ceiling);
- the worst case over *every* image, by the intervals of `protocols.blind.bounds`, stays where the protocol
  is exact.

Activations take few levels (`cap`), so that the next layer's weights have many: both share the K bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.scans.prepare import INPUT_SCALE
from protocols.blind.bounds import term_interval
from protocols.blind.network import Affine, Conv, Dense, Flatten, Network, Relu, SumPool, Topology
from protocols.blind.topology import LOGIT_BITS, Node

Real: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

_INPUT = 127  # images are -127..127
_WIDER = 1.01  # factor by which a channel's step grows until its rounded weights pass the bound
_FLOOR = 1e-3  # a channel that hardly fires is not given a finer step than this part of the liveliest one's


@dataclass(frozen=True)
class Settings:
    """ring_bits K, table_bits B, and the number of levels an activation takes (at most 2^(B-1) - 1)."""

    ring_bits: int = 24
    table_bits: int = 11
    cap: int = 255


@dataclass
class _Wire:
    """A wire under construction: its index, real value of a step and interval, all by channel."""

    index: int
    unit: Real
    low: Ints
    high: Ints


@dataclass
class _Built:
    nodes: list[Node]
    weights: list[tuple[Ints]]
    biases: list[Ints]


def quantise(
    layers: nn.Sequential,
    calibration: torch.Tensor,
    thresholds: Sequence[float] = (),
    settings: Settings = Settings(),
) -> Network:
    """The integer network of a chain of Conv2d, ReLU, AvgPool2d(2), Flatten, Linear (Dropout is passed over).

    calibration: images as `prepare` makes them, divided by 127, (n, C, H, W): their largest activations
    fit. thresholds: the confidence buckets' three floors for |logit|, in the float network's logits. Raises
    `ProtocolError` when no scale makes the network provable, ValueError on another layer.
    """
    channels, height, width = (int(side) for side in calibration.shape[1:])
    built = _Built([], [], [])
    wire = _Wire(0, np.full(channels, INPUT_SCALE), np.full(channels, -_INPUT), np.full(channels, _INPUT))
    shape = (channels, height, width)
    logit_unit = 1.0
    for layer, following, peak in _steps(layers, calibration):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            final = following is None
            node, weight, bias, unit = _affine(layer, wire, settings, None if final else peak)
            built.nodes.append(Affine((node,)))
            built.weights.append((weight,))
            built.biases.append(bias)
            wire = _Wire(len(built.nodes), unit, wire.low, wire.high)
            logit_unit = float(unit[0]) if final else 1.0
        elif isinstance(layer, nn.ReLU):
            built.nodes.append(Relu(wire.index, settings.cap))
            size = len(wire.unit)
            step = wire.unit * 2.0 ** (settings.ring_bits - settings.table_bits)
            wire = _Wire(len(built.nodes), step, np.zeros(size, np.int64), np.full(size, settings.cap))
        elif isinstance(layer, nn.AvgPool2d):
            built.nodes.append(SumPool(wire.index))
            wire = _Wire(len(built.nodes), wire.unit / 4, 4 * wire.low, 4 * wire.high)
        elif isinstance(layer, nn.Flatten):
            built.nodes.append(Flatten(wire.index))
            many = peak.numel() // len(wire.unit)
            wire = _Wire(
                len(built.nodes),
                np.repeat(wire.unit, many),
                np.repeat(wire.low, many),
                np.repeat(wire.high, many),
            )
        else:
            raise ValueError(f"the blind engine has no {type(layer).__name__}")
    shift = max(0, settings.ring_bits - LOGIT_BITS)
    logit_scale = logit_unit * 2.0**shift
    topology = Topology(
        input_shape=shape,
        nodes=tuple(built.nodes),
        ring_bits=settings.ring_bits,
        table_bits=settings.table_bits,
        input_low=-_INPUT,
        input_high=_INPUT,
        input_scale=INPUT_SCALE,
        logit_scale=logit_scale,
        thresholds=tuple(round(value / logit_scale) for value in thresholds),
        overflow="proved",
    )
    return Network(topology, built.weights, built.biases, _salt(built))


def _steps(
    layers: nn.Sequential, images: torch.Tensor
) -> Iterator[tuple[nn.Module, nn.Module | None, torch.Tensor]]:
    """Each layer but dropout, the one after it, and the largest absolute value it put out, by element."""
    chain = [layer for layer in layers if not isinstance(layer, nn.Dropout)]
    with torch.no_grad():
        value = images
        for layer, following in zip(chain, [*chain[1:], None], strict=True):
            value = layer(value)
            peak = value.clamp_min(0).amax(0)
            yield layer, following, peak


def _affine(
    layer: nn.Conv2d | nn.Linear, wire: _Wire, settings: Settings, peak: torch.Tensor | None
) -> tuple[Conv | Dense, Ints, Ints, Real]:
    """The term, its integer weights and biases, and the real value of an accumulator step by output channel.

    peak: None for the logits, else the largest activation met, by element.
    """
    weight = layer.weight.detach().double().numpy()
    bias = (layer.bias.detach().double().numpy()) if layer.bias is not None else np.zeros(len(weight))
    spread = weight * wire.unit.reshape(1, -1, *[1] * (weight.ndim - 2))
    term = _term(layer, wire.index)
    if peak is None:
        least = np.zeros(len(weight))
        safe_low, safe_high = _logit_room(settings)
    else:
        met = peak.reshape(len(weight), -1).amax(1).double().numpy()
        least = np.maximum(met, max(float(met.max()) * _FLOOR, 1e-9)) / settings.cap
        least = least * 2.0 ** (settings.table_bits - settings.ring_bits)
        safe_low, safe_high = _relu_room(settings)
    largest = np.abs(spread).reshape(len(weight), -1).max(axis=1)
    step = np.maximum(least, largest / 2.0 ** (settings.ring_bits - 2))
    ends = term_interval(term, cast(Ints, spread), (wire.low, wire.high))  # it takes real weights as well
    lowest, highest = ends[0] + bias, ends[1] + bias
    step = np.maximum.reduce([step, highest / safe_high, lowest / safe_low, np.full(len(step), 1e-12)])
    if peak is None:
        step = np.full(len(step), step.max())
    while True:
        numbers = np.rint(spread / step.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int64)
        offset = np.rint(bias / step).astype(np.int64)
        low, high = term_interval(term, numbers, (wire.low, wire.high))
        wild = (low + offset < safe_low) | (high + offset > safe_high)
        if not wild.any():
            return term, numbers, offset, step
        step = np.where(wild if peak is not None else True, step * _WIDER, step)


def _relu_room(settings: Settings) -> tuple[int, int]:
    half, shift = 1 << (settings.table_bits - 1), settings.ring_bits - settings.table_bits
    return (settings.cap - half) << shift, ((half - 1) << shift) - 1


def _logit_room(settings: Settings) -> tuple[int, int]:
    bits = min(settings.ring_bits, LOGIT_BITS)
    half, shift = 1 << (bits - 1), settings.ring_bits - bits
    return -half << shift, ((half - 1) << shift) - 1 if shift else half - 1


def _term(layer: nn.Conv2d | nn.Linear, source: int) -> Conv | Dense:
    if isinstance(layer, nn.Linear):
        return Dense(source, layer.out_features)
    padding = layer.padding if isinstance(layer.padding, str) else int(layer.padding[0])
    if layer.groups != 1 or isinstance(padding, str) or layer.dilation != (1, 1):
        raise ValueError("the blind engine has no grouped or dilated convolution")
    return Conv(source, layer.out_channels, int(layer.kernel_size[0]), int(layer.stride[0]), padding)


def _salt(built: _Built) -> bytes:
    """A salt that the same weights get again: these networks are published, so it need not be secret."""
    digest = hashlib.blake2b(digest_size=32, person=b"crypdoc/salt")
    for (weight,), bias in zip(built.weights, built.biases, strict=True):
        digest.update(weight.astype("<i8").tobytes() + bias.astype("<i8").tobytes())
    return digest.digest()
