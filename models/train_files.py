"""Results are written whole or not at all: a temporary file beside each, and a rename when all are there."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from protocols.errors import UserError


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Writes all files, or leaves what was there before. Raises `UserError`: disk full, no permission."""
    made: list[tuple[Path, Path]] = []
    try:
        for path, data in contents.items():
            beside = path.with_name(f".{path.name}.{os.getpid()}.part")
            made.append((beside, path))
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for beside, path in made:
            beside.replace(path)
    except OSError as error:
        raise _refusal(made[-1][1] if made else Path("."), error) from error
    finally:
        for beside, _ in made:
            beside.unlink(missing_ok=True)


def make_room(path: Path) -> None:
    """Makes the folder that `path` will lie in. Raises `UserError` when it cannot be written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise UserError(f"{path} is a folder", "name a .safetensors file in it")
        probe = path.with_name(f".{path.name}.{os.getpid()}.part")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _refusal(path, error) from error


def _refusal(path: Path, error: OSError) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return UserError(
            f"the disk is full: {path} was not written, and nothing of it is left",
            "free some space, then run the same command with --resume",
        )
    reason = error.strerror or type(error).__name__
    return UserError(f"{path} cannot be written ({reason})", "choose another place or mend its permissions")
