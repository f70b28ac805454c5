"""The committed code of the planted bugs and of the test helpers, as artifacts."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from tests.contracts.evm import artifact
from tests.contracts.planted.build import CODE, HELPERS, unpack
from tests.contracts.planted.mutants import Mutant


@lru_cache(maxsize=2)
def helper(name: str) -> dict[str, Any]:
    """A test contract of `Helpers.sol`."""
    made = json.loads(HELPERS.read_text())[name]
    return {"abi": made["abi"], "bytecode": unpack(made["code"])}


def artifact_of(mutant: Mutant) -> dict[str, Any]:
    """The mutant's artifact: the ABI is that of the contract it was made from."""
    entry = json.loads(CODE.read_text())[mutant.name]
    return artifact(mutant.contract) | {"bytecode": unpack(entry["code"])}
