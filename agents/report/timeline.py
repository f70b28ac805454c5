"""The time line of a case: one lane an agent, against seconds, under the phases of the case."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from agents.progress import PHASES, phase_of, printable
from agents.report.markup import Child, Html, h
from agents.report.result import CaseResult, Step
from agents.report.words import seconds

ROLES = ("patient", "model", "dealer", "doctor", "researcher", "chain")
WIDTH, GUTTER, LANE, TOP = 1000, 158, 30, 64
Place = Callable[[float], float]


def timeline(result: CaseResult) -> Html:
    """The drawing, with the names of its phases below. There must be at least one step."""
    steps = result.timeline
    start, span = steps[0].t, max(steps[-1].t - steps[0].t, 1e-3)
    lanes = lanes_of(steps)
    height = TOP + LANE * len(lanes) + 6

    def x(t: float) -> float:
        return round(GUTTER + (t - start) / span * (WIDTH - GUTTER - 18), 2)

    phases = phases_of(steps)
    parts: list[Child] = [_axis(span, height, lambda t: x(t + start)), _band(phases, x, start)]
    for index, (who, role) in enumerate(lanes):
        own = [step for step in steps if step.who == who]
        parts.append(_lane(who, role, TOP + LANE * index + LANE / 2, own, x, start))
    label = f"{len(steps)} events of {len(lanes)} agents over {seconds(span)}; the table below lists them"
    svg = h(
        "svg",
        {"class": "timeline", "viewBox": f"0 0 {WIDTH} {height}", "role": "img", "aria-label": label},
        parts,
    )
    box = {"class": "scroll", "tabindex": "0", "role": "group", "aria-label": "Time line, scrolls sideways"}
    return h("div", {}, h("div", box, svg), _key(phases))


def lanes_of(steps: Sequence[Step]) -> list[tuple[str, str]]:
    """Each agent and its role, the roles in the order in which a case meets them."""
    first: dict[str, str] = {}
    for step in steps:
        first.setdefault(step.who, step.role)
    rank = {role: index for index, role in enumerate(ROLES)}
    return sorted(first.items(), key=lambda lane: rank.get(lane[1], len(ROLES)))


def phases_of(steps: Sequence[Step]) -> list[tuple[str, float, float]]:
    """Phase, begin, end: a phase lasts until a later one is first seen, the last until the last event."""
    first: dict[str, float] = {}
    for step in steps:
        phase = phase_of(step.step)
        if phase is not None:
            first.setdefault(phase, step.t)
    order: list[tuple[str, float]] = []
    for phase in PHASES:
        begin = first.get(phase)
        if begin is not None:
            order.append((phase, max([begin, *(t for _, t in order[-1:])])))
    begins = [begin for _, begin in order] + [steps[-1].t]
    spans = zip(order, pairwise(begins), strict=True)
    return [(phase, begin, max(begin, end)) for (phase, _), (begin, end) in spans]


def _axis(span: float, height: float, x: Place) -> list[Child]:
    """Upright lines at round numbers of seconds."""
    rough = span / 8
    power = 10.0 ** math.floor(math.log10(rough))
    tick = next(power * step for step in (1, 2, 5, 10) if power * step >= rough)
    lines: list[Child] = []
    for count in range(int(span / tick) + 1):
        at = x(count * tick)
        lines.append(h("line", {"class": "grid", "x1": at, "x2": at, "y1": 18, "y2": height}))
        lines.append(h("text", {"class": "tick", "x": at, "y": 12}, f"{count * tick:g} s"))
    return lines


def _band(phases: Sequence[tuple[str, float, float]], x: Place, start: float) -> list[Child]:
    """The phases as a strip; each has its number, which the key below names."""
    parts: list[Child] = []
    for number, (phase, begin, end) in enumerate(phases, 1):
        left, width = x(begin), max(x(end) - x(begin), 2)
        title = h("title", {}, f"{phase}: from {seconds(begin - start)}, for {seconds(end - begin)}")
        shape = {"class": f"phase p{number % 2}", "x": left, "y": 24, "width": width, "height": 26, "rx": 3}
        parts.append(h("rect", shape, title))
        if width > 16:
            room = width > 7.2 * len(phase) + 28
            text = f"{number} {phase}" if room else str(number)
            parts.append(h("text", {"class": "phasename", "x": left + width / 2, "y": 41}, text))
    return parts


def _key(phases: Sequence[tuple[str, float, float]]) -> Html | None:
    if not phases:
        return None
    items = [
        h("li", {}, phase, " ", h("span", {"class": "quiet"}, seconds(end - begin)))
        for phase, begin, end in phases
    ]
    return h("ol", {"class": "phasekey", "aria-label": "Phases"}, items)


def _lane(who: str, role: str, y: float, steps: Sequence[Step], x: Place, start: float) -> list[Child]:
    kind = role if role in ROLES else "other"
    parts: list[Child] = [h("text", {"class": "lanename", "x": 0, "y": y + 4}, printable(who, 20))]
    for one, two in pairwise(steps):
        if two.t - one.t > 0:
            parts.append(
                h("line", {"class": f"run {kind}", "x1": x(one.t), "x2": x(two.t), "y1": y, "y2": y})
            )
    for step in steps:
        title = h("title", {}, f"{seconds(step.t - start)} {who}: {step.text}")
        parts.append(h("circle", {"class": f"event {kind}", "cx": x(step.t), "cy": y, "r": 5}, title))
    return parts
