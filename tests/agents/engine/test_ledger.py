"""Transactions that are sent once, with a chain that does everything but what it should."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agents.engine.ledger import Ledger
from agents.engine.store import Pending, Store
from agents.framework.allowance import Allowance
from agents.keyring import Keyring
from contracts.chain.errors import Dropped, InsufficientFunds, NonceUsed, Reverted, Unreachable
from contracts.chain.values import Receipt, UnsignedTx
from protocols.case import steps
from protocols.errors import UserError

RING = Keyring(b"\x01" * 32)
GAS, PRICE = 21_000, 10


class FakeChain:
    """Mines what is broadcast, unless `trouble` is set. Counts."""

    def __init__(self) -> None:
        self.nonce = 0
        self.held = 10**9
        self.prepared = 0
        self.broadcasts: list[bytes] = []
        self.mined: list[bytes] = []
        self.released: list[int] = []
        self.adopted: list[int] = []
        self.trouble: dict[str, list[Exception]] = {"prepare": [], "broadcast": [], "wait": []}

    def _fail(self, where: str) -> None:
        if self.trouble[where]:
            raise self.trouble[where].pop(0)

    async def prepare(self, call: Any) -> UnsignedTx:
        return await self.prepare_raw(call.account, "0x" + "11" * 20, b"data", call.value)

    async def prepare_raw(self, account: str, to: str, data: bytes, value: int) -> UnsignedTx:
        self._fail("prepare")
        self.prepared += 1
        return UnsignedTx(account, to, data, value, self.nonce, GAS, 1, gas_price=PRICE)

    async def balance(self, account: str) -> int:
        return self.held

    def adopt(self, tx: UnsignedTx) -> None:
        self.adopted.append(tx.nonce)

    def release(self, tx: UnsignedTx) -> None:
        self.released.append(tx.nonce)

    async def broadcast(self, raw: bytes) -> str:
        self.broadcasts.append(raw)
        self._fail("broadcast")
        if raw not in self.mined:
            self.mined.append(raw)
            self.nonce += 1
        return "0x" + raw[:8].hex()

    async def wait(self, tx_hash: str) -> Receipt:
        self._fail("wait")
        return Receipt(tx_hash, 7, True, GAS, PRICE, RING.address, None, None, ())


class FakeSigner:
    """Signs by writing down what it saw."""

    def __init__(self) -> None:
        self.signed: list[UnsignedTx] = []
        self.refusal: Exception | None = None

    async def sign(self, wish: Any) -> bytes:
        if self.refusal is not None:
            raise self.refusal
        self.signed.append(wish.tx)
        return f"raw {wish.effect_id} {wish.tx.nonce} {wish.tx.value} {len(self.signed)}".encode()


class Bench:
    """One ledger and what it stands on; `restart` keeps the log alone."""

    def __init__(self) -> None:
        self.chain, self.signer, self.store = FakeChain(), FakeSigner(), Store(None)
        self.restart()

    def restart(self) -> None:
        self.ledger = Ledger(RING, self.chain, self.store, self.signer, Allowance(None))  # type: ignore[arg-type]

    def wish(self, effect: Any) -> Pending:
        self.store.add_effect("k", effect)
        return next(p for p in self.store.pending() if p.effect.id == effect.id)

    def again(self, pending: Pending) -> Pending:
        return next(p for p in self.store.pending() if p.effect.id == pending.effect.id)


@pytest.fixture
def bench() -> Bench:
    return Bench()


COMMIT = steps.transact("k", "commit", "Cases", "commit", [1, b"x" * 32], value=3)


async def test_a_call_is_mined_and_told(bench: Bench) -> None:
    event = await bench.ledger.transact(bench.wish(COMMIT))
    assert event.kind == "mined"
    assert event.id == "k/tx/commit/mined"
    assert event.body["step"] == "commit"
    assert (event.body["call"], event.body["value"], event.body["fee"]) == ("Cases.commit", 3, GAS * PRICE)


@pytest.mark.parametrize("where", ["broadcast", "wait"])
@pytest.mark.parametrize("error", [Unreachable("gone", ""), Dropped("forgotten", "")])
async def test_after_signing_the_same_bytes_go_out_again(bench: Bench, where: str, error: Exception) -> None:
    bench.chain.trouble[where].append(error)
    pending = bench.wish(COMMIT)
    with pytest.raises(type(error)):
        await bench.ledger.transact(pending)
    bench.restart()
    event = await bench.ledger.transact(bench.again(pending))
    assert event.kind == "mined"
    assert len(bench.signer.signed) == 1, "never signed twice"
    assert bench.chain.broadcasts[0] == bench.chain.broadcasts[1]
    assert len(bench.chain.mined) == 1
    assert bench.chain.adopted == [0, 0], "after a restart the nonce is known to be taken"


async def test_bytes_whose_nonce_is_gone_are_signed_anew(bench: Bench) -> None:
    bench.chain.trouble["broadcast"].append(NonceUsed("taken", ""))
    pending = bench.wish(COMMIT)
    with pytest.raises(NonceUsed):
        await bench.ledger.transact(pending)
    assert bench.again(pending).scratch is None
    bench.chain.nonce = 5
    assert (await bench.ledger.transact(bench.again(pending))).kind == "mined"
    assert [tx.nonce for tx in bench.signer.signed] == [0, 5]


async def test_a_refusal_of_the_contract_is_an_outcome(bench: Bench) -> None:
    bench.chain.trouble["prepare"].append(Reverted("WrongPhase"))
    event = await bench.ledger.transact(bench.wish(COMMIT))
    assert (event.kind, event.body["step"], event.body["reason"]) == ("reverted", "commit", "WrongPhase")
    assert bench.signer.signed == []


async def test_a_chain_that_is_away_is_no_outcome(bench: Bench) -> None:
    bench.chain.trouble["prepare"].append(Unreachable("gone", ""))
    with pytest.raises(Unreachable):
        await bench.ledger.transact(bench.wish(COMMIT))
    bench.chain.trouble["prepare"].append(InsufficientFunds("poor", ""))
    with pytest.raises(InsufficientFunds):
        await bench.ledger.transact(bench.wish(COMMIT))


async def test_what_the_owner_forbids_is_not_sent_and_gives_its_nonce_back(bench: Bench) -> None:
    bench.signer.refusal = UserError("the policy forbids it", "raise the cap")
    event = await bench.ledger.transact(bench.wish(COMMIT))
    assert event.kind == "reverted"
    assert bench.chain.broadcasts == []
    assert bench.chain.released == [0]


async def test_a_sweep_takes_all_but_the_cost_of_it(bench: Bench) -> None:
    event = await bench.ledger.pay(bench.wish(steps.pay("k", "sweep", "0x" + "22" * 20, 0)))
    assert event.kind == "mined"
    assert bench.signer.signed[0].value == 10**9 - GAS * PRICE


async def test_nothing_to_sweep_is_done_too(bench: Bench) -> None:
    bench.chain.held = GAS * PRICE
    event = await bench.ledger.pay(bench.wish(steps.pay("k", "sweep", "0x" + "22" * 20, 0)))
    assert event.kind == "reverted"
    assert bench.chain.released == [0]


async def test_a_payment_moves_what_it_says(bench: Bench) -> None:
    await bench.ledger.pay(bench.wish(steps.pay("k", "fund/m", "0x" + "22" * 20, 1234)))
    assert [tx.value for tx in bench.signer.signed] == [1234]


async def test_one_transaction_of_an_account_at_a_time(bench: Bench) -> None:
    other = replace(COMMIT, id="k/tx/reveal", body={**COMMIT.body, "step": "reveal"})
    gate = asyncio.Event()
    waiting = bench.chain.wait

    async def slow(tx_hash: str) -> Receipt:
        await gate.wait()
        return await waiting(tx_hash)

    bench.chain.wait = slow  # type: ignore[method-assign]

    async def perform(pending: Pending) -> str:
        event = await bench.ledger.transact(pending)
        bench.store.finish(pending.effect.id)
        return event.kind

    both = asyncio.gather(perform(bench.wish(COMMIT)), perform(bench.wish(other)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(bench.chain.broadcasts) == 1, "the second waits for the first, so nonces never race"
    gate.set()
    assert await both == ["mined", "mined"]
    assert [tx.nonce for tx in bench.signer.signed] == [0, 1]


async def test_a_lost_transaction_goes_before_later_ones(bench: Bench) -> None:
    """Seed 94: later numbers, each waiting for the lost one, kept it from ever being sent again."""
    bench.chain.trouble["wait"].append(Dropped("forgotten", ""))
    first = bench.wish(COMMIT)
    with pytest.raises(Dropped):
        await bench.ledger.transact(first)
    other = bench.wish(replace(COMMIT, id="k/tx/reveal", body={**COMMIT.body, "step": "reveal"}))
    with pytest.raises(Dropped, match="earlier transaction"):
        await bench.ledger.transact(other)
    assert len(bench.signer.signed) == 1
    assert (await bench.ledger.transact(bench.again(first))).kind == "mined"
    bench.store.finish(first.effect.id)
    assert (await bench.ledger.transact(other)).kind == "mined"
