"""Which direct channel is for which work: a waiting room between the TLS server and the duties."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agents.wire.channel import Channel
from protocols.errors import WireError

SAID = "said"
"""The purpose of a channel that carries one large message."""


@dataclass
class _Guest:
    channel: Channel
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Switchboard:
    """Channels that came, by (peer, purpose), and duties that wait for one.

    A channel that nobody asks for within `patience` seconds is closed: it was not agreed on. A channel for a large
    message (purpose SAID) waits for nobody: `said` takes it.
    """

    def __init__(self, said: Callable[[Channel], Awaitable[None]], patience: float = 30.0) -> None:
        self._said = said
        self.servers: dict[str, Callable[[Channel], Awaitable[None]]] = {}
        """Purposes that are served at once, without a duty that waits for them."""
        self._patience = patience
        self._waiting: dict[tuple[str, str], asyncio.Future[_Guest]] = {}
        self._early: dict[tuple[str, str], asyncio.Future[None]] = {}

    async def admit(self, channel: Channel) -> None:
        """The TLS server's callback: hold the channel until its duty has taken it and is done with it."""
        if channel.purpose == SAID:
            await self._said(channel)
            return
        if (serve := self.servers.get(channel.purpose)) is not None:
            await serve(channel)
            return
        key = (channel.peer, channel.purpose)
        if key not in self._waiting:
            wanted = self._early.setdefault(key, asyncio.get_running_loop().create_future())
            try:
                async with asyncio.timeout(self._patience):
                    await asyncio.shield(wanted)
            except TimeoutError:
                return
            finally:
                self._early.pop(key, None)
        future = self._waiting.pop(key, None)
        if future is None or future.done():
            return
        guest = _Guest(channel)
        future.set_result(guest)
        await guest.gone.wait()

    async def take(self, peer: str, purpose: str, timeout: float) -> Guest:
        """The channel that `peer` opens for `purpose`. Raises `WireError` when it does not come in time."""
        key = (peer, purpose)
        future = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        if (early := self._early.get(key)) is not None and not early.done():
            early.set_result(None)
        try:
            async with asyncio.timeout(timeout):
                guest = await future
        except TimeoutError:
            raise WireError(
                f"{peer} did not open its channel for {purpose}", "the session is tried again"
            ) from None
        finally:
            if self._waiting.get(key) is future:
                del self._waiting[key]
        return Guest(guest)


class Guest:
    """A channel in use; leaving the context hands it back to the server, which closes it."""

    def __init__(self, guest: _Guest) -> None:
        self._guest = guest

    async def __aenter__(self) -> Channel:
        return self._guest.channel

    async def __aexit__(self, *_: object) -> None:
        self._guest.gone.set()
