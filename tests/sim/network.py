"""The network between agents: messages that are lost, doubled, late and out of order; channels that break.

Messages are sealed to the recipient's key with the wire's own sealing, so the check that no scan travels in
the clear looks at what really would go over the wire.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from agents.wire.channel import Channel, ChannelClosed
from protocols.crypto.seal import seal
from protocols.dialogues import Said
from protocols.errors import CrypDocError, WireError
from tests.sim.lives import LIFE, Agent, Crash, Life

if TYPE_CHECKING:
    from tests.sim.world import World


@dataclass
class NetFaults:
    """Chances by message or frame; times in seconds."""

    latency: float = 0.05
    spread: float = 0.1
    drop: float = 0.0
    double: float = 0.0
    linger: float = 0.0  # a message takes up to 20 seconds
    cut: float = 0.0  # a channel breaks at a frame


class SimNetwork:
    """Carries messages and acknowledgements between `Agent`s by wallet."""

    def __init__(self, world: World, rng: Random, faults: NetFaults) -> None:
        self.world, self.rng, self.faults = world, rng, faults
        self.agents: dict[str, Agent] = {}
        self.on_wire: list[Callable[[Agent, Agent, Said, bytes], None]] = []
        self.carried = self.dropped = 0

    def delay(self) -> float:
        """How long one thing takes."""
        if self.rng.random() < self.faults.linger:
            return self.rng.uniform(2, 20)
        return self.faults.latency + self.rng.uniform(0, self.faults.spread)

    def _copies(self) -> int:
        if self.rng.random() < self.faults.drop:
            self.dropped += 1
            return 0
        return 2 if self.rng.random() < self.faults.double else 1

    def put(self, frm: Agent, to: str, said: Said) -> None:
        """Send a message."""
        target = self.agents.get(to)
        if target is None:
            self.world.defect(f"{frm.name} writes to {to}, whom nobody knows")
            return
        plain = said.encode()
        sealed = seal(
            plain,
            target.keyring.sealing_key,
            self.rng.randbytes(32),
            sender=frm.keyring.wallet,
            recipient=target.keyring.wallet,
            purpose=f"crypdoc/{said.conversation}:1.0.0",
        )
        for told in self.on_wire:
            told(frm, target, said, sealed)
        self.carried += 1
        copies = self._copies()
        if not copies:
            self.world.trace(frm.name, f"-x {said.conversation}.{said.performative} to {target.name} is lost")
        for _ in range(copies):
            self.world.loop.call_later(self.delay(), self._deliver, frm, target, sealed)

    def _deliver(self, frm: Agent, target: Agent, sealed: bytes) -> None:
        life = target.life
        if life is None or not life.alive or not life.ready:
            return
        life.context.copy().run(self._hear, life, frm, sealed)

    def _hear(self, life: Life, frm: Agent, sealed: bytes) -> None:
        for name in ("quote", "session", "delivery", "disclosure", "purchase"):
            try:
                plain = life.agent.keyring.open(
                    sealed, sender=frm.keyring.wallet, purpose=f"crypdoc/{name}:1.0.0"
                )
                break
            except CrypDocError:
                continue
        else:
            self.world.defect(f"a message from {frm.name} does not open")
            return
        said = Said.decode(plain)
        what = f"{said.conversation}.{said.performative}"
        try:
            life.duty._hear(frm.address, said)
            self.world.trace(life.agent.name, f"<- {what} from {frm.name}")
        except Crash:
            pass
        except CrypDocError as error:
            self.world.trace(life.agent.name, f"turns {what} from {frm.name} away: {error}")
        except Exception as error:
            self.world.defect(f"{life.agent.name} could not handle {what}: {type(error).__name__}: {error}")

    def ack(self, frm: Agent, to: str, name: bytes) -> None:
        """Tell the sender that its message is written down."""
        target = self.agents[to]
        for _ in range(self._copies()):
            self.world.loop.call_later(self.delay(), self._acked, target, name)

    def _acked(self, target: Agent, name: bytes) -> None:
        if target.up and target.life is not None and target.life.ready:
            target.duty._acked(name)

    # ---- channels
    async def connect(self, record: Any, keyring: Any, purpose: str) -> Channel:
        """As `agents.wire.tls.connect`."""
        life = LIFE.get()
        assert life is not None
        await asyncio.sleep(self.delay())
        target = self.agents.get(record.wallet)
        if target is None or not target.up or target.life is None or not target.life.ready:
            raise WireError(f"{record.wallet} cannot be reached", "it may be down")
        far = target.life
        mine, theirs = SimChannel(self, life, target.address, purpose), None
        theirs = SimChannel(self, far, life.agent.address, purpose)
        mine.join(theirs)

        async def admit() -> None:
            try:
                await far.duty.switchboard.admit(theirs)
            finally:
                theirs.cut()

        far.spawn(admit())
        return mine


class SimChannel(Channel):
    """One end of a channel: in order, whole frames, until it breaks."""

    def __init__(self, network: SimNetwork, life: Life, peer: str, purpose: str) -> None:
        super().__init__(peer, purpose)
        self._network, self._life = network, life
        self._frames: deque[bytes | None] = deque()
        self._came = asyncio.Event()
        self._closed = False
        self._last = 0.0
        self.other: SimChannel | None = None
        life.channels.append(self)

    def join(self, other: SimChannel) -> None:
        """The two ends of one channel."""
        self.other, other.other = other, self

    def cut(self) -> None:
        """This end is gone; the other one reads what was sent, and then that."""
        if not self._closed:
            self._closed = True
            self._came.set()
            self._send(None)

    async def close(self) -> None:
        self.cut()

    def _send(self, frame: bytes | None) -> None:
        loop, other = self._network.world.loop, self.other
        if other is None:
            return
        at = max(
            self._last + 1e-6, loop.time() + self._network.faults.latency / 4
        )  # timers of one time have no order
        self._last = at
        loop.call_at(at, other._take, frame)

    def _take(self, frame: bytes | None) -> None:
        self._frames.append(frame)
        self._came.set()

    async def _write(self, frame: bytes, timeout: float) -> None:
        self._life.hit("frame-out")
        if self._network.rng.random() < self._network.faults.cut:
            self._network.world.trace(self._life.agent.name, f"channel {self.purpose[:5]} breaks")
            self.cut()
        if self._closed:
            raise ChannelClosed
        self._send(frame)
        await asyncio.sleep(0)

    async def _read(self, maximum: int, timeout: float) -> bytes:
        while not self._frames:
            if self._closed:
                raise ChannelClosed
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), timeout)
            except TimeoutError:
                raise WireError("the peer is silent", "try again") from None
        if (frame := self._frames[0]) is None:
            raise ChannelClosed
        self._frames.popleft()
        self._life.hit("frame-in")
        return frame


class SimDirectory:
    """Who is known: everybody who ever announced itself."""

    def __init__(self, world: World, agent: Agent) -> None:
        self._world, self._agent = world, agent

    @property
    def own(self) -> Any:
        return record_of(self._agent)

    def get(self, wallet: str) -> Any:
        found = self._world.network.agents.get(wallet)
        return None if found is None else record_of(found)

    async def find(self, wallet: str) -> Any:
        return self.get(wallet)

    async def refresh(self, wallet: str) -> Any:
        return self.get(wallet)

    def of_role(self, role: str) -> list[Any]:
        known = self._world.network.agents.values()
        return [record_of(a) for a in known if a.role == role and a is not self._agent and a.lives]


def record_of(agent: Agent) -> Any:
    """What an agent says of itself."""
    return SimpleNamespace(
        wallet=agent.address,
        wallet_bytes=bytes.fromhex(agent.address[2:]),
        extra={"language": "en"} if agent.role == "patient" else {},
        role=agent.role,
        sealing_key=agent.keyring.sealing_key,
        multiaddrs=(),
        encode=lambda: b"record of " + agent.name.encode(),
    )
