"""JSON-RPC to a node over HTTP or WebSocket, with retries. Errors the node answers are `RpcError`."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from aiohttp import ClientError, ClientTimeout
from web3 import AsyncHTTPProvider, AsyncWeb3, WebSocketProvider
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint
from websockets.exceptions import WebSocketException

from contracts.chain.errors import RpcError, Unreachable
from protocols.errors import UserError

TIMEOUT = 30.0
RETRIES = 6
FIRST_WAIT = 0.1

_TRANSPORT = (ClientError, WebSocketException, Web3Exception, OSError, TimeoutError, ValueError)


class Rpc:
    """One node. Every request is safe to repeat (a raw transaction has one hash), so all are retried."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT, retries: int = RETRIES) -> None:
        self.url = url
        self._timeout = timeout
        self._retries = retries
        self._connecting = asyncio.Lock()
        self.web3: AsyncWeb3[Any]
        if url.startswith(("http://", "https://")):
            kwargs = {"timeout": ClientTimeout(total=timeout)}
            http = AsyncHTTPProvider(url, request_kwargs=kwargs, exception_retry_configuration=None)
            self.web3 = AsyncWeb3(http)
        elif url.startswith(("ws://", "wss://")):
            self.web3 = AsyncWeb3(WebSocketProvider(url, request_timeout=timeout, max_connection_retries=1))
        else:
            raise UserError(
                f"{url!r} is not the address of a chain", "give one that begins with http:// or ws://"
            )

    async def request(self, method: str, *params: Any) -> Any:
        """The node's result. Raises `RpcError` for its refusal and `Unreachable` after all retries."""
        wait = FIRST_WAIT
        for attempt in range(self._retries):
            if attempt:
                await asyncio.sleep(wait)
                wait *= 2
            try:
                answer = await self._once(method, params)
            except _TRANSPORT as error:
                last = error
                continue
            if "error" in answer:
                raise _refusal(answer["error"])
            return answer.get("result")
        fault = f"the chain at {self.url} does not answer ({_words(last)})"
        raise Unreachable(fault, "check that it runs and that the address is right")

    async def _once(self, method: str, params: tuple[Any, ...]) -> dict[str, Any]:
        provider = self.web3.provider
        if isinstance(provider, WebSocketProvider) and not await provider.is_connected():
            async with self._connecting:
                if not await provider.is_connected():
                    await provider.connect()
        async with asyncio.timeout(self._timeout):
            answer = await provider.make_request(RPCEndpoint(method), list(params))
        if not isinstance(answer, dict):
            raise ValueError("the answer is not an object")
        return cast(dict[str, Any], answer)

    async def close(self) -> None:
        """Close the connection. Safe to repeat."""
        await self.web3.provider.disconnect()


def _refusal(error: Any) -> RpcError:
    if not isinstance(error, dict):
        return RpcError(0, str(error))
    return RpcError(error.get("code", 0), str(error.get("message", "")), error.get("data"))


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:120] if str(error) else type(error).__name__
