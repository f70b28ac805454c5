"""`crypdoc chain` and `crypdoc deploy`."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click
from eth_utils.address import is_address, to_checksum_address

from agents.cli.common import HOME, WEI, guarded, open_keystore
from protocols.errors import UserError


def checked_address(text: str, what: str) -> str:
    if not is_address(text):
        raise UserError(f"{text!r} is no address for {what}", "write it like 0x followed by 40 hex digits")
    return str(to_checksum_address(text))


@click.command()
@click.option("--port", default=8545, show_default=True, help="Port of the JSON-RPC server.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--data", type=click.Path(path_type=Path), default=HOME / "chain", show_default=True)
@click.option("--fund", multiple=True, metavar="ADDRESS=AMOUNT", help="Who has money in the first block.")
@click.option("--fresh", is_flag=True, help="Keep the chain in memory alone.")
@guarded
def chain(port: int, host: str, data: Path, fund: tuple[str, ...], fresh: bool) -> None:
    """Run a small chain of your own: for trying out, and for tests.

    It is kept in DATA/chain.journal and goes on where it stopped. Anyone on this machine can ask it for money.
    """
    from contracts.chain.embedded import EmbeddedChain

    given: dict[str, int] = {}
    for item in fund:
        who, sep, amount = item.partition("=")
        if not sep:
            raise UserError(
                f"{item!r} does not say how much", "write --fund ADDRESS=AMOUNT, like 0x...=10ether"
            )
        given[checked_address(who, "--fund")] = WEI.convert(amount, None, None)
    path = None
    if not fresh:
        folder = data.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "chain.journal"

    async def run() -> None:
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        async with EmbeddedChain(host=host, port=port, fund=given, path=path) as running:
            click.echo(f"chain: {running.url}")
            await stopping.wait()

    asyncio.run(run())


@click.command()
@click.option(
    "--rpc", default="http://127.0.0.1:8545", envvar="CRYPDOC_RPC", show_default=True, help="Chain."
)
@click.option(
    "--keystore",
    type=click.Path(path_type=Path),
    default=HOME / "deployer.json",
    show_default=True,
    help="Who pays.",
)
@click.option("--terms", default="standard", show_default=True, help="demo (seconds) or standard (hours).")
@click.option(
    "--attester", "attesters", multiple=True, required=True, help="Wallet whose credentials make a doctor."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("addresses.json"), show_default=True)
@click.option("--fund", is_flag=True, help="Ask a chain on this machine for the deployer's money first.")
@guarded
def deploy(rpc: str, keystore: Path, terms: str, attesters: tuple[str, ...], out: Path, fund: bool) -> None:
    """Deploy the contracts to any EVM chain and write the address book that agents read.

    Terms, attesters and code are fixed for good: there is no owner and no upgrade. An interrupted deployment goes on
    when the same command is run again.
    """
    from contracts.chain.client import ChainClient
    from contracts.chain.deploy import deploy as make
    from contracts.chain.faucet import fund as grant
    from contracts.chain.signer import LocalSigner
    from contracts.chain.terms import profile

    wanted = profile(terms)
    allowed = [checked_address(a, "--attester") for a in attesters]
    keyring = open_keystore(keystore)

    async def run() -> None:
        async with await ChainClient.connect(rpc) as client:
            if fund:
                await grant(client, keyring.address, 100 * 10**18)
            signer = LocalSigner([keyring.wallet_key()])
            progress = out.with_suffix(".progress")
            book = await make(client, signer, keyring.address, wanted, allowed, progress=progress)
            book.save(out)
            progress.unlink(missing_ok=True)
            for name, at in book.contracts.items():
                click.echo(f"{name:14} {at}")
            click.echo(f"chain {book.chain_id}; the address book is in {out}")

    asyncio.run(run())
