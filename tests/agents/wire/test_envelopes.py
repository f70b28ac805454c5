"""Envelopes as bytes: canonical, and nothing but `ProtocolError` from what is not one."""

from __future__ import annotations

import contextlib

import pytest
from aea.configurations.base import PublicId
from aea.mail.base import Envelope
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_harness import CHAT, ring

from agents.wire.channel import hello, read_hello
from agents.wire.envelopes import Window, decode_envelope, encode_envelope, envelope_id, id_of
from agents.wire.limits import MAX_CHANNEL_FRAME, MAX_ENVELOPE, MAX_FRAME
from protocols.codec import MAX_MESSAGE, decode, encode
from protocols.crypto.seal import MAX_SEALED, OVERHEAD, padded_length
from protocols.errors import ProtocolError

A, B = ring(1).address, ring(2).address


def envelope(message: bytes = b"hello", to: str = B, sender: str = A) -> Envelope:
    return Envelope(to=to, sender=sender, message=message, protocol_specification_id=CHAT)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_round_trip(message):
    data = encode_envelope(envelope(message))
    assert decode_envelope(data) == envelope(message)
    assert envelope_id(envelope(message)) == id_of(data)


def test_the_id_depends_on_everything():
    other = PublicId.from_str("crypdoc/session:1.0.0")
    variants = [
        envelope(),
        envelope(b"hellp"),
        envelope(to=ring(3).address),
        envelope(sender=ring(3).address),
        Envelope(to=B, sender=A, message=b"hello", protocol_specification_id=other),
    ]
    assert len({envelope_id(each) for each in variants}) == len(variants)


def test_the_largest_message_fits_and_a_larger_one_does_not():
    encode_envelope(envelope(bytes(MAX_MESSAGE)))
    with pytest.raises(ProtocolError, match="over the limit"):
        encode_envelope(envelope(bytes(MAX_ENVELOPE)))
    assert padded_length(MAX_ENVELOPE) + OVERHEAD + 1 <= MAX_FRAME
    assert MAX_SEALED <= MAX_CHANNEL_FRAME


@pytest.mark.parametrize("address", ["", "somebody", "0x12", "0x" + "zz" * 20])
def test_addresses_that_are_no_wallets(address):
    with pytest.raises(ProtocolError, match="not a wallet address"):
        encode_envelope(envelope(to=address))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_garbage_never_raises_anything_else(data):
    with pytest.raises(ProtocolError):
        decode_envelope(data)


VALUES = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=30) | st.binary(max_size=30) | st.floats()
)


@settings(deadline=None)
@given(st.lists(VALUES, min_size=4, max_size=4), st.integers(0, 14))
def test_well_formed_nonsense_never_raises_anything_else(values, keep):
    good = decode(encode_envelope(envelope()))
    mixed = [good[n] if keep >> n & 1 else values[n] for n in range(4)]
    with contextlib.suppress(ProtocolError):
        assert encode_envelope(decode_envelope(encode(mixed))) == encode(mixed)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.lists(VALUES, max_size=4).map(encode))
def test_opening_frames(data):
    with contextlib.suppress(ProtocolError):
        values = read_hello(data, bytes, str)
        assert hello(*values) == data


def test_the_window_delivers_once_then_acknowledges():
    window = Window(patience=10)
    assert window.arrive("a", b"1", now=0) == "deliver"
    assert window.arrive("a", b"1", now=5) == "wait"
    assert window.arrive("b", b"1", now=5) == "deliver"
    assert window.arrive("a", b"1", now=10) == "deliver"  # the application may have dropped it
    window.commit("a", b"1")
    assert window.arrive("a", b"1", now=99) == "ack"


def test_the_window_is_bounded():
    window = Window(depth=3, senders=2)
    for sender in ("a", "b", "c"):
        for number in range(9):
            window.arrive(sender, bytes([number]), now=0)
    assert set(window._seen) == {"b", "c"}
    assert all(len(seen) == 3 for seen in window._seen.values())
    assert window.arrive("c", b"\x08", now=1) == "wait"
    assert window.arrive("c", b"\x00", now=1) == "deliver"
