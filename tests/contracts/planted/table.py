"""Hunts every planted bug and writes the table into docs/invariants.md.

python -m tests.contracts.planted.table
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path

from tests.contracts.invariants.run import hunt
from tests.contracts.invariants.stage import Stage
from tests.contracts.planted.helpers import artifact_of
from tests.contracts.planted.mutants import MUTANTS

PAGE = Path(__file__).parents[3] / "docs" / "invariants.md"
BEGIN, END = "<!-- planted: begin -->", "<!-- planted: end -->"
EXAMPLES = 1500  # at most, for each bug; hypothesis draws constants of loaded modules too, so the number needed varies


def rows_of(page: str) -> list[tuple[str, str, str, str]]:
    """(bug, invariant, calls, what it said) of each row of the table."""
    table = page.split(BEGIN)[1].split(END)[0]
    return re.findall(r"^\| (.+?) \| (I\d+) \| ([\d,]+) \| (.+?) \|$", table, re.M)


def main() -> int:
    """The command."""
    rows = ["| bug | caught by | calls | what was seen |", "|---|---|--:|---|"]
    for mutant in MUTANTS:
        with contextlib.redirect_stdout(io.StringIO()):
            tally = hunt(Stage({mutant.contract: artifact_of(mutant)}), EXAMPLES)
        if tally.broken != mutant.caught_by:
            print(f"{mutant.name}: {tally.broken} instead of {mutant.caught_by}", file=sys.stderr)
            return 1
        rows.append(f"| {mutant.name} | {tally.broken} | {tally.calls:,} | {tally.what.split(': ', 1)[1]} |")
        print(rows[-1], flush=True)
    page = PAGE.read_text()
    head, tail = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{head}{BEGIN}\n" + "\n".join(rows) + f"\n{END}{tail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
