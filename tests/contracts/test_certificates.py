"""The panel's certificate, against keys and pairings of py_ecc."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from eth_utils.crypto import keccak
from py_ecc import optimized_bn128 as curve

from protocols.crypto.bls import BlsKey, add_keys, add_signatures
from tests.contracts.world import (
    CERTIFICATE_DOMAIN,
    POSSESSION_DOMAIN,
    REFUNDED,
    Actor,
    CaseHandle,
    World,
    bls_key,
)

LABEL, DATE = keccak(text="tumour"), 1_800_000_000


class Settled(NamedTuple):
    """A case on which four of five agreed; seats in order."""

    world: World
    case: CaseHandle
    panel: list[Actor]

    def check(
        self,
        signers: tuple[int, ...],
        *,
        bitmap: int | None = None,
        keys: list[BlsKey] | None = None,
        label: bytes = LABEL,
        date: int = DATE,
        domain: bytes = CERTIFICATE_DOMAIN,
        case: CaseHandle | None = None,
    ) -> bool:
        """Signs for these seats, by these keys where given, and asks the contract."""
        chain, certificates = self.world.chain, self.world.certificates
        message = chain.view(certificates, "messageOf", self.case.id, LABEL, DATE)
        keys = keys or [self.panel[i].bls for i in signers]
        bits = sum(1 << i for i in signers) if bitmap is None else bitmap
        signature = add_signatures(key.sign(domain, message) for key in keys)
        apk = add_keys(key.public.g2 for key in keys)
        return bool(
            chain.view(certificates, "check", (case or self.case).id, label, date, bits, signature, apk)
        )


@pytest.fixture
def settled(world: World) -> Settled:
    case = world.open_case(panel_size=5)
    return Settled(world, case, world.round(case, [7, 7, 9, 7, 7]))


def test_the_agreeing_doctors_certify(settled: Settled) -> None:
    assert settled.check((0, 1, 3, 4))


def test_fewer_than_agreement_takes_do_not(settled: Settled) -> None:
    """Four of five is what two thirds take."""
    assert not settled.check((0, 1, 3))


def test_a_supermajority_of_a_larger_agreement_does(world: World) -> None:
    case = world.open_case(panel_size=5)
    s = Settled(world, case, world.round(case, [7, 7, 7, 7, 7]))
    assert s.check((0, 1, 2, 4))
    assert not s.check((0, 1, 2))


def test_a_dissenter_cannot_sign(settled: Settled) -> None:
    assert not settled.check((0, 1, 2, 3, 4))
    assert not settled.check((0, 1, 2, 3))


def test_the_bitmap_names_the_signers(settled: Settled) -> None:
    assert not settled.check((0, 1, 3), bitmap=0b11011), "one signature is missing"
    assert not settled.check((0, 1, 3, 4), bitmap=0b11011 | 1 << 5), "no such seat"
    assert not settled.check((0, 1, 3, 4), bitmap=0b11011 | 1 << 255)
    assert not settled.check((0, 1, 3, 4), bitmap=0)
    assert not settled.check((0, 1, 3, 4), bitmap=2**256 - 1)


def test_label_date_case_and_domain_are_signed(settled: Settled) -> None:
    signers = (0, 1, 3, 4)
    assert not settled.check(signers, label=keccak(text="no tumour"))
    assert not settled.check(signers, date=DATE + 1)
    assert not settled.check(signers, domain=POSSESSION_DOMAIN)
    other = settled.world.open_case("other", panel_size=5)
    assert not settled.check(signers, case=other)


def test_other_keys_do_not_certify(settled: Settled) -> None:
    keys = [bls_key(f"impostor {i}") for i in range(4)]
    assert not settled.check((0, 1, 3, 4), keys=keys)


def test_malformed_points_are_false_and_cheap(settled: Settled) -> None:
    chain, certificates = settled.world.chain, settled.world.certificates
    good = settled.panel[0].bls
    for signature, apk in (
        ((0, 0), (0, 0, 0, 0)),
        ((1, 1), good.public.g2),
        ((1, 2), (1, 2, 3, 4)),
        ((2**256 - 1, 5), (2**256 - 1,) * 4),
        ((1, 2), (0, 0, 0, 0)),
    ):
        arguments = (settled.case.id, LABEL, DATE, 0b11011, signature, apk)
        assert chain.view(certificates, "check", *arguments) is False
        assert chain.gas_of_view(certificates, "check", *arguments) < 350_000


def test_open_and_refunded_cases_have_no_certificate(world: World) -> None:
    case = world.open_case(panel_size=3)
    panel = world.seat_all(case)
    s = Settled(world, case, panel)
    assert not s.check((0, 1, 2))
    unknown = world.prepare("unknown")
    assert not s.check((0, 1, 2), case=unknown)


def test_the_deciding_round_alone_certifies(world: World) -> None:
    case = world.open_case(panel_size=3)
    first = world.round(case, [7, 8, 9])
    second = world.round(case, [7] * 7)
    s = Settled(world, case, first + second)
    assert s.check((3, 4, 5, 6, 7))
    assert s.check(tuple(range(3, 10)))
    assert not s.check((0, 3, 4, 5, 6, 7)), "a seat of the round that hung"


def test_a_doctor_who_left_still_certifies(settled: Settled) -> None:
    doctor = settled.panel[0]
    settled.world.send(doctor, settled.world.doctors, "resign")
    settled.world.send(doctor, settled.world.doctors, "withdrawDeposit")
    assert settled.check((0, 1, 3, 4))


def test_hash_to_g1_is_on_the_curve_and_as_documented(world: World) -> None:
    """Recomputed here from the words of docs/contracts.md, with py_ecc's field."""
    prime = curve.field_modulus
    for i in range(12):
        domain, message = keccak(text=f"domain {i}"), keccak(text=f"message {i}")
        x, y = world.chain.view(world.certificates, "hashToG1", domain, message)
        assert curve.is_on_curve((curve.FQ(x), curve.FQ(y), curve.FQ(1)), curve.b)
        for counter in range(256):
            h = int.from_bytes(keccak(domain + message + bytes([counter])), "big")
            candidate = h % 2**254
            if candidate >= prime or pow(candidate**3 + 3, (prime - 1) // 2, prime) != 1:
                continue
            root = pow(candidate**3 + 3, (prime + 1) // 4, prime)
            assert (x, y) == (candidate, root if root % 2 == h >> 255 else prime - root)
            break


def test_the_sum_is_what_py_ecc_verifies(settled: Settled) -> None:
    """The certificate that the contract takes is a BLS signature by an independent pairing."""
    world, signers = settled.world, [settled.panel[i] for i in (0, 1, 3, 4)]
    message = world.chain.view(world.certificates, "messageOf", settled.case.id, LABEL, DATE)
    signature = add_signatures(d.bls.sign(CERTIFICATE_DOMAIN, message) for d in signers)
    x1, x0, y1, y0 = add_keys(d.bls.public.g2 for d in signers)
    h = world.chain.view(world.certificates, "hashToG1", CERTIFICATE_DOMAIN, message)
    fq, fq2 = curve.FQ, curve.FQ2
    key = (fq2([x0, x1]), fq2([y0, y1]), fq2.one())
    left = curve.pairing(curve.G2, (fq(signature[0]), fq(signature[1]), fq(1)))
    assert left == curve.pairing(key, (fq(h[0]), fq(h[1]), fq(1)))


def test_insufficient_evidence_can_be_certified_too(world: World) -> None:
    case = world.open_case(panel_size=3)
    s = Settled(world, case, world.round(case, [0, 0, 0]))
    assert s.check((0, 1))
    assert world.view(case).phase != REFUNDED
