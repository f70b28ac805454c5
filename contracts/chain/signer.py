"""A signer that holds plain keys in memory: for deploying, local faucets and tests. Agents sign in their
own way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from eth_account import Account
from eth_utils.address import to_checksum_address

from protocols.errors import ChainError


class LocalSigner:
    """Signs for the accounts of the secret keys given."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        held = [Account.from_key(secret) for secret in secrets]
        self._accounts = {account.address: account for account in held}

    @property
    def accounts(self) -> tuple[str, ...]:
        """The addresses it signs for, in the order given."""
        return tuple(self._accounts)

    async def sign_transaction(self, tx: dict[str, Any], account: str) -> bytes:
        """See `Signer`. Raises `ChainError` for an account whose key is not here."""
        held = self._accounts.get(to_checksum_address(account))
        if held is None:
            raise ChainError(f"there is no key for {account} here", "name an account of this wallet")
        return bytes(held.sign_transaction(tx).raw_transaction)

    def __repr__(self) -> str:
        return f"LocalSigner({', '.join(self._accounts)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signer holds secrets and is not pickled")
