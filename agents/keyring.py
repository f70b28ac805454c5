"""One wallet key and everything a participant derives from it.

Backing up the keystore file therefore backs up every other key: sealing (X25519), BLS, ballot salts, and a
patient's account of each case. `protocols.crypto.derive` says how; knowing one derived key says nothing about
the wallet key or about another.
"""

from __future__ import annotations

from typing import NoReturn

from coincurve import PrivateKey
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from protocols.crypto import derive as derivation
from protocols.crypto.seal import open_sealed, sealing_public
from protocols.errors import KeystoreError
from protocols.records import message_digest


class Keyring:
    """The secrets of one participant. Has no representation, no truth value, and is never copied to disk.

    address: the checksummed wallet. public_key: its 33-byte compressed secp256k1 key. sealing_key: the
    32-byte X25519 key that others seal to.
    """

    __slots__ = ("__secret", "__signer", "address", "public_key", "sealing_key")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32 or not 0 < int.from_bytes(secret, "big") < derivation.SECP256K1_ORDER:
            raise KeystoreError("the wallet key is not a secp256k1 key", "restore the keystore from a backup")
        self.__secret = secret
        self.__signer = PrivateKey(secret)
        self.public_key: bytes = self.__signer.public_key.format(compressed=True)
        uncompressed = self.__signer.public_key.format(compressed=False)
        self.address: str = to_checksum_address(keccak(uncompressed[1:])[12:])
        self.sealing_key: bytes = sealing_public(derivation.sealing_seed(secret))

    @classmethod
    def from_wallet_key(cls, secret: bytes) -> Keyring:
        """The ring of a 32-byte wallet key. Raises `KeystoreError` when it is not one."""
        return cls(secret)

    @property
    def wallet(self) -> bytes:
        """The wallet as 20 bytes."""
        return bytes.fromhex(self.address[2:])

    def derive(self, purpose: str, context: bytes = b"", length: int = 32) -> bytes:
        """`length` secret bytes for one purpose, the same every time."""
        return derivation.derive(self.__secret, purpose, context, length)

    def sign_digest(self, digest: bytes) -> bytes:
        """65-byte recoverable signature (r, s, v = 27 or 28; deterministic, low s) of a 32-byte digest."""
        signature: bytes = self.__signer.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes([signature[64] + 27])

    def sign_message(self, message: bytes) -> bytes:
        """EIP-191 (personal message) signature of `message`, 65 bytes."""
        return self.sign_digest(message_digest(message))

    def open(self, sealed: bytes, *, sender: bytes, purpose: str) -> bytes:
        """Opens what was sealed to `sealing_key` by `sender`. Raises `ProtocolError`."""
        secret = derivation.sealing_seed(self.__secret)
        return open_sealed(sealed, secret, sender=sender, recipient=self.wallet, purpose=purpose)

    def account(self) -> LocalAccount:
        """The wallet, to sign transactions with."""
        account: LocalAccount = Account.from_key(self.__secret)
        return account

    def case_account(self, case: bytes) -> LocalAccount:
        """A patient's account of one case: nobody can link it to the wallet or to another case."""
        account: LocalAccount = Account.from_key(derivation.account_secret(self.__secret, case))
        return account

    def case_sealing_secret(self, case: bytes) -> bytes:
        """The X25519 secret of one case: doctors seal to its public key, not to the patient's."""
        return self.derive("case-sealing", case)

    def bls_seed(self) -> bytes:
        """32 bytes that the BLS secret key is made from."""
        return derivation.bls_seed(self.__secret)

    def ballot_salt_key(self) -> bytes:
        """Keys the salts of ballots: a doctor who lost everything but the keystore can still reveal."""
        return derivation.ballot_salt_key(self.__secret)

    def wallet_key(self) -> bytes:
        """The wallet key itself, for the two libraries that need it (libp2p's node key, AEA's wallet)."""
        return self.__secret

    def __repr__(self) -> NoReturn:
        raise TypeError("a keyring is secret and has no representation")

    __str__ = __repr__

    def __format__(self, spec: str) -> NoReturn:
        self.__repr__()

    def __bool__(self) -> NoReturn:
        raise TypeError("a keyring has no truth value")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a keyring is secret and is not pickled or copied")

    def __reduce_ex__(self, version: object) -> NoReturn:
        raise TypeError("a keyring is secret and is not pickled or copied")
