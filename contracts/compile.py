"""Compiles the contracts into `contracts/artifacts`, one JSON a contract.

    python -m contracts.compile            writes the artifacts
    python -m contracts.compile --check    recompiles and compares; exits 1 and names the difference

Needs Node and npm; the compiler's version is pinned in `contracts/package.json` and is installed into
`contracts/node_modules` at the first run. Nothing in an artifact depends on the machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from protocols.errors import UserError

HERE = Path(__file__).parent
SOURCES = HERE / "src"
ARTIFACTS = HERE / "artifacts"
LARGEST = 24_576  # bytes of deployed code (EIP-170)
LARGEST_INIT = 49_152  # bytes of creation code (EIP-3860)
SETTINGS = {
    "optimizer": {"enabled": True, "runs": 200},
    "evmVersion": "paris",
    "viaIR": True,
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
    "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]}},
}


def install_compiler() -> None:
    """Installs the pinned compiler unless that very version is there."""
    wanted = json.loads((HERE / "package.json").read_text())["devDependencies"]["solc"]
    manifest = HERE / "node_modules" / "solc" / "package.json"
    if manifest.exists() and json.loads(manifest.read_text())["version"] == wanted:
        return
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"]
    try:
        subprocess.run(command, cwd=HERE, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"npm could not install solc {wanted}", "check Node, npm and the network, then run it again"
        ) from error


def compile_sources(sources: dict[str, str], *, tolerant: bool = False) -> dict[str, Any]:
    """Runs solc on {name: text}; returns its output. Errors and, unless `tolerant`, warnings raise `UserError`."""
    request = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sources.items()},
        "settings": SETTINGS,
    }
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "in.json"), Path(folder, "out.json")
        given.write_text(json.dumps(request))
        subprocess.run(["node", str(HERE / "solc.cjs"), str(given), str(made)], check=True)  # noqa: S603, S607
        output: dict[str, Any] = json.loads(made.read_text())
    complaints = [
        entry["formattedMessage"]
        for entry in output.get("errors", [])
        if entry["severity"] == "error" or not tolerant
    ]
    if complaints:
        raise UserError("\n".join(["the contracts do not compile cleanly", *complaints]), "mend the sources")
    return output


def read_sources() -> dict[str, str]:
    """All Solidity files, by path relative to `src`."""
    return {path.relative_to(SOURCES).as_posix(): path.read_text() for path in sorted(SOURCES.rglob("*.sol"))}


def build(sources: dict[str, str] | None = None) -> dict[str, str]:
    """The artifacts as text, by file name: the contracts that stand directly in `src`.

    sources: as `read_sources` gives them, where others are to be compiled (tests that plant a bug; those may
    have warnings).
    """
    output = compile_sources(sources or read_sources(), tolerant=sources is not None)
    artifacts = {}
    for source, contracts in output["contracts"].items():
        name = Path(source).stem
        if "/" in source or name not in contracts:
            continue
        made = contracts[name]
        creation, deployed = made["evm"]["bytecode"]["object"], made["evm"]["deployedBytecode"]["object"]
        if len(deployed) // 2 > LARGEST or len(creation) // 2 > LARGEST_INIT:
            raise UserError(
                f"{name} has {len(deployed) // 2} bytes of code", f"bring it to {LARGEST} or less"
            )
        artifact = {
            "contractName": name,
            "abi": made["abi"],
            "bytecode": "0x" + creation,
            "deployedBytecode": "0x" + deployed,
        }
        artifacts[f"{name}.json"] = json.dumps(artifact, indent=1, sort_keys=True) + "\n"
    return artifacts


def differences(artifacts: dict[str, str]) -> list[str]:
    """Names of artifacts that differ from the committed ones, are missing or are too many."""
    there = {path.name: path.read_text() for path in ARTIFACTS.glob("*.json")}
    return sorted(name for name in artifacts.keys() | there.keys() if artifacts.get(name) != there.get(name))


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="contracts.compile", description="Compile the contracts.")
    parser.add_argument("--check", action="store_true", help="compare with the artifacts, write nothing")
    check = parser.parse_args(arguments).check
    try:
        install_compiler()
        artifacts = build()
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if check:
        stale = differences(artifacts)
        if stale:
            print(
                f"artifacts differ from the sources: {', '.join(stale)}; compile and commit", file=sys.stderr
            )
        return 1 if stale else 0
    ARTIFACTS.mkdir(exist_ok=True)
    for path in ARTIFACTS.glob("*.json"):
        if path.name not in artifacts:
            path.unlink()
    for name, text in artifacts.items():
        (ARTIFACTS / name).write_text(text)
        size = (len(json.loads(text)["deployedBytecode"]) - 2) // 2
        print(f"{name:20} {size:6} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
