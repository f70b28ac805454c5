"""How fast this machine does the arithmetic of blind inference: measured in a moment, once a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from protocols.blind.estimate import Speed
from protocols.blind.kernels import best_kernels
from protocols.blind.kernels.interface import ClipSize, Mask
from protocols.blind.layers import Conv
from protocols.blind.prg import Stream

_ELEMENTS = 1 << 14
_SIDE, _CHANNELS = 24, 32
_CLIP = ClipSize(24, 7, 6, 11)


def _best(act: Callable[[], object], times: int = 3) -> float:
    """The least of a few tries, in seconds."""
    act()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        taken.append(time.perf_counter() - start)
    return min(taken)


@lru_cache(maxsize=1)
def measure() -> Speed:
    """Takes about a tenth of a second; call it off the event loop."""
    kernels, rng = best_kernels(), np.random.default_rng(0)
    term, shape = Conv(0, _CHANNELS, 3, 1, 1), (_CHANNELS, _SIDE, _SIDE)
    adds = _CHANNELS * _CHANNELS * 9 * _SIDE * _SIDE
    x = rng.integers(0, 1 << 24, (1, *shape), np.uint32)
    out = np.zeros_like(x)
    each = {}
    for wide, most in ((False, 1 << 10), (True, 1 << 23)):
        weights = rng.integers(-most, most, (_CHANNELS, _CHANNELS, 3, 3))
        operator = kernels.prepare(term, shape, weights, 24, wide)
        each[wide] = _best(lambda op=operator: op.apply(x, out)) / adds  # type: ignore[misc]
    n, clip = _ELEMENTS, _CLIP

    def draw() -> Mask:
        stream = Stream(bytes(32), b"calibration")
        return Mask(clip, stream.octets(2 * n).view("<u2"), stream.octets(n * clip.element_bytes))

    mask, words = draw(), rng.integers(0, 1 << 24, n, np.uint32)
    theirs = Mask.blank(clip, n)
    kernels.deal(clip, mask, words, theirs)
    message, opened = kernels.open(clip, words, words, theirs)
    reply = kernels.answer(clip, message, mask, words)
    drawing = _best(draw)
    online = (
        _best(lambda: kernels.open(clip, words, words, theirs))
        + _best(lambda: kernels.answer(clip, message, mask, words))
        + _best(lambda: kernels.close(clip, opened, reply, theirs))
    )
    dealing = drawing + _best(lambda: kernels.deal(clip, mask, words, theirs))
    return Speed(each[False], each[True], dealing / n, drawing / n, online / n)
