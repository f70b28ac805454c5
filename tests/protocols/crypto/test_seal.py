"""Sealing: what opens, what does not, and what a length tells."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.crypto.seal import (
    MAX_PLAIN,
    MAX_SEALED,
    OVERHEAD,
    open_sealed,
    padded_length,
    seal,
    sealing_public,
)
from protocols.errors import ProtocolError

ALICE, BOB, EVE = (bytes([n]) * 20 for n in (1, 2, 3))
SECRET, OTHER, EPHEMERAL = (bytes([n]) * 32 for n in (7, 8, 9))
PUBLIC = sealing_public(SECRET)


def sealed(plain: bytes, purpose: str = "test") -> bytes:
    return seal(plain, PUBLIC, EPHEMERAL, sender=ALICE, recipient=BOB, purpose=purpose)


def opened(
    blob: bytes, secret: bytes = SECRET, sender: bytes = ALICE, recipient: bytes = BOB, purpose: str = "test"
):
    return open_sealed(blob, secret, sender=sender, recipient=recipient, purpose=purpose)


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_what_is_sealed_opens(plain):
    blob = sealed(plain)
    assert opened(blob) == plain
    assert len(blob) == padded_length(len(plain)) + OVERHEAD


@pytest.mark.parametrize(
    "change",
    [
        {"secret": OTHER},
        {"sender": EVE},
        {"recipient": EVE},
        {"sender": BOB, "recipient": ALICE},
        {"purpose": "tesu"},
    ],
)
def test_nobody_else_opens_it_and_not_out_of_its_conversation(change):
    with pytest.raises(ProtocolError, match="does not open"):
        opened(sealed(b"scan"), **change)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_every_altered_byte_is_noticed(place, flip):
    blob = bytearray(sealed(b"scan"))
    blob[place % len(blob)] ^= flip
    with pytest.raises(ProtocolError):
        opened(bytes(blob))


@settings(deadline=None)
@given(st.binary(max_size=1200))
def test_garbage_never_raises_anything_else(data):
    with pytest.raises(ProtocolError):
        opened(data)


def test_small_bodies_look_alike():
    assert len({len(sealed(bytes(n))) for n in range(253)}) == 1


@settings(deadline=None)
@given(st.integers(0, MAX_PLAIN))
def test_padding_costs_an_eighth_at_most_and_is_stable(length):
    total = padded_length(length)
    assert total >= length + 4
    assert total == 256 or total <= (length + 4) * 1.125
    assert padded_length(total - 4) == total


def test_padding_must_be_canonical():
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from protocols.crypto import seal as module

    context = module._context(ALICE, BOB, "test")
    key = X25519PrivateKey.from_private_bytes(EPHEMERAL)
    own = key.public_key().public_bytes_raw()
    cipher = module._cipher(key, PUBLIC, own + PUBLIC, context)
    for body in (
        (3).to_bytes(4, "big") + b"abc" + b"\1" * 249,  # not empty
        (300).to_bytes(4, "big") + bytes(252),  # longer than the body
        (1).to_bytes(4, "big") + bytes(508),  # more padding than needed
        (0xFFFFFFFF).to_bytes(4, "big") + bytes(252),
    ):
        with pytest.raises(ProtocolError, match="padd"):
            opened(own + cipher.encrypt(bytes(12), body, context))


def test_a_scan_of_32_mib_is_sealed_and_a_byte_more_is_not():
    blob = sealed(bytes(MAX_PLAIN))
    assert len(blob) == MAX_SEALED
    assert opened(blob) == bytes(MAX_PLAIN)
    with pytest.raises(ProtocolError, match="too many"):
        sealed(bytes(MAX_PLAIN + 1))


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)])
def test_points_of_small_order_are_refused(point):
    with pytest.raises(ProtocolError, match="small order"):
        seal(b"x", point, EPHEMERAL, sender=ALICE, recipient=BOB, purpose="test")
    with pytest.raises(ProtocolError, match="small order"):
        opened(point + sealed(b"x")[32:])


@pytest.mark.parametrize(
    ("key", "ephemeral", "sender", "purpose"),
    [
        (PUBLIC[:31], EPHEMERAL, ALICE, "test"),
        (PUBLIC, EPHEMERAL[:31], ALICE, "test"),
        (PUBLIC, EPHEMERAL, ALICE[:19], "test"),
        (PUBLIC, EPHEMERAL, ALICE, ""),
        (PUBLIC, EPHEMERAL, ALICE, "x" * 256),
    ],
)
def test_unfit_keys_and_names_are_refused(key, ephemeral, sender, purpose):
    with pytest.raises(ProtocolError):
        seal(b"x", key, ephemeral, sender=sender, recipient=BOB, purpose=purpose)


def test_vector():
    """Pins the format: a change of any step changes these bytes."""
    blob = sealed(b"format 1")
    assert blob[:32] == sealing_public(EPHEMERAL)
    assert blob[32:48].hex() == "ec3e5435a13cd9ef7a45ee0ce4db6376"
