"""slither on all sources: so many contracts looked at, and each finding answered in contracts/slither.json.

slither lives in an environment of its own, `.tools/slither`, made at the first run: its web3 is not ours.

    python -m tests.contracts.test_slither       prints what is not answered yet, and answers that answer nothing
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from contracts.compile import SETTINGS, SOURCES, install_compiler, read_sources

ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".tools" / "slither"
VERSION = "0.11.6"
ANSWERS = ROOT / "contracts" / "slither.json"
pytestmark = pytest.mark.node


def installed() -> Path:
    """The Python of slither's environment; makes it unless that very version is there."""
    python = PLACE / "bin" / "python"
    marker = PLACE / f"version-{VERSION}"
    if not marker.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(PLACE)], check=True, timeout=120)
        install = [python, "-m", "pip", "install", "-q", f"slither-analyzer=={VERSION}"]
        subprocess.run(install, check=True, timeout=400)
        marker.touch()
    return python


@lru_cache(maxsize=1)
def analysis() -> dict[str, Any]:
    """What slither says of the sources; see `slither/analyse.py`."""
    python = installed()
    install_compiler()
    settings = {key: value for key, value in SETTINGS.items() if key != "outputSelection"}
    contents = {name: {"content": text} for name, text in read_sources().items()}
    script = Path(__file__).with_name("slither") / "analyse.py"
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "in.json"), Path(folder, "out.json")
        given.write_text(json.dumps({"language": "Solidity", "sources": contents, "settings": settings}))
        # in the folder of the sources: slither wants the files to be there
        subprocess.run([python, str(script), str(given), str(made)], cwd=SOURCES, check=True, timeout=400)
        told: dict[str, Any] = json.loads(made.read_text())
    return told


def findings() -> Counter[tuple[str, str]]:
    """How many findings by (detector, place)."""
    return Counter((f["detector"], f["place"]) for f in analysis()["findings"])


def answered() -> dict[tuple[str, str], int]:
    """How many findings are answered by (detector, place)."""
    answers = json.loads(ANSWERS.read_text())["answers"]
    return {
        (entry["detector"], place): count
        for entry in answers
        for place, count in entry["places"].items()
    }  # fmt: skip


def test_slither_looked_at_every_contract() -> None:
    told, expected = analysis(), json.loads(ANSWERS.read_text())
    assert told["contracts"] == expected["contracts"]
    assert len(told["contracts"]) == len(set(told["contracts"])) == 22
    assert told["detectors"] >= 100


def test_every_finding_is_answered() -> None:
    found, answers = findings(), answered()
    open_ = {key: count for key, count in found.items() if answers.get(key) != count}
    assert open_ == {}, "mend it, or answer it in contracts/slither.json"


def test_every_answer_answers_something() -> None:
    found = findings()
    assert {key: count for key, count in answered().items() if found.get(key) != count} == {}


def test_answers_say_why() -> None:
    for entry in json.loads(ANSWERS.read_text())["answers"]:
        assert len(entry["answer"]) > 40, entry["detector"]
        assert entry["places"], entry["detector"]


def test_slither_sees_a_planted_bug(tmp_path: Path) -> None:
    """The run can fail: an arbitrary send of ether is found."""
    text = (
        "// SPDX-License-Identifier: Apache-2.0\npragma solidity 0.8.37;\ncontract Leak {\n"
        "    function leak(address payable to) external { to.transfer(address(this).balance); }\n}\n"
    )
    (tmp_path / "Leak.sol").write_text(text)
    given, made = tmp_path / "in.json", tmp_path / "out.json"
    settings = {key: value for key, value in SETTINGS.items() if key != "outputSelection"}
    sources = {"Leak.sol": {"content": text}}
    given.write_text(json.dumps({"language": "Solidity", "sources": sources, "settings": settings}))
    script = Path(__file__).with_name("slither") / "analyse.py"
    subprocess.run([installed(), str(script), str(given), str(made)], cwd=tmp_path, check=True, timeout=120)
    told = json.loads(made.read_text())
    assert told["contracts"] == ["Leak"]
    assert "arbitrary-send-eth" in {f["detector"] for f in told["findings"]}


if __name__ == "__main__":
    new = {key: count for key, count in findings().items() if answered().get(key) != count}
    gone = {key: count for key, count in answered().items() if findings().get(key) != count}
    print("not answered:", *new.items(), "answers nothing:", *gone.items(), sep="\n")
