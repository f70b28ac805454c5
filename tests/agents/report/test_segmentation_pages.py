"""The pages of a segmented volume: whole, safe, bounded, and honest where something is missing."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agents.report.segmentation import write_pages
from agents.report.segmentation_page import render
from agents.report.segmentation_planes import PLANES, Study, count
from agents.report.segmentation_sprites import pack
from protocols.errors import UserError

EVIL = "\"></script><script>alert(1)</script><img src=x onerror='alert(2)'>\x1b[31m"
VOID = {"meta", "img", "input"}
SHAPE = (20, 24, 16)


def body() -> dict[str, Any]:
    """A box of lung with a box of infection in it, and a label one voxel beside; nothing in it is symmetric."""
    grey = np.random.default_rng(2).integers(0, 256, SHAPE, np.uint8)
    lung, infection, labels = (np.zeros(SHAPE, np.bool_) for _ in range(3))
    lung[2:16, 3:18, 2:14] = True
    infection[3:9, 4:8, 5:12] = True
    labels[4:10, 4:8, 5:12] = True
    return {
        "grey": grey,
        "lung": lung,
        "infection": infection,
        "labels": labels,
        "spacing": (1.5, 1.5, 3.0),
    }


def sample() -> dict[str, Any]:
    """A result with every key of the form."""
    return {
        "form": "CrypDoc segmentation v1",
        "volume": "chest.nii.gz",
        "shape": list(SHAPE),
        "spacing_mm": [1.5, 1.5, 3.0],
        "axes": "xyz",
        "grid": 128,
        "engine": "blind",
        "dealer": "local",
        "suite": "chest",
        "networks": [
            {"task": task, "axis": axis, "hash": "9e3779b97f4a7c15" * 4, "images": count}
            for task in ("lung", "infection")
            for axis, count in zip("xyz", SHAPE, strict=True)
        ],
        "images": 120,
        "voxel_ml": 0.00675,
        "images_skipped": 0,
        "lung_ml": 434.4,
        "infection_ml": 54.3,
        "infection_percent_of_lung": 12.5,
        "severity": "moderate",
        "dice_against_plain": 0.9993,
        "dice_against_labels": 0.8123,
        "lung": {"dice_against_plain": 0.9998, "dice_against_labels": 0.9712},
        "seconds": 512.3,
        "bytes": 5.1e8,
        "seconds_per_image": 4.27,
        "bytes_per_image": 4.15e6,
        "seconds_online": 301.0,
        "bytes_online": 2e8,
        "bytes_ahead": 3.1e8,
        "rounds": 2200,
        "notes": ["The volume was turned round."],
        "files": {"mask_nifti": "mask.nii.gz", "dicom_seg": None, "overlays": []},
    }


class Page(HTMLParser):
    """Collects elements, text and the contents of scripts; fails on tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
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
        inside = self.open[-1] if self.open else ""
        if inside == "script":
            self.scripts[self.all("script")[-1].get("id") or "program"] = data
        elif inside != "style":
            self.words += " ".join(data.split()) + " "

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def known(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts["known"])
        return found


def write(folder: Path, result: dict[str, Any] | None = None, **changes: Any) -> Page:
    given = {**body(), **changes}
    write_pages(folder, sample() if result is None else result, **given)
    return Page((folder / "index.html").read_text(encoding="utf-8"))


def test_four_files_are_written_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "pages"
    made = write_pages(folder, sample(), **body())
    assert [path.name for path in made] == ["overlay-z.png", "overlay-y.png", "overlay-x.png", "index.html"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in made)
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for path in made[:3]:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert image.mode == "RGB"
    assert made[3].stat().st_size < 800_000


def test_the_page_says_what_was_found(tmp_path: Path) -> None:
    words = write(tmp_path).words
    for text in (
        "Infection in 12.5 % of the lung",
        "54.3 ml",
        "Moderate",
        "not a diagnosis",
        "not medical advice",
        "chest.nii.gz",
        "0.9993",
        "0.8123",
        "4.2 MB",
        "8 min 32 s",
        "number of slices that went through each network and nothing of the picture",
        "The volume was turned round.",
    ):
        assert text in words, text


def test_the_page_asks_the_network_for_nothing_and_runs_one_program(tmp_path: Path) -> None:
    found = write(tmp_path)
    for tag, attrs in found.tags:
        assert tag not in {"link", "iframe", "object", "base", "form"}
        assert not any(name.startswith("on") or name in {"style", "href"} for name in attrs)
        assert (attrs.get("src") or "data:").startswith("data:")
    programs = [attrs for attrs in found.all("script") if "type" not in attrs]
    assert len(programs) == 1
    assert {attrs.get("type") for attrs in found.all("script")} == {None, "application/json", "text/plain"}
    (policy,) = [m["content"] for m in found.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    text = (tmp_path / "index.html").read_text()
    style = text.split("<style>")[1].split("</style>")[0]
    for kind, content in (("style", style), ("script", found.scripts["program"])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in str(policy)
    assert str(policy).startswith("default-src 'none'")
    assert "unsafe" not in str(policy)
    assert "url(" not in style
    assert "http" not in found.scripts["program"]


def test_every_text_of_the_result_is_escaped(tmp_path: Path) -> None:
    def poison(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: poison(item) for key, item in value.items()}
        if isinstance(value, list):
            return [poison(item) for item in value]
        return EVIL if isinstance(value, str) else value

    clean, found = write(tmp_path / "clean"), write(tmp_path / "evil", poison(sample()))
    for tag in ("script", "img", "svg"):
        assert len(found.all(tag)) == len(clean.all(tag))
    assert "<script>alert(1)</script>" in found.words
    assert "\x1b" not in found.words


@pytest.mark.parametrize("key", [None, *sample()])
def test_a_missing_or_damaged_figure_is_no_traceback(tmp_path: Path, key: str | None) -> None:
    """Without any key at all, and with each one missing, null, of another kind or not a number."""
    if key is None:
        assert "not recorded" in write(tmp_path, {}).words
        return
    given = body()
    study = Study(**given)
    counts = [count(study, plane) for plane in PLANES]
    sheets = [pack(study, plane) for plane in PLANES]
    rest = {name: value for name, value in sample().items() if name != key}
    for damaged in (None, [], {}, "", "x", -1, float("nan"), float("inf"), True, [None], [{}], 10**400):
        Page(render({**rest, key: damaged}, study, counts, sheets, [b""] * 3))
    Page(render(rest, study, counts, sheets, [b""] * 3))


def test_null_dice_are_said_in_words(tmp_path: Path) -> None:
    empty = {"dice_against_plain": None, "dice_against_labels": None}
    result = {**sample(), **empty, "lung": empty}
    words = write(tmp_path, result, labels=None).words
    assert "no labels given" in words
    assert "not measured" in words
    assert "Label given" not in words


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"engine": "plain", "dealer": "none"}, "whoever ran the networks learnt everything"),
        ({"engine": "blind", "dealer": "none"}, "There was no dealer."),
        ({"engine": "blind", "dealer": "local"}, "The dealer learns the number of images"),
        ({"engine": "blind", "dealer": "local"}, "nothing was hidden from whoever runs it"),
        ({"engine": "blind", "dealer": "none"}, "nothing was hidden from whoever runs it"),
        ({"engine": "crypten", "dealer": None}, "nothing was hidden from whoever runs it"),
        ({"engine": "blind", "dealer": "0xA"}, "The dealer learnt the number of images"),
        ({"engine": "blind", "dealer": "0xA"}, "the weights stayed with the model's owner"),
        ({"engine": "strange"}, "cannot say who learnt what"),
        ({"images_skipped": 20}, "20 images were left out with the patient's leave"),
    ],
)
def test_who_learnt_what(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    assert told in write(tmp_path, {**sample(), **changes}).words


def test_the_weights_stayed_hidden_in_the_network_alone(tmp_path: Path) -> None:
    for dealer in ("local", "none"):
        assert "stayed with" not in write(tmp_path, {**sample(), "dealer": dealer}).words
    assert "one machine" not in write(tmp_path, {**sample(), "dealer": "0xA"}).words


@pytest.mark.parametrize(
    ("told", "voxel"),
    [({"voxel_ml": None}, 0.00675), ({"voxel_ml": 0.005}, 0.005), ({"voxel_ml": 0}, 0.00675)],
)
def test_slices_are_measured_with_the_voxel_of_the_result(
    tmp_path: Path, told: dict[str, Any], voxel: float
) -> None:
    known = write(tmp_path, {**sample(), **told}).known
    axial = known["planes"][0]["ml"]
    assert axial[5] == pytest.approx(6 * 4 * voxel, abs=0.0006)
    assert sum(axial) == pytest.approx(6 * 4 * 7 * voxel, abs=0.006)


def test_an_empty_mask_and_an_empty_lung(tmp_path: Path) -> None:
    none = np.zeros_like(body()["lung"])
    nothing = {**sample(), "infection_percent_of_lung": 0.0, "infection_ml": 0.0, "severity": "none"}
    found = write(tmp_path, nothing, infection=none, labels=None)
    assert "No infection found" in found.words
    assert "0 ml" in found.words
    assert not [attrs for attrs in found.all("path") if attrs.get("class")]
    lost = {**nothing, "infection_percent_of_lung": None, "lung_ml": 0.0, "severity": None}
    found = write(tmp_path, lost, infection=none, lung=none, labels=None)
    assert "No lung found" in found.words
    assert found.words.count("Not defined") == 2
    assert found.words.count("there is no share to draw") == 3
    assert all(value is None for plane in found.known["planes"] for value in plane["percent"])


@pytest.mark.parametrize("shape", [(20, 30, 2), (1, 1, 1), (2, 40, 3), (300, 5, 7)])
def test_thin_volumes(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(3)
    lung = np.ones(shape, np.bool_)
    marks = rng.random(shape) > 0.5
    found = write(
        tmp_path,
        grey=rng.integers(0, 256, shape, np.uint8),
        lung=lung,
        infection=marks,
        labels=None,
        spacing=(0.7, 0.7, 5.0),
    )
    assert [plane["count"] for plane in found.known["planes"]] == list(shape[::-1])


def test_the_page_is_bounded_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    """Noise is what packs worst."""
    shape = (300, 260, 40)
    rng = np.random.default_rng(4)
    grey = rng.integers(0, 256, shape, np.uint8)
    marks = rng.random(shape) > 0.5
    found = write(tmp_path, grey=grey, lung=marks, infection=marks, labels=~marks, spacing=(1.0, 1.0, 1.0))
    assert (tmp_path / "index.html").stat().st_size < 25_000_000
    assert (
        "fewer pixels than the volume has (axial 150 × 130, coronal 150 × 40, sagittal 130 × 40)"
        in found.words
    )
    assert "Not every slice" not in found.words
    study = Study(**body())
    sheets = [pack(study, plane, 9000) for plane in PLANES]
    assert [sheet.step for sheet in sheets] == [1, 1, 1]
    sheets = [pack(study, plane, 2500) for plane in PLANES]
    assert all(sheet.step > 1 and sheet.size <= 2500 for sheet in sheets)
    page = Page(render(sample(), study, [count(study, plane) for plane in PLANES], sheets, [b""] * 3))
    assert f"Not every slice is shown: axial every {sheets[0].step}" in page.words
    with pytest.raises(ValueError, match="not even one slice"):
        pack(study, PLANES[0], 10)


def test_pictures_and_tables_are_accessible(tmp_path: Path) -> None:
    found = write(tmp_path)
    assert found.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in found.all("img"))
    assert len(found.all("img")) == 3
    assert all(cell.get("scope") in {"row", "col"} for cell in found.all("th"))
    assert len(found.all("caption")) == len(found.all("table"))
    assert all(drawing.get("aria-label") for drawing in found.all("svg"))
    assert [attrs["name"] for attrs in found.all("input") if attrs["type"] == "radio"] == ["axis"] * 3
    assert len(found.all("noscript")) == 1
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_without_a_script_only_what_needs_one_is_hidden(tmp_path: Path) -> None:
    hidden = [attrs.get("class") for _, attrs in write(tmp_path).tags if "hidden" in attrs]
    assert hidden == ["stage", "axes", "walk", "toggles"]


def test_the_swatches_have_the_colours_of_the_marks(tmp_path: Path) -> None:
    found = write(tmp_path)
    style = (tmp_path / "index.html").read_text()
    for name, colour in found.known["colours"].items():
        assert f".swatch.{name} {{ border-color: rgb({', '.join(map(str, colour))})" in style


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for changes in (
        {"lung": np.zeros((2, 2, 2), np.bool_)},
        {"grey": body()["grey"].astype(np.float32)},
        {"infection": body()["infection"].astype(np.uint8)},
        {"spacing": (1.0, 0.0, 1.0)},
        {"spacing": (1.0, float("nan"), 1.0)},
    ):
        with pytest.raises(ValueError, match="must be"):
            write(tmp_path, **changes)


def test_a_folder_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_pages(place, sample(), **body())
    assert os.listdir(tmp_path) == ["file"]
