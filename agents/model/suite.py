"""Segmentation as a service: a model owner's process that sells a suite of U-Nets, slice by slice, volume by volume.

The patient buys all images of a volume at once. Its batches then run as blind sessions, one after another over the same
two channels, each with its own name and a tape that the dealer deals while it is used: a volume takes hundreds of
tapes, so none is kept ahead (see docs/tapes.md). What the owner learns: the number of slices, and that all were done.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agents.engine import dealing
from agents.engine.blind import pump, purpose
from agents.engine.faults import point
from agents.engine.lanes import Lanes
from agents.engine.used import use_tape
from agents.model.duty import PATIENT_PATIENCE, ModelDuty
from models.segmentation.plan import Plan
from models.segmentation.suite import NAME, SegNetwork, Suite, load_suite
from protocols.blind.estimate import estimate
from protocols.blind.messages import Role
from protocols.blind.model import ModelParty
from protocols.blind.session import UsedSessions
from protocols.blind.weights import ModelWeights
from protocols.case.model import ModelCase, all_done
from protocols.case.volume import MAX_IMAGES, allowance
from protocols.effects import Event
from protocols.errors import ProtocolError, UserError, WireError

FIELD = "chest radiology"
NEXT_BATCH = 300.0  # seconds that a patient has between two batches
MOST_BATCH = 16  # images evaluated together: what fits the memory of a model that serves others too


def is_suite(name: str) -> bool:
    """Whether `--network` names a suite of segmentation networks rather than a classifier."""
    return name == NAME or Path(name).is_dir()


class SuiteDuty(ModelDuty):
    """Sells volumes. options: as `ModelDuty`, price and dealer_fee of one slice image; max_images of one volume."""

    def load(self, name: str) -> None:
        """The suite, and what it says of itself."""
        self.suite: Suite = load_suite(name)
        self.network_id = self.suite.identity
        dice = self._dice()
        summary = f"{self.suite.name}: lung and infection along {self.suite.axes}" + (
            f", Dice {dice:.3f} on held-out volumes" if dice else ""
        )
        self.card: Any = SimpleNamespace(name=self.suite.name, specialty=FIELD, summary=lambda: summary)
        self._held: tuple[tuple[str, bytes], ModelWeights] | None = None
        self._preparing = threading.Lock()

    def __init__(self, setup: Any) -> None:
        setup.options["tape_budget"] = 0  # dealt live alone
        super().__init__(setup)
        self.most = min(MAX_IMAGES, int(setup.options.get("max_images", MAX_IMAGES)))

    def probes(self) -> None:
        """A suite has none: its logits are of pixels, and a batch has no room to hide a probe among slices."""

    def figures(self) -> dict[str, float]:
        """The overlap with labels on held-out volumes."""
        return {"dice": self._dice()}

    def _dice(self) -> float:
        """Mean Dice of the infection networks against labels on their held-out volumes; 0 where no card has one."""
        found = [
            value
            for (task, _), n in self.suite.networks.items()
            if task == "infection"
            for value in _held_out(n)
        ]
        return max(0.0, min(1.0, sum(found) / len(found))) if found else 0.0

    def wish(self, body: dict[str, Any]) -> tuple[str, int, dict[str, Any]]:
        """See `ModelDuty`. Bounds what is accepted before any of it is made."""
        if body.get("volume") is None:
            return "this suite segments volumes, not pictures", 1, {}
        if body.get("slots"):
            return "audit slots are not offered for volumes", 1, {}
        try:
            plan = Plan.from_plain(body["volume"])
            sides = {self.suite.of(plan, n).card.side for n in range(len(plan.sweeps))}
        except UserError as error:
            return error.fault, 1, {}
        if sides != {plan.grid}:
            return f"images of side {plan.grid} are not evaluated here, but of {min(sides)}", 1, {}
        if plan.images > self.most:
            return f"the volume has {plan.images} images, and the limit is {self.most}", 1, {}
        if plan.images < 1 or plan.batch > MOST_BATCH:
            return f"a batch is 1 to {MOST_BATCH} images", 1, {}
        volume = {"plan": plan.to_plain(), "images": plan.images, "batches": sum(1 for _ in plan.batches())}
        return "", plan.images, volume

    def proposal(self, case: ModelCase) -> dict[str, Any]:
        """All networks of the suite by hash and topology, so that the patient can check the id that is signed."""
        plan = Plan.from_plain(case.volume["plan"])
        networks = [
            [task, axis, n.network.network_hash(), n.network.topology.encode()]
            for (task, axis), n in self.suite.networks.items()
        ]
        card = {"name": self.suite.name, "modalities": ["CT"], "side": plan.grid, **self.figures()}
        return {
            "card": card,
            "topology": b"",
            "suite": networks,
            "images": plan.images,
            "costs": self.costs_of(plan),
        }

    def costs_of(self, plan: Plan) -> dict[str, Any]:
        """What all batches of a volume take, between two processes of one machine."""
        assert self._speed is not None
        sums: dict[str, float] = {}
        for place, sweep in enumerate(plan.sweeps):
            topology = self.suite.of(plan, place).network.topology
            told = estimate(topology, plan.batch, self._speed, known=True)
            batches = sweep.count / plan.batch
            for name, value in told.to_plain().items():
                sums[name] = sums.get(name, 0.0) + value * batches
        whole = ("bytes", "bytes_ahead", "bytes_online", "rounds")
        return {"batch": plan.batch, **{k: round(v) if k in whole else v for k, v in sums.items()}}

    # ---- the session
    async def host(self, key: str, body: dict[str, Any]) -> tuple[int, int]:
        """Serve the batches that the patient names until it has all. Nothing is opened here: the bucket is 0.

        A patient who takes every batch and leaves without a word has what it paid for.
        """
        try:
            return 0, await self._serve(key, body)
        except (ProtocolError, WireError) as error:
            case = self.core.state(key)
            if case is None or not all_done(case):
                raise
            self.tell("blind.left", f"all batches were evaluated, though the session broke: {error}", key)
            return 0, 0

    async def _serve(self, key: str, body: dict[str, Any]) -> int:
        """One session; bytes moved."""
        session, dealer = self.thread_of(body["session"]), body["dealer"]
        members = {place: n.network.network_hash() for place, n in self.suite.networks.items()}
        moved = 0
        async with await self.dial(dealer, purpose("deal", session)) as channel:
            await channel.send(dealing.suite_order(members))
            async with Lanes(channel) as to_dealer:
                await to_dealer.hear("dealing", 1)
                taken = await self.switchboard.take(
                    body["patient"], purpose("blind", session), PATIENT_PATIENCE
                )
                async with taken as patient, Lanes(patient) as to_patient:
                    plan = Plan.from_plain(body["volume"]["plan"])
                    serving = Serving(self, key, body, plan, to_dealer, to_patient)
                    moved = await serving.run()
        return moved

    def weights_of(self, member: SegNetwork, dealer: str) -> ModelWeights:
        """Those of one network, prepared for sessions with one dealer; the last ones are kept. Heavy."""
        name = (dealer, member.network.network_hash())
        with self._preparing:
            if self._held is not None and self._held[0] == name:
                return self._held[1]
            self._held = None  # so that there are never two at once
            weights = ModelWeights(member.network, self.member_seed(member, dealer))
            self._held = (name, weights)
            return weights

    def member_seed(self, member: SegNetwork, dealer: str) -> bytes:
        """The seed of one network's pad, shared with one dealer."""
        return self.keyring.derive("dealer-seed", member.network.network_hash() + bytes.fromhex(dealer[2:]))


def _held_out(member: SegNetwork) -> list[float]:
    """Dice coefficients against labels in a card, one a held-out volume."""
    volumes = member.card.held_out.get("volumes", {})
    told = [volume.get("dice") for volume in volumes.values()] if isinstance(volumes, dict) else []
    return [float(dice) for dice in told if type(dice) in (int, float) and 0 <= dice <= 1]


class Serving:
    """One session of a volume, on the model's side."""

    def __init__(
        self, duty: SuiteDuty, key: str, body: dict[str, Any], plan: Plan, to_dealer: Lanes, to_patient: Lanes
    ) -> None:
        self.duty, self.key, self.body, self.plan = duty, key, body, plan
        self.to_dealer, self.to_patient = to_dealer, to_patient
        self.batches = list(plan.batches())

    async def run(self) -> int:
        """Until the patient says that it has all; bytes moved. Raises `ProtocolError` or `WireError`."""
        moved = 0
        while True:
            word = await self.to_patient.word(NEXT_BATCH)
            if word == ["done"]:
                await self.to_patient.say("thanks")
                await self.to_dealer.channel.send(dealing.over())
                return moved
            try:
                number = self._number(word)
            except ProtocolError as error:
                await self.to_patient.say("sorry", error.fault)
                raise
            member = self.duty.suite.of(self.plan, self.batches[number].sweep)
            weights = await asyncio.to_thread(self.duty.weights_of, member, self.body["dealer"])
            self._reserve()
            moved += await self._batch(number, member, weights)
            point("before-write", "batch")
            told = {"session": self.body["session"], "number": number}
            self.duty.core.apply(self.key, Event("progressed", told))
            point("after-write", "batch")

    def _number(self, word: list[Any]) -> int:
        """The batch that the patient asks for. Raises `ProtocolError` for one that is not of the plan, or unpaid."""
        fault = ""
        if len(word) != 3 or word[0] != "batch" or any(type(n) is not int for n in word[1:]):
            fault = "the patient's word is no wish for a batch"
        elif not 0 <= word[1] < len(self.batches) or word[2] != self.batches[word[1]].count:
            fault = "the batch is not one of the plan that was paid for"
        else:
            fault = self._objection()
        if fault:
            raise ProtocolError(fault, "ask for those of the plan")
        return int(word[1])

    def _objection(self) -> str:
        """Why this session serves no further batch, or ""."""
        state = self.duty.core.state(self.key)
        if state is None or state.phase != "hosting" or state.session != self.body["session"]:
            return "another session of this volume was begun since"
        if state.served >= allowance(self.body["volume"]):
            return "more batches were asked for than were paid for"
        return ""

    def _reserve(self) -> None:
        """Count a batch before anything of it leaves, so that no two sessions have the same one for nothing."""
        fault = self._objection()
        if fault:
            raise ProtocolError(fault, "ask for those of the plan")
        self.duty.core.apply(self.key, Event("reserved", {"session": self.body["session"]}))

    async def _batch(self, number: int, member: SegNetwork, weights: ModelWeights) -> int:
        duty, dealer = self.duty, self.body["dealer"]
        count, name = self.batches[number].count, member.network.network_hash()
        order = dealing.Order(member.network.topology.encode(), name, duty.member_seed(member, dealer), count)
        await self.to_dealer.channel.send(dealing.deal_order(order))
        tape = dealing.tape_of(await self.to_dealer.hear("tape", 2))
        use_tape(duty.store, tape, dealer, name, count)
        session = duty.thread_of(f"{self.body['session']}/{number}")
        party = ModelParty(weights, session, tape, UsedSessions(), count)
        links = {Role.PATIENT: self.to_patient.open(session), Role.DEALER: self.to_dealer.open(tape)}
        traffic = await pump(party, links)
        if party.result.bucket is not None:
            raise ProtocolError("a network of the suite opens confidence buckets", "use one that has none")
        self.to_patient.close(session)
        self.to_dealer.close(tape)
        return traffic.sent + traffic.received
