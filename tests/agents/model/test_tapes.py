"""Tapes on disk: each used once, whatever dies; what is unfinished, damaged or over the budget."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agents.model.tapes import Shelf, TapeStore
from agents.wire.channel import ChannelClosed
from protocols.errors import ProtocolError

DEALER = "0x" + "Ab" * 20
SHELF = Shelf(DEALER, bytes(32), 1)
MOMENTS = (
    "before-write:tape-claim",
    "after-sign:tape-claim",
    "after-write:tape-claim",
    "after-send:tape-claim",
    "before-done:tape-use",
    "before-write:tape-fill",
    "before-write:tape-keep",
    "after-write:tape-keep",
)


def fill(store: TapeStore, count: int, shelf: Shelf = SHELF) -> list[bytes]:
    """Tapes of two frames each; their names."""
    names = [os.urandom(32) for _ in range(count)]
    for name in names:
        writer = store.writer(shelf, name)
        writer.write(name + b"first")
        writer.write(bytes(1000))
        writer.finish()
        writer.keep()
    return names


def test_what_was_written_is_read_once(tmp_path: Path) -> None:
    store = TapeStore(tmp_path / "tapes", 1 << 20)
    names = fill(store, 2)
    assert store.names(SHELF) == sorted(names)
    assert store.claim(Shelf(DEALER, bytes(32), 2)) is None
    tape = store.claim(SHELF)
    assert tape is not None
    assert store.names(SHELF) == sorted(set(names) - {tape.name})
    assert set(store.held(SHELF)) == set(names)  # the dealer must not write off what is in use

    async def read() -> list[bytes]:
        frames = [await tape.recv(), await tape.recv()]
        with pytest.raises(ChannelClosed):
            await tape.recv()
        return frames

    assert asyncio.run(read()) == [tape.name + b"first", bytes(1000)]
    store.release(tape)
    assert store.held(SHELF) == store.names(SHELF)
    assert store.claim(SHELF) is not None
    assert store.claim(SHELF) is None
    assert not [p for p in (tmp_path / "tapes").rglob("*") if p.is_file()]


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    store = TapeStore(tmp_path / "tapes", 1 << 20)
    fill(store, 1)
    for path in (tmp_path / "tapes").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0 or path.is_dir(), path
    assert (tmp_path / "tapes").stat().st_mode & 0o077 == 0


def test_unfinished_cut_and_claimed_ones_are_removed_at_the_start(tmp_path: Path) -> None:
    store = TapeStore(tmp_path / "tapes", 1 << 20)
    whole, cut, taken = sorted(fill(store, 3))
    folder = tmp_path / "tapes" / SHELF.folder
    store.writer(SHELF, os.urandom(32)).write(b"never finished")
    path = folder / f"{cut.hex()}.tape"
    path.write_bytes(path.read_bytes()[:-1])
    (folder / f"{taken.hex()}.tape").rename(folder / f"{taken.hex()}.claimed")
    again = TapeStore(tmp_path / "tapes", 1 << 20)
    assert again.burned == 3
    assert again.names(SHELF) == [whole]


def test_a_damaged_tape_is_noticed(tmp_path: Path) -> None:
    store = TapeStore(tmp_path / "tapes", 1 << 20)
    (name,) = fill(store, 1)
    path = tmp_path / "tapes" / SHELF.folder / f"{name.hex()}.tape"
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(bytes(data))
    tape = store.claim(SHELF)
    assert tape is not None

    async def read() -> None:
        await tape.recv()
        with pytest.raises(ProtocolError, match="damaged"):
            await tape.recv()

    asyncio.run(read())


def test_the_budget_and_throwing_away(tmp_path: Path) -> None:
    store = TapeStore(tmp_path / "tapes", 100_000)
    assert store.room(20_000) == 4
    fill(store, 4)
    other = Shelf("0x" + "Cd" * 20, bytes(32), 1)
    kept = fill(store, 1, other)
    assert store.room(20_000) == 3
    assert store.throw_away(DEALER) == 4
    assert store.names(SHELF) == []
    assert store.names(other) == kept


def _run(folder: Path, kill_at: str) -> int:
    environment = os.environ | {"CRYPDOC_KILL_AT": kill_at}
    command = [sys.executable, "-m", "tests.agents.model.claimer", str(folder), DEALER]
    return subprocess.run(command, env=environment, check=False, timeout=60).returncode


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("nth", [1, 2])
def test_killed_at_any_step_no_tape_is_used_twice(tmp_path: Path, moment: str, nth: int) -> None:
    folder = tmp_path / "tapes"
    names = {name.hex() for name in fill(TapeStore(folder, 1 << 20), 4)}
    claims = "claim" in moment or "use" in moment
    assert _run(folder, f"{moment}#{nth}") == (-signal.SIGKILL if claims or nth == 1 else 0)
    assert _run(folder, "") == 0  # it comes back, and goes on to the end
    lines = (tmp_path / "used").read_text().splitlines()
    used = [line.split()[0] for line in lines]
    assert len(used) == len(set(used)), "a tape was used twice"
    burned = names - set(used)
    between = moment.split(":")[0] in ("after-sign", "after-write", "after-send") and "claim" in moment
    assert len(burned) == (1 if between else 0), (
        "a crash in the middle of a claim burns one tape, no other does"
    )
    left = TapeStore(folder, 1 << 20)
    assert not set(used) & {name.hex() for name in left.names(SHELF)}
