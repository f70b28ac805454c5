"""What can go wrong with a chain, each with one sentence and a remedy. All are `ChainError`."""

from __future__ import annotations

from typing import Any

from protocols.errors import ChainError


class Unreachable(ChainError):
    """No answer from the node, after all retries."""


class WrongChain(ChainError):
    """The node serves another chain than the address book is for."""


class NoContract(ChainError):
    """There is no code where the address book says the contract is."""


class Reverted(ChainError):
    """The contract refused. `name`: the custom error's name, or what the EVM said; `values`: its values."""

    def __init__(self, name: str, values: tuple[Any, ...] = (), what: str = "the call") -> None:
        shown = f"{name}({', '.join(_show(value) for value in values)})" if values else name
        super().__init__(
            f"the contract refused {what}: {shown}", "read the case again before trying once more"
        )
        self.name = name
        self.values = values


class OutOfGas(ChainError):
    """The transaction used up all the gas it was given."""


class InsufficientFunds(ChainError):
    """The account cannot pay for the transaction."""


class FeeTooLow(ChainError):
    """The chain's fees rose above what the transaction offers."""


class NonceUsed(ChainError):
    """Another transaction of the account took this nonce: this one can never be mined."""


class Dropped(ChainError):
    """The node does not know the transaction any more; the same bytes may be broadcast again."""


class Refused(ChainError):
    """The node refused a request for another reason; the sentence carries the node's words."""


class RpcError(Exception):
    """A JSON-RPC error answer, before it is understood. Does not leave this package."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data

    def revert_data(self) -> bytes | None:
        """The bytes the contract reverted with, wherever this kind of node puts them; None if it did not."""
        found = _find_hex(self.data)
        if found is not None:
            return found
        return b"" if "revert" in self.message.lower() else None


def _find_hex(data: Any) -> bytes | None:
    """anvil and geth give a hex string, Ganache an object with `result` or one such per transaction."""
    if isinstance(data, str) and data.startswith("0x"):
        try:
            return bytes.fromhex(data[2:])
        except ValueError:
            return None
    if isinstance(data, dict):
        for key in ("result", "return", "data"):
            if key in data and (found := _find_hex(data[key])) is not None:
                return found
        for value in data.values():
            if isinstance(value, dict) and (found := _find_hex(value)) is not None:
                return found
    return None


def _show(value: Any) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
