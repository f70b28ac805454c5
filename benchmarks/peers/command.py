"""What the peers' command lines share."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers import networks


def main(engine: str, measure: Callable[[str, bool, str], dict[str, Any]], doc: str | None) -> None:
    """Measure the network that the command line names and print one line of JSON: {engine, network, ...}, or
    {engine, network, unavailable: why} with exit code 3."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=list(networks.NETWORKS))
    parser.add_argument("--quick", action="store_true", help="one run where several are usual")
    parser.add_argument(
        "--pooling", choices=("max", "average"), default="", help="instead of the network's own"
    )
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    given = parser.parse_args()
    try:
        figures = measure(given.network, given.quick, given.pooling)
    except Unavailable as error:
        figures = {"unavailable": str(error)}
    told = {"engine": engine, "network": given.network, **figures}
    print(json.dumps(told))
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    sys.exit(3 if "unavailable" in figures else 0)


class Unavailable(Exception):
    """The peer cannot run on this machine, and why."""
