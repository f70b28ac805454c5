"""Running cells: one case each, with one or more participants killed on the way."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field

from tests.kill.points import Point
from tests.kill.stage import Actor, Stage, StageError, last_line
from tests.kill.verdict import Case, accounts, judge, result_of, settled

DOWN = 1.5
AWAY = 13.0
CASE_PATIENCE = 180.0
LATE_PATIENCE = 25.0


@dataclass(frozen=True)
class Victim:
    """Who is killed where. at: a kill point, or `when:ACTOR/STEP`: the runner kills it when ACTOR has told STEP.

    away: it comes back when this `ACTOR/STEP` has been told, and otherwise after `DOWN` seconds.
    """

    actor: str
    at: str
    away: str = ""

    @property
    def trigger(self) -> tuple[str, str] | None:
        """(actor, step) for a kill by the runner."""
        kind, _, rest = self.at.partition(":")
        return (rest.split("/")[0], rest.split("/")[1]) if kind == "when" else None


@dataclass(frozen=True)
class Cell:
    """One case and its victims."""

    name: str
    victims: tuple[Victim, ...]


@dataclass
class Outcome:
    """What became of a cell. verdict: `ok`, `wrong` or `not reached`."""

    cell: Cell
    verdict: str
    seconds: float
    wrong: list[str] = field(default_factory=list)


def cell_of(point: Point, number: int) -> Cell:
    """The cell of a point; doctors take turns."""
    actor = f"doctor {number % 3 + 1}" if point.role == "doctor" else point.role
    return Cell(f"{point.role} {point.name}", (Victim(actor, point.name),))


class _Run:
    def __init__(self, stage: Stage, cell: Cell) -> None:
        self.stage, self.cell = stage, cell
        self.reached: set[str] = set()
        self.down: dict[str, float] = {}
        self.patient, self.researcher = stage.newcomers()
        self.by_name = {v.actor: v for v in cell.victims}

    def point(self, actor: Actor) -> str:
        victim = self.by_name.get(actor.name)
        return victim.at if victim is not None and victim.trigger is None else ""

    def prepare(self) -> None:
        """Those who are up already are stopped and come back armed."""
        for victim in self.cell.victims:
            actor = self.stage.actors[victim.actor]
            if victim.trigger is not None or actor in (self.patient, self.researcher):
                continue
            self.stage.stop(actor)
            self.stage.run(actor, kill_at=victim.at)
        for victim in self.cell.victims:
            actor = self.stage.actors[victim.actor]
            if actor.process is not None and victim.trigger is None:
                ready = "up" if actor.role == "dealer" else "ready"
                self.stage.until(lambda a=actor, r=ready: a.killed or a.said(r), f"the start of {actor.name}")

    def pulse(self) -> None:
        """Notice who was killed, kill whom the runner is to kill, start again who was away long enough."""
        now = time.monotonic()
        for victim in self.cell.victims:
            actor = self.stage.actors[victim.actor]
            trigger = victim.trigger
            if trigger and actor.name not in self.reached and self.told(*trigger):
                self.stage.stop(actor)
            if actor.killed and actor.name not in self.down:
                self.reached.add(actor.name)
                self.down[actor.name] = now
            if actor.name in self.down and actor.killed and self.may_return(victim, now):
                del self.down[actor.name]
                self.stage.run(actor)
        for actor in self.stage.actors.values():
            if actor.fell:
                raise StageError(f"{actor.name} ended: {last_line(actor.log)}")

    def may_return(self, victim: Victim, now: float) -> bool:
        gone = now - self.down[victim.actor]
        if victim.away:  # an earlier case may have told the same: stay away for some time as well
            who, _, step = victim.away.partition("/")
            return gone >= AWAY and self.told(who, step)
        return gone >= DOWN

    def told(self, who: str, step: str) -> bool:
        """Whether somebody has told a step in this case."""
        actor = self.stage.actors[who]
        case_since = self.since.get(who, 0)
        path = actor.data / "progress.jsonl"
        if not path.exists():
            return False
        return f'"step":"{step}"'.encode() in path.read_bytes()[case_since:]

    def perform(self) -> None:
        self.since = {
            a.name: p.stat().st_size
            for a in self.stage.actors.values()
            if (p := a.data / "progress.jsonl").exists()
        }
        self.stage.run(self.patient, kill_at=self.point(self.patient))
        self.stage.run(self.researcher, kill_at=self.point(self.researcher))
        deadline = time.monotonic() + CASE_PATIENCE
        while not self.over():
            self.pulse()
            if time.monotonic() > deadline:
                self.stage.ask_where()
                raise StageError(self.stuck())
            time.sleep(0.05)
        late = time.monotonic() + LATE_PATIENCE
        while time.monotonic() < late and (len(self.reached) < len(self.by_name) or self.down):
            self.pulse()
            time.sleep(0.05)
        case = Case(self.stage, self.patient, self.researcher, 0)
        while time.monotonic() < late and not settled(case):
            time.sleep(0.1)
        for victim in self.cell.victims:
            actor = self.stage.actors[victim.actor]
            if actor not in (self.patient, self.researcher) and actor.name in self.reached:
                ready = "up" if actor.role == "dealer" else "ready"
                if actor.role != "chain":
                    self.stage.until(lambda a=actor, r=ready: a.said(r), f"{actor.name} is back")

    def over(self) -> bool:
        result = result_of(self.patient)
        if result is None or self.down:
            return False
        if result["outcome"] != "settled":
            return True
        process = self.researcher.process
        return process is not None and process.exitcode == 0

    def stuck(self) -> str:
        last = {a.name: (a.steps(False) or [{}])[-1].get("text", "") for a in self.stage.actors.values()}
        told = "; ".join(f"{n}: {t}" for n, t in last.items() if t)
        return f"not over after {CASE_PATIENCE:.0f} s ({told})"


def run_cell(stage: Stage, cell: Cell) -> Outcome:
    """Run one case. The stage may be unusable after anything but `ok`."""
    start = time.monotonic()
    first = stage.ledger.head() + 1
    run = _Run(stage, cell)
    wrong: list[str] = []
    try:
        run.prepare()
        run.perform()
        case = Case(stage, run.patient, run.researcher, first)
        wrong = judge(case)
        stage.stop(run.patient, hard=False)
        assert run.patient.process is not None
        if run.patient.process.exitcode != 0:
            wrong.append(f"the patient ended with code {run.patient.process.exitcode}")
        result = result_of(run.patient)
        if result is not None and not wrong:
            wrong += accounts(run.patient, stage.ledger.transactions(first), result["case"]["account"])
    except (StageError, OSError) as error:
        wrong.append(str(error))
    missed = sorted(set(run.by_name) - run.reached)
    seconds = time.monotonic() - start
    if wrong:
        return Outcome(cell, "wrong", seconds, wrong)
    if missed:
        return Outcome(cell, "not reached", seconds, [f"{name} never passed it" for name in missed])
    return Outcome(cell, "ok", seconds)


assert signal.SIGKILL == 9  # what `Actor.killed` looks for
