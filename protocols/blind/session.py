"""Names that serve once: of a session, bound into its frames, and of a tape, bound into its keys and frames."""

from __future__ import annotations

from collections.abc import Iterable

from protocols.blind.messages import SESSION_BYTES
from protocols.errors import ProtocolError


class UsedSessions:
    """Sessions and tapes that a participant took part in. The agent stores `all()` before its first frame."""

    def __init__(self, used: Iterable[bytes] = ()) -> None:
        self._used = set(used)

    def claim(self, name: bytes) -> None:
        """Marks `name` used; raises `ProtocolError` if it was, so no preprocessing is ever drawn twice."""
        if not isinstance(name, bytes) or len(name) != SESSION_BYTES:
            raise ProtocolError(
                f"the name of a session or tape is not {SESSION_BYTES} bytes", "take a fresh one"
            )
        if name in self._used:
            raise ProtocolError("this session or tape was used before", "take a fresh one")
        self._used.add(name)

    def all(self) -> frozenset[bytes]:
        return frozenset(self._used)
