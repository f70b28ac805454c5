"""The deployment under test, with calls fast enough for tens of thousands: words instead of decoded structs.

The world has 25 doctors: ten well reputed, of which one is a contract that answers payments as it likes, three ill
reputed, twelve newcomers. All that happens is counted in `calls` (transactions) and `views`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from protocols.crypto.commitment import case_id
from tests.contracts.evm import CHAIN_ID, Contract, kind_of, signature_of
from tests.contracts.planted.helpers import helper
from tests.contracts.world import ETHER, GWEI, SPECIALTY, Actor, CaseHandle, Terms, World, actor

SEATED = 12  # doctors who read the cases that make the reputations
CASES_BEFORE = 26
TERMS = Terms(epoch_blocks=2)
HEAD = [
    "phase",
    "round",
    "attempt",
    "panelSize",
    "wanted",
    "seated",
    "committed",
    "revealed",
    "caseAccount",
    "specialty",
    "scanCommitment",
    "network",
    "consentHash",
    "sealingKey",
    "contact",
    "bucket",
    "band",
    "bountyWei",
    "escrowWei",
    "seatFee",
    "seedBlock",
    "deadline",
    "result",
    "agreeing",
    "seats",
]
SEAT = [
    "doctor",
    "round",
    "status",
    "commitment",
    "code",
    "confidence",
    "band",
    "newcomer",
    "paidWei",
    "reputationBefore",
    "reputationAfter",
]


class Seat(NamedTuple):
    """A seat as `view_` tells it, all numbers."""

    doctor: int
    round: int
    status: int
    commitment: int
    code: int
    confidence: int
    band: int
    newcomer: int
    paid: int
    before: int
    after: int


class Event(NamedTuple):
    """A log: which contract, which event, its indexed values and the others."""

    contract: str
    name: str
    topics: list[int]
    words: list[int]


class View:
    """What `view_` tells of a case: its fields by name, all numbers; `seats`; `core`: what must never change again
    when the case is final (all but reputations, which drift).
    """

    def __init__(self, output: bytes) -> None:
        words = [int.from_bytes(output[i : i + 32], "big") for i in range(32, len(output), 32)]
        for name, word in zip(HEAD[:-1], words, strict=False):
            setattr(self, name, word)
        self.seats = [Seat(*words[i : i + 11]) for i in range(26, len(words), 11)]
        self.core = (tuple(words[:24]), tuple(seat[:9] for seat in self.seats))

    def __getattr__(self, name: str) -> int:
        raise AttributeError(name)  # declares to the type checker that fields are numbers

    def here(self) -> list[Seat]:
        """Seats of the present round."""
        return [seat for seat in self.seats if seat.round == self.round]


@dataclass
class Done:
    """A transaction that was tried. words: what it returned."""

    sender: int
    contract: str
    name: str
    value: int
    ok: bool
    events: list[Event]
    time: int
    legit: bool
    fault: str = ""


@dataclass
class Stage:
    """See the module. replaced: artifacts instead of the committed ones."""

    replaced: Mapping[str, Any] | None = None
    calls: int = 0
    views: int = 0
    reverts: int = 0
    fell: int = 0  # transactions before the first broken invariant
    seen: Counter[str] = field(default_factory=Counter)  # events by name
    selectors: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world = World(TERMS, replaced=self.replaced)
        world, chain = self.world, self.world.chain
        deployer = world.funded("helpers")
        self.lens = chain.deploy(deployer.address, "Lens", made=helper("Lens"))
        self.receiver = chain.deploy(deployer.address, "Receiver", made=helper("Receiver"))
        w = world
        self.contracts = {
            c.name: c
            for c in (w.cases, w.doctors, w.models, w.market, w.reputation, w.certificates, self.receiver)
        }
        self.names = {int(c.address, 16): c.name for c in self.contracts.values()}
        self._learn()
        view = next(e for e in world.cases.abi if e.get("name") == "view_")["outputs"][0]["components"]
        assert [part["name"] for part in view] == HEAD, "the case view changed: change HEAD and View with it"
        assert [part["name"] for part in view[-1]["components"]] == SEAT, (
            "the seat view changed: change Seat with it"
        )

        self.doctors = world.add_doctors(24)
        chain.fund(self.receiver.address, 1_000 * ETHER)
        made = actor("receiver")
        self.guest = Actor("receiver", made.key, self.receiver.address)
        deposit = TERMS.registration_deposit
        done = self.do(self.guest, "Doctors", "register", [world.application(self.guest)], value=deposit)
        assert done.ok, done.fault
        world.members[self.guest.address] = self.guest
        self.doctors.append(self.guest)
        self.patients = [world.funded(f"patient {i}") for i in range(6)]
        self.buyers = [world.funded(f"buyer {i}") for i in range(2)]
        self.earlier = world.funded("earlier patient")
        people = (world.owner, world.dealer, world.stranger, world.attester, self.earlier)
        self.everybody = [*self.doctors, *self.patients, *self.buyers, *people]
        self.by_number = {int(a.address, 16): a for a in self.everybody}
        start = world.chain.time
        self.standings = {int(d.address, 16): (2_500, start, 0) for d in self.doctors}  # value, since, scored
        self._look, self._deposits = self._lens_calls()
        self._give_experience()

    # ------------------------------------------------------------------------------------------------ calls

    def do(
        self,
        who: Actor,
        contract: str,
        name: str,
        arguments: Sequence[Any],
        value: int = 0,
        legit: bool = True,
    ) -> Done:
        """A transaction in a block of its own; a revert is told in the answer. legit: whether the caller holds
        that the contract should take it, where a check asks for that.
        """
        self.calls += 1
        self.world.chain.mine()
        target, data = self.contracts[contract], self.calldata(contract, name, arguments)
        sender, sent = who.address, value
        if who is getattr(self, "guest", None):  # a contract: somebody makes it act
            data = self.calldata("Receiver", "act", [target.address, value, data])
            sender, target, value = self.world.stranger.address, self.receiver, 0
        evm = self.world.chain.evm
        done = Done(int(who.address, 16), contract, name, sent, True, [], self.world.chain.time, legit)
        try:
            evm.message_call(sender, target.address, calldata=data, value=value)
        except RuntimeError as error:
            self.reverts += 1
            done.ok, done.fault = False, str(error)
            return done
        result: Any = evm.result
        done.events = [event for log in result.logs if (event := self._event(log))]
        self.seen.update(event.name for event in done.events)
        return done

    def ask(self, contract: Contract, data: bytes) -> bytes:
        """A view, in words."""
        self.views += 1
        zero = "0x" + "00" * 20
        return bytes(self.world.chain.evm.message_call(zero, contract.address, calldata=data, is_static=True))

    def words(self, contract: str, name: str, arguments: Sequence[Any] = ()) -> list[int]:
        """The words that a view returns."""
        output = self.ask(self.contracts[contract], self.calldata(contract, name, arguments))
        return [int.from_bytes(output[i : i + 32], "big") for i in range(0, len(output), 32)]

    def view(self, case_id: int) -> View:
        """Everything public about a case."""
        return View(self.ask(self.world.cases, self.calldata("Cases", "view_", [case_id])))

    def look(self) -> list[int]:
        """Five words of each account of `everybody`: balance, credits in Cases, Models, DataMarket, reputation."""
        output = self.ask(self.lens, self._look)
        return [int.from_bytes(output[i : i + 32], "big") for i in range(64, len(output), 32)]

    def deposits(self) -> list[int]:
        """The registration deposit of each account of `everybody`."""
        output = self.ask(self.lens, self._deposits)
        return [int.from_bytes(output[i : i + 32], "big") for i in range(64, len(output), 32)]

    def balance(self, contract: str) -> int:
        """Wei that a contract has."""
        return self.world.chain.balance(self.contracts[contract].address)

    def calldata(self, contract: str, name: str, arguments: Sequence[Any]) -> bytes:
        """What is sent: quick for plain numbers, 32-byte strings and accounts."""
        key = (contract, name)
        if key not in self.selectors:
            entry = self.contracts[contract].function(name)
            self.selectors[key] = keccak(text=signature_of(entry))[:4]
        body = b""
        for argument in arguments:
            if isinstance(argument, int):
                body += argument.to_bytes(32, "big")
            elif isinstance(argument, bytes) and len(argument) == 32 and name != "act":
                body += argument
            else:
                kinds = [kind_of(i) for i in self.contracts[contract].function(name)["inputs"]]
                body = encode(kinds, arguments)
                break
        return self.selectors[key] + body

    # ----------------------------------------------------------------------------------------------- inside

    def _learn(self) -> None:
        self._topics: dict[str, str] = {}
        for contract in self.contracts.values():
            for entry in contract.abi:
                if entry["type"] == "event":
                    self._topics[keccak(text=signature_of(entry)).hex()] = entry["name"]

    def _event(self, log: Any) -> Event | None:
        name = self._topics.get(log.topics[0].removeprefix("0x"))
        source = self.names.get(int(log.address, 16))
        if name is None or source is None:
            return None
        data = bytes(log.data[1])
        words = [int.from_bytes(data[i : i + 32], "big") for i in range(0, len(data), 32)]
        return Event(source, name, [int(topic, 16) for topic in log.topics[1:]], words)

    def _lens_calls(self) -> tuple[bytes, bytes]:
        w = self.world
        books = [w.cases.address, w.models.address, w.market.address]
        accounts = [a.address for a in self.everybody]
        given = {
            "look": [books, w.reputation.address, SPECIALTY, accounts],
            "deposits": [w.doctors.address, accounts],
        }
        made = []
        for name, inputs in given.items():
            entry = self.lens.function(name)
            made.append(
                keccak(text=signature_of(entry))[:4] + encode([kind_of(i) for i in entry["inputs"]], inputs)
            )
        return made[0], made[1]

    def _give_experience(self) -> None:
        """Lets the first doctors read cases: three of them always dissent."""
        world = self.world
        for doctor in self.doctors[SEATED:-1]:
            self.do(doctor, "Doctors", "setResting", [1])
        for number in range(CASES_BEFORE):
            self._one_case(number)
        for doctor in self.doctors[SEATED:-1]:
            self.do(doctor, "Doctors", "setResting", [0])
        world.check_books()
        self.calls = self.views = self.reverts = 0
        self.seen.clear()

    def _one_case(self, number: int) -> None:
        scan = keccak(text=f"earlier scan {number}")
        account = self.earlier
        case = CaseHandle(case_id(CHAIN_ID, self.world.cases.address, account.address, scan), account, 3, 9)
        self.world.open(case, scanCommitment=scan)
        self.world.chain.mine(2)
        self.do(self.world.stranger, "Cases", "advance", [case.id])
        panel = [self.by_number[seat.doctor] for seat in self.view(case.id).seats]
        ill = self.doctors[:3]
        ballots = [(d, (9 if d in ill else 7), 95 if d in ill else 100) for d in panel]
        for doctor in panel:
            self.do(doctor, "Cases", "accept", [case.id], value=TERMS.seat_deposit)
        for doctor, code, sure in ballots:
            told = self.words(
                "Cases", "commitmentOf", [case.id, 1, int(doctor.address, 16), code, sure, bytes(32)]
            )
            self.do(doctor, "Cases", "commit", [case.id, told[0]])
        for doctor, code, sure in ballots:
            self.do(doctor, "Cases", "reveal", [case.id, code, sure, bytes(32)])
        done = self.do(self.world.stranger, "Cases", "advance", [case.id])
        for event in done.events:
            if event.name == "Moved" and event.topics[1] in self.standings:
                _, _, scored = self.standings[event.topics[1]]
                self.standings[event.topics[1]] = (event.words[1], done.time, scored + 1)


PRICE = 100 * GWEI  # of a record
