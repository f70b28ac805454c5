"""Writes the report of a case: `case.json` and an `index.html` that asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from agents.report import facts, sections
from agents.report.markup import Html, h, join, raw
from agents.report.result import CaseResult
from protocols.errors import UserError

_PNG = b"\x89PNG\r\n\x1a\n"
_STYLE = Path(__file__).with_name("report.css")


def write_report(result: Mapping[str, object], scan_png: bytes, folder: Path) -> Path:
    """Writes both files into the folder (made if need be, both replaced whole) and returns the page's path.

    The folder holds the patient's scan and diagnosis, so its files are readable by their owner alone.
    UserError when the result or the picture is damaged or the folder cannot be written.
    """
    page = render_report(result, scan_png)
    body = json.dumps(result, indent=2, ensure_ascii=False, default=str) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_whole(folder / "case.json", body.encode("utf-8"))
        return replace_whole(folder / "index.html", page.encode("utf-8"))
    except OSError as error:
        raise UserError(
            f"the report cannot be written to {folder} ({error.strerror})",
            "name a folder that you may write to",
        ) from error


def render_report(result: Mapping[str, object], scan_png: bytes) -> str:
    """The page as one text: style and picture inside, no script, nothing fetched (and its CSP says so)."""
    if not scan_png.startswith(_PNG):
        raise UserError(
            "the picture of the scan for the report is not a PNG", "make it with models.scans.to_png"
        )
    case = CaseResult.parse(result)
    image = raw("data:image/png;base64," + base64.b64encode(scan_png).decode("ascii"))
    style = _STYLE.read_text(encoding="utf-8")
    body = join(
        [
            sections.header(case),
            h(
                "main",
                {},
                sections.notice_box(case),
                sections.overview(case, image),
                sections.panel_section(case),
                sections.timeline_section(case),
                sections.effort_section(case),
                sections.certificate_section(case),
                sections.records_section(case),
                sections.transactions_section(case),
            ),
            h("footer", {}, "Made by CrypDoc on the patient's machine. ", facts.NOT_ADVICE),
        ]
    )
    return f'<!doctype html>\n<html lang="en">{_head(case, style)}{h("body", {}, body)}</html>\n'


def _head(case: CaseResult, style: str) -> Html:
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    return h(
        "head",
        {},
        h("meta", {"charset": "utf-8"}),
        h("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        h("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        h("meta", {"name": "referrer", "content": "no-referrer"}),
        h("meta", {"name": "color-scheme", "content": "light dark"}),
        h("title", {}, f"{facts.headline(case)} · CrypDoc case report"),
        h("style", {}, raw(style)),
    )


def replace_whole(path: Path, content: bytes) -> Path:
    """Writes a file whole or not at all, for its owner alone."""
    part = path.with_name(f".{path.name}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    return part.replace(path)
