"""Which room may import which: protocols nothing but itself, contracts and models protocols, agents all of them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {
    "protocols": {"protocols"},
    "contracts": {"contracts", "protocols"},
    "models": {"models", "protocols"},
    "agents": {"agents", "contracts", "models", "protocols"},
}
"""Room -> the rooms that it may import."""

ABOVE = {"tests", "benchmarks", "scripts"}
"""These may import every room, and no room imports them."""

PURE = {"cbor2", "cryptography", "coincurve", "eth_abi", "eth_utils", "numpy", "py_ecc"}
"""All that protocols/ may take from other people: arithmetic, hashes, encodings. No chain, wire, clock, file."""


def modules(room: str, root: Path = ROOT) -> list[Path]:
    """The Python files of a room."""
    return sorted(path for path in (root / room).rglob("*.py") if "node_modules" not in path.parts)


def imports(path: Path, root: Path = ROOT) -> Iterator[tuple[int, str]]:
    """(line, first name of the package) of every import of a file, wherever in it; relative ones resolved."""
    package = path.relative_to(root).parts[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, package if node.level else (node.module or "").partition(".")[0]
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__"):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield node.lineno, argument.value.partition(".")[0]


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def offences(room: str, root: Path = ROOT) -> list[str]:
    """What a room imports and may not, as `file:line: name`."""
    ours = set(ROOMS) | ABOVE
    return [
        f"{path.relative_to(root)}:{line}: {name}"
        for path in modules(room, root)
        for line, name in imports(path, root)
        if name in ours and name not in ROOMS[room]
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_points_back_up(room: str) -> None:
    assert modules(room), f"{room}/ holds no module"
    assert offences(room) == []


def test_protocols_takes_only_arithmetic_and_encodings_from_others() -> None:
    taken = {name for path in modules("protocols") for _, name in imports(path)}
    assert taken - PURE - {"protocols"} - set(sys.stdlib_module_names) == set()


def test_every_python_package_of_the_project_is_a_known_room() -> None:
    """A fifth room would escape the rules above."""
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {".venv"}
    assert found <= set(ROOMS) | ABOVE


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("protocols", "from agents.keyring import Keyring"),
        ("protocols", "import contracts.chain.client as chain"),
        ("protocols", "from models import zoo"),
        ("contracts", "from models.scans import load_scan"),
        ("contracts", "def late():\n    from agents.engine import core"),
        ("models", "import contracts"),
        ("models", "import importlib\nimportlib.import_module('agents.cli')"),
        ("agents", "from tests.sim import world"),
        ("agents", "import benchmarks.case"),
    ],
)
def test_an_offender_is_found(tmp_path: Path, room: str, line: str) -> None:
    planted = tmp_path / room / "deep" / "offender.py"
    planted.parent.mkdir(parents=True)
    planted.write_text("import json\nfrom . import friend\n")
    assert offences(room, tmp_path) == []
    planted.write_text(line + "\n")
    assert len(offences(room, tmp_path)) == 1
