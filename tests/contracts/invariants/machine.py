"""The network's people, good and bad, in any order: a hypothesis state machine over a `Stage`.

Each rule is one act (or one phase played by its panel); `Watch` checks the invariants after each transaction. At
the end of each example strangers alone must be able to end every case (I6), and everybody to take their money.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar

from eth_utils.crypto import keccak
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from protocols.crypto.bls import add_keys, add_signatures
from tests.contracts.invariants.stage import PRICE, Done, Stage, View
from tests.contracts.invariants.watch import DEPOSIT, FINAL, TERMS, Opening, Track, Watch, demand
from tests.contracts.world import (
    ACCEPTED,
    CERTIFICATE_DOMAIN,
    COMMIT,
    COMMITTED,
    DRAWING,
    FOREVER,
    GWEI,
    INVITED,
    NETWORK,
    REVEAL,
    REVEALED,
    SEATING,
    SETTLED,
    SPECIALTY,
    Actor,
    CaseHandle,
    bls_key,
)

LABEL, OTHER_LABEL = keccak(text="tumour"), keccak(text="no tumour")
MOST_CASES = 4
SLOTS, WHO, LUCK = st.integers(0, MOST_CASES - 1), st.integers(0, 24), st.integers(0, 7)
MASK = st.integers(0, 2**19 - 1)
LONGEST_CASE = (
    40  # advances until a case that nobody else touches is final: 2 rounds of 3 draws, and its phases
)


@lru_cache(maxsize=4096)
def signed(name: str, message: bytes) -> tuple[int, int]:
    """A doctor's signature on a certificate."""
    return bls_key(name).sign(CERTIFICATE_DOMAIN, message)


class Clinic(RuleBasedStateMachine):
    """See the module. `stage` is set by whoever runs it."""

    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        chain = self.stage.world.chain
        self._mark = (chain.evm.snapshot(), chain.number, chain.time)
        self.watch = Watch(self.stage)
        self.cases: list[Track] = []
        self.bad = False
        self.turn = 0

    def teardown(self) -> None:
        """Ends every case, then takes everything back."""
        try:
            if not self.bad:
                self._end_all()
        finally:
            self._back(self._mark)

    # ------------------------------------------------------------------------------------------------ tools

    def do(
        self,
        who: Actor,
        contract: str,
        name: str,
        arguments: Sequence[Any],
        value: int = 0,
        legit: bool = True,
    ) -> Done:
        """A transaction, and the check of everything after it."""
        done = self.stage.do(who, contract, name, arguments, value, legit)
        if done.ok:
            try:
                self.watch.after(done)
            except AssertionError:
                self._fall()
                raise
        return done

    def demand(self, name: str, holds: bool, what: str) -> None:
        """Raises `Broken` unless it holds."""
        if not holds:
            self._fall()
        demand(name, holds, what)

    def _fall(self) -> None:
        self.bad = True
        self.stage.fell = self.stage.fell or self.stage.calls

    def at(self, slot: int, *phases: int) -> tuple[Track, View] | None:
        """A case, if possible one in one of those phases; where there is none, two times in four it is brought
        there. Calls out of phase are tried the other times.
        """
        if not self.cases:
            return None
        turn = slot % len(self.cases)
        for track in self.cases[turn:] + self.cases:
            if self.watch.views[track.id].phase in phases:
                return track, self.watch.views[track.id]
        if phases and slot % 2:
            self._reach(self.cases[turn], phases[0])
        track = self.cases[turn]
        return track, self.watch.views[track.id]

    def _reach(self, track: Track, phase: int) -> None:
        """Plays a case, mostly in agreement, until it is in that phase or final."""
        for _ in range(6):
            if self.watch.views[track.id].phase in (phase, *FINAL):
                return
            self.turn += 1
            votes = int.from_bytes(keccak(self.turn.to_bytes(32, "big")), "big")
            self._play(track, 0, votes & (votes >> 20))

    def who(self, view: View, number: int, *statuses: int) -> Actor:
        """A doctor with such a seat in this round where there is one, else any."""
        seats = [s for s in view.here() if s.status in statuses]
        if seats and number % 5:
            return self.stage.by_number[seats[number % len(seats)].doctor]
        return self.stage.doctors[number % len(self.stage.doctors)]

    def commitment(self, track: Track, round_: int, doctor: Actor, opening: Opening) -> bytes:
        """What the contract says is the commitment; the watch knows the opening."""
        told = self.stage.words(
            "Cases", "commitmentOf", [track.id, round_, int(doctor.address, 16), *opening]
        )
        return told[0].to_bytes(32, "big")

    def vote(self, track: Track, doctor: Actor, opening: Opening) -> Done:
        """Commits as one should."""
        number = int(doctor.address, 16)
        round_ = self.watch.views[track.id].round
        had = track.openings.get(number)
        if number not in track.commitments:
            track.openings[number] = opening
        commitment = self.commitment(track, round_, doctor, opening)
        done = self.do(doctor, "Cases", "commit", [track.id, commitment])
        if not done.ok and number not in track.commitments:
            track.openings[number] = had
        return done

    def _back(self, mark: tuple[Any, int, int]) -> None:
        chain = self.stage.world.chain
        chain.evm.revert(mark[0])
        chain.number, chain.time = mark[1], mark[2]
        chain._set_block()

    def _sleep(self, seconds: int, blocks: int = 1) -> None:
        self.stage.world.chain.mine(blocks, max(0, seconds))

    # ---------------------------------------------------------------------------------------------- opening

    @initialize(bucket=st.integers(0, 3), size=st.sampled_from((3, 3, 3, 5)))
    def first(self, bucket: int, size: int) -> None:
        """There is always a case."""
        self.open(bucket, size, 7, True)

    @rule(bucket=st.integers(0, 3), size=st.sampled_from((3, 3, 5, 9)), lie=LUCK, consents=st.booleans())
    def open(self, bucket: int, size: int, lie: int, consents: bool) -> None:
        """A patient opens a case; by a lie where `lie` is below 5."""
        if len(self.cases) == MOST_CASES:
            return
        stage, world = self.stage, self.stage.world
        patient = stage.patients[len(self.cases)]
        case = replace(world.prepare(patient.name), bucket=bucket, panel_size=size)
        assert case.account.address == patient.address
        consent = (keccak(text="consent"), 10 * GWEI, 0) if consents else None
        track = Track(case.id, patient, bucket, size, consent)
        promised = bytes(32)
        if consent:
            promised = stage.world.chain.view(world.market, "consentHashOf", patient.address, consent)
        if lie % 2 == 1:
            quote, signature = world.quote(case)
            self.do(patient, "Models", "purchase", [quote, signature], 4 * GWEI + (lie == 3))
        given = [
            (lambda: world.receipt(case, case_id=case.id + 1), 0),
            (lambda: world.receipt(case, key=patient.key), 0),
            (lambda: world.receipt(case, valid_until=world.chain.time - 10), 0),
            (lambda: world.receipt(case), 1),
            (lambda: world.receipt(case), -1),
        ]
        make, wrong = given[lie] if lie < 5 else ((lambda: world.receipt(case)), 0)
        receipt, receipt_signature = make()
        value = TERMS.seat_fee[bucket] * (3 * size + 1) + wrong
        opening = world.opening(case, consentHash=promised)
        self.watch.tracks[case.id] = track
        legit = lie > 2
        done = self.do(patient, "Cases", "open", [opening, receipt, receipt_signature], value, legit)
        if done.ok:
            self.cases.append(track)
        else:
            del self.watch.tracks[case.id]
            self.demand("I6", lie < 5, f"an honest patient cannot open a case: {done.fault[:200]}")

    # ---------------------------------------------------------------------------------------- good manners

    @rule(slot=SLOTS, absent=MASK, votes=MASK, sparse=st.booleans(), phases=st.integers(1, 4))
    def play(self, slot: int, absent: int, votes: int, sparse: bool, phases: int) -> None:
        """The panel does what the phase asks, for some phases; some are absent, some vote otherwise."""
        for _ in range(phases):
            found = self.at(slot & ~1, DRAWING, SEATING, COMMIT, REVEAL)
            if found is not None:
                self._play(found[0], absent if sparse else 0, votes)

    def _play(self, track: Track, absent: int, votes: int) -> None:
        view = self.watch.views[track.id]
        phase = view.phase
        for i, seat in enumerate(view.here()):
            doctor = self.stage.by_number[seat.doctor]
            if (absent >> i) & 1:
                continue
            if phase == SEATING and seat.status == INVITED:
                self.do(doctor, "Cases", "accept", [track.id], DEPOSIT)
            elif phase == COMMIT and seat.status == ACCEPTED:
                code = (7, 7, 9, 0)[(votes >> i) & 3]
                self.vote(track, doctor, Opening(code, votes % 101, keccak(bytes([i]))))
            elif phase == REVEAL and seat.status == COMMITTED:
                opening = track.openings.get(seat.doctor)
                if opening:
                    self.do(doctor, "Cases", "reveal", [track.id, *opening])
        if phase == DRAWING:
            self._sleep(2, 2)
        self.do(self.stage.world.stranger, "Cases", "advance", [track.id])

    @rule(slot=SLOTS, edge=st.integers(-2, 2), far=LUCK)
    def wait(self, slot: int, edge: int, far: int) -> None:
        """Time passes: to the very edge of a phase, or years."""
        chain = self.stage.world.chain
        found = self.at(slot, SEATING, COMMIT, REVEAL)
        if far == 0:
            self._sleep(200 * 86_400, 300)
        elif far == 1 or found is None or found[1].deadline == 0:
            self._sleep(30)
        else:
            self._sleep(found[1].deadline + edge - chain.time - 1)

    @rule(slot=SLOTS, number=WHO)
    def advance(self, slot: int, number: int) -> None:
        """Anybody advances a case; it does something if, and only if, something is due."""
        found = self.at(slot, DRAWING, SEATING, COMMIT, REVEAL)
        if found is None:
            return
        done = self.do(self.stage.everybody[number], "Cases", "advance", [found[0].id])
        if found[1].phase in FINAL:
            self.demand("I5", not done.ok, "a final case was advanced")

    # ------------------------------------------------------------------------------------------------ seats

    @rule(slot=SLOTS, number=WHO, off=st.sampled_from((0, 0, 0, 1, -1)), again=st.booleans())
    def accept(self, slot: int, number: int, off: int, again: bool) -> None:
        """A doctor accepts, perhaps one not invited, with too much or too little, or twice."""
        found = self.at(slot, SEATING)
        if found is None:
            return
        doctor = self.who(found[1], number, INVITED)
        for _ in range(1 + again):
            self.do(doctor, "Cases", "accept", [found[0].id], DEPOSIT + off)

    @rule(slot=SLOTS, number=WHO)
    def decline(self, slot: int, number: int) -> None:
        """A doctor declines."""
        found = self.at(slot, SEATING)
        if found is not None:
            self.do(self.who(found[1], number, INVITED, ACCEPTED), "Cases", "decline", [found[0].id])

    @rule(slot=SLOTS, number=WHO, code=st.sampled_from((0, 7, 7, 9)), sure=st.sampled_from((0, 50, 100, 101)))
    def commit(self, slot: int, number: int, code: int, sure: int) -> None:
        """A doctor commits, perhaps again, to something else."""
        found = self.at(slot, COMMIT)
        if found is not None:
            doctor = self.who(found[1], number, ACCEPTED, COMMITTED)
            self.vote(found[0], doctor, Opening(code, sure, keccak(bytes([number, code]))))

    @rule(slot=SLOTS, number=WHO, victim=WHO, garbage=st.booleans())
    def copy(self, slot: int, number: int, victim: int, garbage: bool) -> None:
        """A doctor commits to what another committed to, or to noise, and so to nothing that it can open."""
        found = self.at(slot, COMMIT)
        if found is None:
            return
        track, view = found
        doctor, other = self.who(view, number, ACCEPTED), self.who(view, victim, COMMITTED)
        copied = track.commitments.get(int(other.address, 16), 0)
        noise = keccak(bytes([number])) if garbage else copied.to_bytes(32, "big")
        self.do(doctor, "Cases", "commit", [track.id, noise])

    @rule(slot=SLOTS, number=WHO, victim=WHO, lie=LUCK)
    def reveal(self, slot: int, number: int, victim: int, lie: int) -> None:
        """A doctor reveals: the truth, another's opening (who copied), a wrong salt, code or confidence; any time."""
        found = self.at(slot, REVEAL, COMMIT)
        if found is None:
            return
        track, view = found
        doctor = self.who(view, number, COMMITTED, REVEALED)
        opening = track.openings.get(int(doctor.address, 16)) or Opening(7, 80, bytes(32))
        if lie < 3:
            others = [o for o in track.openings.values() if o is not None]
            opening = others[victim % len(others)] if others else opening
        elif lie == 3:
            opening = opening._replace(salt=keccak(opening.salt))
        elif lie == 4:
            opening = opening._replace(code=opening.code ^ 1)
        elif lie == 5:
            opening = opening._replace(confidence=(opening.confidence + 1) % 101)
        self.do(doctor, "Cases", "reveal", [track.id, *opening])

    @rule(slot=SLOTS, number=WHO)
    def early(self, slot: int, number: int) -> None:
        """A doctor opens its vote while others can still commit."""
        found = self.at(slot, COMMIT)
        if found is None:
            return
        doctor = self._voter(*found, number)
        opening = found[0].openings.get(int(doctor.address, 16))
        if opening:
            self.do(doctor, "Cases", "reveal", [found[0].id, *opening])

    @rule(slot=SLOTS, number=WHO)
    def copycat(self, slot: int, number: int) -> None:
        """A doctor repeats a colleague's commitment, and later the colleague's opening."""
        found = self.at(slot, COMMIT)
        if found is None:
            return
        track, _ = found
        other = int(self._voter(*found, number).address, 16)
        doctor = self.who(self.watch.views[track.id], number, ACCEPTED)
        copied = track.commitments.get(other, 0)
        self.do(doctor, "Cases", "commit", [track.id, copied.to_bytes(32, "big")])
        self._reach(track, REVEAL)
        opening = track.openings.get(other)
        if opening:
            self.do(doctor, "Cases", "reveal", [track.id, *opening])

    def _voter(self, track: Track, view: View, number: int) -> Actor:
        """A doctor who committed; one who now does, if nobody did."""
        if view.phase == COMMIT and not view.committed and view.seated:
            first = self.who(view, number | 1, ACCEPTED)
            self.vote(track, first, Opening(7, 80, keccak(bytes([number]))))
            view = self.watch.views[track.id]
        return self.who(view, number, COMMITTED)

    @rule(slot=SLOTS, keep=st.integers(0, 6))
    def scarce(self, slot: int, keep: int) -> None:
        """Only so many accept, draw after draw; the other invitations lapse."""
        found = self.at(slot, SEATING, DRAWING)
        if found is None:
            return
        track = found[0]
        for _ in range(6):
            view = self.watch.views[track.id]
            if view.phase not in (DRAWING, SEATING):
                return
            invited = [s for s in view.here() if s.status == INVITED]
            for seat in invited[: max(0, keep - view.seated)] if view.phase == SEATING else []:
                self.do(self.stage.by_number[seat.doctor], "Cases", "accept", [track.id], DEPOSIT)
            self._sleep(TERMS.seating_seconds + 1, 2)
            self.do(self.stage.world.stranger, "Cases", "advance", [track.id])

    @rule(slot=SLOTS, shift=st.integers(1, 8), even=st.booleans())
    def order(self, slot: int, shift: int, even: bool) -> None:
        """I8: those who can still reveal do so, in one order and in another; the outcome is the same."""
        found = self.at(slot, REVEAL)
        if found is None or found[1].phase != REVEAL:
            return
        track, view = found
        seats = [s for s in view.here() if s.status == COMMITTED and track.openings.get(s.doctor)]
        seats = seats[: len(seats) - (even and len(seats) % 2)]
        chain = self.stage.world.chain
        if len(seats) < 2 or chain.time + len(seats) > view.deadline:
            return
        turned = seats[shift % len(seats) :] + seats[: shift % len(seats)]
        outcomes = []
        for queue in (seats, turned, list(reversed(seats))):
            mark = (chain.evm.snapshot(), chain.number, chain.time)
            for seat in queue:
                doctor, opening = self.stage.by_number[seat.doctor], track.openings[seat.doctor]
                assert opening is not None
                self.stage.do(doctor, "Cases", "reveal", [track.id, *opening])
            self._sleep(view.deadline + 1 - chain.time)
            self.stage.do(self.stage.world.stranger, "Cases", "advance", [track.id])
            after = self.stage.view(track.id)
            outcomes.append(
                (after.phase, after.round, after.result, after.agreeing, tuple(self.stage.look()))
            )
            self._back(mark)
        self.demand("I8", len(set(outcomes)) == 1, "the order of reveals changed the outcome")

    # ------------------------------------------------------------------------------------------------ money

    @rule(number=st.integers(0, 36), contract=st.sampled_from(("Cases", "Cases", "Models", "DataMarket")))
    def withdraw(self, number: int, contract: str) -> None:
        """Somebody takes its money."""
        self.do(self.stage.everybody[number], contract, "withdraw", [])

    @rule(mode=st.integers(0, 2), contract=st.sampled_from(("Cases", "Doctors")))
    def receive(self, mode: int, contract: str) -> None:
        """The guest takes payments, calls back into who pays, or refuses; then tries."""
        name = "withdraw" if contract == "Cases" else "withdrawDeposit"
        answer = self.stage.calldata(contract, name, [])
        self.stage.do(self.stage.world.stranger, "Receiver", "set", [mode, answer])
        done = self.do(self.stage.guest, contract, name, [])
        self.demand("I1", not (done.ok and mode == 2), "a refused payment was booked as paid")

    @rule(slot=SLOTS, lie=st.booleans())
    def models(self, slot: int, lie: bool) -> None:
        """A stranger releases with a forged receipt, or the patient's escrow is reclaimed, early or late."""
        found = self.at(slot)
        if found is None:
            return
        world, track = self.stage.world, found[0]
        if lie:
            handle = CaseHandle(track.id, track.account, track.bucket, track.panel_size)
            receipt, signature = world.receipt(handle, key=world.stranger.key)
            done = self.do(world.stranger, "Models", "release", [receipt, signature])
            self.demand("I11", not done.ok, "a forged receipt released an escrow")
        else:
            self.do(world.stranger, "Models", "reclaim", [track.id, NETWORK])

    # --------------------------------------------------------------------------------------------- strangers

    @rule(slot=SLOTS, number=WHO, kind=st.integers(0, 8))
    def meddle(self, slot: int, number: int, kind: int) -> None:
        """Somebody calls what only `Cases` may call, or acts for another."""
        found = self.at(slot)
        if found is None:
            return
        track, stage = found[0], self.stage
        doctor = stage.doctors[number]
        target = int(doctor.address, 16)
        calls: list[tuple[str, str, list[Any]]] = [
            ("Reputation", "scoreReading", [track.id, target, SPECIALTY, 1, 100]),
            ("Reputation", "scoreAbsence", [track.id, target, SPECIALTY]),
            ("Reputation", "scoreNetwork", [track.id, NETWORK, SPECIALTY, 50, 1, 2]),
            ("Doctors", "seat", [target]),
            ("Doctors", "unseat", [target]),
            ("Doctors", "rest", [target]),
            ("Doctors", "anchor", [SPECIALTY]),
            ("Doctors", "revoke", [target, SPECIALTY, FOREVER]),
            ("Doctors", "refresh", [target, SPECIALTY]),
        ]
        contract, name, arguments = calls[kind]
        done = self.do(stage.world.stranger if slot else stage.doctors[number - 1], contract, name, arguments)
        name_of = "I4" if contract == "Reputation" else "I10"
        self.demand(name_of, not done.ok or name == "refresh", f"anybody may call {name}")

    @rule(number=WHO, kind=st.integers(0, 6))
    def live(self, number: int, kind: int) -> None:
        """A doctor rests, wakes, leaves, takes the deposit, comes back."""
        doctor, world = self.stage.doctors[number], self.stage.world
        if kind == 0:
            self.do(doctor, "Doctors", "setResting", [1])
        elif kind < 4:
            for sleeper in self.stage.doctors[number : number + 4]:
                self.do(sleeper, "Doctors", "setResting", [0])
        elif kind == 4:
            self.do(doctor, "Doctors", "resign", [])
        elif kind == 5:
            self.do(doctor, "Doctors", "resign", [])
            self.do(doctor, "Doctors", "withdrawDeposit", [])
        else:
            deposit = TERMS.registration_deposit
            self.do(doctor, "Doctors", "register", [world.application(doctor)], deposit)

    # ------------------------------------------------------------------------------- after the verdict: I12, I13

    @rule(slot=SLOTS, lie=LUCK, buyer=st.integers(0, 1), off=st.sampled_from((0, 0, 1, -1)))
    def market(self, slot: int, lie: int, buyer: int, off: int) -> None:
        """The patient lists (or somebody does, or without consent) and researchers buy."""
        found = self.at(slot, SETTLED)
        if found is None:
            return
        track, view = found
        consent = track.consent or (keccak(text="consent"), 10 * GWEI, 0)
        if lie == 0:
            consent = (keccak(text="never asked"), 0, 0)
        by = self.stage.world.stranger if lie == 1 else track.account
        legit = (
            track.consent == consent and by is track.account and view.phase == SETTLED and view.result != 0
        )
        price = 1 if lie == 2 else PRICE
        legit = legit and price >= consent[1]
        self.do(by, "DataMarket", "list", [track.id, keccak(text="record"), price, consent], legit=legit)
        who = self.stage.buyers[buyer]
        self.do(who, "DataMarket", "buy", [[track.id] * (2 if lie == 3 else 1)], PRICE + off)
        if lie == 4:
            self.do(track.account, "DataMarket", "delist", [track.id])

    @rule(slot=SLOTS, lie=st.integers(0, 4))
    def certify(self, slot: int, lie: int) -> None:
        """I12: a certificate by all who agree passes; by one too few, with a dissenter, for another label does not."""
        found = self.at(slot, SETTLED)
        if found is None or found[1].phase != SETTLED or found[1].result == 0:
            return
        track, view = found
        last = {i: s for i, s in enumerate(view.seats) if s.round == view.round and s.status == REVEALED}
        agree = [i for i, s in last.items() if s.code == view.result]
        against = [i for i, s in last.items() if s.code != view.result]
        needed = max(view.seated // 2 + 1, -(-2 * view.revealed // 3))
        signers, said = agree, LABEL
        if lie == 1:
            signers = agree[: needed - 1]
        elif lie == 2 and against:
            signers = [*agree[: needed - 1], against[0]]
        elif lie == 3:
            said = OTHER_LABEL
        good = set(signers) <= set(agree) and len(signers) >= needed and said == LABEL
        world = self.stage.world
        message = world.chain.view(world.certificates, "messageOf", track.id, LABEL, 1)
        people = [self.stage.by_number[view.seats[i].doctor] for i in signers]
        signature = add_signatures([signed(p.name, message) for p in people])
        keys = add_keys([p.bls.public.g2 for p in people])
        bits = sum(1 << i for i in signers)
        given = [track.id, said, 1, bits, signature, keys]
        self.stage.views += 1
        told = world.chain.view(world.certificates, "check", *given)
        self.demand("I12", told == good, f"a certificate ({lie}) was {'taken' if told else 'refused'}")

    # -------------------------------------------------------------------------------------- the end: I6

    def _end_all(self) -> None:
        """Everybody but one stranger is gone; every case still ends, and all the money can be taken."""
        stranger = self.stage.world.stranger
        for track in self.cases:
            for _ in range(LONGEST_CASE):
                if self.watch.views[track.id].phase in FINAL:
                    break
                self._sleep(3_600, 2)
                done = self.do(stranger, "Cases", "advance", [track.id])
                self.demand("I6", done.ok, f"a case cannot go on: {done.fault[:200]}")
            self.demand("I6", self.watch.views[track.id].phase in FINAL, "a case does not end")
        self._sleep(40 * 86_400)
        for case_id, held in self.watch.purchases.items():
            if held:
                done = self.do(stranger, "Models", "reclaim", [case_id, NETWORK])
                self.demand("I6", done.ok, "escrow stays for ever")
        self.stage.do(stranger, "Receiver", "set", [0, b""])
        for i, person in enumerate(self.stage.everybody):
            for k, contract in enumerate(("Cases", "Models", "DataMarket")):
                if self.watch.looked[5 * i + 1 + k]:
                    done = self.do(person, contract, "withdraw", [])
                    self.demand("I6", done.ok, "money owed cannot be taken")
        for contract in ("Cases", "Models", "DataMarket"):
            self.demand("I1", self.stage.balance(contract) == 0, f"{contract} keeps money that is nobody's")


def machine(stage: Stage) -> Callable[[], Clinic]:
    """The machine on that stage."""
    made: Callable[[], Clinic] = type("Clinic", (Clinic,), {"stage": stage})
    return made
