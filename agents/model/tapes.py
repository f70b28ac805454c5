"""Tapes on disk: correlated randomness that a dealer made before anybody needed it, each used once by construction.

A tape is written to `NAME.part`, synced, and renamed to `NAME.tape` when it is complete and its round was checked.
Claiming renames it to `NAME.claimed` and syncs the folder *before the first byte is read*, then takes the name away:
whatever dies, a tape that was claimed is never claimed again. What a start finds as `.part` or `.claimed`, or cut
short, is removed: burned, not repeated.

Form: magic, then each frame behind its length and CRC-32 (4 bytes each), then a zero length, the end mark and the
file's size (8 bytes).
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from agents.engine.faults import point
from agents.wire.channel import ChannelClosed
from protocols.blind.messages import MAX_FRAME_BYTES
from protocols.errors import ProtocolError, UserError

MAGIC, END = b"CDTAPE1\n", b"\0\0\0\0CDTAPE.E"
_OVERHEAD = len(MAGIC) + len(END) + 8
_FRAME = 8


@dataclass(frozen=True, slots=True)
class Shelf:
    """What kept tapes are for: a dealer's wallet, a network's hash, a batch."""

    dealer: str
    network: bytes
    batch: int

    @property
    def folder(self) -> str:
        """Where they lie, below the store's folder."""
        return f"{self.dealer.lower()}/{self.network.hex()}-{self.batch}"


def damaged() -> ProtocolError:
    """The error for a tape whose bytes are not those that were written."""
    return ProtocolError("a tape on this disk is damaged", "it is thrown away; check the disk")


def read_frames(file: BufferedReader) -> Iterator[bytes]:
    """The frames of an open tape. Raises `ProtocolError` when a byte is not as it was written."""
    if file.read(len(MAGIC)) != MAGIC:
        raise damaged()
    while (length := int.from_bytes(file.read(4), "big")) != 0:
        check = file.read(4)
        frame = file.read(length) if length <= MAX_FRAME_BYTES else b""
        if len(frame) != length or zlib.crc32(frame) != int.from_bytes(check, "big"):
            raise damaged()
        yield frame


class TapeWriter:
    """A tape as it comes in. Nothing of it counts before `keep`."""

    def __init__(self, path: Path, name: bytes) -> None:
        self.name, self._path = name, path
        self._part = path.with_suffix(".part")
        fd = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(fd, "wb")
        self._file.write(MAGIC)

    def write(self, frame: bytes) -> None:
        """Adds one frame."""
        self._file.write(len(frame).to_bytes(4, "big") + zlib.crc32(frame).to_bytes(4, "big"))
        self._file.write(frame)

    def finish(self) -> None:
        """All frames are there: bring them to the disk."""
        size = self._file.tell() + len(END) + 8
        self._file.write(END + size.to_bytes(8, "big"))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def frames(self) -> Iterator[bytes]:
        """What was written, for a check."""
        with self._part.open("rb") as file:
            yield from read_frames(file)

    def keep(self) -> None:
        """From now on the tape may be claimed."""
        point("before-write", "tape-keep")
        self._part.rename(self._path)
        _sync(self._path.parent)
        point("after-write", "tape-keep")

    def discard(self) -> None:
        """Throws it away; safe to repeat, and after `keep`."""
        self._file.close()
        self._part.unlink(missing_ok=True)


class Tape:
    """A claimed tape: its frames, once. A `Link` for the pump."""

    def __init__(self, name: bytes, path: Path) -> None:
        self.name = name
        self._file = path.open("rb")
        self._frames = read_frames(self._file)

    async def send(self, frame: bytes, timeout: float = 0.0) -> None:
        """Nobody listens."""
        raise ProtocolError("a tape is not spoken to")

    async def recv(self, timeout: float = 0.0) -> bytes:
        """The next frame; `ChannelClosed` after the last."""
        frame = next(self._frames, None)
        if frame is None:
            raise ChannelClosed
        return frame

    def close(self) -> None:
        """The tape's bytes are gone for good."""
        self._file.close()


class TapeStore:
    """The tapes of one model owner. folder: its own. budget: bytes that they may take."""

    def __init__(self, folder: Path, budget: int) -> None:
        self._folder, self.budget = folder, budget
        self._lent: set[bytes] = set()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.burned = self._clean()
        except OSError as error:
            raise UserError(f"the tapes in {folder} cannot be kept ({error})", "check the folder") from None

    def _clean(self) -> int:
        """Removes what an earlier life left unfinished or in use; how many."""
        gone = [*self._folder.rglob("*.part"), *self._folder.rglob("*.claimed")]
        gone += [path for path in self._folder.rglob("*.tape") if not _whole(path)]
        for path in gone:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in gone}:
            _sync(folder)
        return len(gone)

    def names(self, shelf: Shelf) -> list[bytes]:
        """Tapes that may be claimed, in the order of their names."""
        return sorted(bytes.fromhex(p.stem) for p in (self._folder / shelf.folder).glob("*.tape"))

    def held(self, shelf: Shelf) -> list[bytes]:
        """Those, and the ones in use by a session that runs: what a dealer must not write off."""
        return [*self.names(shelf), *sorted(self._lent)]

    @property
    def size(self) -> int:
        """Bytes that all tapes take, unfinished ones too."""
        total = 0
        for path in self._folder.rglob("*.*"):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def counts(self) -> int:
        """Tapes that may be claimed, of all shelves."""
        return sum(1 for _ in self._folder.rglob("*.tape"))

    def room(self, tape_bytes: int) -> int:
        """How many tapes of that size still fit."""
        return max(0, self.budget - self.size) // (tape_bytes + tape_bytes // 1000 + 4096)

    def writer(self, shelf: Shelf, name: bytes) -> TapeWriter:
        """To write a tape that comes in. Raises `ProtocolError` when one of that name is here."""
        folder = self._folder / shelf.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{name.hex()}.tape"
        if path.exists() or path.with_suffix(".part").exists():
            raise ProtocolError("the dealer named two tapes alike", "take another dealer")
        return TapeWriter(path, name)

    def claim(self, shelf: Shelf) -> Tape | None:
        """One tape, for one session: nobody can claim it again from here on. None when there is none."""
        folder = self._folder / shelf.folder
        for path in sorted(folder.glob("*.tape")):
            name, taken = bytes.fromhex(path.stem), path.with_suffix(".claimed")
            point("before-write", "tape-claim")
            path.rename(taken)
            point("after-sign", "tape-claim")
            _sync(folder)
            point("after-write", "tape-claim")
            tape = Tape(name, taken)
            taken.unlink()
            _sync(folder)
            point("after-send", "tape-claim")
            self._lent.add(name)
            return tape
        return None

    def release(self, tape: Tape) -> None:
        """The session that used the tape is over."""
        tape.close()
        self._lent.discard(tape.name)

    def throw_away(self, dealer: str) -> int:
        """Remove all tapes of a dealer; how many."""
        root = self._folder / dealer.lower()
        gone = [*root.rglob("*.tape"), *root.rglob("*.part")] if root.exists() else []
        for path in gone:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in gone}:
            _sync(folder)
        return len(gone)


def _whole(path: Path) -> bool:
    """Whether a tape ends as `finish` left it."""
    size = path.stat().st_size
    if size < _OVERHEAD:
        return False
    with path.open("rb") as file:
        file.seek(-len(END) - 8, os.SEEK_END)
        return file.read() == END + size.to_bytes(8, "big")


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
