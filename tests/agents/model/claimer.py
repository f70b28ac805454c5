"""A process that uses tapes and dies where it is told: `python -m tests.agents.model.claimer FOLDER BUDGET DEALER`.

It writes the name of every tape whose first byte it reads into FOLDER/../used, synced, before it reads on.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from agents.engine.faults import point
from agents.model.tapes import Shelf, TapeStore


def main(folder: str, dealer: str) -> None:
    store = TapeStore(Path(folder), 1 << 30)
    shelf = Shelf(dealer, bytes(32), 1)
    used = os.open(Path(folder).parent / "used", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    while (tape := store.claim(shelf)) is not None:
        frame = asyncio.run(tape.recv())
        os.write(used, f"{tape.name.hex()} {len(frame)}\n".encode())
        os.fsync(used)
        point("before-done", "tape-use")
        store.release(tape)
    writer = store.writer(shelf, os.urandom(32))
    writer.write(b"first frame")
    point("before-write", "tape-fill")
    writer.finish()
    writer.keep()


if __name__ == "__main__":
    main(*sys.argv[1:])
