"""The drawings of the report: SVG coloured by the style sheet, without style attributes (CSP)."""

from __future__ import annotations

from agents.report.markup import Html, h
from agents.report.result import BUCKETS, REPUTATION_MAX, CaseResult, Seat
from agents.report.words import percent, reputation


def bar(share: float, kind: str = "") -> Html:
    """A plain bar; its number stands beside it as text, so it is hidden from screen readers."""
    width = round(100 * min(max(share, 0.0), 1.0), 2)
    return h(
        "svg",
        {
            "class": f"bar {kind}".strip(),
            "viewBox": "0 0 100 8",
            "preserveAspectRatio": "none",
            "aria-hidden": "true",
        },
        h("rect", {"class": "track", "width": 100, "height": 8}),
        h("rect", {"class": "fill", "width": width, "height": 8}),
    )


def certainty_gauge(probability: float | None, bucket: int | None) -> Html:
    """The probability as a bar, and the four buckets of which one is lit."""
    boxes = [
        h(
            "li",
            {"class": "on" if index == bucket else None, "aria-current": "true" if index == bucket else None},
            name,
        )
        for index, name in enumerate(BUCKETS)
    ]
    head = (
        None if probability is None else [h("p", {"class": "figure"}, percent(probability)), bar(probability)]
    )
    return h(
        "div",
        {"class": "gauge"},
        head,
        h("ol", {"class": "buckets", "aria-label": "Confidence bucket"}, boxes),
    )


def seat_dots(result: CaseResult) -> Html:
    """One disc a seat of the last round: filled agrees, half does not, ring said nothing."""
    seats = result.seats_of(result.rounds)
    return h("div", {"class": "dots", "aria-hidden": "true"}, [_dot(result, seat) for seat in seats])


def _dot(result: CaseResult, seat: Seat) -> Html:
    agrees = seat.verdict is not None and seat.verdict == result.label
    kind = "agree" if agrees else "silent" if seat.verdict is None else "differ"
    half = h("path", {"d": "M10 2 A8 8 0 0 1 10 18 Z", "class": "half"}) if kind == "differ" else None
    ring = h("circle", {"cx": 10, "cy": 10, "r": 8, "class": "ring"})
    return h("svg", {"class": f"dot {kind}", "viewBox": "0 0 20 20"}, ring, half)


def reputation_bar(before: int | None, after: int | None) -> Html:
    """Where the reputation stood and where it went, out of 10,000."""
    if before is None and after is None:
        return h("span", {}, "—")
    old = (after if before is None else before) or 0
    new = (before if after is None else after) or 0
    scale = 100 / REPUTATION_MAX
    low, high = sorted((old * scale, new * scale))
    moved = max(high - low, 0.8) if old != new else 0.0
    drawing = h(
        "svg",
        {"class": "bar rep", "viewBox": "0 0 100 8", "preserveAspectRatio": "none", "aria-hidden": "true"},
        h("rect", {"class": "track", "width": 100, "height": 8}),
        h("rect", {"class": "fill", "width": low, "height": 8}),
        h("rect", {"class": "up" if new > old else "down", "x": low, "width": moved, "height": 8}),
    )
    change = "" if before is None or after is None else f" ({after - before:+,})".replace("-", "−")
    text = f"{reputation(before)} → {reputation(after)}"
    return h("div", {"class": "repcell"}, h("span", {}, text, h("span", {"class": "quiet"}, change)), drawing)
