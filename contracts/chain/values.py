"""The plain values that pass between agents and a chain. Pure: no network, no clock, no keys.

Theory of operation: an agent *describes* what it wants done as a `Call` and writes that to its log; the
client turns it into an `UnsignedTx` (nonce, gas, fees), which is logged too; a `Signer`, which alone knows
keys, makes raw bytes of it; those are broadcast as often as need be, and the chain answers with one
`Receipt`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from eth_utils.address import to_checksum_address

Block = int | Literal["latest", "pending", "earliest"]


def _frozen(value: Any) -> Any:
    """Lists, as CBOR and JSON give them back, become the tuples that were put in."""
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(item) for item in value)
    return value


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a contract function from `account`, described and not yet priced, numbered or signed.

    `contract` is a name in the address book, structs in `args` are tuples in the order of their fields,
    `value` is the wei sent along. Equal after a round trip through `to_wire` and CBOR.
    """

    contract: str
    function: str
    args: tuple[Any, ...]
    value: int
    account: str

    def to_wire(self) -> dict[str, Any]:
        """A mapping of plain values, fit for CBOR."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Call:
        """The inverse of `to_wire`."""
        return cls(**{name: _frozen(wire[name]) for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class UnsignedTx:
    """A transaction ready to be signed, with `gas_price` or both EIP-1559 fees. `to` None creates."""

    account: str
    to: str | None
    data: bytes
    value: int
    nonce: int
    gas: int
    chain_id: int
    gas_price: int | None = None
    max_fee_per_gas: int | None = None
    max_priority_fee_per_gas: int | None = None

    @property
    def max_cost_wei(self) -> int:
        """The most that this transaction can take from its account."""
        return self.value + self.gas * (self.max_fee_per_gas or self.gas_price or 0)

    def to_dict(self) -> dict[str, Any]:
        """The form that eth-account (and so every signer) takes."""
        tx: dict[str, Any] = {
            "chainId": self.chain_id,
            "nonce": self.nonce,
            "gas": self.gas,
            "value": self.value,
            "data": "0x" + self.data.hex(),
        }
        if self.to is not None:
            tx["to"] = to_checksum_address(self.to)
        if self.gas_price is not None:
            return {**tx, "gasPrice": self.gas_price}
        return {
            **tx,
            "type": 2,
            "maxFeePerGas": self.max_fee_per_gas,
            "maxPriorityFeePerGas": self.max_priority_fee_per_gas,
        }

    def to_wire(self) -> dict[str, Any]:
        """A mapping of plain values, fit for CBOR."""
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> UnsignedTx:
        """The inverse of `to_wire`."""
        return cls(**wire)


@dataclass(frozen=True, slots=True)
class Log:
    """One event as the chain stores it. (`block`, `index`) orders all events of a chain."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    index: int
    tx_hash: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a mined transaction. The client returns only receipts with `ok`; others it raises."""

    tx_hash: str
    block: int
    ok: bool
    gas_used: int
    gas_price: int
    account: str
    to: str | None
    contract_address: str | None
    logs: tuple[Log, ...]

    @property
    def fee_wei(self) -> int:
        """What the transaction cost, without the value it carried."""
        return self.gas_used * self.gas_price


class Signer(Protocol):
    """Whoever holds keys: makes raw bytes of a transaction, or refuses by raising."""

    async def sign_transaction(self, tx: dict[str, Any], account: str) -> bytes:
        """Sign `tx` (see `UnsignedTx.to_dict`) with the key of `account`."""
        ...


Topics = Sequence[bytes | None]
"""A filter on a log's topics by position; None lets anything pass."""


@runtime_checkable
class CallReader(Protocol):
    """Reads a chain over a network."""

    async def call(self, to: str, data: bytes, block: Block = "latest") -> bytes:
        """What the contract at `to` returns for `data`, as of `block`."""
        ...

    async def logs(self, address: str, topics: Topics, from_block: int, to_block: Block) -> Sequence[Log]:
        """The events of the contract at `address` that pass `topics`, both blocks included, in order."""
        ...


@runtime_checkable
class SyncCallReader(Protocol):
    """Reads an EVM in this process: as `CallReader`, without waiting."""

    def call(self, to: str, data: bytes, block: Block = "latest") -> bytes:
        """See `CallReader.call`."""
        ...

    def logs(self, address: str, topics: Topics, from_block: int, to_block: Block) -> Sequence[Log]:
        """See `CallReader.logs`."""
        ...
