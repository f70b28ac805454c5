"""A one-node chain in this process, on py-evm: no network, no event loop, not thread-safe.

What it holds to:
- A block's timestamp is the clock's (never ahead of it, never before its parent's): several blocks may share
  a second, which Ethereum forbids and Ganache allows, so that time does not run ahead under load.
- `mixHash` (PREVRANDAO) is fresh entropy, set before the block's transactions run, as on a real chain.
- No account has a known key. Money comes from the genesis list and from withdrawals (EIP-4895): `grant`.
- Blocks are final and hold one transaction (py-evm re-encodes a block for every transaction it adds). It is
  mined before `submit` returns, or refused, or held for an earlier nonce.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from eth._utils.address import generate_contract_address
from eth.abc import BlockHeaderAPI, ComputationAPI, ReceiptAPI, SignedTransactionAPI, StateAPI
from eth.consensus.applier import ConsensusApplier
from eth.consensus.noproof import NoProofConsensus
from eth.constants import BLANK_ROOT_HASH, CREATE_CONTRACT_ADDRESS
from eth.db.atomic import AtomicDB
from eth.exceptions import Revert
from eth.vm.forks.shanghai.withdrawals import Withdrawal
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address, BlockNumber
from eth_utils.address import to_canonical_address
from eth_utils.exceptions import ValidationError

from contracts.chain.journal import Journal
from contracts.chain.vm import SameSecondVM, SteadyChain
from protocols.errors import ChainError

GAS_LIMIT = 30_000_000
GWEI = 10**9
MAX_HELD = 1_000
"""How many transactions with a nonce still to come are kept, all accounts together."""

_IDENTITY = b"crypdoc:chain id"
_STATUS_OK = b"\x01"

Spec = int | str | bytes
"""A block: number, hash, or one of the tags of JSON-RPC."""


class TxRefused(Exception):
    """The transaction cannot be part of this chain; the words are those other nodes use."""


class ExecutionFailed(Exception):
    """A call did not succeed. `output` is what the contract reverted with, None when it broke otherwise."""

    def __init__(self, message: str, output: bytes | None) -> None:
        super().__init__(message)
        self.output = output


@dataclass(frozen=True, slots=True)
class Message:
    """A call to try out. An empty `to` creates a contract."""

    to: bytes
    data: bytes = b""
    sender: bytes = bytes(20)
    value: int = 0
    gas: int = GAS_LIMIT


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction, alone in its block; a log is an address, topics and data."""

    tx: SignedTransactionAPI
    header: BlockHeaderAPI
    ok: bool
    gas_used: int
    logs: tuple[tuple[bytes, tuple[int, ...], bytes], ...]

    @property
    def contract_address(self) -> bytes | None:
        """Where a creating transaction put its contract."""
        if self.tx.to != CREATE_CONTRACT_ADDRESS:
            return None
        return generate_contract_address(self.tx.sender, self.tx.nonce)

    @property
    def gas_price(self) -> int:
        """What each unit of gas was paid with."""
        return min(self.tx.max_fee_per_gas, base_fee(self.header) + self.tx.max_priority_fee_per_gas)


class EvmChain:
    """The chain. `clock` gives Unix seconds, `entropy(n)` gives n random bytes."""

    def __init__(
        self,
        *,
        chain_id: int,
        fund: Mapping[str, int],
        clock: Callable[[], float],
        entropy: Callable[[int], bytes],
        path: Path | None = None,
    ) -> None:
        self.chain_id = chain_id
        self._clock = clock
        self._entropy = entropy
        self._journal = Journal(path)
        self._headers: list[BlockHeaderAPI] = []
        self._by_hash: dict[bytes, int] = {}
        self._mined: dict[bytes, Mined] = {}
        self._blocks: list[tuple[bytes, ...]] = []
        self._held: dict[bytes, dict[int, SignedTransactionAPI]] = {}
        self.mined_at = clock()
        """The clock at the newest block, finer than its timestamp."""
        self._chain = self._start(fund)
        for number in range(self._chain.get_canonical_head().block_number + 1):
            self._index(self._chain.get_canonical_block_header_by_number(BlockNumber(number)))
        self._journal.commit()

    # -- what is there

    @property
    def head(self) -> BlockHeaderAPI:
        """The newest block's header."""
        return self._headers[-1]

    def header(self, spec: Spec) -> BlockHeaderAPI | None:
        """The header of a block, None when there is none such. "pending" is the block that would come now."""
        if spec == "pending":
            return self._next_header(bytes(32))
        if isinstance(spec, str):
            spec = 0 if spec == "earliest" else len(self._headers) - 1
        if isinstance(spec, bytes):
            number = self._by_hash.get(spec)
            return None if number is None else self._headers[number]
        return self._headers[spec] if 0 <= spec < len(self._headers) else None

    def mined(self, tx_hash: bytes) -> Mined | None:
        """A transaction that is in a block."""
        return self._mined.get(tx_hash)

    def held(self, tx_hash: bytes) -> SignedTransactionAPI | None:
        """A transaction that waits for an earlier nonce."""
        waiting = (tx for txs in self._held.values() for tx in txs.values())
        return next((tx for tx in waiting if tx.hash == tx_hash), None)

    def transactions(self, number: int) -> tuple[bytes, ...]:
        """The hashes of a block's transactions."""
        return self._blocks[number]

    def balance(self, account: bytes, spec: Spec = "latest") -> int:
        """Wei of an account."""
        return self._state(spec).get_balance(Address(account))

    def nonce(self, account: bytes, spec: Spec = "latest") -> int:
        """How many transactions an account has sent."""
        return self._state(spec).get_nonce(Address(account))

    def code(self, account: bytes, spec: Spec = "latest") -> bytes:
        """The contract at an address."""
        return self._state(spec).get_code(Address(account))

    def storage(self, account: bytes, slot: int, spec: Spec = "latest") -> int:
        """One word of a contract's storage."""
        return self._state(spec).get_storage(Address(account), slot)

    # -- what it does

    def submit(self, raw: bytes) -> bytes:
        """Mine a signed transaction, and those that waited for it. Its hash, or `TxRefused`."""
        tx = self._decode(raw)
        if tx.hash in self._mined or self.held(tx.hash):
            raise TxRefused("already known")
        if tx.nonce > self._state("latest").get_nonce(tx.sender):
            self._hold(tx)
            return tx.hash
        self._execute(tx)
        waiting, nonce = self._held.get(tx.sender, {}), tx.nonce + 1
        while (following := waiting.pop(nonce, None)) is not None:
            with suppress(TxRefused):
                self._execute(following)
            nonce += 1
        return tx.hash

    def mine(self) -> None:
        """An empty block, so that time passes."""
        self._begin()
        self._chain.mine_block()
        self._end()

    def grant(self, account: bytes, wei: int) -> None:
        """Mint money to an account, in whole gwei rounded up, by a block with a withdrawal."""
        gift = Withdrawal(index=len(self._headers), address=Address(account), amount=-(-wei // GWEI))
        self._begin()
        self._chain.mine_all([], withdrawals=[gift])
        self._end()

    def call(self, message: Message, spec: Spec = "latest") -> bytes:
        """What a call returns as of a block. Raises `ExecutionFailed`."""
        computation = self._run(message, self._known(spec))
        _raise_failure(computation)
        return computation.output

    def estimate(self, message: Message) -> int:
        """Enough gas for a transaction sent now. Raises `ExecutionFailed` when none is enough."""
        header = self._next_header(self.head.hash)
        computation = self._run(message, header)
        _raise_failure(computation)
        need = message.gas - computation.get_gas_remaining()
        while need < message.gas and self._run(replace(message, gas=need), header).is_error:
            need = min(message.gas, need + need // 10)  # a callee gets at most 63/64 of what is left
        return need

    def logs(
        self, first: int, last: int, addresses: Iterable[bytes], topics: Sequence[Sequence[int] | None]
    ) -> list[tuple[Mined, int]]:
        """Events in a range of blocks, in order: each as its transaction and its index in there.

        `topics` holds for each position the values allowed, or None for any.
        """
        wanted = frozenset(addresses)
        return [
            (mined, i)
            for number in range(max(0, first), min(last, len(self._headers) - 1) + 1)
            for mined in map(self._mined.__getitem__, self._blocks[number])
            for i, (address, found, _) in enumerate(mined.logs)
            if (not wanted or address in wanted) and _match(found, topics)
        ]

    def close(self) -> None:
        """Let go of the file."""
        self._journal.close()

    # -- how

    def _start(self, fund: Mapping[str, int]) -> SteadyChain:
        """A new chain, or the one in the journal."""
        vms = ConsensusApplier(NoProofConsensus).amend_vm_configuration(((BlockNumber(0), SameSecondVM),))
        kind = SteadyChain.configure("EmbeddedChain", vm_configuration=vms, chain_id=self.chain_id)
        database, identity = AtomicDB(self._journal), str(self.chain_id).encode()
        if _IDENTITY not in self._journal:
            self._journal[_IDENTITY] = identity
            state = {to_canonical_address(a): _account(wei) for a, wei in fund.items()}
            params = {"gas_limit": GAS_LIMIT, "timestamp": int(self._clock()), "difficulty": 0}
            return cast(SteadyChain, kind.from_genesis(database, cast(Any, params), cast(Any, state)))
        if self._journal[_IDENTITY] != identity:
            raise ChainError(
                "the chain file holds a chain of another id", "name another file, or that chain id"
            )
        return kind(database)

    def _next_header(self, mix_hash: bytes) -> BlockHeaderAPI:
        header = self._chain.create_header_from_parent(self.head)
        now = max(int(self._clock()), self.head.timestamp)
        return header.copy(timestamp=now, mix_hash=mix_hash)

    def _begin(self) -> None:
        self._chain.header = self._next_header(self._entropy(32))

    def _end(self) -> None:
        self._index(self._chain.get_canonical_head())
        self._journal.commit()
        self.mined_at = self._clock()

    def _decode(self, raw: bytes) -> SignedTransactionAPI:
        try:
            tx = SameSecondVM.get_transaction_builder().decode(raw)
            tx.validate()
            if len(tx.sender) != 20:  # recovers the key; raises on a bad signature
                raise ValidationError("no sender")
        except Exception as error:  # rlp, eth_keys and py-evm each raise their own kinds on garbage
            raise TxRefused(f"invalid transaction: {error}"[:200]) from None
        if tx.chain_id not in (None, self.chain_id):
            raise TxRefused(f"invalid chain id: have {tx.chain_id}, want {self.chain_id}")
        return tx

    def _hold(self, tx: SignedTransactionAPI) -> None:
        if sum(map(len, self._held.values())) >= MAX_HELD:
            raise TxRefused("too many transactions wait for an earlier nonce")
        self._held.setdefault(tx.sender, {})[tx.nonce] = tx

    def _execute(self, tx: SignedTransactionAPI) -> None:
        """Mine a block of one transaction, unless it is refused."""
        self._begin()
        header, state = self._chain.header, self._chain.get_vm().state
        balance, cost = state.get_balance(tx.sender), tx.gas * tx.max_fee_per_gas + tx.value
        if tx.nonce < (due := state.get_nonce(tx.sender)):
            raise TxRefused(f"nonce too low: next nonce {due}, tx nonce {tx.nonce}")
        if tx.gas > header.gas_limit:
            raise TxRefused("exceeds block gas limit")
        if tx.gas < tx.intrinsic_gas:
            raise TxRefused("intrinsic gas too low")
        if tx.max_fee_per_gas < base_fee(header):
            raise TxRefused("max fee per gas less than block base fee")
        if balance < cost:
            raise TxRefused(f"insufficient funds for gas * price + value: balance {balance}, tx cost {cost}")
        try:
            self._chain.apply_transaction(tx)
        except ValidationError as error:
            raise TxRefused(f"invalid transaction: {error}"[:200]) from None
        self._chain.mine_block()
        self._end()

    def _known(self, spec: Spec) -> BlockHeaderAPI:
        if (header := self.header(spec)) is None:
            raise ExecutionFailed("header not found", None)
        return header

    def _state(self, spec: Spec) -> StateAPI:
        return self._chain.get_vm(self._known(spec)).state

    def _run(self, message: Message, header: BlockHeaderAPI) -> ComputationAPI:
        """Execute on a state that is thrown away, without fees."""
        vm = self._chain.get_vm(header.copy(base_fee_per_gas=0, gas_used=0))
        sender = Address(message.sender)
        if message.value > vm.state.get_balance(sender):
            raise ExecutionFailed("insufficient funds for transfer", None)
        tx = vm.create_unsigned_transaction(
            nonce=vm.state.get_nonce(sender),
            gas_price=0,
            gas=message.gas,
            to=Address(message.to),
            value=message.value,
            data=message.data,
        )
        try:
            return vm.state.apply_transaction(cast(Any, SpoofTransaction(tx, from_=sender, sender=sender)))
        except ValidationError as error:
            raise ExecutionFailed(f"invalid call: {error}"[:200], None) from None

    def _index(self, header: BlockHeaderAPI) -> None:
        """Remember a block's transactions and events by hash."""
        database, number = self._chain.chaindb, header.block_number
        txs: Sequence[SignedTransactionAPI] = ()
        if header.transaction_root != BLANK_ROOT_HASH:
            txs = database.get_block_transactions(header, SameSecondVM.get_transaction_builder())
        for tx, receipt in zip(txs, self._receipts(header, txs), strict=True):  # at most one
            logs = tuple((log.address, tuple(log.topics), log.data) for log in receipt.logs)
            self._mined[tx.hash] = Mined(tx, header, receipt.state_root == _STATUS_OK, receipt.gas_used, logs)
        self._headers.append(header)
        self._by_hash[header.hash] = number
        self._blocks.append(tuple(tx.hash for tx in txs))

    def _receipts(self, header: BlockHeaderAPI, txs: Sequence[SignedTransactionAPI]) -> Sequence[ReceiptAPI]:
        if not txs:
            return ()
        return tuple(self._chain.chaindb.get_receipts(header, SameSecondVM.get_receipt_builder()))


def base_fee(header: BlockHeaderAPI) -> int:
    """Wei that each unit of gas in a block burns."""
    return header.base_fee_per_gas or 0


def _account(wei: int) -> dict[str, Any]:
    return {"balance": wei, "nonce": 0, "code": b"", "storage": {}}


def _raise_failure(computation: ComputationAPI) -> None:
    if not computation.is_error:
        return
    if isinstance(computation.error, Revert):
        raise ExecutionFailed("execution reverted", computation.output)
    raise ExecutionFailed(f"execution failed: {type(computation.error).__name__}", None)


def _match(found: Sequence[int], wanted: Sequence[Sequence[int] | None]) -> bool:
    if len(wanted) > len(found):
        return False
    return all(allowed is None or topic in allowed for topic, allowed in zip(found, wanted, strict=False))
