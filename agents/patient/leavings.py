"""What a volume leaves on the patient's disk besides its log and its masks, and when it goes.

A case's folder holds the greys and probabilities that a segmentation works on, in `work`; `given` holds volumes that
came over the page. Both are the patient's pictures: they go when the case ends or is refused. A process that died in
between leaves some behind, which the next one finds before it begins anything. A file that the patient named stays.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from protocols.case.patient import PatientCase

WORK, GIVEN = "work", "given"


def clear(data: Path, key: str, volume: Mapping[str, Any]) -> None:
    """Remove what a case that is over, or never began, has in an agent's folder. volume: as `PatientCase.volume`."""
    folder = data / "cases" / key
    shutil.rmtree(folder / WORK, ignore_errors=True)
    with contextlib.suppress(OSError):  # the masks are in it
        folder.rmdir()
    own = _upload(data, volume)
    if own is not None:
        shutil.rmtree(own, ignore_errors=True)


def sweep(data: Path, running: Iterable[PatientCase]) -> None:
    """Remove what a process that died left of cases that do not run. Only before this process begins any."""
    cases = list(running)
    keys = {case.key for case in cases}
    for work in data.glob(f"cases/*/{WORK}"):
        if work.parent.name not in keys:
            clear(data, work.parent.name, {})
    used = {_upload(data, case.volume) for case in cases}
    for own in data.resolve().glob(f"{GIVEN}/*"):
        if own not in used:
            shutil.rmtree(own, ignore_errors=True)


def _upload(data: Path, volume: Mapping[str, Any]) -> Path | None:
    """The folder of a volume that came over the page, None for a file that the patient named."""
    path = Path(volume.get("path", "/"))
    return path.parent if path.parent.parent == data.resolve() / GIVEN else None
