"""The keyring: one secret in, every other key out, and nothing shown."""

from __future__ import annotations

import copy
import pickle

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from agents.keyring import Keyring
from protocols.crypto import derive
from protocols.crypto.seal import seal, sealing_public
from protocols.errors import KeystoreError
from protocols.records import message_digest, recover_signer

SECRET = b"\x11" * 32


@pytest.fixture
def ring() -> Keyring:
    return Keyring.from_wallet_key(SECRET)


def test_it_is_the_wallet(ring):
    account = Account.from_key(SECRET)
    assert ring.address == account.address == ring.account().address
    assert ring.wallet == bytes.fromhex(account.address[2:])
    assert ring.sign_message(b"hello") == bytes(account.sign_message(encode_defunct(b"hello")).signature)
    assert recover_signer(message_digest(b"hello"), ring.sign_message(b"hello")) == ring.public_key


def test_derived_keys_follow_the_one_derivation(ring):
    assert ring.sealing_key == sealing_public(derive.sealing_seed(SECRET))
    assert ring.bls_seed() == derive.bls_seed(SECRET)
    assert ring.ballot_salt_key() == derive.ballot_salt_key(SECRET)
    assert bytes(ring.case_account(b"1").key) == derive.account_secret(SECRET, b"1")
    assert len({ring.derive(p, c) for p in ("a", "b") for c in (b"", b"1")}) == 4


def test_case_accounts_do_not_link(ring):
    accounts = {ring.case_account(bytes([n])).address for n in range(5)} | {ring.address}
    assert len(accounts) == 6
    assert ring.case_account(b"\1").address == Keyring(SECRET).case_account(b"\1").address


def test_it_opens_what_is_sealed_to_it(ring):
    other = Keyring(b"\x12" * 32)
    blob = seal(
        b"scan", ring.sealing_key, b"\5" * 32, sender=other.wallet, recipient=ring.wallet, purpose="p"
    )
    assert ring.open(blob, sender=other.wallet, purpose="p") == b"scan"


@pytest.mark.parametrize(
    "use", [repr, str, bool, pickle.dumps, copy.copy, copy.deepcopy, "{}".format, "{!r:>9}".format]
)
def test_it_cannot_be_shown_or_copied(ring, use):
    with pytest.raises(TypeError):
        use(ring)


def test_it_has_no_attribute_dictionary(ring):
    with pytest.raises(TypeError):
        vars(ring)


@pytest.mark.parametrize("secret", [b"", bytes(32), b"\xff" * 32, b"\x11" * 31])
def test_bytes_that_are_no_key(secret):
    with pytest.raises(KeystoreError):
        Keyring(secret)
