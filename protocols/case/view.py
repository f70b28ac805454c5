"""What the chain shows of a case: the value that every pure reducer decides on.

A view is read at one block, so its parts belong together. Money is wei, times are chain seconds, addresses
are checksummed hex strings, hashes and keys are 32 raw bytes. Nothing here is secret: codes are permuted per
case.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

ZERO_ADDRESS = "0x" + "00" * 20
ZERO_HASH = bytes(32)
INSUFFICIENT_EVIDENCE = 0
"""The only verdict code that is public and means the same in every case."""


class Phase(IntEnum):
    """Where a case stands; the order and numbers are the contract's."""

    NONE = 0
    DRAWING = 1
    SEATING = 2
    COMMIT = 3
    REVEAL = 4
    SETTLED = 5
    REFUNDED = 6

    @property
    def over(self) -> bool:
        """True once nothing can move the case any more."""
        return self in (Phase.SETTLED, Phase.REFUNDED)


class SeatStatus(IntEnum):
    """What the doctor on a seat has done; the order and numbers are the contract's."""

    NONE = 0
    INVITED = 1
    ACCEPTED = 2
    COMMITTED = 3
    REVEALED = 4
    DECLINED = 5
    REPLACED = 6
    NO_SHOW = 7

    @property
    def lost(self) -> bool:
        """True when the seat is no longer its doctor's."""
        return self in (SeatStatus.DECLINED, SeatStatus.REPLACED, SeatStatus.NO_SHOW)


@dataclass(frozen=True, slots=True)
class Seat:
    """One seat of a panel. `code` and `confidence` (percent) mean something only when `status` is REVEALED.

    `paid_wei` is what the seat earned, its deposit not counted. `band` is that of the draw; a `newcomer`
    was drawn as one.
    """

    doctor: str
    round: int
    status: SeatStatus
    commitment: bytes = ZERO_HASH
    code: int = 0
    confidence: int = 0
    paid_wei: int = 0
    reputation_before: int = 0
    reputation_after: int = 0
    band: int = 0
    newcomer: bool = False


@dataclass(frozen=True, slots=True)
class CaseView:
    """All that is public of one case, as of `block`, whose timestamp is `now`.

    `deadline` ends the running phase; it is 0 while DRAWING, which waits for the block after `seed_block`,
    and when the case is over. `code` and `agreeing` are the result and mean something only when SETTLED.
    `seats` holds every seat ever drawn, in the order drawn, all rounds together. `bounty_wei` was escrowed
    at opening, `escrow_wei` of it is still held. `wanted`, `seated`, `committed` and `revealed` count seats
    of this round.
    """

    case_id: int
    phase: Phase
    round: int
    panel_size: int
    case_account: str
    specialty: bytes
    scan_commitment: bytes
    network: bytes
    bucket: int
    bounty_wei: int
    seat_fee: int
    seed_block: int
    deadline: int
    code: int
    agreeing: int
    seats: tuple[Seat, ...]
    block: int
    now: int
    attempt: int = 1
    wanted: int = 0
    seated: int = 0
    committed: int = 0
    revealed: int = 0
    band: int = 0
    escrow_wei: int = 0
    consent_hash: bytes = ZERO_HASH
    sealing_key: bytes = ZERO_HASH
    contact: bytes = ZERO_HASH

    def round_seats(self, round_: int | None = None) -> tuple[tuple[int, Seat], ...]:
        """The seats of one round (the running one when not given) with their index among all seats."""
        wanted = self.round if round_ is None else round_
        return tuple((i, seat) for i, seat in enumerate(self.seats) if seat.round == wanted)

    def seat_of(self, doctor: str) -> tuple[int, Seat] | None:
        """The latest seat of `doctor` with its index, or None when that doctor was never drawn."""
        held = [(i, seat) for i, seat in enumerate(self.seats) if seat.doctor.lower() == doctor.lower()]
        return held[-1] if held else None

    @property
    def due(self) -> bool:
        """True when a call of `advance` that is mined next will find something to do; see
        `CaseRounds.sol`.
        """
        if self.phase is Phase.DRAWING:
            return self.block >= self.seed_block
        if self.phase is Phase.SEATING and not any(s.status is SeatStatus.INVITED for s in self.seats):
            return True
        if self.phase is Phase.REVEAL and self.revealed == self.committed:
            return True
        return self.late

    @property
    def late(self) -> bool:
        """True when time alone gives `advance` something to do: a draw is ripe, or a deadline is over."""
        if self.phase is Phase.DRAWING:
            return self.block > self.seed_block
        return self.phase in (Phase.SEATING, Phase.COMMIT, Phase.REVEAL) and self.now > self.deadline
