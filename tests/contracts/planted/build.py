"""Compiles the planted bugs and the test helpers, so that the tests need no Node.

    python -m tests.contracts.planted.build            writes code.json and helpers.json, what changed
    python -m tests.contracts.planted.build --all      writes them anew

An entry carries the hash of the sources that it was made from, comments and spaces left out, as they do not
change the code. `current(...)` computes it without a compiler.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

from contracts.compile import HERE as CONTRACTS
from contracts.compile import SETTINGS, install_compiler, read_sources
from tests.contracts.planted.mutants import MUTANTS, Mutant, planted

FOLDER = Path(__file__).parent
CODE, HELPERS = FOLDER / "code.json", FOLDER / "helpers.json"


def current(sources: dict[str, str]) -> str:
    """Hash of what of the sources makes the code, of the settings and of the compiler's version."""
    bare = {name: re.sub(r"\s+", " ", re.sub(r"//[^\n]*", "", text)) for name, text in sources.items()}
    version = json.loads((CONTRACTS / "package.json").read_text())["devDependencies"]["solc"]
    return hashlib.sha256(json.dumps([bare, SETTINGS, version], sort_keys=True).encode()).hexdigest()


def compiled(sources: dict[str, str], names: list[str]) -> dict[str, Any]:
    """solc's output for the named contracts; warnings are let pass."""
    settings = SETTINGS | {"outputSelection": {"*": {n: ["abi", "evm.bytecode.object"] for n in names}}}
    contents = {name: {"content": text} for name, text in sources.items()}
    request = {"language": "Solidity", "sources": contents, "settings": settings}
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "in.json"), Path(folder, "out.json")
        given.write_text(json.dumps(request))
        subprocess.run(["node", str(CONTRACTS / "solc.cjs"), str(given), str(made)], check=True, timeout=300)
        output = json.loads(made.read_text())
    errors = [e["formattedMessage"] for e in output.get("errors", []) if e["severity"] == "error"]
    if errors:
        raise ValueError("\n".join(errors))
    found = {}
    for contracts in output["contracts"].values():
        for name, contract in contracts.items():
            if name in names:
                code = bytes.fromhex(contract["evm"]["bytecode"]["object"])
                found[name] = {"abi": contract["abi"], "code": pack(code)}
    return found


def pack(code: bytes) -> str:
    """Code as it is stored."""
    return base64.b85encode(zlib.compress(code, 9)).decode()


def unpack(text: str) -> str:
    """Stored code as an artifact has it."""
    return "0x" + zlib.decompress(base64.b85decode(text)).hex()


def with_helpers(sources: dict[str, str]) -> dict[str, str]:
    """The sources and the helpers."""
    return sources | {"Helpers.sol": (FOLDER / "Helpers.sol").read_text()}


def make(mutant: Mutant, sources: dict[str, str]) -> dict[str, str]:
    """A mutant's entry."""
    changed = planted(mutant, sources)
    made = compiled(changed, [mutant.contract])[mutant.contract]
    return {"contract": mutant.contract, "made_from": current(changed), "code": made["code"]}


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="tests.contracts.planted.build", description="Compile planted bugs."
    )
    parser.add_argument("--all", action="store_true", help="what is current too")
    everything = parser.parse_args(arguments).all
    install_compiler()
    sources = read_sources()
    code = json.loads(CODE.read_text()) if CODE.exists() and not everything else {}
    for mutant in MUTANTS:
        if code.get(mutant.name, {}).get("made_from") != current(planted(mutant, sources)):
            code[mutant.name] = make(mutant, sources)
            print(f"{mutant.contract:12} {mutant.name}", flush=True)
            CODE.write_text(
                json.dumps({m.name: code[m.name] for m in MUTANTS if m.name in code}, indent=1) + "\n"
            )
    helping = with_helpers(sources)
    made = compiled(helping, ["Lens", "Receiver"])
    HELPERS.write_text(json.dumps({"made_from": current(helping), **made}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
