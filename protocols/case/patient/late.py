"""Money that comes back late: escrow of models that never delivered, and the patient's share of a sold record.

By then the case account has been swept and could not pay for a transaction. So each late errand begins with a
little gas from the wallet and ends with another sweep:

    gas/market/<thread> -> market/<thread> -> sweep/market/<thread>
    gas/reclaim -> reclaim/<model>, each -> unbuy -> sweep/unbuy

A sweep that takes the gas of another errand is made good (`gas/again/...`).
"""

from __future__ import annotations

from dataclasses import replace

from protocols.case import steps
from protocols.case.patient.state import RECLAIM_GRACE, Out, PatientCase, note, sweep
from protocols.effects import Effect, Event

ERRAND_SHARE = 20
"""A late errand gets this part of the gas that a case is given at its beginning."""


def _gas(case: PatientCase, errand: str, not_before: float = 0) -> Effect:
    amount = max(1, case.gas_reserve // ERRAND_SHARE)
    return steps.pay(case.key, f"gas/{errand}", case.account, amount, not_before=not_before)


def reclaims(case: PatientCase) -> list[Effect]:
    """Ask the escrow, once its grace is over, for what was paid to models that never delivered."""
    due = [until for model, until in case.bought.items() if model in case.bad_models]
    return [_gas(case, "reclaim", max(due) + case.reclaim_after + RECLAIM_GRACE)] if due else []


def fail(case: PatientCase, why: str) -> Out:
    """Give up before the case was opened: what the case account holds goes home."""
    case = replace(case, phase="failed", outcome="failed", trouble=why)
    return case, [*reclaims(case), *sweep(case, "sweep")]


def market_share(case: PatientCase, thread: str) -> Out:
    """Fetch the patient's share of a record that was sold."""
    errand = f"market/{thread}"
    return replace(case, errands=[*case.errands, errand]), [_gas(case, errand)]


def is_late(step: str) -> bool:
    """Whether a transaction belongs to a late errand, whatever the phase."""
    return step.startswith(("gas/", "reclaim/", "unbuy", "market/", "sweep/"))


def went_on(case: PatientCase, event: Event) -> Out:
    """A transaction of a late errand was mined or refused: on to the next one."""
    step = str(event.body["step"])
    case = note(case, event) if event.kind == "mined" else case
    if step == "gas/reclaim":
        return _begin_reclaims(case)
    if step.startswith("gas/market/"):
        errand = step.removeprefix("gas/")
        fetch = steps.transact(case.key, errand, "DataMarket", "withdraw", [], account=case.account_index)
        return case, [fetch]
    if step.startswith("gas/"):
        return case, []
    if step.startswith("sweep/"):
        return case, refill(case, step)
    case = replace(case, errands=[errand for errand in case.errands if errand != step])
    if not step.startswith("reclaim/"):
        return case, sweep(case, f"sweep/{step}")
    if any(errand.startswith("reclaim/") for errand in case.errands):
        return case, []
    fetch = steps.transact(case.key, "unbuy", "Models", "withdraw", [], account=case.account_index)
    return replace(case, errands=[*case.errands, "unbuy"]), [fetch]


def refill(case: PatientCase, step: str) -> list[Effect]:
    """Gas again, when a sweep has taken what errands under way need."""
    return [_gas(case, f"again/{step}")] if case.errands else []


def _begin_reclaims(case: PatientCase) -> Out:
    models = [m for m in case.bought if m in case.bad_models]
    wishes = [
        steps.transact(
            case.key,
            f"reclaim/{model}",
            "Models",
            "reclaim",
            [case.case_id, case.quotes[model]["quote"]["network"]],
            account=case.account_index,
        )
        for model in models
    ]
    return replace(case, errands=[*case.errands, *(f"reclaim/{model}" for model in models)]), wishes
