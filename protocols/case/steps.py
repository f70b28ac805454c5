"""The effects that every role uses, built in one place so that their ids follow one rule: case/step/detail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from protocols.case.view import CaseView, Phase
from protocols.effects import Effect

MAIN = "main"
"""The account of the agent's own wallet; any other name is a case account derived from it."""

STAGGER = 4
"""Seconds between one agent's attempt to move a late case on and the next one's."""


def say(
    key: str,
    conversation: str,
    thread: str,
    number: int,
    performative: str,
    to: str,
    body: Mapping[str, Any],
    *,
    mine: bool,
    not_before: float = 0,
) -> Effect:
    """Tell a peer, not before a time. mine: whether our side opened the thread. Done once the peer has written it
    down."""
    fields = {
        "conversation": conversation,
        "thread": thread,
        "number": number,
        "performative": performative,
        "to": to,
        "body": dict(body),
        "mine": mine,
        "not_before": float(not_before),
    }
    return Effect(f"{key}/say/{thread}/{to}/{number}", "say", fields)


def transact(
    key: str,
    step: str,
    contract: str,
    function: str,
    args: Sequence[Any],
    *,
    value: int = 0,
    account: str = MAIN,
    not_before: float = 0,
) -> Effect:
    """Send a transaction, not before a time. Ends in the event `mined` or `reverted`, both with `step`."""
    fields = {
        "step": step,
        "contract": contract,
        "function": function,
        "args": list(args),
        "value": value,
        "account": account,
        "not_before": float(not_before),
    }
    return Effect(f"{key}/tx/{step}", "transact", fields)


def pay(key: str, step: str, to: str, value: int, *, account: str = MAIN, not_before: float = 0) -> Effect:
    """Move plain wei, not before a time. value 0 sweeps the account: all that it holds less the cost of that."""
    fields = {"step": step, "to": to, "value": value, "account": account, "not_before": float(not_before)}
    return Effect(f"{key}/tx/{step}", "pay", fields)


def task(key: str, kind: str, detail: str, body: Mapping[str, Any]) -> Effect:
    """Any other work for a performer; it ends in the event that the performer answers with."""
    return Effect(f"{key}/{kind}/{detail}", kind, dict(body))


def nudge(key: str, view: CaseView, turn: int, account: str = MAIN) -> list[Effect]:
    """Move a case on when it is due and nobody did. Anyone may: turn 0 at once, the others `turn` x STAGGER late.

    account: who pays; a patient's case account, so that the wallet is not seen beside the case. The id holds the
    phase and a coarse time, so that a nudge that came too early is followed by another.
    """
    if not view.due:
        return []
    # A draw is ripe by blocks, which stand for seconds there; all other phases by the clock.
    late = view.block - view.seed_block if view.phase is Phase.DRAWING else view.now - view.deadline
    if turn and late <= turn * STAGGER:
        return []
    step = f"advance/{view.round}/{view.phase.name.lower()}/{view.now // STAGGER}"
    return [transact(key, step, "Cases", "advance", [view.case_id], account=account)]
