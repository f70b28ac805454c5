"""The codec: canonical, bounded, and deaf to garbage."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.codec import MAX_DEPTH, decode, encode, pack, unpack
from protocols.errors import ProtocolError

SCALARS = st.none() | st.booleans() | st.integers(-(2**270), 2**270) | st.floats(allow_nan=False) | st.text()
SCALARS |= st.binary()
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(), v, max_size=4), max_leaves=20
)


@given(VALUES)
def test_a_round_trip_gives_the_same_value_and_the_same_bytes(value: object) -> None:
    data = encode(value)
    assert decode(data) == value
    assert encode(decode(data)) == data


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_bytes_do_not_depend_on_the_order_of_keys(value: dict[str, int]) -> None:
    assert encode(dict(reversed(value.items()))) == encode(value)


@given(st.binary(max_size=200))
def test_garbage_is_a_value_or_a_protocol_error(data: bytes) -> None:
    """Never another exception."""
    try:
        value = decode(data)
    except ProtocolError:
        return
    encode(value)


@given(VALUES, st.data())
def test_a_bent_message_is_a_value_or_a_protocol_error(value: object, data: st.DataObject) -> None:
    raw = bytearray(encode(value))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ProtocolError):
        decode(bytes(raw))


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encode(1) + b"\0",
        encode("x" * 100)[:-1],
        cbor2.dumps(cbor2.CBORTag(99, 1)),
        cbor2.dumps({(1, 2): 3}),
        cbor2.dumps({b"key": 3}),
        cbor2.dumps({1.5: 3}),
        cbor2.dumps(cbor2.undefined),
        encode(nested(MAX_DEPTH + 1)),
        b"\x9b" + b"\xff" * 8,
        b"\x5b\x7f" + b"\xff" * 7,
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


def test_depth_and_length_are_bounded() -> None:
    assert decode(encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    assert decode(encode(b"12"), limit=3) == b"12"
    with pytest.raises(ProtocolError, match="over the limit"):
        decode(encode(b"123"), limit=3)


@dataclass(frozen=True, slots=True)
class Card:
    name: str
    points: int = 3


def test_records_keep_their_fields_and_refuse_others() -> None:
    assert unpack(Card, pack(Card("a", 5))) == Card("a", 5)
    assert unpack(Card, encode({"name": "a"})) == Card("a", 3), "a field added later takes its default"
    for wrong in ({"name": "a", "more": 1}, {"points": 1}, [1], 7):
        with pytest.raises(ProtocolError):
            unpack(Card, encode(wrong))
