"""A researcher's side: find listed records, buy them, fetch them from the patients, check them.

    browsing -> buying -> fetching -> done        (`nothing` when no record is offered within the budget)

The researcher learns the bare metadata of what it bought and nothing of what it did not buy.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from protocols.case import steps
from protocols.codec import decode
from protocols.crypto.commitment import record_hash
from protocols.effects import Effect, Event, Machine, Step, stay
from protocols.errors import ProtocolError


@dataclass(frozen=True, slots=True)
class Order:
    """One purchase of records. Plain values only.

    wanted: at most so many records; budget: wei. listings: case id (as text) -> price, record hash, holders to ask.
    records: case id -> the record's fields.
    """

    key: str
    phase: str
    wallet: str
    specialty: str
    wanted: int
    budget: int
    patience: float
    since: float
    listings: dict[str, Any] = field(default_factory=dict)
    records: dict[str, Any] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    spent: int = 0
    trouble: str = ""


Out = Step[Order]


def _tick(order: Order, event: Event) -> Out:
    if order.phase == "fetching":
        late = float(event.body["now"]) - order.since > order.patience
        return (replace(order, phase="done"), []) if late else (order, [])
    slot = int(float(event.body["now"]) // 2)
    return order, [
        steps.task(order.key, "browse", str(slot), {"specialty": order.specialty, "wanted": order.wanted})
    ]


def _listed(order: Order, event: Event) -> Out:
    """What the market offers: take the cheapest that the budget allows, each once."""
    if order.phase != "browsing":
        return order, []
    chosen: dict[str, Any] = {}
    spent = 0
    for entry in sorted(event.body["listings"], key=lambda e: (e["price"], e["case_id"])):
        if len(chosen) < order.wanted and spent + entry["price"] <= order.budget:
            chosen[str(entry["case_id"])] = entry
            spent += entry["price"]
    if not chosen or (len(chosen) < order.wanted and not event.body["final"]):
        if event.body["final"] and not chosen:
            return replace(order, phase="nothing", trouble="no record is offered within the budget"), []
        return order, []
    ids = [entry["case_id"] for entry in chosen.values()]
    buy = steps.transact(order.key, "buy", "DataMarket", "buy", [ids], value=spent)
    return replace(order, phase="buying", listings=chosen, spent=spent), [buy]


def _bought(order: Order, event: Event) -> Out:
    if str(event.body["step"]) != "buy":
        return order, []
    effects: list[Effect] = []
    for name, entry in order.listings.items():
        # Nothing public says who holds a record: every patient is asked, and those whose case it is not stay silent.
        body = {"case_id": entry["case_id"], "buyer": order.wallet}
        for holder in entry["holders"]:
            thread = f"{order.key}:{name}:{holder[2:14]}"
            effects.append(steps.say(order.key, "purchase", thread, 1, "request", holder, body, mine=True))
    return replace(order, phase="fetching", since=float(event.body["now"])), effects


def _buy_refused(order: Order, event: Event) -> Out:
    return replace(order, phase="nothing", trouble=f"the purchase was refused: {event.body['reason']}"), []


def _received(order: Order, event: Event) -> Out:
    """A record came: it must be the one whose hash is listed."""
    name = _record_of(event)
    entry = order.listings.get(name)
    record = event.body["body"]["record"]
    if entry is None or not isinstance(record, bytes) or record_hash(record) != entry["record_hash"]:
        return replace(order, trouble=f"the record of case {name} is not the one that was listed"), []
    try:
        fields = decode(record, limit=4096)
    except ProtocolError as error:
        return replace(order, trouble=f"the record of case {name} cannot be read: {error}"), []
    order = replace(order, records={**order.records, name: fields})
    return _maybe_done(order), []


def _turned_away(order: Order, event: Event) -> Out:
    name = _record_of(event)
    return _maybe_done(replace(order, refused=[*order.refused, name])), []


def _record_of(event: Event) -> str:
    """The case that a conversation is about."""
    return str(event.body["thread"]).partition(":")[2].partition(":")[0]


def _maybe_done(order: Order) -> Order:
    whole = len(order.records) + len(order.refused) >= len(order.listings)
    return replace(order, phase="done") if whole else order


MACHINE: Machine[Order] = Machine(
    role="researcher",
    state=Order,
    table={
        "browsing": {"tick": stay("browsing"), "listed": stay("browsing", "buying", "nothing")},
        "buying": {
            "mined": stay("buying", "fetching"),
            "reverted": stay("nothing"),
            "listed": stay("buying"),
        },
        "fetching": {
            "purchase.records": stay("fetching", "done"),
            "purchase.refuse": stay("fetching", "done"),
            "tick": stay("fetching", "done"),
            "listed": stay("fetching"),
        },
    },
    handlers={
        "tick": _tick,
        "listed": _listed,
        "mined": _bought,
        "reverted": _buy_refused,
        "purchase.records": _received,
        "purchase.refuse": _turned_away,
    },
    final=frozenset({"done", "nothing"}),
)
