"""What all bindings share: a read and an event search as pure values, and their performers.

A binding computes and never waits: `cases.terms()` is a `Read`, what to ask and how to understand the answer.
`ChainClient.read` performs it over a network, `read_now` in this process, both at a block that the caller
pins, so that facts read together belong together. Writes are `Call`s, which the chain client prepares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from contracts.abi import Abi, artifact
from contracts.bindings.events import ChainEvent, typed_event
from contracts.chain.values import Block, Call, Log, SyncCallReader

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Read(Generic[T]):
    """A question to a contract; `decode` makes the answer of what it returns."""

    to: str
    data: bytes
    decode: Callable[[bytes], T]


@dataclass(frozen=True, slots=True)
class EventSearch:
    """Which events of a contract to look for: those that pass `topics`, by position, None for any."""

    abi: Abi
    address: str
    topics: tuple[bytes | None, ...] = ()

    def decode(self, logs: Iterable[Log]) -> list[ChainEvent]:
        """The events known here, in order."""
        found = (typed_event(self.abi, log) for log in logs)
        return [event for event in found if event is not None]


def read_now(reader: SyncCallReader, question: Read[T], block: Block = "latest") -> T:
    """The answer of a chain in this process, as of a block. `ChainClient.read` asks over a network."""
    return question.decode(reader.call(question.to, question.data, block))


def events_now(
    reader: SyncCallReader, search: EventSearch, from_block: int, to_block: Block = "latest"
) -> list[ChainEvent]:
    """The events of a chain in this process. `ChainClient.events` asks over a network."""
    return search.decode(reader.logs(search.address, search.topics, from_block, to_block))


class Binding:
    """One deployed contract."""

    contract: ClassVar[str]

    def __init__(self, address: str) -> None:
        self.address = address

    @property
    def abi(self) -> Abi:
        """Its words."""
        return artifact(self.contract).abi

    def search(self, event: str | None = None, *indexed: bytes | None) -> EventSearch:
        """Events by name (any when not given) and by their indexed values as 32-byte words."""
        topics = (None if event is None else self.abi.topic(event), *indexed)
        return EventSearch(self.abi, self.address, topics if event or indexed else ())

    def _ask(self, understand: Callable[..., T], function: str, *args: Any) -> Read[T]:
        """`understand` is given what the function returns, one argument an output."""
        data = self.abi.encode_call(function, args)
        return Read(self.address, data, lambda answer: understand(*self.abi.decode_result(function, answer)))

    def _do(self, account: str, function: str, *args: Any, value: int = 0) -> Call:
        """A call, its arguments checked here and now. Raises `ValueError` when they do not fit."""
        self.abi.encode_call(function, args)
        return Call(self.contract, function, args, value, account)


class Payer(Binding):
    """A contract that owes accounts money, which they withdraw."""

    def credit_of(self, account: str) -> Read[int]:
        """Wei that an account can withdraw."""
        return self._ask(int, "creditOf", account)

    def withdraw(self, account: str) -> Call:
        """Take all that is owed to the account."""
        return self._do(account, "withdraw")


def word(value: int | bytes | str) -> bytes:
    """An indexed value as a topic: a number, 32 bytes, or an address."""
    if isinstance(value, int):
        return value.to_bytes(32, "big")
    raw = bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else value
    return raw.rjust(32, b"\0")
