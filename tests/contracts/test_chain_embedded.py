"""The embedded chain as others meet it: JSON-RPC over HTTP, whatever is sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.chain import embedded
from contracts.chain.embedded import MAX_BATCH, MAX_REQUEST, EmbeddedChain
from contracts.chain.jsonrpc import Api
from protocols.errors import ChainError
from tests.contracts.test_chain_evm import SENDER, Clock, make, raw

ETHER = 10**18


@pytest.fixture
async def chain() -> AsyncIterator[EmbeddedChain]:
    async with EmbeddedChain(fund={SENDER: ETHER}, period=0.2) as chain:
        yield chain


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def ask(http: ClientSession, chain: EmbeddedChain, method: str, *params: Any) -> Any:
    """The whole answer to one request."""
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
    async with http.post(chain.url, json=body) as response:
        return await response.json()


async def number(http: ClientSession, chain: EmbeddedChain) -> int:
    """The head's number."""
    return int((await ask(http, chain, "eth_blockNumber"))["result"], 16)


async def test_words_that_every_client_asks(http: ClientSession, chain: EmbeddedChain) -> None:
    results = {}
    for method in (
        "web3_clientVersion",
        "net_version",
        "eth_chainId",
        "eth_accounts",
        "eth_syncing",
        "eth_gasPrice",
        "eth_maxPriorityFeePerGas",
    ):
        answer = await ask(http, chain, method)
        assert answer["id"] == 7
        results[method] = answer["result"]
    assert results["eth_chainId"] == "0x539"
    assert results["net_version"] == "1337"
    assert results["eth_accounts"] == []
    assert int(results["eth_gasPrice"], 16) >= 10**9


async def test_a_transaction_and_all_that_is_said_of_it(http: ClientSession, chain: EmbeddedChain) -> None:
    sent = "0x" + raw(0, data="0x00", gas=30_000).hex()
    tx_hash = (await ask(http, chain, "eth_sendRawTransaction", sent))["result"]
    receipt = (await ask(http, chain, "eth_getTransactionReceipt", tx_hash))["result"]
    tx = (await ask(http, chain, "eth_getTransactionByHash", tx_hash))["result"]
    by_hash = (await ask(http, chain, "eth_getBlockByHash", receipt["blockHash"], True))["result"]
    by_number = (await ask(http, chain, "eth_getBlockByNumber", receipt["blockNumber"], False))["result"]
    assert receipt["status"] == "0x1"
    assert by_hash["transactions"] == [tx]
    assert by_number["transactions"] == [tx_hash]
    assert by_number["hash"] == receipt["blockHash"] == tx["blockHash"]
    assert (tx["from"], tx["value"], tx["input"]) == (SENDER, "0x1", "0x00")
    assert (await ask(http, chain, "eth_getBalance", tx["to"], "latest"))["result"] == "0x1"
    assert (await ask(http, chain, "eth_getTransactionCount", SENDER, "pending"))["result"] == "0x1"
    assert (await ask(http, chain, "eth_getTransactionCount", SENDER, "0x0"))["result"] == "0x0"
    again = await ask(http, chain, "eth_sendRawTransaction", sent)
    assert again["error"]["message"] == "already known"
    for method in ("eth_getTransactionReceipt", "eth_getTransactionByHash"):
        assert (await ask(http, chain, method, "0x" + "00" * 32))["result"] is None
    for at in ("0xffff", "latest", "pending", "earliest", "safe"):
        found = (await ask(http, chain, "eth_getBlockByNumber", at, False))["result"]
        assert (found is None) == (at == "0xffff")


async def test_events_are_found_by_place_and_topic(http: ClientSession, chain: EmbeddedChain) -> None:
    log = bytes.fromhex("600a600960006000a2600b600960006000a200")  # LOG2 with topics 9, 10; then 9, 11
    for nonce in range(2):
        sent = raw(nonce, to="", value=0, data="0x" + log.hex(), gas=100_000)
        await ask(http, chain, "eth_sendRawTransaction", "0x" + sent.hex())

    async def find(**query: Any) -> list[tuple[int, int]]:
        found = (await ask(http, chain, "eth_getLogs", query))["result"]
        return [(int(log["blockNumber"], 16), int(log["logIndex"], 16)) for log in found]

    nine, ten, eleven = (f"0x{n:064x}" for n in (9, 10, 11))
    assert len(await find(fromBlock="0x0", toBlock="latest")) == 4
    first, second = sorted({block for block, _ in await find(fromBlock="earliest")})
    everywhere = {"fromBlock": "0x0", "toBlock": hex(second)}
    assert await find(fromBlock=hex(second), toBlock=hex(second)) == [(second, 0), (second, 1)]
    assert await find(**everywhere, topics=[nine, ten]) == [(first, 0), (second, 0)]
    assert await find(**everywhere, topics=[None, [ten, eleven]]) == [
        (first, 0),
        (first, 1),
        (second, 0),
        (second, 1),
    ]
    assert await find(**everywhere, topics=[ten]) == []
    assert await find(**everywhere, topics=[nine, ten, None]) == []
    assert await find(**everywhere, address="0x" + "12" * 20) == []
    block = (await ask(http, chain, "eth_getBlockByNumber", hex(first), False))["result"]
    assert await find(blockHash=block["hash"]) == [(first, 0), (first, 1)]


async def test_a_revert_is_told_with_its_bytes(http: ClientSession, chain: EmbeddedChain) -> None:
    code = "0x63deadbeef6000526004601cfd"
    for method in ("eth_call", "eth_estimateGas"):
        answer = await ask(http, chain, method, {"data": code, "from": SENDER}, "latest")
        assert answer["error"] == {"code": 3, "message": "execution reverted", "data": "0xdeadbeef"}
    broken = await ask(http, chain, "eth_call", {"data": "0xfe"}, "latest")
    assert broken["error"]["code"] == -32000


async def test_batches(http: ClientSession, chain: EmbeddedChain) -> None:
    one: dict[str, Any] = {"jsonrpc": "2.0", "id": "a", "method": "eth_chainId"}
    asked = [one, {**one, "id": 2, "method": "nonsense"}, {"jsonrpc": "2.0", "method": "eth_chainId"}, 5]
    async with http.post(chain.url, json=asked) as response:
        answers = await response.json()
    assert [answer["id"] for answer in answers] == ["a", 2, None]
    assert answers[0]["result"] == "0x539"
    assert answers[1]["error"]["code"] == -32601
    assert answers[2]["error"]["code"] == -32600
    for batch in ([], [one] * (MAX_BATCH + 1)):
        async with http.post(chain.url, json=batch) as response:
            assert (await response.json())["error"]["code"] == -32600
    async with http.post(chain.url, json={"jsonrpc": "2.0", "method": "eth_chainId"}) as response:
        assert await response.read() == b""


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 200),
        (b"\xff\xfe\x00", {}, 200),
        (b"[" * 100_000, {}, 200),
        (b"[" * (MAX_REQUEST + 1), {}, 413),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {"Host": "evil.example"}, 403),
        (b"{}", {"Host": "evil.example:8545"}, 403),
    ],
)
async def test_it_lives_through(
    http: ClientSession, chain: EmbeddedChain, body: bytes, headers: dict[str, str], status: int
) -> None:
    everything = {"Content-Type": "application/json", **headers}
    async with http.post(chain.url, data=body, headers=everything) as response:
        assert response.status == status
        if status == 200:
            assert (await response.json())["error"]["code"] == -32700
    assert (await ask(http, chain, "eth_chainId"))["result"] == "0x539"


async def test_time_passes_while_somebody_asks(
    http: ClientSession, chain: EmbeddedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await number(http, chain)
    await asyncio.sleep(2.3)
    second = await number(http, chain)
    assert 1 <= second - first <= 13
    newest = (await ask(http, chain, "eth_getBlockByNumber", "latest", False))["result"]
    assert abs(int(newest["timestamp"], 16) - time.time()) < 2
    monkeypatch.setattr(embedded, "REST_AFTER", 0.0)
    await asyncio.sleep(0.4)
    third = await number(http, chain)
    await asyncio.sleep(1.5)
    assert await number(http, chain) == third


async def test_a_burst_does_not_outrun_the_clock(http: ClientSession, chain: EmbeddedChain) -> None:
    sent = ["0x" + raw(nonce).hex() for nonce in range(60)]
    await asyncio.gather(*(ask(http, chain, "eth_sendRawTransaction", one) for one in reversed(sent)))
    newest = (await ask(http, chain, "eth_getBlockByNumber", "latest", False))["result"]
    assert int(newest["number"], 16) >= 60
    assert int(newest["timestamp"], 16) <= time.time()


async def test_ports_files_and_restarts(http: ClientSession, tmp_path: Path) -> None:
    path = tmp_path / "chain"
    async with EmbeddedChain(path=path, fund={SENDER: ETHER}) as chain:
        await ask(http, chain, "eth_sendRawTransaction", "0x" + raw(0).hex())
        with pytest.raises(ChainError, match="cannot listen"):
            await EmbeddedChain(port=chain.port).start()
        with pytest.raises(ChainError, match="in use"):
            await EmbeddedChain(path=path).start()
        port = chain.port
    async with EmbeddedChain(path=path, port=port) as chain:
        assert (await ask(http, chain, "eth_getTransactionCount", SENDER))["result"] == "0x1"


# -- whatever a request says, there is an answer

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["0x", "0x1", "latest", "0x" + "1" * 40]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TX = st.fixed_dictionaries({}, optional=dict.fromkeys(("to", "from", "data", "value", "gas", "input"), JSON))
LOGS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("address", "topics", "fromBlock", "toBlock", "blockHash"), JSON)
)


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    chain = make(Clock())
    chain.submit(raw(0))
    yield Api(chain)
    chain.close()


@given(st.data())
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_request_is_answered(api: Api, data: st.DataObject) -> None:
    word = data.draw(st.sampled_from(sorted(api._words)) | st.text(max_size=5))
    params = data.draw(st.lists(JSON | TX | LOGS, max_size=4) | JSON)
    request = data.draw(st.just({"id": 1, "method": word, "params": params}) | JSON)
    answer = api.answer(request)
    if answer is not None:
        assert ("result" in answer) != ("error" in answer)
        assert answer.get("error", {}).get("code") != -32603
        json.dumps(answer)


@given(st.binary(max_size=300), st.integers(0, 200), st.integers(0, 255))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_refused_as_transactions(api: Api, junk: bytes, at: int, flip: int) -> None:
    good = bytearray(raw(9))
    good[at % len(good)] ^= flip
    for sent in (junk, bytes(good)):
        answer = api.answer({"id": 1, "method": "eth_sendRawTransaction", "params": ["0x" + sent.hex()]})
        assert answer is not None
        assert "error" in answer or "result" in answer
        assert answer.get("error", {}).get("code") != -32603
