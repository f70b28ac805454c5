"""A small chain in memory (revm): deploy artifacts, call by name, decode results, custom errors and events.

    chain = Chain()
    cases = chain.deploy(actor, "Cases", terms, doctors, models, reputation)
    chain.send(actor, cases, "advance", case_id)        # Receipt(gas, events, value); raises Reverted
    chain.view(cases, "view_", case_id)                 # structs come as SimpleNamespace

Each transaction is a block of its own: the number grows by one, time by `seconds_per_block`. Gas is what a
chain would charge, the 21,000 and calldata included. Block hashes are revm's: fixed by the number, for the
last 256 blocks. `with chain.undone(): ...` takes everything back at the end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from pyrevm import EVM, BlockEnv

ARTIFACTS = Path(__file__).parents[2] / "contracts" / "artifacts"
CHAIN_ID = 1
BLOCK_GAS = 30_000_000

Entry = dict[str, Any]


class Reverted(Exception):
    """A call that the contract refused. name: the custom error, `Panic`, the reason revm gives, or ""."""

    def __init__(self, name: str, values: tuple[Any, ...] = (), gas: int = 0) -> None:
        super().__init__(f"{name}{values}")
        self.name = name
        self.values = values
        self.gas = gas


@contextmanager
def refused(name: str, *values: Any, most_gas: int = BLOCK_GAS) -> Iterator[None]:
    """Demands that what happens inside reverts with this error, and these values where given."""
    with pytest.raises(Reverted) as caught:
        yield
    error = caught.value
    assert error.name == name, f"refused by {error}, not by {name}"
    assert not values or error.values == values, f"{error} does not carry {values}"
    assert error.gas <= most_gas, f"{error} burned {error.gas} gas"


@dataclass(frozen=True)
class Event:
    """A decoded event; `values` by the names in the ABI."""

    contract: str
    name: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Receipt:
    """What a transaction did. value: what the function returned."""

    gas: int
    events: list[Event]
    value: Any

    def only(self, name: str) -> Event:
        """The one event of that name."""
        (event,) = self.all(name)
        return event

    def all(self, name: str) -> list[Event]:
        """The events of that name, in order."""
        return [event for event in self.events if event.name == name]


def kind_of(entry: Entry) -> str:
    """The canonical type of an ABI parameter, tuples spelled out."""
    kind: str = entry["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(kind_of(part) for part in entry['components'])}){kind[5:]}"


def signature_of(entry: Entry) -> str:
    """`name(type,...)` of a function, error or event."""
    return f"{entry['name']}({','.join(kind_of(part) for part in entry.get('inputs', []))})"


def shaped(entry: Entry, value: Any) -> Any:
    """A decoded value with structs as namespaces and addresses in checksum form."""
    kind: str = entry["type"]
    if kind.endswith("]"):
        inner = {**entry, "type": kind[: kind.rindex("[")]}
        return [shaped(inner, part) for part in value]
    if kind == "tuple":
        parts = zip(entry["components"], value, strict=True)
        return SimpleNamespace(**{part["name"]: shaped(part, v) for part, v in parts})
    return to_checksum_address(value) if kind == "address" else value


@dataclass(frozen=True)
class Contract:
    """A deployed contract: its name, address and ABI."""

    name: str
    address: str
    abi: list[Entry]

    def function(self, name: str) -> Entry:
        """The function of that name (none is overloaded)."""
        (entry,) = (e for e in self.abi if e["type"] == "function" and e["name"] == name)
        return entry


@lru_cache(maxsize=64)
def artifact(name: str, folder: Path = ARTIFACTS) -> Entry:
    """A compiled contract."""
    loaded: Entry = json.loads((folder / f"{name}.json").read_text())
    return loaded


def create_address(deployer: str, nonce: int) -> str:
    """Where a contract comes to stand: the last 20 bytes of keccak256(rlp([deployer, nonce])), nonce <
    128.
    """
    assert 0 <= nonce < 128
    body = b"\x94" + bytes.fromhex(deployer[2:]) + (bytes([nonce]) if nonce else b"\x80")
    return to_checksum_address(keccak(bytes([0xC0 + len(body)]) + body)[12:])


class Chain:
    """Blocks, time, money and calls. See the module."""

    def __init__(self, time: int = 1_800_000_000, seconds_per_block: int = 1) -> None:
        self.evm = EVM(gas_limit=BLOCK_GAS)
        self.number = 1_000
        self.time = time
        self.seconds_per_block = seconds_per_block
        self.contracts: dict[str, Contract] = {}
        self.errors: dict[bytes, Entry] = {}
        self.events: dict[bytes, Entry] = {}
        self._set_block()

    def mine(self, blocks: int = 1, seconds: int | None = None) -> None:
        """Lets blocks pass, and so much time in all."""
        self.number += blocks
        self.time += self.seconds_per_block * blocks if seconds is None else seconds
        self._set_block()

    @contextmanager
    def undone(self) -> Iterator[None]:
        """What happens inside is undone at the end: state, number, time."""
        mark, number, time = self.evm.snapshot(), self.number, self.time
        try:
            yield
        finally:
            self.evm.revert(mark)
            self.number, self.time = number, time
            self._set_block()

    def fund(self, account: str, wei: int) -> None:
        """Gives an account money out of nothing."""
        self.evm.set_balance(account, self.balance(account) + wei)

    def balance(self, account: str) -> int:
        """Wei of an account."""
        return int(self.evm.get_balance(account))

    def deploy(self, sender: str, name: str, *arguments: Any, made: Entry | None = None) -> Contract:
        """Deploys an artifact by name, or a given one under that name."""
        made = made or artifact(name)
        inputs: list[Entry] = next((e["inputs"] for e in made["abi"] if e["type"] == "constructor"), [])
        code = bytes.fromhex(made["bytecode"][2:]) + encode([kind_of(i) for i in inputs], arguments)
        self.learn(made["abi"])
        self.mine()
        try:
            address = self.evm.deploy(sender, code)
        except RuntimeError as error:
            raise self._reverted(error) from None
        contract = Contract(name, to_checksum_address(address), made["abi"])
        self.contracts[contract.address] = contract
        return contract

    def learn(self, abi: list[Entry]) -> None:
        """Takes note of the errors and events of an ABI."""
        for entry in abi:
            if entry["type"] == "error":
                self.errors[keccak(text=signature_of(entry))[:4]] = entry
            elif entry["type"] == "event":
                self.events[keccak(text=signature_of(entry))] = entry

    def send(self, sender: str, contract: Contract, name: str, *arguments: Any, value: int = 0) -> Receipt:
        """A transaction in a block of its own. Raises `Reverted`."""
        self.mine()
        output = self._call(sender, contract, name, arguments, value, static=False)
        result: Any = self.evm.result
        events = [event for log in result.logs if (event := self._event(log))]
        return Receipt(self.last_gas(), events, self._returned(contract, name, output))

    def view(self, contract: Contract, name: str, *arguments: Any, sender: str = "0x" + "00" * 20) -> Any:
        """A call that changes nothing, in the present block. Raises `Reverted`."""
        output = self._call(sender, contract, name, arguments, 0, static=True)
        return self._returned(contract, name, output)

    def gas_of_view(self, contract: Contract, name: str, *arguments: Any) -> int:
        """Gas that the call took, 21,000 and calldata included."""
        self.view(contract, name, *arguments)
        return self.last_gas()

    def last_gas(self) -> int:
        """Gas of the last call that went through."""
        result: Any = self.evm.result
        return int(result.gas_used)

    # ----------------------------------------------------------------------------------------------- inside

    def _set_block(self) -> None:
        self.evm.set_block_env(BlockEnv(number=self.number, timestamp=self.time, gas_limit=BLOCK_GAS))

    def _call(
        self,
        sender: str,
        contract: Contract,
        name: str,
        arguments: Sequence[Any],
        value: int,
        *,
        static: bool,
    ) -> bytes:
        entry = contract.function(name)
        data = encode([kind_of(i) for i in entry["inputs"]], arguments)
        try:
            return bytes(
                self.evm.message_call(
                    sender,
                    contract.address,
                    calldata=keccak(text=signature_of(entry))[:4] + data,
                    value=value,
                    is_static=static,
                )
            )
        except RuntimeError as error:
            raise self._reverted(error) from None

    def _returned(self, contract: Contract, name: str, output: bytes) -> Any:
        outputs = contract.function(name)["outputs"]
        values = decode([kind_of(o) for o in outputs], output)
        parts = [shaped(o, v) for o, v in zip(outputs, values, strict=True)]
        return parts[0] if len(parts) == 1 else tuple(parts)

    def _event(self, log: Any) -> Event | None:
        topics = [bytes.fromhex(topic.removeprefix("0x")) for topic in log.topics]
        entry = self.events.get(topics[0]) if topics else None
        if entry is None:
            return None
        address = to_checksum_address(log.address)
        source = self.contracts[address].name if address in self.contracts else address
        plain = [i for i in entry["inputs"] if not i["indexed"]]
        given = iter(decode([kind_of(i) for i in plain], bytes(log.data[1])))
        marked = iter(topics[1:])
        values = {}
        for i in entry["inputs"]:
            value = decode([kind_of(i)], next(marked))[0] if i["indexed"] else next(given)
            values[i["name"]] = shaped(i, value)
        return Event(source, entry["name"], values)

    def _reverted(self, error: RuntimeError) -> Reverted:
        text = str(error)
        found = re.search(r"gas_used: (\d+)", text)
        gas = int(found[1]) if found else 0
        if "output: 0x" not in text:
            return Reverted(text, gas=gas)
        output = bytes.fromhex(text.split("output: 0x")[1].split(" ")[0].rstrip("}"))
        entry = self.errors.get(output[:4])
        if entry is not None:
            kinds = [kind_of(i) for i in entry["inputs"]]
            return Reverted(entry["name"], decode(kinds, output[4:]), gas)
        if output[:4] == keccak(text="Panic(uint256)")[:4]:
            return Reverted("Panic", decode(["uint256"], output[4:]), gas)
        return Reverted("", gas=gas)
