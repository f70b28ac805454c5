"""The house rules that a machine can check: sizes, docstrings, what may lie in the repository, what a wheel carries."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("agents", "contracts", "protocols", "models")
LONGEST = 400
LONGEST_TEST = 600
LONGER: dict[str, int] = {}
"""Modules that may be longer than LONGEST, and how long. Meant to stay empty."""

LARGEST = 4 << 20
"""Bytes of one tracked file, weights included."""

DATA = ROOT.parent / "shared" / "data"
BINARY = {
    ".png",
    ".jpg",
    ".jpeg",
    ".dcm",
    ".nii",
    ".gz",
    ".npy",
    ".npz",
    ".bin",
    ".safetensors",
    ".zip",
    ".mp4",
}
SHIPPED = {".html", ".js", ".css", ".json", ".safetensors", ".png", ".sol", ".typed", ".md"}
"""What of a room's folder must be in a wheel, beside the modules."""


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that git tracks, and that is there."""
    try:
        said = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return tuple(ROOT / name for name in said.stdout.split("\0") if name and (ROOT / name).is_file())


def text_files() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        if path.suffix not in BINARY and path.suffix != ".ico":
            yield path, path.read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ---- sizes
def test_modules_are_short() -> None:
    long = {}
    for path in tracked():
        if path.suffix not in {".py", ".sol", ".js", ".css", ".html", ".sh"}:
            continue
        bound = LONGEST_TEST if name_of(path).startswith("tests/") else LONGER.get(name_of(path), LONGEST)
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > bound:
            long[name_of(path)] = lines
    assert long == {}


def test_exceptions_are_still_needed() -> None:
    lengths = {name: (ROOT / name).read_text(encoding="utf-8").count("\n") for name in LONGER}
    assert {name: lines for name, lines in lengths.items() if lines <= LONGEST} == {}


def test_no_tracked_file_is_large() -> None:
    assert {name_of(path): path.stat().st_size for path in tracked() if path.stat().st_size > LARGEST} == {}


# ---- docstrings
def undocumented(source: str) -> list[str]:
    """What lacks a docstring: the module, its public classes and functions, methods with a body worth telling of.

    A method needs none when its name is private or special, when it is a property or an override that a reader finds
    in the base, or when it is shorter than eight lines; a function none when it is private.
    """
    tree = ast.parse(source)
    bare = [] if ast.get_docstring(tree) else ["the module"]
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_"):
            continue
        if not ast.get_docstring(node) and not _short(node):
            bare.append(node.name)
        if isinstance(node, ast.ClassDef):
            bare += [f"{node.name}.{method.name}" for method in _methods(node)]
    return bare


def _methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            private = inner.name.startswith("_") or inner.decorator_list
            if not private and not ast.get_docstring(inner) and not _short(inner):
                yield inner


def _short(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return not isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno < 8


@pytest.mark.parametrize("room", ROOMS)
def test_what_is_public_says_what_it_is(room: str) -> None:
    bare = {
        name_of(path): found
        for path in tracked()
        if path.suffix == ".py" and name_of(path).startswith(f"{room}/")
        if (found := undocumented(path.read_text(encoding="utf-8")))
    }
    assert bare == {}


def test_a_missing_docstring_is_found() -> None:
    body = "\n".join(f"    x{i} = {i}" for i in range(9))
    source = f'"""A."""\nclass Open:\n    pass\ndef told():\n    """B."""\ndef silent():\n{body}\ndef _own():\n{body}\n'
    assert undocumented(source) == ["Open", "silent"]
    assert undocumented("x = 1\n") == ["the module"]


# ---- what may lie in the repository
HERE = "tests/test_house.py"
FORBIDDEN = {
    "a path of one machine": re.compile(
        r"(?<![\w/.~-])/(?:work|home/\w+|root|Users/\w+|tmp/\w|opt/\w|mnt/\w)/[\w.-]"
    ),
    "a package registry's host": re.compile(
        r"\b(?:pypi\.org|files\.pythonhosted\.org|registry\.(?:npmjs\.org|yarnpkg\.com)|npmjs\.com|crates\.io|"
        r"deb\.debian\.org|download\.pytorch\.org)\b"
    ),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a token": re.compile(r"\b(?:gh[pousr]_\w{30,}|sk-[A-Za-z0-9]{32,}|AKIA[0-9A-Z]{16})\b"),
}


def forbidden(text: str) -> list[str]:
    """What of FORBIDDEN a text holds."""
    return [what for what, pattern in FORBIDDEN.items() if pattern.search(text)]


def test_no_machine_path_registry_or_secret_is_in_a_tracked_file() -> None:
    found = {name_of(path): what for path, text in text_files() if (what := forbidden(text))}
    found.pop(HERE, None)
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "cache = '/home/ada/x.bin'",
        "cd /work/main",
        '"resolved": "https://registry.npmjs.org/solc/-/solc-0.8.37.tgz"',
        "-----BEGIN EC PRIVATE KEY-----",
    ],
)
def test_what_is_forbidden_is_found(text: str) -> None:
    assert len(forbidden(text)) == 1


def test_no_keystore_password_log_or_run_is_tracked() -> None:
    bad = re.compile(r"(^|/)(keystore[^/]*\.json|\.password|.*\.sqlite(-wal|-shm)?|runs/.*|\.env)$")
    assert [name_of(path) for path in tracked() if bad.search(name_of(path))] == []


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="the private images are not beside the checkout")
def test_no_image_of_the_training_data_is_in_the_repository() -> None:
    """By content: a renamed copy is found. Only files of a tracked file's size are read."""
    ours = {path.stat().st_size: path for path in tracked() if path.suffix in BINARY}
    theirs = [p for p in DATA.rglob("*") if p.is_file() and p.stat().st_size in ours]
    digests = {digest(path) for path in tracked() if path.suffix in BINARY}
    assert [path.name for path in theirs if digest(path) in digests] == []
    assert any(DATA.rglob("*")), "the data folder is empty, so nothing was compared"


# ---- benchmarks
def test_every_benchmark_can_be_quick_and_speak_json() -> None:
    scripts = [p for p in tracked() if name_of(p).startswith("benchmarks/") and p.suffix == ".py"]
    scripts = [p for p in scripts if "__main__" in p.read_text(encoding="utf-8")]
    lacking = {
        name_of(p): [o for o in ("--quick", "--json") if o not in p.read_text("utf-8")] for p in scripts
    }
    assert {name: options for name, options in lacking.items() if options} == {}


# ---- the wheel
@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel that is built here from what git tracks."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for path in tracked():
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    built = subprocess.run(
        [*command, "-w", str(folder), str(source)], capture_output=True, text=True, timeout=300
    )
    assert built.returncode == 0, built.stderr[-2000:]
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        return set(archive.namelist())


def test_the_wheel_carries_all_that_the_rooms_need(wheel: set[str]) -> None:
    needed = {
        name_of(path)
        for path in tracked()
        if name_of(path).split("/")[0] in ROOMS and (path.suffix == ".py" or path.suffix in SHIPPED)
    }
    needed = {name for name in needed if not re.match(r"contracts/(package\.json|.*\.test\.)", name)}
    assert needed - wheel == set()


def test_the_wheel_carries_nothing_else(wheel: set[str]) -> None:
    strange = {n for n in wheel if n.split("/")[0] not in ROOMS and ".dist-info/" not in n}
    assert strange == set()
    assert any(n.endswith("licenses/LICENSE") for n in wheel)
