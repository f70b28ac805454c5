"""What the documents say is there, is there: links, files, commands, options, figures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from agents.cli.main import crypdoc

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "models" / "weights").glob("*.md")]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(
    r"^(?:\./)?((?:\.ci|agents|benchmarks|contracts|docs|models|protocols|scripts|tests)/[\w./-]+)$"
)
FIGURE = re.compile(
    r"^\|[^|]+\| ([\d.,]+) ?(%|MB|kB|million)? \| `([^`]+\.json)` \| `([^`|]+)` \|$", re.MULTILINE
)
SCALE = {"": 1.0, "%": 100.0, "MB": 1e-6, "kB": 1e-3, "million": 1e-6}


def pages() -> list[str]:
    return [page.relative_to(ROOT).as_posix() for page in PAGES]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as renderers make them."""
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", h) for h in HEADING.findall(FENCE.sub("", text)))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in plain}


def broken_links(page: Path) -> list[str]:
    """Links of a page to files or headings that are not there."""
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        found = file.exists() and (not anchor or anchor in anchors(file.read_text(encoding="utf-8")))
        if not found:
            broken.append(target)
    return broken


@pytest.mark.parametrize("name", pages())
def test_links_lead_somewhere(name: str) -> None:
    assert broken_links(ROOT / name) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("# The one\n[x](#the-one) [y](#gone) [z](b.md) ![p](c.png) [w](https://example.org)\n")
    assert broken_links(page) == ["#gone", "b.md", "c.png"]


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", "CHANGELOG.md", "docs/architecture.md"])
def test_files_that_are_named_exist(name: str) -> None:
    spans = CODE.findall((ROOT / name).read_text(encoding="utf-8"))
    words = (word for span in spans for word in span.split()[:1])
    named = {match[1].rstrip("/") for word in words if (match := FILE.match(word.rstrip(".,:;")))}
    assert named, "the page names no file at all"
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_every_page_of_the_index_and_no_page_besides() -> None:
    listed = {
        t for t in LINK.findall((ROOT / "docs" / "index.md").read_text("utf-8")) if not t.startswith("..")
    }
    assert listed == {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}


# ---- commands
def invocations() -> Iterator[tuple[str, str]]:
    """(page, command line) of every `crypdoc ...` in the documents, prose and blocks."""
    for page in PAGES:
        if page.parent.name not in ("docs", ROOT.name) and page.parent != ROOT:
            continue
        text = page.read_text(encoding="utf-8")
        blocks = [
            line for block in FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()[1:-1]
        ]
        for line in [*blocks, *CODE.findall(FENCE.sub("", text))]:
            for found in re.findall(r"(?:^|[\s/&;(])crypdoc ((?:[\w-]+)[^|&;)]*)", " " + line):
                yield page.relative_to(ROOT).as_posix(), found.split("#")[0].strip()


def unknown(line: str) -> str:
    """What of a command line `crypdoc LINE` the command does not know, or ""."""
    words = line.split()
    command: click.Command = crypdoc
    context = click.Context(crypdoc)
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            return words[0]
        command, words = found, words[1:]
    known = {o for p in command.params if isinstance(p, click.Option) for o in [*p.opts, *p.secondary_opts]}
    known |= {"--help", "--version"}
    asked = (word.partition("=")[0].rstrip(".,:;]") for word in words if word.startswith("--"))
    return next((word for word in asked if word not in known), "")


def test_commands_and_options_that_are_named_exist() -> None:
    wrong = [f"{page}: crypdoc {line}: {what}" for page, line in invocations() if (what := unknown(line))]
    assert wrong == []
    assert sum(1 for _ in invocations()) > 10


def test_an_unknown_command_or_option_is_found() -> None:
    assert unknown("doktor --join x") == "doktor"
    assert unknown("patient scan.png --join x --pannel 3") == "--pannel"
    assert unknown("keys new --keystore me.json") == ""


def test_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [
        name for name in crypdoc.list_commands(click.Context(crypdoc)) if not re.search(rf"\b{name}\b", text)
    ] == []


# ---- figures
def figures(text: str) -> list[tuple[str, str, str, str]]:
    """(number as written, unit, file, field) of every row of a table of figures."""
    return [(number, unit, file, field) for number, unit, file, field in FIGURE.findall(text)]


def agrees(written: str, unit: str, value: float) -> bool:
    """Whether a figure is its value, rounded to the digits that are written."""
    number = written.replace(",", "")
    digits = len(number.partition(".")[2])
    return abs(value * SCALE[unit] - float(number)) <= 0.5 * 10**-digits + 1e-12


def test_figures_of_the_readme_are_those_of_the_files() -> None:
    rows = figures((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(rows) >= 5
    wrong = []
    for number, unit, file, field in rows:
        value = json.loads((ROOT / file).read_text(encoding="utf-8"))
        for key in field.split("/"):
            value = value[int(key)] if isinstance(value, list) else value[key]
        if not agrees(number, unit, float(value)):
            wrong.append(f"{file} {field}: {value}, not {number} {unit}")
    assert wrong == []


def test_a_wrong_figure_is_found() -> None:
    assert figures("| a | 1,234.5 MB | `b/c.json` | `d/0/e f` |") == [
        ("1,234.5", "MB", "b/c.json", "d/0/e f")
    ]
    assert agrees("0.95", "", 0.9545)
    assert agrees("95.5", "%", 0.9545)
    assert not agrees("0.96", "", 0.9545)
    assert not agrees("0.954", "", 0.9547)
