"""One run: a plan drawn from a seed, the participants, and what happened.

result = run(17)                 # the same every time, in any process
result.outcome, result.faults    # "settled", []
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from unittest.mock import patch

import numpy.random  # noqa: F401 (draws entropy when first imported: not in the middle of a run)

from contracts.chain.terms import DEMO
from protocols.crypto import bls
from protocols.crypto.bls import BlsKey
from tests.sim import duties
from tests.sim.chain import Sent, SimChain, call_of, why
from tests.sim.checks import Watch
from tests.sim.clock import Deadlock, VirtualLoop
from tests.sim.lives import Agent, task_factory
from tests.sim.network import SimNetwork
from tests.sim.plan import Plan, draw

ETHER = 10**18
HORIZON = 2_500.0
"""Simulated seconds after which a run is over, finished or not."""


@dataclass
class Result:
    """What became of a run. faults: what the checks found, empty when all is well."""

    seed: int
    plan: Plan
    outcome: str
    faults: list[str]
    hash: str
    lines: list[str]
    seconds: float
    blocks: int
    transactions: int
    messages: int
    crashes: int


class World:
    """Everything of one run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loop = VirtualLoop()
        self.loop.set_task_factory(task_factory)
        self.chance = random.Random(f"{plan.seed}/world")
        self.secrets = random.Random(f"{plan.seed}/secrets")
        self.lines: list[str] = []
        self.defects: list[str] = []
        self.readings: dict[tuple[str, int], str] = {}
        self.pulse = 1.0
        self.attester = Agent(self, "attester", "attester", secret("attester"))
        chain_rng = random.Random(f"{plan.seed}/chain")
        self.chain = SimChain(self.loop, chain_rng, plan.chain, DEMO, self.attester.address)
        self.network = SimNetwork(self, random.Random(f"{plan.seed}/network"), plan.net)
        self.agents: dict[str, Agent] = {}
        self._digest = hashlib.blake2b(digest_size=16)
        for name in plan.cast:
            self._add(name)
        self.watch = Watch(self)

    def _add(self, name: str) -> None:
        role = name.split(" ")[0]
        agent = Agent(self, name, role, secret(name))
        agent.vice = self.plan.vices.get(name, "")
        agent.make = duties.MAKERS[role]
        agent.main = duties.patient_main if role == "patient" else duties.main
        self.agents[name] = agent
        self.network.agents[agent.address] = agent
        self.chain.fund(agent.address, 100 * ETHER)
        for crash in self.plan.crashes:
            if crash.agent == name and crash.kind != "time":
                agent.arm(crash.kind, crash.count, crash.back)

    # ---- telling
    def trace(self, who: str, text: str) -> None:
        """A line of what happens; all lines make the run's hash."""
        line = f"{self.loop.time():10.3f}  {who:14s} {text}"
        self._digest.update(line.encode() + b"\n")
        self.lines.append(line)

    def defect(self, text: str) -> None:
        """Something that must not happen, did."""
        self.trace("DEFECT", text)
        self.defects.append(text)

    def told(self, block: list[Sent]) -> None:
        """A block was mined."""
        for sent in block:
            became = "mined" if sent.ok else f"refused ({why(sent.why)})"
            self.trace("chain", f"block {sent.block}: {call_of(sent.tx)} of {sent.effect} {became}")

    # ---- the run
    async def conduct(self) -> None:
        """From the first process to the end of everything."""
        self.chain.on_block.append(self.told)
        self.chain.begin()
        known = [a for a in self.agents.values() if a.role in ("doctor", "model")]
        for agent in self.agents.values():
            if agent.role in ("dealer", "model", "doctor"):
                agent.start()
        while not all(self.registered(a) for a in known) and self.loop.time() < 300:
            await asyncio.sleep(1)
        self.agents["patient"].start()
        if "researcher" in self.agents:
            self.agents["researcher"].start()
        begin = self.loop.time()
        for crash in self.plan.crashes:
            if crash.kind == "time":
                self.loop.call_later(crash.count / 10, self._strike, crash.agent, crash.back)
        while self.loop.time() < begin + HORIZON:
            await asyncio.sleep(5)
            if self.quiet():
                break
        else:
            self.trace("world", "the horizon is reached")

    def registered(self, agent: Agent) -> bool:
        """Whether a doctor or a model is on the chain's list (or never will be)."""
        c = self.chain.contracts
        if agent.gone:
            return True
        if agent.role == "doctor":
            return int(self.chain.read(c.doctors.doctor(agent.address)).state) == 1
        network, _ = duties.tiny(int(agent.name.rpartition(" ")[2]))
        return bool(self.chain.read(c.models.network(network.network_hash())).active)

    def _strike(self, name: str, back: float | None) -> None:
        agent = self.agents[name]
        if agent.up and agent.life is not None:
            agent.life.end("is killed", back)

    def quiet(self) -> bool:
        """True when nobody has anything left to do. Sets the pace of the pulse: slow while all wait for hours."""
        still, busy = True, False
        over = self.watch.over()
        for agent in self.agents.values():
            if agent.gone:
                continue
            if not agent.up:
                still, busy = False, True
                continue
            wishes = self.watch.hopeful(agent)
            unfinished = [s.phase for s in agent.duty.core.states(open_only=True)]
            waiting = agent.role == "patient" and not agent.duty.core.states()
            if wishes or unfinished or waiting:
                still = False
            elif over and agent.role != "patient":
                self._retire(agent)
            soon = any(p.due < self.loop.wall() + 60 for p in wishes)
            slow = {"offered", "browsing"} if over else {"offered"}
            busy = busy or soon or waiting or not slow.issuperset(unfinished)
        self.pulse, self.chain.idle = (1.0, False) if busy else (20.0, True)
        return still

    def _retire(self, agent: Agent) -> None:
        """Who has nothing left to do once the case is over leaves, to save time."""
        agent.retired = True
        assert agent.life is not None
        agent.life.end("goes home", None)

    def outcome(self) -> str:
        """How the case ended, in a word."""
        return self.watch.outcome()

    def digest(self) -> str:
        """Of all that happened."""
        return self._digest.hexdigest()


@lru_cache(maxsize=64)
def secret(name: str) -> bytes:
    """A wallet key by name: the same people in every run."""
    return hashlib.sha256(f"crypdoc simulation {name}".encode()).digest()


@lru_cache(maxsize=64)
def _key(seed: bytes) -> BlsKey:
    return BlsKey(seed)


@lru_cache(maxsize=256)
def _possession(key: bytes, domain: bytes, message: bytes) -> Any:
    return _key(key).sign(domain, message)


class CachedKey:
    """A BLS key made once a process: the same doctors take part in every run."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self.public = _key(seed).public

    def sign(self, domain: bytes, message: bytes) -> Any:
        """As the key does."""
        return _possession(self._seed, domain, message)


class _Errors(logging.Handler):
    """What agents log as errors is a defect."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._world.defect(f"logged: {record.getMessage()} {type(error).__name__}: {error}")


async def _inline(function: Any, *args: Any, **more: Any) -> Any:
    return function(*args, **more)


def _fast_verify(chain: SimChain) -> Any:
    """BLS verification by the EVM's own precompile instead of Python's 50 ms."""

    def verify(domain: bytes, message: bytes, key: bls.EncodedG2, signature: bls.EncodedG1) -> bool:
        try:
            bls.decode_g1(signature)
        except Exception:
            return False
        x, y = bls.encode_g1(bls.hash_to_g1(domain, message))
        generator = bls.encode_g2(bls.G2) if hasattr(bls, "G2") else _GENERATOR
        words = [signature[0], (-signature[1]) % _P, *generator, x, y, *key]
        data = b"".join(int(w).to_bytes(32, "big") for w in words)
        return chain.pairing(data)[-1] == 1

    return verify


_P = 21888242871839275222246405745257275088696311157297823662689037894645226208583
_GENERATOR = (
    11559732032986387107991004021392285783925812861821192530917403151452391805634,
    10857046999023057135944570762232829481370756359578518086990519993285655852781,
    4082367875863433681332203403145435568316851327593401208105741076214120093531,
    8495653923123431417604973247489272438418190587263600148770280649306958101930,
)


@contextlib.contextmanager
def _patched(world: World) -> Iterator[None]:
    """The edges of the real code, simulated for as long as the run lasts."""
    draws = world.secrets
    clock = {f"time.{name}": world.loop.wall for name in ("time", "monotonic", "perf_counter")}
    chance = {
        "secrets.token_bytes": lambda n=32: draws.randbytes(n),
        "secrets.token_hex": lambda n=16: draws.randbytes(n).hex(),
        "secrets.randbits": draws.getrandbits,
    }
    edges = {
        "asyncio.to_thread": _inline,
        "agents.engine.duty.Store": duties.store_of_life,
        "agents.engine.duty.Progress": duties.SimProgress,
        "agents.engine.duty.point": duties.point,
        "agents.engine.ledger.point": duties.point,
        "agents.engine.mail.point": duties.point,
        "agents.engine.errands.point": duties.point,
        "agents.engine.core.point": duties.point,
        "agents.wire.tls.connect": world.network.connect,
        "agents.model.duty.load_network": lambda name: duties.tiny(int(str(name)[-1])),
        "agents.model.duty.QUOTE_SECONDS": 600,  # so that escrow comes back within a run
        "agents.doctor.duty.BlsKey": CachedKey,
        "agents.framework.decision.BlsKey": CachedKey,
        "agents.patient.duty.write_result": lambda *_: None,
        "protocols.crypto.bls.verify": _fast_verify(world.chain),
    }
    if world.plan.volume:
        edges |= {
            "agents.model.suite.load_suite": lambda name: duties.suite_of(int(str(name)[-1])),
            "agents.model.suite.point": duties.point,
            "agents.patient.volume.point": duties.point,
            "agents.dealer.duty.point": duties.point,
        }
    handler = _Errors(world)
    log = logging.getLogger("agents")
    spread = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        with contextlib.ExitStack() as stack:
            for target, double in {**clock, **chance, **edges}.items():
                stack.enter_context(patch(target, double))
            yield
    finally:
        log.removeHandler(handler)
        log.propagate = spread


def run(seed: int, plan: Plan | None = None, sabotage: Callable[[World], None] | None = None) -> Result:
    """One run. sabotage: called with the world before it starts, to plant a bug."""
    world = World(plan or draw(seed))
    loop = world.loop
    with _patched(world):
        if sabotage is not None:
            sabotage(world)
        main = loop.create_task(world.conduct())
        try:
            loop.run_until_complete(main)
        except Deadlock as error:
            world.defect(str(error))
        faults = world.watch.verdict()
        outcome = world.outcome()
        for agent in world.agents.values():
            if agent.life is not None:
                agent.life.alive = False
                for channel in agent.life.channels:
                    channel._closed = True
        left = [t for t in asyncio.all_tasks(loop) if not t.done()]
        for task in left:
            task.cancel()
        with contextlib.suppress(Deadlock):
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        seconds = loop.time()
        loop.close()
    return Result(
        seed=world.plan.seed,
        plan=world.plan,
        outcome=outcome,
        faults=faults,
        hash=world.digest(),
        lines=world.lines,
        seconds=seconds,
        blocks=world.chain.number,
        transactions=len(world.chain.mined),
        messages=world.network.carried,
        crashes=sum(max(0, a.lives - 1) for a in world.agents.values()),
    )
