"""What must hold during a run and at its end."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from agents.engine.core import Core
from agents.engine.duty import OWN
from agents.engine.store import Pending, Store
from contracts.bindings import PurchaseState
from protocols.case.patient import label_of
from protocols.case.view import CaseView, Phase, SeatStatus
from protocols.codec import decode
from protocols.dialogues import Said
from protocols.specialty import INSUFFICIENT
from tests.sim.chain import Sent, why
from tests.sim.lives import Agent

if TYPE_CHECKING:
    from tests.sim.world import World

DUST = 2 * 10**15
"""Wei that may stay behind on a case account: gas that was not needed."""


class Watch:
    """Looks on while a run happens, and judges it at the end."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.chain.on_block.append(self._books)
        world.network.on_wire.append(self._privacy)

    # ---- while it runs
    def _books(self, block: list[Sent]) -> None:
        """Every contract holds what its books say, and no wei appears or disappears."""
        if not block:
            return
        chain, c = self.world.chain, self.world.chain.contracts
        books = {
            c.cases: sum(chain.read(c.cases.books())),
            c.models: sum(chain.read(c.models.books())),
        }
        for contract, held in books.items():
            if chain.balance(contract.address) != held:
                self.world.defect(
                    f"{contract.contract} holds {chain.balance(contract.address)}, books say {held}"
                )
        total = sum(chain.balance(account) for account in chain.accounts)
        if total + chain.burned != chain.minted:
            self.world.defect(f"{chain.minted - chain.burned - total} wei disappeared")

    def _privacy(self, frm: Agent, to: Agent, said: Said, sealed: bytes) -> None:
        """A scan goes to seated doctors alone, sealed; the codes go with it and nowhere else."""
        if said.conversation == "disclosure" and said.performative == "show":
            self._disclosed(frm, to, said, sealed)
        scan = said.body.get("scan")
        if scan is None:
            if "codes" in said.body:
                self.world.defect(f"{frm.name} tells {to.name} the verdict codes")
            return
        if not isinstance(scan, bytes) or scan in sealed:
            self.world.defect("a scan travels in the clear")
        seats = self.view(said.body["case_id"]).round_seats(said.body["round"])
        held = {seat.doctor: seat.status for _, seat in seats}
        if held.get(to.address, SeatStatus.NONE) not in (
            SeatStatus.ACCEPTED,
            SeatStatus.COMMITTED,
            SeatStatus.REVEALED,
            SeatStatus.NO_SHOW,
        ):
            self.world.defect(f"{frm.name} sends the scan to {to.name}, who holds no seat")

    def _disclosed(self, frm: Agent, to: Agent, said: Said, sealed: bytes) -> None:
        """A mask goes, sealed, to doctors whose own vote is on chain, when nobody of their round can vote any more."""
        view = self.view(said.body["case_id"])
        held = {seat.doctor: seat for _, seat in view.round_seats(said.body["round"])}
        over = view.round > said.body["round"] or view.phase in (Phase.REVEAL, Phase.SETTLED, Phase.REFUNDED)
        seat = held.get(to.address)
        if seat is None or seat.commitment == bytes(32) or not over:
            self.world.defect(f"{frm.name} shows {to.name} a mask before the votes are sealed")
        if bytes(said.body["mask"]) in sealed:
            self.world.defect("a mask travels in the clear")

    # ---- looking things up
    def view(self, case_id: int) -> CaseView:
        """A case now."""
        chain = self.world.chain
        view: CaseView = chain.read(chain.contracts.cases.view(case_id, chain.number, chain.timestamp))
        return view

    @staticmethod
    def states(agent: Agent) -> list[Any]:
        """What an agent's log says of its cases, dead or alive."""
        return Core(_machine(agent), _store(agent), agent.address).states()

    def hopeful(self, agent: Agent) -> list[Pending]:
        """What an agent still wants to do and can: not what it would tell somebody who left, nor a registration
        that the chain has already (its process died before it could note that).
        """
        gone = {a.address for a in self.world.agents.values() if a.gone}
        return [
            p
            for p in _store(agent).pending()
            if p.case_key != OWN and not (p.effect.kind == "say" and p.effect.body["to"] in gone)
        ]

    def case(self) -> Any:
        """The patient's last case, or None."""
        states = self.states(self.world.agents["patient"])
        return states[-1] if states else None

    def over(self) -> bool:
        """Whether the case has ended, for its patient if there is one and on chain."""
        case = self.case()
        if case is None:
            return self.world.agents["patient"].gone
        phase = self.view(case.case_id).phase
        if not self.world.agents["patient"].gone:
            return case.phase in _machine(self.world.agents["patient"]).final
        return phase.over or phase is Phase.NONE

    def outcome(self) -> str:
        """How it ended for the patient, or for the case when the patient vanished."""
        case = self.case()
        if case is None:
            return "never began"
        if not self.world.agents["patient"].gone:
            return str(case.phase)
        return f"left, {self.view(case.case_id).phase.name.lower()}"

    # ---- at the end
    def verdict(self) -> list[str]:
        """Everything that is wrong, in sentences."""
        found = list(self.world.defects)
        found += [f"raised and not taken: {fault!r}" for fault in self.world.loop.faults]
        for check in (
            self._ends,
            self._chain_ends,
            self._once,
            self._payments,
            self._votes,
            self._kept_votes,
            self._expected,
            self._diagnosis,
            self._certificate,
            self._record,
            self._money,
        ):
            found += check()
        return found

    def _ends(self) -> list[str]:
        """Everybody who is still here is done: every case final, nothing left to do for who is reachable."""
        found = []
        for agent in self.world.agents.values():
            if agent.gone and not agent.retired:
                continue
            final = _machine(agent).final
            states = self.states(agent)
            found += [
                f"{agent.name}: {s.key[:12]} hangs in phase {s.phase}" for s in states if s.phase not in final
            ]
            if agent.role == "patient" and not states:
                found.append("the patient never began")
            if agent.vice:
                continue
            for p in self.hopeful(agent):
                found.append(f"{agent.name} never gets done with {p.effect.id} ({p.trouble})")
        return found

    def _chain_ends(self) -> list[str]:
        """The case is settled or refunded on chain; without its patient, at the latest by a stranger's calls."""
        case = self.case()
        if case is None:
            return []
        view = self.view(case.case_id)
        if view.phase is Phase.NONE or view.phase.over:
            return []
        if not self.world.agents["patient"].gone:
            return [f"the case is still in {view.phase.name} on chain"]
        if self.world.chain.finish(case.case_id, self.world.attester.address):
            return []
        return [f"nobody can end the case: it stays in {self.view(case.case_id).phase.name}"]

    def _once(self) -> list[str]:
        """An effect is mined at most once."""
        mined = Counter(s.effect for s in self.world.chain.mined if s.ok)
        return [f"{effect} was mined {n} times" for effect, n in mined.items() if n > 1]

    def _payments(self) -> list[str]:
        """A case account is funded once for each model that was chosen, and a prediction is bought once."""
        found = []
        funds: Counter[tuple[str, str]] = Counter()
        for sent in self.world.chain.mined:
            ours = sent.tx.account == self.world.agents["patient"].address
            if sent.ok and ours and sent.call == "pay" and "/tx/gas/" not in sent.effect:
                funds[(str(sent.tx.to), sent.effect.split("/tx/fund/")[-1][:42])] += 1
        found += [f"{key[0]} was funded {n} times for {key[1]}" for key, n in funds.items() if n > 1]
        case = self.case()
        if case is not None:
            paid = sum(n for (to, _), n in funds.items() if to == case.account)
            chosen = len(set(case.bad_models) | {case.model} - {""})
            if paid > chosen:
                found.append(f"{paid} payments to the case account for {chosen} models chosen")
        return found

    def _votes(self) -> list[str]:
        """An honest doctor signs one commitment and one reveal a case, and the reveal fits."""
        found = []
        signed: dict[tuple[str, str, bytes], set[bytes]] = defaultdict(set)
        by_address = {a.address: a for a in self.world.agents.values()}
        for sent in self.world.chain.sent.values():
            agent = by_address.get(sent.tx.account)
            if agent is None or agent.vice or sent.call not in ("Cases.commit", "Cases.reveal"):
                continue
            signed[(agent.name, sent.call, sent.tx.data[4:36])].add(sent.tx.data)
            if sent.block is not None and not sent.ok and why(sent.why) in ("CommitmentMismatch",):
                found.append(f"{agent.name}'s reveal does not fit its commitment")
        found += [f"{k[0]} signed {len(v)} different {k[1]}" for k, v in signed.items() if len(v) > 1]
        return found

    def _kept_votes(self) -> list[str]:
        """Where chain and wire work, an honest doctor who is there loses no seat, and committed votes are shown."""
        case, plan = self.case(), self.world.plan
        slow = plan.chain.stall or plan.chain.forget or plan.chain.hold or plan.chain.mute
        if case is None or slow:
            return []
        calm = not (plan.net.drop or plan.net.linger or any(c.agent == "patient" for c in plan.crashes))
        found = []
        names = {a.address: a for a in self.world.agents.values()}
        for seat in self.view(case.case_id).seats:
            agent = names[seat.doctor]
            away = sum(c.back or 0 for c in plan.crashes if c.agent == agent.name)
            if agent.vice or plan.leaves(agent.name) or away > 20 or seat.status is not SeatStatus.NO_SHOW:
                continue
            if seat.commitment != bytes(32):
                found.append(f"{agent.name} committed and never revealed")
            elif calm and not away:
                found.append(f"{agent.name} took a seat and never committed")
        return found

    def _expected(self) -> list[str]:
        """Faults that must not change the outcome do not."""
        harmless = {"dissent", "copy", "twice", "messages", "liar", "channels", "odd node", "doctor crashes"}
        harmless |= {"patient crashes", "crash"}
        plan, outcome = self.world.plan, self.outcome()
        if len(plan.faults) > 1 or not harmless.issuperset(plan.faults) or outcome == "done":
            return []
        if (
            len(plan.vices) > 1
            or len(plan.crashes) > 4
            or (outcome == "failed" and "channels" in plan.faults)
        ):
            return []  # two bad doctors of three; an agent or a channel that breaks all the time
        return [f"the case ended as {outcome}, with {', '.join(plan.faults) or 'nothing'} wrong"]

    def _diagnosis(self) -> list[str]:
        """The diagnosis is what the agreeing doctors said."""
        case = self.case()
        if case is None:
            return []
        view = self.view(case.case_id)
        if view.phase is not Phase.SETTLED:
            return []
        label = label_of(case, view.code, view.round)
        found = []
        names = {a.address: a for a in self.world.agents.values()}
        for _, seat in view.round_seats():
            agent = names[seat.doctor]
            if seat.status is not SeatStatus.REVEALED or agent.vice in ("copy",):
                continue
            if any(s.round == seat.round and not s.scan for s in self.states(agent)):
                continue  # no scan came in time: its agent abstained
            said = self.world.plan.opinions[agent.name] or INSUFFICIENT
            meant = label_of(case, seat.code, seat.round)
            if said != meant:
                found.append(f"{agent.name} said {said} and the chain holds {meant}")
        if not self.world.agents["patient"].gone and (case.result or {}).get("label") != label:
            found.append(
                f"the patient was told {(case.result or {}).get('label')!r}; the panel said {label!r}"
            )
        return found

    def _certificate(self) -> list[str]:
        """A settled case has a valid certificate as long as its doctors answer."""
        case = self.case()
        if case is None or case.phase != "done":
            return []
        names = {a.address: a for a in self.world.agents.values()}
        silent = [d for d in case.asked_attest if self.world.plan.leaves(names[d].name)]
        if (case.certificate or {}).get("valid") or silent:
            return []
        return [f"the certificate is not valid: {case.certificate} {case.trouble}"]

    def _record(self) -> list[str]:
        """What the researcher bought is what the patient listed."""
        case, researcher = self.case(), self.world.agents.get("researcher")
        if case is None or researcher is None:
            return []
        found = []
        for order in self.states(researcher):
            for name, fields in order.records.items():
                if int(name) != case.case_id or decode(case.record) != fields:
                    found.append("the researcher holds another record than was listed")
            whole = len(order.records) == len(order.listings)
            if order.phase == "done" and not whole and not self.world.agents["patient"].gone:
                found.append("the researcher paid and did not get the record")
        if case.phase == "done" and any(case.consent) and case.record and not case.listed:
            found.append("a record that was consented to is not listed")
        return found

    def _money(self) -> list[str]:
        """Nothing of the patient's stays behind; a case that failed cost its fees and what liars took."""
        patient, case = self.world.agents["patient"], self.case()
        if patient.gone or case is None:
            return []
        chain, c = self.world.chain, self.world.chain.contracts
        found = []
        left = chain.balance(case.account)
        owed = sum(chain.read(k.credit_of(case.account)) for k in (c.cases, c.models, c.market))
        if left > DUST or owed:
            found.append(f"the case account still holds {left} wei and is owed {owed}")
        accounts = {patient.address, case.account}
        gas = sum(s.gas * 10**9 for s in chain.mined if s.tx.account in accounts)
        lost = 100 * 10**18 - chain.balance(patient.address) - left - gas
        released = 0
        for model, body in case.quotes.items():
            purchase = chain.read(c.models.purchase_of(case.case_id, body["quote"]["network"]))
            if purchase.state is PurchaseState.RELEASED:
                released += purchase.price + purchase.dealer_fee
            elif purchase.state is PurchaseState.HELD:
                found.append(f"what was paid to {model} is still held")
        if case.phase == "failed" and lost != released:
            found.append(f"a failed case cost {lost} wei, and models earned {released}")
        return found


def _store(agent: Agent) -> Store:
    store = Store.__new__(Store)
    store._db = agent.log
    return store


def _machine(agent: Agent) -> Any:
    from tests.sim.duties import MACHINES

    return MACHINES[agent.role]
