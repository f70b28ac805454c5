"""docs/state-machines.md is drawn from the tables and current."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_diagrams_are_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "diagrams", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_role_and_conversation_is_drawn() -> None:
    page = (ROOT / "docs" / "state-machines.md").read_text("utf-8")
    for name in ("Patient", "Model", "Dealer", "Doctor", "Researcher"):
        assert f"## {name}\n" in page
    for name in ("quote", "session", "delivery", "disclosure", "purchase"):
        assert f"### {name}\n" in page
    assert page.count("```mermaid") == 10
