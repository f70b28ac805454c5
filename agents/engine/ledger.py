"""Transactions that are sent once: written down signed before they are sent, and sent again as often as need be.

The effect's scratch holds the raw signed bytes. Whatever happens after they were written, the same bytes go out
again; a chain mines them at most once. Bytes whose nonce another transaction took can never be mined: only then is
the call prepared anew. One transaction of an account at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import replace
from typing import Any

from agents.engine.faults import label, point
from agents.engine.store import Pending, Store
from agents.framework.allowance import Allowance
from agents.framework.decision import DecisionMakerPort, TxWish
from agents.keyring import Keyring
from contracts.chain.client import ChainClient
from contracts.chain.errors import Dropped, FeeTooLow, NonceUsed, OutOfGas, Reverted
from contracts.chain.values import Call, Receipt, UnsignedTx
from protocols.case.policy import call_name
from protocols.case.steps import MAIN
from protocols.effects import Event
from protocols.errors import UserError


class Ledger:
    """The one way in which an agent sends transactions."""

    def __init__(
        self,
        keyring: Keyring,
        chain: ChainClient,
        store: Store,
        signer: DecisionMakerPort,
        allowance: Allowance,
    ) -> None:
        self._keyring = keyring
        self._chain = chain
        self._store = store
        self._signer = signer
        self._allowance = allowance
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def account(self, name: str) -> str:
        """The address of the wallet (MAIN) or of a case account."""
        return (
            self._keyring.address if name == MAIN else self._keyring.case_account(bytes.fromhex(name)).address
        )

    async def transact(self, pending: Pending) -> Event:
        """A contract call, to its receipt. The event is `mined` or `reverted`."""
        body = pending.effect.body
        account = self.account(body["account"])

        async def prepare() -> UnsignedTx:
            call = Call.from_wire(
                {
                    "contract": body["contract"],
                    "function": body["function"],
                    "args": body["args"],
                    "value": body["value"],
                    "account": account,
                }
            )
            return await self._chain.prepare(call)

        return await self._send(pending, account, call_name(dict(body)), prepare)

    async def pay(self, pending: Pending) -> Event:
        """Plain wei; value 0 sweeps the account. Nothing to sweep counts as done."""
        body = pending.effect.body
        account = self.account(body["account"])

        async def prepare() -> UnsignedTx:
            tx = await self._chain.prepare_raw(account, body["to"], b"", max(1, int(body["value"])))
            if body["value"]:
                return tx
            left = await self._chain.balance(account) - (tx.max_cost_wei - tx.value)
            if left <= 0:
                self._chain.release(tx)
                raise UserError("the account holds nothing to sweep", "nothing needs to be done")
            return replace(tx, value=left)

        return await self._send(pending, account, "pay", prepare)

    async def _send(self, pending: Pending, account: str, name: str, prepare: Any) -> Event:
        what = label(pending.effect.kind, dict(pending.effect.body))
        async with self._locks[account]:
            scratch = pending.scratch
            try:
                if scratch is None:
                    self._after_the_earlier(pending)
                    scratch = await self._sign(pending, name, prepare)
                    point("after-sign", what)
                tx = UnsignedTx.from_wire(scratch["tx"])
                self._chain.adopt(tx)
                tx_hash = await self._chain.broadcast(scratch["raw"])
                point("after-send", what)
                receipt = await self._chain.wait(tx_hash)
            except (NonceUsed, FeeTooLow):
                # These bytes can never be mined: the call is priced, numbered and signed anew.
                self._chain.release(tx)
                with self._store.transaction():
                    self._store.note_scratch(pending.effect.id, None)
                raise
            except (Reverted, OutOfGas, UserError) as error:
                if scratch is None:
                    self._allowance.settle(pending.effect.id, 0)
                reason = getattr(error, "name", "") or str(error)
                body = {"step": pending.effect.body["step"], "reason": reason, "now": time.time()}
                return Event("reverted", body, f"{pending.effect.id}/reverted")
            self._allowance.settle(pending.effect.id, tx.value + receipt.fee_wei)
            return self._mined(pending, name, account, tx, receipt)

    def _after_the_earlier(self, pending: Pending) -> None:
        """One signed transaction of an account at a time: a later number would wait for one that only its own effect
        sends again, and keep that effect from its turn. Raises `Dropped` while another one is under way."""
        account = pending.effect.body["account"]
        for other in self._store.pending():
            ours = other.scratch is not None and other.effect.body.get("account") == account
            if ours and other.effect.id != pending.effect.id:
                raise Dropped(
                    "an earlier transaction of this account is still under way", "it is sent again first"
                )

    async def _sign(self, pending: Pending, name: str, prepare: Any) -> dict[str, Any]:
        tx: UnsignedTx = await prepare()
        wish = TxWish(pending.effect.id, pending.case_key, name, tx, pending.effect.body["account"])
        try:
            raw = await self._signer.sign(wish)
        except BaseException:
            self._chain.release(tx)
            raise
        scratch = {"tx": tx.to_wire(), "raw": raw}
        with self._store.transaction():
            self._store.note_scratch(pending.effect.id, scratch)
        return scratch

    def _mined(self, pending: Pending, name: str, account: str, tx: UnsignedTx, receipt: Receipt) -> Event:
        body = {
            "step": pending.effect.body["step"],
            "hash": receipt.tx_hash,
            "block": receipt.block,
            "gas": receipt.gas_used,
            "fee": receipt.fee_wei,
            "sender": account,
            "call": name,
            "value": tx.value,
            "now": time.time(),
        }
        return Event("mined", body, f"{pending.effect.id}/mined")
