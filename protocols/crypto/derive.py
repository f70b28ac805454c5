"""Everything that is derived from a secret, so that one backup brings all of it back.

    derive(secret, purpose, context) = HKDF-SHA256(secret, salt "crypdoc/v1", info "crypdoc/v1/<purpose>" ||
    0 || context)

Knowing what one purpose gives says nothing about the secret or about another purpose. Source: RFC 5869.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
MAX_CODES = 255
_SALT = b"crypdoc/v1"


def derive(secret: bytes, purpose: str, context: bytes = b"", length: int = 32) -> bytes:
    """`length` secret bytes for one purpose and context, the same every time."""
    if len(secret) < 32:
        raise ValueError("a secret to derive from has at least 32 bytes")
    info = f"crypdoc/v1/{purpose}".encode() + b"\0" + context
    return HKDF(SHA256(), length, _SALT, info).derive(secret)


def sealing_seed(secret: bytes) -> bytes:
    """The X25519 secret that others seal to."""
    return derive(secret, "sealing")


def bls_seed(secret: bytes) -> bytes:
    """What the BLS secret key is made from."""
    return derive(secret, "bls")


def tls_seed(secret: bytes) -> bytes:
    """What the key of the TLS certificate is made from (Ed25519)."""
    return derive(secret, "tls")


def ballot_salt_key(secret: bytes) -> bytes:
    """Keys the salts of ballots."""
    return derive(secret, "ballot-salt")


def ballot_salt(salt_key: bytes, chain_id: int, cases: str, case_id: int, round_: int) -> bytes:
    """The salt of a doctor's ballot: recoverable after a lost disk, another in each case and round."""
    where = chain_id.to_bytes(32, "big") + bytes.fromhex(cases[2:])
    return derive(salt_key, "ballot", where + case_id.to_bytes(32, "big") + bytes([round_]))


def account_secret(secret: bytes, context: bytes) -> bytes:
    """The secp256k1 key of a patient's account for one case; nobody can link it to the wallet."""
    wide = int.from_bytes(derive(secret, "case-account", context, 48), "big")
    return (wide % (SECP256K1_ORDER - 1) + 1).to_bytes(32, "big")


def verdict_codes(case_secret: bytes, labels: int) -> tuple[int, ...]:
    """Distinct codes 1..255, one a label, drawn without replacement from the per-case secret.

    Who does not know the secret sees which codes agree and not what they mean. Each draw takes 64 bits modulo
    the codes left: off uniform by less than 2^-56.
    """
    if not 0 < labels <= MAX_CODES:
        raise ValueError(f"a case has 1 to {MAX_CODES} labels")
    stream = derive(case_secret, "verdict-codes", length=8 * labels)
    left = list(range(1, MAX_CODES + 1))
    draws = (int.from_bytes(stream[i : i + 8], "big") for i in range(0, len(stream), 8))
    return tuple(left.pop(draw % len(left)) for draw in draws)
