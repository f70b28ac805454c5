"""How benchmarks tell: figures, the machine, a table, plots drawn with Pillow."""

from __future__ import annotations

import os
import platform
from math import log10
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image, ImageDraw

Figure: TypeAlias = dict[str, Any]
WIDE, TALL, EDGE = 720, 380, 60
INK = (40, 40, 40)
COLOURS = ((20, 110, 180), (110, 180, 230), (150, 150, 150), (190, 80, 40), (225, 160, 60))


def figure(name: str, value: float, unit: str, bar: str | None = None, holds: bool | None = None) -> Figure:
    """One figure of a report."""
    return {"name": name, "value": value, "unit": unit, "bar": bar, "holds": holds}


def measured(name: str, value: float, unit: str, bar: str | None = None, holds: bool | None = None) -> Figure:
    """A figure to four significant digits: what a measurement is worth."""
    return figure(name, float(f"{value:.4g}"), unit, bar, holds)


def machine() -> dict[str, Any]:
    """What it was measured on."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
        "load at the start": round(os.getloadavg()[0], 2),
    }


def markdown(figures: list[Figure]) -> str:
    """The figures as a table."""
    rows = ["| figure | value | unit | bar | holds |", "|---|--:|---|---|---|"]
    for f in figures:
        value = f"{f['value']:,}" if f["unit"] == "gas" else f"{f['value']:g}"
        holds = {None: "", True: "yes", False: "NO"}[f["holds"]]
        rows.append(f"| {f['name']} | {value} | {f['unit']} | {f['bar'] or ''} | {holds} |")
    return "\n".join(rows)


def put_in_page(page: Path, script: str, table: str) -> None:
    """Replaces what stands between a script's marks in a page."""
    begin, end = f"<!-- figures: begin ({script}) -->", "<!-- figures: end -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{table}\n{end}{after}", encoding="utf-8")


def told(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _log_position(value: float, low: float, high: float, length: float) -> float:
    return (log10(value) - log10(low)) / (log10(high) - log10(low)) * length


def lines(path: Path, title: str, unit: str, series: dict[str, dict[float, float]]) -> None:
    """A log-log chart: each series {x: y}."""
    xs = [float(x) for points in series.values() for x in points]
    ys = [y for points in series.values() for y in points.values()]
    low_y, high_y = min(ys) / 1.5, max(ys) * 1.5
    picture = Image.new("RGB", (WIDE, TALL), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((EDGE, 12), f"{title} ({unit})", INK, font_size=16)
    wide, tall = WIDE - 2 * EDGE, TALL - 2 * EDGE
    draw.line((EDGE, EDGE, EDGE, TALL - EDGE, WIDE - EDGE, TALL - EDGE), INK)

    def at(x: float, y: float) -> tuple[float, float]:
        across = _log_position(x, min(xs), max(xs), wide)
        return EDGE + across, TALL - EDGE - _log_position(y, low_y, high_y, tall)

    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[(0, 3)[number % 2]]
        places = [at(float(x), y) for x, y in points.items()]
        draw.line(places, colour, 2)
        for (x, y), (key, value) in zip(places, points.items(), strict=True):
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), colour)
            draw.text((x, y - 16), told(value), colour, anchor="mm", font_size=11)
            draw.text((x, TALL - EDGE + 12), f"{float(key):g}", INK, anchor="mm", font_size=11)
        draw.text((WIDE - EDGE, 14 + 16 * number), name, colour, anchor="ra", font_size=13)
    picture.save(path)


def bars(path: Path, title: str, unit: str, groups: dict[str, dict[str, float]]) -> None:
    """A chart of bars on a logarithmic axis: groups {label: {series: value}}."""
    values = [v for group in groups.values() for v in group.values()]
    low, high = min(values) / 2, max(values) * 2
    tall = 40 + 22 * sum(len(group) + 1 for group in groups.values())
    picture = Image.new("RGB", (WIDE, tall), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((16, 10), f"{title} ({unit}, logarithmic)", INK, font_size=16)
    y, start = 44, 230
    for label, group in groups.items():
        for number, (name, value) in enumerate(group.items()):
            colour = COLOURS[number % len(COLOURS)]
            length = _log_position(value, low, high, WIDE - start - 80)
            draw.rectangle((start, y, start + length, y + 16), colour)
            draw.text(
                (start - 8, y + 8), f"{label if not number else ''}  {name}", INK, anchor="rm", font_size=12
            )
            draw.text((start + length + 6, y + 8), told(value), INK, anchor="lm", font_size=12)
            y += 22
        y += 22
    picture.save(path)


def plots(answer: dict[str, Any], folder: Path) -> None:
    """Seconds by peer; growth by side and by batch."""
    folder.mkdir(parents=True, exist_ok=True)
    groups = {}
    for name, told in answer["networks"].items():
        group = {
            "blind, in all": told["blind"]["seconds"] * 1e3,
            "blind, online": told["blind"]["seconds_online"] * 1e3,
        }
        group["plain float32"] = told["plain"]["seconds"] * 1e3
        for peer in ("crypten", "spu"):
            if "seconds" in told.get(peer, {}):
                group[{"crypten": "CrypTen", "spu": "SPU semi2k"}[peer]] = told[peer]["seconds"] * 1e3
        groups[name] = group
    bars(folder / "blind-inference-peers.png", "One image", "ms", groups)
    for key, axis in (("lenet by side", "side"), ("lenet by batch", "batch")):
        told = answer.get("growth", {}).get(key)
        if told:
            series = {
                "in all": {float(x): one["seconds"] * 1e3 for x, one in told.items()},
                "online": {float(x): one["seconds_online"] * 1e3 for x, one in told.items()},
            }
            lines(folder / f"blind-inference-{axis}.png", f"LeNet, by {axis}", "ms", series)
