"""`protocols/` decides and computes: no waiting, clock, randomness, disk, wire or chain."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import protocols

ROOT = Path(protocols.__file__).parent
FORBIDDEN = frozenset(
    [
        "aiohttp",
        "anyio",
        "asyncio",
        "concurrent",
        "glob",
        "http",
        "libp2p",
        "multiprocessing",
        "os",
        "pathlib",
        "queue",
        "random",
        "requests",
        "secrets",
        "select",
        "shelve",
        "shutil",
        "signal",
        "socket",
        "socketserver",
        "sqlite3",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "torch",
        "trio",
        "urllib",
        "uuid",
        "web3",
        "websockets",
    ]
)
CALLS = frozenset({"open", "input", "print", "exec", "eval", "__import__", "breakpoint"})
CLOCKS = frozenset({"now", "utcnow", "today"})
GENERATORS = frozenset({"Generator"})  # the type alone: a generator is made outside and passed in
FACTORIES = frozenset({"generate", "generate_private_key", "generate_key"})  # keys drawn from the system


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            root = alias.name.split(".")[0]
            if root in FORBIDDEN or alias.name.startswith("numpy.random"):
                yield f"imports {alias.name}"
    if isinstance(node, ast.ImportFrom) and node.module:
        root = node.module.split(".")[0]
        if node.level == 0 and root in FORBIDDEN:
            yield f"imports from {node.module}"
        for alias in node.names:
            if node.module == "io" and alias.name not in ("BytesIO", "StringIO"):
                yield f"imports io.{alias.name}"
            if node.module == "numpy" and alias.name == "random":
                yield "imports numpy.random"
            if node.module == "numpy.random" and alias.name not in GENERATORS:
                yield f"imports numpy.random.{alias.name}"


def _uses(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
        yield f"calls {node.func.id}()"
    if isinstance(node, ast.Attribute):
        name = _dotted(node)
        if name in ("io.open", "io.FileIO", "io.open_code"):
            yield f"uses {name}"
        if name.startswith(("np.random.", "numpy.random.")) and node.attr not in GENERATORS:
            yield f"uses {name}"
        if node.attr in CLOCKS and ("datetime" in name or "date" in name.split(".")):
            yield f"reads the clock by {name}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in FACTORIES:
        yield f"draws a key by {_dotted(node.func)}()"


def offences(source: str) -> list[str]:
    """What a module of `protocols/` does that it must not, with the line."""
    return [
        f"line {getattr(node, 'lineno', 0)}: {what}"
        for node in ast.walk(ast.parse(source))
        for what in (*_imports(node), *_uses(node))
    ]


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_protocols_are_pure(path: Path) -> None:
    assert offences(path.read_text()) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import asyncio",
        "import os.path",
        "from time import time",
        "from pathlib import Path",
        "def f():\n    import socket",
        "import secrets as s",
        "from web3 import Web3",
        "import sqlite3, json",
        "import numpy.random",
        "from numpy import random",
        "from numpy.random import default_rng",
        "import numpy as np\nx = np.random.rand(3)",
        "import numpy\nx = numpy.random.default_rng()",
        "open('x')",
        "from datetime import datetime\nx = datetime.now()",
        "import datetime\nx = datetime.datetime.utcnow()",
        "import datetime\nx = datetime.date.today()",
        "key = X25519PrivateKey.generate()",
        "exec('import os')",
        "if True:\n    import trio",
        "import io\nio.open('x')",
        "from io import FileIO",
        "import concurrent.futures",
    ],
)
def test_a_planted_offender_is_caught(planted: str) -> None:
    assert offences(planted)


@pytest.mark.parametrize(
    "innocent",
    [
        "import numpy as np\nx = np.zeros(3)",
        "import numpy as np\ndef f(rng: np.random.Generator) -> None: ...",
        "from datetime import UTC, datetime",
        "import hashlib\nimport cbor2",
        "def f(opened: bool, now: int) -> int: return now",
    ],
)
def test_the_innocent_pass(innocent: str) -> None:
    assert offences(innocent) == []
