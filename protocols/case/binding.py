"""What a case's scan commitment binds beside the scan: the verdict codes of every round.

    code commitment of round i:  c_i = keccak("crypdoc/v1/codes" || salt_i || codes_i)
    opening:                     o   = keccak("crypdoc/v1/opening" || nonce || c_1 || c_2 ..)
    scan commitment (on chain):  keccak("crypdoc/v1/scan" || o || keccak(scan))

A doctor of round i is shown the nonce, all c, and salt_i with codes_i: two doctors of one round cannot be given
different codes, and no round learns the codes of another.
"""

from __future__ import annotations

from collections.abc import Sequence

from eth_utils.crypto import keccak

HASH_BYTES = 32
MAX_ROUNDS = 8


def code_commitment(salt: bytes, codes: Sequence[int]) -> bytes:
    """Binds to a round's codes and, with a secret 32-byte salt, hides them."""
    return keccak(b"crypdoc/v1/codes" + salt + bytes(codes))


def opening_of(nonce: bytes, commitments: Sequence[bytes]) -> bytes:
    """The opening of the scan commitment: binds to the codes of all rounds, hides by the secret nonce."""
    return keccak(b"crypdoc/v1/opening" + nonce + b"".join(commitments))


def well_formed(nonce: object, commitments: object, salt: object) -> bool:
    """Whether what a patient delivered beside the scan has the right form."""
    hashes = [nonce, salt, *commitments] if isinstance(commitments, list) else []
    return 3 <= len(hashes) <= MAX_ROUNDS + 2 and all(
        isinstance(h, bytes) and len(h) == HASH_BYTES for h in hashes
    )
