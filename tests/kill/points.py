"""Every point at which an agent can be killed, found in the code and not remembered.

Messages that a role hears come from its machine's table; what it does comes from the calls of `say`, `transact`, `pay`
and `task` in its machine's and its duty's source. A new step of a role is thus a new row of the matrix by itself.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from protocols.case import dealer, doctor, model, patient, researcher
from protocols.dialogues import CONVERSATIONS

ROOT = Path(__file__).parents[2]
MODULES = {m.MACHINE.role: m for m in (patient, model, dealer, doctor, researcher)}
ROLES = tuple(MODULES)

HEARD = ("before-write", "after-write", "after-send")
MOMENTS = {
    "tx": ("before-write", "after-write", "after-sign", "after-send", "before-done"),
    "say": ("before-write", "after-write", "after-send", "before-done"),
    "task": ("before-write", "after-write", "before-done"),
    "heard": HEARD,
}


@dataclass(frozen=True, order=True)
class Point:
    """One cell of the matrix. kind: `tx`, `say`, `task` or `heard`."""

    role: str
    kind: str
    what: str
    moment: str

    @property
    def name(self) -> str:
        """As `CRYPDOC_KILL_AT` takes it."""
        return f"{self.moment}:{self.what}"


def _texts(node: ast.expr, names: dict[str, list[ast.expr]], seen: frozenset[str] = frozenset()) -> set[str]:
    """The texts that an argument may be; of an f-string, what comes before its first hole."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
        return {str(node.values[0].value)}
    if isinstance(node, ast.IfExp):
        return _texts(node.body, names, seen) | _texts(node.orelse, names, seen)
    if isinstance(node, ast.Name) and node.id not in seen:
        values = names.get(node.id, [])
        return {text for value in values for text in _texts(value, names, seen | {node.id})}
    return set()


def _assigned(tree: ast.AST) -> dict[str, list[ast.expr]]:
    """What the names of a module are ever set to, in pairs too: `a, b = (x, y) if c else (z, w)`."""
    found: dict[str, list[ast.expr]] = {}

    def note(target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            found.setdefault(target.id, []).append(value)
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.IfExp):
            note(target, value.body)
            note(target, value.orelse)
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, its in zip(target.elts, value.elts, strict=True):
                note(one, its)

    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                note(target, node.value)
    return found


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _effects(path: Path) -> set[tuple[str, str]]:
    """(kind, what) of every effect that a module makes."""
    found: set[tuple[str, str]] = set()
    tree = ast.parse(path.read_text("utf-8"))
    names = _assigned(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, args = _called(node), node.args
        if name == "say" and len(args) >= 5:
            conversations, performatives = _texts(args[1], names), _texts(args[4], names)
            found |= {("say", f"say/{c}.{p}") for c in conversations for p in performatives}
        elif name in ("transact", "pay") and len(args) >= 3:
            found |= {("tx", f"tx/{step.split('/')[0]}") for step in _texts(args[1], names)}
        elif name == "task" and len(args) >= 2:
            found |= {("task", kind) for kind in _texts(args[1], names)}
        elif name == "nudge":
            found.add(("tx", "tx/advance"))
    return found


@cache
def points(role: str) -> tuple[Point, ...]:
    """All points of a role, in the order: what it does, what it hears."""
    module = MODULES[role]
    home = Path(str(module.__file__))
    machine = sorted(home.parent.glob("*.py")) if home.name == "__init__.py" else [home]
    sources = [*machine, ROOT / "agents" / role / "duty.py"]
    effects = {found for source in sources for found in _effects(source)}
    effects.add(("tx", "tx/collect"))  # `Duty.collect`, for roles that are owed money
    heard = {
        kind
        for answers in module.MACHINE.table.values()
        for kind in answers
        if kind.partition(".")[0] in CONVERSATIONS and "." in kind
    }
    rows = sorted(effects) + sorted(("heard", kind) for kind in heard)
    return tuple(Point(role, kind, what, moment) for kind, what in rows for moment in MOMENTS[kind])


GOOD = "not in a case that goes well, where nobody refuses, declines or comes too late"
VOLUME = "only a case of a volume has a mask to show; tests/e2e/test_chest.py kills its participants"
UNREACHED: dict[tuple[str, str], str] = {}
"""(role, what or moment:what) -> why a case that goes well does not pass it."""


def _unreached(role: str, reason: str, *names: str) -> None:
    for name in names:
        UNREACHED[role, name] = reason


_unreached("patient", GOOD, "tx/reclaim", "tx/unbuy", "say/quote.decline", "say/purchase.refuse")
_unreached("patient", GOOD, "quote.refuse", "session.refuse", "delivery.refuse")
_unreached("patient", "a patient collects from its case accounts, by `withdraw`", "tx/collect")
_unreached("model", GOOD, "say/quote.refuse", "say/session.refuse", "quote.decline", "session.refuse")
_unreached("dealer", GOOD, "say/session.refuse")
_unreached("doctor", GOOD, "tx/decline", "say/delivery.refuse", "tx/advance")
_unreached("doctor", "only a doctor whose log was lost recovers a ballot; a kill loses no log", "recover")
_unreached(
    "doctor", "only a doctor whom no scan reached abstains; the simulation has patients who leave", "abstain"
)
_unreached("patient", VOLUME, "say/disclosure.show", "disclosure.seen", "disclosure.refuse")
_unreached("doctor", VOLUME, "disclosure.show", "say/disclosure.seen", "say/disclosure.refuse")
_unreached("researcher", GOOD, "purchase.refuse")
_unreached("researcher", "nobody owes a researcher money", "tx/collect")


def why_not(point: Point) -> str:
    """Why a point is legitimately not passed, or ""."""
    return UNREACHED.get((point.role, point.what)) or UNREACHED.get((point.role, point.name)) or ""


if __name__ == "__main__":
    for each in ROLES:
        for p in points(each):
            print(f"{each:11} {p.name:36} {why_not(p)}")
