"""A libp2p node for asyncio programs: trio runs in one thread of its own.

    node = Node(keyring, "127.0.0.1", 4001, rng=random.Random(...))
    node.serve_messages("/crypdoc/envelope/1", handler)
    await node.start()
    node.learn(record)
    node.send(record.wallet, "/crypdoc/envelope/1", key, data)

The wallet of every peer is proved by Noise before any byte of ours moves. All methods but the `serve_*` ones
may be called from any thread or event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import trio
from multiaddr import Multiaddr

from agents.keyring import Keyring
from agents.wire.bridge import Bridge, stopped
from agents.wire.core import Core, MessageHandler, Route, finish
from agents.wire.frames import read_frame, write_frame
from agents.wire.identity import peer_of_key, split_multiaddr, wallet_of_peer
from agents.wire.limits import Limits
from protocols.errors import WireError
from protocols.records import PeerRecord, peer_id_of_key

log = logging.getLogger(__name__)
_RESTARTS = 10
_RESTART_SECONDS = 0.5

AskHandler = Callable[[str, bytes], Coroutine[Any, Any, bytes]]


class Node:
    """One participant's place in the network.

    host, port: where to listen; port 0 takes a free one (then `addresses` differs after each start).
    rng: draws the jitter of reconnections. stats: counters, shared with what is built on the node.
    """

    def __init__(
        self,
        keyring: Keyring,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        rng: random.Random,
        limits: Limits | None = None,
    ) -> None:
        self.wallet = keyring.address
        self.peer_id = peer_id_of_key(keyring.public_key)
        self.limits = limits or Limits()
        self.stats: Counter[str] = Counter()
        self.addresses: tuple[str, ...] = ()
        self.on_state: list[Callable[[str, bool, str], None]] = []
        """Told (on the node's thread) of a peer that became reachable or unreachable: wallet, up, why."""
        self.on_meet: list[Callable[[str], None]] = []
        """Told (on the node's thread) of the wallet at the other end of a new connection."""
        self._host, self._port = host, port
        self._keyring, self._rng = keyring, rng
        self._routes: dict[str, Route] = {}
        self._core = self._make_core()
        self._wiring: list[Callable[[], None]] = []
        self._stopping = threading.Event()
        self._bridge: Bridge | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scope = trio.CancelScope()
        self._thread: threading.Thread | None = None

    def _make_core(self) -> Core:
        core = Core(self._keyring, self.limits, self._rng, self.stats, self._routes, self._tell_state)
        core.on_meet = self._tell_meeting
        return core

    # -- life ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listens. Raises `WireError` when the port is taken. A node starts once."""
        if self._thread is not None:
            raise WireError("a node starts only once", "make a new one")
        loop = self._loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(
            target=self._run, args=(loop, ready), name="crypdoc-wire", daemon=True
        )
        self._thread.start()
        await ready

    async def stop(self, drain: float = 2.0) -> None:
        """Sees that reachable peers read what is queued (`drain` seconds at most), then closes everything."""
        if self._thread is None:
            return
        if self._bridge is not None:
            with contextlib.suppress(WireError):
                await self._bridge.call(self._core.drain, drain)
        self._stopping.set()
        if self._bridge is not None:
            self._bridge.post(self._scope.cancel)
        await asyncio.to_thread(self._thread.join, 10)
        if self._thread.is_alive():
            log.error("the node's thread did not end within 10 seconds")

    @property
    def running(self) -> bool:
        """Whether the node listens."""
        return self._bridge is not None and self._thread is not None and self._thread.is_alive()

    def _run(self, loop: asyncio.AbstractEventLoop, ready: asyncio.Future[None]) -> None:
        """The node's thread. A fault of the host's own is logged and the host starts again, on its port."""
        for _ in range(_RESTARTS):
            failure = self._run_once(loop, ready)
            if self._stopping.is_set() or self._bridge is None:  # wanted, or it never listened
                break
            log.critical("the node ended by a fault of its own and starts again", exc_info=failure)
            self.stats["node_restarts"] += 1
            if self._stopping.wait(_RESTART_SECONDS):
                break
            self._core, self._scope = self._make_core(), trio.CancelScope()
        error = failure
        if not isinstance(error, WireError):
            error = WireError(f"the node cannot start ({failure!r})", "report it with the log")
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(lambda: None if ready.done() else ready.set_exception(error))

    def _run_once(self, loop: asyncio.AbstractEventLoop, ready: asyncio.Future[None]) -> BaseException:
        try:
            trio.run(self._main, loop, ready)
        except BaseException as error:
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            return error
        return stopped()

    async def _main(self, loop: asyncio.AbstractEventLoop, ready: asyncio.Future[None]) -> None:
        def listening(addresses: list[str]) -> None:
            self._bridge = Bridge(self._core.nursery)
            self.addresses = tuple(address.split("/p2p/")[0] for address in addresses)
            self._port = int(self.addresses[0].rsplit("/", 1)[1])
            loop.call_soon_threadsafe(lambda: None if ready.done() else ready.set_result(None))

        with self._scope:
            await self._core.run(self._host, self._port, self._wire, listening)

    def _wire(self) -> None:
        for wiring in self._wiring:
            wiring()

    # -- what others send: register before `start` ------------------------------------------------------

    def serve_messages(self, protocol: str, handler: MessageHandler) -> None:
        """`handler(wallet, data, taken)` runs on the node's thread: it must be short, and call `taken()` once
        it has let go of `data` (from any thread), which makes room for the peer's next message."""

        def posted(wallet: str, data: bytes, taken: Callable[[], None]) -> None:
            handler(wallet, data, lambda: self._post(taken))

        self._wiring.append(lambda: self._core.serve_messages(protocol, posted))

    def serve_requests(self, protocol: str, handler: AskHandler) -> None:
        """`await handler(wallet, question)`, on the loop that called `start`, gives the answer."""

        async def answer(wallet: str, question: bytes) -> bytes:
            return await self._demand().ask(self._home(), handler, wallet, question)

        self._wiring.append(lambda: self._core.serve_requests(protocol, answer))

    def serve_streams(self, protocol: str, handler: Callable[[Stream], Coroutine[Any, Any, None]]) -> None:
        """`await handler(stream)`, on the loop that called `start`; the stream closes when it returns."""

        async def accept(wallet: str, raw: Any) -> None:
            await self._demand().ask(self._home(), handler, Stream(self._demand(), wallet, raw))

        self._wiring.append(lambda: self._core.serve_streams(protocol, accept))

    # -- what we send ----------------------------------------------------------------------------------

    def learn(self, record: PeerRecord) -> None:
        """How to reach the record's wallet."""
        places = tuple(place for place in map(_place, record.addresses) if place)
        self._post(self._core.learn, record.wallet, peer_of_key(record.public_key), places)

    def learn_address(self, multiaddr: str) -> str:
        """The same from `/ip4/HOST/tcp/PORT/p2p/ID`; the wallet it leads to. Raises `WireError`."""
        place, peer = split_multiaddr(multiaddr)
        self._post(self._core.learn, wallet_of_peer(peer), peer, (place,))
        return wallet_of_peer(peer)

    def forget(self, wallet: str) -> None:
        """Drops what `learn` told."""
        self._post(self._core.forget, wallet)

    def send(self, wallet: str, protocol: str, key: bytes, data: bytes) -> None:
        """Queues one message; does nothing when `key` is queued for the wallet already. A full queue or an
        unknown wallet counts in `stats` and drops the message."""

        def put() -> None:
            if not self._core.put(wallet, protocol, key, data):
                self.stats["messages_dropped"] += 1

        self._post(put)

    async def request(self, wallet: str, protocol: str, question: bytes) -> bytes:
        """Asks one question. Raises `WireError`."""
        return await self._demand().call(self._core.request, wallet, protocol, question)

    async def open_stream(self, wallet: str, protocol: str) -> Stream:
        """A new stream. Raises `WireError`."""
        raw = await self._demand().call(self._core.open_stream, wallet, protocol)
        return Stream(self._demand(), wallet, raw)

    def _post(self, function: Callable[..., object], *arguments: Any) -> None:
        if self._bridge is None:
            raise WireError("the node does not run yet", "start it first")
        self._bridge.post(function, *arguments)

    def _demand(self) -> Bridge:
        if self._bridge is None:
            raise WireError("the node does not run yet", "start it first")
        return self._bridge

    def _home(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise WireError("the node does not run yet", "start it first")
        return self._loop

    def _tell_state(self, wallet: str, up: bool, why: str) -> None:
        if not up:
            log.warning("%s is out of reach: %s", wallet, why)
        for told in self.on_state:
            told(wallet, up, why)

    def _tell_meeting(self, wallet: str) -> None:
        for told in self.on_meet:
            told(wallet)


def _place(address: str) -> Multiaddr | None:
    with contextlib.suppress(Exception):  # a signed record may still hold nonsense
        return Multiaddr(address)
    return None


class Stream:
    """One libp2p stream, from the asyncio side. wallet: whom Noise proved at the other end."""

    def __init__(self, bridge: Bridge, wallet: str, raw: Any) -> None:
        self._bridge, self._raw = bridge, raw
        self.wallet = wallet

    async def send(self, data: bytes) -> None:
        """Writes one frame. Raises libp2p's stream errors and `WireError`."""
        await self._bridge.call(write_frame, self._raw, data)

    async def receive(self, maximum: int, timeout: float) -> bytes:
        """Reads one frame of at most `maximum` bytes within `timeout` seconds. Raises `ProtocolError`
        or `WireError`."""
        return await self._bridge.call(read_frame, self._raw, maximum, timeout)

    async def close(self, clean: bool = True) -> None:
        """Closes the stream, or cuts it."""
        with contextlib.suppress(WireError):
            await self._bridge.call(finish, self._raw, clean)
