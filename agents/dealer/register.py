"""Which tapes a dealer made, for whom, and what became of them: each is given out or opened once, or never.

States: `dealt` (the model keeps it), then one of `given` (its seed went to a patient), `opened` (its seeds went to
the model, to be checked) and `lost` (the model says that it has it no more). `live` ones are `given` from the start.
No secret is here: a tape's seeds come from the dealer's key and the tape's name. A change is on disk before the
method returns, so a seed that left is never given a second time, whatever dies.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agents.engine.store import Store

DAY = 86_400.0
PAID_FACTOR = 4
"""Each byte of a tape that a paid session used lets its model have so many bytes dealt anew."""


@dataclass(frozen=True, slots=True)
class Limits:
    """unpaid: bytes a day and model beyond what paid sessions brought in; outstanding: tapes that a model may keep."""

    unpaid: int = 8 << 30
    outstanding: int = 256


class Register:
    """The dealer's book of tapes, in its log."""

    def __init__(self, store: Store, limits: Limits | None = None) -> None:
        self._store = store
        self.limits = limits or Limits()

    def add(self, name: bytes, model: str, network: bytes, batch: int, size: int, now: float) -> None:
        """A tape that is about to be dealt, to be kept."""
        self._insert(name, model, network, batch, size, "dealt", now)

    def live(self, name: bytes, model: str, network: bytes, batch: int, size: int, now: float) -> None:
        """A tape that is dealt for a session that runs: given out from the start."""
        self._insert(name, model, network, batch, size, "given", now)

    def _insert(
        self, name: bytes, model: str, network: bytes, batch: int, size: int, state: str, now: float
    ) -> None:
        values = (name, model, network, batch, size, state, now)
        self._store.execute("INSERT INTO tapes VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def give(self, name: bytes, model: str, network: bytes, batch: int) -> bool:
        """Mark a kept tape given out; False when it is not that model's to use, or was used."""
        found = self._store.execute(
            "UPDATE tapes SET state = 'given' WHERE name = ? AND model = ? AND network = ? AND batch = ?"
            " AND state = 'dealt'",
            (name, model, network, batch),
        )
        return found.rowcount == 1

    def open(self, names: Iterable[bytes], model: str) -> bool:
        """Mark tapes dead, all or none; False when one of them is not there to be opened."""
        names = list(names)
        try:
            with self._store.transaction():
                for name in names:
                    found = self._store.execute(
                        "UPDATE tapes SET state = 'opened' WHERE name = ? AND model = ? AND state = 'dealt'",
                        (name, model),
                    )
                    if found.rowcount != 1:
                        raise KeyError(name.hex())
        except KeyError:
            return False
        return True

    def sync(self, model: str, network: bytes, batch: int, kept: Iterable[bytes]) -> None:
        """What the model does not keep any more is never given out."""
        held = set(kept)
        rows = self._store.execute(
            "SELECT name FROM tapes WHERE model = ? AND network = ? AND batch = ? AND state = 'dealt'",
            (model, network, batch),
        ).fetchall()
        with self._store.transaction():
            for (name,) in rows:
                if name not in held:
                    self._store.execute("UPDATE tapes SET state = 'lost' WHERE name = ?", (name,))

    def objection(self, model: str, count: int, size: int, now: float) -> str:
        """Why a model may not have `count` tapes of `size` bytes more, or ""."""
        (outstanding,) = self._store.execute(
            "SELECT COUNT(*) FROM tapes WHERE model = ? AND state = 'dealt'", (model,)
        ).fetchone()
        if outstanding + count > self.limits.outstanding:
            return f"you keep {outstanding} tapes, and {self.limits.outstanding} is the most"
        spent, paid = self._store.execute(
            "SELECT COALESCE(SUM(size), 0), COALESCE(SUM(CASE WHEN state = 'given' THEN size ELSE 0 END), 0)"
            " FROM tapes WHERE model = ? AND at > ?",
            (model, now - DAY),
        ).fetchone()
        if spent + count * size - (PAID_FACTOR + 1) * paid > self.limits.unpaid:
            return (
                f"over {self.limits.unpaid >> 20} MB were dealt for you in a day that no session has paid for"
            )
        return ""

    def counts(self) -> dict[str, int]:
        """How many tapes are in each state."""
        return dict(self._store.execute("SELECT state, COUNT(*) FROM tapes GROUP BY state").fetchall())
