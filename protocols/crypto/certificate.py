"""The panel's certificate: one aggregated BLS signature on (chain, contract, case, label, date).

Anyone who holds the certificate checks it off line with `Certificate.valid`; that the keys in it are those of
the case's agreeing panel is what the contract's `Certificates.check` adds. The equation: the signatures'
sum S and the keys' sum Q hold when e(S, G2) = e(H(domain, message), Q).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from protocols.crypto import bls
from protocols.crypto.commitment import label_hash
from protocols.errors import ProtocolError

DOMAIN = keccak(text="CrypDoc BLS certificate v1")


def message(chain_id: int, cases: str, case_id: int, label: str, date: int) -> bytes:
    """What each agreeing doctor signs. date: Unix seconds of the day's beginning. See
    `Certificates.messageOf`.
    """
    kinds = ("string", "uint256", "address", "uint256", "bytes32", "uint64")
    return keccak(
        encode(kinds, ("CrypDoc certificate v1", chain_id, cases, case_id, label_hash(label), date))
    )


@dataclass(frozen=True, slots=True)
class Certificate:
    """A verdict that a panel signed. signers: doctor's address -> G2 key; seats: bitmap of their seats."""

    chain_id: int
    cases: str
    case_id: int
    label: str
    date: int
    seats: int
    signers: Mapping[str, bls.EncodedG2]
    signature: bls.EncodedG1

    @property
    def keys(self) -> bls.EncodedG2:
        """The sum of the signers' keys. Raises `ProtocolError` on a bad point."""
        return bls.add_keys(self.signers.values())

    def valid(self) -> bool:
        """Whether the signature is that of the keys named, on this verdict. Needs no chain."""
        text = message(self.chain_id, self.cases, self.case_id, self.label, self.date)
        try:
            return bool(self.signers) and bls.verify(DOMAIN, text, self.keys, self.signature)
        except ProtocolError:
            return False

    def to_json(self) -> dict[str, Any]:
        """Plain values; numbers that JSON readers would round are hex text."""
        return {
            "form": "CrypDoc certificate v1",
            "chain_id": self.chain_id,
            "cases": self.cases,
            "case_id": hex(self.case_id),
            "label": self.label,
            "date": self.date,
            "seats": self.seats,
            "signers": {doctor: [hex(c) for c in key] for doctor, key in self.signers.items()},
            "signature": [hex(c) for c in self.signature],
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Certificate:
        """The inverse of `to_json`. Raises `ProtocolError`."""
        try:
            signers: dict[str, bls.EncodedG2] = {}
            for doctor, key in found["signers"].items():
                a, b, c, d = (int(part, 16) for part in key)
                signers[doctor] = (a, b, c, d)
            x, y = (int(part, 16) for part in found["signature"])
            return cls(
                int(found["chain_id"]),
                str(found["cases"]),
                int(found["case_id"], 16),
                str(found["label"]),
                int(found["date"]),
                int(found["seats"]),
                signers,
                (x, y),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"not a certificate: {error}") from None


def assemble(
    chain_id: int,
    cases: str,
    case_id: int,
    label: str,
    date: int,
    keys: Mapping[str, tuple[int, bls.EncodedG2]],
    attests: Mapping[str, bytes],
) -> Certificate:
    """The certificate of the attestations that hold; bad ones are left out. keys: doctor -> (seat, G2
    key).
    """
    text = message(chain_id, cases, case_id, label, date)
    good: dict[str, bls.EncodedG1] = {}
    for doctor, raw in sorted(attests.items()):
        try:
            signature = bls.signature_from_bytes(raw)
        except ProtocolError:
            continue
        if doctor in keys and bls.verify(DOMAIN, text, keys[doctor][1], signature):
            good[doctor] = signature
    seats = sum(1 << keys[doctor][0] for doctor in good)
    signers = {doctor: keys[doctor][1] for doctor in good}
    total = bls.add_signatures(good.values()) if good else (0, 0)
    return Certificate(chain_id, cases, case_id, label, date, seats, signers, total)
