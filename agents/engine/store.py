"""The case log of one agent: SQLite in WAL mode, one file, one writer.

What it promises: an event is applied, the new state saved and the effects written in one transaction, so
after `kill -9` at any moment the agent finds either all of that or none of it. An event that carries an id is
applied once, an effect id is written once, and an effect stays pending until its outcome has been applied in
the transaction that marks it done. `synchronous=FULL`: what was written survives a power cut as well.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from protocols.codec import decode, encode
from protocols.effects import Effect, Event
from protocols.errors import UserError

SCHEMA_VERSION = 1
_BIG = 1 << 28

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS cases (
    key TEXT PRIMARY KEY, role TEXT NOT NULL, phase TEXT NOT NULL, final INTEGER NOT NULL, state BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, case_key TEXT NOT NULL, kind TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS effects (
    id TEXT PRIMARY KEY, serial INTEGER NOT NULL, case_key TEXT NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL,
    done INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0,
    scratch BLOB, trouble TEXT);
CREATE INDEX IF NOT EXISTS effects_pending ON effects (done, due);
CREATE TABLE IF NOT EXISTS threads (
    name TEXT NOT NULL, opener TEXT NOT NULL, conversation TEXT NOT NULL, peer TEXT NOT NULL,
    case_key TEXT NOT NULL, last TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (name, opener));
CREATE TABLE IF NOT EXISTS blobs (hash BLOB PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tapes (
    name BLOB PRIMARY KEY, model TEXT NOT NULL, network BLOB NOT NULL, batch INTEGER NOT NULL, size INTEGER NOT NULL,
    state TEXT NOT NULL, at REAL NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Pending:
    """An effect that is still to be done. scratch: what its performer noted down on the way (a signed transaction)."""

    effect: Effect
    case_key: str
    attempts: int
    due: float
    scratch: dict[str, Any] | None
    trouble: str | None


@dataclass(frozen=True, slots=True)
class ThreadRow:
    """Where a conversation stands: the performative said last and its number."""

    name: str
    opener: str
    conversation: str
    peer: str
    case_key: str
    last: str
    number: int


def blob_name(data: bytes) -> bytes:
    """The BLAKE2b-256 hash under which bytes are kept."""
    return blake2b(data, digest_size=32).digest()


class Store:
    """The log. All methods are synchronous and must be called from one thread.

    Raises `UserError` when the file is no log of ours, is damaged, or belongs to another agent that runs.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        try:
            if path is not None:
                path.touch(0o600)  # scans and verdicts are in it: this user's alone
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
            # One process a log: the lock falls with the process, however it dies.
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            found = self.meta("schema")
            if found is None:
                self.set_meta("schema", SCHEMA_VERSION)
            elif found != SCHEMA_VERSION:
                raise UserError(
                    f"the case log {path} was written by version {found} of its form",
                    f"use the CrypDoc version that wrote it; this one knows form {SCHEMA_VERSION}",
                )
        except (sqlite3.OperationalError, OSError) as error:
            if "locked" in str(error):
                raise UserError(
                    f"another agent is running on {path}",
                    "stop it first, or choose another folder with --data",
                ) from None
            raise UserError(
                f"the case log {path} cannot be opened ({error})", "check the folder and its rights"
            ) from None
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"the case log {path} is damaged ({error})",
                "restore it from a copy; the keystore is not affected",
            ) from None

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Not nested."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # ---- small facts
    def meta(self, name: str) -> Any:
        """The value kept under `name`, or None."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else decode(row[0], _BIG)

    def set_meta(self, name: str, value: Any) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, encode(value)))

    # ---- cases
    def case(self, key: str) -> bytes | None:
        """The packed state of a case."""
        row = self._db.execute("SELECT state FROM cases WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def save_case(self, key: str, role: str, phase: str, final: bool, state: bytes) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO cases VALUES (?, ?, ?, ?, ?)", (key, role, phase, final, state)
        )

    def case_keys(self, open_only: bool = False) -> list[str]:
        """Names of cases, oldest first."""
        where = "WHERE final = 0" if open_only else ""
        return [r[0] for r in self._db.execute(f"SELECT key FROM cases {where} ORDER BY rowid")]  # noqa: S608

    # ---- events
    def first_time(self, event: Event, case_key: str) -> bool:
        """Note the event's id; False when it was applied before. Events without an id always count."""
        if not event.id:
            return True
        found = self._db.execute(
            "INSERT OR IGNORE INTO events VALUES (?, ?, ?)", (event.id, case_key, event.kind)
        ).rowcount
        return found == 1

    def seen(self, event_id: str) -> bool:
        return self._db.execute("SELECT 1 FROM events WHERE id = ?", (event_id,)).fetchone() is not None

    # ---- effects
    def add_effect(self, case_key: str, effect: Effect) -> bool:
        """Write an effect down, due at its `not_before`; False when its id was written before."""
        return (
            self._db.execute(
                "INSERT OR IGNORE INTO effects (id, serial, case_key, kind, body, due)"
                " VALUES (?, (SELECT COALESCE(MAX(serial), 0) + 1 FROM effects), ?, ?, ?, ?)",
                (
                    effect.id,
                    case_key,
                    effect.kind,
                    encode(dict(effect.body)),
                    effect.body.get("not_before", 0.0),
                ),
            ).rowcount
            == 1
        )

    def pending(self, now: float | None = None) -> list[Pending]:
        """Effects not yet done and due, in the order in which they were written."""
        rows = self._db.execute(
            "SELECT id, kind, body, case_key, attempts, due, scratch, trouble FROM effects"
            " WHERE done = 0 AND due <= ? ORDER BY serial",
            (now if now is not None else 1e18,),
        )
        return [
            Pending(
                Effect(r[0], r[1], decode(r[2], _BIG)),
                r[3],
                r[4],
                r[5],
                decode(r[6], _BIG) if r[6] else None,
                r[7],
            )
            for r in rows
        ]

    def note_scratch(self, effect_id: str, scratch: dict[str, Any] | None) -> None:
        """Write down what a performer must not lose before it goes on."""
        self._db.execute(
            "UPDATE effects SET scratch = ? WHERE id = ?", (encode(scratch) if scratch else None, effect_id)
        )

    def postpone(self, effect_id: str, due: float, trouble: str) -> None:
        self._db.execute(
            "UPDATE effects SET attempts = attempts + 1, due = ?, trouble = ? WHERE id = ?",
            (due, trouble, effect_id),
        )

    def hurry(self, kind: str) -> None:
        """Make every pending effect of a kind due at once (its obstacle is gone)."""
        self._db.execute("UPDATE effects SET due = 0 WHERE done = 0 AND kind = ?", (kind,))

    def finish(self, effect_id: str) -> bool:
        """Mark an effect done; False when it was."""
        return (
            self._db.execute("UPDATE effects SET done = 1 WHERE id = ? AND done = 0", (effect_id,)).rowcount
            == 1
        )

    def forget(self, effect_id: str) -> None:
        """Take an effect out again: it was refused before anything came of it, and may be wished anew."""
        self._db.execute("DELETE FROM effects WHERE id = ?", (effect_id,))

    # ---- conversations
    def thread(self, name: str, opener: str) -> ThreadRow | None:
        row = self._db.execute(
            "SELECT * FROM threads WHERE name = ? AND opener = ?", (name, opener)
        ).fetchone()
        return None if row is None else ThreadRow(*row)

    def save_thread(self, row: ThreadRow) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO threads VALUES (?, ?, ?, ?, ?, ?, ?)",
            (row.name, row.opener, row.conversation, row.peer, row.case_key, row.last, row.number),
        )

    # ---- tables of a role's own (`agents/dealer/register.py`)
    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """One statement; on disk when it returns, unless a transaction is open."""
        return self._db.execute(sql, values)

    # ---- blobs
    def put_blob(self, data: bytes) -> bytes:
        """Keep bytes under their BLAKE2b-256 hash, which is returned."""
        name = blob_name(data)
        self._db.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (name, data))
        return name

    def blob(self, name: bytes) -> bytes:
        """The bytes under a hash. Raises KeyError when they were never kept."""
        row = self._db.execute("SELECT data FROM blobs WHERE hash = ?", (name,)).fetchone()
        if row is None:
            raise KeyError(name.hex())
        return bytes(row[0])
