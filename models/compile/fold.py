"""Rewrites a traced graph until every node is one that the blind engine has, at the least cost.

| found | becomes |
|---|---|
| a scale by channel (batch norm) or an addition, after sums that nothing else reads | one sum of all their terms |
| a scale by channel before layers that are linear in it, unpadded or without a shift | weights of those layers |
| a pooled maximum, join, upsampling or flattening, then an activation | the activation first |
| an activation of an activation | one activation |
| a sum that anything but activations reads | that sum, cut to few bits (`Act` without ends), once for all readers |
| an activation of anything but a sum; a maximum of anything but activations | a sum in between |
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.compile.graph import (
    Act,
    Conv,
    ConvTranspose,
    Flat,
    Graph,
    Grow,
    Join,
    Part,
    Pool,
    Real,
    Scale,
    Sum,
    channel_scale,
    in_scaled,
    out_scaled,
    reading,
    unsupported,
)
from protocols.blind.layers import MAX_TERMS


def fold(graph: Graph) -> Graph:
    """The same function, ready for `quantise`. Changes the graph in place and returns it; `UserError` if it cannot."""
    graph.tidy()
    while any([_absorb(graph), _forward(graph), _lift(graph)]):
        graph.tidy()
    _end_in_sum(graph)
    _separate(graph)
    graph.tidy()
    return graph


def _absorb(graph: Graph) -> bool:
    """A sum takes up the terms of a sum that it alone reads, through a Scale."""
    changed = False
    for value, op in graph.pairs():
        if not isinstance(op, Sum):
            continue
        for part in op.parts:
            source = part.term.source
            inner = graph.ops[source]
            once = sum(p.term.source == source for p in op.parts) == 1
            if not (isinstance(part.term, Scale) and isinstance(inner, Sum) and once):
                continue
            if len(graph.readers(source)) > 1 or source == graph.output:
                continue
            if len(op.parts) - 1 + len(inner.parts) > MAX_TERMS:
                continue
            taken = tuple(out_scaled(p, part.weights) for p in inner.parts)
            others = tuple(p for p in op.parts if p is not part)
            name = inner.name if len(op.parts) == 1 else op.name
            op = Sum(name, taken + others, op.bias + part.weights * inner.bias)
            graph.ops[value], changed = op, True
    return changed


def _forward(graph: Graph) -> bool:
    """A scale by channel goes into the weights of what reads it."""
    changed = False
    for value, op in graph.pairs():
        if not (isinstance(op, Sum) and len(op.parts) == 1 and isinstance(op.parts[0].term, Scale)):
            continue
        readers = graph.readers(value)
        if value == graph.output or not readers or not all(_takes(graph, r, value, op) for r in readers):
            continue
        for reader in readers:
            graph.ops[reader] = _taken(graph.ops[reader], value, op)
        changed = True
    return changed


def _takes(graph: Graph, reader: int, value: int, scale: Sum) -> bool:
    """Whether a reader is a sum in which the scale's shift stands for the same number everywhere."""
    op = graph.ops[reader]
    if not isinstance(op, Sum):
        return False
    for part in op.parts:
        term = part.term
        if term.source != value or not scale.bias.any():
            continue
        if isinstance(term, ConvTranspose) or (isinstance(term, Conv) and (term.padding or term.trailing)):
            return False
    return True


def _taken(op: object, value: int, scale: Sum) -> Sum:
    assert isinstance(op, Sum)
    factor, source = scale.parts[0].weights, scale.parts[0].term.source
    parts, bias = [], op.bias
    for part in op.parts:
        if part.term.source == value:
            if scale.bias.any():
                bias = bias + _constant(part, scale.bias)
            made = in_scaled(part, factor)
            part = Part(replace(made.term, source=source), made.weights)
        parts.append(part)
    return Sum(op.name, tuple(parts), bias)


def _constant(part: Part, shift: Real) -> Real:
    """What an unpadded part makes of an input that is `shift` everywhere, by output channel."""
    made = in_scaled(part, shift).weights
    return made if isinstance(part.term, Scale) else made.reshape(len(made), -1).sum(1)


def _lift(graph: Graph) -> bool:
    """An activation moves before maxima, joins, upsampling and flattening, and into another activation."""
    changed = False
    for value, op in graph.pairs():
        if not isinstance(op, Act):
            continue
        inner = graph.ops[op.source]
        if isinstance(inner, Act) and op.low <= 0 <= op.high:
            graph.ops[value] = Act(inner.name, inner.source, max(op.low, inner.low), min(op.high, inner.high))
            changed = True
            continue
        moves = isinstance(inner, Join | Grow | Flat) or (isinstance(inner, Pool) and inner.maximum)
        if not moves or len(graph.readers(op.source)) > 1 or op.source == graph.output:
            continue
        changed = True
        if isinstance(inner, Join):
            made = tuple(graph.add(replace(op, source=s), graph.shapes[s]) for s in inner.sources)
            graph.ops[value] = replace(inner, sources=made)
        elif isinstance(inner, Grow | Flat | Pool):
            first = graph.add(replace(op, source=inner.source), graph.shapes[inner.source])
            graph.ops[value] = replace(inner, source=first)
    return changed


def _copy(graph: Graph, source: int, name: str) -> int:
    """A sum that is the source as it stands."""
    c = graph.shapes[source][0]
    return channel_scale(graph, source, np.ones(c), np.zeros(c), name)


def _end_in_sum(graph: Graph) -> None:
    """The output becomes a sum that nothing else reads."""
    while True:
        op = graph.ops[graph.output]
        if not isinstance(op, Flat):
            break
        graph.output = op.source
    if not isinstance(op, Sum) or graph.readers(graph.output):
        name = "output" if not hasattr(op, "name") else op.name
        graph.output = _copy(graph, graph.output, name)
    graph.tidy()


def _separate(graph: Graph) -> None:
    """Sums are read by activations alone, activations read sums alone, maxima read activations alone."""
    for value, op in graph.pairs():
        maximum = isinstance(op, Pool) and op.maximum and not _clipped(graph, op.source)
        if isinstance(op, Pool | Act) and (
            maximum or (isinstance(op, Act) and not isinstance(graph.ops[op.source], Sum))
        ):
            graph.ops[value] = replace(op, source=_copy(graph, op.source, op.name))
    for value, op in graph.pairs():
        if not isinstance(op, Sum) or value == graph.output:
            continue
        wide = [r for r in graph.readers(value) if not isinstance(graph.ops[r], Act)]
        if not wide:
            continue
        few = graph.add(Act(op.name, value), graph.shapes[value])
        for reader in wide:
            graph.ops[reader] = reading(graph.ops[reader], value, few)
    for _, op in graph.pairs():
        if isinstance(op, Pool) and op.maximum and op.padding and not _clipped(graph, op.source, True):
            raise unsupported(
                op.name, "it pads a maximum of numbers that may be negative", "put a ReLU before it"
            )


def _clipped(graph: Graph, value: int, positive: bool = False) -> bool:
    """Whether a value is an activation, or will be one (a sum); positive: never below 0."""
    op = graph.ops[value]
    if isinstance(op, Act):
        return not positive or op.low >= 0
    if isinstance(op, Sum):
        return not positive
    if isinstance(op, Join):
        return all(_clipped(graph, s, positive) for s in op.sources)
    if isinstance(op, Grow | Flat) or (isinstance(op, Pool) and op.maximum):
        return _clipped(graph, op.source, positive)
    return False
