"""A chain in this process without waiting: for simulations and tests, over the same bindings and values.

chain = InProcessChain(EvmChain(...), book)
chain.transact(contracts.cases.advance(account, case_id), secret)
view = read_now(chain, contracts.cases.view(case_id, *chain.head()))
"""

from __future__ import annotations

from collections.abc import Sequence

from eth_account import Account
from eth_utils.address import to_canonical_address, to_checksum_address

from contracts.abi import artifact, explain_revert
from contracts.chain.address_book import AddressBook
from contracts.chain.errors import InsufficientFunds, OutOfGas, Refused, Reverted, RpcError
from contracts.chain.evm import GWEI, EvmChain, ExecutionFailed, Message, Mined, TxRefused, base_fee
from contracts.chain.explain import explain_refusal
from contracts.chain.values import Block, Call, Log, Receipt, Topics, UnsignedTx


class InProcessChain:
    """Reads, prepares and mines at once. Fulfils `SyncCallReader`."""

    def __init__(self, evm: EvmChain, book: AddressBook | None = None) -> None:
        self.evm = evm
        self.book = book

    def head(self) -> tuple[int, int]:
        """The newest block's number and timestamp."""
        return self.evm.head.block_number, self.evm.head.timestamp

    def call(self, to: str, data: bytes, block: Block = "latest") -> bytes:
        """What a contract returns, as of a block. Raises `Reverted`."""
        try:
            return self.evm.call(Message(to_canonical_address(to), data), block)
        except ExecutionFailed as error:
            raise _failed(error) from None

    def logs(
        self, address: str, topics: Topics, from_block: int, to_block: Block = "latest"
    ) -> Sequence[Log]:
        """The events of a contract that pass `topics`, both blocks included, in order."""
        last = to_block if isinstance(to_block, int) else self.head()[0]
        wanted = [None if topic is None else [int.from_bytes(topic, "big")] for topic in topics]
        found = self.evm.logs(from_block, last, [to_canonical_address(address)], wanted)
        return [_log(mined, i) for mined, i in found]

    def prepare(self, call: Call) -> UnsignedTx:
        """Number and price a call. Raises `Reverted` when it would fail."""
        if self.book is None:
            raise Refused("no contracts are known on this chain", "give the chain an address book")
        data = artifact(call.contract).abi.encode_call(call.function, call.args)
        return self.prepare_raw(call.account, self.book.address(call.contract), data, call.value)

    def prepare_raw(self, account: str, to: str | None, data: bytes = b"", value: int = 0) -> UnsignedTx:
        """Number and price a transfer, or a creation (`to` None)."""
        sender = to_canonical_address(account)
        try:
            gas = self.evm.estimate(Message(to_canonical_address(to) if to else b"", data, sender, value))
        except ExecutionFailed as error:
            raise _failed(error) from None
        fee = 2 * base_fee(self.evm.head) + GWEI
        nonce = self.evm.nonce(sender)
        return UnsignedTx(account, to, data, value, nonce, gas, self.evm.chain_id, None, fee, GWEI)

    def broadcast(self, raw: bytes) -> Receipt:
        """Mine signed bytes. Raises as `ChainClient.broadcast` and `wait` do."""
        try:
            mined = self.evm.mined(self.evm.submit(raw))
        except TxRefused as refusal:
            raise explain_refusal(RpcError(-32000, str(refusal))) from None
        if mined is None:
            raise Refused("the transaction waits for an earlier nonce", "send that one first")
        if not mined.ok:
            raise OutOfGas("the transaction failed, most likely for want of gas", "prepare the call again")
        return _receipt(mined)

    def transact(self, call: Call, secret: bytes) -> Receipt:
        """Prepare, sign with a secret key, and mine."""
        return self.complete(self.prepare(call), secret)

    def complete(self, tx: UnsignedTx, secret: bytes) -> Receipt:
        """Sign and mine."""
        return self.broadcast(bytes(Account.sign_transaction(tx.to_dict(), secret).raw_transaction))


def _failed(error: ExecutionFailed) -> Reverted | InsufficientFunds | OutOfGas:
    if error.output is not None:
        return Reverted(*explain_revert(error.output))
    if "insufficient funds" in str(error):
        return InsufficientFunds("the account cannot pay for the transaction", "fund the account")
    return OutOfGas(f"the call breaks ({error})", "check its arguments")


def _log(mined: Mined, i: int) -> Log:
    address, topics, data = mined.logs[i]
    return Log(
        str(to_checksum_address(address)),
        tuple(topic.to_bytes(32, "big") for topic in topics),
        data,
        mined.header.block_number,
        i,
        "0x" + mined.tx.hash.hex(),
    )


def _receipt(mined: Mined) -> Receipt:
    created = mined.contract_address
    return Receipt(
        tx_hash="0x" + mined.tx.hash.hex(),
        block=mined.header.block_number,
        ok=mined.ok,
        gas_used=mined.gas_used,
        gas_price=mined.gas_price,
        account=str(to_checksum_address(mined.tx.sender)),
        to=None if created else str(to_checksum_address(mined.tx.to)),
        contract_address=str(to_checksum_address(created)) if created else None,
        logs=tuple(_log(mined, i) for i in range(len(mined.logs))),
    )
