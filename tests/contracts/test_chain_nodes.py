"""The same case on chains that others make: Ganache 7.9.2 and anvil, from npm, over HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from contracts.chain.client import ChainClient
from contracts.chain.errors import InsufficientFunds, NonceUsed, RpcError, Unreachable
from contracts.chain.rpc import Rpc
from protocols.crypto.commitment import label_hash
from protocols.errors import ChainError
from tests.contracts.chain_world import World

pytestmark = pytest.mark.node
TOOLS = Path(__file__).parents[2] / ".tools" / "chains"
PACKAGES = {"ganache": "ganache@7.9.2", "anvil": "@foundry-rs/anvil@1"}


@pytest.fixture(scope="session")
def tools() -> Path:
    """Where the chains' programs are; installed once."""
    programs = TOOLS / "node_modules" / ".bin"
    if not all((programs / name).exists() for name in PACKAGES):
        npm = shutil.which("npm")
        if npm is None:
            pytest.fail("npm is needed for tests marked node; install Node.js 20 or later")
        TOOLS.mkdir(parents=True, exist_ok=True)
        install = [
            npm,
            "install",
            "--no-audit",
            "--no-fund",
            "--no-save",
            "--prefix",
            str(TOOLS),
            *PACKAGES.values(),
        ]
        subprocess.run(install, check=True, capture_output=True, timeout=300)
    return programs


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def node(tools: Path, kind: str) -> AsyncIterator[int]:
    """A chain on a free loopback port, with a block whenever a transaction comes and one every 0.3
    seconds.
    """
    port = free_port()
    arguments = {
        "anvil": ["--host", "127.0.0.1", "--port", str(port), "--silent", "--hardfork", "paris"],
        "ganache": ["--server.host", "127.0.0.1", "--server.port", str(port), "--logging.quiet"],
    }[kind]
    quiet = asyncio.subprocess.DEVNULL
    running = await asyncio.create_subprocess_exec(tools / kind, *arguments, stdout=quiet, stderr=quiet)
    ticker = asyncio.create_task(tick(port))
    try:
        yield port
    finally:
        ticker.cancel()
        await asyncio.gather(ticker, return_exceptions=True)
        running.terminate()
        await asyncio.wait_for(running.wait(), 20)


async def tick(port: int) -> None:
    """Both mine on request; Ganache's own block time would hold transactions back."""
    rpc = Rpc(f"http://127.0.0.1:{port}")
    try:
        while True:
            with suppress(Unreachable, RpcError):
                await rpc.request("evm_mine")
            await asyncio.sleep(0.3)
    finally:
        await rpc.close()


@pytest.mark.parametrize(
    ("kind", "scheme"), [("anvil", "http"), ("anvil", "ws"), ("ganache", "http"), ("ganache", "ws")]
)
async def test_a_whole_case(tools: Path, kind: str, scheme: str) -> None:
    async with node(tools, kind) as port:
        url = f"{scheme}://127.0.0.1:{port}"
        async with await ChainClient.connect(url, rpc=Rpc(url, retries=9)) as client:
            world = await World.make(client, doctors=3)
            case_id, view = await world.settle()
            assert (view.code, view.agreeing) == (77, 3)
            held = world.certify(view, "tumour", 1000)
            check = world.c.certificates.check
            for label, right in (("tumour", True), ("no tumour", False)):
                question = check(case_id, label_hash(label), 1000, held.seats, held.signature, held.keys)
                assert await world.client.read(question, view.block) is right
            told = await world.client.events(world.c.cases.of_case(case_id), world.book.deployed_block)
            assert len(told) == 23
            await refusals(world, case_id)


async def refusals(world: World, case_id: int) -> None:
    """Each kind of node words these its own way."""
    with pytest.raises(ChainError, match=r"refused Cases\.advance: NothingDue"):
        await world.do(world.c.cases.advance(world.address["stranger"], case_id))
    client, at = world.client, world.address
    tx = await client.prepare_raw(at["stranger"], at["case"], value=1)
    raw = await world.signer.sign_transaction(tx.to_dict(), tx.account)
    tx_hash = await client.broadcast(raw)
    await client.wait(tx_hash)
    assert await client.broadcast(raw) == tx_hash
    other = await world.signer.sign_transaction({**tx.to_dict(), "value": 2}, tx.account)
    with pytest.raises(NonceUsed):
        await client.broadcast(other)
    rich = await world.signer.sign_transaction(
        {**tx.to_dict(), "nonce": tx.nonce + 1, "value": 10**24}, tx.account
    )
    with pytest.raises(InsufficientFunds):
        await client.broadcast(rich)


async def test_a_socket_that_breaks_is_opened_again(tools: Path) -> None:
    async with node(tools, "anvil") as port:
        rpc = Rpc(f"ws://127.0.0.1:{port}", retries=9)
        assert await rpc.request("eth_chainId") == "0x7a69"
        await rpc._transport._socket.close()  # type: ignore[attr-defined]
        assert await rpc.request("eth_chainId") == "0x7a69"
        many = await asyncio.gather(
            *(rpc.request("eth_getBalance", f"0x{i:040x}", "latest") for i in range(50))
        )
        assert many == ["0x0"] * 50
        with pytest.raises(RpcError):
            await rpc.request("crypdoc_nothing")
        await rpc.close()
