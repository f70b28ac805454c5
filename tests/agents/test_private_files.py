"""What the command writes is its owner's alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import importlib, sys
from pathlib import Path
command = importlib.import_module("agents.cli.main")
from agents.engine.store import Store

def work():
    folder = Path(sys.argv[1])
    folder.mkdir()
    Store(folder / "cases.sqlite").close()

command.crypdoc = work
command.main()
"""


def test_case_logs_and_their_folders_are_closed_to_other_accounts(tmp_path: Path) -> None:
    """Under the usual mask they would be open to every account of the machine."""
    folder = tmp_path / "agent"
    old = os.umask(0o022)
    try:
        subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], check=True, timeout=60)
    finally:
        os.umask(old)
    made = [folder, *folder.iterdir()]
    assert len(made) > 1
    assert {path.name: oct(path.stat().st_mode & 0o077) for path in made if path.stat().st_mode & 0o077} == {}
