"""A case account's word that a wallet on the wire speaks for it.

A case account never talks: the patient's agent does, under its own wallet. Whoever is asked to act for a case
(a model for its session, a doctor for its scan) checks this signature, so a stranger who saw the case on chain
cannot use what another paid for. It links wallet and case for those it is shown to, and for nobody else.
"""

from __future__ import annotations

from eth_utils.crypto import keccak

from protocols.crypto.eip712 import signer_of
from protocols.errors import ProtocolError

_DOMAIN = b"crypdoc/v1/speaks-for"


def digest(case_id: int, wallet: str) -> bytes:
    """What the case account signs. wallet: the 0x address that speaks."""
    return keccak(_DOMAIN + case_id.to_bytes(32, "big") + bytes.fromhex(wallet[2:]))


def speaks_for(signature: object, case_id: int, wallet: str, account: str) -> bool:
    """Whether `account` signed that `wallet` speaks for the case."""
    if not isinstance(signature, bytes):
        return False
    try:
        return signer_of(digest(case_id, wallet), signature) == account
    except ProtocolError:
        return False
