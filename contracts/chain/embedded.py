"""The embedded chain as a service: JSON-RPC over HTTP on this machine, for agents in other processes.

Theory of operation: one worker thread owns the EVM, so requests are served in the order they come and the
event loop never waits on an execution. A block is mined whenever a transaction comes. While anyone is
asking, an empty block follows after each idle `period`, so that deadlines pass; when nobody asks, the chain
rests and nothing grows.

Who may ask: only this machine by default, and no web page even there (a request must say it carries JSON,
which a browser sends across origins only after asking, and must name this host, which stops DNS rebinding).
The chain hands out money on request (`crypdoc_grant`), so its money is worth nothing: never bind it to an
open network.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from contracts.chain.evm import EvmChain
from contracts.chain.jsonrpc import Api, failure
from protocols.errors import ChainError

CHAIN_ID = 1337
MAX_REQUEST = 1 << 20
MAX_BATCH = 100
REST_AFTER = 30.0
"""Seconds without a request after which no more empty blocks are mined."""

MAX_DEPTH = 32
"""py-evm raises Python's recursion limit so far that deeper JSON would overflow the C stack and kill the
process.
"""

T = TypeVar("T")

_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class EmbeddedChain:
    """A running chain. Use as `async with EmbeddedChain(...) as chain: chain.url`, or start and stop it."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        chain_id: int = CHAIN_ID,
        fund: Mapping[str, int] | None = None,
        path: Path | None = None,
        period: float = 1.0,
        clock: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`fund`: wei by address at the first block. `path`: where the chain is kept; None keeps it in
        memory.

        `port` 0 takes a free one. An existing file at `path` is carried on with; `fund` is then not looked
        at.
        """
        self.host = host
        self.port = port
        self._make = lambda: EvmChain(
            chain_id=chain_id, fund=fund or {}, path=path, clock=clock, entropy=entropy
        )
        self._clock = clock
        self._period = period
        self._worker = ThreadPoolExecutor(1, "crypdoc-chain")
        self._evm: EvmChain | None = None
        self._runner: web.AppRunner | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._asked = float("-inf")

    @property
    def url(self) -> str:
        """Where the chain answers, once started."""
        return f"http://{self.host}:{self.port}"

    async def start(self) -> None:
        """Make or load the chain and listen. Raises `ChainError` when the port or the file is taken."""
        self._evm = await self._in_worker(self._make)
        api = Api(self._evm)
        app = web.Application(client_max_size=MAX_REQUEST)
        app.router.add_post("/", partial(self._serve, api))
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port).start()
        except OSError as error:
            await self.stop()
            fault = f"the chain cannot listen on {self.host}:{self.port} ({error.strerror})"
            raise ChainError(fault, "stop what uses that port, or choose another one") from None
        self.port = self._runner.addresses[0][1]
        self._ticker = asyncio.create_task(self._tick(self._evm))

    async def stop(self) -> None:
        """Stop listening and let go of the file. Safe to repeat."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._evm is not None:
            evm, self._evm = self._evm, None
            await self._in_worker(evm.close)
        self._worker.shutdown(wait=False)

    async def __aenter__(self) -> EmbeddedChain:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _in_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    async def _tick(self, evm: EvmChain) -> None:
        """Mine an empty block whenever the head is a period old and somebody cares."""
        while True:
            await asyncio.sleep(self._period / 2)
            stale = self._clock() - evm.mined_at >= self._period
            if stale and time.monotonic() - self._asked < REST_AFTER:
                await self._in_worker(evm.mine)

    async def _serve(self, api: Api, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            return web.Response(status=415, text="send application/json\n")
        if not self._names_us(request.host):
            return web.Response(status=403, text="unknown host name\n")
        self._asked = time.monotonic()
        try:
            asked = _parse(await request.read())
        except (ValueError, RecursionError):
            return web.json_response(failure(None, -32700, "the request is not JSON"))
        if isinstance(asked, list):
            if not 0 < len(asked) <= MAX_BATCH:
                return web.json_response(failure(None, -32600, f"a batch holds 1 to {MAX_BATCH} requests"))
            answers: list[Any] = [await self._in_worker(partial(api.answer, one)) for one in asked]
            return web.json_response([answer for answer in answers if answer is not None])
        answer = await self._in_worker(partial(api.answer, asked))
        return web.Response() if answer is None else web.json_response(answer)

    def _names_us(self, host: str) -> bool:
        name = host.rsplit(":", 1)[0].strip("[]").lower()
        return name in ("localhost", "127.0.0.1", "::1", self.host.lower()) or self.host in ("0.0.0.0", "::")  # noqa: S104


def _parse(body: bytes) -> Any:
    """The JSON in a request. Raises `ValueError`, also when it is nested more than `MAX_DEPTH` deep."""
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        depth = 0
        for bracket in re.findall(rb"[\[\]{}]", _TEXT.sub(b"", body)):
            depth += 1 if bracket in b"[{" else -1
            if depth > MAX_DEPTH:
                raise ValueError("nested too deeply")
    return json.loads(body)
