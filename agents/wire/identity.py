"""Wallet, libp2p node key, peer id and multiaddr: four names of one identity."""

from __future__ import annotations

from libp2p.crypto.keys import KeyPair
from libp2p.crypto.secp256k1 import Secp256k1PrivateKey
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from agents.keyring import Keyring
from protocols.errors import ProtocolError, WireError
from protocols.records import wallet_of_key

_PREFIX = b"\x00\x25\x08\x02\x12\x21"  # identity multihash of a protobuf secp256k1 key of 33 bytes


def node_key(keyring: Keyring) -> KeyPair:
    """The libp2p key pair: the wallet key itself, so that Noise authenticates the wallet."""
    private = Secp256k1PrivateKey.from_bytes(keyring.wallet_key())
    return KeyPair(private, private.get_public_key())


def key_of_peer(peer: ID) -> bytes:
    """The 33-byte secp256k1 key inside a peer id. Raises `ProtocolError` for peers of another key type."""
    raw: bytes = peer.to_bytes()
    if len(raw) != len(_PREFIX) + 33 or not raw.startswith(_PREFIX):
        raise ProtocolError("the peer's node key is not a secp256k1 wallet key")
    return raw[len(_PREFIX) :]


def wallet_of_peer(peer: ID) -> str:
    """The checksummed wallet whose key a peer id holds. Raises `ProtocolError`."""
    return wallet_of_key(key_of_peer(peer))


def peer_of_key(public_key: bytes) -> ID:
    """The peer id of a 33-byte secp256k1 key."""
    return ID(_PREFIX + public_key)


def split_multiaddr(text: str) -> tuple[Multiaddr, ID]:
    """The dialable part and the peer id of `/ip4/HOST/tcp/PORT/p2p/ID`. Raises `WireError` on any other."""
    try:
        address = Multiaddr(text)
        peer = ID.from_string(address.value_for_protocol("p2p"))
        wallet_of_peer(peer)
        place = address.decapsulate(Multiaddr(f"/p2p/{peer}"))
        int(place.value_for_protocol("tcp"))
    except Exception:
        raise WireError(
            f"{text[:120]!r} is not the address of an agent", "give it as /ip4/HOST/tcp/PORT/p2p/PEER_ID"
        ) from None
    return place, peer
