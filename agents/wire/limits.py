"""Every bound of the wire in one place: what a hostile or broken peer can cost at most."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.codec import MAX_MESSAGE
from protocols.crypto.seal import MAX_SEALED, OVERHEAD, padded_length

MAX_ENVELOPE = MAX_MESSAGE + 1024
"""Largest AEA message with its addressing, before sealing, in bytes."""

MAX_FRAME = padded_length(MAX_ENVELOPE) + OVERHEAD + 16
"""Largest frame of the envelope and directory protocols."""

MAX_CHANNEL_FRAME = max(64 << 20, MAX_SEALED)
"""Largest frame of a channel: a sealed scan, or the dealer's material of a layer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    connections: int = 256  # open at once, both directions
    streams_per_peer: int = 16  # of our protocols, opened by the peer
    muxed_streams: int = 64  # of any kind, in one connection
    muxed_backlog: int = 48 << 20  # received and not yet read, in one connection
    inbound_messages: int = 64  # of one peer, not yet taken by the application
    inbound_bytes: int = 4 * MAX_FRAME  # likewise
    messages_per_second: float = 200.0  # of one peer; above it the peer is slowed
    burst: float = 400.0
    outbound_messages: int = 256  # to one peer, not yet written
    outbound_bytes: int = 4 * MAX_FRAME
    outbound_age: float = 120.0  # then dropped: the engine repeats
    idle: float = 120.0  # without anything to write, then the outbox and its stream go
    peers: int = 1024  # outboxes, gates and visitors remembered
    dial_timeout: float = 8.0
    request_timeout: float = 10.0
    frame_timeout: float = 30.0  # from a frame's first byte to its last
    stall_timeout: float = 30.0  # the application takes nothing: the stream is cut
    backoff_first: float = 0.25
    backoff_most: float = 10.0
