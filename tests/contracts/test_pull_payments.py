"""Who is paid by pull, and is a contract, can neither take twice nor hold anybody up."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from tests.contracts.evm import Contract, Reverted, kind_of, refused, signature_of
from tests.contracts.world import GWEI, NETWORK, CaseHandle, World

FORWARD = "5b602036038060206000376000600082600034600035 5af13d600060003e15{fail}573d6000f35b3d6000fd"
REENTER = "633ccfd60b60e01b600052600060006004600060003 35af15000".replace(" ", "")
"""On receiving: calls the payer's withdraw() again, whatever comes of it."""
REFUSE = "60006000fd"
"""On receiving: reverts."""


def account_code(on_receive: str) -> bytes:
    """Runtime of an account that forwards calls (target word, then calldata) and meets payments so."""
    head = bytes.fromhex(on_receive)
    start = 4 + len(head)
    body = FORWARD.replace(" ", "").replace("{fail}", f"60{start + 38:02x}")
    return bytes([0x36, 0x60, start, 0x57]) + head + bytes.fromhex(body)


class ContractAccount:
    """A participant that is a contract."""

    def __init__(self, world: World, on_receive: str) -> None:
        self.world = world
        code = account_code(on_receive)
        creation = bytes.fromhex(f"60{len(code):02x}600c60003960{len(code):02x}6000f3") + code
        self.address = str(world.chain.evm.deploy(world.stranger.address, creation))

    def send(self, contract: Contract, name: str, *arguments: object, value: int = 0) -> None:
        entry = contract.function(name)
        data = encode(["address"], [contract.address]) + keccak(text=signature_of(entry))[:4]
        data += encode([kind_of(i) for i in entry["inputs"]], arguments)
        chain = self.world.chain
        chain.mine()
        try:
            chain.evm.message_call(self.world.stranger.address, self.address, calldata=data, value=value)
        except RuntimeError as error:
            raise chain._reverted(error) from None


def owed(world: World, on_receive: str, name: str) -> tuple[ContractAccount, CaseHandle]:
    """A contract account to which `Models` owes four gwei."""
    account, case = ContractAccount(world, on_receive), world.prepare(name)
    quote, signature = world.quote(case, patient=account.address)
    account.send(world.models, "purchase", quote, signature, value=4 * GWEI)
    world.chain.mine(1, 3_600 + 601)
    world.send(world.stranger, world.models, "reclaim", case.id, NETWORK)
    assert world.chain.view(world.models, "creditOf", account.address) == 4 * GWEI
    return account, case


def test_reentering_takes_nothing_more(world: World) -> None:
    account, _ = owed(world, REENTER, "thief")
    other, _ = owed(world, REFUSE, "victim")
    before = world.chain.balance(world.models.address)
    account.send(world.models, "withdraw")
    assert world.chain.balance(account.address) == 4 * GWEI
    assert before - world.chain.balance(world.models.address) == 4 * GWEI
    assert world.chain.view(world.models, "creditOf", other.address) == 4 * GWEI


def test_who_refuses_payment_keeps_the_credit_and_holds_up_nobody(world: World) -> None:
    account, _ = owed(world, REFUSE, "stubborn")
    with refused("PaymentRefused"):
        account.send(world.models, "withdraw")
    assert world.chain.view(world.models, "creditOf", account.address) == 4 * GWEI
    case = world.prepare("other")
    world.open(case)


def test_the_forwarder_passes_errors_on(world: World) -> None:
    account = ContractAccount(world, REFUSE)
    with pytest.raises(Reverted, match="NothingToWithdraw"):
        account.send(world.models, "withdraw")
