"""The address book: which contracts, on which chain, since when and on what terms. A JSON file."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eth_utils.address import to_checksum_address

from contracts.abi import CONTRACTS
from protocols.errors import UserError

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_REMEDY = "copy the address book from who deployed the contracts, or deploy them again"


@dataclass(frozen=True, slots=True)
class AddressBook:
    """Where the contracts are. `deployed_block`: no event is older. `terms`: what they were deployed with."""

    chain_id: int
    deployed_block: int
    contracts: dict[str, str]
    terms: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if missing := [name for name in CONTRACTS if name not in self.contracts]:
            raise UserError(f"the address book does not name {', '.join(missing)}", _REMEDY)

    def address(self, contract: str) -> str:
        """The checksummed address of a contract by name."""
        try:
            return self.contracts[contract]
        except KeyError:
            raise UserError(f"the address book does not name {contract}", _REMEDY) from None

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text(json.dumps(asdict(self), indent=2, sort_keys=True) + "\n", "utf-8")
        fresh.replace(path)

    @classmethod
    def load(cls, path: Path) -> AddressBook:
        """Read and check the file. Raises `UserError` when it is missing or not an address book."""
        try:
            found = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise UserError(f"the address book {path} cannot be read ({error.strerror})", _REMEDY) from None
        except ValueError:
            raise UserError(f"the address book {path} is not JSON", _REMEDY) from None
        return cls.parse(found)

    @classmethod
    def parse(cls, found: Any) -> AddressBook:
        """The address book in decoded JSON. Raises `UserError`."""
        if not isinstance(found, dict):
            raise UserError("the address book is not a JSON object", _REMEDY)
        contracts, terms = found.get("contracts"), found.get("terms", {})
        for key in ("chain_id", "deployed_block"):
            if type(found.get(key)) is not int or found[key] < 0:
                raise UserError(f"the address book's {key} is not a whole number", _REMEDY)
        if not isinstance(contracts, dict) or not isinstance(terms, dict):
            raise UserError("the address book's contracts and terms must be objects", _REMEDY)
        for name, address in contracts.items():
            if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
                raise UserError(f"the address book's address of {name} is not an address", _REMEDY)
        checked = {name: str(to_checksum_address(address)) for name, address in contracts.items()}
        return cls(found["chain_id"], found["deployed_block"], checked, terms)
