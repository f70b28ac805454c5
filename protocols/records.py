"""Peer records: what a participant tells others about how to reach it and what to seal to, signed.

A record is a canonical CBOR list `[1, wallet, role, addresses, tls, sealing key, sequence, extra, signature]`
of at most 512 bytes (it fits the on-chain registries). The signature is EIP-191 by the wallet over a domain
label and all the other fields. The libp2p node key *is* the wallet key, so the peer id is not carried: it
follows from the public key that the signature gives back.

Of two records of one wallet the higher sequence holds. Sources: EIP-191, libp2p peer-id specification.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from coincurve import PublicKey
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from protocols.codec import decode, encode
from protocols.errors import ProtocolError

MAX_RECORD = 512
MAX_SEQUENCE = 1 << 63
_VERSION = 1
_DOMAIN = b"crypdoc/v1/record\n"
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_HOST = r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-z](?:[0-9a-z.-]{0,62}[0-9a-z])?)"
_ADDRESS = re.compile(
    r"/(?:ip4/[0-9.]{7,15}|ip6/[0-9a-f:.]{2,45}|dns[46]?/[0-9a-z.-]{1,64})/tcp/([0-9]{1,5})"
)
_TLS = re.compile(_HOST + r":([0-9]{1,5})|\[[0-9a-f:.]{2,45}\]:([0-9]{1,5})")
_ROLE = re.compile(r"[a-z][a-z-]{0,15}")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

ExtraValue = str | int | bytes | bool


def message_digest(message: bytes) -> bytes:
    """The digest that an EIP-191 personal-message signature signs."""
    return keccak(b"\x19Ethereum Signed Message:\n" + str(len(message)).encode() + message)


def wallet_of_key(public_key: bytes) -> str:
    """The checksummed wallet of a secp256k1 public key (any encoding). Raises `ProtocolError`."""
    try:
        point = PublicKey(public_key).format(compressed=False)
    except ValueError:
        raise ProtocolError("the bytes are not a secp256k1 public key") from None
    return to_checksum_address(keccak(point[1:])[12:])


def recover_signer(digest: bytes, signature: bytes) -> bytes:
    """The 33-byte public key that made a 65-byte signature (low s only). Raises `ProtocolError`."""
    if len(signature) != 65 or signature[64] not in (27, 28):
        raise ProtocolError("a signature has 65 bytes and ends in 27 or 28")
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise ProtocolError("the signature is not in its low form")
    plain = signature[:64] + bytes([signature[64] - 27])
    try:
        key: bytes = PublicKey.from_signature_and_message(plain, digest, hasher=None).format()
    except Exception:  # coincurve raises ValueError and bare Exception for unrecoverable ones
        raise ProtocolError("the signature belongs to no key") from None
    return key


def peer_id_of_key(public_key: bytes) -> str:
    """The libp2p peer id (base58, identity multihash) of a 33-byte secp256k1 key."""
    raw = b"\x00\x25\x08\x02\x12\x21" + public_key
    number, text = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + text


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """A signed record that has been checked; made by `sign` and `decode` only.

    wallet: checksummed address. addresses: libp2p multiaddrs without the peer id, may be empty (a peer that
    only dials). tls: `host:port` of the TLS channel or empty. sealing_key: 32-byte X25519 key.
    """

    wallet: str
    role: str
    addresses: tuple[str, ...]
    tls: str
    sealing_key: bytes
    sequence: int
    extra: Mapping[str, ExtraValue] = field(hash=False)
    signature: bytes
    public_key: bytes

    @staticmethod
    def sign(
        signer: Callable[[bytes], bytes],
        wallet: str,
        *,
        role: str,
        addresses: tuple[str, ...] = (),
        tls: str = "",
        sealing_key: bytes,
        sequence: int,
        extra: Mapping[str, ExtraValue] | None = None,
    ) -> PeerRecord:
        """A record signed by `signer` (message -> 65-byte EIP-191 signature) of `wallet`.

        Raises `ProtocolError` when a field is out of bounds or the signature is not the wallet's.
        """
        body = [_VERSION, bytes.fromhex(wallet[2:]), role, list(addresses), tls, sealing_key, sequence]
        body.append(dict(extra or {}))
        return PeerRecord.decode(encode([*body, signer(_DOMAIN + encode(body))]))

    @staticmethod
    def decode(data: bytes) -> PeerRecord:
        """The record in `data`, its signature checked. Raises `ProtocolError` on anything else."""
        value = decode(data, limit=MAX_RECORD)
        if not isinstance(value, list) or len(value) != 9 or encode(value) != data:
            raise ProtocolError("not a peer record in canonical form")
        if type(value[0]) is not int or value[0] != _VERSION:
            raise ProtocolError("the peer record is of another version")
        _, wallet, role, addresses, tls, sealing_key, sequence, extra, signature = value
        _check_identity(wallet, role, sealing_key, sequence, signature)
        _check_places(addresses, tls)
        _check_extra(extra)
        key = recover_signer(message_digest(_DOMAIN + encode(value[:8])), signature)
        if wallet_of_key(key) != to_checksum_address(wallet):
            raise ProtocolError("the peer record is not signed by its wallet")
        return PeerRecord(
            wallet=to_checksum_address(wallet),
            role=role,
            addresses=tuple(addresses),
            tls=tls,
            sealing_key=sealing_key,
            sequence=sequence,
            extra=MappingProxyType(dict(extra)),
            signature=signature,
            public_key=key,
        )

    def encode(self) -> bytes:
        """The bytes that `decode` reads."""
        body: list[Any] = [_VERSION, self.wallet_bytes, self.role, list(self.addresses), self.tls]
        return encode([*body, self.sealing_key, self.sequence, dict(self.extra), self.signature])

    @property
    def wallet_bytes(self) -> bytes:
        """The wallet as 20 bytes."""
        return bytes.fromhex(self.wallet[2:])

    @property
    def peer_id(self) -> str:
        """The libp2p peer id that Noise must prove."""
        return peer_id_of_key(self.public_key)

    @property
    def multiaddrs(self) -> tuple[str, ...]:
        """The addresses with the peer id, as libp2p dials them."""
        return tuple(f"{address}/p2p/{self.peer_id}" for address in self.addresses)


def _check_identity(wallet: Any, role: Any, sealing_key: Any, sequence: Any, signature: Any) -> None:
    if not isinstance(wallet, bytes) or len(wallet) != 20:
        raise ProtocolError("the wallet of a peer record has 20 bytes")
    if not isinstance(role, str) or not _ROLE.fullmatch(role):
        raise ProtocolError("the role of a peer record is a short lower-case word")
    if not isinstance(sealing_key, bytes) or len(sealing_key) != 32:
        raise ProtocolError("the sealing key of a peer record has 32 bytes")
    if type(sequence) is not int or not 0 <= sequence < MAX_SEQUENCE:
        raise ProtocolError("the sequence of a peer record is a number below 2^63")
    if not isinstance(signature, bytes):
        raise ProtocolError("the signature of a peer record is bytes")


def _check_places(addresses: Any, tls: Any) -> None:
    if not isinstance(addresses, list) or len(addresses) > 4:
        raise ProtocolError("a peer record lists at most 4 addresses")
    for address in addresses:
        match = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
        if match is None or not 0 < int(match[1]) < 65536:
            raise ProtocolError("an address in a peer record is not /ip4|ip6|dns/HOST/tcp/PORT")
    match = _TLS.fullmatch(tls) if isinstance(tls, str) else None
    if tls != "" and (match is None or not 0 < int(match[1] or match[2]) < 65536):
        raise ProtocolError("the TLS place of a peer record is not HOST:PORT")


def _check_extra(extra: Any) -> None:
    if not isinstance(extra, dict) or len(extra) > 8:
        raise ProtocolError("a peer record has at most 8 extra entries")
    for key, item in extra.items():
        if not isinstance(key, str) or not isinstance(item, str | int | bytes):
            raise ProtocolError("an extra entry of a peer record is text, a number or bytes under a text key")
