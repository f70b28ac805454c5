"""Test chains that stand still until somebody transacts get a block a second while a demo runs.

Ganache and anvil mine on demand by default; the draw of a panel and every deadline wait for blocks. A chain that
moves by itself is left alone, and so is one that does not know `evm_mine`: it is no test chain.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import TracebackType

from contracts.chain.client import ChainClient
from contracts.chain.errors import RpcError
from protocols.errors import ChainError

STILL_SECONDS = 2.5
PERIOD = 1.0


class Heartbeat:
    """A context: blocks come while it is open. Runs in a thread of its own."""

    def __init__(self, rpc: str) -> None:
        self._rpc = rpc
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        with contextlib.suppress(ChainError, RpcError, OSError):
            asyncio.run(self._beat())

    async def _beat(self) -> None:
        async with await ChainClient.connect(self._rpc) as client:
            before, _ = await client.head()
            await asyncio.sleep(STILL_SECONDS)
            if (await client.head())[0] > before:
                return
            while not self._stop.is_set():
                await client.rpc.request("evm_mine")
                await asyncio.sleep(PERIOD)
