"""The trio side of a node: the host, the streams that come in, the outboxes, and a watchman.

Everything here runs on the node's own thread. Handlers are told of bytes and of the wallet that Noise proved;
they live on the asyncio side and are called through `agents.wire.bridge`.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.host.basic_host import BasicHost
from libp2p.network.stream.exceptions import StreamEOF, StreamError
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from agents.keyring import Keyring
from agents.wire.frames import Gate, read_body, read_frame, read_length, write_frame
from agents.wire.host import cannot_listen, dial, make_host, probe_port
from agents.wire.identity import wallet_of_peer
from agents.wire.limits import MAX_FRAME, Limits
from agents.wire.outbox import Outbox
from protocols.errors import ProtocolError, WireError

log = logging.getLogger(__name__)

Route = tuple[ID, tuple[Multiaddr, ...]]
MessageHandler = Callable[[str, bytes, Callable[[], None]], None]
RequestHandler = Callable[[str, bytes], Awaitable[bytes]]
StreamHandler = Callable[[str, Any], Awaitable[None]]
_WATCH_SECONDS = 1.0
_PING_PATIENCE = 25.0  # libp2p pings every 30 s or so and gives up after 10


class Core:
    """One host and its traffic. on_state(wallet, up, why) is called once for each change of a peer."""

    def __init__(
        self,
        keyring: Keyring,
        limits: Limits,
        rng: random.Random,
        stats: Counter[str],
        routes: dict[str, Route],
        on_state: Callable[[str, bool, str], None],
    ) -> None:
        self._keyring, self._limits, self._rng, self._stats = keyring, limits, rng, stats
        self._on_state = on_state
        self._routes = routes
        self._visitors: OrderedDict[str, ID] = OrderedDict()
        self._outboxes: dict[tuple[str, str], Outbox] = {}
        self._gates: OrderedDict[str, Gate] = OrderedDict()
        self._open: Counter[str] = Counter()
        self.host: BasicHost
        self.nursery: trio.Nursery
        self.on_meet: Callable[[str], None] = lambda wallet: None

    async def run(
        self, host: str, port: int, wire: Callable[[], None], ready: Callable[[list[str]], None]
    ) -> None:
        """Listens and serves until cancelled. Raises `WireError` when the port cannot be had."""
        probe_port(host, port)
        kind = "ip6" if ":" in host else "ip4"
        place = Multiaddr(f"/{kind}/{host}/tcp/{port}")
        self.host = make_host(self._keyring, self._limits, self._met)
        wire()
        async with self.host.run(listen_addrs=[place]):
            addresses = [str(address) for address in self.host.get_addrs()]
            if not addresses:
                raise cannot_listen(host, port, "the address is not this machine's")
            try:
                async with trio.open_nursery() as self.nursery:
                    self.nursery.start_soon(self._watch)
                    ready(addresses)
                    await trio.sleep_forever()
            finally:
                await self._say_goodbye()

    async def _say_goodbye(self) -> None:
        """Closes every connection: py-libp2p, cancelled, would leave the sockets open."""
        with trio.CancelScope(shield=True) as scope:
            scope.deadline = trio.current_time() + 2
            async with trio.open_nursery() as nursery:
                for muxed in list(self.host.get_network().opened):
                    nursery.start_soon(_close, muxed.secured_conn)

    # -- what others open ------------------------------------------------------------------------------

    def serve_messages(self, protocol: str, handler: MessageHandler) -> None:
        """Streams of messages: `handler(wallet, data, taken)` calls `taken` when it has let go of `data`."""

        async def receive(wallet: str, stream: Any) -> None:
            gate = self._gate(wallet)
            while True:
                length = await read_length(stream, MAX_FRAME)
                await gate.enter(length)
                try:
                    data = await read_body(stream, length, self._limits.frame_timeout)
                except BaseException:
                    gate.leave(length)
                    raise
                handler(wallet, data, lambda size=length: gate.leave(size))  # type: ignore[misc]

        self._serve(protocol, receive)

    def serve_requests(self, protocol: str, handler: RequestHandler) -> None:
        """One question and one answer per stream."""

        async def answer(wallet: str, stream: Any) -> None:
            await self._gate(wallet).enter(0)
            try:
                question = await read_frame(stream, MAX_FRAME, self._limits.request_timeout)
                await write_frame(stream, await handler(wallet, question))
            finally:
                self._gate(wallet).leave(0)

        self._serve(protocol, answer)

    def serve_streams(self, protocol: str, handler: StreamHandler) -> None:
        """The stream itself, for as long as the handler runs."""
        self._serve(protocol, handler)

    def _serve(self, protocol: str, receive: StreamHandler) -> None:
        async def guarded(stream: Any) -> None:
            """Whatever happens here ends this stream and nothing else."""
            wallet = wallet_of_peer(stream.muxed_conn.peer_id)
            if self._open[wallet] >= self._limits.streams_per_peer:
                self._stats["streams_refused"] += 1
                await stream.reset()
                return
            self._open[wallet] += 1
            clean = False
            try:
                await receive(wallet, stream)
                clean = True
            except StreamEOF:
                clean = True
            except StreamError:
                pass
            except (ProtocolError, WireError) as error:
                self._stats["frames_refused"] += 1
                log.warning("%s: cut a %s stream: %s", wallet, protocol, error)
            except Exception:
                log.exception("%s: a %s stream failed here", wallet, protocol)
            finally:
                self._open[wallet] -= 1
                if not self._open[wallet]:
                    del self._open[wallet]
                await finish(stream, clean)

        self.host.set_stream_handler(protocol, guarded)

    def _gate(self, wallet: str) -> Gate:
        gate = self._gates.get(wallet)
        if gate is None:
            gate = self._gates[wallet] = Gate(self._limits)
            if len(self._gates) > self._limits.peers:
                self._gates.popitem(last=False)
        self._gates.move_to_end(wallet)
        return gate

    # -- what we open ----------------------------------------------------------------------------------

    def learn(self, wallet: str, peer: ID, places: tuple[Multiaddr, ...]) -> None:
        """How to reach a wallet; replaces what was known."""
        self._routes[wallet] = (peer, places)

    def forget(self, wallet: str) -> None:
        """Drops a route that is no longer in the directory."""
        self._routes.pop(wallet, None)

    def put(self, wallet: str, protocol: str, key: bytes, data: bytes) -> bool:
        """Queues a message. False when there is no room or no such peer."""
        outbox = self._outboxes.get((wallet, protocol))
        if outbox is None:
            if (wallet not in self._routes and wallet not in self._visitors) or not self._make_room():
                return False
            outbox = self._outboxes[wallet, protocol] = Outbox(
                lambda: self.open_stream(wallet, protocol),
                lambda up, why: self._on_state(wallet, up, why),
                self._limits,
                self._rng,
            )
            self.nursery.start_soon(self._run_outbox, (wallet, protocol), outbox)
        return outbox.put(key, data)

    def _make_room(self) -> bool:
        if len(self._outboxes) < self._limits.peers:
            return True
        for name, outbox in self._outboxes.items():
            if outbox.empty:
                outbox.scope.cancel()
                del self._outboxes[name]
                return True
        return False

    async def _run_outbox(self, name: tuple[str, str], outbox: Outbox) -> None:
        await outbox.run()
        if self._outboxes.get(name) is outbox:
            del self._outboxes[name]

    async def open_stream(self, wallet: str, protocol: str) -> Any:
        """A new stream to a wallet, over the connection there is or a new one. Raises `WireError`."""
        if wallet in self._routes:
            peer, places = self._routes[wallet]
        elif wallet in self._visitors:
            peer, places = self._visitors[wallet], ()
        else:
            raise WireError(f"no route to {wallet}", "wait for its record or give its address")
        await dial(self.host, peer, places, self._limits.dial_timeout)
        try:
            with trio.fail_after(self._limits.dial_timeout):
                return await self.host.new_stream(peer, [protocol])
        except trio.TooSlowError:
            await self.host.disconnect(peer)
            raise WireError(f"{wallet} is connected but silent", "it is tried again") from None
        except Exception as error:
            raise WireError(
                f"{wallet} does not take a {protocol} stream ({error})", "it is tried again"
            ) from None

    async def request(self, wallet: str, protocol: str, question: bytes) -> bytes:
        """Asks one question. Raises `WireError` when there is no answer."""
        stream = await self.open_stream(wallet, protocol)
        clean = False
        try:
            await write_frame(stream, question)
            answer = await read_frame(stream, MAX_FRAME, self._limits.request_timeout)
            clean = True
            return answer
        except (StreamError, ProtocolError, WireError) as error:
            why = str(error) or "it closed the stream"
            raise WireError(f"{wallet} did not answer ({why})", "it is tried again") from None
        finally:
            await finish(stream, clean)

    async def drain(self, timeout: float) -> None:
        """Waits until reachable peers have read their outboxes, `timeout` seconds at most.

        A connection that closes earlier takes what its peer has not read yet with it.
        """
        reachable = [outbox for outbox in self._outboxes.values() if outbox.up]
        for outbox in reachable:
            outbox.finish()
        with trio.move_on_after(timeout):
            for outbox in reachable:
                await outbox.done.wait()

    # -- watching --------------------------------------------------------------------------------------

    def _met(self, peer: ID) -> None:
        wallet = wallet_of_peer(peer)
        self._visitors[wallet] = peer
        if len(self._visitors) > self._limits.peers:
            self._visitors.popitem(last=False)
        for (owner, _), outbox in self._outboxes.items():
            if owner == wallet:
                outbox.wake()
        self.on_meet(wallet)

    async def _watch(self) -> None:
        """Cuts connections that pile up unread bytes or streams (Yamux does not), or answer no ping."""
        while True:
            await trio.sleep(_WATCH_SECONDS)
            for connection in self.host.get_network().get_connections():
                muxed = connection.muxed_conn
                backlog = sum(len(buffer) for buffer in muxed.stream_buffers.values())
                streams, limits = len(muxed.streams), self._limits
                if backlog > limits.muxed_backlog or streams > limits.muxed_streams or _is_dead(muxed):
                    self._stats["connections_cut"] += 1
                    log.warning("cut %s: %d bytes unread, %d streams", muxed.peer_id, backlog, streams)
                    self.nursery.start_soon(_close, connection)


def _is_dead(muxed: Any) -> bool:
    sent = getattr(muxed, "_ping_sent_time", 0.0)
    answered = getattr(muxed, "_ping_event", None)
    late = trio.current_time() - sent > _PING_PATIENCE
    return bool(sent and late and answered is not None and not answered.is_set())


async def _close(connection: Any) -> None:
    with contextlib.suppress(Exception):
        await connection.close()


async def finish(stream: Any, clean: bool) -> None:
    """Closes a stream (clean) or cuts it, also while being cancelled."""
    with trio.CancelScope(shield=True) as scope, contextlib.suppress(Exception):
        scope.deadline = trio.current_time() + 1
        await (stream.close() if clean else stream.reset())
