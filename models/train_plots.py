"""Curves as PNG pictures, drawn with Pillow: training curves, reliability. No plotting library is needed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.metrics import Labels, Logits, called, probabilities

Curve: TypeAlias = Sequence[tuple[float, float]]

_FINE = 2  # drawn this many times larger, then reduced: smooth lines
_WIDE, _TALL, _LEFT, _TOP, _RIGHT, _FOOT = 460, 320, 56, 36, 16, 48
_INKS = ("#1f5fa8", "#c8502a", "#3a8a4d", "#7a4fa0")
_GREY, _FAINT = "#444444", "#dddddd"


def plot(panels: Sequence[dict[str, object]]) -> bytes:
    """A PNG of panels side by side. A panel: `title`, `x`, `y` (labels), `curves` (name to points), and at will
    `range` (lowest and highest y), `diagonal` (draw y = x) and `dots` (mark the points)."""
    sheet = Image.new("RGB", (_WIDE * len(panels) * _FINE, _TALL * _FINE), "white")
    for index, panel in enumerate(panels):
        _panel(ImageDraw.Draw(sheet), index * _WIDE, panel)
    held = io.BytesIO()
    sheet.resize((_WIDE * len(panels), _TALL), Image.Resampling.LANCZOS).save(held, "PNG", optimize=True)
    return held.getvalue()


def _panel(draw: ImageDraw.ImageDraw, at: int, panel: dict[str, object]) -> None:
    curves: dict[str, Curve] = {n: [p for p in c if _real(p)] for n, c in panel["curves"].items()}  # type: ignore[attr-defined]
    points = [point for curve in curves.values() for point in curve] or [(0.0, 0.0)]
    xs = (min(p[0] for p in points), max(p[0] for p in points))
    ys = panel.get("range") or (min(p[1] for p in points), max(p[1] for p in points))
    if panel.get("diagonal"):
        xs = (0.0, 1.0)
    assert isinstance(ys, tuple)
    box = (at + _LEFT, _TOP, at + _WIDE - _RIGHT, _TALL - _FOOT)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = (point[0] - xs[0]) / max(xs[1] - xs[0], 1e-9)
        up = (point[1] - ys[0]) / max(ys[1] - ys[0], 1e-9)
        return (box[0] + across * (box[2] - box[0])) * _FINE, (box[3] - up * (box[3] - box[1])) * _FINE

    _frame(draw, box, xs, ys, panel)
    if panel.get("diagonal"):
        draw.line([place((0, 0)), place((1, 1))], fill="#999999", width=_FINE)
    for index, (name, curve) in enumerate(curves.items()):
        ink = _INKS[index % len(_INKS)]
        spots = [place(point) for point in curve]
        if len(spots) > 1:
            draw.line(spots, fill=ink, width=2 * _FINE, joint="curve")
        for x, y in spots if panel.get("dots") or len(spots) == 1 else []:
            draw.ellipse([x - 4 * _FINE, y - 4 * _FINE, x + 4 * _FINE, y + 4 * _FINE], fill=ink)
        _text(draw, (box[0] + 130 * index, box[3] + 26), name, ink, 12)


def _frame(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    xs: tuple[float, float],
    ys: tuple[float, float],
    panel: dict[str, object],
) -> None:
    left, top, right, foot = box
    for step in range(5):
        height, across = foot - (foot - top) * step / 4, left + (right - left) * step / 4
        draw.line([(left * _FINE, height * _FINE), (right * _FINE, height * _FINE)], fill=_FAINT, width=_FINE)
        _text(draw, (left - 6, height), f"{ys[0] + (ys[1] - ys[0]) * step / 4:.3g}", _GREY, 11, "rm")
        _text(draw, (across, foot + 6), f"{xs[0] + (xs[1] - xs[0]) * step / 4:.3g}", _GREY, 11, "ma")
    draw.rectangle([left * _FINE, top * _FINE, right * _FINE, foot * _FINE], outline=_GREY, width=_FINE)
    _text(draw, ((left + right) / 2, 10), str(panel["title"]), "black", 14, "ma")
    _text(draw, (right, foot + 26), str(panel["x"]), _GREY, 12, "ra")
    _text(draw, (left, top - 6), str(panel.get("y", "")), _GREY, 11, "ls")


def _text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, ink: str, size: int, anchor: str = "la"
) -> None:
    font = ImageFont.load_default(size * _FINE)
    draw.text((at[0] * _FINE, at[1] * _FINE), text, fill=ink, font=font, anchor=anchor)


def _real(point: tuple[float, float]) -> bool:
    return all(value == value and abs(value) < 1e30 for value in point)


def reliability_panel(
    labels: Labels, logits: Logits, title: str = "Reliability", bins: int = 5
) -> dict[str, object]:
    """For `plot`: of two classes, how often class 1 is true against its probability; of more, how often the winner
    is right against its probability. Bins of equal count."""
    told = probabilities(logits)
    two = told.shape[1] == 2
    sure = told[:, 1] if two else told.max(axis=1)
    true = labels == 1 if two else called(logits) == labels
    order = np.argsort(sure, kind="stable")
    groups = [group for group in np.array_split(order, min(bins, len(order))) if len(group)]
    curve = [(float(sure[group].mean()), float(true[group].mean())) for group in groups]
    return {
        "title": title,
        "x": "probability told",
        "y": "how often true",
        "range": (0.0, 1.0),
        "diagonal": True,
        "dots": True,
        "curves": {f"{len(groups)} groups, n = {len(labels)}": curve},
    }
