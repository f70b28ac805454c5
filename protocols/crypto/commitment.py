"""Hashes that bind: what the contracts and the peers recompute.

The chain's part is `keccak256(abi.encode(...))`, exactly as in the contracts; addresses are 0x text.
"""

from __future__ import annotations

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from protocols.crypto.bls import BlsPublic

OPENING_BYTES = 32
POSSESSION_DOMAIN = keccak(text="CrypDoc BLS possession v1")


def case_id(chain_id: int, cases: str, case_account: str, scan_commitment: bytes) -> int:
    """The id that a case will have, known before it is opened. See `Cases.caseIdOf`."""
    kinds = ("uint256", "address", "address", "bytes32")
    return int.from_bytes(keccak(encode(kinds, (chain_id, cases, case_account, scan_commitment))), "big")


def ballot_commitment(
    *,
    chain_id: int,
    cases: str,
    case_id: int,
    round_: int,
    doctor: str,
    code: int,
    confidence: int,
    salt: bytes,
) -> bytes:
    """What a doctor commits to. See `Cases.commitmentOf`."""
    kinds = ("uint256", "address", "uint256", "uint8", "address", "uint8", "uint8", "bytes32")
    return keccak(encode(kinds, (chain_id, cases, case_id, round_, doctor, code, confidence, salt)))


def scan_commitment(scan: bytes, opening: bytes) -> bytes:
    """Binds to a scan and, with a secret random 32-byte opening, hides it."""
    if len(opening) != OPENING_BYTES:
        raise ValueError(f"the opening of a scan commitment has {OPENING_BYTES} bytes")
    return keccak(b"crypdoc/v1/scan" + opening + keccak(scan))


def record_hash(record: bytes) -> bytes:
    """What the data market lists of a record: keccak256 of its canonical bytes."""
    return keccak(record)


def label_hash(label: str) -> bytes:
    """A plain verdict as the certificate binds it."""
    return keccak(text=label)


def consent_hash(
    chain_id: int, market: str, case_account: str, text: bytes, floor_price: int, until: int
) -> bytes:
    """The consent that a case is opened with. See `DataMarket.consentHashOf`. text: keccak256 of what was
    read.
    """
    kinds = ("string", "uint256", "address", "address", "(bytes32,uint96,uint64)")
    fields = ("CrypDoc consent v1", chain_id, market, case_account, (text, floor_price, until))
    return keccak(encode(kinds, fields))


def possession_message(chain_id: int, doctors: str, account: str, public: BlsPublic) -> bytes:
    """What a proof of possession signs, in `POSSESSION_DOMAIN`. See `Doctors.possessionMessage`."""
    kinds = ("uint256", "address", "address", "uint256[2]", "uint256[4]")
    return keccak(encode(kinds, (chain_id, doctors, account, public.g1, public.g2)))
