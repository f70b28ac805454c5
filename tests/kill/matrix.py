"""The command: which cells, run where, told how."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, SimpleQueue

from tests.kill.points import ROLES, Point, points, why_not
from tests.kill.run import Cell, Outcome, Victim, cell_of, run_cell
from tests.kill.stage import Stage, StageError

BIRTH = ("tx/register",)


def together() -> list[Cell]:
    """More than one participant at once, and the chain itself."""
    doctors = tuple(Victim(f"doctor {i}", "after-sign:tx/commit") for i in (1, 2, 3))
    return [
        Cell("chain, while the case is bought", (Victim("chain", "when:patient/purchase"),)),
        Cell("chain, while the panel is drawn", (Victim("chain", "when:patient/opened"),)),
        Cell("chain, while votes are committed", (Victim("chain", "when:doctor 1/commit"),)),
        Cell("model and dealer", (Victim("model", "after-write:host"), Victim("dealer", "after-write:deal"))),
        Cell(
            "patient and doctor",
            (Victim("patient", "after-send:tx/open"), Victim("doctor 2", "after-send:tx/commit")),
        ),
        Cell("all three doctors", doctors),
        Cell(
            "everybody and the chain",
            tuple(
                Victim(name, "when:patient/opened")
                for name in ("patient", "model", "dealer", "doctor 1", "doctor 2", "doctor 3", "chain")
            ),
        ),
    ]


def away() -> dict[tuple[str, str], Cell]:
    """Points that are passed only while somebody else is away: (role, point) -> their cell."""
    gone = Victim("patient", "after-write:tx/open", away="model/receipt.earned")
    names = ("after-sign:tx/release", "after-send:tx/release", "before-done:tx/release")
    return {("model", n): Cell(f"model {n}", (Victim("model", n), gone)) for n in names}


def births() -> list[tuple[str, dict[str, str]]]:
    """Stages whose participants are killed while they register: (name, actor -> point)."""
    found = []
    for moment in ("before-write", "after-write", "after-sign", "after-send", "before-done"):
        point = f"{moment}:tx/register"
        found.append((point, {"model": point, "doctor 1": point}))
    return found


def chosen(roles: list[str], wanted: list[str]) -> list[tuple[Point, Cell]]:
    """The cells of points that a case passes, birth's apart."""
    special = away()
    cells = []
    for role in roles:
        for number, point in enumerate(points(role)):
            if why_not(point) or point.what in BIRTH:
                continue
            if wanted and not any(w in point.name for w in wanted):
                continue
            cells.append((point, special.get((role, point.name)) or cell_of(point, number)))
    return cells


class Matrix:
    """Runs cells on one stage a job, in turn; a stage that a cell has spoilt is set anew."""

    def __init__(self, folder: Path, jobs: int, file: Path | None = None) -> None:
        self.folder, self.jobs, self.file = folder, jobs, file
        self.outcomes: list[Outcome] = []
        self._stages = 0
        self._start = time.monotonic()

    def tell(self, outcome: Outcome, left: int) -> None:
        """One line, live; and the file, so that an interrupted run can go on."""
        self.outcomes.append(outcome)
        self.save()
        why = f"  {'; '.join(outcome.wrong)}" if outcome.wrong else ""
        clock = time.monotonic() - self._start
        print(
            f"[{clock:6.0f} s, {left:3} left] {outcome.verdict:11} {outcome.seconds:5.1f} s  {outcome.cell.name}{why}",
            flush=True,
        )

    def save(self) -> None:
        """Write the outcomes down."""
        if self.file is not None:
            plain = [
                {"cell": o.cell.name, "verdict": o.verdict, "seconds": round(o.seconds, 1), "wrong": o.wrong}
                for o in self.outcomes
            ]
            self.file.write_text(json.dumps(plain, indent=1) + "\n", "utf-8")

    def resume(self, cells: list[Cell]) -> list[Cell]:
        """Take the good outcomes of an earlier run of the same file; the cells that are left."""
        if self.file is None or not self.file.exists():
            return cells
        before = {o["cell"]: o for o in json.loads(self.file.read_text("utf-8")) if o["verdict"] == "ok"}
        for found in before.values():
            self.outcomes.append(Outcome(Cell(found["cell"], ()), "ok", found["seconds"]))
        return [cell for cell in cells if cell.name not in before]

    def stage(self, born: dict[str, str] | None = None) -> Stage:
        self._stages += 1
        return Stage(self.folder / f"stage-{self._stages:03d}", born)

    def run(self, cells: list[Cell]) -> None:
        """Run them all."""
        queue: SimpleQueue[Cell] = SimpleQueue()
        for cell in cells:
            queue.put(cell)
        with ThreadPoolExecutor(self.jobs) as pool:
            for future in [pool.submit(self._work, queue) for _ in range(self.jobs)]:
                future.result()

    def _work(self, queue: SimpleQueue[Cell]) -> None:
        while not queue.empty():
            with ExitStack() as stack:
                stage = stack.enter_context(self.stage())
                for cell in _drain(queue):
                    outcome = run_cell(stage, cell)
                    self.tell(outcome, queue.qsize())
                    if outcome.verdict != "ok":
                        break

    def run_births(self) -> None:
        """Participants killed while they register; then a case, to see that they are whole."""
        for name, born in births():
            cell = Cell(f"at birth {name} ({' and '.join(born)})", ())
            if any(o.cell.name == cell.name for o in self.outcomes):
                continue
            start = time.monotonic()
            try:
                with self.stage(born) as stage:
                    outcome = run_cell(stage, cell)
            except (StageError, OSError) as error:
                outcome = Outcome(cell, "wrong", time.monotonic() - start, [str(error)])
            self.tell(outcome, 0)


def _drain(queue: SimpleQueue[Cell]) -> Iterator[Cell]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


def table(outcomes: list[Outcome], roles: list[str]) -> str:
    """The matrix in Markdown: a row a step, a column a moment."""
    from agents.engine.faults import MOMENTS

    by_name = {o.cell.name: o for o in outcomes}
    lines = []
    for role in roles:
        rows: dict[str, dict[str, str]] = {}
        for point in points(role):
            found = by_name.get(f"{role} {point.name}")
            if point.what in BIRTH:
                found = next((o for o in outcomes if o.cell.name.startswith(f"at birth {point.name} ")), None)
            if found is not None:
                rows.setdefault(point.what, {})[point.moment] = found.verdict
        if not rows:
            continue
        lines += [f"\n### {role}\n", f"| step | {' | '.join(MOMENTS)} |", "|---" * (len(MOMENTS) + 1) + "|"]
        for what, cells in rows.items():
            lines.append(f"| `{what}` | {' | '.join(cells.get(m, '·') for m in MOMENTS)} |")
    more = [
        o for o in outcomes if not any(o.cell.name.startswith(f"{r} ") and ":" in o.cell.name for r in ROLES)
    ]
    if more:
        lines += ["\n### More than one, and the chain\n", "| killed | verdict | seconds |", "|---|---|---|"]
        lines += [f"| {o.cell.name} | {o.verdict} | {o.seconds:.0f} |" for o in more]
    bad = [o for o in outcomes if o.wrong]
    if bad:
        lines += ["\n### Wrong\n"]
        lines += [f"- {o.cell.name}: {o.verdict}: {'; '.join(o.wrong)}" for o in bad]
    return "\n".join(lines) + "\n"


def unpassed(roles: list[str]) -> str:
    """The points that a case rightly does not pass, with the reason."""
    rows: dict[tuple[str, str, str], None] = {}
    for role in roles:
        for point in points(role):
            if reason := why_not(point):
                rows[role, point.what if (role, point.what) else point.name, reason] = None
    return (
        "\n".join(
            ["| agent | step | why |", "|---|---|---|", *(f"| {a} | `{b}` | {c} |" for a, b, c in rows)]
        )
        + "\n"
    )


def document(matrix: Matrix, roles: list[str], note: str = "") -> str:
    """docs/kill-matrix.md."""
    good = sum(o.verdict == "ok" for o in matrix.outcomes)
    return f"""# Kill matrix

Written by `python -m tests.kill --write docs/kill-matrix.md`; do not edit.

Every agent of a case is killed with `kill -9` at every step, and started again on the same folder a second later. Each
cell is a case of its own with real processes: a chain, a dealer, a model, three doctors, a patient and a researcher. A
cell is `ok` when the case settled with a valid certificate; the prediction was bought once, the case opened once, every
doctor took the seat, committed and revealed once; no seat was lost; the patient's books fit to the wei; the allowance
counts what was spent; the record was sold once and arrived; nobody printed a traceback.

The steps are found in the code: a message that is heard (`quote.propose`), said (`say/...`), a transaction (`tx/...`)
or a task. The moments:

- *before-write*: the decision is made, and nothing of it is written;
- *after-write*: it is written, and nothing of it is done;
- *after-sign*: a transaction is signed and written, and not sent;
- *after-send*: it has gone out, and what came of it is not known;
- *before-done*: what came of it is known, and not written.

**{good} of {len(matrix.outcomes)} cells are ok**.{note and chr(10) * 2 + note}
{table(matrix.outcomes, roles)}
### Not passed in a case that goes well

{unpassed(roles)}"""


def main() -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=__doc__)
    parser.add_argument("--agents", default=",".join(ROLES), help="Roles, by commas.")
    parser.add_argument("--points", default="", help="Parts of point names, by commas: tx/commit,after-sign.")
    parser.add_argument("--jobs", type=int, default=1, help="Stages at once.")
    parser.add_argument("--json", type=Path, help="Write the outcomes here, after each cell.")
    parser.add_argument("--resume", action="store_true", help="Keep what is ok in that file; run the rest.")
    parser.add_argument("--write", type=Path, help="Write the table here, as Markdown.")
    parser.add_argument("--only-together", action="store_true", help="Two victims at once, and the chain.")
    parser.add_argument("--only-births", action="store_true", help="Kills while registering.")
    parser.add_argument("--note", default="", help="A sentence for the table's page.")
    parser.add_argument("--keep", type=Path, help="Keep folders and logs here.")
    wish = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    roles = [r for r in wish.agents.split(",") if r in ROLES]
    wanted = [w for w in wish.points.split(",") if w]
    cells = [cell for _, cell in chosen(roles, wanted)]
    whole = not wanted and len(roles) == len(ROLES)
    if wish.only_together:
        cells, whole = together(), False
    elif whole:
        cells += together()
    with ExitStack() as stack:
        folder = wish.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crypdoc-kill-")))
        matrix = Matrix(folder, wish.jobs, wish.json)
        if wish.resume:
            cells = matrix.resume(cells)
        if not wish.only_births:
            print(f"{len(cells)} cells", flush=True)
            matrix.run(cells)
        if whole or wish.only_births:
            matrix.run_births()
    print(table(matrix.outcomes, roles))
    if wish.write:
        wish.write.write_text(document(matrix, roles, wish.note), "utf-8")
    bad = sum(o.verdict != "ok" for o in matrix.outcomes)
    print(f"{len(matrix.outcomes) - bad} of {len(matrix.outcomes)} cells are ok")
    sys.exit(1 if bad else 0)
