"""A session: its name, bound into every key and every frame, and the ledger that lets a name serve once."""

from __future__ import annotations

from collections.abc import Iterable

from protocols.blind.messages import SESSION_BYTES
from protocols.errors import ProtocolError


class UsedSessions:
    """Session ids a participant took part in. The agent stores `all()` before it sends the first frame."""

    def __init__(self, used: Iterable[bytes] = ()) -> None:
        self._used = set(used)

    def claim(self, session: bytes) -> None:
        """Marks `session` used; raises `ProtocolError` if it was, so no preprocessing is ever drawn twice."""
        if not isinstance(session, bytes) or len(session) != SESSION_BYTES:
            raise ProtocolError(f"a session id is not {SESSION_BYTES} bytes", "agree on a fresh one")
        if session in self._used:
            raise ProtocolError("this session id was used before", "agree on a fresh one")
        self._used.add(session)

    def all(self) -> frozenset[bytes]:
        return frozenset(self._used)
