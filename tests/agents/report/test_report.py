"""The page says what happened, escapes what came from outside and asks the network for nothing."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_samples import disagree, no_show, refunded, scan_png, settled, volume

from agents.report import CaseResult, facts, write_report
from agents.report.report import render_report
from protocols.errors import UserError

PNG = scan_png()
EVIL = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>\x1b[31m"
VOID = {"meta", "img", "br", "hr", "col"}


class Page(HTMLParser):
    """Collects elements and text; fails on tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words += data + " "

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def page(result: dict[str, Any]) -> Page:
    return Page(render_report(result, PNG))


@pytest.mark.parametrize(
    ("result", "wanted"),
    [
        (
            settled(),
            ["Settled", "Tumour", "93 %", "very sure", "2 of 3 doctors agreed", "0.007041 ETH", "differed"],
        ),
        (refunded(), ["Refunded", "No diagnosis", "After 2 rounds", "At most 3 of 7", "Round 2: 7 seats"]),
        (disagree(), ["Settled", "6 of 7 doctors agreed in round 2", "so a larger panel followed"]),
        (no_show(), ["declined the seat", "did not show up", "2 of 3 doctors agreed"]),
    ],
)
def test_page_tells_each_kind_of_ending(result: dict[str, Any], wanted: list[str]) -> None:
    found = page(result)
    words = re.sub(r"\s+", " ", found.words)
    for text in [*wanted, "automatic readers", "not medical advice", "synthetic"]:
        assert text in words
    sections = {head.get("id") for head in found.all("h2")}
    assert ("certificate" in sections) == (result["certificate"] is not None)
    assert ("market" in sections) == bool(result["dataset_records"])


def test_page_asks_the_network_for_nothing_and_runs_nothing() -> None:
    text = render_report(settled(), PNG)
    found = Page(text)
    for tag, attrs in found.tags:
        assert tag not in {"script", "link", "iframe", "object", "base", "form"}
        assert not any(name.startswith("on") or name in {"style", "href"} for name in attrs)
        assert (attrs.get("src") or "data:").startswith("data:")
    assert "url(" not in text
    assert "@import" not in text
    (policy,) = [m["content"] for m in found.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    style = text.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_every_text_of_the_result_is_escaped() -> None:
    result = _poison(settled())
    found = page(result)
    assert not found.all("script")
    assert len(found.all("img")) == 1
    assert "<script>alert(1)</script>" in found.words
    assert "\x1b" not in found.words


def _poison(value: Any, key: str = "") -> Any:
    """The same result with every free text, and every key of the open objects, hostile."""
    if isinstance(value, dict):
        open_ended = key in {"certificate", "scan", "bytes", "seconds", "spent", "record"}
        items = {k: _poison(v, k) for k, v in value.items()}
        extra = (
            {EVIL: 1}
            if key in {"bytes", "seconds"}
            else {EVIL: EVIL}
            if open_ended and key != "spent"
            else {}
        )
        return {**items, **extra, **({EVIL + "_wei": 1} if key == "spent" else {})}
    if isinstance(value, list):
        return [_poison(item, key) for item in value]
    return EVIL if isinstance(value, str) and key not in {"outcome", "state"} else value


def test_tables_and_pictures_are_accessible() -> None:
    found = page(disagree())
    assert found.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in found.all("img"))
    assert all(cell.get("scope") in {"row", "col"} for cell in found.all("th"))
    assert len(found.all("caption")) == len(found.all("table"))
    for drawing in found.all("svg"):
        assert (
            drawing.get("aria-hidden") == "true"
            or drawing.get("aria-label")
            or "dot" in (drawing["class"] or "")
        )


def test_colours_keep_their_contrast_in_both_themes() -> None:
    style = (Path(render_report.__code__.co_filename).with_name("report.css")).read_text()
    light, dark = re.findall(r":root \{(.*?)\}", style, re.S)[:2]
    for theme in (light, dark):
        colour = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})", theme))
        for ink, ground in (
            *((ink, ground) for ink in ("ink", "quiet") for ground in ("page", "card", "track")),
            ("accent", "card"),
            ("accent", "accent-soft"),
            ("card", "accent"),
            ("warn", "warn-soft"),
            ("ink", "warn-soft"),
        ):
            assert _contrast(colour[ink], colour[ground]) >= 4.5, (ink, ground)


def _contrast(one: str, two: str) -> float:
    def light(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_both_files_are_written_whole_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    path = write_report(settled(), PNG, folder)
    assert path == folder / "index.html"
    assert json.loads((folder / "case.json").read_text()) == settled()
    assert sorted(p.name for p in folder.iterdir()) == ["case.json", "index.html"]
    assert all(p.stat().st_mode & 0o077 == 0 for p in folder.iterdir())
    write_report(refunded(), PNG, folder)
    assert "No diagnosis" in path.read_text()


def test_a_folder_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_report(settled(), PNG, tmp_path / "file")


def test_a_picture_that_is_no_png_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a PNG"):
        write_report(settled(), b"<svg/>", tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["case", "id"], None, "case.id must be given"),
        (["case"], [], "the whole|case must be an object"),
        (["outcome"], "lost", "outcome must be settled or refunded"),
        (["diagnosis", "label"], None, "diagnosis must be a label"),
        (["diagnosis", "probability"], 1.5, "diagnosis.probability must be a number from 0 to 1"),
        (["confidence_bucket"], 4, "confidence_bucket must be a whole number from 0 to 3"),
        (["confidence_bucket"], True, "confidence_bucket"),
        (["panel"], "x", "panel must be a list"),
        (["panel", 1, "paid_wei"], -1, r"panel\[1\].paid_wei"),
        (["panel", 2, "reputation_after"], 10_001, r"panel\[2\].reputation_after"),
        (["panel", 0, "doctor"], None, r"panel\[0\].doctor must be given"),
        (["timeline", 0, "t"], float("nan"), r"timeline\[0\].t must be a number"),
        (["transactions", 0, "hash"], 1.5, r"transactions\[0\].hash must be a text"),
        (["bytes", "quotes"], "many", "bytes.quotes must be a whole number"),
        (["spent"], 5, "spent must be an object"),
        (["automatic_readers"], "yes", "automatic_readers must be true or false"),
    ],
)
def test_a_damaged_result_names_its_fault(path: list[str | int], value: Any, named: str) -> None:
    result: Any = copy.deepcopy(settled())
    place = result
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(UserError, match=named):
        CaseResult.parse(result)


@pytest.mark.parametrize("junk", [None, [], "x", 5, {}])
def test_what_is_no_result_is_refused(junk: object) -> None:
    with pytest.raises(UserError, match="damaged"):
        CaseResult.parse(junk)


def test_only_the_fields_of_the_blueprint_are_needed() -> None:
    least = {
        "case": {"id": 7, "state": "Settled", "rounds": 1},
        "diagnosis": {"label": "no tumour", "probability": None},
        "confidence_bucket": 1,
        "bounty_wei": str(10**19),
        "panel": [
            {"doctor": "0x1", "committed": True, "revealed": True, "verdict": "no tumour", "paid_wei": 3}
        ],
        "automatic_readers": False,
    }
    words = page(least).words
    assert "No tumour" in words
    assert "10 ETH" in words
    assert "automatic" not in words


def test_a_volume_tells_severity_and_who_saw_the_mask() -> None:
    told = " ".join(page(volume()).words.split())
    for word in ("What the model measured", "moderate", "12.5 %", "480.2 ml", "3840 ml", "672", "Infiltrate"):
        assert word in told
    assert "3 doctors of the panel saw the mask, each after the votes were sealed" in told
    assert "segmentation/index.html, beside this page" in told
    assert "How sure the model was" not in told
    sentence = facts.certainty(CaseResult.parse(volume()))
    assert sentence == "The model measured 480.2 ml of infection in 3840 ml of lung, 12.5 %: moderate."


def test_a_volume_without_a_lung_or_a_measurement_says_so() -> None:
    lungless = CaseResult.parse(volume(infection_percent_of_lung=None, lung_ml=0.0, severity="unknown"))
    assert "no lung" in facts.certainty(lungless)
    assert "no lung was found" in page(volume(infection_percent_of_lung=None)).words
    assert "not recorded" in facts.certainty(CaseResult.parse(volume(lung_ml=None)))


@pytest.mark.parametrize(("name", "value"), [("lung_ml", "much"), ("severity", 5.5), ("images", -1)])
def test_a_damaged_measurement_names_its_fault(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"segmentation.{name}"):
        CaseResult.parse(volume(**{name: value}))


def test_layers_of_blind_inference_are_a_table() -> None:
    page = render_report(settled(), scan_png())
    assert "Blind inference by layer" in page
    assert "2 Clip" in page
    bare = settled()
    del bare["blind"]
    assert "by layer" not in render_report(bare, scan_png())


def test_rounds_counted_from_nought_are_counted_from_one() -> None:
    result = settled(panel=[{**seat, "round": 0} for seat in settled()["panel"]])
    assert {seat.round for seat in CaseResult.parse(result).panel} == {1}
