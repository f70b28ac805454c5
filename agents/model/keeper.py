"""Keeps a model's tapes topped up while it is idle, and lends one to each session."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.engine import dealing
from agents.model.stock import CHECKED, KEPT, Round, Trust, stock
from agents.model.tapes import Shelf, Tape, TapeStore
from protocols.blind.audit import DEFAULT_SLOTS, tape_detection
from protocols.blind.schedule import costs
from protocols.blind.weights import Pads
from protocols.errors import DealerCheated, ProtocolError, WireError

if TYPE_CHECKING:
    from agents.model.duty import ModelDuty

log = logging.getLogger(__name__)

TARGET = 12
"""Tapes of one batch that are kept at most, whatever the budget."""

PAUSE, LONGEST_PAUSE = 2.0, 600.0
BUSY = ("checking", "arranging", "hosting")
BATCHES = 2  # sizes of batch that are stocked: those asked for last


class Keeper:
    """One model owner's tapes. budget: bytes; 0 keeps none, and every session is dealt live."""

    def __init__(self, duty: ModelDuty, folder: Path, budget: int) -> None:
        self._duty, self._folder = duty, folder
        self.store = TapeStore(folder, budget) if budget > 0 else None
        self.trust = Trust(duty.store)
        self._making: list[int] | None = None
        self._told = ""

    # ---- for sessions
    async def claim(self, dealer: str, batch: int) -> Tape | None:
        """A tape for a session that begins, or None: it is dealt live then."""
        if self.store is None:
            return None
        tape = await asyncio.to_thread(self.store.claim, self._shelf(dealer, batch))
        self.note()
        return tape

    def release(self, tape: Tape | None) -> None:
        """The session is over."""
        if self.store is not None and tape is not None:
            self.store.release(tape)

    def useless(self, dealer: str, why: str) -> None:
        """The dealer does not stand by its tapes."""
        if self.store is not None:
            count = self.store.throw_away(dealer)
            self._duty.tell("tapes.useless", f"threw {count} tapes away: {why}")
            self.note()

    def asked(self, batch: int) -> None:
        """Somebody wants predictions of this batch: tapes of that size are stocked from now on."""
        before = self.batches()
        if before[:1] != [batch]:
            kept = [batch, *(b for b in before if b != batch)][:BATCHES]
            self._duty.store.set_meta("tapes.batches", kept)

    def batches(self) -> list[int]:
        """Sizes of batch to stock."""
        return list(self._duty.store.meta("tapes.batches") or [DEFAULT_SLOTS])

    def _shelf(self, dealer: str, batch: int) -> Shelf:
        return Shelf(dealer, self._duty.network_id, batch)

    # ---- topping up
    async def run(self) -> None:
        """Works until it is cancelled."""
        if self.store is None:
            return
        if self.store.burned:
            self._duty.tell(
                "tapes.burned", f"burned {self.store.burned} tapes that an earlier life left in use"
            )
        self.note()
        pause = PAUSE
        while True:
            await asyncio.sleep(pause)
            dealer = self._duty.choose_dealer([])
            busy = any(case.phase in BUSY for case in self._duty.core.states(open_only=True))
            if not dealer or busy:
                continue
            try:
                pause = PAUSE if await self._top_up(dealer) else min(30.0, pause * 2)
            except DealerCheated as error:
                self._cheated(dealer, error)
            except (WireError, ProtocolError) as error:
                pause = min(LONGEST_PAUSE, pause * 2)
                self._tell_once(f"no tapes could be laid in: {error}")
            except Exception:
                log.exception("topping up the tapes failed")
                pause = LONGEST_PAUSE
            self._making = None
            self.note()

    async def _top_up(self, dealer: str) -> bool:
        """One round for the first shelf that wants tapes; whether there was one."""
        duty, store = self._duty, self.store
        assert store is not None
        for batch in self.batches():
            shelf = self._shelf(dealer, batch)
            size = costs(duty.network.topology, batch).tape
            kept = min(KEPT, TARGET - len(store.names(shelf)), store.room(size) - CHECKED)
            if kept < 1:
                if store.budget < (1 + CHECKED) * size:
                    self._tell_once(
                        f"a round of tapes of {batch} images needs {(1 + CHECKED) * size / 1e6:.0f} MB and the budget "
                        f"is {store.budget / 1e6:.0f} MB: sessions are dealt live"
                    )
                continue
            seed = duty.dealer_seed(dealer)

            def pads(seed: bytes = seed) -> Pads:
                return Pads(duty.network.topology, duty.network_id, seed)

            work = Round(store, shelf, duty.network.topology, seed, pads, self._came, self.trust)
            async with await duty.dial(dealer, dealing.STOCK) as channel:
                made = await stock(channel, work, kept, CHECKED)
            caught = tape_detection(made, CHECKED, 1)
            self._duty.tell(
                "tapes",
                f"{store.counts()} tapes kept ({store.size / 1e6:.1f} of {store.budget / 1e6:.0f} MB); of this "
                f"round {CHECKED} were opened and right, a wrong one shows with probability {caught:.2f}",
                kept=store.counts(),
                bytes=store.size,
                budget=store.budget,
            )
            return True
        return False

    def _came(self, number: int, due: int) -> None:
        self._making = [number, due]
        self.note()

    def _cheated(self, dealer: str, error: DealerCheated) -> None:
        assert self.store is not None
        self.trust.refuse(dealer, error.fault)
        count = self.store.throw_away(dealer)
        self._duty.tell(
            "dealer.cheated",
            f"the dealer {dealer} cheated: {error.fault}; its {count} tapes are thrown away, it is refused for good",
            dealer=dealer,
        )

    def _tell_once(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._duty.tell("tapes.trouble", text)

    # ---- shown
    def note(self) -> None:
        """Write `status.json` beside the tapes, for `crypdoc status --data`."""
        if self.store is None:
            return
        fresh = self._folder / "status.new"
        fresh.write_text(json.dumps(self.status()), "utf-8")
        fresh.replace(self._folder / "status.json")

    def status(self) -> dict[str, Any]:
        """kept, bytes, budget, shelves, making ([came, due] of the round that runs, or None), refused dealers."""
        assert self.store is not None
        return {
            "kept": self.store.counts(),
            "bytes": self.store.size,
            "budget": self.store.budget,
            "batches": self.batches(),
            "making": self._making,
            "refused": self.trust.refused,
            "at": time.time(),
        }
