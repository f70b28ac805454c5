"""JSON-RPC to a node over HTTP or WebSocket, with retries. Errors that the node answers are `RpcError`.

HTTP goes through web3's provider. WebSocket does not: web3's waits for an answer by spinning the event
loop, and an answer of an error that it cannot place ends its listener for good.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any, Protocol

from aiohttp import ClientError, ClientSession, ClientTimeout, ClientWebSocketResponse, WSMsgType
from web3 import AsyncHTTPProvider
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint

from contracts.chain.errors import RpcError, Unreachable
from protocols.errors import UserError

TIMEOUT = 30.0
RETRIES = 6
FIRST_WAIT = 0.1
MAX_ANSWER = 64 << 20

_TRANSPORT = (ClientError, Web3Exception, OSError, TimeoutError, ValueError)


class Transport(Protocol):
    """One request to the node, once."""

    async def request(self, method: str, params: list[Any]) -> Any:
        """The decoded answer. Raises one of several kinds when there is none."""
        ...

    async def close(self) -> None:
        """Close what is open. Safe to repeat; a request after it opens anew."""
        ...


class Http:
    """A request an HTTP POST, over kept connections."""

    def __init__(self, url: str, timeout: float) -> None:
        kwargs = {"timeout": ClientTimeout(total=timeout)}
        self._provider = AsyncHTTPProvider(url, request_kwargs=kwargs, exception_retry_configuration=None)

    async def request(self, method: str, params: list[Any]) -> Any:
        """See `Transport`."""
        return await self._provider.make_request(RPCEndpoint(method), params)

    async def close(self) -> None:
        """See `Transport`."""
        await self._provider.disconnect()


class Socket:
    """All requests over one WebSocket, answered in any order. Opened when needed, again after it broke."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._opening = asyncio.Lock()
        self._session: ClientSession | None = None
        self._socket: ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._ids = itertools.count(1)

    async def request(self, method: str, params: list[Any]) -> Any:
        """See `Transport`."""
        async with asyncio.timeout(self._timeout):
            socket = await self._open()
            ident, answer = next(self._ids), asyncio.get_running_loop().create_future()
            self._waiting[ident] = answer
            try:
                await socket.send_json({"jsonrpc": "2.0", "id": ident, "method": method, "params": params})
                return await answer
            finally:
                del self._waiting[ident]

    async def close(self) -> None:
        """See `Transport`."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _open(self) -> ClientWebSocketResponse:
        async with self._opening:
            if self._socket is None or self._socket.closed:
                await self.close()
                self._session = ClientSession()
                self._socket = await self._session.ws_connect(
                    self._url, max_msg_size=MAX_ANSWER, heartbeat=20
                )
                self._reader = asyncio.create_task(self._read(self._socket))
            return self._socket

    async def _read(self, socket: ClientWebSocketResponse) -> None:
        """Give answers to who waits for them, until the socket closes."""
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    continue
                self._give(json.loads(message.data))
        except (ValueError, AttributeError):
            await socket.close()
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionError("the connection closed"))

    def _give(self, answer: dict[str, Any]) -> None:
        """An answer without an id (anvil leaves it out of some errors) is the one request's that waits."""
        ident = answer.get("id")
        if ident is None and len(self._waiting) == 1:
            ident = next(iter(self._waiting))
        waiting = None if ident is None else self._waiting.get(ident)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


class Rpc:
    """One node. Every request is safe to repeat (a raw transaction has one hash), so all are retried."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT, retries: int = RETRIES) -> None:
        self.url = url
        self._retries = retries
        self._transport: Transport
        if url.startswith(("http://", "https://")):
            self._transport = Http(url, timeout)
        elif url.startswith(("ws://", "wss://")):
            self._transport = Socket(url, timeout)
        else:
            raise UserError(
                f"{url!r} is not the address of a chain", "give one that begins with http:// or ws://"
            )

    async def request(self, method: str, *params: Any) -> Any:
        """The node's result. Raises `RpcError` for its refusal and `Unreachable` after all retries."""
        wait, trouble = FIRST_WAIT, ""
        for attempt in range(self._retries):
            if attempt:
                await asyncio.sleep(wait)
                wait *= 2
            try:
                answer = await self._transport.request(method, list(params))
            except _TRANSPORT as error:
                trouble = f"{type(error).__name__}: {error}"[:120].removesuffix(": ")
                continue
            if not isinstance(answer, dict):
                trouble = "its answer is not JSON-RPC"
                continue
            if "error" in answer:
                raise _refusal(answer["error"])
            return answer.get("result")
        fault = f"the chain at {self.url} does not answer ({trouble})"
        raise Unreachable(fault, "check that it runs and that the address is right")

    async def close(self) -> None:
        """Close the connection. Safe to repeat."""
        await self._transport.close()


def _refusal(error: Any) -> RpcError:
    if not isinstance(error, dict):
        return RpcError(0, str(error))
    return RpcError(error.get("code", 0), str(error.get("message", "")), error.get("data"))
