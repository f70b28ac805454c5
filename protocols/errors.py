"""The errors a person or a peer can meet: each names the fault and the remedy.

`UserError` reaches a person as one sentence and an exit code (or HTTP status), never as a traceback.
`ProtocolError` is what every decoder and state machine raises on bytes or moves that do not belong; it
ends a message or a session, never an agent.
"""

from __future__ import annotations


class CrypDocError(Exception):
    """Base of every error raised on purpose.

    fault: what is wrong, a clause without a full stop. remedy: what to do about it, likewise.
    """

    exit_code = 1
    http_status = 500

    def __init__(self, fault: str, remedy: str = "") -> None:
        super().__init__(fault, remedy)
        self.fault = fault
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.fault}; {self.remedy}" if self.remedy else self.fault


class UserError(CrypDocError):
    """Bad input or a refused wish: the person can mend it."""

    exit_code = 2
    http_status = 400


class ScanError(UserError):
    """The file is not a scan that CrypDoc can read."""

    exit_code = 3
    http_status = 415


class KeystoreError(UserError):
    """The keystore is missing, corrupt, or the password is wrong."""

    exit_code = 4
    http_status = 401


class ChainError(CrypDocError):
    """The chain is unreachable, is the wrong one, or refused a transaction."""

    exit_code = 5
    http_status = 502


class WireError(CrypDocError):
    """A peer cannot be reached, or a port is taken."""

    exit_code = 6
    http_status = 502


class ProtocolError(CrypDocError):
    """A message or move that the protocol does not allow. Whoever sent it is at fault."""

    exit_code = 7
    http_status = 400


class PeerStalled(WireError):
    """A peer said nothing, or took nothing, for longer than is waited for. Its role is named."""


class PeerLeft(WireError):
    """A peer ended its channel before all was said. Its role is named."""


class PeerMisspoke(ProtocolError):
    """A peer's frame was cut short, repeated, out of order or senseless. Its role is named."""


class SeedsDiffer(ProtocolError):
    """The patient's seed is not that of the model's tape: the dealer gave out another, or the patient lies."""


class DealerCheated(ProtocolError):
    """A dealer's tape is not what its own seeds say."""


class ModelCheated(ProtocolError):
    """A model's answers contradict one another or what its owner published."""
