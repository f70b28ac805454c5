"""HTML and SVG built from Python calls. Every text is escaped unless it was itself built here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TypeAlias

from agents.progress import printable

Child: TypeAlias = "Html | str | Iterable[Child] | None"
MAX_TEXT = 10_000
_VOID = frozenset({"meta", "img", "br", "hr", "col", "input", "link"})
_SHAPES = frozenset({"rect", "circle", "line", "path"})


class Html(str):
    """Markup that is safe to put into a page as it stands. Adding or formatting makes it plain text again."""

    __slots__ = ()


def raw(text: str) -> Html:
    """Markup from this program's own files (a style sheet). Never for anything that came from outside."""
    return Html(text)


def h(name: str, attributes: Mapping[str, object] | None = None, *children: Child) -> Html:
    """One element. Attributes that are None or False are left out, True stands bare."""
    given = "".join(_attribute(key, value) for key, value in (attributes or {}).items())
    if name in _VOID:
        return Html(f"<{name}{given}>")
    if name in _SHAPES and not children:
        return Html(f"<{name}{given}/>")
    return Html(f"<{name}{given}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Html:
    return Html("".join(_text(child) for child in children))


def _text(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return str(child)
    if isinstance(child, str):
        return _clean(child)
    return str(join(child))


def _clean(text: str) -> str:
    """Escaped, bounded, and without control or direction-changing characters."""
    return escape(printable(text, MAX_TEXT), quote=True)


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return f" {key}"
    if isinstance(value, Html):
        return f' {key}="{value}"'
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f' {key}="{_clean(text)}"'
