"""BLS signatures: what holds holds, and nothing else does."""

from __future__ import annotations

import pickle
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.crypto import bls
from protocols.crypto.bls import BlsKey, BlsPublic
from protocols.crypto.bn254 import G1, P, R, g1_mul
from protocols.errors import ProtocolError
from tests.protocols.crypto.test_bn254 import off_group

DOMAIN = b"d" * 32
MESSAGE = b"m" * 32
KNOWN_HASH = (
    16809318322651663641118277617620919032601924350654817774388328705668564104318,
    8625412352725984902007634344439153698197650471466125789987989404428732154588,
)
KNOWN_KEY = (
    9499401687890169280461651143480311959793608327292769564795022488951279256318,
    14727082949870341311515260641934441514264531463993185612914192861745284305081,
)
KEYS = [BlsKey(bytes([i]) * 32) for i in range(4)]


def test_a_signature_holds_for_its_key_message_and_domain_alone() -> None:
    key, other = KEYS[:2]
    signature = key.sign(DOMAIN, MESSAGE)
    assert bls.verify(DOMAIN, MESSAGE, key.public.g2, signature)
    assert key.sign(DOMAIN, MESSAGE) == signature
    assert not bls.verify(DOMAIN, b"n" * 32, key.public.g2, signature)
    assert not bls.verify(b"e" * 32, MESSAGE, key.public.g2, signature)
    assert not bls.verify(DOMAIN, MESSAGE, other.public.g2, signature)
    assert not bls.verify(DOMAIN, MESSAGE, key.public.g2, other.sign(DOMAIN, MESSAGE))
    negated = (signature[0], P - signature[1])
    assert not bls.verify(DOMAIN, MESSAGE, key.public.g2, negated)


def test_sums_verify_as_one() -> None:
    signatures = [key.sign(DOMAIN, MESSAGE) for key in KEYS]
    total, keys = bls.add_signatures(signatures), bls.add_keys(key.public.g2 for key in KEYS)
    assert bls.verify(DOMAIN, MESSAGE, keys, total)
    assert bls.add_signatures(reversed(signatures)) == total
    assert not bls.verify(DOMAIN, MESSAGE, keys, bls.add_signatures(signatures[1:]))
    assert not bls.verify(DOMAIN, MESSAGE, bls.add_keys(key.public.g2 for key in KEYS[1:]), total)


def test_infinity_and_junk_never_verify() -> None:
    key = KEYS[0]
    signature = key.sign(DOMAIN, MESSAGE)
    nothing1, nothing2 = (0, 0), (0, 0, 0, 0)
    assert not bls.verify(DOMAIN, MESSAGE, nothing2, nothing1)
    assert not bls.verify(DOMAIN, MESSAGE, key.public.g2, nothing1)
    assert not bls.verify(DOMAIN, MESSAGE, nothing2, signature)
    assert not bls.verify(DOMAIN, MESSAGE, key.public.g2, (1, 3))
    assert not bls.verify(DOMAIN, MESSAGE, key.public.g2, (signature[0] + P, signature[1]))
    outside = bls.encode_g2(off_group())
    assert not bls.verify(DOMAIN, MESSAGE, outside, signature)
    x1, x0, y1, y0 = key.public.g2
    assert not bls.verify(DOMAIN, MESSAGE, (x0, x1, y0, y1), signature)


def test_both_halves_are_one_key() -> None:
    a, b = (key.public for key in KEYS[:2])
    assert bls.same_key(a)
    assert not bls.same_key(BlsPublic(a.g1, b.g2))
    assert not bls.same_key(BlsPublic((0, 0), (0, 0, 0, 0)))
    assert not bls.same_key(BlsPublic((1, 3), a.g2))


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
@settings(max_examples=50, deadline=None)
def test_hashing_reaches_the_curve_and_depends_on_both(domain: bytes, message: bytes) -> None:
    point = bls.hash_to_g1(domain, message)
    assert point is not None
    x, y = point
    assert (y * y - x**3 - 3) % P == 0
    if domain != message:
        assert bls.hash_to_g1(message, domain) != point


def test_hashing_known_answers() -> None:
    """Fixed here so that certificates signed once stay valid; `test_bindings_case` holds them to the
    contract.
    """
    points = [bls.hash_to_g1(DOMAIN, bytes([i]) * 32) for i in range(24)]
    assert len(set(points)) == 24
    assert {y & 1 for _, y in points} == {0, 1}
    x, y = points[0]
    assert (x, y) == KNOWN_HASH
    assert KEYS[0].public.g1 == KNOWN_KEY
    assert KEYS[0].public.g1 == g1_mul(G1, KEYS[0]._BlsKey__scalar)


def test_seeds_make_keys() -> None:
    assert BlsKey(b"\x01" * 32).public == KEYS[1].public
    assert all(a.public != b.public for a, b in pairwise(KEYS))
    assert 0 < KEYS[0]._BlsKey__scalar < R
    with pytest.raises(ValueError, match="32 bytes"):
        BlsKey(b"short")


def test_keys_keep_to_themselves() -> None:
    key = KEYS[0]
    assert str(key._BlsKey__scalar) not in repr(key)
    with pytest.raises(TypeError):
        bool(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_encodings() -> None:
    signature = KEYS[0].sign(DOMAIN, MESSAGE)
    assert bls.signature_from_bytes(bls.signature_bytes(signature)) == signature
    assert bls.encode_g2(bls.decode_g2(KEYS[0].public.g2)) == KEYS[0].public.g2
    assert bls.decode_g1((0, 0)) is None
    for bad in (b"", b"\x01" * 63, b"\xff" * 64, b"\x00" * 63 + b"\x01"):
        with pytest.raises(ProtocolError):
            bls.signature_from_bytes(bad)
    for bad in ((1, 2, 3), (1,), ("1", "2"), (True, False), (1.0, 2.0)):
        with pytest.raises(ProtocolError):
            bls.decode_g1(bad)
    for bad in ((1, 2), (1, 2, 3, 4), ("a",) * 4, (-1, 0, 0, 0)):
        with pytest.raises(ProtocolError):
            bls.decode_g2(bad)
    with pytest.raises(ValueError, match="32 bytes each"):
        bls.hash_to_g1(b"short", MESSAGE)


def test_a_rogue_key_needs_a_proof_it_cannot_have() -> None:
    """The attack that proofs of possession stop: a key made to cancel another's signs for both."""
    victim, attacker = KEYS[0], KEYS[1]
    (x1, x0, y1, y0) = victim.public.g2
    rogue = bls.add_keys([attacker.public.g2, (x1, x0, (P - y1) % P, (P - y0) % P)])
    total = bls.add_keys([victim.public.g2, rogue])
    assert bls.verify(DOMAIN, MESSAGE, total, attacker.sign(DOMAIN, MESSAGE))
    for key in (victim, attacker):
        assert not bls.verify(DOMAIN, MESSAGE, rogue, key.sign(DOMAIN, MESSAGE))
