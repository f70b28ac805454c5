"""The engine's heart, on a machine that answers questions: once, in order, all or nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from agents.engine.core import FIRST_PAUSE, LONGEST_PAUSE, Core, NotYet
from agents.engine.store import Store
from protocols.case import steps
from protocols.dialogues import Said
from protocols.effects import Effect, Event, Machine, stay
from protocols.errors import ProtocolError

ME, PEER, STRANGER = "0xme", "0xpeer", "0xstranger"


@dataclass(frozen=True, slots=True)
class Desk:
    key: str
    phase: str
    heard: int = 0
    scan: bytes = b""


def _asked(desk: Desk, event: Event) -> tuple[Desk, list[Effect]]:
    if event.body["body"]["specialty"] == "trap":
        raise ZeroDivisionError
    answer = steps.say(
        desk.key, "quote", event.body["thread"], 2, "refuse", event.body["from"], {"reason": "no"}, mine=False
    )
    return replace(desk, heard=desk.heard + 1, phase="asked"), [answer]


def _delivered(desk: Desk, event: Event) -> tuple[Desk, list[Effect]]:
    return replace(desk, scan=event.body["blob"], phase="over"), []


def _tick(desk: Desk, event: Event) -> tuple[Desk, list[Effect]]:
    return replace(desk, phase="ready"), [steps.task(desk.key, "work", "1", {"n": 1})]


MACHINE: Machine[Desk] = Machine(
    role="desk",
    state=Desk,
    table={
        "new": {"quote.cfp": stay("asked"), "tick": stay("ready")},
        "asked": {"tick": stay("ready")},
        "ready": {"tick": stay("ready"), "delivery.deliver": stay("over"), "worked": stay("ready")},
    },
    handlers={
        "quote.cfp": _asked,
        "tick": _tick,
        "delivery.deliver": _delivered,
        "worked": lambda desk, event: (replace(desk, heard=desk.heard + 10), []),
    },
    final=frozenset({"over"}),
)


@pytest.fixture
def core() -> Core[Desk]:
    return Core(MACHINE, Store(None), ME)


def cfp(thread: str = "t", specialty: str = "s") -> Said:
    return Said("quote", thread, 1, "cfp", {"case_id": 1, "patient": "p", "specialty": specialty})


def deliver(number: int = 1) -> Said:
    bound = {"nonce": b"n", "code_commitments": [], "code_salt": b"s", "authority": b"a"}
    fields = {"case_id": 1, "round": 1, "scan": b"pixels", "codes": [], "modality": "MR"} | bound
    return Said("delivery", "d", number, "deliver", fields)


def fresh(sender: str, said: Said) -> Desk | None:
    return Desk("k", "new")


def existing(core: Core[Desk]) -> Any:
    return lambda sender, said: core.state("k")


def nobody(sender: str, said: Said) -> Desk | None:
    return None


def test_a_message_opens_a_case_and_is_answered(core: Core[Desk]) -> None:
    assert core.hear(PEER, "e1", cfp(), 5.0, fresh) == "k"
    assert core.state("k") == Desk("k", "asked", 1)
    assert [p.effect.id for p in core.due(0)] == ["k/say/t/0xpeer/2"]
    row = core.store.thread("t", PEER)
    assert row is not None
    assert (row.last, row.number, row.opener) == ("refuse", 2, PEER), "our own answer moves the conversation"


def test_the_same_envelope_counts_once(core: Core[Desk]) -> None:
    core.hear(PEER, "e1", cfp(), 5.0, fresh)
    assert core.hear(PEER, "e1", cfp(), 6.0, fresh) is None, "silently, so that it is acknowledged again"
    assert core.state("k") == Desk("k", "asked", 1)
    assert len(core.due(0)) == 1


def test_the_same_words_in_another_envelope_break_the_rules(core: Core[Desk]) -> None:
    core.hear(PEER, "e1", cfp(), 5.0, fresh)
    with pytest.raises(ProtocolError, match="was due"):
        core.hear(PEER, "e2", cfp(), 6.0, fresh)


def test_a_message_that_comes_early_leaves_no_trace(core: Core[Desk]) -> None:
    core.open_case(Desk("k", "new"), Event("nothing", id="start"))
    before = "\n".join(core.store._db.iterdump())
    with pytest.raises(NotYet):
        core.hear(PEER, "e1", deliver(), 5.0, existing(core))
    assert "\n".join(core.store._db.iterdump()) == before
    core.apply("k", Event("tick", {"now": 1}))
    assert core.hear(PEER, "e1", deliver(), 6.0, existing(core)) == "k", "it is said again and counts"


def test_the_scan_goes_into_the_blob_store_and_not_into_the_state(core: Core[Desk]) -> None:
    core.open_case(Desk("k", "ready"), Event("nothing", id="start"))
    core.hear(PEER, "e1", deliver(), 5.0, existing(core))
    state = core.state("k")
    assert state is not None
    assert len(state.scan) == 32
    assert core.store.blob(state.scan) == b"pixels"


def test_a_case_that_is_over_acknowledges_everything_and_does_nothing(core: Core[Desk]) -> None:
    core.open_case(Desk("k", "over"), Event("nothing", id="start"))
    assert core.hear(PEER, "e1", cfp(), 5.0, existing(core)) == "k"
    assert core.state("k") == Desk("k", "over")
    assert core.due(0) == []


def test_messages_about_nothing_known_are_refused(core: Core[Desk]) -> None:
    with pytest.raises(ProtocolError, match="nothing that is known"):
        core.hear(PEER, "e1", cfp(), 5.0, nobody)
    with pytest.raises(ProtocolError, match="may not follow"):
        core.hear(PEER, "e1", Said("quote", "t", 1, "propose", {}), 5.0, fresh)
    assert not core.store.seen("e1")


def test_a_stranger_cannot_speak_in_anothers_conversation(core: Core[Desk]) -> None:
    core.hear(PEER, "e1", cfp(), 5.0, fresh)
    decline = Said("quote", "t", 3, "decline", {"reason": ""})
    with pytest.raises(ProtocolError):
        core.hear(STRANGER, "e2", decline, 6.0, nobody)
    state = core.state("k")
    assert state is not None
    assert state.phase == "asked"


def test_a_thread_keeps_its_kind(core: Core[Desk]) -> None:
    core.hear(PEER, "e1", cfp("d"), 5.0, fresh)
    with pytest.raises(ProtocolError, match="no delivery conversation"):
        core.hear(PEER, "e2", deliver(3), 6.0, fresh)


def test_a_handler_that_fails_leaves_nothing(core: Core[Desk]) -> None:
    with pytest.raises(ZeroDivisionError):
        core.hear(PEER, "e1", cfp(specialty="trap"), 5.0, fresh)
    assert core.state("k") is None
    assert not core.store.seen("e1"), "said again, it is tried again"
    assert core.store.thread("t", PEER) is None


def test_an_effect_is_done_with_its_outcome_in_one_go(core: Core[Desk]) -> None:
    core.open_case(Desk("k", "new"), Event("tick", {}, "start"))
    (pending,) = core.due(0)
    outcome = Event("worked", {}, "w")
    core.done(pending, outcome)
    core.done(pending, outcome)
    assert core.state("k") == Desk("k", "ready", 10), "once, however often it is told"
    core.apply("k", Event("tick", {}))
    assert core.due(0) == [], "the same wish is not written twice"


def test_pauses_grow_and_are_bounded(core: Core[Desk]) -> None:
    core.open_case(Desk("k", "new"), Event("tick", {}, "start"))
    pauses = []
    for _ in range(15):
        (pending,) = core.due(1e9)
        pauses.append(core.later(pending, 0.0, "no"))
    assert pauses[0] == FIRST_PAUSE
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
    assert core.due(LONGEST_PAUSE - 1) == []


def test_a_case_is_opened_once(core: Core[Desk]) -> None:
    assert core.open_case(Desk("k", "new"), Event("tick", {}, "start"))
    assert not core.open_case(Desk("k", "new"), Event("tick", {}, "start"))
    assert not core.open_case(Desk("k", "new"), Event("tick", {}, "other"))
    assert not core.apply("unknown", Event("tick"))
    assert not core.apply("k", Event("tick", {}, "start"))
    assert [s.key for s in core.states(open_only=True)] == ["k"]


def test_watchers_see_states_after_the_commit(core: Core[Desk]) -> None:
    seen: list[tuple[str, str | None]] = []
    core.on_change = lambda after, before, event: seen.append((after.phase, before.phase if before else None))
    core.hear(PEER, "e1", cfp(), 5.0, fresh)
    core.apply_open(Event("tick", {}))
    assert seen == [("asked", None), ("ready", "asked")]
