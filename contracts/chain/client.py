"""The chain client: reads at pinned blocks, prepares transactions, broadcasts what was signed elsewhere.

What it holds to:
- It never sees a key. `prepare` gives an unsigned transaction; a `Signer` signs; `broadcast` takes raw bytes.
- `broadcast` may be repeated with the same bytes, in any process, at any time: it is success as long as that
  transaction is known or mined.
- Only a mined and successful transaction comes back from `wait`; all else is a `ChainError` of its own kind.
- A nonce is handed out once, until `release`. After a restart, `adopt` what was prepared before.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from contracts.abi import artifact
from contracts.bindings.base import EventSearch, Read
from contracts.bindings.events import ChainEvent
from contracts.chain.address_book import AddressBook
from contracts.chain.errors import Dropped, NoContract, OutOfGas, Refused, Reverted, RpcError, WrongChain
from contracts.chain.explain import explain_refusal
from contracts.chain.rpc import Rpc
from contracts.chain.values import Block, Call, Log, Receipt, Signer, Topics, UnsignedTx

T = TypeVar("T")

GWEI = 10**9
GAS_MARGIN = 1.3
"""Gas given over gas estimated: the block that mines a call may find more to do than the one that
estimated.
"""
LOGS_PER_REQUEST = 2_000
"""Blocks asked for at once; public nodes refuse much more."""


class ChainClient:
    """One chain, and the contracts in its address book. Make it by `connect`; close it, or use it in `async
    with`.
    """

    def __init__(self, rpc: Rpc, chain_id: int, book: AddressBook | None) -> None:
        self.rpc = rpc
        self.chain_id = chain_id
        self._book = book
        self._taken: dict[str, set[int]] = defaultdict(set)
        self._numbering: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @classmethod
    async def connect(
        cls, url: str, book: AddressBook | None = None, *, rpc: Rpc | None = None
    ) -> ChainClient:
        """Ask the node which chain it serves. Raises `Unreachable`, or `WrongChain` when not the book's."""
        rpc = rpc or Rpc(url)
        try:
            chain_id = int(await rpc.request("eth_chainId"), 16)
            if book is not None and book.chain_id != chain_id:
                fault = f"{url} serves chain {chain_id} and the address book is for chain {book.chain_id}"
                raise WrongChain(fault, "name the right chain, or the address book of this one")
        except BaseException:
            await rpc.close()
            raise
        return cls(rpc, chain_id, book)

    async def close(self) -> None:
        """Close the connection."""
        await self.rpc.close()

    async def __aenter__(self) -> ChainClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def book(self) -> AddressBook:
        """The contracts. Raises `NoContract` when the client was made without."""
        if self._book is None:
            raise NoContract("no contracts are known on this chain", "deploy them or name their address book")
        return self._book

    def with_book(self, book: AddressBook) -> ChainClient:
        """The same connection, with contracts (after deploying them)."""
        client = ChainClient(self.rpc, self.chain_id, book)
        client._taken, client._numbering = self._taken, self._numbering
        return client

    # -- reading

    async def head(self) -> tuple[int, int]:
        """The newest block's number and timestamp: chain time, by which deadlines go."""
        block = await self._ask("eth_getBlockByNumber", "latest", False)
        return int(block["number"], 16), int(block["timestamp"], 16)

    async def timestamp(self, block: int) -> int:
        """The timestamp of a block. Raises `Refused` when there is no such block yet."""
        found = await self._ask("eth_getBlockByNumber", hex(block), False)
        if found is None:
            raise Refused(f"the chain has no block {block}", "wait until it has")
        return int(found["timestamp"], 16)

    async def balance(self, account: str, block: Block = "latest") -> int:
        """Wei of an account."""
        return int(await self._ask("eth_getBalance", account, _tag(block)), 16)

    async def call(self, to: str, data: bytes, block: Block = "latest") -> bytes:
        """What a contract returns, as of a block. Raises `Reverted`, `NoContract`."""
        result = await self._ask("eth_call", {"to": to, "data": _hex(data)}, _tag(block))
        if result in (None, "0x") and not await self.has_code(to, block):
            raise NoContract(
                f"there is no contract at {to}", "check the address book, or deploy the contracts"
            )
        return bytes.fromhex(result[2:])

    async def has_code(self, address: str, block: Block = "latest") -> bool:
        """True when there is a contract at an address."""
        return await self._ask("eth_getCode", address, _tag(block)) not in (None, "0x", "0x0")

    async def read(self, question: Read[T], block: Block) -> T:
        """The answer to a binding's question, as of a block."""
        return question.decode(await self.call(question.to, question.data, block))

    async def events(
        self, search: EventSearch, from_block: int, to_block: Block = "latest"
    ) -> list[ChainEvent]:
        """The events that a binding's search finds, both blocks included, by (block, index)."""
        return search.decode(await self.logs(search.address, search.topics, from_block, to_block))

    async def logs(
        self, address: str, topics: Topics, from_block: int, to_block: Block = "latest"
    ) -> list[Log]:
        """The events of a contract that pass `topics`, both blocks included, in order."""
        last = to_block if isinstance(to_block, int) else (await self.head())[0]
        wanted = [None if topic is None else _hex(topic) for topic in topics]
        found: list[Log] = []
        for first in range(from_block, last + 1, LOGS_PER_REQUEST):
            to = min(first + LOGS_PER_REQUEST - 1, last)
            query = {"address": address, "topics": wanted, "fromBlock": hex(first), "toBlock": hex(to)}
            found += [parse_log(log) for log in await self._ask("eth_getLogs", query)]
        return sorted(found, key=lambda log: (log.block, log.index))

    # -- writing

    async def prepare(self, call: Call) -> UnsignedTx:
        """Number and price a call. It is tried out first: raises `Reverted` and takes no nonce if it would
        fail.
        """
        to = self.book.address(call.contract)
        data = artifact(call.contract).abi.encode_call(call.function, call.args)
        try:
            return await self.prepare_raw(call.account, to, data, call.value)
        except Reverted as error:
            raise Reverted(error.name, error.values, f"{call.contract}.{call.function}") from None

    async def prepare_raw(
        self, account: str, to: str | None, data: bytes = b"", value: int = 0
    ) -> UnsignedTx:
        """Number and price a transaction that is no call of a known contract: a transfer, or a creation
        (`to` None).
        """
        account = to_checksum_address(account)
        tried = {"from": account, "data": _hex(data), "value": hex(value)} | ({"to": to} if to else {})
        gas = int(await self._ask("eth_estimateGas", tried), 16)
        gas = int(gas * GAS_MARGIN) if data else gas
        unnumbered = await self._price(UnsignedTx(account, to, data, value, 0, gas, self.chain_id))
        return replace(unnumbered, nonce=await self._next_nonce(account))

    def release(self, tx: UnsignedTx) -> None:
        """Give a nonce back: the transaction was not signed and never will be."""
        self._taken[tx.account].discard(tx.nonce)

    def adopt(self, tx: UnsignedTx) -> None:
        """Mark a nonce as taken by a transaction that an earlier process prepared and that may still be
        sent.
        """
        self._taken[tx.account].add(tx.nonce)

    async def broadcast(self, raw: bytes) -> str:
        """Hand signed bytes to the chain, as often as need be; the transaction's hash.

        Raises `NonceUsed` when it can never be mined, `InsufficientFunds`, `FeeTooLow`, or `Refused`.
        """
        tx_hash = _hex(keccak(raw))
        try:
            await self.rpc.request("eth_sendRawTransaction", _hex(raw))
        except RpcError as error:
            if not await self._knows(tx_hash):
                raise explain_refusal(error) from None
        return tx_hash

    async def wait(self, tx_hash: str, *, timeout: float = 120.0, unknown_for: float = 15.0) -> Receipt:
        """Wait until a transaction is mined and has succeeded.

        Raises `Reverted` or `OutOfGas` when it failed, `Dropped` when the node has not known it for
        `unknown_for` seconds or it was not mined in `timeout` seconds (broadcasting again is safe).
        """
        start = known = time.monotonic()
        pause = 0.05
        while (found := await self._ask("eth_getTransactionReceipt", tx_hash)) is None or found[
            "blockNumber"
        ] is None:
            now = time.monotonic()
            if await self._knows(tx_hash):
                known = now
            if now - start > timeout or now - known > unknown_for:
                state = "is not mined yet" if known == now else "is not known to the chain any more"
                raise Dropped(f"transaction {tx_hash} {state}", "broadcast the same bytes again")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        receipt = parse_receipt(found)
        if not receipt.ok:
            await self._raise_failure(receipt)
        return receipt

    async def transact(self, call: Call, signer: Signer) -> Receipt:
        """Prepare, sign, broadcast and wait: for tools and tests. Agents do these one by one, with a log."""
        return await self.complete(await self.prepare(call), signer)

    async def complete(self, tx: UnsignedTx, signer: Signer) -> Receipt:
        """Sign, broadcast and wait."""
        try:
            raw = await signer.sign_transaction(tx.to_dict(), tx.account)
            tx_hash = await self.broadcast(raw)
        except BaseException:
            self.release(tx)
            raise
        return await self.wait(tx_hash)

    # -- how

    async def _ask(self, method: str, *params: Any) -> Any:
        try:
            return await self.rpc.request(method, *params)
        except RpcError as error:
            raise explain_refusal(error) from None

    async def _knows(self, tx_hash: str) -> bool:
        return await self._ask("eth_getTransactionByHash", tx_hash) is not None

    async def _next_nonce(self, account: str) -> int:
        """The lowest nonce that neither the chain nor anyone here has taken."""
        async with self._numbering[account]:
            first = int(await self._ask("eth_getTransactionCount", account, "pending"), 16)
            taken = self._taken[account] = {nonce for nonce in self._taken[account] if nonce >= first}
            nonce = next(n for n in range(first, first + len(taken) + 1) if n not in taken)
            taken.add(nonce)
            return nonce

    async def _price(self, tx: UnsignedTx) -> UnsignedTx:
        """With EIP-1559 fees where blocks have a base fee, with a gas price elsewhere."""
        block = await self._ask("eth_getBlockByNumber", "latest", False)
        if block.get("baseFeePerGas") is None:
            price = int(await self._ask("eth_gasPrice"), 16)
            return replace(tx, gas_price=price + price // 10)
        try:
            tip = int(await self.rpc.request("eth_maxPriorityFeePerGas"), 16)
        except RpcError:
            tip = GWEI
        base = int(block["baseFeePerGas"], 16)
        return replace(tx, max_fee_per_gas=2 * base + tip, max_priority_fee_per_gas=tip)

    async def _raise_failure(self, receipt: Receipt) -> None:
        """Find out why a mined transaction failed, by trying it again where it stood."""
        tx = await self._ask("eth_getTransactionByHash", receipt.tx_hash)
        if receipt.gas_used >= int(tx["gas"], 16) * 63 // 64:
            fault = f"transaction {receipt.tx_hash} ran out of gas at {receipt.gas_used}"
            raise OutOfGas(fault, "prepare the call again")
        again = {key: tx[key] for key in ("from", "to", "value", "gas") if tx.get(key)} | {
            "data": tx["input"]
        }
        for block in (receipt.block - 1, receipt.block):
            await self._ask("eth_call", again, hex(block))
        raise Reverted("reverted for a reason that has passed")


def parse_log(log: dict[str, Any]) -> Log:
    """A log of JSON-RPC."""
    return Log(
        address=to_checksum_address(log["address"]),
        topics=tuple(bytes.fromhex(topic[2:]) for topic in log["topics"]),
        data=bytes.fromhex(log["data"][2:]),
        block=int(log["blockNumber"], 16),
        index=int(log["logIndex"], 16),
        tx_hash=log["transactionHash"],
    )


def parse_receipt(found: dict[str, Any]) -> Receipt:
    """A receipt of JSON-RPC."""
    return Receipt(
        tx_hash=found["transactionHash"],
        block=int(found["blockNumber"], 16),
        ok=int(found["status"], 16) == 1,
        gas_used=int(found["gasUsed"], 16),
        gas_price=int(found.get("effectiveGasPrice") or "0x0", 16),
        account=to_checksum_address(found["from"]),
        to=to_checksum_address(found["to"]) if found.get("to") else None,
        contract_address=to_checksum_address(found["contractAddress"])
        if found.get("contractAddress")
        else None,
        logs=tuple(parse_log(log) for log in found["logs"]),
    )


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _tag(block: Block) -> str:
    return hex(block) if isinstance(block, int) else block
