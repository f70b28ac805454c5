"""Progress lines survive torn writes, rotation, hostile text and a full disk."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from agents.progress import (
    MAX_LINE,
    PHASE_OF_STEP,
    PHASES,
    Progress,
    ProgressEvent,
    ProgressReader,
    phase_of,
    printable,
)


def test_a_line_has_the_blueprint_form(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "progress.jsonl"
    with Progress(path, "Ann", "patient", clock=lambda: 12.3456) as progress:
        progress("blind.start", "Blind inference starts", case="0xab", bytes=7)
    (line,) = path.read_text().splitlines()
    assert json.loads(line) == {
        "t": 12.346,
        "who": "Ann",
        "role": "patient",
        "case": "0xab",
        "step": "blind.start",
        "text": "Blind inference starts",
        "bytes": 7,
    }
    assert path.stat().st_mode & 0o077 == 0


def test_the_stream_gets_one_clean_human_line() -> None:
    stream = io.StringIO()
    Progress(None, "Ann", "patient", stream=stream)("note", "a\x1b[31mred\nline")
    assert stream.getvalue() == "Ann: a [31mred line\n"


def test_extras_that_are_too_long_or_no_json_do_not_stop_it(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with Progress(path, "Ann", "patient") as progress:
        progress("note", "long", blob="x" * (2 * MAX_LINE))
        progress("note", "odd", where=Path("here"))
    long, odd = (json.loads(line) for line in path.read_text().splitlines())
    assert "blob" not in long
    assert odd["where"] == "here"


def test_a_torn_line_is_closed_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"t": 1, "who": "A')
    with Progress(path, "Ann", "patient") as progress:
        progress("note", "after the crash")
    reader = ProgressReader([path])
    assert [event.text for event in reader.poll()] == ["after the crash"]
    assert reader.skipped == 1


def test_a_broken_disk_silences_but_does_not_raise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    progress = Progress(tmp_path / "file" / "p.jsonl", "Ann", "patient")
    progress("note", "one")
    progress("note", "two")
    assert capsys.readouterr().err.count("going on without it") == 1


def test_reader_waits_for_files_and_for_the_end_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    reader = ProgressReader([path])
    assert reader.poll() == []
    line = _line(1, "whole")
    with path.open("ab", buffering=0) as file:
        file.write(line[:20])
        assert reader.poll() == []
        file.write(line[20:])
    assert [event.text for event in reader.poll()] == ["whole"]
    assert reader.poll() == []


def test_reader_merges_by_time(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_bytes(_line(3, "c") + _line(5, "e"))
    two.write_bytes(_line(4, "d") + _line(1, "a"))
    reader = ProgressReader([one])
    reader.add(two)
    reader.add(one)
    assert [event.text for event in reader.poll()] == ["a", "c", "d", "e"]


def test_reader_follows_rotation_and_truncation(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(_line(1, "old"))
    with ProgressReader([path]) as reader:
        reader.poll()
        with path.open("ab") as file:
            file.write(_line(2, "last of the old"))
        os.replace(path, tmp_path / "p.jsonl.1")
        path.write_bytes(_line(3, "new"))
        assert [event.text for event in reader.poll()] == ["last of the old", "new"]
        path.write_bytes(b"")
        assert reader.poll() == []
        path.write_bytes(_line(4, "x"))
        assert [event.text for event in reader.poll()] == ["x"]
        path.unlink()
        assert reader.poll() == []


@pytest.mark.parametrize(
    "junk",
    [
        b"nonsense",
        b"[]",
        b"null",
        b'{"t": "x", "who": "a", "role": "b", "step": "c", "text": "d"}',
        b'{"t": 1, "who": 5, "role": "b", "step": "c", "text": "d"}',
        b'{"t": Infinity, "who": "a", "role": "b", "step": "c", "text": "d"}',
        b'{"t": NaN, "who": "a", "role": "b", "step": "c", "text": "d"}',
        b"\xff\xfe",
        b"[" * 5000,
    ],
)
def test_reader_passes_over_junk(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(junk + b"\n" + _line(1, "good"))
    reader = ProgressReader([path])
    assert [event.text for event in reader.poll()] == ["good"]
    assert reader.skipped == 1


def test_reader_drops_an_endless_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b"x" * (5 * MAX_LINE))
    reader = ProgressReader([path])
    assert reader.poll() == []
    with path.open("ab") as file:
        file.write(b"tail of it\n" + _line(1, "good"))
    assert [event.text for event in reader.poll()] == ["good"]
    assert reader.skipped == 1


def test_writers_in_several_processes_do_not_mix_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write_many, args=(path, name)) for name in ("a", "b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    reader = ProgressReader([path])
    assert len(reader.poll()) == 400
    assert reader.skipped == 0


def test_every_phase_is_reachable_and_unknown_steps_have_none() -> None:
    assert set(PHASE_OF_STEP.values()) == set(PHASES)
    assert phase_of("blind.round") == "Blind inference"
    assert phase_of("peer.met") is None
    assert phase_of("settled") == "Settled"
    assert phase_of("settled.seat") is None
    assert phase_of("market.browse") is None


def test_printable_bounds_and_cleans() -> None:
    assert printable("a\r\n\x1b\u202eb") == "a    b"
    assert printable("x" * 600) == "x" * 499 + "…"


def _line(t: float, text: str) -> bytes:
    return json.dumps(ProgressEvent(t, "Ann", "patient", None, "note", text).as_dict()).encode() + b"\n"


def _write_many(path: Path, who: str) -> None:
    with Progress(path, who, "doctor") as progress:
        for i in range(200):
            progress("note", f"{who * 200} {i}")
