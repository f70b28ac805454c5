"""From a node's own words for a refusal to one of our errors. Covers py-evm here, geth, anvil and Ganache
7.
"""

from __future__ import annotations

from contracts.abi import explain_revert
from contracts.chain.errors import (
    FeeTooLow,
    InsufficientFunds,
    NonceUsed,
    OutOfGas,
    Refused,
    Reverted,
    RpcError,
)
from protocols.errors import ChainError

_FUNDS = (
    "insufficient funds",
    "doesn't have enough funds",
    "insufficient balance",
    "lack of funds",
    "overshot",
)
_NONCE = ("nonce too low", "correct nonce", "nonce too high", "invalid nonce", "replacement transaction")
_FEE = (
    "less than block base fee",
    "less than the block's basefee",
    "underpriced",
    "fee cap",
    "gas price too low",
)
_GAS = (
    "out of gas",
    "outofgas",
    "intrinsic gas",
    "exceeds block gas limit",
    "gas required exceeds",
    "exceeds allowance",
)


def explain_refusal(error: RpcError) -> ChainError:
    """The `ChainError` that a node's refusal stands for."""
    words, data = error.message.lower(), error.revert_data()
    if data:
        return Reverted(*explain_revert(data))
    if any(hint in words for hint in _FUNDS):
        return InsufficientFunds("the account cannot pay for the transaction", "fund the account")
    if any(hint in words for hint in _NONCE):
        fault = f"another transaction of the account took this one's place ({error.message[:80]})"
        return NonceUsed(fault, "prepare the call again")
    if any(hint in words for hint in _FEE):
        return FeeTooLow("the chain's fees rose above what the transaction offers", "prepare the call again")
    if any(hint in words for hint in _GAS):
        return OutOfGas(
            f"the transaction does not get enough gas ({error.message[:80]})", "prepare the call again"
        )
    if data is not None:
        return Reverted(*explain_revert(data))
    return Refused(
        f"the chain refused a request: {error.message[:160]}", "check that it is a chain CrypDoc works on"
    )
