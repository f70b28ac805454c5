"""Arithmetic of the blind engine: `best_kernels()` gives the fastest that this machine has."""

from __future__ import annotations

from functools import lru_cache

from protocols.blind.kernels.interface import (
    OPEN_BITS,
    REPLY_BITS,
    WORDS,
    Buffer,
    Bytes,
    ClipSize,
    Kernels,
    Mask,
    Operator,
    Words,
    packed_size,
)
from protocols.blind.kernels.portable import PortableKernels

__all__ = [
    "OPEN_BITS",
    "REPLY_BITS",
    "WORDS",
    "Buffer",
    "Bytes",
    "ClipSize",
    "Kernels",
    "Mask",
    "Operator",
    "PortableKernels",
    "Words",
    "best_kernels",
    "packed_size",
]


@lru_cache(maxsize=1)
def best_kernels() -> Kernels:
    """The native kernels where they were built and the processor has them, else the portable ones."""
    try:
        from protocols.blind.kernels.native import NativeKernels
    except ImportError:
        return PortableKernels()
    return NativeKernels()
