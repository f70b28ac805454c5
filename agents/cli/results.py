"""The folder that a segmentation writes to: one run at a time, one volume, nothing of the user's overwritten."""

from __future__ import annotations

import errno
import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from protocols.errors import UserError

MASKS = ("infection.nii.gz", "lung.nii.gz", "segmentation.dcm")
WRITTEN = (*MASKS, "result.json", "index.html", "overlay-x.png", "overlay-y.png", "overlay-z.png")
LOCK = ".crypdoc-lock"
_ELSEWHERE = "name another folder with --out"


@contextmanager
def on_disk(folder: Path) -> Iterator[None]:
    """What the system refuses within, as one `UserError`."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = f"{folder} cannot be written: {error.strerror or error}"
        remedy = "free space" if full else "name another folder with --out, or see what the system lacks"
        raise UserError(why, f"{remedy}, and give the command again: it goes on") from error


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder, made if need be, for this process alone. Raises `UserError` while another run writes to it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another segmentation is writing to {folder}", f"wait for it, or {_ELSEWHERE}"
            ) from None
        try:
            yield
        finally:
            (folder / LOCK).unlink(missing_ok=True)


def check_targets(folder: Path, figures: Path | None, given: tuple[Path | None, ...] = ()) -> None:
    """Before the work, not after it: the folder can be one, and no file that was given would be overwritten."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is no folder", _ELSEWHERE)
    if figures is not None and (figures.is_dir() or not figures.resolve().parent.is_dir()):
        raise UserError(f"{figures} cannot be written", "name a file in a folder that is there")
    targets = {(folder / name).resolve() for name in WRITTEN} | ({figures.resolve()} if figures else set())
    for path in given:
        if path is not None and path.resolve() in targets:
            raise UserError(f"{path} would be overwritten by the results", _ELSEWHERE)


def earlier(folder: Path) -> dict[str, Any] | None:
    """What an earlier segmentation left as result.json, or None."""
    try:
        told = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return (
        told
        if isinstance(told, dict) and str(told.get("form", "")).startswith("CrypDoc segmentation")
        else None
    )


def check_earlier(folder: Path, volume_hash: str) -> None:
    """Raises `UserError` when the folder holds results of another volume."""
    told = earlier(folder)
    if told is not None and told.get("volume_hash") != volume_hash:
        raise UserError(
            f"{folder} holds the results of another volume, {told.get('volume', 'unnamed')}", _ELSEWHERE
        )


def write_json(path: Path, told: dict[str, Any]) -> None:
    """Figures into a file. Raises `UserError` when it cannot be written."""
    try:
        path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})", "name another file") from error
