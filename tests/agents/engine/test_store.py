"""The case log: all or nothing, once for ever, and still there after the process is not."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agents.engine.store import SCHEMA_VERSION, Store, ThreadRow
from protocols.effects import Effect, Event
from protocols.errors import UserError


@pytest.fixture
def store() -> Store:
    return Store(None)


def everything(store: Store) -> str:
    return "\n".join(store._db.iterdump())


def _half_a_decision(store: Store) -> None:
    with store.transaction():
        store.save_case("k", "doctor", "invited", False, b"state")
        store.first_time(Event("view", id="e"), "k")
        store.add_effect("k", Effect("k/tx/accept", "transact", {"value": 1}))
        store.save_thread(ThreadRow("t", "me", "quote", "you", "k", "cfp", 1))
        store.put_blob(b"scan")
        store.set_meta("cursor", 2)
        raise KeyboardInterrupt


def test_an_exception_inside_a_transaction_leaves_nothing(store: Store) -> None:
    store.set_meta("cursor", 1)
    before = everything(store)
    with pytest.raises(KeyboardInterrupt):
        _half_a_decision(store)
    assert everything(store) == before


def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "cases.sqlite"
    store = Store(path)
    with store.transaction():
        store.save_case("k", "doctor", "invited", False, b"state")
        store.add_effect("k", Effect("k/tx/accept", "transact", {"value": 1}))
    store.close()
    again = Store(path)
    assert again.case("k") == b"state"
    assert [p.effect for p in again.pending()] == [Effect("k/tx/accept", "transact", {"value": 1})]
    again.close()


def test_a_cut_off_transaction_is_as_if_it_never_was(tmp_path: Path) -> None:
    """The process dies between BEGIN and COMMIT: the connection is dropped without a word."""
    path = tmp_path / "cases.sqlite"
    store = Store(path)
    store._db.execute("BEGIN IMMEDIATE")
    store.save_case("k", "doctor", "invited", False, b"state")
    store._db.close()
    again = Store(path)
    assert again.case("k") is None
    again.close()


def test_one_process_a_log(tmp_path: Path) -> None:
    store = Store(tmp_path / "cases.sqlite")
    store.set_meta("x", 1)
    with pytest.raises(UserError, match="another agent is running"):
        Store(tmp_path / "cases.sqlite")
    store.close()


def test_files_that_are_no_log_are_refused(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"not a database" * 500)
    with pytest.raises(UserError, match="damaged"):
        Store(garbage)
    with pytest.raises(UserError, match="cannot be opened"):
        Store(tmp_path)
    other = tmp_path / "other"
    store = Store(other)
    store.set_meta("schema", SCHEMA_VERSION + 1)
    store.close()
    with pytest.raises(UserError, match="version"):
        Store(other)


def test_an_event_with_an_id_counts_once(store: Store) -> None:
    assert store.first_time(Event("a", id="e1"), "k")
    assert not store.first_time(Event("a", id="e1"), "k")
    assert store.first_time(Event("tick"), "k")
    assert store.first_time(Event("tick"), "k"), "an event without an id always counts"
    assert store.seen("e1")
    assert not store.seen("e2")


def test_an_effect_is_written_once_and_done_once(store: Store) -> None:
    effect = Effect("k/tx/pay", "pay", {"value": 5})
    assert store.add_effect("k", effect)
    assert not store.add_effect("k", Effect("k/tx/pay", "pay", {"value": 6}))
    assert [p.effect for p in store.pending()] == [effect], "what was written first holds"
    assert store.finish("k/tx/pay")
    assert not store.finish("k/tx/pay")
    assert store.pending() == []
    assert not store.add_effect("k", effect), "done is done: it is not wished anew"


def test_effects_come_in_the_order_written_and_when_due(store: Store) -> None:
    for i in range(5):
        store.add_effect("k", Effect(f"e{i}", "say", {}))
    store.add_effect("k", Effect("later", "transact", {"not_before": 100.0}))
    assert [p.effect.id for p in store.pending(50)] == [f"e{i}" for i in range(5)]
    assert [p.effect.id for p in store.pending(100)][-1] == "later"
    store.postpone("e1", 70, "no answer")
    assert [p.effect.id for p in store.pending(60)] == ["e0", "e2", "e3", "e4"]
    late = next(p for p in store.pending(70) if p.effect.id == "e1")
    assert (late.attempts, late.trouble) == (1, "no answer")
    store.postpone("e2", 1000, "")
    store.hurry("say")
    assert "e2" in [p.effect.id for p in store.pending(1)]


def test_scratch_stays_until_it_is_taken_back(store: Store) -> None:
    store.add_effect("k", Effect("e", "pay", {}))
    store.note_scratch("e", {"raw": b"signed", "wei": 2**200})
    assert store.pending()[0].scratch == {"raw": b"signed", "wei": 2**200}
    store.note_scratch("e", None)
    assert store.pending()[0].scratch is None


def test_open_cases_and_blobs(store: Store) -> None:
    store.save_case("a", "patient", "done", True, b"1")
    store.save_case("b", "patient", "panel", False, b"2")
    store.save_case("b", "patient", "panel", False, b"3")
    assert store.case_keys() == ["a", "b"]
    assert store.case_keys(open_only=True) == ["b"]
    assert store.case("b") == b"3"
    name = store.put_blob(b"scan")
    assert store.put_blob(b"scan") == name
    assert store.blob(name) == b"scan"
    with pytest.raises(KeyError):
        store.blob(bytes(32))


def test_threads_are_named_by_their_opener(store: Store) -> None:
    mine = ThreadRow("t", "me", "quote", "you", "k", "cfp", 1)
    store.save_thread(mine)
    store.save_thread(ThreadRow("t", "you", "quote", "you", "other", "cfp", 1))
    assert store.thread("t", "me") == mine
    store.save_thread(ThreadRow("t", "me", "quote", "you", "k", "propose", 2))
    found = store.thread("t", "me")
    assert found is not None
    assert found.number == 2
    assert store.thread("t", "nobody") is None


def test_the_log_survives_power_cuts_by_its_settings(tmp_path: Path) -> None:
    store = Store(tmp_path / "cases.sqlite")
    assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2, "FULL"
    assert isinstance(store._db, sqlite3.Connection)
    store.close()
