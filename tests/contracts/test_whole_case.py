"""One whole case on the contracts: register, purchase, open, draw, read, settle, certify, list, buy."""

from __future__ import annotations

from eth_utils.crypto import keccak

from protocols.crypto.bls import add_keys, add_signatures
from tests.contracts.world import (
    CERTIFICATE_DOMAIN,
    COMMIT,
    GWEI,
    NETWORK,
    REVEAL,
    SEATING,
    SETTLED,
    SPECIALTY,
    Ballot,
    World,
)

LABEL = keccak(text="tumour")
DATE = 1_800_000_000


def test_a_case_from_purchase_to_dataset(bare: World) -> None:
    world, chain = bare, bare.chain
    world.add_doctors(5)
    case = world.prepare("patient", bucket=0, panel_size=5)
    consent = (keccak(text="consent"), 10 * GWEI, 0)

    quote, quote_signature = world.quote(case)
    world.send(case.account, world.models, "purchase", quote, quote_signature, value=4 * GWEI)
    consent_hash = chain.view(world.market, "consentHashOf", case.account.address, consent)
    opened = world.open(case, consentHash=consent_hash)
    assert opened.only("CaseOpened").values["caseId"] == case.id
    assert opened.only("Released").contract == "Models", "opening pays model and dealer"
    assert world.credit(world.owner, world.models) == 3 * GWEI
    assert world.credit(world.dealer, world.models) == GWEI

    panel = world.draw(case)
    assert len({d.address for d in panel}) == 5
    assert world.view(case).phase == SEATING
    for doctor in panel:
        world.accept(case, doctor)
    assert world.view(case).phase == COMMIT

    dissenter = panel[4]
    for doctor in panel:
        world.commit(case, doctor, Ballot(9 if doctor is dissenter else 7, 90))
    assert world.view(case).phase == REVEAL
    for doctor in reversed(panel):
        world.reveal(case, doctor)
    world.advance(case)

    seen = world.view(case)
    assert (seen.phase, seen.result, seen.agreeing, seen.escrowWei) == (SETTLED, 7, 4, 0)
    pot, deposit = 5 * 40 * GWEI, 5 * GWEI
    for doctor in panel:
        earned = 0 if doctor is dissenter else pot // 4
        assert world.credit(doctor) == deposit + earned
    assert world.credit(case.account) == 11 * 40 * GWEI, "the second round was not needed"
    for seat in seen.seats:
        agreed = seat.doctor != dissenter.address
        assert (seat.reputationAfter > seat.reputationBefore) == agreed
    assert chain.view(world.reputation, "ofNetwork", NETWORK, SPECIALTY) != 2_500

    before = chain.balance(panel[0].address)
    world.send(panel[0], world.cases, "withdraw")
    assert chain.balance(panel[0].address) - before == deposit + pot // 4

    message = chain.view(world.certificates, "messageOf", case.id, LABEL, DATE)
    signers = panel[:4]
    signature = add_signatures(d.bls.sign(CERTIFICATE_DOMAIN, message) for d in signers)
    keys = add_keys(d.bls.public.g2 for d in signers)
    assert chain.view(world.certificates, "check", case.id, LABEL, DATE, 0b01111, signature, keys)

    world.send(case.account, world.market, "list", case.id, keccak(text="record"), 100 * GWEI, consent)
    researcher = world.funded("researcher")
    world.send(researcher, world.market, "buy", [case.id], value=100 * GWEI)
    assert chain.view(world.market, "hasAccess", researcher.address, case.id)
    assert world.credit(case.account, world.market) == 50 * GWEI
    assert world.credit(panel[0], world.market) == 30 * GWEI // 4
    assert world.credit(world.owner, world.market) == 20 * GWEI
