"""The scrollable page of a segmented volume: its figures, the viewer's frame, charts, tables and the packed slices."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.report import facts
from agents.report import segmentation_facts as said
from agents.report.markup import Html, h, join, raw
from agents.report.sections import hexa, section, table
from agents.report.segmentation_montage import INFECTION, LABELS, LUNG
from agents.report.segmentation_planes import Counts, Plane, Study
from agents.report.segmentation_sprites import ACROSS, ON_SHEET, Sheets

_HERE = Path(__file__)
_SCALES = (1, 2, 5, 10, 20, 40, 60, 80, 100)
_FEW = 0.05  # of the lung's largest slice: below it a percentage rests on little, and its bar is pale


def render(
    result: Mapping[str, Any],
    study: Study,
    counts: Sequence[Counts],
    sheets: Sequence[Sheets],
    montages: Sequence[bytes],
) -> str:
    """The page as one text. counts, sheets and montages (JPEG) are one a plane, in the order of PLANES."""
    style = "".join(_own(name) for name in ("report.css", "volume_page.css"))
    script = _own("volume_viewer.js")
    lung_found = bool(counts[0].lung.any())
    title = said.headline(result, lung_found)
    body = [
        _header(result, title),
        h(
            "main",
            {},
            _figures(result, lung_found),
            _notices(result),
            _viewer(study, counts, sheets),
            _pictures(sheets, montages),
            _computed(result, study.labels is not None),
            section("learnt", "Who learnt what", h("p", {}, said.who_learnt(result))),
        ),
        h("footer", {}, "Made by CrypDoc on the patient's machine. ", facts.NOT_ADVICE),
        *_data(said.number(result, "voxel_ml"), study, counts, sheets),
        h("script", {}, raw(script)),
    ]
    head = _head(title, style, script)
    return f'<!doctype html>\n<html lang="en">{head}{h("body", {}, body)}</html>\n'


def _own(name: str) -> str:
    return _HERE.with_name(name).read_text(encoding="utf-8")


def _head(title: str, style: str, script: str) -> Html:
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return h(
        "head",
        {},
        h("meta", {"charset": "utf-8"}),
        h("meta", {"http-equiv": "Content-Security-Policy", "content": raw(policy)}),
        h("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        h("meta", {"name": "referrer", "content": "no-referrer"}),
        h("meta", {"name": "color-scheme", "content": "light dark"}),
        h("title", {}, f"{title} · CrypDoc segmentation"),
        h("style", {}, raw(style)),
    )


def _hash(text: str) -> str:
    return f"'sha256-{_text(hashlib.sha256(text.encode('utf-8')).digest())}'"


def _text(content: bytes) -> Html:
    return raw(base64.b64encode(content).decode("ascii"))


def _header(result: Mapping[str, Any], title: str) -> Html:
    name = said.word(result, "volume")
    return h(
        "header",
        {},
        h("p", {"class": "brand"}, "CrypDoc", h("span", {}, "segmentation")),
        h("p", {"class": "meta"}, "Volume ", h("code", {}, name)) if name else None,
        h("h1", {}, title),
    )


def _notices(result: Mapping[str, Any]) -> Html:
    notes = [note for note in said.listed(result.get("notes")) if isinstance(note, str) and note]
    texts = [said.MEASURED, *notes, facts.NOT_ADVICE]
    return h("aside", {"class": "notice", "aria-label": "Notices"}, [h("p", {}, text) for text in texts])


def _figures(result: Mapping[str, Any], lung_found: bool) -> Html:
    percent = said.number(result, "infection_percent_of_lung") if lung_found else None
    lung_ml = said.number(result, "lung_ml")
    share = "No lung was found, so there is no share." if percent is None and not lung_found else None
    return h(
        "div",
        {"class": "figures"},
        _figure(
            "Infected volume", said.millilitres(said.number(result, "infection_ml")), "marked as infection"
        ),
        _figure("Share of the lung", said.share(percent), share or f"of {said.millilitres(lung_ml)} of lung"),
        _severity(result),
    )


def _figure(name: str, value: str, more: str) -> Html:
    return h(
        "div",
        {"class": "card"},
        h("h2", {}, name),
        h("p", {"class": "figure"}, value),
        h("p", {"class": "quiet small"}, more),
    )


def _severity(result: Mapping[str, Any]) -> Html:
    found = said.severity(result)
    steps = [
        h("li", {"class": "on" if name == found else None, "aria-current": "true" if name == found else None})
        for name in said.SEVERITIES
    ]
    return h(
        "div",
        {"class": "card"},
        h("h2", {}, "Severity by that share"),
        h("p", {"class": "figure"}, "Not defined" if found is None else found.capitalize()),
        h("ol", {"class": "steps", "aria-hidden": "true"}, steps),
        h(
            "p",
            {"class": "ends small quiet", "aria-hidden": "true"},
            h("span", {}, "none"),
            h("span", {}, "critical"),
        ),
        h("p", {"class": "quiet small"}, "A measurement, not a diagnosis."),
    )


def _viewer(study: Study, counts: Sequence[Counts], sheets: Sequence[Sheets]) -> Html:
    """The frame that the script brings to life; without it the charts remain and the pictures below."""
    stage = h(
        "div",
        {"class": "stage", "hidden": True},
        h("canvas", {"id": "stage", "tabindex": "0", "role": "img", "aria-describedby": "how"}),
    )
    charts = [_chart(c, s) for c, s in zip(counts, sheets, strict=True)]
    desk = h("div", {"class": "desk"}, _axes(sheets), charts, _slider(), _toggles(study.labels is not None))
    how = "Wheel, arrow keys, a sideways drag on the picture or a click on the chart go from slice to slice."
    return section(
        "slices",
        "Slice by slice",
        h("div", {"class": "viewer"}, stage, desk),
        h("p", {"class": "quiet small", "id": "how"}, how, " ", *_reduced(study, sheets)),
        h("noscript", {}, h("p", {}, "Scrolling needs JavaScript; the pictures below do without it.")),
    )


def _reduced(study: Study, sheets: Sequence[Sheets]) -> list[str]:
    """What the page leaves out of the volume, in words."""
    notes = []
    if any(factor > 1 for sheet in sheets for factor in sheet.factors):
        sizes = ", ".join(f"{s.plane.name.lower()} {s.width} × {s.height}" for s in sheets)
        notes.append(
            f"To keep this page small its slices are shown in fewer pixels than the volume has ({sizes}); a pixel is "
            "marked where any voxel under it is. "
        )
    fewer = [f"{s.plane.name.lower()} every {s.step}" for s in sheets if s.step > 1]
    if fewer:
        notes.append(f"Not every slice is shown: {', '.join(fewer)}. ")
    if notes:
        notes.append("Figures and charts are of the whole volume, and the mask files hold every voxel.")
    return notes


def _axes(sheets: Sequence[Sheets]) -> Html:
    choices = [
        h(
            "label",
            {"class": "choice"},
            h("input", {"type": "radio", "name": "axis", "value": sheet.plane.key, "checked": index == 0}),
            h("span", {}, sheet.plane.name),
        )
        for index, sheet in enumerate(sheets)
    ]
    return h("fieldset", {"class": "axes", "hidden": True}, h("legend", {}, "Axis"), choices)


def _slider() -> Html:
    return h(
        "div",
        {"class": "walk", "hidden": True},
        h("button", {"type": "button", "id": "back", "aria-label": "Slice before"}, "‹"),
        h(
            "input",
            {
                "type": "range",
                "id": "slice",
                "min": 0,
                "max": 0,
                "value": 0,
                "step": 1,
                "aria-label": "Slice",
            },
        ),
        h("button", {"type": "button", "id": "on", "aria-label": "Next slice"}, "›"),
        h("output", {"id": "told", "for": "slice"}, ""),
    )


def _toggles(with_labels: bool) -> Html:
    names = [("lung", "Lung"), ("infection", "Infection")] + (
        [("label", "Label given")] if with_labels else []
    )
    boxes = [
        h(
            "label",
            {"class": "choice"},
            h("input", {"type": "checkbox", "id": f"show-{key}", "checked": True}),
            h("span", {}, h("i", {"class": f"swatch {key}", "aria-hidden": "true"}), name),
        )
        for key, name in names
    ]
    fill = h(
        "label",
        {"class": "fill-choice"},
        "Infection's fill",
        h("input", {"type": "range", "id": "fill", "min": 0, "max": 100, "value": 40, "step": 5}),
    )
    return h("fieldset", {"class": "toggles", "hidden": True}, h("legend", {}, "Shown"), boxes, fill)


def _chart(counts: Counts, sheet: Sheets) -> Html:
    """Infection as percent of lung in each slice along one axis."""
    plane, percents = sheet.plane, counts.percents()
    known = [value for value in percents if value is not None]
    name = f"Infection in percent of the lung, {plane.name.lower()} slices"
    if not known:
        drawing: Html = h("p", {"class": "quiet small"}, "No lung was found, so there is no share to draw.")
    else:
        drawing = _bars(counts, plane, name)
    return h(
        "figure",
        {"class": "chart", "id": f"chart-{plane.key}"},
        h("figcaption", {"class": "small quiet"}, name),
        drawing,
    )


def _bars(counts: Counts, plane: Plane, name: str) -> Html:
    percents = counts.percents()
    highest = max(value for value in percents if value is not None)
    top = next(scale for scale in _SCALES if highest <= scale)
    few = _FEW * int(counts.lung.max())
    strong: list[str] = []
    pale: list[str] = []
    for index, (value, lung) in enumerate(zip(percents, counts.lung.tolist(), strict=True)):
        if value:
            (pale if lung < few else strong).append(f"M{index} 100v-{100 * value / top:.4g}h1V100z")
    peak = percents.index(highest) + 1
    ends = h("p", {"class": "ends small quiet"}, [h("span", {}, end) for end in plane.ends])
    told = f"{name}: at most {said.share(highest)}, in slice {peak} of {len(percents)}"
    drawing = h(
        "svg",
        {
            "viewBox": f"0 0 {len(percents)} 100",
            "preserveAspectRatio": "none",
            "role": "img",
            "aria-label": told,
        },
        h("rect", {"class": "ground", "width": len(percents), "height": 100}),
        h("path", {"class": "strong-bar", "d": raw("".join(strong))}) if strong else None,
        h("path", {"class": "pale-bar", "d": raw("".join(pale))}) if pale else None,
        h("line", {"class": "cursor", "x1": -9, "x2": -9, "y1": 0, "y2": 100}),
    )
    note = h("p", {"class": "small quiet"}, "Pale: little lung in the slice.") if pale else None
    scale = h("p", {"class": "small quiet", "aria-hidden": "true"}, f"{top} %")
    return join([scale, drawing, ends, note])


def _pictures(sheets: Sequence[Sheets], montages: Sequence[bytes]) -> Html:
    """The montages, for who has no script or wants to print."""
    shown = [
        h(
            "figure",
            {"class": "card montage", "tabindex": "0", "role": "group", "aria-label": sheet.plane.name},
            h("img", {"src": raw(f"data:image/jpeg;base64,{_text(content)}"), "alt": _alt(sheet.plane)}),
        )
        for sheet, content in zip(sheets, montages, strict=True)
    ]
    return section("pictures", "At a glance", shown)


def _alt(plane: Plane) -> str:
    way = f"from {plane.ends[0]} to {plane.ends[1]}"
    return f"Up to twelve {plane.name.lower()} slices {way}, lung and infection outlined"


def _computed(result: Mapping[str, Any], with_labels: bool) -> Html:
    heads = ("What", "Value")
    made = table("The run", heads, list(said.made_of(result)))
    caption = "Masks against others (Dice: 1 is the same, 0 shares nothing), and cost"
    measured = table(caption, heads, list(said.measured(result, with_labels)))
    networks = [[task, axis, images, hexa(code)] for task, axis, images, code in said.networks(result)]
    return section(
        "computed",
        "What was computed",
        h("div", {"class": "pair"}, made, measured),
        table("The networks", ("Network", "Axis", "Images", "Hash"), networks, numeric=(2,))
        if networks
        else None,
    )


def _data(
    voxel_ml: float | None, study: Study, counts: Sequence[Counts], sheets: Sequence[Sheets]
) -> list[Html]:
    """The packed slices and what the script must know of them. None of these blocks is a program.

    voxel_ml: of one voxel; without it the axes count as being at right angles.
    """
    upright = study.spacing[0] * study.spacing[1] * study.spacing[2] / 1000
    voxel = voxel_ml if voxel_ml is not None and voxel_ml > 0 else upright
    known = {
        "planes": [_plane(study, c, s, voxel) for c, s in zip(counts, sheets, strict=True)],
        "across": ACROSS,
        "onSheet": ON_SHEET,
        "colours": {"lung": LUNG, "infection": INFECTION, "label": LABELS},
        "labels": study.labels is not None,
    }
    blocks = [_block("application/json", "known", raw(json.dumps(known, separators=(",", ":"))))]
    for sheet in sheets:
        for kind, parts in (("grey", sheet.grey), ("marks", sheet.marks)):
            blocks += [
                _block("text/plain", f"{kind}-{sheet.plane.key}-{index}", _text(part))
                for index, part in enumerate(parts)
            ]
    return [join(blocks)]


def _block(kind: str, key: str, content: Html) -> Html:
    return h("script", {"type": kind, "id": key}, content)


def _plane(study: Study, counts: Counts, sheet: Sheets, voxel: float) -> dict[str, Any]:
    plane = sheet.plane
    return {
        "key": plane.key,
        "name": plane.name,
        "edges": plane.edges,
        "from": plane.ends[0],
        "count": study.shape[plane.axis],
        "step": sheet.step,
        "apart": round(study.spacing[plane.axis], 6),
        "tile": [sheet.width, sheet.height],
        "pitch": sheet.pitch,
        # Blocks at the far edges may stand for fewer voxels; a tile is drawn as large as the voxels it has room for.
        "mm": [
            round(sheet.width * sheet.factors[0] * study.spacing[plane.columns], 3),
            round(sheet.height * sheet.factors[1] * study.spacing[plane.rows], 3),
        ],
        "percent": [None if value is None else round(value, 2) for value in counts.percents()],
        "ml": [round(value * voxel, 3) for value in counts.infection.tolist()],
        "start": _start(counts),
    }


def _start(counts: Counts) -> int:
    """The slice with most infection, or else with most lung, or else the middle one."""
    for marked in (counts.infection, counts.lung):
        if marked.any():
            return int(marked.argmax())
    return int(counts.lung.size // 2)
