"""Typed data against eth-account, commitments by their parts, derivations by their promises."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from coincurve import PrivateKey
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from protocols.crypto import commitment, derive, eip712
from protocols.errors import ProtocolError

KEY = PrivateKey(b"\x07" * 32)
WALLET = Account.from_key(b"\x07" * 32).address
CONTRACT = "0x" + "Cd" * 20
DOMAIN = eip712.models_domain(1337, CONTRACT)
QUOTE = eip712.Quote(b"\x01" * 32, WALLET, 7, CONTRACT, 5, WALLET, 6, 99)
RECEIPT = eip712.Receipt(7, b"\x01" * 32, 2, 99)
CREDENTIAL = eip712.Credential(WALLET, b"\x02" * 32, 99)

TYPES = {
    eip712.Quote: (
        "network:bytes32 model:address caseId:uint256 patient:address price:uint96 "
        "dealer:address dealerFee:uint96 validUntil:uint64"
    ),
    eip712.Receipt: "caseId:uint256 network:bytes32 bucket:uint8 validUntil:uint64",
    eip712.Credential: "doctor:address specialty:bytes32 validUntil:uint64",
}


@pytest.mark.parametrize("struct", [QUOTE, RECEIPT, CREDENTIAL])
def test_digests_and_signatures_as_eth_account(struct) -> None:
    kind = type(struct)
    fields = [dict(zip(("name", "type"), pair.split(":"), strict=True)) for pair in TYPES[kind].split()]
    values = [getattr(struct, name) for name in kind.__slots__]
    message = {field["name"]: value for field, value in zip(fields, values, strict=True)}
    domain = {"name": DOMAIN.name, "version": "1", "chainId": 1337, "verifyingContract": CONTRACT}
    signable = encode_typed_data(domain, {kind.__name__: fields}, message)
    digest = DOMAIN.digest(struct)
    assert digest == keccak(b"\x19" + signable.version + signable.header + signable.body)
    signature = eip712.sign(KEY, digest)
    assert signature == bytes(Account.sign_message(signable, b"\x07" * 32).signature)
    assert eip712.signer_of(digest, signature) == WALLET


def test_a_signature_holds_on_one_contract_of_one_chain_only() -> None:
    digests = {
        domain.digest(RECEIPT)
        for domain in (
            DOMAIN,
            replace(DOMAIN, chain_id=1),
            replace(DOMAIN, contract=WALLET),
            replace(DOMAIN, name="Other"),
            eip712.doctors_domain(1337, CONTRACT),
        )
    }
    assert len(digests) == 5
    changed = {name: getattr(RECEIPT, name) for name in ("case_id", "bucket", "valid_until")}
    for name, value in changed.items():
        assert DOMAIN.digest(replace(RECEIPT, **{name: value + 1})) not in digests


def test_malformed_signatures_are_refused() -> None:
    digest = DOMAIN.digest(RECEIPT)
    good = eip712.sign(KEY, digest)
    order = derive.SECP256K1_ORDER
    high = (
        good[:32] + (order - int.from_bytes(good[32:64], "big")).to_bytes(32, "big") + bytes([55 - good[64]])
    )
    for bad in (good[:64], good + b"\0", good[:64] + b"\0", high, b"\0" * 64 + b"\x1b"):
        with pytest.raises(ProtocolError):
            eip712.signer_of(digest, bad)
    assert eip712.signer_of(keccak(b"other"), good) != WALLET


BALLOT = {
    "chain_id": 1337,
    "cases": CONTRACT,
    "case_id": 5,
    "round_": 1,
    "doctor": WALLET,
    "code": 7,
    "confidence": 90,
    "salt": b"\x03" * 32,
}


@pytest.mark.parametrize("part", sorted(BALLOT))
def test_a_ballot_binds_every_part(part: str) -> None:
    other = {"cases": WALLET, "doctor": CONTRACT, "salt": b"\x04" * 32}.get(part, 9)
    assert commitment.ballot_commitment(**{**BALLOT, part: other}) != commitment.ballot_commitment(**BALLOT)


def test_a_scan_commitment_binds_scan_and_opening() -> None:
    commit = commitment.scan_commitment
    openings = [bytes([i]) * 32 for i in range(3)]
    assert len({commit(scan, opening) for scan in (b"", b"a", b"b") for opening in openings}) == 9
    with pytest.raises(ValueError, match="32 bytes"):
        commit(b"scan", b"short")
    assert commitment.record_hash(b"r") == keccak(b"r")


@given(st.binary(min_size=32, max_size=32), st.integers(1, 255))
def test_verdict_codes_are_distinct_and_not_the_public_one(secret: bytes, labels: int) -> None:
    codes = derive.verdict_codes(secret, labels)
    assert len(set(codes)) == len(codes) == labels
    assert all(1 <= code <= 255 for code in codes)
    assert derive.verdict_codes(secret, labels) == codes


def test_verdict_codes_tell_nothing_over_many_cases() -> None:
    """Each label gets each code about equally often: chi-squared far below a one in a million threshold."""
    rounds = 5_100
    drawn = [derive.verdict_codes(i.to_bytes(32, "big"), 2) for i in range(rounds)]
    for label in (0, 1):
        counts = Counter(codes[label] for codes in drawn)
        chi2 = sum((counts[code] - rounds / 255) ** 2 / (rounds / 255) for code in range(1, 256))
        assert chi2 < 375  # 254 degrees of freedom: mean 254, p < 1e-6
    rising = sum(codes[0] < codes[1] for codes in drawn)
    assert abs(rising - rounds / 2) < 5 * (rounds / 4) ** 0.5


def test_derivations_are_apart_and_stable() -> None:
    secret = b"\x05" * 32
    made = [derive.sealing_seed, derive.bls_seed, derive.tls_seed, derive.ballot_salt_key]
    keys = [make(secret) for make in made] + [derive.account_secret(secret, bytes([i])) for i in range(3)]
    assert len(set(keys)) == len(keys)
    assert [make(secret) for make in made] == keys[:4]
    assert derive.derive(secret, "a", b"b") != derive.derive(secret, "ab")
    assert derive.derive(secret, "a", length=48)[:32] == derive.derive(secret, "a")
    assert 0 < int.from_bytes(keys[-1], "big") < derive.SECP256K1_ORDER
    with pytest.raises(ValueError, match="at least 32 bytes"):
        derive.derive(b"short", "a")
    with pytest.raises(ValueError, match="labels"):
        derive.verdict_codes(secret, 256)


def test_ballot_salts_differ_by_case_round_contract_and_chain() -> None:
    salt = derive.ballot_salt
    places = [
        (1, CONTRACT, 1, 1),
        (2, CONTRACT, 1, 1),
        (1, WALLET, 1, 1),
        (1, CONTRACT, 2, 1),
        (1, CONTRACT, 1, 2),
    ]
    assert len({salt(b"\x01" * 32, *place) for place in places}) == len(places)
    assert salt(b"\x01" * 32, *places[0]) == salt(b"\x01" * 32, *places[0])
