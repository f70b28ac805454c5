"""An AEA envelope as bytes, its id, and the memory of those that came.

Canonical form: CBOR `[to, sender, protocol, message]`. The id is blake2b-256 of it, so sender and receiver
compute it alike and a repeated effect has the same one. On the wire a frame is one tag byte and a payload:
`1 || sealed canonical form` is an envelope, `2 || id` says that the application has committed it.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

from aea.configurations.base import PublicId
from aea.mail.base import Envelope
from eth_utils.address import to_checksum_address

from agents.wire.limits import MAX_ENVELOPE
from protocols.codec import decode, encode
from protocols.errors import ProtocolError

ENVELOPE_TAG, ACK_TAG = 1, 2
PURPOSE = "envelope/1"


def encode_envelope(envelope: Envelope) -> bytes:
    """The canonical bytes. Raises `ProtocolError` when an address is not a wallet or it is too large."""
    try:
        to, sender = (bytes.fromhex(address.removeprefix("0x")) for address in (envelope.to, envelope.sender))
    except ValueError:
        raise ProtocolError(f"{envelope.to!r} or {envelope.sender!r} is not a wallet address") from None
    if len(to) != 20 or len(sender) != 20:
        raise ProtocolError(f"{envelope.to!r} or {envelope.sender!r} is not a wallet address")
    data = encode([to, sender, str(envelope.protocol_specification_id), envelope.message_bytes])
    if len(data) > MAX_ENVELOPE:
        raise ProtocolError(f"an envelope of {len(data)} bytes is over the limit of {MAX_ENVELOPE}")
    return data


def decode_envelope(data: bytes) -> Envelope:
    """The envelope in `data`, its message still bytes. Raises `ProtocolError` on anything else."""
    value = decode(data, limit=MAX_ENVELOPE)
    if not isinstance(value, list) or len(value) != 4 or encode(value) != data:
        raise ProtocolError("not an envelope in canonical form")
    to, sender, protocol, message = value
    if not all(isinstance(wallet, bytes) and len(wallet) == 20 for wallet in (to, sender)):
        raise ProtocolError("an envelope is between two wallets")
    if not isinstance(protocol, str) or not isinstance(message, bytes) or len(protocol) > 128:
        raise ProtocolError("an envelope names a protocol and carries bytes")
    try:
        protocol_id = PublicId.from_str(protocol)
    except ValueError:
        raise ProtocolError("an envelope's protocol is not an AEA protocol id") from None
    return Envelope(
        to=to_checksum_address(to),
        sender=to_checksum_address(sender),
        message=message,
        protocol_specification_id=protocol_id,
    )


def id_of(canonical: bytes) -> bytes:
    """The 32-byte id of an envelope's canonical bytes."""
    return blake2b(canonical, digest_size=32).digest()


def envelope_id(envelope: Envelope) -> bytes:
    """The 32-byte id that the receiver's ack will name."""
    return id_of(encode_envelope(envelope))


class Window:
    """Which envelopes of which sender were delivered and committed, the last `depth` of each.

    An envelope delivered but not committed within `patience` seconds is delivered again: the application may
    have dropped it. One that was committed never is; its ack is repeated.
    """

    def __init__(self, depth: int = 512, senders: int = 512, patience: float = 5.0) -> None:
        self._depth, self._senders, self._patience = depth, senders, patience
        self._seen: OrderedDict[str, OrderedDict[bytes, float | None]] = OrderedDict()

    def arrive(self, sender: str, identity: bytes, now: float) -> str:
        """What to do with it: "deliver", "wait" (the application has it) or "ack" (it was committed)."""
        seen = self._of(sender)
        if identity in seen:
            delivered = seen[identity]
            if delivered is None:
                return "ack"
            if now - delivered < self._patience:
                return "wait"
        seen[identity] = now
        self._trim(seen)
        return "deliver"

    def commit(self, sender: str, identity: bytes) -> None:
        """The application has committed it."""
        seen = self._of(sender)
        seen[identity] = None
        self._trim(seen)

    def forget(self, sender: str, identity: bytes) -> None:
        """The application does not want it yet: deliver it when it comes again."""
        seen = self._of(sender)
        if seen.get(identity) is not None:
            del seen[identity]

    def _of(self, sender: str) -> OrderedDict[bytes, float | None]:
        seen = self._seen.setdefault(sender, OrderedDict())
        self._seen.move_to_end(sender)
        if len(self._seen) > self._senders:
            self._seen.popitem(last=False)
        return seen

    def _trim(self, seen: OrderedDict[bytes, float | None]) -> None:
        while len(seen) > self._depth:
            seen.popitem(last=False)
