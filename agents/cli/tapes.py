"""`crypdoc status --data FOLDER`: the tapes that a model owner's agent keeps, from what it wrote beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from protocols.errors import UserError


def read_tapes(data: Path) -> dict[str, Any]:
    """`Keeper.status` of the agent whose folder this is. Raises `UserError` when it keeps no tapes."""
    path = data.expanduser() / "tapes" / "status.json"
    try:
        found = json.loads(path.read_text("utf-8"))
        sums = {name: int(found[name]) for name in ("kept", "bytes", "budget")}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{data} is no folder of a model owner that keeps tapes", "name its --data") from None
    return dict(found) | sums


def tape_lines(found: dict[str, Any]) -> list[str]:
    """For people."""
    sizes = ", ".join(str(b) for b in found.get("batches", [])) or "none"
    lines = [
        f"Tapes: {found['kept']} kept, {found['bytes'] / 1e6:.1f} of {found['budget'] / 1e6:.0f} MB "
        f"(images at once: {sizes})"
    ]
    if making := found.get("making"):
        lines.append(f"  laying in: {making[0]} of {making[1]} came")
    lines += [f"  refused for good: {wallet}, {why}" for wallet, why in found.get("refused", {}).items()]
    return lines
