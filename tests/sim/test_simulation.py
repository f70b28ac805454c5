"""Whole cases under faults, the same every time; and proof that the checks can fail.

`python -m tests.sim --seeds A:B` runs more; `--seed N` replays one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from agents.doctor.duty import DoctorDuty
from agents.engine.core import Core
from agents.engine.store import Store
from protocols.case import steps
from protocols.effects import Effect
from tests.sim.plan import FAULTS, CrashPlan, calm, draw
from tests.sim.world import Result, World, run

SEEDS = range(200)
PARTS = 8
ROOT = Path(__file__).resolve().parents[2]


def faults(results: list[Result]) -> dict[int, list[str]]:
    """What was wrong, by seed."""
    return {r.seed: r.faults for r in results if r.faults}


@pytest.mark.parametrize("part", range(PARTS))
def test_two_hundred_seeds(part: int) -> None:
    results = [run(seed) for seed in SEEDS if seed % PARTS == part]
    assert faults(results) == {}
    assert Counter(r.outcome for r in results)["done"] > len(results) // 2, "most faults are overcome"


def test_the_plans_are_varied() -> None:
    """Every fault is put in several times; some runs are left alone."""
    used = Counter(name for seed in SEEDS for name in draw(seed).faults or ["none"])
    assert set(used) == {*FAULTS, "none"}
    assert min(used.values()) >= 3


def test_a_calm_case_is_settled_with_everything() -> None:
    result = run(0, calm(0))
    assert (result.outcome, result.faults, result.crashes) == ("done", [], 0)
    told = "\n".join(result.lines)
    for step in ("market.listed", "market.done", "receipt.earned", "settled.seat"):
        assert step in told
    assert result.seconds < 200, "nobody waits for a deadline when all have acted"


def test_a_panel_that_disagrees_goes_to_a_second_round_and_is_refunded_or_settled() -> None:
    plan = calm(1, doctors=11)
    for i, name in enumerate(plan.doctors):
        plan.opinions[name] = ("tumour", "no tumour", "")[i % 3]
    result = run(1, plan)
    assert result.faults == []
    assert result.outcome in ("done", "refunded")
    if "round 2" not in "\n".join(result.lines):
        assert result.outcome == "done", "three who agree by chance need no second round"


def test_the_same_seed_is_the_same_run() -> None:
    nasty = ("messages", "crash", "odd node", "twice")
    first, again, other = (run(seed, draw(seed, nasty)) for seed in (7, 7, 8))
    assert first.lines == again.lines
    assert first.hash == again.hash
    assert first.hash != other.hash


def test_the_same_seed_is_the_same_run_in_another_process() -> None:
    """Whatever order Python gives sets of text there."""
    hashes = set()
    for salt in ("1", "2"):
        code = "from tests.sim.world import run; print(run(11).hash)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": salt},
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        hashes.add(done.stdout.split()[-1])
    assert len(hashes) == 1
    assert hashes == {run(11).hash}


MOMENTS = ("commit-before", "commit-after", "after-sign", "send", "sent", "before-done", "say", "said")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_patient_who_dies_again_and_again_at_one_moment(moment: str) -> None:
    plan = calm(3)
    plan.crashes = [CrashPlan("patient", moment, count, 0.5) for count in (1, 2, 5, 9)]
    result = run(3, plan)
    assert result.faults == []
    assert result.outcome == "done"
    assert result.crashes > 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_doctors_who_all_die_at_one_moment(moment: str) -> None:
    plan = calm(4)
    plan.crashes = [CrashPlan(d, moment, count, 0.5) for d in plan.doctors for count in (2, 4, 7)]
    result = run(4, plan)
    assert result.faults == []
    assert result.outcome == "done"


# ---- the checks can fail: each test plants one bug and demands that the simulation sees it
def test_a_payment_repeated_under_another_name_is_seen() -> None:
    write = Core._write

    def twice(self: Core, key: str, effects: list[Effect]) -> None:
        effects = list(effects)
        for effect in list(effects):
            if effect.kind == "pay" and effect.body["step"].startswith("fund/"):
                body = {**effect.body, "step": f"{effect.body['step']}/again"}
                effects.append(Effect(f"{effect.id}/again", "pay", body))
        write(self, key, effects)

    with patch.object(Core, "_write", twice):
        assert any("payments to the case account" in f or "was funded" in f for f in run(5, calm(5)).faults)


def test_an_engine_that_does_not_keep_its_signed_bytes_is_seen() -> None:
    """It signs anew after a crash, and pays twice."""
    plan = calm(6)
    plan.crashes = [CrashPlan("patient", "sent", count, 5.0) for count in (1, 2, 3)]
    assert run(6, plan).faults == []
    with patch.object(Store, "note_scratch", lambda *_: None):
        assert any("mined" in f and "times" in f for f in run(6, plan).faults)


def test_a_doctor_that_forgets_its_salt_is_seen() -> None:
    plan = calm(6)
    count = iter(range(10**6))

    def forgetful(self: DoctorDuty, case_id: int, round_: int) -> bytes:
        return next(count).to_bytes(32, "big")

    def reader(world: World) -> None:
        for agent in world.agents.values():
            if agent.role == "doctor":
                agent.arm("before-done:read", 1, 0.5)

    with patch.object(DoctorDuty, "_salt", forgetful):
        assert run(6, plan, reader).faults == [], "a salt that is lost before it is used costs nothing"

    from protocols.case import doctor

    reveal = doctor._forward

    def forgets(case, view, seat):  # type: ignore[no-untyped-def]
        return reveal(replace(case, salt=b"f" * 32) if case.phase == "committed" else case, view, seat)

    with patch.object(doctor, "_forward", forgets):
        assert run(6, plan).faults != []


def test_a_doctor_that_votes_before_it_may_is_seen() -> None:
    """The fault that the simulation found first: a quick reader's vote, refused and never sent again."""
    from protocols.case import doctor

    read = doctor._was_read

    def hasty(case, event):  # type: ignore[no-untyped-def]
        after, effects = read(case, event)
        return after, effects or [doctor._commit(after)]

    plan = calm(2, doctors=6)
    plan.chain.hold, plan.chain.interval = 0.5, 4.0
    handlers = {**doctor.MACHINE.handlers, "was_read": hasty}
    machine = replace(doctor.MACHINE, handlers=handlers)
    with patch.object(DoctorDuty, "machine", machine):
        lost = [run(seed, replace(plan, seed=seed)) for seed in range(4)]
    assert any("refused (WrongPhase)" in line or "no_show" in line for r in lost for line in r.lines)


def test_a_scan_sent_to_somebody_without_a_seat_is_seen() -> None:
    from protocols.case.patient import panel

    deliver = panel._deliver

    def careless(case, view):  # type: ignore[no-untyped-def]
        after, effects = deliver(case, view)
        for effect in list(effects):
            body = {**effect.body, "to": case.model, "thread": effect.body["thread"] + "x"}
            effects.append(Effect(effect.id + "x", "say", body))
        return after, effects

    with patch.object(panel, "_deliver", careless):
        assert any("who holds no seat" in f for f in run(9, calm(9)).faults)


def test_a_patient_told_another_verdict_is_seen() -> None:
    from protocols.case.patient import panel

    with patch.object(panel, "label_of", lambda case, code, round_: "no tumour"):
        plan = calm(10)
        plan.opinions = dict.fromkeys(plan.opinions, "tumour")
        assert any("the patient was told" in f for f in run(10, plan).faults)


def test_money_left_behind_is_seen() -> None:
    """The fault that the simulation found: a swept account cannot pay for fetching what it is owed."""
    from protocols.case.patient import late

    def without_gas(case, event):  # type: ignore[no-untyped-def]
        return case, []

    with patch.object(
        late, "_gas", lambda case, errand, not_before=0: steps.task(case.key, "certify", errand, {})
    ):
        plan = draw(12, ("server leaves",))
        plan.crashes = [CrashPlan("model 0", "said", 2, None), CrashPlan("model 1", "said", 1, None)]
        assert run(12, plan).faults != []
