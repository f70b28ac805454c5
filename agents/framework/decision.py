"""The decision maker: the only place of an agent that signs for its owner.

Duties put a `SignRequest` on AEA's decision maker queue; its thread holds it against the owner's policy and
answers the request's future with the signature or with a `UserError` that says which term it breaks. Keys live in
the keyring that the handler was given and nowhere else in the agent, but for the wire, which proves the wallet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from aea.configurations.base import PublicId
from aea.decision_maker.base import DecisionMakerHandler
from aea.protocols.base import Message

from agents.framework.allowance import Allowance
from agents.keyring import Keyring
from contracts.chain.values import UnsignedTx
from protocols.case.policy import SpendingPolicy
from protocols.case.steps import MAIN
from protocols.crypto import certificate
from protocols.crypto.bls import BlsKey, signature_bytes
from protocols.errors import UserError


@dataclass(frozen=True, slots=True)
class TxWish:
    """A transaction to be signed. name: `Contract.function` or `pay`; account: MAIN or a case account's name."""

    effect_id: str
    case_key: str
    name: str
    tx: UnsignedTx
    account: str


@dataclass(frozen=True, slots=True)
class DigestWish:
    """A 32-byte EIP-712 digest to be signed with the wallet key. what: `quote`, `receipt`, `record`."""

    what: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class AttestWish:
    """A certificate message to be signed with the doctor's BLS key."""

    message: bytes


Wish = TxWish | DigestWish | AttestWish
DIGESTS = {"model": frozenset({"quote", "receipt"}), "doctor": frozenset({"credential"})}


class SignRequest(Message):  # type: ignore[misc]
    """AEA's envelope around a wish; stays inside the process."""

    protocol_id = PublicId.from_str("crypdoc/signing:1.0.0")
    protocol_specification_id = protocol_id

    def __init__(self, wish: Wish) -> None:
        super().__init__()
        self.wish = wish
        self.answer: Future[bytes] = Future()


class Signatory:
    """Holds keys and policy, and says yes or no. Pure of AEA, so the tests use it as it is.

    contracts: the addresses that transactions may go to, by contract name.
    """

    def __init__(
        self,
        keyring: Keyring,
        policy: SpendingPolicy,
        allowance: Allowance,
        contracts: dict[str, str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keyring = keyring
        self._policy = policy
        self._allowance = allowance
        self._contracts = contracts
        self._clock = clock

    def grant(self, wish: Wish) -> bytes:
        """The signature (or the raw signed transaction). Raises `UserError` when the policy forbids it."""
        if isinstance(wish, TxWish):
            return self._transaction(wish)
        if isinstance(wish, AttestWish):
            if self._policy.role != "doctor":
                raise UserError("only a doctor's agent attests verdicts", "use the doctor's keystore")
            key = BlsKey(self._keyring.bls_seed())
            return signature_bytes(key.sign(certificate.DOMAIN, wish.message))
        if wish.what not in DIGESTS.get(self._policy.role, frozenset()):
            raise UserError(f"a {self._policy.role}'s agent does not sign a {wish.what}", "check the role")
        return self._keyring.sign_digest(wish.digest)

    def _transaction(self, wish: TxWish) -> bytes:
        tx = wish.tx
        account = (
            self._keyring.account()
            if wish.account == MAIN
            else self._keyring.case_account(bytes.fromhex(wish.account))
        )
        if tx.account.lower() != account.address.lower():
            raise UserError(
                f"the transaction is from {tx.account}, not from the account that signs", "report this"
            )
        contract = wish.name.partition(".")[0]
        to = (tx.to or "").lower()
        if wish.name != "pay" and to != self._contracts.get(contract, "").lower():
            raise UserError(
                f"{wish.name} goes to {tx.to}, which is not the {contract} of the address book", "check it"
            )
        own = {self._keyring.address.lower(), account.address.lower()}
        case = bytes.fromhex(wish.case_key) if _is_hex(wish.case_key) else b""
        if case:
            own.add(self._keyring.case_account(case).address.lower())
        day = int(self._clock() // 86400)
        spent_case, spent_day = self._allowance.spent(wish.case_key, day, wish.effect_id)
        why = self._policy.objection(wish.name, tx.max_cost_wei, spent_case, spent_day, to_own=to in own)
        if why:
            raise UserError(
                f"the policy forbids it: {why}", "raise the cap or change the policy if you mean it"
            )
        if wish.name != "pay":
            self._allowance.enter(wish.effect_id, wish.case_key, day, tx.max_cost_wei, wish.name)
        return bytes(account.sign_transaction(tx.to_dict()).raw_transaction)

    def settle(self, effect_id: str, wei: int) -> None:
        """Tell what a signed transaction did cost."""
        self._allowance.settle(effect_id, wei)


def _is_hex(text: str) -> bool:
    try:
        bytes.fromhex(text)
    except ValueError:
        return False
    return True


class DecisionHandler(DecisionMakerHandler):  # type: ignore[misc]
    """AEA's hook. `config` holds the `Signatory` under "signatory"."""

    def handle(self, message: Message) -> None:
        """Answer a `SignRequest`; anything else is refused and logged."""
        if not isinstance(message, SignRequest):
            self.logger.warning("the decision maker refused a message that is no signing request")
            return
        try:
            message.answer.set_result(self.config["signatory"].grant(message.wish))
        except Exception as error:  # the request's owner gets it; this thread goes on
            message.answer.set_exception(error)


class DecisionMakerPort:
    """The duties' end of the queue."""

    def __init__(self, put: Callable[[SignRequest], Any]) -> None:
        self._put = put

    async def sign(self, wish: Wish) -> bytes:
        """Ask the decision maker. Raises what it answered with."""
        request = SignRequest(wish)
        self._put(request)
        return await asyncio.wrap_future(request.answer)
