"""The decision maker signs what the owner allows, and nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from coincurve import PublicKey
from eth_account import Account

from agents.framework.allowance import Allowance
from agents.framework.decision import (
    AttestWish,
    DecisionMakerPort,
    DigestWish,
    Signatory,
    SignRequest,
    TxWish,
)
from agents.keyring import Keyring
from contracts.chain.values import UnsignedTx
from protocols.case.policy import ALLOWED_CALLS, SpendingPolicy
from protocols.case.steps import MAIN
from protocols.crypto import bls, certificate
from protocols.errors import UserError

CASES = "0x" + "ca" * 20
MODELS = "0x" + "de" * 20
CASE = "ab" * 16


def keyring(fill: int = 7) -> Keyring:
    return Keyring.from_wallet_key(bytes([fill]) * 32)


def signatory(role: str = "patient", cap_case: int = 1000, cap_day: int = 1500, **more: object) -> Signatory:
    policy = SpendingPolicy(role, cap_case, cap_day)
    return Signatory(keyring(), policy, Allowance(None), {"Cases": CASES, "Models": MODELS}, **more)  # type: ignore[arg-type]


def wish(
    name: str = "Cases.open", value: int = 100, effect: str = "e1", to: str = CASES, **more: object
) -> TxWish:
    account = keyring().case_account(bytes.fromhex(CASE)).address
    tx = UnsignedTx(account, to, b"\x01", value, 0, 10, 1337, gas_price=1)
    return replace(TxWish(effect, CASE, name, tx, CASE), **more)  # type: ignore[arg-type]


def test_an_allowed_transaction_is_signed_by_the_account_it_names():
    raw = signatory().grant(wish())
    assert Account.recover_transaction(raw) == keyring().case_account(bytes.fromhex(CASE)).address


def test_a_call_that_the_role_may_not_make_is_refused():
    with pytest.raises(UserError, match=r"may not call Cases.commit"):
        signatory().grant(wish("Cases.commit"))


def test_a_call_to_another_address_than_the_books_is_refused():
    with pytest.raises(UserError, match="not the Cases of the address book"):
        signatory().grant(wish(to="0x" + "99" * 20))


def test_the_cap_of_a_case_holds_over_its_transactions():
    held = signatory(cap_case=300)
    held.grant(wish(value=100, effect="a"))
    held.grant(wish(value=100, effect="b"))
    with pytest.raises(UserError, match="over its cap of 300"):
        held.grant(wish(value=100, effect="c"))


def test_the_same_effect_signed_again_counts_once():
    held = signatory(cap_case=150)
    for _ in range(3):
        held.grant(wish(value=100, effect="a"))


def test_the_cap_of_a_day_holds_over_cases_and_ends_with_the_day():
    now = [0.0]
    held = signatory(cap_case=1000, cap_day=250, clock=lambda: now[0])
    held.grant(wish(value=100, effect="a"))
    held.grant(wish(value=100, effect="b", case_key=CASE))
    with pytest.raises(UserError, match="over its cap of 250"):
        held.grant(wish(value=100, effect="c"))
    now[0] = 90_000.0
    held.grant(wish(value=100, effect="c"))


def test_what_was_not_spent_is_given_back_to_the_cap():
    held = signatory(cap_case=200)
    held.grant(wish(value=150, effect="a"))
    held.settle("a", 20)
    held.grant(wish(value=150, effect="b"))


def test_plain_payments_go_to_own_accounts_alone():
    own = keyring().address
    held = signatory()
    held.grant(wish("pay", value=10**18, to=own))
    with pytest.raises(UserError, match="own accounts"):
        held.grant(wish("pay", value=1, to="0x" + "99" * 20))


def test_a_transaction_from_another_account_is_refused():
    other = wish(account=MAIN)
    with pytest.raises(UserError, match="not from the account that signs"):
        signatory().grant(other)


@pytest.mark.parametrize(("role", "what"), [("patient", "quote"), ("doctor", "receipt"), ("dealer", "quote")])
def test_a_role_signs_its_own_kinds_of_digest_only(role: str, what: str):
    with pytest.raises(UserError, match="does not sign"):
        signatory(role).grant(DigestWish(what, b"\x11" * 32))


def test_a_model_signs_quotes():
    signature = signatory("model").grant(DigestWish("quote", b"\x11" * 32))
    recovered = signature[:64] + bytes([signature[64] - 27])
    key = PublicKey.from_signature_and_message(recovered, b"\x11" * 32, hasher=None)
    assert key.format() == keyring().public_key


def test_only_a_doctor_attests_and_the_signature_holds():
    message = certificate.message(1337, CASES, 5, "tumour", 0)
    with pytest.raises(UserError, match="doctor"):
        signatory("patient").grant(AttestWish(message))
    raw = signatory("doctor").grant(AttestWish(message))
    public = bls.BlsKey(keyring().bls_seed()).public
    assert bls.verify(certificate.DOMAIN, message, public.g2, bls.signature_from_bytes(raw))
    assert not bls.verify(certificate.DOMAIN, bytes(32), public.g2, bls.signature_from_bytes(raw))


def test_no_role_may_pay_strangers_or_change_others():
    assert "pay" in ALLOWED_CALLS["patient"]
    assert all("pay" not in calls for role, calls in ALLOWED_CALLS.items() if role != "patient")


async def test_the_port_passes_the_answer_and_the_refusal_back():
    held = signatory()

    def put(request: SignRequest) -> None:
        try:
            request.answer.set_result(held.grant(request.wish))
        except Exception as error:
            request.answer.set_exception(error)

    port = DecisionMakerPort(put)
    assert await asyncio.wait_for(port.sign(wish()), 5)
    with pytest.raises(UserError):
        await asyncio.wait_for(port.sign(wish("Cases.commit", effect="x")), 5)


def test_the_ledger_survives_a_restart(tmp_path):
    first = Allowance(tmp_path / "a.sqlite")
    first.enter("e", CASE, 3, 40, "Cases.open")
    first.close()
    again = Allowance(tmp_path / "a.sqlite")
    assert again.spent(CASE, 3, "other") == (40, 40)
    assert again.spent(CASE, 3, "e") == (0, 0)
