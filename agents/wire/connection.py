"""The AEA connection: envelopes between wallets, sealed end to end, acknowledged by the application.

What holds:

* an envelope is handed to AEA only when its sender is the wallet that Noise proved, it is addressed to us and
  it opened under our sealing key; all else is counted in `stats`, logged, and forgotten;
* the same envelope is delivered once until it is committed (`ack`), whatever the network repeats; after a
  restart of this process it may come again, so the engine's own store decides in the end;
* `on_ack(id)` fires only for an ack from the wallet that the envelope went to;
* sending never blocks and never raises: what cannot go is logged once, and the engine repeats its effect.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from aea.configurations.base import ConnectionConfig, PublicId
from aea.connections.base import Connection, ConnectionStates
from aea.identity.base import Identity
from aea.mail.base import Envelope

from agents.keyring import Keyring
from agents.wire.directory import Directory
from agents.wire.envelopes import (
    ACK_TAG,
    ENVELOPE_TAG,
    PURPOSE,
    Window,
    decode_envelope,
    encode_envelope,
    id_of,
)
from agents.wire.node import Node
from protocols.crypto.seal import seal
from protocols.errors import ProtocolError, WireError

log = logging.getLogger(__name__)

PROTOCOL = "/crypdoc/envelope/1"
_OUTSTANDING = 8192
_AEA_HOLDS = 256
_HELD_OF_ONE, _SEARCHES, _SEARCH_SECONDS = 16, 64, 2.0


class WireConnection(Connection):  # type: ignore[misc]
    """Connects an AEA to the wire. `connect` starts the node and the directory, `disconnect` stops them.

    random_bytes: fresh secret bytes (`secrets.token_bytes`). on_ack: called on the AEA's loop with the id of
    an envelope that its recipient has committed. depth: how many envelopes AEA still holds unhandled; while
    it is over 256 nothing more is taken, and peers wait.
    """

    connection_id = PublicId.from_str("crypdoc/wire:0.1.0")

    def __init__(
        self,
        node: Node,
        directory: Directory,
        keyring: Keyring,
        *,
        identity: Identity,
        random_bytes: Callable[[int], bytes],
        on_ack: Callable[[bytes], None] | None = None,
        depth: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
        data_dir: str = ".",
    ) -> None:
        configuration = ConnectionConfig(
            "wire", "crypdoc", "0.1.0", aea_version=">=2.0.0, <3.0.0", connection_id=self.connection_id
        )
        super().__init__(configuration=configuration, identity=identity, data_dir=data_dir)
        self.node, self.directory = node, directory
        self.on_ack, self.depth = on_ack, depth
        self._keyring, self._random, self._clock = keyring, random_bytes, clock
        self._window = Window()
        self._outstanding: OrderedDict[bytes, str] = OrderedDict()
        self._held: dict[str, list[Envelope]] = {}
        self._missing: OrderedDict[str, None] = OrderedDict()
        self._searches: set[asyncio.Task[Any]] = set()
        self._home: asyncio.AbstractEventLoop | None = None
        self._arrived: asyncio.Queue[tuple[Envelope, Callable[[], None]] | None] = asyncio.Queue()
        node.serve_messages(PROTOCOL, self._on_frame)

    @property
    def stats(self) -> Counter[str]:
        """Counters of what came, went and was refused."""
        return self.node.stats

    # -- AEA's side ------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Starts node and directory. Raises `WireError` when the port is taken."""
        if self.is_connected:
            return
        with self._connect_context():
            self._home = asyncio.get_running_loop()
            await self.node.start()
            await self.directory.start()

    async def disconnect(self) -> None:
        """Stops both; what is queued for reachable peers is written first."""
        if self.is_disconnected:
            return
        self.state = ConnectionStates.disconnecting
        for search in list(self._searches):
            search.cancel()
        await self.directory.stop()
        await self.node.stop()
        self._arrived.put_nowait(None)
        self.state = ConnectionStates.disconnected

    async def send(self, envelope: Envelope) -> None:
        """Seals and queues the envelope. Never raises: what cannot go is logged and counted."""
        try:
            self._send(envelope)
        except (ProtocolError, WireError) as error:
            self.stats["envelopes_unsent"] += 1
            log.warning("an envelope to %s was not sent: %s", envelope.to, error)

    async def receive(self, *args: Any, **kwargs: Any) -> Envelope | None:
        """The next envelope; None when the connection has closed."""
        while self.depth is not None and self.depth() > _AEA_HOLDS:
            await asyncio.sleep(0.02)
        item = await self._arrived.get()
        if item is None:
            return None
        envelope, taken = item
        taken()
        return envelope

    # -- the engine's side -----------------------------------------------------------------------------

    def ack(self, sender: str, identity: bytes) -> None:
        """Tells `sender` that its envelope has been committed. Call it after the commit, from any thread."""

        def commit() -> None:
            self._window.commit(sender, identity)
            self._send_ack(sender, identity)

        self._at_home(commit)

    def not_yet(self, sender: str, identity: bytes) -> None:
        """Wants the envelope again when its sender repeats it: it came too early. From any thread."""
        self._at_home(lambda: self._window.forget(sender, identity))

    def _at_home(self, work: Callable[[], None]) -> None:
        if self._home is None:
            raise WireError("the connection is not up", "connect it first")
        self._home.call_soon_threadsafe(work)

    # -- inside ----------------------------------------------------------------------------------------

    def _send(self, envelope: Envelope) -> None:
        canonical = encode_envelope(envelope)
        if envelope.sender != self.node.wallet or envelope.to == self.node.wallet:
            raise ProtocolError("an envelope goes from this wallet to another")
        record = self.directory.get(envelope.to)
        if record is None:
            self._search(envelope)
            return
        self.directory.introduce(envelope.to)
        identity = id_of(canonical)
        self._outstanding[identity] = envelope.to
        self._outstanding.move_to_end(identity)
        if len(self._outstanding) > _OUTSTANDING:
            self._outstanding.popitem(last=False)
        sealed = seal(
            canonical,
            record.sealing_key,
            self._random(32),
            sender=self._keyring.wallet,
            recipient=record.wallet_bytes,
            purpose=PURPOSE,
        )
        self.stats["envelopes_sent"] += 1
        self.node.send(envelope.to, PROTOCOL, identity, bytes([ENVELOPE_TAG]) + sealed)

    def _search(self, envelope: Envelope) -> None:
        """Looks for the recipient's record, and sends what came for it meanwhile when there is one."""
        self.stats["envelopes_unroutable"] += 1
        wallet = envelope.to
        if wallet in self._held:
            if len(self._held[wallet]) < _HELD_OF_ONE:
                self._held[wallet].append(envelope)
            return
        if len(self._searches) >= _SEARCHES:
            return
        self._held[wallet] = [envelope]

        async def search() -> None:
            try:
                if await self.directory.find(wallet) is None:
                    self._report_missing(wallet)
                    await asyncio.sleep(_SEARCH_SECONDS)
            finally:
                held = self._held.pop(wallet, [])
            if self.directory.get(wallet) is not None:
                self._missing.pop(wallet, None)
                for late in held:
                    await self.send(late)

        task = asyncio.get_running_loop().create_task(search())
        self._searches.add(task)
        task.add_done_callback(self._searches.discard)

    def _report_missing(self, wallet: str) -> None:
        if wallet not in self._missing:
            log.warning("%s has announced no record yet; it is looked for again when needed", wallet)
        self._missing[wallet] = None
        if len(self._missing) > _OUTSTANDING:
            self._missing.popitem(last=False)

    def _send_ack(self, to: str, identity: bytes) -> None:
        self.stats["acks_sent"] += 1
        self.node.send(to, PROTOCOL, b"ack" + identity, bytes([ACK_TAG]) + identity)

    def _on_frame(self, wallet: str, frame: bytes, taken: Callable[[], None]) -> None:
        """On the node's thread: hands the frame over to the AEA's loop."""
        loop = self._home
        if loop is None or loop.is_closed():
            taken()
            return
        loop.call_soon_threadsafe(self._sort, wallet, frame, taken)

    def _sort(self, wallet: str, frame: bytes, taken: Callable[[], None]) -> None:
        kept = False
        try:
            tag = frame[0] if frame else 0
            if tag == ACK_TAG and len(frame) == 33:
                self._acked(wallet, frame[1:])
            elif tag == ENVELOPE_TAG:
                kept = self._open(wallet, frame[1:], taken)
            else:
                self._refuse(wallet, "garbage", "the frame is neither an envelope nor an ack")
        except Exception:
            log.exception("a frame from %s could not be handled", wallet)
        finally:
            if not kept:
                taken()

    def _open(self, wallet: str, sealed: bytes, taken: Callable[[], None]) -> bool:
        try:
            sender = bytes.fromhex(wallet[2:])
            canonical = self._keyring.open(sealed, sender=sender, purpose=PURPOSE)
            envelope = decode_envelope(canonical)
        except ProtocolError as error:
            self._refuse(wallet, "garbage", str(error))
            return False
        if envelope.sender != wallet or envelope.to != self.node.wallet:
            self._refuse(wallet, "forged", f"it claims {envelope.sender} to {envelope.to}")
            return False
        identity = id_of(canonical)
        what = self._window.arrive(wallet, identity, self._clock())
        if what == "deliver":
            self.stats["envelopes_received"] += 1
            self._arrived.put_nowait((envelope, taken))
            return True
        self.stats["envelopes_repeated"] += 1
        if what == "ack":
            self._send_ack(wallet, identity)
        return False

    def _acked(self, wallet: str, identity: bytes) -> None:
        if self._outstanding.get(identity) != wallet:
            self._refuse(wallet, "stray_acks", "an ack for nothing that was sent to it")
            return
        del self._outstanding[identity]
        self.stats["acks_received"] += 1
        if self.on_ack is not None:
            self.on_ack(identity)

    def _refuse(self, wallet: str, kind: str, why: str) -> None:
        self.stats[kind] += 1
        if self.stats[kind] < 10 or self.stats[kind] % 1000 == 0:
            log.warning("refused a frame from %s: %s", wallet, why)
