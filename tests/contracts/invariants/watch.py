"""What must hold, checked after every transaction: I1 to I5, I7, I9, I10 of the design, and three of our own.

I11 a case opens only on a receipt that the network's owner signed for that very case, and escrows what the
schedule says. I12 (in `machine.py`) a certificate passes only with the agreeing doctors' signatures. I13 nothing
is listed but with the consent whose hash was given at opening. I6 and I8 are in `machine.py`: they try futures.

The watch keeps its own books from what the actors did and what the logs say, and never asks the contract how a
sum ought to be computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tests.contracts.invariants.stage import TERMS, Done, Event, Stage, View
from tests.contracts.world import (
    ACCEPTED,
    COMMIT,
    COMMITTED,
    DRAWING,
    NO_SHOW,
    REFUNDED,
    REVEAL,
    REVEALED,
    SEATING,
    SETTLED,
    Actor,
)

HALF_LIFE = 365 * 86_400
START = 2_500
DEPOSIT = TERMS.seat_deposit
FINAL = (SETTLED, REFUNDED)
LOCKED = (ACCEPTED, COMMITTED, REVEALED)


class Broken(AssertionError):
    """An invariant does not hold. name: which."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"{name}: {what}")
        self.name = name


def demand(name: str, holds: bool, what: str) -> None:
    """Raises `Broken` unless it holds."""
    if not holds:
        raise Broken(name, what)


class Opening(NamedTuple):
    """What a doctor can open a commitment with."""

    code: int
    confidence: int
    salt: bytes


@dataclass
class Track:
    """What the watch knows of a case. openings: what each doctor committed to, None where nobody can open it."""

    id: int
    account: Actor
    bucket: int
    panel_size: int
    consent: tuple[bytes, int, int] | None
    openings: dict[int, Opening | None] = field(default_factory=dict)
    commitments: dict[int, int] = field(default_factory=dict)
    drawn: set[int] = field(default_factory=set)
    moved: set[int] = field(default_factory=set)
    accepted: int = 0
    credited: int = 0
    final: View | None = None
    held: int = 0  # escrow of its purchase


@dataclass
class Standing:
    """A doctor's reputation as the logs tell it: (block, value) of each move, how many readings were scored."""

    moves: list[tuple[int, int]]
    since: int
    scored: int

    def now(self, time: int) -> int:
        """The value after drifting towards START: halved each half-life, straight in between."""
        value = self.moves[-1][1]
        distance, halvings = abs(value - START), (time - self.since) // HALF_LIFE
        distance = 0 if halvings > 14 else distance >> halvings
        distance -= distance * ((time - self.since) % HALF_LIFE) // (2 * HALF_LIFE)
        return START + distance if value > START else START - distance


class Watch:
    """One for each example. `after` is told of each transaction that went through."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.tracks: dict[int, Track] = {}
        self.purchases: dict[int, int] = {}  # wei held, by case
        self.deposits = stage.deposits()
        self.views: dict[int, View] = {}
        self.looked = stage.look()
        self.number = {number: i for i, number in enumerate(stage.by_number)}
        self.standings = {
            number: Standing([(0, value)], since, scored)
            for number, (value, since, scored) in stage.standings.items()
        }
        self.wealth = self._wealth(self.looked, {})

    def after(self, done: Done) -> None:
        """Checks everything after a transaction that went through."""
        before, views = self.views, {i: self.stage.view(i) for i in self.tracks}
        for event in done.events:
            self._event(done, event, before, views)
        if done.contract == "Doctors":
            self.deposits = self.stage.deposits()
        looked = self.stage.look()
        for i, track in self.tracks.items():
            if i in views and views[i].phase:
                self._case(track, views[i], done)
        self._books(looked, views)
        self._reputations(looked, done)
        wealth = self._wealth(looked, views)
        self._losses(done, before, views, wealth)
        self.views, self.looked, self.wealth = views, looked, wealth

    # ---------------------------------------------------------------------------------------------- events

    def _event(self, done: Done, event: Event, before: dict[int, View], views: dict[int, View]) -> None:
        if event.contract == "Models":
            self._models(event)
            return
        if event.contract == "DataMarket":
            demand("I13", event.name != "Listed" or done.legit, "a record was listed without its consent")
            return
        if event.contract == "Reputation":
            self._moved(done, event)
            return
        if event.contract != "Cases" or event.name == "Withdrawn":
            return
        track = self.tracks.get(event.topics[0])
        demand("I11", track is not None, f"{event.name} of a case that nobody prepared")
        assert track is not None
        demand("I5", track.final is None, f"{event.name} after the case was final")
        check = getattr(self, "_on_" + event.name, None)
        if check:
            check(track, done, event, before.get(track.id), views[track.id])

    def _models(self, event: Event) -> None:
        if event.name == "Purchased":
            self.purchases[event.topics[0]] = event.words[0]
        elif event.name in ("Released", "Reclaimed"):
            self.purchases[event.topics[0]] = 0

    def _moved(self, done: Done, event: Event) -> None:
        case_id, subject, _ = event.topics
        ended = [e for e in done.events if e.contract == "Cases" and e.name in ("Settled", "Refunded")]
        demand("I4", any(e.topics[0] == case_id for e in ended), "reputation moved without a settlement")
        track = self.tracks[case_id]
        demand("I4", subject not in track.moved, "reputation moved twice by one case")
        track.moved.add(subject)
        if subject in self.standings:
            demand("I4", subject in track.drawn, "reputation of a doctor without a seat moved")
            standing = self.standings[subject]
            demand("I4", event.words[0] == standing.now(done.time), "reputation had moved unseen")
            standing.moves.append((self.stage.world.chain.number, event.words[1]))
            standing.since = done.time
            seat = next(s for s in self.stage.view(case_id).seats if s.doctor == subject)
            standing.scored += seat.status == REVEALED

    def _on_CaseOpened(self, track: Track, done: Done, event: Event, _: View | None, view: View) -> None:
        demand("I11", done.legit, "a case was opened on a receipt that is not its own")
        demand("I11", event.topics[2] == int(track.account.address, 16), "a case has another account")
        seats = track.panel_size + 2 * track.panel_size + 1
        due = TERMS.seat_fee[track.bucket] * seats
        demand("I11", done.value == due == view.escrowWei == view.bountyWei, "the bounty is off the schedule")

    def _on_Drawn(self, track: Track, done: Done, event: Event, before: View | None, view: View) -> None:
        doctor = event.topics[1]
        demand("I9", doctor not in track.drawn, "a doctor was drawn twice for one case")
        track.drawn.add(doctor)
        assert before is not None
        demand("I9", view.band <= 3 - track.bucket, "the panel's band is above the bounty's")
        oldest = before.seedBlock - 1 - TERMS.epoch_blocks
        demand("I9", view.band <= self._best_band(doctor, oldest), "a doctor was drawn above their band")

    def _best_band(self, doctor: int, oldest: int) -> int:
        """The highest band the doctor stood in since that block."""
        standing = self.standings[doctor]
        kept = [value for block, value in standing.moves if block >= oldest]
        earlier = [value for block, value in standing.moves if block < oldest]
        values = [*kept, *earlier[-1:], standing.now(self.stage.world.chain.time)]
        newcomer = standing.scored - len(kept) < 5
        return max([min(value // 2_500, 3) for value in values] + [1 if newcomer else 0])

    def _on_SeatAccepted(self, track: Track, done: Done, event: Event, *_: object) -> None:
        demand("I10", done.sender == event.topics[1], "somebody accepted a seat for another")
        track.accepted += 1

    def _on_Committed(self, track: Track, done: Done, event: Event, before: View | None, view: View) -> None:
        doctor = event.topics[1]
        demand("I10", done.sender == doctor, "somebody committed for another")
        demand("I3", doctor not in track.commitments, "a doctor committed twice")
        track.commitments[doctor] = next(s.commitment for s in view.seats if s.doctor == doctor)

    def _on_Revealed(self, track: Track, done: Done, event: Event, before: View | None, view: View) -> None:
        assert before is not None
        doctor, (_, code, confidence) = event.topics[1], event.words
        in_time = before.phase == REVEAL and done.time <= before.deadline
        demand("I7", in_time, "a vote was revealed outside the reveal phase")
        opening = track.openings.get(doctor)
        mine = opening is not None and opening[:2] == (code, confidence) and done.sender == doctor
        demand("I3", mine, "a vote was revealed that its doctor never committed to")

    def _on_Credited(self, track: Track, done: Done, event: Event, before: View | None, view: View) -> None:
        track.credited += event.words[0]
        seat = next((s for s in view.seats if s.doctor == event.topics[1]), None)
        demand("I2", seat is None or seat.status != NO_SHOW, "a doctor who did not reveal was paid")
        limit = view.bountyWei + track.accepted * DEPOSIT
        demand("I2", track.credited <= limit, "a case paid more than its bounty and forfeits")

    def _on_RoundHung(self, track: Track, done: Done, event: Event, before: View | None, view: View) -> None:
        self._round_paid(track, done, event.words[0], view)

    def _on_Settled(self, track: Track, done: Done, event: Event, before: View | None, view: View) -> None:
        self._round_paid(track, done, view.round, view)

    def _round_paid(self, track: Track, done: Done, number: int, view: View) -> None:
        """A round pays at most its seats' fees and its forfeits."""
        seats = {s.doctor: s for s in view.seats if s.round == number and s.status in (REVEALED, NO_SHOW)}
        revealed = sum(s.status == REVEALED for s in seats.values())
        credits = [e for e in done.events if e.name == "Credited" and e.contract == "Cases"]
        paid = sum(e.words[0] for e in credits if e.topics[1] in seats) - DEPOSIT * revealed
        most = view.seatFee * len(seats) + DEPOSIT * (len(seats) - revealed)
        demand("I2", paid <= most, "a round paid more than its seats' fees and forfeits")

    # ----------------------------------------------------------------------------------------------- state

    def _case(self, track: Track, view: View, done: Done) -> None:
        if track.final is not None:
            demand("I5", view.core == track.final.core, "a final case changed")
            return
        for seat in view.seats:
            was = track.commitments.get(seat.doctor, 0)
            demand("I3", seat.commitment == was, "a commitment changed")
        if view.phase in FINAL:
            track.final = view
            due = view.bountyWei + track.accepted * DEPOSIT
            demand(
                "I2", track.credited == due and view.escrowWei == 0, "a case kept or lost money at its end"
            )
            return
        demand("I7", view.result == 0 and view.agreeing == 0, "a tally is readable before the end")
        if view.phase in (DRAWING, SEATING, COMMIT):
            hidden = all(s.code == s.confidence == 0 and s.status != REVEALED for s in view.here())
            demand("I7", hidden, "a vote is readable before the reveal phase")

    def _books(self, looked: list[int], views: dict[int, View]) -> None:
        stage = self.stage
        bounties, deposits, credits = stage.words("Cases", "books")
        held, owed = stage.words("Models", "books")
        open_ = [v for v in views.values() if v.phase not in FINAL]
        seats = sum(seat.status in (*LOCKED, NO_SHOW) for v in open_ for seat in v.here())
        demand(
            "I1", stage.balance("Cases") == bounties + deposits + credits, "Cases: balance is not its books"
        )
        demand(
            "I1", bounties == sum(v.escrowWei for v in views.values()), "Cases: bounties are not the escrow"
        )
        demand("I1", deposits == DEPOSIT * seats, "Cases: deposits are not those of the open seats")
        demand("I1", credits == sum(looked[1::5]), "Cases: credits do not add up")
        demand("I1", stage.balance("Models") == held + owed, "Models: balance is not its books")
        demand("I1", held == sum(self.purchases.values()), "Models: escrow is not that of the purchases")
        demand("I1", owed == sum(looked[2::5]), "Models: credits do not add up")
        market = sum(looked[3::5])
        demand(
            "I1", stage.balance("DataMarket") == market == stage.words("DataMarket", "books")[0], "DataMarket"
        )
        kept = stage.words("Doctors", "heldDeposits")[0]
        demand(
            "I1", stage.balance("Doctors") == kept == sum(self.deposits), "Doctors: deposits do not add up"
        )

    def _reputations(self, looked: list[int], done: Done) -> None:
        for number, standing in self.standings.items():
            value = looked[5 * self.number[number] + 4]
            demand("I4", value == standing.now(done.time), "a reputation is not what settlements made it")

    def _wealth(self, looked: list[int], views: dict[int, View]) -> list[int]:
        """What each account has or will have if all do their duty: money, credits, deposits, bounties held."""
        wealth = [sum(looked[i : i + 4]) for i in range(0, len(looked), 5)]
        for i, deposit in enumerate(self.deposits):
            wealth[i] += deposit
        for case_id, view in views.items():
            if not view.phase or view.phase in FINAL:
                continue
            wealth[self.number[int(self.tracks[case_id].account.address, 16)]] += view.escrowWei
            for seat in view.here():
                if seat.status in LOCKED:
                    wealth[self.number[seat.doctor]] += DEPOSIT
        return wealth

    def _losses(self, done: Done, before: dict[int, View], views: dict[int, View], wealth: list[int]) -> None:
        """Nobody but the sender loses, save the late their deposits and the patient the seats' fees of a closed
        round; a sender loses no more than it sent.
        """
        allowed = [0] * len(wealth)
        allowed[self.number[done.sender]] += done.value
        for case_id, view in views.items():
            was = before.get(case_id)
            if was is None:
                continue
            for seat, old in zip(view.seats, was.seats, strict=False):
                if seat.status == NO_SHOW != old.status and done.time > was.deadline:
                    allowed[self.number[seat.doctor]] += DEPOSIT
            closed = any(e.name in ("RoundHung", "Settled") and e.topics[0] == case_id for e in done.events)
            if closed:
                allowed[self.number[int(self.tracks[case_id].account.address, 16)]] += (
                    was.seatFee * was.seated
                )
        for i, (had, has) in enumerate(zip(self.wealth, wealth, strict=True)):
            demand(
                "I10", has >= had - allowed[i], f"a call by another cost {self.stage.everybody[i].name} money"
            )
