"""Whole cases of a volume in the simulation: under every fault, with deaths at every moment of its sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest

from agents.engine import dealing
from protocols.case.view import Phase
from protocols.codec import encode
from tests.sim.duties import SimSuite, suite_of
from tests.sim.plan import CrashPlan, Plan, calm, draw, of_volume
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


@pytest.mark.parametrize(
    ("who", "moment"), [("model 0", "after-write:batch"), ("dealer 0", "after-send:batch")]
)
def test_an_outage_of_minutes_costs_no_second_model(who: str, moment: str) -> None:
    """Neither what was paid nor what is there of the volume is lost, though more time passes than six tries take."""
    plan = two(3)
    plan.crashes = [CrashPlan(who, moment, 2, 600.0)]
    result = run(3, plan)
    assert (result.outcome, result.faults, result.crashes) == ("done", [], 1)
    assert told(result, "quotes.chosen") == 1


# ---- models that are not what they sell
def text(result: Result) -> str:
    """All that happened."""
    return "\n".join(result.lines)


def two(seed: int = 5) -> Plan:
    """Two models, of which the first is the cheaper one and is chosen."""
    return of_volume(calm(seed, models=2))


def doomed(seed: int) -> Plan:
    """One model alone, and something planted that no case can overcome."""
    plan = of_volume(calm(seed))
    plan.faults = ["planted"]
    return plan


def rogue(method: str, act: Any) -> Callable[[World], None]:
    """A bug planted in the first model's process alone."""

    def plant(world: World) -> None:
        honest = getattr(SimSuite, method)

        def does(self: Any, *args: Any) -> Any:
            return act(self, honest, *args) if self.setup.name == "model 0" else honest(self, *args)

        world.planted = patch.object(SimSuite, method, does)  # type: ignore[attr-defined]
        world.planted.start()  # type: ignore[attr-defined]

    return plant


@pytest.fixture(autouse=True)
def unplant() -> Iterator[None]:
    """What was planted does not stay."""
    yield
    patch.stopall()


def test_a_model_that_serves_other_networks_than_quoted_is_left() -> None:
    """The patient's greeting names the network that the signed id stands for."""

    def swapped(self: Any, honest: Any, member: Any, dealer: str) -> Any:
        other = suite_of(1).networks[member.card.task, member.card.axis]
        return honest(self, other, dealer)

    result = run(5, two(), rogue("weights_of", swapped))
    assert (result.outcome, result.faults) == ("done", [])
    assert told(result, "quotes.chosen") == 2, "the first model, and after it the second"
    assert text(result).count("asking the model for a blind session") > 1
    assert "earned" in "".join(line for line in result.lines if " model 1 " in line)


def test_a_quote_of_other_networks_than_its_id_is_refused() -> None:
    def lying(self: Any, honest: Any, case: Any) -> Any:
        told = honest(self, case)
        told["suite"] = [[task, axis, bytes(32), topology] for task, axis, _, topology in told["suite"]]
        return told

    result = run(5, two(), rogue("proposal", lying))
    assert (result.outcome, result.faults) == ("done", [])
    assert "blind.host" not in "".join(line for line in result.lines if " model 0 " in line)


@pytest.mark.parametrize("images", [5, 7])
def test_a_quote_with_lying_sizes_is_refused(images: int) -> None:
    def lying(self: Any, honest: Any, case: Any) -> Any:
        return honest(self, case) | {"images": images}

    result = run(5, two(), rogue("proposal", lying))
    assert (result.outcome, result.faults) == ("done", [])
    assert "blind.host" not in "".join(line for line in result.lines if " model 0 " in line)


def test_a_dealer_deals_for_no_other_networks_than_were_paid_for() -> None:
    real = dealing.suite_order

    def other(members: dict[tuple[str, str], bytes]) -> bytes:
        return real({place: bytes(32) for place in members})

    with patch("agents.model.suite.dealing.suite_order", other):
        result = run(6, doomed(6))
    assert (result.outcome, result.faults) == ("failed", [])
    assert "the model wants other networks dealt than were paid for" in text(result)


def test_a_volume_over_the_models_limit_costs_nothing_and_says_the_limit() -> None:
    with patch("agents.model.suite.MAX_IMAGES", 5):
        result = run(7, doomed(7))
    assert (result.outcome, result.faults) == ("failed", [])
    assert "the volume has 6 images, and the limit is 5" in text(result)
    assert "pay of" not in text(result)


def test_a_patient_who_asks_for_a_batch_of_another_size_is_turned_away() -> None:
    """And turned away each time, so that nothing comes of it but its escrow back."""

    async def greedy(self: Any, *word: Any) -> None:
        word = ("batch", word[1], word[2] + 1) if word[0] == "batch" else word
        await self.channel.send(encode(list(word)))

    with patch("agents.engine.lanes.Lanes.say", greedy):
        result = run(8, doomed(8))
    assert (result.outcome, result.faults) == ("failed", [])
    assert "the batch is not one of the plan that was paid for" in text(result)


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
