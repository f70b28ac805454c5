"""Convolutions of any kernel, dilation and padding as square ones: zeros are embedded in their weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.compile.graph import Part, Real, unsupported
from protocols.blind.layers import Conv, ConvTranspose
from protocols.blind.shapes import MAX_KERNEL


@dataclass(frozen=True)
class Window:
    """How a convolution walks: steps and distances between taps by axis; padding left, right, top, bottom."""

    stride: tuple[int, int]
    dilation: tuple[int, int]
    sides: tuple[int, int, int, int]


def _dilated(w: Real, dilation: tuple[int, int]) -> Real:
    if dilation == (1, 1):
        return w
    rows, columns = ((n - 1) * d + 1 for n, d in zip(w.shape[2:], dilation, strict=True))
    wide = np.zeros((*w.shape[:2], rows, columns))
    wide[:, :, :: dilation[0], :: dilation[1]] = w
    return wide


def _embedded(w: Real, kernel: int, row: int, column: int) -> Real:
    if w.shape[2:] == (kernel, kernel):
        return w
    wide = np.zeros((*w.shape[:2], kernel, kernel))
    wide[:, :, row : row + w.shape[2], column : column + w.shape[3]] = w
    return wide


def _fit(
    kernel: int, size: tuple[int, int], sides: tuple[int, int, int, int]
) -> tuple[int, int, int, int] | None:
    """(row, column, padding, trailing) such that kernel zeros around stand for the padding asked for."""
    left, right, top, bottom = sides
    for row in range(kernel - size[0] + 1):
        padding = top + row
        column, trailing = padding - left, bottom + kernel - size[0] - row - padding
        fits = 0 <= column <= kernel - size[1] and trailing >= 0 and padding < kernel
        if fits and right + kernel - size[1] - column == padding + trailing:
            return row, column, padding, trailing
    return None


def convolution(name: str, source: int, weight: Real, groups: int, window: Window) -> Part:
    """A convolution as the blind engine has it. Raises `UserError` naming the layer."""
    if window.stride[0] != window.stride[1]:
        raise unsupported(name, "its stride differs between rows and columns", "use the same stride for both")
    if min(window.sides) < 0:
        raise unsupported(name, "its padding cuts the image off", "crop the images beforehand")
    w = _dilated(weight, window.dilation)
    size = w.shape[2], w.shape[3]
    if size[0] - sum(window.sides[2:]) != size[1] - sum(window.sides[:2]):
        raise unsupported(
            name, "it shrinks rows and columns by different amounts", "pad it by half its kernel"
        )
    for kernel in range(max(size), MAX_KERNEL + 1):
        found = _fit(kernel, size, window.sides)
        if found is not None:
            row, column, padding, trailing = found
            term = Conv(source, len(w), kernel, window.stride[0], padding, trailing, groups)
            return Part(term, _embedded(w, kernel, row, column))
    raise unsupported(
        name, f"its kernel or padding is beyond {MAX_KERNEL}", "use a smaller kernel or dilation"
    )


def transposed(
    name: str, source: int, weight: Real, groups: int, window: Window, trailing: tuple[int, int]
) -> Part:
    """A transposed convolution as the blind engine has it; groups become zeros. Raises `UserError`."""
    if window.stride[0] != window.stride[1] or trailing[0] != trailing[1]:
        raise unsupported(name, "its stride differs between rows and columns", "use the same stride for both")
    w = _dilated(weight, window.dilation)
    if groups > 1:
        inputs, outs = w.shape[0] // groups, w.shape[1]
        wide = np.zeros((w.shape[0], outs * groups, *w.shape[2:]))
        for g in range(groups):
            wide[g * inputs : (g + 1) * inputs, g * outs : (g + 1) * outs] = w[g * inputs : (g + 1) * inputs]
        w = wide
    left, _, top, _ = window.sides
    kernel = max(w.shape[2:])
    spare = kernel - w.shape[2], kernel - w.shape[3]
    row, column = spare[0] // 2, spare[1] // 2
    if spare[0] % 2 or spare[1] % 2 or top + row != left + column or top + row >= kernel:
        raise unsupported(name, "its kernel and padding have no square equivalent", "use a square kernel")
    term = ConvTranspose(source, w.shape[1], kernel, window.stride[0], top + row, trailing[0])
    return Part(term, _embedded(w, kernel, row, column))
