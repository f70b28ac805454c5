"""The libp2p host, hardened: Noise over TCP only, and nothing a peer does may end it.

What plain py-libp2p 0.8.1 would do, and what is done here about it:

* an exception that escapes a stream handler ends the whole host: `_GuardedHost` catches all of them, those
  of the protocol negotiation included;
* an inbound slot is held until the host stops, so after some hundred connections nobody gets in any more:
  `_Swarm` gives it back when the connection closes;
* the default host also accepts plaintext and SECIO: only Noise is offered;
* listening uses SO_REUSEPORT, so a taken port goes unnoticed: it is probed first;
* a failed dial blacklists the peer for a minute: dialling is done address by address, past that cache;
* the host dials known addresses by itself: it is kept from it;
* a stopped host leaves its sockets open: the core closes them first;
* identify lets strangers write into the address book: it is not served.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import trio
from libp2p.crypto.x25519 import create_new_key_pair as new_noise_key
from libp2p.host.basic_host import BasicHost
from libp2p.host.ping import ID as PING
from libp2p.host.ping import PingService
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

from agents.keyring import Keyring
from agents.wire.identity import node_key, wallet_of_peer
from agents.wire.limits import Limits
from protocols.errors import ProtocolError, WireError

log = logging.getLogger(__name__)
logging.getLogger("libp2p").setLevel(logging.CRITICAL)


class _Swarm(Swarm):  # type: ignore[misc]
    on_connected: Callable[[ID], None]
    opened: weakref.WeakSet[Yamux]

    async def add_conn(self, muxed_conn: Any, direction: str = "unknown") -> Any:
        """Registers a connection of a peer that holds a wallet key; any other is closed."""
        try:
            wallet_of_peer(muxed_conn.peer_id)
        except ProtocolError as error:
            await muxed_conn.close()
            raise SwarmException(str(error)) from None
        self.opened.add(muxed_conn)
        connection = await super().add_conn(muxed_conn, direction)
        self.on_connected(muxed_conn.peer_id)
        return connection

    async def _do_handle_inbound_connection(self, closer: Any, address: Multiaddr, event: Any) -> None:
        """Upgrades one accepted socket and keeps its slot for as long as the connection lives, no longer."""
        raw = RawConnection(closer, False)
        try:
            muxed = await self.upgrade_inbound_raw_conn(raw, address)
            await muxed.event_closed.wait()
        except Exception as error:
            log.debug("inbound connection refused: %s", error)
        finally:
            with trio.CancelScope(shield=True) as scope, contextlib.suppress(Exception):
                scope.deadline = trio.current_time() + 1
                await raw.close()


class _NoAutoConnector(AutoConnector):  # type: ignore[misc]
    """Dials nobody by itself: whom to reach is the application's affair."""

    async def run_background_task(self, nursery: trio.Nursery) -> None: ...

    async def maybe_connect(self) -> None: ...


class _GuardedHost(BasicHost):  # type: ignore[misc]
    async def _swarm_stream_handler(self, stream: Any) -> None:
        """The one guard of every inbound stream: whatever a handler raises ends that stream alone."""
        try:
            await super()._swarm_stream_handler(stream)
        except Exception as error:
            log.debug("inbound stream ended: %r", error)
            with contextlib.suppress(Exception):
                await stream.reset()

    def _schedule_identify(self, peer_id: ID, *, reason: str) -> None:
        """Identify is not spoken: addresses come from signed records."""


def make_host(keyring: Keyring, limits: Limits, on_connected: Callable[[ID], None]) -> BasicHost:
    """A host for `keyring`'s wallet, not yet listening. Call it on the trio thread."""
    keys = node_key(keyring)
    peer = ID.from_pubkey(keys.public_key)
    peerstore = PeerStore()
    peerstore.add_key_pair(peer, keys)
    upgrader = TransportUpgrader(
        secure_transports_by_protocol={
            NOISE: NoiseTransport(keys, noise_privkey=new_noise_key().private_key)
        },
        muxer_transports_by_protocol={YAMUX: Yamux},
    )
    config = ConnectionConfig(
        max_connections=limits.connections,
        min_connections=0,
        low_watermark=0,
        high_watermark=limits.connections,
        max_connections_per_peer=2,
    )
    swarm = _Swarm(
        peer,
        peerstore,
        upgrader,
        transports=[TCP()],
        retry_config=RetryConfig(max_retries=0),
        connection_config=config,
    )
    swarm.on_connected, swarm.opened = on_connected, weakref.WeakSet()
    swarm.auto_connector = _NoAutoConnector(swarm=swarm)
    host = _GuardedHost(
        network=swarm,
        default_protocols=OrderedDict({PING: _refuse}),
        announce_addrs=None,
        disable_identify_address_discovery=True,
    )
    host.set_stream_handler(PING, PingService(host).handle_ping)
    return host


async def _refuse(stream: Any) -> None:
    await stream.reset()


def probe_port(host: str, port: int) -> None:
    """Raises `WireError` when another process listens on the port already."""
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise cannot_listen(host, port, error.strerror or str(error)) from None


def cannot_listen(host: str, port: int, why: str) -> WireError:
    """The error of a port that cannot be had."""
    return WireError(
        f"cannot listen on {host} port {port} ({why.lower()})", "stop what uses it or choose another port"
    )


async def dial(host: BasicHost, peer: ID, places: tuple[Multiaddr, ...], timeout: float) -> None:
    """Makes sure that there is a connection to `peer`. Raises `WireError` when no address answers."""
    swarm = host.get_network()
    if any(not connection.is_closed for connection in swarm.get_connections(peer)):
        return
    why = "it has no address"
    for place in places:
        try:
            with trio.fail_after(timeout):
                await swarm.dial_addr(place, peer)
            return
        except trio.TooSlowError:
            why = f"{place} is silent"
        except Exception as error:
            cause = error.__cause__ or error
            why = f"{place}: {cause}".splitlines()[0][:160]
    raise WireError(f"the peer cannot be reached ({why})", "check that it runs and that its address is right")
