"""A volume's slices as sheets of small pictures, packed so that one page can hold them all.

A sheet holds up to sixteen slices, four in a row: the grey values as JPEG, the marks as a PNG of eight colours whose
red says lung, green infection and blue label. Sides above 256 pixels are made smaller by a whole factor; when a
volume does not fit its share of the page all the same, quality falls first and then slices are left out.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agents.report.segmentation_planes import PLANES, Plane, Study, shrink, shrink_mask

MOST_SIDE = 256
MAX_BYTES = 15_000_000  # of all sheets; a third more as text
ACROSS = 4
ON_SHEET = 16
QUALITIES = (82, 66, 50)
_BLOCK = 8  # JPEG works on squares of this side; tiles begin on one, so that none shines into the next
_PALETTE = [255 * (index >> bit & 1) for index in range(8) for bit in range(3)]


@dataclass(frozen=True, slots=True)
class Sheets:
    """The slices of one plane. width and height are a tile's, pitch the distance between the tiles' corners."""

    plane: Plane
    step: int
    factors: tuple[int, int]  # columns, rows
    width: int
    height: int
    pitch: tuple[int, int]
    grey: tuple[bytes, ...]
    marks: tuple[bytes, ...]

    @property
    def size(self) -> int:
        return sum(map(len, self.grey)) + sum(map(len, self.marks))


def pack(study: Study, plane: Plane, most_bytes: int = MAX_BYTES // len(PLANES)) -> Sheets:
    """The sheets of one plane in at most `most_bytes`; no more than one sheet lies unpacked in memory at a time."""
    step = 1
    while True:
        marks = _encode(_mark_tiles(study, plane, step), "PNG", 0, most_bytes)
        for quality in QUALITIES if marks is not None else ():
            left = most_bytes - sum(map(len, marks or ()))
            grey = _encode(_grey_tiles(study, plane, step), "JPEG", quality, left)
            if marks is not None and grey is not None:
                return _sheets(study, plane, step, grey, marks)
        if step > study.shape[plane.axis]:
            raise ValueError("not even one slice fits the page")
        step *= 2


def factors(shape: tuple[int, ...], plane: Plane) -> tuple[int, int]:
    """By how much a picture's columns and rows are made smaller."""
    across, down = (-(-shape[axis] // MOST_SIDE) for axis in (plane.columns, plane.rows))
    return across, down


def _sheets(study: Study, plane: Plane, step: int, grey: list[bytes], marks: list[bytes]) -> Sheets:
    across, down = factors(study.shape, plane)
    width, height = -(-study.shape[plane.columns] // across), -(-study.shape[plane.rows] // down)
    pitch = _whole(width), _whole(height)
    return Sheets(plane, step, (across, down), width, height, pitch, tuple(grey), tuple(marks))


def _whole(side: int) -> int:
    return -(-side // _BLOCK) * _BLOCK


def _grey_tiles(study: Study, plane: Plane, step: int) -> Iterator[NDArray[np.uint8]]:
    across, down = factors(study.shape, plane)
    for index in range(0, study.shape[plane.axis], step):
        yield shrink(plane.picture(study.grey, index), down, across)


def _mark_tiles(study: Study, plane: Plane, step: int) -> Iterator[NDArray[np.uint8]]:
    """Bit 0 lung, bit 1 infection, bit 2 label."""
    across, down = factors(study.shape, plane)
    masks = [(1, study.lung), (2, study.infection)]
    if study.labels is not None:
        masks.append((4, study.labels))
    for index in range(0, study.shape[plane.axis], step):
        bits = [
            shrink_mask(plane.picture(mask, index), down, across).astype(np.uint8) * bit
            for bit, mask in masks
        ]
        yield np.bitwise_or.reduce(bits)


def _encode(
    tiles: Iterator[NDArray[np.uint8]], form: str, quality: int, most_bytes: int
) -> list[bytes] | None:
    """The tiles on sheets, or None as soon as they take more than `most_bytes`."""
    out: list[bytes] = []
    spent = 0
    waiting: list[NDArray[np.uint8]] = []
    for tile in tiles:
        waiting.append(tile)
        if len(waiting) == ON_SHEET:
            out.append(_sheet(waiting, form, quality))
            spent += len(out[-1])
            waiting = []
        if spent > most_bytes:
            return None
    if waiting:
        out.append(_sheet(waiting, form, quality))
    return out if sum(map(len, out)) <= most_bytes else None


def _sheet(tiles: list[NDArray[np.uint8]], form: str, quality: int) -> bytes:
    height, width = tiles[0].shape
    down = -(-len(tiles) // ACROSS)
    across = min(len(tiles), ACROSS)
    pixels = np.zeros((down * _whole(height), across * _whole(width)), np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // ACROSS * _whole(height), place % ACROSS * _whole(width)
        padding = ((0, _whole(height) - height), (0, _whole(width) - width))
        pixels[top : top + _whole(height), left : left + _whole(width)] = np.pad(tile, padding, mode="edge")
    image = Image.fromarray(pixels)
    packed = io.BytesIO()
    if form == "JPEG":
        image.save(packed, "JPEG", quality=quality, optimize=True)
    else:
        image.putpalette(_PALETTE)
        image.save(packed, "PNG", optimize=True)
    return packed.getvalue()
