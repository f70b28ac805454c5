"""What a segmentation says, as plain sentences and rows. A figure that is missing or damaged is said to be unknown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from agents.report.words import plural, seconds, size

SEVERITIES = ("none", "mild", "moderate", "severe", "critical")
MEASURED = (
    "These are measurements that a program made on one volume. They are not a diagnosis: severity here names "
    "the infected share of the lung and nothing else."
)
AXES = {"x": "x (sagittal slices)", "y": "y (coronal slices)", "z": "z (axial slices)"}
ENGINES = {"blind": "blind inference", "crypten": "CrypTen", "plain": "plain, in the clear"}
UNKNOWN = "not recorded"
NOT_MEASURED = "not measured"


def number(source: Mapping[str, Any], key: str) -> float | None:
    """A finite figure, or None."""
    return _finite(source.get(key))


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        figure = float(value)
    except OverflowError:
        return None
    return figure if math.isfinite(figure) else None


def word(source: Mapping[str, Any], key: str, missing: str = "") -> str:
    value = source.get(key)
    return value if isinstance(value, str) and value else missing


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def listed(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def millilitres(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    if 0 < value < 0.1:
        return "under 0.1 ml"
    return f"{value:,.0f} ml" if value >= 100 or value == 0 else f"{value:.1f} ml"


def share(value: float | None) -> str:
    """A percentage with one decimal; what is not nought is never shown as nought."""
    if value is None:
        return "Not defined"
    return "under 0.1 %" if 0 < value < 0.1 else f"{value:.1f} %"


def headline(result: Mapping[str, Any], lung_found: bool) -> str:
    percent = number(result, "infection_percent_of_lung")
    if not lung_found:
        return "No lung found"
    if percent is None:
        return "Infection and lung, measured"
    return "No infection found" if percent == 0 else f"Infection in {share(percent)} of the lung"


def severity(result: Mapping[str, Any]) -> str | None:
    found = word(result, "severity").lower()
    return found if found in SEVERITIES else None


def dice(value: float | None, missing: str) -> str:
    return missing if value is None else f"{value:.4f}"


def made_of(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What was computed: name and value of each figure."""
    yield "Volume", word(result, "volume", UNKNOWN)
    yield "Voxels", " × ".join(str(side) for side in listed(result.get("shape"))) or UNKNOWN
    steps = [f"{step:g}" for step in map(_finite, listed(result.get("spacing_mm"))) if step is not None]
    yield "Spacing", f"{' × '.join(steps)} mm" if steps else UNKNOWN
    yield "Axes", ", ".join(AXES.get(axis, axis) for axis in word(result, "axes")) or UNKNOWN
    engine = word(result, "engine")
    yield "Engine", ENGINES.get(engine, engine) or UNKNOWN
    if engine == "blind":
        dealer = word(result, "dealer", UNKNOWN)
        yield "Dealer", "local, on this machine" if dealer == "local" else dealer
    yield "Set of networks", word(result, "suite", UNKNOWN)
    images, grid = number(result, "images"), number(result, "grid")
    shown = UNKNOWN if images is None else f"{images:,.0f}"
    yield "Images", shown if images is None or grid is None else f"{shown} of {grid:.0f} × {grid:.0f} pixels"
    yield "Lung", millilitres(number(result, "lung_ml"))
    yield "Infection", millilitres(number(result, "infection_ml"))


def measured(result: Mapping[str, Any], with_labels: bool) -> Iterator[tuple[str, str]]:
    """How near the masks are to others, and what they cost."""
    yield from _dices(result, with_labels)
    yield from _costs(result)


def _dices(result: Mapping[str, Any], with_labels: bool) -> Iterator[tuple[str, str]]:
    lung = mapping(result.get("lung"))
    missing = NOT_MEASURED if with_labels else "no labels given"
    for task, source in (("Infection", result), ("Lung", lung)):
        yield f"{task}: Dice against plain", dice(number(source, "dice_against_plain"), NOT_MEASURED)
        against = number(source, "dice_against_labels")
        if task == "Infection" or against is not None:
            yield f"{task}: Dice against labels", dice(against, missing)


def _costs(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, key, form in (
        ("Time in total", "seconds", seconds),
        ("Time an image", "seconds_per_image", seconds),
        ("Time on line", "seconds_online", seconds),
        ("Traffic in total", "bytes", size),
        ("Traffic an image", "bytes_per_image", size),
        ("Traffic on line", "bytes_online", size),
        ("Traffic ahead of time", "bytes_ahead", size),
    ):
        value = number(result, key)
        if value is not None:
            yield name, form(value)
    rounds = number(result, "rounds")
    if rounds is not None:
        yield "Rounds", f"{rounds:,.0f}"


def networks(result: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Task, axis, images and hash of each network."""
    for entry in map(mapping, listed(result.get("networks"))):
        images = number(entry, "images")
        axis = word(entry, "axis", "—")
        yield (
            word(entry, "task", "—").capitalize(),
            AXES.get(axis, axis),
            "—" if images is None else f"{images:,.0f}",
            word(entry, "hash", "—"),
        )


def who_learnt(result: Mapping[str, Any]) -> str:
    """One paragraph: who learnt what of this volume."""
    engine = word(result, "engine")
    if engine == "plain":
        return (
            "This volume was computed in the clear: whoever ran the networks learnt everything, "
            "the pictures, the masks and the figures on this page."
        )
    if engine not in ("blind", "crypten"):
        return "The engine is not recorded, so this page cannot say who learnt what."
    if word(result, "dealer", "local") in ("local", "none"):
        return (
            "In this run one machine held both the volume and the networks, so nothing was hidden from whoever runs "
            f"it. Between machines it is so: {_between(result, engine, 'learns', 'are', 'makes', 'stay')}"
        )
    return _between(result, engine, "learnt", "were", "made", "stayed")


def _between(result: Mapping[str, Any], engine: str, learnt: str, were: str, made: str, stayed: str) -> str:
    """Who learns what where patient, model's owner and dealer have a machine each. The verbs are for now or then."""
    model = (
        f"The model's owner {learnt} the number of slices that went through each network and nothing of the picture. "
        + _skipped(result)
    )
    if word(result, "dealer") == "none":
        dealer = "There was no dealer. "
    else:
        who = "The dealer" if engine == "blind" else "CrypTen's third party, which deals,"
        dealer = (
            f"{who} {learnt} the number of images and nothing else. This holds while all follow the protocol "
            "and who deals works with neither side: a dealer and a model's owner who pool what they hold "
            "see the picture. "
        )
    return (
        f"{model}{dealer}The answers {were} opened on the patient's machine alone, which {made} the masks and this "
        f"page; the weights {stayed} with the model's owner."
    )


def _skipped(result: Mapping[str, Any]) -> str:
    """Slices that were not computed tell the model's owner something; the page says so."""
    left = number(result, "images_skipped")
    if left is None or left < 1:
        return ""
    told = "which tells the owner which slices hold one grey alone"
    return f"{plural(int(left), 'image')} were left out with the patient's leave, {told}. "
