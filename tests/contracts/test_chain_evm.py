"""The embedded chain's EVM: blocks, time, money, memory on disk, precompiles."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth.exceptions import VMError
from eth.precompiles.ecadd import ecadd
from eth.precompiles.ecmul import ecmul
from eth.precompiles.ecpairing import ecpairing
from eth_account import Account

from contracts.chain.evm import EvmChain, ExecutionFailed, Message, TxRefused
from contracts.chain.precompiles import ec_add, ec_mul, ec_pairing
from protocols.crypto.bls import encode_g1, encode_g2
from protocols.crypto.bn254 import G1, G2, P, R, g1_mul, g1_neg, g2_mul
from protocols.errors import ChainError

SECRET = hashlib.sha256(b"crypdoc evm tests").digest()
SENDER = Account.from_key(SECRET).address
RAW_SENDER = bytes.fromhex(SENDER[2:])
OTHER = b"\x11" * 20
ETHER = 10**18


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.5

    def __call__(self) -> float:
        return self.now


def entropy(count: int) -> bytes:
    """Not random at all."""
    return b"\x5a" * count


def make(clock: Clock, path: Path | None = None, chain_id: int = 1337) -> EvmChain:
    """A chain on which SENDER has money."""
    return EvmChain(chain_id=chain_id, fund={SENDER: 100 * ETHER}, clock=clock, entropy=entropy, path=path)


def raw(nonce: int, **fields: Any) -> bytes:
    """A signed transfer of one wei."""
    tx = {"chainId": 1337, "nonce": nonce, "gas": 21_000, "value": 1, "to": "0x" + OTHER.hex(), "type": 2}
    fees = {"maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 10**9}
    if "gasPrice" in fields:
        tx.pop("type")
        fees = {}
    return bytes(Account.sign_transaction({**tx, **fees, **fields}, SECRET).raw_transaction)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def chain(clock: Clock) -> Iterator[EvmChain]:
    chain = make(clock)
    yield chain
    chain.close()


def test_a_transaction_is_a_block(chain: EvmChain) -> None:
    tx_hash = chain.submit(raw(0))
    mined = chain.mined(tx_hash)
    assert mined is not None
    assert (mined.ok, mined.gas_used, mined.header.block_number) == (True, 21_000, 1)
    assert chain.balance(OTHER) == 1
    assert chain.balance(OTHER, 0) == 0
    assert chain.balance(RAW_SENDER) == 100 * ETHER - 1 - 21_000 * mined.gas_price
    assert chain.submit(raw(1, gasPrice=2 * 10**9)) in chain.transactions(2)


def test_time_is_the_clocks_and_never_ahead_of_it(chain: EvmChain, clock: Clock) -> None:
    for nonce in range(40):
        chain.submit(raw(nonce))
        assert chain.head.timestamp == int(clock.now)
    clock.now += 7
    chain.mine()
    assert chain.head.timestamp == int(clock.now)
    clock.now -= 100
    chain.mine()
    assert chain.head.timestamp == int(clock.now) + 100


def test_a_contract_sees_the_randomness_of_its_own_block(chain: EvmChain) -> None:
    keep = bytes.fromhex("4460005500")  # PREVRANDAO; PUSH1 0; SSTORE
    tx_hash = chain.submit(raw(0, to="", value=0, data="0x" + keep.hex(), gas=100_000))
    mined = chain.mined(tx_hash)
    assert mined is not None
    assert mined.contract_address is not None
    assert (
        chain.storage(mined.contract_address, 0).to_bytes(32, "big") == mined.header.mix_hash == entropy(32)
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"gas": 20_000}, "intrinsic gas too low"),
        ({"gas": 40_000_000}, "exceeds block gas limit"),
        ({"maxFeePerGas": 1, "maxPriorityFeePerGas": 1}, "less than block base fee"),
        ({"value": 200 * ETHER}, "insufficient funds"),
        ({"chainId": 1}, "invalid chain id"),
    ],
)
def test_refusals(chain: EvmChain, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(TxRefused, match=words):
        chain.submit(raw(0, **fields))
    assert chain.head.block_number == 0
    assert chain.submit(raw(0)) == chain.transactions(1)[0]


@pytest.mark.parametrize("junk", [b"", b"\x02", b"\xff" * 40, raw(0)[:-1], raw(0)[:-2] + b"\x00\x00"])
def test_junk_is_refused(chain: EvmChain, junk: bytes) -> None:
    with pytest.raises(TxRefused):
        chain.submit(junk)


def test_repeats_and_gaps(chain: EvmChain) -> None:
    late = chain.submit(raw(2))
    assert chain.mined(late) is None
    assert chain.held(late) is not None
    with pytest.raises(TxRefused, match="already known"):
        chain.submit(raw(2))
    chain.submit(raw(0))
    assert chain.mined(late) is None
    chain.submit(raw(1))
    assert chain.mined(late) is not None
    assert chain.held(late) is None
    with pytest.raises(TxRefused, match="already known"):
        chain.submit(raw(2))
    with pytest.raises(TxRefused, match="nonce too low"):
        chain.submit(raw(1, value=5))


def test_a_held_transaction_that_turned_bad_is_dropped(chain: EvmChain) -> None:
    bad = chain.submit(raw(1, value=99 * ETHER))
    chain.submit(raw(0, value=50 * ETHER))
    assert chain.mined(bad) is None
    assert chain.held(bad) is None


def test_grants_come_from_nowhere(chain: EvmChain) -> None:
    chain.grant(OTHER, 3 * ETHER)
    chain.grant(OTHER, 1)
    assert chain.balance(OTHER) == 3 * ETHER + 10**9


def test_calls_and_estimates(chain: EvmChain) -> None:
    revert = bytes.fromhex("63deadbeef6000526004601cfd")  # revert(0xdeadbeef)
    with pytest.raises(ExecutionFailed) as caught:
        chain.call(Message(b"", revert))
    assert caught.value.output == bytes.fromhex("deadbeef")
    with pytest.raises(ExecutionFailed) as caught:
        chain.estimate(Message(b"", b"\xfe"))
    assert caught.value.output is None
    with pytest.raises(ExecutionFailed, match="insufficient funds"):
        chain.call(Message(OTHER, value=1))
    with pytest.raises(ExecutionFailed, match="header not found"):
        chain.call(Message(OTHER), 5)
    assert chain.estimate(Message(OTHER, sender=RAW_SENDER, value=1)) == 21_000
    assert chain.head.block_number == 0


def test_the_deepest_calls_and_nestings_do_no_harm(chain: EvmChain) -> None:
    again = bytes.fromhex("60006000600060006000305af100")  # CALL(gas, this, 0, ..)
    create = bytes([0x60, len(again), 0x60, 12, 0x60, 0, 0x39, 0x60, len(again), 0x60, 0, 0xF3]) + again
    tx_hash = chain.submit(raw(0, to="", value=0, data="0x" + create.hex(), gas=200_000))
    mined = chain.mined(tx_hash)
    assert mined is not None
    assert mined.contract_address is not None
    assert chain.call(Message(mined.contract_address)) == b""
    nested = b"\xc0"
    for _ in range(20_000):
        size = len(nested).to_bytes(4, "big").lstrip(b"\0") if nested else b""
        head = bytes([0xC0 + len(nested)]) if len(nested) < 56 else bytes([0xF7 + len(size)]) + size
        nested = head + nested
    with pytest.raises(TxRefused):
        chain.submit(nested)


def test_a_chain_carries_on_from_its_file(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "chain"
    chain = make(clock, path)
    hashes = [chain.submit(raw(nonce)) for nonce in range(5)]
    head, kept = chain.head.hash, path.read_bytes()
    with pytest.raises(ChainError, match="in use"):
        make(clock, path)
    chain.close()
    for torn in (kept, kept + b"\x00\x00", kept + kept[24:200]):
        path.write_bytes(torn)
        again = make(clock, path)
        assert again.head.hash == head
        assert [again.mined(tx_hash) is not None for tx_hash in hashes] == [True] * 5
        assert again.balance(OTHER) == 5
        again.submit(raw(5))
        assert again.head.parent_hash == head
        again.close()
        longer = make(clock, path)
        assert longer.head.block_number == 6
        longer.close()
    path.write_bytes(kept[:-7])
    again = make(clock, path)
    assert again.head.block_number == 4
    assert again.submit(raw(4)) == hashes[4]
    again.close()


def test_a_strange_file_is_refused(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "chain"
    path.write_bytes(b"my thesis")
    with pytest.raises(ChainError, match="not a chain file"):
        make(clock, path)
    path.unlink()
    make(clock, path).close()
    with pytest.raises(ChainError, match="another id"):
        make(clock, path, chain_id=5)


def test_killed_in_the_middle_of_writing(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    script = """
import sys, time
from pathlib import Path
from tests.contracts.test_chain_evm import Clock, make, raw
chain = make(Clock(), Path(sys.argv[1]))
for nonce in range(10_000):
    print(chain.submit(raw(nonce)).hex(), flush=True)
"""
    running = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    told = [running.stdout.readline().strip() for _ in range(25)]
    running.kill()
    told += [line.strip() for line in running.stdout if len(line) == 65]
    running.wait()
    chain = make(Clock(), path)
    assert all(chain.mined(bytes.fromhex(tx_hash)) for tx_hash in told)
    chain.close()


# -- precompiles, against py-evm's own


class Frame:
    """As much of a computation as a precompile looks at."""

    def __init__(self, data: bytes) -> None:
        self.msg = self
        self.data = memoryview(data)
        self.data_as_bytes = data
        self.output = b""
        self.gas = 0

    def consume_gas(self, amount: int, reason: str) -> None:
        self.gas += amount


def outcome(precompile: Any, data: bytes, **gas: int) -> tuple[bytes, int] | None:
    """Output and gas, None for a failure."""
    frame = Frame(data)
    try:
        precompile(frame, **gas)
    except VMError:
        return None
    return frame.output, frame.gas


def words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(32, "big") for number in numbers)


A, B = encode_g1(g1_mul(G1, 5)), encode_g1(g1_mul(G1, 7))
ADDS = [
    words(*A, *B),
    words(*A, *A),
    words(*A, *encode_g1(g1_neg(g1_mul(G1, 5)))),
    words(*A),
    words(0, 0, *B),
    b"",
    words(*A, *B, 9),
    words(*A)[:50],
    words(1, 3, *B),
    words(P, 2, *B),
    words(A[0] + P, A[1], *B),
]
MULS = [
    words(*A, 9),
    words(*A, R),
    words(*A, R + 3),
    words(*A, 2**256 - 1),
    words(*A),
    words(1, 1, 3),
    b"\x01",
]


@pytest.mark.parametrize("data", ADDS)
def test_addition_as_py_evm(data: bytes) -> None:
    assert outcome(ec_add, data) == outcome(ecadd(gas_cost=150), data)


@pytest.mark.parametrize("data", MULS)
def test_multiplication_as_py_evm(data: bytes) -> None:
    assert outcome(ec_mul, data) == outcome(ecmul(gas_cost=6_000), data)


def test_pairing_as_py_evm() -> None:
    q = encode_g2(g2_mul(G2, 5))
    good = words(*B, *q, *encode_g1(g1_neg(g1_mul(G1, 35))), *encode_g2(G2))
    not_in_group = words(1, 2, 0, 1, 0, 1)
    infinity = words(*A, 0, 0, 0, 0) + words(0, 0, *q)
    theirs = ecpairing(gas_cost_base=45_000, gas_cost_per_point=34_000)
    for data in (good, good[192:], b"", infinity, good[:-1], not_in_group, words(*A, P, *q[1:])):
        assert outcome(ec_pairing, data) == outcome(theirs, data)
    assert outcome(ec_pairing, good) == (words(1), 113_000)
