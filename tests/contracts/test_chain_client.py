"""The chain client: nonces, repeats, and an error of its own kind for each thing that goes wrong."""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts.bindings import Contracts
from contracts.chain import rpc as rpc_module
from contracts.chain.address_book import AddressBook
from contracts.chain.client import ChainClient
from contracts.chain.deploy import ORDER, create_address, deploy, plan
from contracts.chain.embedded import EmbeddedChain
from contracts.chain.errors import (
    Dropped,
    FeeTooLow,
    InsufficientFunds,
    NoContract,
    NonceUsed,
    OutOfGas,
    Refused,
    Reverted,
    RpcError,
    Unreachable,
    WrongChain,
)
from contracts.chain.explain import explain_refusal
from contracts.chain.faucet import fund, is_local
from contracts.chain.rpc import Rpc
from contracts.chain.signer import LocalSigner
from contracts.chain.values import UnsignedTx
from protocols.errors import ChainError, UserError
from tests.contracts.chain_world import ETHER, QUICK, secret

SOMEBODY = "0x" + "11" * 20
SIGNER = LocalSigner([secret("client"), secret("other")])
ME, OTHER = SIGNER.accounts
ADDRESSES = dict.fromkeys(ORDER, SOMEBODY)


@pytest.fixture
async def chain() -> AsyncIterator[EmbeddedChain]:
    async with EmbeddedChain(fund={ME: 100 * ETHER}, period=0.3) as chain:
        yield chain


@pytest.fixture
async def client(chain: EmbeddedChain) -> AsyncIterator[ChainClient]:
    async with await ChainClient.connect(chain.url) as client:
        yield client


async def signed(tx: UnsignedTx) -> bytes:
    return await SIGNER.sign_transaction(tx.to_dict(), tx.account)


async def transfer(client: ChainClient, value: int = 1) -> UnsignedTx:
    return await client.prepare_raw(ME, SOMEBODY, value=value)


# -- what goes well


async def test_nonces_are_handed_out_once_and_given_back(client: ChainClient) -> None:
    txs = await asyncio.gather(*(transfer(client) for _ in range(8)))
    assert sorted(tx.nonce for tx in txs) == list(range(8))
    client.release(txs[3])
    assert (await transfer(client)).nonce == txs[3].nonce
    raws = [await signed(tx) for tx in txs]
    hashes = await asyncio.gather(*(client.broadcast(raw) for raw in reversed(raws)))
    receipts = [await client.wait(tx_hash) for tx_hash in hashes]
    assert all(receipt.ok for receipt in receipts)
    assert await client.balance(SOMEBODY) == 8
    assert (await transfer(client)).nonce == 8
    assert receipts[0].fee_wei == 21_000 * receipts[0].gas_price > 0


async def test_what_an_earlier_process_prepared_is_not_run_over(
    chain: EmbeddedChain, client: ChainClient
) -> None:
    logged = await transfer(client)
    async with await ChainClient.connect(chain.url) as restarted:
        restarted.adopt(UnsignedTx.from_wire(logged.to_wire()))
        assert (await transfer(restarted)).nonce == logged.nonce + 1
        assert await restarted.wait(await restarted.broadcast(await signed(logged)))


async def test_broadcasting_again_is_success(chain: EmbeddedChain, client: ChainClient) -> None:
    raw = await signed(await transfer(client))
    first = await client.broadcast(raw)
    await client.wait(first)
    assert await client.broadcast(raw) == first
    async with await ChainClient.connect(chain.url) as another:
        assert await another.broadcast(raw) == first
    assert await client.balance(SOMEBODY) == 1


async def test_head_and_pinned_reads(client: ChainClient) -> None:
    receipt = await client.complete(await transfer(client), SIGNER)
    assert await client.balance(SOMEBODY, receipt.block) == 1
    assert await client.balance(SOMEBODY, receipt.block - 1) == 0
    number, now = await client.head()
    assert await client.timestamp(number) == now
    with pytest.raises(Refused, match="no block"):
        await client.timestamp(number + 1000)


async def test_a_chain_that_restarts_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    first = EmbeddedChain(fund={ME: ETHER}, path=path)
    await first.start()
    async with await ChainClient.connect(first.url) as client:
        await client.complete(await transfer(client), SIGNER)
        await first.stop()
        asked = asyncio.create_task(client.balance(SOMEBODY))
        await asyncio.sleep(0.3)
        async with EmbeddedChain(port=first.port, path=path):
            assert await asked == 1


async def test_legacy_fees_where_there_is_no_base_fee(
    client: ChainClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = client.rpc.request

    async def request(method: str, *params: Any) -> Any:
        answer = await real(method, *params)
        if method == "eth_getBlockByNumber":
            answer = {key: value for key, value in answer.items() if key != "baseFeePerGas"}
        return answer

    monkeypatch.setattr(client.rpc, "request", request)
    tx = await transfer(client)
    assert tx.gas_price is not None
    assert tx.max_fee_per_gas is None
    assert (await client.complete(tx, SIGNER)).ok


# -- what goes wrong


async def test_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_module, "FIRST_WAIT", 0.001)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for scheme in ("http", "ws"):
            with pytest.raises(Unreachable, match="does not answer"):
                await ChainClient.connect(f"{scheme}://127.0.0.1:{port}")
    with pytest.raises(UserError, match="not the address of a chain"):
        Rpc("ftp://example")


async def test_wrong_chain(chain: EmbeddedChain) -> None:
    with pytest.raises(WrongChain, match="serves chain 1337 and the address book is for chain 5"):
        await ChainClient.connect(chain.url, AddressBook(5, 0, ADDRESSES))


async def test_no_contract(chain: EmbeddedChain, client: ChainClient) -> None:
    book = AddressBook(1337, 0, ADDRESSES)
    cases = Contracts(book).cases
    with pytest.raises(NoContract, match="there is no contract"):
        await client.read(cases.is_due(1), "latest")
    with pytest.raises(NoContract, match="no contracts are known"):
        await client.prepare(cases.advance(ME, 1))


async def test_insufficient_funds(client: ChainClient) -> None:
    with pytest.raises(InsufficientFunds, match="fund the account"):
        await client.prepare_raw(OTHER, SOMEBODY, value=1)
    tx = await transfer(client, 60 * ETHER)
    again = replace(tx, nonce=tx.nonce + 1)
    await client.complete(tx, SIGNER)
    with pytest.raises(InsufficientFunds):
        await client.broadcast(await signed(again))


async def test_nonce_used_by_another(client: ChainClient) -> None:
    tx = await transfer(client)
    await client.complete(tx, SIGNER)
    with pytest.raises(NonceUsed, match="took this one's place"):
        await client.broadcast(await signed(replace(tx, value=2)))


async def test_fee_too_low_and_gas_too_little(client: ChainClient) -> None:
    tx = await transfer(client)
    with pytest.raises(FeeTooLow):
        await client.broadcast(await signed(replace(tx, max_fee_per_gas=1, max_priority_fee_per_gas=1)))
    with pytest.raises(OutOfGas):
        await client.broadcast(await signed(replace(tx, gas=20_000)))
    burn = replace(tx, to=None, data=bytes.fromhex("5b600056"), gas=100_000)  # JUMPDEST; PUSH1 0; JUMP
    with pytest.raises(OutOfGas, match="ran out of gas"):
        await client.wait(await client.broadcast(await signed(burn)))


async def test_a_failed_attempt_gives_its_nonce_back(client: ChainClient) -> None:
    class Refuses:
        async def sign_transaction(self, tx: dict[str, Any], account: str) -> bytes:
            raise ChainError("the owner said no")

    tx = await transfer(client)
    with pytest.raises(ChainError, match="the owner said no"):
        await client.complete(tx, Refuses())
    assert (await transfer(client)).nonce == tx.nonce


async def test_dropped(client: ChainClient) -> None:
    with pytest.raises(Dropped, match="not known"):
        await client.wait("0x" + "ab" * 32, unknown_for=0.3)
    tx = await transfer(client)
    held = await client.broadcast(await signed(replace(tx, nonce=tx.nonce + 1)))
    with pytest.raises(Dropped, match="not mined yet"):
        await client.wait(held, timeout=0.4)


async def test_reverts_have_names_before_and_after_mining(client: ChainClient) -> None:
    book = await deploy(client, SIGNER, ME, QUICK, [ME])
    client = client.with_book(book)
    c = Contracts(book)
    with pytest.raises(Reverted, match=r"refused Cases\.advance: NothingDue") as caught:
        await client.prepare(c.cases.advance(ME, 1))
    assert caught.value.name == "NothingDue"
    with pytest.raises(Reverted) as caught:
        await client.prepare(c.doctors.set_resting(ME, True))
    assert caught.value.name == "NotRegistered"
    nonce = (await transfer(client)).nonce
    data = c.cases.abi.encode_call("advance", (1,))
    doomed = UnsignedTx(ME, c.cases.address, data, 0, nonce, 100_000, 1337, None, 10**10, 10**9)
    with pytest.raises(Reverted, match="NothingDue"):
        await client.wait(await client.broadcast(await signed(doomed)))


GANACHE = "VM Exception while processing transaction: "
PANIC = "0x4e487b71" + "11" * 32


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RpcError(-32000, "insufficient funds for gas * price + value"), InsufficientFunds),
        (RpcError(-32003, "Insufficient funds for gas * price + value"), InsufficientFunds),
        (
            RpcError(-32000, "sender doesn't have enough funds to send tx. The upfront cost is: 1"),
            InsufficientFunds,
        ),
        (RpcError(-32000, "nonce too low: next nonce 5, tx nonce 4"), NonceUsed),
        (
            RpcError(-32000, "the tx doesn't have the correct nonce. account has nonce of: 2"),
            NonceUsed,
        ),
        (RpcError(-32000, "replacement transaction underpriced"), NonceUsed),
        (RpcError(-32000, "max fee per gas less than block base fee"), FeeTooLow),
        (RpcError(-32000, "transaction underpriced"), FeeTooLow),
        (RpcError(-32000, "intrinsic gas too low"), OutOfGas),
        (RpcError(-32000, GANACHE + "out of gas"), OutOfGas),
        (RpcError(3, "execution reverted", "0x"), Reverted),
        (
            RpcError(
                -32000,
                GANACHE + "revert",
                {"result": PANIC},
            ),
            Reverted,
        ),
        (
            RpcError(-32000, GANACHE + "revert", PANIC),
            Reverted,
        ),
        (
            RpcError(-32000, "revert", {"0xabc": {"error": "revert", "return": PANIC}}),
            Reverted,
        ),
        (RpcError(3, "execution reverted: out of gas", PANIC), Reverted),
        (RpcError(-32601, "method not found"), Refused),
        (RpcError(0, ""), Refused),
    ],
)
def test_refusals_as_nodes_word_them(error: RpcError, kind: type[ChainError]) -> None:
    explained = explain_refusal(error)
    assert type(explained) is kind
    assert explained.remedy


# -- a transport that fails


class Flaky:
    """Fails or answers by a script."""

    def __init__(self, *steps: Callable[[], Any]) -> None:
        self.steps = list(steps)
        self.asked = 0

    async def request(self, method: str, params: list[Any]) -> Any:
        self.asked += 1
        return self.steps.pop(0)()

    async def close(self) -> None:
        pass


def fail(error: Exception) -> Callable[[], Any]:
    def step() -> Any:
        raise error

    return step


async def test_transport_errors_are_retried_and_refusals_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_module, "FIRST_WAIT", 0.001)
    rpc = Rpc("http://127.0.0.1:1")
    bad = [fail(ConnectionResetError()), fail(TimeoutError()), lambda: "<html>", lambda: {"result": 5}]
    rpc._transport = flaky = Flaky(*bad)
    assert await rpc.request("eth_blockNumber") == 5
    assert flaky.asked == 4
    rpc._transport = flaky = Flaky(lambda: {"error": {"code": -1, "message": "no"}})
    with pytest.raises(RpcError, match="no"):
        await rpc.request("eth_blockNumber")
    assert flaky.asked == 1
    rpc._transport = Flaky(*[fail(TimeoutError("slow"))] * 6)
    with pytest.raises(Unreachable, match="TimeoutError: slow"):
        await rpc.request("eth_blockNumber")


# -- deploying, address book, faucet, signer


async def test_a_deployment_goes_on_where_it_was_cut_off(client: ChainClient, tmp_path: Path) -> None:
    progress = tmp_path / "deploy.json"

    class Tires:
        left = 3

        async def sign_transaction(self, tx: dict[str, Any], account: str) -> bytes:
            self.left -= 1
            if self.left < 0:
                raise ChainError("out of breath")
            return await SIGNER.sign_transaction(tx, account)

    with pytest.raises(ChainError, match="out of breath"):
        await deploy(client, Tires(), ME, QUICK, [ME], progress=progress)
    sent = int(await client.rpc.request("eth_getTransactionCount", ME, "latest"), 16)
    assert sent == 3
    book = await deploy(client, SIGNER, ME, QUICK, [ME], progress=progress)
    assert int(await client.rpc.request("eth_getTransactionCount", ME, "latest"), 16) == len(ORDER)
    assert book.contracts == plan(ME, 0, QUICK, [ME]).addresses
    assert await deploy(client, SIGNER, ME, QUICK, [ME], progress=progress) == book
    assert int(await client.rpc.request("eth_getTransactionCount", ME, "latest"), 16) == len(ORDER)
    other = await deploy(client, SIGNER, ME, QUICK, [ME, OTHER], progress=progress)
    assert other.contracts["Cases"] != book.contracts["Cases"]
    assert (await client.read(Contracts(book).cases.terms(), "latest")) == QUICK
    with pytest.raises(ChainError, match="at least one attester"):
        await deploy(client, SIGNER, ME, QUICK, [])


def test_create_address() -> None:
    """Yellow paper, section 7: the last 20 bytes of keccak256(rlp([sender, nonce])); a widely quoted
    example.
    """
    assert create_address("0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0", 0).lower() == (
        "0xcd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"
    )
    assert create_address("0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0", 1).lower() == (
        "0x343c43a37d37dff08ae8c4a11544c718abb4fcf8"
    )


def test_address_books_are_written_whole_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "book.json"
    book = AddressBook(7, 3, ADDRESSES, QUICK.to_json())
    book.save(path)
    assert AddressBook.load(path).contracts == book.contracts
    assert [entry.name for entry in path.parent.iterdir()] == ["book.json"]
    with pytest.raises(UserError, match="cannot be read"):
        AddressBook.load(tmp_path / "none.json")
    good = {"chain_id": 7, "deployed_block": 3, "contracts": ADDRESSES}
    for bad, words in (
        ("{", "is not JSON"),
        ([], "not a JSON object"),
        ({**good, "chain_id": "7"}, "chain_id is not a whole number"),
        ({**good, "deployed_block": -1}, "deployed_block"),
        ({**good, "contracts": []}, "must be objects"),
        ({**good, "contracts": {"Cases": SOMEBODY}}, "does not name Doctors"),
        ({**good, "contracts": {**ADDRESSES, "Cases": "0x12"}}, "address of Cases is not an address"),
    ):
        if isinstance(bad, str):
            path.write_text(bad)
            with pytest.raises(UserError, match=words):
                AddressBook.load(path)
        else:
            with pytest.raises(UserError, match=words):
                AddressBook.parse(bad)
    with pytest.raises(UserError, match="does not name Bank"):
        book.address("Bank")


async def test_the_faucet_gives_on_local_chains_or_from_an_account(client: ChainClient) -> None:
    await fund(client, OTHER, 2 * ETHER)
    assert await client.balance(OTHER) == 2 * ETHER
    await fund(client, SOMEBODY, 5, signer=SIGNER, giver=OTHER)
    assert await client.balance(SOMEBODY) == 5
    assert not is_local("https://localhost.example")
    client.rpc.url = "https://chain.example"
    with pytest.raises(ChainError, match="local chains only"):
        await fund(client, OTHER, 1)


async def test_the_signer_keeps_its_keys() -> None:
    assert secret("client").hex() not in repr(SIGNER)
    with pytest.raises(TypeError):
        pickle.dumps(SIGNER)
    with pytest.raises(ChainError, match="no key"):
        await SIGNER.sign_transaction({}, SOMEBODY)
