"""Peer records: canonical, bounded, and signed by their wallet or nothing."""

from __future__ import annotations

import contextlib
from dataclasses import FrozenInstanceError

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given, settings
from hypothesis import strategies as st
from libp2p.crypto.secp256k1 import Secp256k1PrivateKey
from libp2p.peer.id import ID

from protocols.codec import decode, encode
from protocols.errors import ProtocolError
from protocols.records import MAX_RECORD, PeerRecord, peer_id_of_key, recover_signer, wallet_of_key

KEY, OTHER = b"\x11" * 32, b"\x12" * 32
WALLET = Account.from_key(KEY).address
FIELDS = {
    "role": "doctor",
    "addresses": ("/ip4/127.0.0.1/tcp/4001", "/dns/agent.example/tcp/4002"),
    "tls": "127.0.0.1:4003",
    "sealing_key": b"\x05" * 32,
    "sequence": 1_763_700_000_000,
    "extra": {"name": "Ada", "speed": 3},
}


def signer(key: bytes = KEY):
    """What any Ethereum wallet does with a personal message."""
    return lambda message: bytes(Account.sign_message(encode_defunct(message), key).signature)


def record(**change) -> PeerRecord:
    return PeerRecord.sign(signer(), WALLET, **{**FIELDS, **change})


def test_round_trip_by_an_ordinary_wallet():
    made = record()
    assert PeerRecord.decode(made.encode()) == made
    assert (made.wallet, made.role, made.sequence) == (WALLET, "doctor", FIELDS["sequence"])
    assert wallet_of_key(made.public_key) == WALLET
    assert len(made.encode()) < 280


def test_the_peer_id_is_libp2ps():
    key = Secp256k1PrivateKey.from_bytes(KEY).get_public_key()
    assert record().peer_id == str(ID.from_pubkey(key)) == peer_id_of_key(key.to_bytes())
    assert record().multiaddrs[0] == f"/ip4/127.0.0.1/tcp/4001/p2p/{record().peer_id}"


def test_a_record_is_frozen():
    with pytest.raises(FrozenInstanceError):
        record().role = "model"
    with pytest.raises(TypeError):
        record().extra["name"] = "Eve"


def test_a_foreign_signature_is_refused():
    with pytest.raises(ProtocolError, match="not signed by its wallet"):
        PeerRecord.sign(signer(OTHER), WALLET, **FIELDS)


@pytest.mark.parametrize("place", range(1, 8))
def test_every_field_is_signed(place):
    value = decode(record().encode())
    value[place] = {
        1: b"\x09" * 20,
        2: "model",
        3: ["/ip4/6.6.6.6/tcp/1"],
        4: "6.6.6.6:1",
        5: b"\x06" * 32,
        6: value[6] + 1,
        7: {},
    }[place]
    with pytest.raises(ProtocolError, match="not signed by its wallet"):
        PeerRecord.decode(encode(value))


def test_the_high_form_of_a_signature_is_refused():
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    value = decode(record().encode())
    r, s, v = value[8][:32], int.from_bytes(value[8][32:64], "big"), value[8][64]
    value[8] = r + (order - s).to_bytes(32, "big") + bytes([55 - v])
    with pytest.raises(ProtocolError, match="low form"):
        PeerRecord.decode(encode(value))


@pytest.mark.parametrize(
    "change",
    [
        {"role": "Doctor"},
        {"role": ""},
        {"role": "d" * 17},
        {"addresses": ("/ip4/127.0.0.1/udp/4001",)},
        {"addresses": ("/ip4/127.0.0.1/tcp/0",)},
        {"addresses": ("/ip4/127.0.0.1/tcp/65536",)},
        {"addresses": ("/ip4/127.0.0.1/tcp/4001/p2p/x",)},
        {"addresses": ("/ip4/127.0.0.1/tcp/4001",) * 5},
        {"tls": "127.0.0.1"},
        {"tls": "127.0.0.1:99999"},
        {"tls": "https://a:1"},
        {"sealing_key": b"\x05" * 31},
        {"sequence": -1},
        {"sequence": 1 << 63},
        {"sequence": True},
        {"extra": {str(n): n for n in range(9)}},
        {"extra": {"a": 1.5}},
        {"extra": {"a": [1]}},
        {"extra": {"a": "x" * MAX_RECORD}},
    ],
)
def test_fields_out_of_bounds_are_refused(change):
    with pytest.raises(ProtocolError):
        record(**change)


@pytest.mark.parametrize("tls", ["", "agent.example:443", "[::1]:443", "10.0.0.1:1"])
def test_tls_places(tls):
    assert record(tls=tls).tls == tls


def test_only_the_canonical_form_is_read():
    data = record().encode()
    loose = data[:1] + b"\x18\x01" + data[2:]  # the version 1 in two bytes
    for wrong in (
        loose,
        data + b"\0",
        data[:-1],
        b"",
        encode([1, 2]),
        encode({"a": 1}),
        data.replace(b"\x89\x01", b"\x89\xf5"),
    ):
        with pytest.raises(ProtocolError):
            PeerRecord.decode(wrong)


@settings(deadline=None)
@given(st.binary(max_size=600))
def test_garbage_never_raises_anything_else(data):
    with pytest.raises(ProtocolError):
        PeerRecord.decode(data)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_altered_bytes_never_raise_anything_else(place, flip):
    data = bytearray(record().encode())
    data[place % len(data)] ^= flip
    with pytest.raises(ProtocolError):
        PeerRecord.decode(bytes(data))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=65),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.lists(VALUES, min_size=9, max_size=9), st.integers(0, 511))
def test_well_formed_nonsense_never_raises_anything_else(values, keep):
    good = decode(record().encode())
    mixed = [good[n] if keep >> n & 1 else values[n] for n in range(9)]
    if mixed == good:
        return
    with pytest.raises(ProtocolError):
        PeerRecord.decode(encode(mixed))


@settings(deadline=None)
@given(st.binary(max_size=66), st.binary(min_size=32, max_size=32))
def test_recovery_never_raises_anything_else(signature, digest):
    with contextlib.suppress(ProtocolError):
        assert len(recover_signer(digest, signature)) == 33


@settings(deadline=None)
@given(st.binary(max_size=66))
def test_keys_that_are_none(key):
    with contextlib.suppress(ProtocolError):
        assert len(wallet_of_key(key)) == 42
