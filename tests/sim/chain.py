"""A chain for simulations: revm under the JSON-RPC methods that the real `ChainClient` uses.

Blocks are mined on simulated time from a pool of raw transactions; a transaction is known by the hash of its
signed bytes, is mined at most once, and in the order of its account's nonces. Gas is paid for. Nothing here
is shared with the agents but `port`, what a node would answer. Signatures are not looked at (`know` says who
signed what): that is the contracts' and the wire's tests' business.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from pyrevm import EVM, BlockEnv

from contracts.abi import artifact, explain_revert
from contracts.bindings import Contracts, Terms, read_now
from contracts.chain.address_book import AddressBook
from contracts.chain.deploy import ORDER, plan
from contracts.chain.errors import RpcError, Unreachable
from contracts.chain.values import Block, Log, Topics, UnsignedTx
from tests.sim.clock import EPOCH

CHAIN_ID = 1
GAS_PRICE = 10**9
BLOCK_GAS = 30_000_000
PLAIN_GAS = 21_000
FIRST_BLOCK = 1_000


class Broken(Exception):
    """A call that failed inside the EVM. output: what it reverted with, None when it broke otherwise."""

    def __init__(self, output: bytes | None, gas: int, words: str) -> None:
        super().__init__(words)
        self.output, self.gas = output, gas


@dataclass
class Sent:
    """A transaction that somebody signed. label: who wanted it, for the checks."""

    hash: str
    tx: UnsignedTx
    effect: str
    call: str
    arrived: int = 0
    block: int | None = None
    ok: bool = False
    gas: int = 0
    why: bytes = b""
    logs: list[Log] = field(default_factory=list)


@dataclass
class ChainFaults:
    """How unkind the chain is. Chances are by block or by transaction."""

    interval: float = 2.0
    jitter: float = 0.5
    stall: float = 0.0  # a block takes up to 30 seconds
    hold: float = 0.0  # a transaction is left for a later block
    forget: float = 0.0  # the node accepts a transaction and loses it
    mute: float = 0.0  # the node takes a transaction and its answer is lost
    shuffle: bool = False  # miners order as they like


class SimChain:
    """See the module."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, rng: Random, faults: ChainFaults, terms: Terms, attester: str
    ) -> None:
        self._loop, self._rng, self.faults = loop, rng, faults
        self.evm = EVM(gas_limit=BLOCK_GAS)
        self.number, self.timestamp = FIRST_BLOCK, EPOCH
        self.sent: dict[str, Sent] = {}
        self.pool: list[Sent] = []
        self.mined: list[Sent] = []
        self.nonces: Counter[str] = Counter()
        self.burned = self.minted = 0
        self.accounts: set[str] = set()
        self.logs: list[Log] = []
        self.on_block: list[Callable[[list[Sent]], None]] = []
        self.idle = False
        self._cache: dict[tuple[str, str], Any] = {}
        self._set(self.number, self.timestamp)
        deployer = to_checksum_address("0x" + "d0" * 20)
        made = plan(deployer, 0, terms, [attester])
        self.fund(deployer, 10**18)
        for name in ORDER:
            found = self.evm.deploy(deployer, made.code[name])
            assert found.lower() == made.addresses[name].lower()
        self.book = AddressBook(CHAIN_ID, self.number, made.addresses, terms.to_json())
        self.contracts = Contracts(self.book)
        self.names = {address.lower(): name for name, address in made.addresses.items()}
        self.accounts |= set(made.addresses.values())

    # ---- money out of nothing, and looking
    def fund(self, account: str, wei: int) -> None:
        self.accounts.add(account)
        self.minted += wei
        self.evm.set_balance(account, self.balance(account) + wei)

    def balance(self, account: str) -> int:
        return int(self.evm.get_balance(account))

    def call(self, to: str, data: bytes, block: Block = "latest") -> bytes:
        """For `read_now`: what a contract says now."""
        return self._execute("0x" + "00" * 20, to, data, 0, static=True)

    def read(self, question: Any) -> Any:
        """The answer to a binding's question, now."""
        return read_now(self, question)

    def know(self, raw: bytes, tx: UnsignedTx, effect: str, call: str) -> None:
        """Somebody signed these bytes."""
        name = "0x" + keccak(raw).hex()
        self.sent.setdefault(name, Sent(name, tx, effect, call))

    # ---- blocks
    def begin(self) -> None:
        """Start mining."""
        self._loop.call_later(self.faults.interval, self._mine)

    def _mine(self) -> None:
        wait = self.faults.interval + self._rng.uniform(0, self.faults.jitter)
        if self._rng.random() < self.faults.stall:
            wait += self._rng.uniform(5, 30)
        if self.idle and not self.pool:
            wait = 60.0
        self._loop.call_later(wait, self._mine)
        self.number += 1
        self.timestamp = max(self.timestamp, int(EPOCH + self._loop.time()))
        self._set(self.number, self.timestamp)
        self._cache.clear()
        block: list[Sent] = []
        if self.faults.shuffle:
            self._rng.shuffle(self.pool)
        held = {s.hash for s in self.pool if self._rng.random() < self.faults.hold}
        moved = True
        while moved:
            moved = False
            for sent in list(self.pool):
                due = self.nonces[sent.tx.account]
                if sent.tx.nonce < due:
                    self.pool.remove(sent)
                elif sent.tx.nonce == due and sent.hash not in held:
                    self.pool.remove(sent)
                    self._apply(sent)
                    block.append(sent)
                    moved = True
        self.mined += block
        for told in self.on_block:
            told(block)

    def _apply(self, sent: Sent) -> None:
        tx = sent.tx
        assert tx.to is not None
        sent.block = self.number
        self.nonces[tx.account] += 1
        self.accounts |= {tx.account, to_checksum_address(tx.to)}
        try:
            if not tx.data:
                self._move(tx.account, tx.to, tx.value)
                sent.gas = PLAIN_GAS
            else:
                self._execute(tx.account, tx.to, tx.data, tx.value, gas=tx.gas)
                sent.gas = int(self.evm.result.gas_used)
                sent.logs = [self._log(sent, log) for log in self.evm.result.logs]
                self.logs += sent.logs
            sent.ok = True
        except Broken as error:
            sent.gas = error.gas or PLAIN_GAS
            sent.why = error.output or b""
        fee = sent.gas * GAS_PRICE
        self.burned += fee
        self.evm.set_balance(tx.account, self.balance(tx.account) - fee)

    def _move(self, frm: str, to: str, wei: int) -> None:
        if self.balance(frm) < wei:
            raise Broken(None, PLAIN_GAS, "insufficient funds")
        self.evm.set_balance(frm, self.balance(frm) - wei)
        self.evm.set_balance(to, self.balance(to) + wei)

    def _log(self, sent: Sent, log: Any) -> Log:
        topics = tuple(bytes.fromhex(t.removeprefix("0x")) for t in log.topics)
        address = to_checksum_address(log.address)
        return Log(
            address, topics, bytes(log.data[1]), self.number, len(self.logs) + len(sent.logs), sent.hash
        )

    def _set(self, number: int, time: int) -> None:
        self.evm.set_block_env(BlockEnv(number=number, timestamp=time, gas_limit=BLOCK_GAS))

    def _execute(
        self, frm: str, to: str, data: bytes, value: int, *, static: bool = False, gas: int | None = None
    ) -> bytes:
        more = {} if gas is None else {"gas": gas}
        try:
            return bytes(self.evm.message_call(frm, to, calldata=data, value=value, is_static=static, **more))
        except RuntimeError as error:
            raise _broken(str(error)) from None

    def finish(self, case_id: int, stranger: str) -> bool:
        """Whether somebody without any part in a case can end it, given time."""
        self.fund(stranger, 10**18)
        cases = self.contracts.cases
        data = artifact("Cases").abi.encode_call("advance", (case_id,))
        for _ in range(60):
            self.number, self.timestamp = self.number + 2, self.timestamp + 100
            self._set(self.number, self.timestamp)
            view = self.read(cases.view(case_id, self.number, self.timestamp))
            if view.phase.over:
                return True
            with suppress(Broken):
                self._execute(stranger, cases.address, data, 0)
        return False

    def pairing(self, data: bytes) -> bytes:
        """The pairing precompile, fast."""
        return self.call("0x" + "00" * 19 + "08", data)

    # ---- the node
    async def request(self, method: str, *params: Any) -> Any:
        """One JSON-RPC request."""
        return getattr(self, "_" + method)(*params)

    async def close(self) -> None:
        """Nothing is open."""

    def _eth_chainId(self) -> str:
        return hex(CHAIN_ID)

    def _eth_gasPrice(self) -> str:
        return hex(GAS_PRICE)

    def _eth_getBlockByNumber(self, tag: str, full: bool) -> Any:
        return {"number": hex(self.number), "timestamp": hex(self.timestamp)}

    def _eth_getBalance(self, account: str, tag: str) -> str:
        return hex(self.balance(account))

    def _eth_getCode(self, account: str, tag: str) -> str:
        return "0x01" if account.lower() in self.names else "0x"

    def _eth_call(self, tx: dict[str, Any], tag: str) -> str:
        if "gas" in tx:  # a failed transaction is asked about
            for sent in self.mined:
                if sent.why and (sent.tx.account, "0x" + sent.tx.data.hex()) == (tx["from"], tx["data"]):
                    raise RpcError(3, "execution reverted", "0x" + sent.why.hex())
        key = (tx["to"], tx["data"])
        if key not in self._cache:
            try:
                found = self._execute(
                    "0x" + "00" * 20, tx["to"], bytes.fromhex(tx["data"][2:]), 0, static=True
                )
            except Broken as error:
                raise _refused(error) from None
            self._cache[key] = "0x" + found.hex()
        return str(self._cache[key])

    def _eth_estimateGas(self, tx: dict[str, Any]) -> str:
        data, value = bytes.fromhex(tx["data"][2:]), int(tx["value"], 16)
        if self.balance(tx["from"]) < value:
            raise RpcError(-32000, "insufficient funds for transfer")
        if not data:
            return hex(PLAIN_GAS)
        mark = self.evm.snapshot()
        self._set(self.number + 1, max(self.timestamp, int(EPOCH + self._loop.time())))
        try:
            self._execute(tx["from"], tx["to"], data, value)
            # What was used is after refunds of up to a fifth; the limit must hold before them.
            return hex(int(self.evm.result.gas_used) * 5 // 4 + 5_000)
        except Broken as error:
            raise _refused(error) from None
        finally:
            self.evm.revert(mark)
            self._set(self.number, self.timestamp)

    def _eth_getTransactionCount(self, account: str, tag: str) -> str:
        due = self.nonces[account]
        if tag == "pending":
            waiting = {s.tx.nonce for s in self.pool if s.tx.account == account}
            while due in waiting:
                due += 1
        return hex(due)

    def _eth_sendRawTransaction(self, raw: str) -> str:
        name = "0x" + keccak(bytes.fromhex(raw[2:])).hex()
        sent = self.sent[name]
        if sent.block is not None or sent in self.pool:
            raise RpcError(-32000, "already known")
        tx = sent.tx
        if tx.nonce < self.nonces[tx.account]:
            raise RpcError(-32000, "nonce too low")
        if any(s.tx.account == tx.account and s.tx.nonce == tx.nonce for s in self.pool):
            raise RpcError(-32000, "replacement transaction underpriced")
        if self.balance(tx.account) < tx.max_cost_wei:
            raise RpcError(-32000, "insufficient funds for gas * price + value")
        if self._rng.random() < self.faults.forget:
            return name
        self.pool.append(sent)
        if self._rng.random() < self.faults.mute:
            raise Unreachable("the chain's answer was lost", "try again")
        return name

    def _eth_getTransactionByHash(self, name: str) -> Any:
        sent = self.sent.get(name)
        if sent is None or (sent.block is None and sent not in self.pool):
            return None
        tx = sent.tx
        told = {"from": tx.account, "to": tx.to, "gas": hex(tx.gas), "value": hex(tx.value)}
        return told | {"input": "0x" + tx.data.hex()}

    def _eth_getTransactionReceipt(self, name: str) -> Any:
        sent = self.sent.get(name)
        if sent is None or sent.block is None:
            return None
        return {
            "transactionHash": name,
            "blockNumber": hex(sent.block),
            "status": hex(int(sent.ok)),
            "gasUsed": hex(sent.gas),
            "effectiveGasPrice": hex(GAS_PRICE),
            "from": sent.tx.account,
            "to": sent.tx.to,
            "contractAddress": None,
            "logs": [_told(log) for log in sent.logs],
        }

    def _eth_getLogs(self, query: dict[str, Any]) -> Any:
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        wanted: Topics = [None if t is None else bytes.fromhex(t[2:]) for t in query["topics"]]
        return [
            _told(log)
            for log in self.logs
            if first <= log.block <= last and log.address == query["address"] and _passes(log.topics, wanted)
        ]


def _passes(topics: Sequence[bytes], wanted: Topics) -> bool:
    return all(w is None or (i < len(topics) and topics[i] == w) for i, w in enumerate(wanted))


def _told(log: Log) -> dict[str, Any]:
    return {
        "address": log.address,
        "topics": ["0x" + t.hex() for t in log.topics],
        "data": "0x" + log.data.hex(),
        "blockNumber": hex(log.block),
        "logIndex": hex(log.index),
        "transactionHash": log.tx_hash,
    }


def _broken(words: str) -> Broken:
    found = re.search(r"gas_used: (\d+)", words)
    gas = int(found[1]) if found else 0
    if "output: 0x" not in words:
        return Broken(None, gas, words)
    output = words.split("output: 0x")[1].split(" ")[0].rstrip("})")
    return Broken(bytes.fromhex(output), gas, words)


def _refused(error: Broken) -> RpcError:
    if error.output is None:
        return RpcError(-32000, str(error))
    return RpcError(3, "execution reverted", "0x" + error.output.hex())


@lru_cache(maxsize=4096)
def why(output: bytes) -> str:
    """The name of the error that a transaction reverted with."""
    return explain_revert(output)[0] if output else "broken"


_SELECTORS = {
    entry.hash[:4]: f"{name}.{entry.name}"
    for name in ORDER
    for entry in artifact(name).abi.functions.values()
}


def call_of(tx: UnsignedTx) -> str:
    """`open`, `pay`, ...: what a transaction does, for the trace."""
    return _SELECTORS.get(tx.data[:4], "?").partition(".")[2] if tx.data else "pay"
