"""Canonical, bounded CBOR: one encoding for every message, state and effect.

`encode` is deterministic (RFC 8949 core deterministic encoding by cbor2's canonical mode), so hashes and
signatures over encoded values are stable. `decode` accepts exactly one value, no tags but bignums, no
trailing bytes and nothing above `limit`; everything else is a `ProtocolError`.
"""

from __future__ import annotations

import io
from dataclasses import fields
from typing import Any, TypeVar

import cbor2

from protocols.errors import ProtocolError

MAX_MESSAGE = 8 << 20
"""Largest encoded message in bytes; a scan of 2048 x 2048 pixels fits."""

MAX_DEPTH = 16

T = TypeVar("T")


def encode(value: Any) -> bytes:
    """The canonical bytes of None, bool, int, float, bytes, str, list, tuple and dict, nested."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, limit: int = MAX_MESSAGE) -> Any:
    """The one value that `data` encodes. Raises `ProtocolError` on anything else."""
    if len(data) > limit:
        raise ProtocolError(f"a message of {len(data)} bytes is over the limit of {limit}")
    stream = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(stream).decode()
    except Exception as error:  # cbor2 raises many kinds; none of them may reach an agent
        raise ProtocolError(f"the bytes are not CBOR ({type(error).__name__})") from None
    if stream.tell() != len(data):
        raise ProtocolError("bytes trail the message")
    _check(value, 0)
    return value


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ProtocolError("the message is nested too deeply")
    if value is None or isinstance(value, bool | int | float | bytes | str):
        return
    if isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str | int):
                raise ProtocolError("a map key is neither text nor a number")
            _check(item, depth + 1)
    else:
        raise ProtocolError(f"a value of kind {type(value).__name__} does not belong in a message")


def pack(record: Any) -> bytes:
    """The canonical bytes of a dataclass whose fields are plain values."""
    return encode({f.name: getattr(record, f.name) for f in fields(record)})


def unpack(kind: type[T], data: bytes) -> T:
    """The dataclass that `pack` wrote. Unknown fields are an error, missing ones take their default."""
    body = decode(data, limit=1 << 28)
    if not isinstance(body, dict):
        raise ProtocolError(f"a {kind.__name__} must be a map")
    try:
        return kind(**body)
    except TypeError as error:
        raise ProtocolError(f"not a {kind.__name__}: {error}") from None
