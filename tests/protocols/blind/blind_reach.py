"""Everything that can be reached from an object, and whether a secret's numbers are there."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FrameType, GeneratorType, MethodType, ModuleType

import numpy as np
from numpy.typing import NDArray

from protocols.blind.kernels import PortableKernels

PLAIN = type | str | int | float | bool | None | ModuleType | CodeType


def reachable(*roots: object) -> Iterator[object]:
    """Attributes, slots, containers, generators' locals, bound methods, closures, defaults, bases of views."""
    seen: set[int] = set()
    todo = list(roots)
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, PLAIN):
            continue
        seen.add(id(thing))
        yield thing
        if isinstance(thing, dict):
            todo += [*thing.keys(), *thing.values()]
        elif isinstance(thing, list | tuple | set | frozenset) or type(thing).__name__ == "deque":
            todo += list(thing)  # type: ignore[call-overload]
        elif isinstance(thing, GeneratorType):
            todo += [thing.gi_frame, thing.gi_yieldfrom]
        elif isinstance(thing, FrameType):
            todo += list(thing.f_locals.values())
        elif isinstance(thing, MethodType):
            todo += [thing.__self__, thing.__func__]
        elif isinstance(thing, memoryview):
            todo.append(thing.obj)
        if callable(thing):
            todo += [cell.cell_contents for cell in getattr(thing, "__closure__", None) or ()]
            todo += list(getattr(thing, "__defaults__", None) or ())
        if isinstance(thing, np.ndarray):
            todo.append(thing.base)
        todo += list(getattr(thing, "__dict__", {}).values())
        for cls in type(thing).__mro__:
            names = getattr(cls, "__slots__", ())
            todo += [getattr(thing, n, None) for n in ([names] if isinstance(names, str) else names)]


def holds(secret: NDArray[np.generic], ring_bits: int, *parties: object) -> bool:
    """Whether the secret's numbers are anywhere in reach of the parties.

    As an array of any shape, type and order, signed or mod 2^K, or as bytes, packed or plain.
    """
    ring = (1 << ring_bits) - 1
    want = secret.astype(np.int64).reshape(-1)
    ordered = np.sort(want & ring)
    packed = PortableKernels().pack((want & ring).astype(np.uint32), ring_bits)
    forms = {packed, want.astype("<i4").tobytes(), want.astype("<i8").tobytes(), secret.tobytes()}
    for thing in reachable(*parties):
        numbers = isinstance(thing, np.ndarray) and thing.dtype.kind in "iuf"
        if numbers and thing.size == want.size:
            if (np.sort(thing.astype(np.int64).reshape(-1) & ring) == ordered).all():
                return True
        elif isinstance(thing, bytes | bytearray) or (numbers and thing.dtype == np.uint8):
            held = bytes(thing)
            if any(form in held for form in forms):
                return True
    return False
