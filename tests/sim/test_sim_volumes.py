"""Whole cases of a volume in the simulation: under every fault, with deaths at every moment of its sessions."""

from __future__ import annotations

import pytest

from protocols.case.view import Phase
from tests.sim.plan import CrashPlan, calm, draw, of_volume
from tests.sim.world import Result, World, run

SEEDS = range(24)
PARTS = 3


def told(result: Result, step: str) -> int:
    """How often a step was told."""
    return sum(f" {step}: " in line for line in result.lines)


@pytest.mark.parametrize("part", range(PARTS))
def test_seeds(part: int) -> None:
    results = [run(seed, of_volume(draw(seed))) for seed in SEEDS if seed % PARTS == part]
    assert {r.seed: r.faults for r in results if r.faults} == {}
    assert sum(r.outcome == "done" for r in results) > len(results) // 2


def test_a_calm_case_shows_every_doctor_the_mask() -> None:
    result = run(0, of_volume(calm(0)))
    assert (result.outcome, result.faults, result.crashes) == ("done", [], 0)
    assert told(result, "reveal.shown") >= 3
    assert told(result, "market.done") == 1


MOMENTS = (
    "before-write:batch",
    "after-write:batch",
    "after-send:batch",
    "frame-in",
    "frame-out",
    "before-done:infer",
)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("who", ["patient", "model 0", "dealer 0"])
def test_who_dies_again_and_again_in_the_middle_of_a_volume(who: str, moment: str) -> None:
    plan = of_volume(calm(3))
    plan.crashes = [CrashPlan(who, moment, count, 0.5) for count in (1, 2, 4)]
    result = run(3, plan)
    assert (result.outcome, result.faults) == ("done", [])


def test_a_mask_that_is_shown_too_early_is_seen() -> None:
    """The check can fail: a patient who shows the mask to whoever has the scan is noticed."""

    def hasty(world: World) -> None:
        import protocols.case.patient as patient
        from protocols.case import steps

        honest = patient.MACHINE.handlers["view"]

        def show(case, event):  # type: ignore[no-untyped-def]
            after, effects = honest(case, event)
            view = event.body["view"]
            if view.phase is Phase.COMMIT:
                body = {"case_id": case.case_id, "round": 1, "mask": case.mask, "findings": case.findings}
                for _, seat in view.round_seats():
                    thread = f"{case.key}:{seat.doctor}:early"
                    wish = steps.say(case.key, "disclosure", thread, 1, "show", seat.doctor, body, mine=True)
                    effects = [*effects, wish]
            return after, effects

        patient.MACHINE.handlers["view"] = show  # type: ignore[index]

    import protocols.case.patient as patient

    before = patient.MACHINE.handlers["view"]
    try:
        result = run(0, of_volume(calm(0)), hasty)
    finally:
        patient.MACHINE.handlers["view"] = before  # type: ignore[index]
    assert any("before the votes are sealed" in fault for fault in result.faults)
