"""The public-key parts of blind inference without a dealer: homomorphic encryption (SEAL), and the first transfers.

Both need the extra `he`; `import_seal` and `import_sodium` say so to a person who lacks it.
"""

from __future__ import annotations

import importlib
from typing import Any

from protocols.errors import UserError


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise UserError(
            f"inference without a dealer needs the package {package}, which is not installed",
            "run `scripts/setup he`",
        ) from None


def import_seal() -> Any:
    """`tenseal.sealapi`; raises `UserError` where the extra is not installed."""
    return _imported("tenseal.sealapi")


def import_sodium() -> Any:
    """`nacl.bindings`, likewise."""
    return _imported("nacl.bindings")
