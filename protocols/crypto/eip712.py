"""EIP-712 typed data that the contracts check: credentials, quotes and receipts.

    digest = keccak256(0x1901 || domain separator || struct hash)

The domain is (name of the contract, "1", chain id, the contract's address): a signature holds on one
contract of one chain. Signatures are 65 bytes r, s, v with a low s (EIP-2) and v 27 or 28.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any, Protocol

from coincurve import PrivateKey
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from protocols.records import recover_signer, wallet_of_key

_DOMAIN_TYPE = keccak(
    text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_VERSION = keccak(text="1")


class Typed(Protocol):
    """A struct that can be signed."""

    def struct_hash(self) -> bytes:
        """keccak256 of its type and fields."""
        ...


@dataclass(frozen=True, slots=True)
class Domain:
    """Where a signature holds. contract: the address of the contract that checks it."""

    name: str
    chain_id: int
    contract: str

    def digest(self, message: Typed) -> bytes:
        """The 32 bytes to sign."""
        kinds = ("bytes32", "bytes32", "bytes32", "uint256", "address")
        fields = (_DOMAIN_TYPE, keccak(text=self.name), _VERSION, self.chain_id, self.contract)
        return keccak(b"\x19\x01" + keccak(encode(kinds, fields)) + message.struct_hash())


def doctors_domain(chain_id: int, doctors: str) -> Domain:
    """The domain of credentials."""
    return Domain("CrypDoc Doctors", chain_id, doctors)


def models_domain(chain_id: int, models: str) -> Domain:
    """The domain of quotes and receipts."""
    return Domain("CrypDoc Models", chain_id, models)


@dataclass(frozen=True, slots=True)
class Credential:
    """An attester's word that an account is a doctor of a specialty, until a Unix second."""

    doctor: str
    specialty: bytes
    valid_until: int

    def struct_hash(self) -> bytes:
        """See `Typed`."""
        name = "Credential(address doctor,bytes32 specialty,uint64 validUntil)"
        return _hash(name, ("address", "bytes32", "uint64"), (self.doctor, self.specialty, self.valid_until))


@dataclass(frozen=True, slots=True)
class Quote:
    """A model's offer for one blind inference; prices in wei, `valid_until` a Unix second."""

    network: bytes
    model: str
    case_id: int
    patient: str
    price: int
    dealer: str
    dealer_fee: int
    valid_until: int

    def as_tuple(self) -> tuple[Any, ...]:
        """The contract's struct."""
        return astuple(self)

    def struct_hash(self) -> bytes:
        """See `Typed`."""
        name = (
            "Quote(bytes32 network,address model,uint256 caseId,address patient,"
            "uint96 price,address dealer,uint96 dealerFee,uint64 validUntil)"
        )
        kinds = ("bytes32", "address", "uint256", "address", "uint96", "address", "uint96", "uint64")
        return _hash(name, kinds, self.as_tuple())


@dataclass(frozen=True, slots=True)
class Receipt:
    """A model's word on the confidence bucket that blind inference opened for a case."""

    case_id: int
    network: bytes
    bucket: int
    valid_until: int

    def as_tuple(self) -> tuple[Any, ...]:
        """The contract's struct."""
        return astuple(self)

    def struct_hash(self) -> bytes:
        """See `Typed`."""
        name = "Receipt(uint256 caseId,bytes32 network,uint8 bucket,uint64 validUntil)"
        return _hash(name, ("uint256", "bytes32", "uint8", "uint64"), self.as_tuple())


def sign(key: PrivateKey, digest: bytes) -> bytes:
    """65-byte signature of a digest: deterministic (RFC 6979), low s."""
    signature: bytes = key.sign_recoverable(digest, hasher=None)
    return signature[:64] + bytes([signature[64] + 27])


def signer_of(digest: bytes, signature: bytes) -> str:
    """The checksummed address that signed. Raises `ProtocolError` on a malformed or high-s signature."""
    return wallet_of_key(recover_signer(digest, signature))


def _hash(name: str, kinds: tuple[str, ...], fields: tuple[Any, ...]) -> bytes:
    return keccak(keccak(text=name) + encode(kinds, fields))
