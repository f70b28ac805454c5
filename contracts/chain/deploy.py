"""Deploy the contracts, each knowing the others, in six transactions of one account.

The contracts name one another in their constructors, so addresses are computed before anything is sent: the
address of a contract follows from its deployer and nonce. `Cases` checks that its partners were made for it.
With a progress file, a deployment that was cut off goes on where it was instead of starting over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rlp  # type: ignore[import-untyped]
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from contracts.abi import artifact
from contracts.bindings.terms import Terms
from contracts.chain.address_book import AddressBook
from contracts.chain.client import ChainClient
from contracts.chain.values import Signer
from protocols.errors import ChainError

ORDER = ("Reputation", "Doctors", "Models", "Cases", "Certificates", "DataMarket")


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be sent: from which account and nonce, and the creation code by contract."""

    deployer: str
    first_nonce: int
    code: dict[str, bytes]

    @property
    def addresses(self) -> dict[str, str]:
        """Where each contract will be."""
        return {name: create_address(self.deployer, self.first_nonce + i) for i, name in enumerate(ORDER)}

    @property
    def digest(self) -> str:
        """Stands for all of it: equal plans make equal contracts at equal addresses."""
        parts = [keccak(code) for code in self.code.values()]
        return keccak(b"".join([self.deployer.encode(), self.first_nonce.to_bytes(8, "big"), *parts])).hex()


def create_address(deployer: str, nonce: int) -> str:
    """The address of the contract that a transaction creates."""
    return str(to_checksum_address(keccak(rlp.encode([bytes.fromhex(deployer[2:]), nonce]))[12:]))


def plan(deployer: str, first_nonce: int, terms: Terms, attesters: Sequence[str]) -> Plan:
    """The creation codes, for a deployment that begins at that nonce."""
    at = {name: create_address(deployer, first_nonce + i) for i, name in enumerate(ORDER)}
    arguments: dict[str, tuple[Any, ...]] = {
        "Reputation": (at["Cases"],),
        "Doctors": (terms.as_tuple(), tuple(attesters), at["Reputation"], at["Cases"]),
        "Models": (terms.as_tuple(), at["Cases"]),
        "Cases": (terms.as_tuple(), at["Doctors"], at["Models"], at["Reputation"]),
        "Certificates": (at["Cases"],),
        "DataMarket": (at["Cases"],),
    }
    made = {name: artifact(name) for name in ORDER}
    code = {name: made[name].bytecode + made[name].abi.encode_constructor(arguments[name]) for name in ORDER}
    return Plan(deployer, first_nonce, code)


async def deploy(
    client: ChainClient,
    signer: Signer,
    deployer: str,
    terms: Terms,
    attesters: Sequence[str],
    *,
    progress: Path | None = None,
) -> AddressBook:
    """Make all contracts that are not there yet and check them. `deployer` must send nothing else meanwhile.

    attesters: whose credentials make a doctor, for good. Raises `ChainError`, naming what failed.
    """
    if not attesters:
        raise ChainError("nobody could attest doctors", "name at least one attester")
    deployer = to_checksum_address(deployer)
    first = int(await client.rpc.request("eth_getTransactionCount", deployer, "latest"), 16)
    made, since = plan(deployer, first, terms, attesters), (await client.head())[0]
    kept = _kept(progress)
    if kept is not None and kept["chain_id"] == client.chain_id and kept["first_nonce"] <= first:
        resumed = plan(deployer, kept["first_nonce"], terms, attesters)
        if resumed.digest == kept["digest"]:
            made, since = resumed, kept["since"]
    if progress is not None:
        state = {"first_nonce": made.first_nonce, "digest": made.digest, "since": since}
        progress.parent.mkdir(parents=True, exist_ok=True)
        progress.write_text(json.dumps({**state, "chain_id": client.chain_id}), "utf-8")
    for i, name in enumerate(ORDER):
        await _create(client, signer, made, name, made.first_nonce + i)
    return AddressBook(client.chain_id, since, made.addresses, terms.to_json())


async def _create(client: ChainClient, signer: Signer, made: Plan, name: str, nonce: int) -> None:
    if await client.has_code(made.addresses[name]):
        return
    tx = await client.prepare_raw(made.deployer, None, made.code[name])
    if tx.nonce != nonce:
        client.release(tx)
        fault = f"the deployment of {name} was cut in on by another transaction of {made.deployer}"
        raise ChainError(fault, "deploy again, from an account that sends nothing else")
    await client.complete(tx, signer)
    if not await client.has_code(made.addresses[name]):
        raise ChainError(f"{name} was not created where it should be", "deploy again")


def _kept(progress: Path | None) -> dict[str, Any] | None:
    """What an earlier run wrote, None when there is nothing of use."""
    if progress is None:
        return None
    try:
        kept = json.loads(progress.read_text("utf-8"))
        return kept if {"first_nonce", "digest", "chain_id", "since"} <= kept.keys() else None
    except (OSError, ValueError, AttributeError):
        return None
