"""Who is there and how to reach them: signed records, announced at bootstrap peers and passed on.

Protocol `/crypdoc/directory/1`, one question and one answer per stream, canonical CBOR:

    ["swap", [record ...]] -> [record ...]   mine for yours (own record first, then the freshest of others)
    ["find", wallet]       -> [record ...]   none or one
    ["role", role]         -> [record ...]   the freshest of a role

Records also pass between any two that meet. Any agent answers, so any agent can be a bootstrap peer. A record
counts only when its wallet signed it and its sequence is higher than the one known. A role is what the wallet
says of itself: the contracts decide who is a doctor or a model. Who learns what: everybody learns the
records, so a record holds nothing but contact data.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from agents.keyring import Keyring
from agents.wire.identity import split_multiaddr, wallet_of_peer
from agents.wire.node import Node
from protocols.codec import decode, encode
from protocols.errors import ProtocolError, WireError
from protocols.records import MAX_RECORD, ExtraValue, PeerRecord

log = logging.getLogger(__name__)

PROTOCOL = "/crypdoc/directory/1"
MAX_ANSWER = 64
MAX_TABLE = 4096
MAX_FROM_ONE = 512
"""Records that one peer may introduce, so that no one peer fills the table."""

_ANSWER_BYTES = MAX_ANSWER * (MAX_RECORD + 4) + 64
_RETRY_FIRST = 0.5
_CALM_FIRST = 0.5
_MEET_SECONDS = 2.0  # between two swaps with one peer because it connected


@dataclass(slots=True)
class _Entry:
    record: PeerRecord
    data: bytes
    source: str


class Directory:
    """The records this participant knows. Lives on the loop that `start` runs on; reading works from any.

    bootstrap: multiaddrs with peer id. announce: False keeps the own record to those we write to. clock: unix
    seconds (sequences are its milliseconds). reach: the host name or address that others dial, when it is not
    the listening one.
    """

    def __init__(
        self,
        node: Node,
        keyring: Keyring,
        *,
        role: str,
        clock: Callable[[], float],
        rng: random.Random,
        bootstrap: tuple[str, ...] = (),
        tls: str = "",
        extra: Mapping[str, ExtraValue] | None = None,
        interval: float = 60.0,
        announce: bool = True,
        reach: str = "",
    ) -> None:
        self._node, self._keyring, self._clock, self._rng = node, keyring, clock, rng
        self._role, self._tls, self._extra = role, tls, dict(extra or {})
        self._bootstrap, self._interval, self._announce, self._reach = bootstrap, interval, announce, reach
        self._table: OrderedDict[str, _Entry] = OrderedDict()
        self._raw: set[bytes] = set()
        self._introduced: Counter[str] = Counter()
        self._pinned: set[str] = set()
        self._friends: set[str] = set()
        self._gone: set[str] = set()
        self._met: OrderedDict[str, float] = OrderedDict()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again = asyncio.Event()
        self._floor = 0
        node.serve_requests(PROTOCOL, self._answer)
        node.on_meet.append(self._on_meet)
        self.own: PeerRecord
        self.on_change: Callable[[PeerRecord], None] | None = None

    # -- life ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Makes the own record and announces it in the background. The node must run."""
        self._loop = asyncio.get_running_loop()
        self.update()
        for address in self._bootstrap:
            wallet = self._node.learn_address(address)
            self._pinned.add(wallet)
            self._spawn(self._keep_announcing(wallet))

    async def stop(self) -> None:
        """Ends the announcing; the records stay readable."""
        self._loop = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def update(self, *, tls: str | None = None, extra: Mapping[str, ExtraValue] | None = None) -> PeerRecord:
        """Makes a newer own record, announces it soon, and returns it. Call it on the directory's loop."""
        self._tls = self._tls if tls is None else tls
        self._extra = self._extra if extra is None else dict(extra)
        self._floor = max(self._floor + 1, int(self._clock() * 1000))
        self.own = PeerRecord.sign(
            self._keyring.sign_message,
            self._keyring.address,
            role=self._role,
            addresses=tuple(self._reachable(address) for address in self._node.addresses),
            tls=self._tls,
            sealing_key=self._keyring.sealing_key,
            sequence=self._floor,
            extra=self._extra,
        )
        self._again.set()
        return self.own

    def _reachable(self, address: str) -> str:
        if not self._reach:
            return address
        kind = "ip6" if ":" in self._reach else "ip4" if self._reach.replace(".", "").isdigit() else "dns"
        return f"/{kind}/{self._reach}/tcp/{address.rsplit('/', 1)[1]}"

    # -- reading ---------------------------------------------------------------------------------------

    def get(self, wallet: str) -> PeerRecord | None:
        """The record of a wallet, as far as it is known here."""
        entry = self._table.get(wallet)
        return entry.record if entry else None

    def of_role(self, role: str) -> list[PeerRecord]:
        """The known records of a role, the freshest first."""
        found = [entry.record for entry in list(self._table.values()) if entry.record.role == role]
        return sorted(found, key=lambda record: -record.sequence)

    async def find(self, wallet: str) -> PeerRecord | None:
        """The record of a wallet; when it is not known, itself (if connected) and the bootstrap peers are asked.
        Never raises."""
        if wallet not in self._table:
            await self._ask_all(["find", bytes.fromhex(wallet[2:])], wallet)
        if wallet in self._table:
            self._pinned.add(wallet)
        return self.get(wallet)

    async def refresh(self, wallet: str) -> PeerRecord | None:
        """The record of a wallet, asked for again although one is known: it may have moved. Never raises."""
        await self._ask_all(["find", bytes.fromhex(wallet[2:])], wallet)
        return await self.find(wallet)

    async def find_role(self, role: str) -> list[PeerRecord]:
        """The records of a role, the bootstrap peers' included, the freshest first. Never raises."""
        await self._ask_all(["role", role])
        return self.of_role(role)

    def add(self, data: bytes, source: str = "") -> bool:
        """Takes an encoded record (from a contract, say). True when it was new. Raises `ProtocolError`."""
        if data in self._raw:
            return False
        record = PeerRecord.decode(data)
        if record.wallet == self._keyring.address:
            self._overtake(record)
            return False
        known = self._table.get(record.wallet)
        if known is not None and known.record.sequence >= record.sequence:
            self._node.stats["records_stale"] += 1
            return False
        if known is None and source not in ("", record.wallet) and self._introduced[source] >= MAX_FROM_ONE:
            self._node.stats["records_refused"] += 1
            return False
        self._put(_Entry(record, data, source))
        return True

    def _put(self, entry: _Entry) -> None:
        wallet = entry.record.wallet
        self._drop(wallet)
        self._table[wallet] = entry
        self._raw.add(entry.data)
        self._introduced[entry.source] += 1
        self._node.learn(entry.record)
        if len(self._table) > MAX_TABLE:
            oldest = next((known for known in self._table if known not in self._pinned), wallet)
            self._drop(oldest)
            self._node.forget(oldest)
        if self.on_change is not None:
            self.on_change(entry.record)

    def _drop(self, wallet: str) -> None:
        entry = self._table.pop(wallet, None)
        if entry is not None:
            self._raw.discard(entry.data)
            self._introduced[entry.source] -= 1

    def _overtake(self, record: PeerRecord) -> None:
        """A record of our own with a higher sequence is about (our clock went back): make a newer one."""
        if record.sequence >= self.own.sequence and record != self.own:
            self._floor = record.sequence
            self.update()

    def introduce(self, wallet: str) -> None:
        """Makes sure that a wallet we write to has our record, when it is not announced to all."""
        if not self._announce and wallet not in self._friends:
            self._friends.add(wallet)
            self._swap_soon(wallet)

    # -- talking ---------------------------------------------------------------------------------------

    async def _answer(self, wallet: str, question: bytes) -> bytes:
        value = decode(question, limit=_ANSWER_BYTES)
        if not isinstance(value, list) or len(value) != 2:
            raise ProtocolError("not a directory question")
        what, subject = value
        if what == "swap" and isinstance(subject, list):
            self._take(subject, wallet)
            known = self._table.get(wallet)
            newer = [known.data] if known and known.data not in subject else []  # its clock went back
            return encode([*newer, *self._mine(wallet)][:MAX_ANSWER])
        if what == "find" and isinstance(subject, bytes) and len(subject) == 20:
            if subject == self._keyring.wallet:
                return encode(self._mine(wallet)[: 1 if self._shows(wallet) else 0])
            entry = self._table.get(to_checksum_address(subject))
            return encode([entry.data] if entry else [])
        if what == "role" and isinstance(subject, str):
            found = [self._table[record.wallet].data for record in self.of_role(subject)]
            own = [self.own.encode()] if self._role == subject and self._announce else []
            return encode([*own, *found][:MAX_ANSWER])
        raise ProtocolError("not a directory question")

    def _mine(self, to: str) -> list[bytes]:
        """What is offered in a swap: the own record, then the records that came last."""
        own = [self.own.encode()] if self._shows(to) else []
        last = [entry.data for wallet, entry in reversed(self._table.items()) if wallet != to]
        return [*own, *last[: MAX_ANSWER - 1]]

    def _shows(self, to: str) -> bool:
        return self._announce or to in self._friends

    def _take(self, records: Any, source: str) -> None:
        if not isinstance(records, list) or len(records) > MAX_ANSWER:
            raise ProtocolError("a directory answer is a list of records")
        for data in records:
            try:
                if not isinstance(data, bytes):
                    raise ProtocolError("a record is bytes")
                self.add(data, source)
            except ProtocolError as error:
                self._node.stats["records_forged"] += 1
                log.warning("%s passed on a bad record: %s", source, error)

    async def _ask(self, wallet: str, question: list[Any]) -> None:
        answer = await self._node.request(wallet, PROTOCOL, encode(question))
        self._take(decode(answer, limit=_ANSWER_BYTES), wallet)

    async def _ask_all(self, question: list[Any], *others: str) -> None:
        async def ask(wallet: str) -> None:
            with contextlib.suppress(WireError, ProtocolError):
                await self._ask(wallet, question)

        asked = {*map(split_wallet, self._bootstrap), *others}
        await asyncio.gather(*(ask(wallet) for wallet in sorted(asked)))

    async def _keep_announcing(self, wallet: str) -> None:
        """Swaps with one bootstrap peer for ever: at once when our record changes, else each interval (more
        often in the beginning, when others are just arriving too)."""
        delay, calm = _RETRY_FIRST, min(_CALM_FIRST, self._interval)
        while True:
            self._again.clear()
            try:
                await self._ask(wallet, ["swap", self._mine(wallet)])
                if wallet in self._gone:
                    log.warning("the bootstrap peer %s is back", wallet)
                self._gone.discard(wallet)
                delay = _RETRY_FIRST
                pause, calm = calm, min(2 * calm, self._interval)
            except (WireError, ProtocolError) as error:
                if wallet not in self._gone:
                    log.warning("the bootstrap peer %s is gone (%s); known records are kept", wallet, error)
                self._gone.add(wallet)
                pause, delay = delay, min(2 * delay, self._interval)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause * self._rng.uniform(0.75, 1.25)):
                    await self._again.wait()

    def _on_meet(self, wallet: str) -> None:
        """On the node's thread. Of two that meet, the one with the smaller wallet asks for the swap."""
        loop = self._loop
        mine = self._keyring.address < wallet if self._announce else wallet in self._friends
        if loop is not None and mine:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._meet, wallet)

    def _meet(self, wallet: str) -> None:
        now = self._clock()
        if self._loop is None or now - self._met.get(wallet, 0.0) < _MEET_SECONDS:
            return
        self._met[wallet] = now
        self._met.move_to_end(wallet)
        if len(self._met) > MAX_TABLE:
            self._met.popitem(last=False)
        self._swap_soon(wallet)

    def _swap_soon(self, wallet: str) -> None:
        async def swap() -> None:
            with contextlib.suppress(WireError, ProtocolError):
                await self._ask(wallet, ["swap", self._mine(wallet)])

        self._spawn(swap())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def split_wallet(multiaddr: str) -> str:
    """The wallet that a multiaddr with peer id leads to."""
    return wallet_of_peer(split_multiaddr(multiaddr)[1])
