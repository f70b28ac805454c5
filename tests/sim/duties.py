"""The five duties as they are, on simulated parts.

Nothing of what a duty decides or performs is written again here: `PatientDuty` and the others run with the
real engine, ledger, policy, chain client, bindings and blind inference. Replaced are the edges: the wire and
its channels, the node behind the client, AEA's threads, the clock, the disk under the log.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from agents.dealer.duty import DealerDuty
from agents.doctor.duty import DoctorDuty
from agents.doctor.readers import Reading
from agents.engine.duty import Setup
from agents.engine.ledger import Ledger
from agents.engine.store import Pending, Store
from agents.framework.decision import Signatory, TxWish
from agents.model.duty import ModelDuty
from agents.model.suite import SuiteDuty
from agents.patient.duty import PatientDuty, Wishes
from agents.researcher.duty import ResearcherDuty
from contracts.bindings.doctors import SignedCredential
from contracts.chain.client import ChainClient
from models.scans import make_scan
from models.segmentation.suite import SegNetwork, Suite
from protocols.blind.audit import publish_probes
from protocols.blind.estimate import Speed
from protocols.blind.layers import Affine, Clip, Conv, Dense, Flatten
from protocols.blind.network import Network
from protocols.case.doctor import DoctorPolicy
from protocols.case.policy import SpendingPolicy
from protocols.case.steps import transact
from protocols.case.view import SeatStatus
from protocols.crypto.eip712 import Credential, doctors_domain
from protocols.dialogues import Said
from protocols.effects import Event
from protocols.errors import WireError
from protocols.specialty import specialty
from tests.agents.segmentation.chests import card_of, tent, write_chest
from tests.protocols.blind.blind_samples import fill, topology
from tests.sim.lives import LIFE, Agent, Life, Mortal
from tests.sim.network import SimDirectory

FOREVER = 2**40
FIELD = specialty("neuroradiology")
ETHER = 10**18
SPEED = Speed(1e-11, 1e-11, 1e-8, 1e-8, 1e-8)
FOLDER = Path(tempfile.gettempdir()) / f"crypdoc-sim-{os.getpid()}"  # two runs at once stay apart
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


# ---- parts
class SimRuntime:
    """What a duty asks of AEA: the outbox, the signer, the pulse."""

    def __init__(self, life: Life, duty: Any, signatory: Signatory) -> None:
        self._life, self._duty, self._signatory = life, duty, signatory
        self.signer = self

    async def start(self) -> None:
        """The pulse begins, and messages come in."""
        self._life.ready = True
        self._pulsing = asyncio.create_task(self._pulse())

    async def _pulse(self) -> None:
        world = self._life.world
        while True:
            await asyncio.sleep(world.pulse * world.chance.uniform(0.9, 1.1))
            self._duty._beat()

    def put(self, to: str, said: Said) -> None:
        """Hand a message to the wire."""
        self._life.hit("say")
        self._life.world.network.put(self._life.agent, to, said)
        self._life.hit("said")

    async def sign(self, wish: Any) -> bytes:
        """The decision maker's answer."""
        raw = self._signatory.grant(wish)
        if isinstance(wish, TxWish):
            self._life.world.chain.know(raw, wish.tx, f"{self._life.agent.name}:{wish.effect_id}", wish.name)
        return raw

    async def stop(self) -> None:
        """Nothing to stop."""


class SimWire:
    """Acknowledgements."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def ack(self, sender: str, name: bytes) -> None:
        """Tell the sender."""
        self._life.world.network.ack(self._life.agent, sender, name)

    def not_yet(self, sender: str, name: bytes) -> None:
        """Nothing is told: the sender says it again."""


class SimPort:
    """One agent's way to the node; crashes are set around what it sends."""

    def __init__(self, life: Life) -> None:
        self._life = life

    async def request(self, method: str, *params: Any) -> Any:
        """See `SimChain.request`."""
        if method != "eth_sendRawTransaction":
            return await self._life.world.chain.request(method, *params)
        self._life.hit("send")
        try:
            return await self._life.world.chain.request(method, *params)
        finally:
            self._life.hit("sent")

    async def close(self) -> None:
        """Nothing is open."""


class Nothing:
    """A part that is not there and is only told to close."""

    port = 0

    async def close(self) -> None:
        """Nothing."""


class SimProgress:
    """Progress lines go to the trace."""

    def __init__(self, path: Path, who: str, role: str) -> None:
        self._who = who

    def __call__(self, step: str, text: str, *, case: object = None, **more: object) -> None:
        life = LIFE.get()
        assert life is not None
        life.world.trace(self._who, f"{step}: {text}")

    def close(self) -> None:
        """Nothing is open."""


def store_of_life(path: Path | None) -> Store:
    """The log that survives, as this life may use it."""
    life = LIFE.get()
    assert life is not None
    store = Store.__new__(Store)
    store.path = path
    store._db = Mortal(life.agent.log, life)  # type: ignore[assignment]
    return store


def point(moment: str, what: str) -> None:
    """The kill points of the real agents."""
    life = LIFE.get()
    if life is not None:
        life.hit(f"{moment}:{what}")
        life.hit(moment)


class Simulated:
    """Mixed into a duty: starts it on simulated parts."""

    async def _start(self) -> None:
        life = LIFE.get()
        assert life is not None
        duty: Any = self
        s = duty.setup
        duty.chain = await ChainClient.connect("sim", s.book, rpc=SimPort(life))  # type: ignore[arg-type]
        duty.tls, duty.node = Nothing(), Nothing()
        duty.directory = SimDirectory(life.world, life.agent)
        duty.wire = SimWire(life)
        contracts = {name: s.book.address(name) for name in s.book.contracts}
        duty.allowance = life.agent.allowance
        signatory = Signatory(duty.keyring, s.policy, duty.allowance, contracts, life.world.loop.wall)
        duty.runtime = SimRuntime(life, duty, signatory)
        duty.ledger = Ledger(duty.keyring, duty.chain, duty.store, duty.runtime.signer, duty.allowance)
        await duty.runtime.start()

    async def _stop(self) -> None:
        """A life ends by being cut off; there is no other way here."""


# ---- the roles, honest and not
class SimDealer(Simulated, DealerDuty):
    """A dealer."""


class Liar:
    """Mixed into a model. vice `liar`: signs the receipt for another bucket than was opened."""

    async def do_sign_receipt(self, pending: Pending) -> Event:
        life = LIFE.get()
        if life is not None and life.agent.vice == "liar":
            body = dict(pending.effect.body)
            body["bucket"] = (int(body["bucket"]) + 1) % 4
            pending = Pending(
                type(pending.effect)(pending.effect.id, pending.effect.kind, body),
                pending.case_key,
                pending.attempts,
                pending.due,
                pending.scratch,
                pending.trouble,
            )
        return await super().do_sign_receipt(pending)  # type: ignore[misc,no-any-return]


class SimModel(Simulated, Liar, ModelDuty):
    """A model's owner."""


class SimSuite(Simulated, Liar, SuiteDuty):
    """An owner of a suite."""


class SimPatient(Simulated, PatientDuty):
    """A patient."""


class SimResearcher(Simulated, ResearcherDuty):
    """A researcher."""


class SimDoctor(Simulated, DoctorDuty):
    """A doctor. vices: `copy`, `twice`, `late` (`absent` and `decline` are the reader's and the policy's)."""

    async def do_transact(self, pending: Pending) -> Event:
        life = LIFE.get()
        assert life is not None
        vice, step = life.agent.vice, pending.effect.body["step"]
        if vice == "copy" and step == "commit" and pending.scratch is None:
            pending = await self._copied(pending)
        if vice == "late" and step == "reveal":
            block, now = await self.chain.head()
            case_id = pending.effect.body["args"][0]
            view = await self.ask(self.contracts.cases.view(case_id, block, now), block)
            if view.deadline and now <= view.deadline:
                raise WireError("this doctor takes its time", "wait")
        outcome = await super().do_transact(pending)
        if vice == "twice" and step in ("commit", "reveal") and outcome.kind == "mined":
            body = pending.effect.body
            args = list(body["args"])
            if step == "commit":
                args[1] = bytes(32 * [7])
            again = transact(pending.case_key, f"{step}-again", "Cases", step, args)
            with self.store.transaction():
                self.store.add_effect(pending.case_key, again)
        return outcome

    async def _copied(self, pending: Pending) -> Pending:
        """Somebody else's commitment instead of one's own."""
        body = dict(pending.effect.body)
        block, now = await self.chain.head()
        view = await self.ask(self.contracts.cases.view(body["args"][0], block, now), block)
        others = [s for _, s in view.round_seats() if s.doctor != self.address]
        seen = [s.commitment for s in others if s.status is SeatStatus.COMMITTED]
        if not seen:
            raise WireError("nobody has committed yet", "wait to copy")
        body["args"] = [body["args"][0], seen[0]]
        effect = type(pending.effect)(pending.effect.id, pending.effect.kind, body)
        return Pending(
            effect, pending.case_key, pending.attempts, pending.due, pending.scratch, pending.trouble
        )


class SimReader:
    """Says what the plan has this doctor say, after some time."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def read(self, task: dict[str, Any], png: bytes) -> Reading:
        """See `agents.doctor.readers.Reader`."""
        plan, world = self._agent.world.plan, self._agent.world
        await asyncio.sleep(world.chance.uniform(0.2, 6.0))
        opinion = plan.opinions[self._agent.name]
        world.readings.setdefault((self._agent.name, task["round"]), opinion)
        return Reading(opinion, plan.confidence[self._agent.name], self._agent.vice == "absent")


# ---- how they are made
@lru_cache(maxsize=8)
def tiny(number: int) -> tuple[Network, Any]:
    """A small real network with a card."""
    nodes = (Affine((Conv(0, 2, 3, 2, 1),)), Clip(1, 4, 2), Flatten(2), Affine((Dense(3, 1),)))
    network = fill(topology(nodes, (1, 8, 8), 16, thresholds=(3, 40, 900), logit_scale=0.001), number)
    held = {"auc": 0.9 - 0.05 * number, "accuracy": 0.85, "n": 100}
    card = SimpleNamespace(
        name=f"tiny {number}",
        specialty=FIELD.name,
        labels=FIELD.labels,
        modalities=("MR", "unknown"),
        channels=1,
        side=8,
        preparation="grey3",
        logit_scale=0.01,
        held_out=held,
        summary=lambda: "a small network",
        probes=publish_probes(network, bytes(32), np.random.default_rng(number), 4).to_plain(),
    )
    return network, card


@lru_cache(maxsize=4)
def scan_of(number: int) -> Any:
    """A picture."""
    picture = np.random.default_rng(number).random((32, 32)).astype(np.float32)
    return make_scan(picture, "MR", "PNG")


@lru_cache(maxsize=4)
def suite_of(number: int) -> Suite:
    """A small real suite; every model's is another one."""
    networks = {}
    for task in ("lung", "infection"):
        network = tent(task, shift=float(number))
        card = card_of(task, "z", network)
        networks[task, "z"] = SegNetwork(FOLDER / task, card, network)
    return Suite(f"suite {number}", networks)


@lru_cache(maxsize=4)
def chest_of(number: int) -> Any:
    """A small volume, ready to be segmented: three slices, six images, four batches."""
    from agents.patient.volume import prepare_volume

    FOLDER.mkdir(exist_ok=True)
    path = write_chest(FOLDER / f"chest-{number}.nii.gz", slices=3, sick=0.2 + 0.3 * number)
    return prepare_volume(path, axes="z", batch=2)


def policy(role: str) -> SpendingPolicy:
    """Generous caps."""
    return SpendingPolicy(role, 10 * ETHER, 100 * ETHER)


def setup(agent: Agent, **options: Any) -> Setup:
    """What a duty starts with."""
    world = agent.world
    folder = FOLDER / agent.name
    return Setup(
        agent.name,
        folder,
        agent.keyring,
        world.chain.book,
        "sim",
        policy(agent.role),
        options=options,
        loud=False,
    )


def make_dealer(agent: Agent) -> Any:
    return SimDealer(setup(agent))


def make_model(agent: Agent) -> Any:
    number = int(agent.name.rpartition(" ")[2])
    price = 10**15 * (number + 1)
    more = {"price": price, "dealer_fee": 10**14, "dealer": "", "tape_budget": 0, "speed": SPEED}
    if agent.world.plan.volume:
        return SimSuite(setup(agent, network=f"suite{number}", **more | {"price": price // 10}))
    return SimModel(setup(agent, network=f"tiny{number}", **more))


def make_doctor(agent: Agent) -> Any:
    world = agent.world
    digest = doctors_domain(1, world.chain.book.address("Doctors")).digest(
        Credential(agent.address, world.plan.specialty.id, FOREVER)
    )
    signed = SignedCredential(
        world.plan.specialty.id, world.attester.address, FOREVER, _credential(world.attester.keyring, digest)
    )
    least = 10**30 if agent.vice == "decline" else 0
    doctor_policy = DoctorPolicy((world.plan.specialty.name,), least_bounty=least)
    return SimDoctor(setup(agent, policy=doctor_policy, credentials=[signed]), SimReader(agent))


def _credential(keyring: Any, digest: bytes) -> bytes:
    return bytes(keyring.sign_digest(digest))


def make_patient(agent: Agent) -> Any:
    return SimPatient(setup(agent, masked_cache=0))


def make_researcher(agent: Agent) -> Any:
    options = {"specialty": agent.world.plan.specialty.name, "wanted": 1, "budget": ETHER, "patience": 120.0}
    return SimResearcher(setup(agent, **options))


async def main(duty: Any) -> None:
    """A process that only serves."""
    await duty.run()


async def patient_main(duty: Any) -> None:
    """A process with a case to see through, as `crypdoc patient SCAN`."""
    life = LIFE.get()
    assert life is not None
    plan = life.world.plan
    running = asyncio.create_task(duty.run())
    while duty.seen_block < 0:
        await asyncio.sleep(0.2)
    if not duty.core.states() and plan.volume:
        wishes = Wishes(specialty=plan.specialty.name, panel=plan.panel, consent=plan.consent)
        await duty.begin_volume(chest_of(plan.scan), wishes)
    elif not duty.core.states():
        wishes = Wishes(panel=plan.panel, consent=plan.consent, slots=4 * (plan.seed % 2))
        await duty.begin(scan_of(plan.scan), wishes)
    await running


MAKERS = {
    "dealer": make_dealer,
    "model": make_model,
    "doctor": make_doctor,
    "patient": make_patient,
    "researcher": make_researcher,
}

MACHINES = {
    "dealer": SimDealer.machine,
    "model": SimModel.machine,
    "doctor": SimDoctor.machine,
    "patient": SimPatient.machine,
    "researcher": SimResearcher.machine,
}
