"""What the agent has signed for so far: a small ledger on disk that the decision maker holds its caps against.

An entry is written before a signature leaves the decision maker and carries the effect's id, so signing the same
effect again (after a crash) counts once. It is its own file: the decision maker runs on its own thread.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from protocols.errors import UserError


class Allowance:
    """Wei spent by case and by UTC day. One thread at a time. Raises `UserError` when the file is damaged."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.touch(0o600)
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS spent (id TEXT PRIMARY KEY, case_key TEXT NOT NULL,"
                " day INTEGER NOT NULL, wei TEXT NOT NULL, name TEXT NOT NULL)"
            )
            self._sum("day = ?", 0, "")
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise UserError(
                f"the spending ledger {path} is damaged ({error})",
                "restore it from a copy, or move it away: what was spent today counts from zero then",
            ) from None

    def spent(self, case_key: str, day: int, besides: str) -> tuple[int, int]:
        """(wei of the case, wei of the day) without the entry `besides`."""
        case = self._sum("case_key = ?", case_key, besides)
        return case, self._sum("day = ?", day, besides)

    def _sum(self, where: str, value: object, besides: str) -> int:
        rows = self._db.execute(f"SELECT wei FROM spent WHERE {where} AND id != ?", (value, besides))  # noqa: S608
        return sum(int(row[0]) for row in rows)

    def enter(self, effect_id: str, case_key: str, day: int, wei: int, name: str) -> None:
        """Count an effect; a second entry for it replaces the first."""
        self._db.execute(
            "INSERT OR REPLACE INTO spent VALUES (?, ?, ?, ?, ?)", (effect_id, case_key, day, str(wei), name)
        )

    def settle(self, effect_id: str, wei: int) -> None:
        """Replace what an effect could have cost by what it did cost."""
        self._db.execute("UPDATE spent SET wei = ? WHERE id = ?", (str(wei), effect_id))

    def close(self) -> None:
        self._db.close()
