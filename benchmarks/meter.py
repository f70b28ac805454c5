"""py-evm in the place of revm under `tests.contracts.evm.Chain`: slower, and it meters as a chain does.

pyrevm keeps all that it ever touched as touched by the present transaction (EIP-2929): it counts 28,575 gas for a
reveal where every chain asks 46,163. So gas is measured here, and everything else is tested there.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from eth.constants import BLANK_ROOT_HASH
from eth.db.atomic import AtomicDB
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.shanghai import ShanghaiVM
from eth.vm.spoof import SpoofTransaction
from eth_utils.address import to_canonical_address, to_checksum_address
from eth_utils.crypto import keccak
from pyrevm import BlockEnv

from contracts.chain.precompiles import FastState

GAS = 30_000_000
ZERO = b"\0" * 20


class Machine:
    """What `Chain` asks of an EVM."""

    def __init__(self) -> None:
        self.state = FastState(AtomicDB(), context(1, 1), BLANK_ROOT_HASH)
        self.result: Any = None

    def set_block(self, number: int, time: int) -> None:
        """The block in which the next calls run."""
        self.state.execution_context = context(number, time)

    def set_block_env(self, _: BlockEnv) -> None:
        """Told by `set_block` instead: a `BlockEnv` cannot be read."""

    def get_balance(self, account: str) -> int:
        """Wei of an account."""
        return int(self.state.get_balance(to_canonical_address(account)))

    def set_balance(self, account: str, wei: int) -> None:
        """Gives an account that much."""
        self.state.set_balance(to_canonical_address(account), wei)

    def deploy(self, sender: str, code: bytes) -> str:
        """Where the contract stands."""
        self.state.lock_changes()
        computation = self._run(to_canonical_address(sender), b"", code, 0)
        return str(to_checksum_address(computation.msg.storage_address))

    def message_call(
        self, caller: str, to: str, calldata: bytes = b"", value: int = 0, is_static: bool = False
    ) -> bytes:
        """A transaction, or a call that is taken back."""
        self.state.lock_changes()  # what earlier transactions touched is cold again
        mark = self.state.snapshot()
        output = self._run(to_canonical_address(caller), to_canonical_address(to), calldata, value).output
        if is_static:
            self.state.revert(mark)
        return bytes(output)

    def _run(self, sender: bytes, to: bytes, data: bytes, value: int) -> Any:
        builder = ShanghaiVM.get_transaction_builder()
        nonce = self.state.get_nonce(sender)
        tx = builder.create_unsigned_transaction(
            nonce=nonce, gas_price=0, gas=GAS, to=to, value=value, data=data
        )
        computation = self.state.apply_transaction(SpoofTransaction(tx, from_=sender, sender=sender))
        used = GAS - computation.get_gas_remaining()
        if computation.is_error:
            raise RuntimeError(f"gas_used: {used}, output: 0x{computation.output.hex()}")
        used -= min(computation.get_gas_refund(), used // 5)
        logs = [
            SimpleNamespace(
                address="0x" + address.hex(),
                topics=["0x" + topic.to_bytes(32, "big").hex() for topic in topics],
                data=(topics, data),
            )
            for address, topics, data in computation.get_log_entries()
        ]
        self.result = SimpleNamespace(gas_used=used, logs=logs)
        return computation


def context(number: int, time: int) -> ExecutionContext:
    """A block whose ancestors' hashes follow from their numbers."""
    hashes = [keccak(text=f"block {n}") for n in range(number - 1, max(number - 257, -1), -1)]
    return ExecutionContext(
        coinbase=ZERO,
        timestamp=time,
        block_number=number,
        difficulty=0,
        mix_hash=keccak(text=f"randao {number}"),
        gas_limit=GAS,
        prev_hashes=hashes,
        chain_id=1,
        base_fee_per_gas=0,
    )
