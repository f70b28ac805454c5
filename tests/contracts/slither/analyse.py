"""Runs slither's detectors on the contracts' sources: in slither's own environment, in the folder of the sources.

python analyse.py REQUEST ANSWER

REQUEST: standard JSON input of solc. ANSWER: {"contracts": [...], "detectors": n, "findings": [{detector, impact,
confidence, place, text}]}; a place is `file:Contract.function(types)` of each element the finding begins with.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

from crytic_compile.platform.solc_standard_json import SolcStandardJson
from slither import Slither
from slither.detectors import all_detectors
from slither.detectors.abstract_detector import AbstractDetector


def place_of(finding: dict[str, Any]) -> str:
    """Where the finding stands: its first element, without line numbers, which move."""
    element = finding["elements"][0]
    source = element["source_mapping"]["filename_relative"]
    names = []
    while element:
        fields = element.get("type_specific_fields", {})
        if element["type"] != "node":
            names.append(fields.get("signature") or element["name"])
        element = fields.get("parent")
    return f"{source}:{'.'.join(reversed([n for n in names if not n.endswith('.sol')]))}"


def main(request: str, answer: str) -> None:
    """Analyses, writes the answer."""
    solc = str(Path(__file__).with_name("solc.cjs"))
    slither = Slither(SolcStandardJson(json.loads(Path(request).read_text())), solc=solc, disable_color=True)
    detectors = [
        kind
        for kind in vars(all_detectors).values()
        if inspect.isclass(kind) and issubclass(kind, AbstractDetector) and kind is not AbstractDetector
    ]
    for kind in detectors:
        slither.register_detector(kind)
    findings = [finding for found in slither.run_detectors() for finding in found]
    made = {
        "contracts": sorted(contract.name for contract in slither.contracts),
        "detectors": len(detectors),
        "findings": [
            {
                "detector": finding["check"],
                "impact": finding["impact"],
                "confidence": finding["confidence"],
                "place": place_of(finding),
                "text": finding["description"].strip(),
            }
            for finding in findings
        ],
    }
    Path(answer).write_text(json.dumps(made, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
