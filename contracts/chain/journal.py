"""The embedded chain's memory: a key-value store in RAM with an append-only file behind it.

py-evm keeps everything (headers, state tries, receipts) in one key-value store. Each block's new pairs are
appended as one record `length | crc32 | CBOR map`. A process killed in the middle of a write leaves at most
one torn record, which the next start cuts off: the chain carries on from the last whole block. The file is
not fsynced: it survives a killed process, not a power cut.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cbor2
from eth.db.backends.base import BaseDB

from protocols.errors import ChainError

_MAGIC = b"crypdoc chain journal 1\n"
_HEAD = struct.Struct(">II")


class Journal(BaseDB):
    """A py-evm database. Without a path it lives in memory only; `commit` ends a block."""

    def __init__(self, path: Path | None = None) -> None:
        self._pairs: dict[bytes, bytes] = {}
        self._fresh: dict[bytes, bytes | None] = {}
        self._file: int | None = None
        if path is not None:
            self._file = self._open(path)

    def __getitem__(self, key: bytes) -> bytes:
        return self._pairs[key]

    def __setitem__(self, key: bytes, value: bytes) -> None:
        if self._pairs.get(key) != value:
            self._pairs[key] = value
            self._fresh[key] = value

    def __delitem__(self, key: bytes) -> None:
        del self._pairs[key]
        self._fresh[key] = None

    def _exists(self, key: bytes) -> bool:
        return key in self._pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def commit(self) -> None:
        """Append everything written since the last commit as one record."""
        if self._file is not None and self._fresh:
            payload = cbor2.dumps(self._fresh)
            _write_all(self._file, _HEAD.pack(len(payload), zlib.crc32(payload)) + payload)
        self._fresh.clear()

    def close(self) -> None:
        """Let go of the file. What was not committed is lost."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self, path: Path) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load(file, path)
        except BlockingIOError:
            os.close(file)
            raise ChainError(
                f"the chain file {path} is in use", "stop the other chain or name another file"
            ) from None
        except BaseException:
            os.close(file)
            raise
        return file

    def _load(self, file: int, path: Path) -> None:
        whole = path.read_bytes()
        if not whole:
            _write_all(file, _MAGIC)
            return
        if not whole.startswith(_MAGIC):
            raise ChainError(f"{path} is not a chain file", "name another file for the chain")
        end = len(_MAGIC)
        for start, payload in _records(whole, end):
            for key, value in cbor2.loads(payload).items():
                if value is None:
                    self._pairs.pop(key, None)
                else:
                    self._pairs[key] = value
            end = start + _HEAD.size + len(payload)
        os.ftruncate(file, end)


def _records(whole: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """The whole records from `at` on, each with its offset; stops at the first torn one."""
    while at + _HEAD.size <= len(whole):
        length, checksum = _HEAD.unpack_from(whole, at)
        payload = whole[at + _HEAD.size : at + _HEAD.size + length]
        if len(payload) != length or zlib.crc32(payload) != checksum:
            return
        yield at, payload
        at += _HEAD.size + length


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
