"""Money for accounts on a chain of this machine, where money is worth nothing."""

from __future__ import annotations

from urllib.parse import urlparse

from contracts.chain.client import ChainClient
from contracts.chain.errors import RpcError
from contracts.chain.values import Signer
from protocols.errors import ChainError


def is_local(url: str) -> bool:
    """True when a chain's address is on this machine."""
    return urlparse(url).hostname in ("localhost", "127.0.0.1", "::1")


async def fund(
    client: ChainClient, account: str, wei: int, *, signer: Signer | None = None, giver: str = ""
) -> None:
    """Give an account money: from `giver`, for whom `signer` signs, else from nothing or the node's own
    accounts.

    Without a giver only on a chain of this machine. The account has the money when this returns.
    """
    if signer is not None:
        await client.complete(await client.prepare_raw(giver, account, value=wei), signer)
        return
    if not is_local(client.rpc.url):
        raise ChainError("money is given away on local chains only", "send it from an account of yours")
    try:
        await client.rpc.request("crypdoc_grant", account, hex(wei))
    except RpcError:
        await _from_unlocked(client, account, wei)


async def _from_unlocked(client: ChainClient, account: str, wei: int) -> None:
    """Ganache and anvil sign for dev accounts of their own."""
    try:
        richest = (await client.rpc.request("eth_accounts"))[0]
        sent = {"from": richest, "to": account, "value": hex(wei)}
        tx_hash = await client.rpc.request("eth_sendTransaction", sent)
    except (RpcError, IndexError):
        fault = f"the chain at {client.rpc.url} has no money to give away"
        raise ChainError(fault, "send money from an account of yours") from None
    await client.wait(tx_hash)
