"""Pictures of a segmented volume that need no program to look at: up to twelve slices on one PNG."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from agents.report.segmentation_planes import Counts, Plane, Study

MOST = 12
SIDE = 300  # pixels of a tile's longer side
GAP = 8
STRIP = 22  # the line of text above a tile
FOOT = 62  # heading and legend above all
LEAST_WIDE = 176  # so that the text of a narrow slice fits
LEAST_SHEET = 640  # and the heading's
# Okabe and Ito's colours, which people who confuse red and green tell apart; the label's outline is also dashed.
LUNG = (86, 180, 233)
INFECTION = (255, 112, 32)
LABELS = (240, 228, 66)
FILL = 0.38
GROUND = (11, 15, 15)
INK = (226, 232, 230)
QUIET = (160, 172, 168)


def pick(counts: Counts, most: int = MOST) -> list[int]:
    """Up to `most` slices, evenly among those with lung; the one with most infection and its rivals are among them.

    Where no lung was found, slices with infection or a label stand in, and where there is neither, all slices.
    """
    where = next((marked for marked in _candidates(counts) if marked.size), np.arange(counts.lung.size))
    if where.size <= most:
        return [int(index) for index in where]
    even = where[np.round(np.linspace(0, where.size - 1, most)).astype(int)]
    chosen = [int(index) for index in even]
    apart = where.size // (2 * most)
    kept: set[int] = set()
    for peak in _peaks(counts.infection, apart)[: most // 4]:
        nearest = min((i for i in range(most) if i not in kept), key=lambda i: abs(chosen[i] - peak))
        if peak not in chosen:
            chosen[nearest] = peak
        kept.add(chosen.index(peak))
    return sorted(chosen)


def _candidates(counts: Counts) -> list[NDArray[np.intp]]:
    return [np.flatnonzero(counts.lung), np.flatnonzero(counts.infection + counts.labels)]


def _peaks(infection: NDArray[np.int64], apart: int) -> list[int]:
    """Infected slices, most infected first, none nearer than `apart` to one before it."""
    peaks: list[int] = []
    for index in np.argsort(-infection, kind="stable").tolist():
        if infection[index] == 0:
            break
        if all(abs(index - other) > apart for other in peaks):
            peaks.append(index)
    return peaks


def montage(study: Study, plane: Plane, counts: Counts, side: int = SIDE) -> Image.Image:
    """The picked slices in reading order, with a legend, each with its number and position."""
    chosen = pick(counts)
    tiles = [_tile(study, plane, index, side) for index in chosen]
    wide, high = max(tiles[0].width, LEAST_WIDE), tiles[0].height
    across = _columns(len(tiles), wide + GAP, high + STRIP + GAP)
    down = -(-len(tiles) // across)
    width = max(GAP + across * (wide + GAP), LEAST_SHEET)
    sheet = Image.new("RGB", (width, FOOT + down * (high + STRIP + GAP)), GROUND)
    pen = ImageDraw.Draw(sheet)
    _heading(pen, study, plane)
    for place, (index, tile) in enumerate(zip(chosen, tiles, strict=True)):
        left = GAP + place % across * (wide + GAP)
        top = FOOT + place // across * (high + STRIP + GAP)
        pen.text((left, top + 2), caption(study, plane, index), fill=INK, font=_font(13))
        share = counts.percents()[index]
        if share is not None and counts.infection[index]:
            told = f"{share:.1f} %"
            pen.text((left + wide, top + 2), told, fill=INFECTION, font=_font(13), anchor="ra")
        sheet.paste(tile, (left, top + STRIP))
    return sheet


def caption(study: Study, plane: Plane, index: int) -> str:
    """Number from 1, and the distance of the slice's middle from the middle of the first."""
    away = round(index * study.spacing[plane.axis], 1)
    return f"{index + 1} of {study.shape[plane.axis]}, {away:g} mm"


def _columns(count: int, wide: int, high: int) -> int:
    """As many columns as make the sheet most like 4 to 3, and as the heading is wide anyway."""
    least = min(count, LEAST_SHEET // wide)
    return min(
        range(max(1, least), count + 1), key=lambda n: abs(np.log(n * wide * 3 / (-(-count // n) * high * 4)))
    )


def _heading(pen: ImageDraw.ImageDraw, study: Study, plane: Plane) -> None:
    left, _, top, _ = plane.edges
    words = {"R": "patient's right", "A": "front", "S": "head"}
    way = f"{words[left]} at the left, {words[top]} at the top, from {plane.ends[0]} to {plane.ends[1]}"
    pen.text((GAP, 9), f"{plane.name} slices: {way}", fill=QUIET, font=_font(13))
    marks = [("Lung", LUNG), ("Infection, percent of the slice's lung", INFECTION)]
    if study.labels is not None:
        marks.append(("Label given (dashed)", LABELS))
    at = float(GAP)
    for name, colour in marks:
        pen.rectangle((at, 36, at + 14, 48), outline=colour, width=2, fill=_soft(name, colour))
        pen.text((at + 21, 35), name, fill=INK, font=_font(13))
        at += 21 + pen.textlength(name, font=_font(13)) + 24


def _soft(name: str, colour: tuple[int, int, int]) -> tuple[int, int, int] | None:
    if not name.startswith("Infection"):
        return None
    red, green, blue = (round(FILL * part) for part in colour)
    return red, green, blue


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _tile(study: Study, plane: Plane, index: int, side: int) -> Image.Image:
    """One slice in the body's proportions, marks drawn over it."""
    wide_mm, high_mm = plane.size_mm(study.shape, study.spacing)
    scale = side / max(wide_mm, high_mm)
    size = max(1, round(wide_mm * scale)), max(1, round(high_mm * scale))
    grey = Image.fromarray(np.ascontiguousarray(plane.picture(study.grey, index)))
    pixels = np.repeat(np.asarray(grey.resize(size, Image.Resampling.BILINEAR))[..., None], 3, axis=2)
    lung, infection = (_fit(plane.picture(mask, index), size) for mask in (study.lung, study.infection))
    pixels[infection] = _mix(pixels[infection], INFECTION, FILL)
    pixels[_edge(lung)] = LUNG
    pixels[_edge(infection)] = INFECTION
    if study.labels is not None:
        outline = _edge(_fit(plane.picture(study.labels, index), size))
        rows, columns = np.indices(outline.shape, np.int32)
        pixels[outline & ((rows + columns) // 3 % 2 == 0)] = LABELS
    return Image.fromarray(pixels)


def _mix(pixels: NDArray[np.uint8], colour: tuple[int, int, int], share: float) -> NDArray[np.uint8]:
    mixed = pixels * (1 - share) + np.array(colour) * share
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def _fit(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mark at the tile's size. Made smaller, a pixel is marked where any of it is; made larger, by halves."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    for place in (0, 1):
        small = size[place] < image.size[place]
        step = (size[0], image.height) if place == 0 else (image.width, size[1])
        image = image.resize(step, Image.Resampling.BOX if small else Image.Resampling.BILINEAR)
        image = image.point([255 * (value > (0 if small else 127)) for value in range(256)])
    return np.asarray(image) > 0


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of the mark that touch its outside; the picture's own edge is outside."""
    outer = np.pad(mask, 1)
    inside = outer[:-2, 1:-1] & outer[2:, 1:-1] & outer[1:-1, :-2] & outer[1:-1, 2:]
    return mask & ~inside
