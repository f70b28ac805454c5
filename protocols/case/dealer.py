"""A dealer's side: hand out correlated randomness for one session, once.

    asked -> dealing -> dealt          (`refused` when the session is not paid for, `broken` when it ended early)

The dealer learns the public topology, who the two parties are, and nothing else: no scan, no weights, nothing opened.
A session's name is used once; a second wish for it is refused because its case exists.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocols.case import steps
from protocols.effects import Event, Machine, Step, stay


@dataclass(frozen=True, slots=True)
class DealerCase:
    """One session to deal for. Plain values only."""

    key: str
    phase: str
    session: str
    case_id: int
    network: bytes
    model: str
    patient: str
    thread: str
    bytes_sent: int = 0
    trouble: str = ""


Out = Step[DealerCase]


def _asked(case: DealerCase, event: Event) -> Out:
    body = {"case_id": case.case_id, "network": case.network, "session": case.session}
    return case, [steps.task(case.key, "check_purchase", case.session, body)]


def _checked(case: DealerCase, event: Event) -> Out:
    if not event.body["paid"]:
        reason = {"reason": "the session is not paid for on chain"}
        refuse = steps.say(case.key, "session", case.thread, 2, "refuse", case.model, reason, mine=False)
        return replace(case, phase="refused"), [refuse]
    deal = {
        "session": case.session,
        "model": case.model,
        "patient": case.patient,
        "network": case.network,
    }
    ready = steps.say(
        case.key, "session", case.thread, 2, "ready", case.model, {"session": case.session}, mine=False
    )
    return replace(case, phase="dealing"), [steps.task(case.key, "deal", case.session, deal), ready]


def _dealt(case: DealerCase, event: Event) -> Out:
    return replace(case, phase="dealt", bytes_sent=int(event.body["bytes"])), []


def _broken(case: DealerCase, event: Event) -> Out:
    return replace(case, phase="broken", trouble=str(event.body["reason"])), []


MACHINE: Machine[DealerCase] = Machine(
    role="dealer",
    state=DealerCase,
    table={
        "asked": {"session.begin": stay("asked"), "purchase": stay("refused", "dealing")},
        "dealing": {"dealt": stay("dealt"), "deal_failed": stay("broken")},
    },
    handlers={
        "session.begin": _asked,
        "purchase": _checked,
        "dealt": _dealt,
        "deal_failed": _broken,
    },
    final=frozenset({"refused", "dealt", "broken"}),
)
