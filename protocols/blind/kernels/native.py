"""The kernels in C (`csrc/`), for what the processor has: tiles (AMX), vectors (AVX-512 VNNI, AVX2), or plain C.

The level is chosen when the program runs; one set of sources is built for all. Timing depends on shapes and
on what is opened, never on a share, a weight or what the dealer draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from protocols.blind.bytesio import IntArray
from protocols.blind.kernels import _native
from protocols.blind.kernels.interface import (
    Buffer,
    Bytes,
    ClipSize,
    Indices,
    Mask,
    Operator,
    Words,
    filled_tail,
    packed_size,
    wrong_length,
)
from protocols.blind.layers import Conv, ConvTranspose, Dense, Scale, Shape, Term
from protocols.blind.secret import Secret
from protocols.errors import ProtocolError

if getattr(_native, "LAYOUT", 0) != 2:
    raise ImportError("the native kernels are of another build; run scripts/setup again")

LEVELS = ("c", "avx2", "avx512-vnni", "amx")  # slowest first; the index is the level's number in C
MAX_BITS = 24
NARROW = 1 << 15
FEW_WEIGHTS = 160  # up to here the loops over pixels win


def levels() -> tuple[str, ...]:
    """The levels that this machine runs, slowest first."""
    return tuple(LEVELS[i] for i in _native.levels())


def _refuse(what: str) -> ProtocolError:
    return ProtocolError(f"{what} does not fit its layer", "this is a fault of the program; report it")


def _check(x: Words, shape: tuple[int, ...], what: str) -> None:
    if x.dtype != np.uint32 or x.shape != shape or not x.flags.c_contiguous:
        raise _refuse(what)


@dataclass(frozen=True, repr=False, eq=False)
class _Layer(Secret):
    """A term; source and target: (C, H, W) of its wires. packed: the weights as the term's C function wants them."""

    level: int
    term: Term
    source: Shape
    target: Shape
    packed: object

    def apply(self, x: Words, out: Words) -> None:
        """See `Operator.apply`."""
        n = len(x)
        if n == 0:
            raise _refuse("an empty batch")
        _check(x, (n, *self.source), "a wire")
        _check(out, (n, *self.target), "a wire")
        if not out.flags.writeable:
            raise _refuse("a wire that cannot be written")
        self._apply(n, x, out)

    def _apply(self, n: int, x: Words, out: Words) -> None:
        _native.conv_apply(self.packed, n, x, out)


class _Grouped(_Layer):
    def _apply(self, n: int, x: Words, out: Words) -> None:
        term = self.term
        assert isinstance(term, Conv)
        assert isinstance(self.packed, np.ndarray)
        ends = term.out, term.kernel, term.stride, term.padding, term.trailing, term.groups
        _native.grouped(self.level, (*self.source, *ends), n, self.packed, x, out)


class _Transposed(_Layer):
    """A product with every point's channels, then the scatter of the kernels."""

    def _apply(self, n: int, x: Words, out: Words) -> None:
        term = self.term
        assert isinstance(term, ConvTranspose)
        sizes = term.kernel, term.stride, term.padding, term.out, *self.target[1:]
        _native.transposed(self.packed, sizes, n, x, out)


class _Scaled(_Layer):
    def _apply(self, n: int, x: Words, out: Words) -> None:
        assert isinstance(self.packed, np.ndarray)
        c, h, w = self.source
        _native.scale(n, c, h * w, self.packed, x, out)


class NativeKernels:
    """See `Kernels`. level: one of `levels()`, for tests; else the fastest."""

    def __init__(self, level: str | None = None) -> None:
        runs = levels()
        chosen = runs[-1] if level is None else level
        if chosen not in runs:
            raise ProtocolError(f"this machine has no kernels {chosen!r}", f"choose of {', '.join(runs)}")
        self.level = LEVELS.index(chosen)
        self.name = f"native/{chosen}"

    def prepare(self, term: Term, shape: Shape, weights: IntArray, bits: int, wide: bool) -> Operator:
        """See `Kernels.prepare`."""
        if not 1 <= bits <= MAX_BITS:
            raise ProtocolError(f"a ring of {bits} bits is too wide for the kernels", f"use up to {MAX_BITS}")
        want, target = _shapes(term, shape)
        if weights.shape != want or min(shape) < 1 or min(target) < 1:
            raise _refuse("an array of weights")
        if wide:
            weights = weights & ((1 << bits) - 1)
        elif weights.size and max(int(weights.max()), -int(weights.min())) >= NARROW:
            raise ProtocolError("a weight is out of range", "quantise the network again")
        flat = np.ascontiguousarray(weights, np.int32)
        if isinstance(term, Scale):
            return _Scaled(self.level, term, shape, target, flat)
        if isinstance(term, Conv) and (term.groups > 1 or flat.size <= FEW_WEIGHTS):
            return _Grouped(self.level, term, shape, target, flat)
        if isinstance(term, ConvTranspose):
            flat = np.ascontiguousarray(flat.reshape(shape[0], -1).T)
            packed = _native.conv(self.level, wide, (*shape, len(flat), 1, 1, 0, 0), flat)
            return _Transposed(self.level, term, shape, target, packed)
        if isinstance(term, Dense):
            packed = _native.conv(self.level, wide, (prod(shape), 1, 1, term.out, 1, 1, 0, 0), flat)
        else:
            ends = term.out, term.kernel, term.stride, term.padding, term.trailing
            packed = _native.conv(self.level, wide, (*shape, *ends), flat)
        return _Layer(self.level, term, shape, target, packed)

    def pack(self, words: Words, width: int) -> bytes:
        """See `Kernels.pack`."""
        return _native.pack(self.level, width, _flat(words))

    def unpack(self, data: Buffer, count: int, width: int) -> Words:
        """See `Kernels.unpack`."""
        _check_packed(data, count, width)
        out = np.empty(count, np.uint32)
        _native.unpack(self.level, width, data, out)
        return out

    def open(self, clip: ClipSize, z0: Words, p: Words, mask: Mask) -> tuple[bytes, Words]:
        """See `Kernels.open`."""
        opened = np.empty(z0.size, np.uint32)
        sizes, buffers = _clip(clip, mask, z0.size)
        if p.size != z0.size:
            raise wrong_length("what the patient sent ahead")
        return _native.clip_open(self.level, sizes, *buffers, _flat(z0), _flat(p), opened), opened

    def answer(self, clip: ClipSize, message: Buffer, mask: Mask, wire: Words) -> bytes:
        """See `Kernels.answer`."""
        sizes, buffers = _clip(clip, mask, wire.size)
        _check_packed(message, wire.size, clip.open_bits)
        return _native.clip_answer(self.level, sizes, *buffers, message, _flat(wire))

    def close(self, clip: ClipSize, opened: Words, reply: Buffer, mask: Mask) -> Words:
        """See `Kernels.close`."""
        sizes, buffers = _clip(clip, mask, opened.size)
        _check_packed(reply, opened.size, clip.reply_bits)
        out = np.empty(opened.size, np.uint32)
        _native.clip_close(self.level, sizes, *buffers, _flat(opened), reply, out)
        return out

    def deal(self, clip: ClipSize, patient: Mask, fresh: Words, made: Mask) -> None:
        """See `Kernels.deal`."""
        sizes, buffers = _clip(clip, patient, fresh.size)
        _clip(clip, made, fresh.size)
        _native.clip_deal(self.level, sizes, *buffers, _flat(fresh), made.index, made.data)


def _flat(words: Words) -> Words:
    return np.ascontiguousarray(words, np.uint32)


def _check_packed(data: Buffer, count: int, width: int) -> None:
    """A packed array has its length, and zeros beyond its last value."""
    if len(data) != packed_size(count, width):
        raise wrong_length("a packed array")
    used = count * width % 8
    if used and data[-1] >> used:
        raise filled_tail()


def _clip(clip: ClipSize, mask: Mask, count: int) -> tuple[_native.Clip, tuple[Indices, Bytes]]:
    """The numbers and buffers of a clip, their sizes checked."""
    if mask.index.size != count or mask.data.size != clip.element_bytes * count:
        raise wrong_length("a mask")
    return (clip.ring_bits, clip.low_bits, clip.high_bits, clip.shift, clip.low), (mask.index, mask.data)


def _shapes(term: Term, shape: Shape) -> tuple[tuple[int, ...], Shape]:
    """Shape of a term's weights, and of the wire it makes."""
    c, h, w = shape
    if isinstance(term, Scale):
        return (c,), shape
    if isinstance(term, Dense):
        return (term.out, prod(shape)), (term.out, 1, 1)
    k, s = term.kernel, term.stride
    if isinstance(term, ConvTranspose):
        more = k + term.trailing - 2 * term.padding
        return (c, term.out, k, k), (term.out, (h - 1) * s + more, (w - 1) * s + more)
    if c % term.groups or term.out % term.groups:
        raise _refuse("a number of groups")
    more = 2 * term.padding + term.trailing - k
    return (term.out, c // term.groups, k, k), (term.out, (h + more) // s + 1, (w + more) // s + 1)
