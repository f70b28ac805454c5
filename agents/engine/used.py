"""Names of tapes that this participant took part in, in its log: on disk before the first frame, used once."""

from __future__ import annotations

import sqlite3
import time

from agents.engine.store import Store
from protocols.errors import ProtocolError


def use_tape(store: Store, name: bytes, peer: str, network: bytes, batch: int) -> None:
    """Note that a tape is used now. Raises `ProtocolError` when it was used before."""
    try:
        store.execute(
            "INSERT INTO tapes VALUES (?, ?, ?, ?, 0, 'used', ?)", (name, peer, network, batch, time.time())
        )
    except sqlite3.IntegrityError:
        raise ProtocolError(
            "the dealer gave out a tape that was used before", "the session is tried again with another"
        ) from None
