"""A duty: one participant's process, from keystore to clean stop.

It owns the parts (log, chain, wire, AEA, decision maker) and two loops: one performs the effects that are due, one
looks at the chain and lets time pass. What the role decides is its machine's; what it does beyond saying and
transacting is in its subclass, one coroutine an effect kind: `do_<kind>(pending) -> Event | None`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from aea.identity.base import Identity

from agents.engine.channels import Switchboard
from agents.engine.core import Core
from agents.engine.errands import OWN, Errands
from agents.engine.faults import label, point
from agents.engine.ledger import Ledger
from agents.engine.mail import Mail
from agents.engine.store import Pending, Store
from agents.framework.allowance import Allowance
from agents.framework.decision import Signatory
from agents.framework.runtime import AgentRuntime
from agents.keyring import Keyring
from agents.progress import Progress
from agents.wire import tls
from agents.wire.channel import Channel
from agents.wire.connection import WireConnection
from agents.wire.directory import Directory
from agents.wire.node import Node
from agents.wire.tls import TlsServer, serve
from contracts.bindings import Contracts
from contracts.chain.address_book import AddressBook
from contracts.chain.client import ChainClient
from protocols.case.policy import SpendingPolicy
from protocols.dialogues import Said
from protocols.effects import CaseState, Event, Machine
from protocols.errors import ChainError, CrypDocError, ProtocolError, UserError, WireError
from protocols.records import PeerRecord

log = logging.getLogger(__name__)

S = TypeVar("S", bound=CaseState)
PULSE = 0.25
ACK_PATIENCE = 4.0
REFRESH_PATIENCE = 5.0


@dataclass
class Setup:
    """What a duty needs to start. host: where it listens and is dialled; port, tls_port: 0 takes free ones."""

    name: str
    data: Path
    keyring: Keyring
    book: AddressBook
    rpc: str
    policy: SpendingPolicy
    host: str = "127.0.0.1"
    port: int = 0
    tls_port: int = 0
    reach: str = ""
    bootstrap: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    loud: bool = True


class Duty(Generic[S]):
    """Base of the five roles."""

    role: ClassVar[str]
    machine: Machine[S]
    collects: ClassVar[tuple[str, ...]] = ()
    """Names, in `Contracts`, of those that may owe this role's wallet money."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.keyring = setup.keyring
        self.address = setup.keyring.address
        setup.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.store = Store(setup.data / "cases.sqlite")
        self.core: Core[S] = Core(self.machine, self.store, self.address)
        self.core.on_change = self._changed
        self.progress = Progress(setup.data / "progress.jsonl", setup.name, self.role)
        self.contracts = Contracts(setup.book)
        self.mail = Mail(self)
        self.switchboard = Switchboard(self.mail.serve)
        self.stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None
        self.seen_block = -1
        self.now_chain = 0
        self._last_trouble = ""
        self.errands = Errands(self)

    # ---- life
    async def run(self) -> None:
        """Start, work until `stopping` is set, stop cleanly. Raises `CrypDocError` when it cannot start."""
        await self._start()
        worker = asyncio.create_task(self._work())
        try:
            await self.errands.resume()
            await self.prepare()
            await self.stopping.wait()
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
            await self._stop()

    async def _start(self) -> None:
        s = self.setup
        self.chain = await ChainClient.connect(s.rpc, s.book)
        self.tls: TlsServer = await serve(s.host, s.tls_port, self.keyring, self.switchboard.admit)
        rng = random.Random(secrets.randbits(64))  # noqa: S311 (jitter of reconnections, not a secret)
        self.node = Node(self.keyring, s.host, s.port, rng=rng)
        self.directory = Directory(
            self.node,
            self.keyring,
            role=self.role,
            clock=time.time,
            rng=rng,
            bootstrap=s.bootstrap,
            tls=f"{s.reach or s.host}:{self.tls.port}",
            extra=self.record_extra(),
            interval=15.0,
            reach=s.reach,
        )
        identity = Identity(self.role, address=self.address, public_key=self.keyring.public_key.hex())
        self.wire = WireConnection(
            self.node,
            self.directory,
            self.keyring,
            identity=identity,
            random_bytes=secrets.token_bytes,
            on_ack=self._acked,
        )
        contracts = {name: s.book.address(name) for name in s.book.contracts}
        self.allowance = Allowance(s.data / "allowance.sqlite")
        signatory = Signatory(self.keyring, s.policy, self.allowance, contracts)
        self.runtime = AgentRuntime(
            self.role,
            self.address,
            self.keyring.public_key.hex(),
            self.wire,
            signatory,
            self._hear,
            self._beat,
            PULSE,
        )
        self.wire.depth = self.runtime.waiting
        self.ledger = Ledger(self.keyring, self.chain, self.store, self.runtime.signer, self.allowance)
        await self.runtime.start()
        self.tell("up", f"{self.role} {self.address} is up", multiaddrs=list(self.multiaddrs))

    async def _stop(self) -> None:
        for task in [*self._running.values(), self._looking]:
            if task is not None:
                task.cancel()
        with contextlib.suppress(Exception):
            await self.runtime.stop()
        with contextlib.suppress(Exception):
            await self.tls.close()
        await self.chain.close()
        self.store.close()
        self.allowance.close()

    @property
    def multiaddrs(self) -> tuple[str, ...]:
        """Where others can dial this agent, with its peer id: what they name as bootstrap."""
        return self.directory.own.multiaddrs

    def record_extra(self) -> dict[str, Any]:
        """What the role adds to its public record."""
        return {}

    async def prepare(self) -> None:
        """What the role does before it is ready: register, say."""

    # ---- progress
    def tell(self, step: str, text: str, case: str | None = None, **more: Any) -> None:
        """A line for whoever watches."""
        self.progress(step, text, case=case, **more)
        if self.setup.loud:
            print(f"{self.setup.name}: {text}", flush=True)

    def describe(self, after: S, before: S | None, event: Event) -> tuple[str, str] | None:
        """(step, sentence) for a change worth telling, or None."""
        return None

    def _changed(self, after: S, before: S | None, event: Event) -> None:
        self._wake.set()
        try:
            told = self.describe(after, before, event)
            if told is not None:
                self.tell(told[0], told[1], case=self.case_name(after))
        except Exception:
            log.exception("a change could not be told")

    def case_name(self, state: S) -> str:
        """How a case is named in progress lines: its id on chain."""
        return hex(int(getattr(state, "case_id", 0)))

    # ---- ears
    def _hear(self, sender: str, said: Said) -> None:
        self.mail.hear(sender, said)

    def accept(self, sender: str, said: Said) -> S | None:
        """The case that a conversation opened by a peer belongs to, or None to turn it away."""
        return None

    def _acked(self, envelope: bytes) -> None:
        self.mail.acked(envelope)

    # ---- the pulse: chain and clock
    def _beat(self) -> None:
        self._wake.set()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        try:
            block, now = await self.chain.head()
            if block != self.seen_block:
                self.now_chain = now
                await self.look(block, now)
                self.seen_block = block
                await self.errands.collect()
            self.calm()
        except (ChainError, WireError, OSError) as error:
            self.trouble(str(error))
        except Exception:
            log.exception("looking at the chain failed")
        self.tick(time.time())

    def trouble(self, text: str) -> None:
        """Say a lasting obstacle once."""
        if text != self._last_trouble:
            self._last_trouble = text
            self.tell("trouble", text)

    def calm(self) -> None:
        if self._last_trouble:
            self._last_trouble = ""
            self.tell("trouble.over", "the chain answers again")

    async def look(self, block: int, now: int) -> None:
        """A new block: let the open cases see it."""
        for state in self.core.states(open_only=True):
            case_id = int(getattr(state, "case_id", 0))
            if self.machine.answers(state.phase, "view") and case_id:
                await self.see(state.key, case_id, block, now)

    async def see(self, key: str, case_id: int, block: int, now: int) -> None:
        """Read one case at a block and apply it."""
        question = self.contracts.cases.view(case_id, block, now)
        view = question.decode(await self.chain.call(question.to, question.data, block))
        self.core.apply(key, Event("view", {"view": view, "now": time.time()}))

    def tick(self, now: float) -> None:
        """Let time pass for every open case."""
        self.core.apply_open(Event("tick", {"now": now}))

    # ---- hands
    async def _work(self) -> None:
        while True:
            for pending in self.core.due(time.time()):
                if pending.case_key != OWN and pending.effect.id not in self._running:
                    task = asyncio.create_task(self._perform(pending))
                    self._running[pending.effect.id] = task
                    task.add_done_callback(partial(self._ended, pending.effect.id))
            self._wake.clear()
            # Not `wait_for`: before Python 3.12 it forgets a cancellation that comes together with the wake.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._wake.wait()

    def _ended(self, name: str, _: asyncio.Task[None]) -> None:
        self._running.pop(name, None)
        self._wake.set()

    async def _perform(self, pending: Pending) -> None:
        effect = pending.effect
        what = label(effect.kind, dict(effect.body))
        do: Callable[[Pending], Awaitable[Event | None]] = getattr(self, f"do_{effect.kind}")
        point("after-write", what)
        try:
            outcome = await do(pending)
        except asyncio.CancelledError:
            raise
        except (ChainError, WireError) as error:
            pause = self.core.later(pending, time.time(), str(error))
            if pending.attempts in (3, 10):
                self.tell("trouble", f"{what}: {error}; trying again in {pause:.0f} s")
            return
        except UserError as error:
            if effect.kind not in ("transact", "pay"):
                self.core.later(pending, time.time(), str(error))
                self.trouble(f"{what}: {error}")
                return
            outcome = self.gave_up(pending, error)
        except Exception as error:
            log.exception("effect %s failed", effect.id)
            self.core.later(pending, time.time(), f"{type(error).__name__}: {error}")
            return
        point("before-done", what)
        try:
            self.core.done(pending, outcome)
        except Exception as error:  # a defect of ours: nothing of it was written, and it must not be silent
            log.exception("the outcome of %s could not be applied", effect.id)
            self.core.later(pending, time.time(), f"{type(error).__name__}: {error}")
            return
        self.note_transaction(outcome)

    def note_transaction(self, outcome: Event | None) -> None:
        """A progress line for a transaction that was mined."""
        if outcome is not None and outcome.kind == "mined" and "hash" in outcome.body:
            b = outcome.body
            fields = {
                "hash": b["hash"],
                "block": b["block"],
                "call": b["call"],
                "gas": b["gas"],
                "wei": b["value"],
            }
            self.progress("tx", f"{b['call']} used {b['gas']} gas", **fields, **{"from": b["sender"]})

    def gave_up(self, pending: Pending, error: CrypDocError) -> Event:
        """A transaction that will never succeed, whatever is waited for."""
        body = pending.effect.body
        self.tell("trouble", f"{label(pending.effect.kind, dict(body))}: {error}")
        return Event("reverted", {"step": body["step"], "reason": str(error), "now": time.time()})

    async def do_say(self, pending: Pending) -> None:
        """Say it until it is acknowledged: the peer has written it down then. See `Mail`."""
        await self.mail.say(pending)

    async def sealing_key_of(self, record: PeerRecord) -> bytes:
        """The key that large messages to a peer are sealed to: that of its signed record."""
        return record.sealing_key

    async def do_transact(self, pending: Pending) -> Event:
        """Send a contract call; see `Ledger`."""
        return await self.ledger.transact(pending)

    async def do_pay(self, pending: Pending) -> Event:
        """Send plain wei; see `Ledger`."""
        return await self.ledger.pay(pending)

    # ---- helpers of the roles
    async def renew(self, wallet: str) -> PeerRecord | None:
        """Ask again where somebody is: an agent that was started anew may listen elsewhere."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REFRESH_PATIENCE):
                return await self.directory.refresh(wallet)
        return self.directory.get(wallet)

    async def dial(self, wallet: str, what: str) -> Channel:
        """A direct channel to a wallet, at its newest address. Raises `WireError` or `ProtocolError`."""
        record = self.directory.get(wallet) or await self.renew(wallet)
        if record is None:
            raise WireError(f"{wallet} cannot be found", "check that it runs and is announced")
        try:
            return await tls.connect(record, self.keyring, what)
        except (WireError, ProtocolError):
            newer = await self.renew(wallet)
            if newer is None or newer == record:
                raise
            return await tls.connect(newer, self.keyring, what)

    async def ask(self, question: Any, block: Any = "latest") -> Any:
        """Perform a binding's read."""
        return question.decode(await self.chain.call(question.to, question.data, block))

    def thread_of(self, session: str) -> bytes:
        """The 32-byte session id of blind inference for a session's name."""
        return blake2b(session.encode(), digest_size=32, person=b"crypdoc-session").digest()
