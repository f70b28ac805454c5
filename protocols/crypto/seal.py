"""Sealing bytes to an X25519 key, so that only its holder reads them, whoever carries them.

1. ephemeral key `e` (random, given by the caller), `E = e*G`; shared `s = e*R` for the recipient's key `R`
2. `k = HKDF-SHA256(s, salt = E || R, info = label || context)`, a fresh key for every sealing
3. sealed = `E || ChaCha20-Poly1305(k, nonce 0, pad(plain), context)`

The context names sender, recipient and purpose: a blob taken out of its conversation does not open. Sealing
hides and binds; it does not prove who sealed (anyone can): that is the channel's work. Lengths are padded to
256 bytes at least and then by Padmé (PETS 2019, Nikitin et al.): at most 12 % more, and O(log log n) bits of
the size leak. Who learns what: a carrier learns the padded length and nothing else.

Sources: RFC 7748 (X25519), RFC 5869 (HKDF), RFC 8439 (ChaCha20-Poly1305).
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocols.errors import ProtocolError

KEY_BYTES = 32
MAX_PLAIN = 32 << 20
"""Largest plaintext in bytes: one scan."""

OVERHEAD = KEY_BYTES + 16
_LABEL = b"crypdoc/v1/seal"
_FLOOR = 256
_LENGTH_BYTES = 4
_NONCE = bytes(12)  # the key is used once


def padded_length(length: int) -> int:
    """The length that `length` bytes are padded to (the length field counted in)."""
    total = max(length + _LENGTH_BYTES, _FLOOR)
    exponent = total.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (total + mask) & ~mask


MAX_SEALED = padded_length(MAX_PLAIN) + OVERHEAD


def sealing_public(secret: bytes) -> bytes:
    """The 32-byte public key of a 32-byte X25519 secret."""
    return _private(secret).public_key().public_bytes_raw()


def seal(
    plain: bytes, to_key: bytes, ephemeral: bytes, *, sender: bytes, recipient: bytes, purpose: str
) -> bytes:
    """Seals `plain` to `to_key`. `ephemeral` is 32 bytes of fresh randomness, never used twice.

    sender, recipient: the 20-byte wallets. Raises `ProtocolError` when the payload or the key is unfit.
    """
    if len(plain) > MAX_PLAIN:
        raise ProtocolError(f"{len(plain)} bytes are too many to seal; the limit is {MAX_PLAIN}")
    key = _private(ephemeral)
    own = key.public_key().public_bytes_raw()
    context = _context(sender, recipient, purpose)
    body = len(plain).to_bytes(_LENGTH_BYTES, "big") + plain
    body += bytes(padded_length(len(plain)) - len(body))
    return own + _cipher(key, to_key, own + to_key, context).encrypt(_NONCE, body, context)


def open_sealed(sealed: bytes, secret: bytes, *, sender: bytes, recipient: bytes, purpose: str) -> bytes:
    """The plaintext that `seal` was given. Raises `ProtocolError` on anything that does not open or fit."""
    if not _FLOOR + OVERHEAD <= len(sealed) <= MAX_SEALED:
        raise ProtocolError(f"a sealed body cannot have {len(sealed)} bytes")
    key = _private(secret)
    ephemeral, ciphertext = sealed[:KEY_BYTES], sealed[KEY_BYTES:]
    context = _context(sender, recipient, purpose)
    salt = ephemeral + key.public_key().public_bytes_raw()
    try:
        body = _cipher(key, ephemeral, salt, context).decrypt(_NONCE, ciphertext, context)
    except InvalidTag:
        raise ProtocolError("the sealed body does not open: wrong key, wrong context or altered") from None
    length = int.from_bytes(body[:_LENGTH_BYTES], "big")
    if length > MAX_PLAIN or padded_length(length) != len(body):
        raise ProtocolError("the sealed body is padded wrongly")
    if body.count(0, _LENGTH_BYTES + length) != len(body) - _LENGTH_BYTES - length:
        raise ProtocolError("the padding is not empty")
    return body[_LENGTH_BYTES : _LENGTH_BYTES + length]


def _private(secret: bytes) -> X25519PrivateKey:
    if len(secret) != KEY_BYTES:
        raise ProtocolError("an X25519 secret has 32 bytes")
    return X25519PrivateKey.from_private_bytes(secret)


def _cipher(own: X25519PrivateKey, other: bytes, salt: bytes, context: bytes) -> ChaCha20Poly1305:
    if len(other) != KEY_BYTES:
        raise ProtocolError("an X25519 key has 32 bytes")
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(other))
    except ValueError:  # a point of small order: the shared secret would be zero
        raise ProtocolError("the sealing key is of small order") from None
    return ChaCha20Poly1305(HKDF(SHA256(), KEY_BYTES, salt, _LABEL + context).derive(shared))


def _context(sender: bytes, recipient: bytes, purpose: str) -> bytes:
    name = purpose.encode()
    if len(sender) != 20 or len(recipient) != 20 or not 0 < len(name) < 256:
        raise ProtocolError("a seal names two wallets of 20 bytes and a purpose of 1 to 255 bytes")
    return sender + recipient + name
