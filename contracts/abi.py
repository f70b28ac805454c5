"""ABI encoding and decoding from the committed artifacts. Pure but for reading those files, once each.

An `Abi` knows one contract's functions, events and custom errors by name; `artifact("Cases")` gives its ABI
and bytecode. Addresses go in and come out as checksummed text, `bytes32` as 32 raw bytes, structs as tuples.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from protocols.errors import ChainError

CONTRACTS = ("Doctors", "Models", "Reputation", "Cases", "Certificates", "DataMarket")
"""The contracts that agents deal with, in the order in which they are deployed where that is free."""

_ARTIFACTS = Path(__file__).with_name("artifacts")
_PANICS = {
    0x01: "assertion failed",
    0x11: "arithmetic overflow",
    0x12: "division by zero",
    0x32: "index out of range",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A function, event or error: its name and the types that go in and come out."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    indexed: tuple[bool, ...] = ()

    @property
    def hash(self) -> bytes:
        """32 bytes: the event's topic; its first four are the function's or error's selector."""
        return keccak(text=f"{self.name}({','.join(self.inputs)})")


class Abi:
    """The words of one contract."""

    def __init__(self, contract: str, description: Sequence[dict[str, Any]]) -> None:
        entries = {
            kind: [_entry(d) for d in description if d["type"] == kind]
            for kind in ("function", "event", "error")
        }
        self.contract = contract
        self.functions = {entry.name: entry for entry in entries["function"]}
        self.events = {entry.hash: entry for entry in entries["event"]}
        self.errors = {entry.hash[:4]: entry for entry in entries["error"]}
        if len(self.functions) != len(entries["function"]):
            raise ValueError(f"{contract} overloads a function; bindings go by name")
        constructors = [_entry({"name": "", **d}) for d in description if d["type"] == "constructor"]
        self._constructor = constructors[0] if constructors else Entry("", ())

    def encode_call(self, function: str, args: Sequence[Any]) -> bytes:
        """The data of a call. Raises `ValueError` when the arguments do not fit."""
        entry = self.functions[function]
        return entry.hash[:4] + _encode(f"{self.contract}.{function}", entry.inputs, args)

    def encode_constructor(self, args: Sequence[Any]) -> bytes:
        """What follows the bytecode in a creating transaction."""
        return _encode(f"{self.contract}'s constructor", self._constructor.inputs, args)

    def decode_result(self, function: str, data: bytes) -> tuple[Any, ...]:
        """What a call returned, one value an output. Raises `ChainError` when the data does not fit."""
        return _decode(f"{self.contract}.{function}", self.functions[function].outputs, data)

    def topic(self, event: str) -> bytes:
        """The first topic of an event, by name."""
        return next(topic for topic, entry in self.events.items() if entry.name == event)

    def decode_event(self, topics: Sequence[bytes], data: bytes) -> tuple[str, dict[str, Any]] | None:
        """An event's name and its values by name, None when it is not this contract's."""
        entry = self.events.get(topics[0]) if topics else None
        if entry is None:
            return None
        kinds = list(zip(entry.inputs, entry.indexed, strict=True))
        what = f"{self.contract}.{entry.name}"
        plain = iter(_decode(what, tuple(kind for kind, indexed in kinds if not indexed), data))
        hidden = iter(topics[1:])
        values = [
            _decode(what, (kind,), next(hidden))[0] if indexed else next(plain) for kind, indexed in kinds
        ]
        return entry.name, dict(zip(entry.names, values, strict=True))


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled contract."""

    name: str
    abi: Abi
    bytecode: bytes
    deployed_bytecode: bytes


@cache
def artifact(name: str) -> Artifact:
    """The committed artifact of that name."""
    found = json.loads((_ARTIFACTS / f"{name}.json").read_text("utf-8"))
    code, deployed = (
        bytes.fromhex(found[key].removeprefix("0x")) for key in ("bytecode", "deployedBytecode")
    )
    return Artifact(name, Abi(name, found["abi"]), code, deployed)


@cache
def _all_errors() -> dict[bytes, Entry]:
    """The custom errors of all contracts: one may revert with another's."""
    return {selector: entry for name in CONTRACTS for selector, entry in artifact(name).abi.errors.items()}


def explain_revert(data: bytes) -> tuple[str, tuple[Any, ...]]:
    """The name of the custom error that a contract reverted with, and its values."""
    selector, rest = data[:4], data[4:]
    if not data:
        return "reverted without a reason", ()
    if selector == keccak(text="Error(string)")[:4]:
        return str(_decode("a revert", ("string",), rest)[0]), ()
    if selector == keccak(text="Panic(uint256)")[:4]:
        code = int.from_bytes(rest[:32], "big")
        return f"panic: {_PANICS.get(code, hex(code))}", ()
    entry = _all_errors().get(selector)
    if entry is None:
        return f"unknown error 0x{selector.hex()}", ()
    return entry.name, _decode(entry.name, entry.inputs, rest)


def _entry(description: dict[str, Any]) -> Entry:
    inputs, outputs = description["inputs"], description.get("outputs", ())
    return Entry(
        description["name"],
        tuple(_type(item) for item in inputs),
        tuple(_type(item) for item in outputs),
        tuple(item["name"] for item in inputs),
        tuple(item.get("indexed", False) for item in inputs),
    )


def _type(item: dict[str, Any]) -> str:
    """An ABI type with structs spelled out as tuples."""
    kind: str = item["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_type(part) for part in item['components'])}){kind.removeprefix('tuple')}"


def _encode(what: str, kinds: Sequence[str], args: Sequence[Any]) -> bytes:
    if len(kinds) != len(args):
        raise ValueError(f"{what} takes {len(kinds)} arguments, not {len(args)}")
    try:
        return abi_encode(kinds, args)
    except (EncodingError, TypeError) as error:
        raise ValueError(f"{what} does not take these arguments: {error}") from None


def _decode(what: str, kinds: Sequence[str], data: bytes) -> tuple[Any, ...]:
    try:
        values = abi_decode(kinds, data)
    except (DecodingError, OverflowError) as error:
        fault = f"the chain's answer to {what} does not decode ({error})"
        raise ChainError(
            fault, "check that the address book belongs to this version of the contracts"
        ) from None
    return tuple(_checksummed(kind, value) for kind, value in zip(kinds, values, strict=True))


def _checksummed(kind: str, value: Any) -> Any:
    """eth_abi gives addresses in lower case; everything here compares them checksummed."""
    if kind.endswith("]"):
        inner = kind[: kind.rindex("[")]
        return tuple(_checksummed(inner, item) for item in value)
    if kind == "address":
        return to_checksum_address(value)
    if kind.startswith("("):
        return tuple(_checksummed(part, item) for part, item in zip(_split(kind), value, strict=True))
    return value


@cache
def _split(kind: str) -> tuple[str, ...]:
    """The parts of "(a,(b,c)[],d)"."""
    parts, depth, start = [], 0, 1
    for i, letter in enumerate(kind):
        depth += (letter == "(") - (letter == ")")
        if (letter == "," and depth == 1) or (letter == ")" and depth == 0):
            parts.append(kind[start:i])
            start = i + 1
    return tuple(parts)
