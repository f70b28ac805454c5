"""A doctor whom the directory does not know is found by the signed record in the registry on chain."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from agents.engine.duty import Duty
from agents.keyring import Keyring
from agents.patient.duty import PatientDuty
from protocols.errors import ProtocolError
from protocols.records import PeerRecord

RING = Keyring.from_wallet_key(bytes([9]) * 32)


class Directory:
    """Knows what it is given; takes signed records alone."""

    def __init__(self) -> None:
        self.known: dict[str, PeerRecord] = {}

    def get(self, wallet: str) -> PeerRecord | None:
        return self.known.get(wallet)

    def add(self, data: bytes) -> bool:
        record = PeerRecord.decode(data)
        self.known[record.wallet] = record
        return True


def patient(record: bytes, monkeypatch: Any) -> PatientDuty:
    duty = object.__new__(PatientDuty)
    duty.directory = Directory()  # type: ignore[assignment]

    async def nowhere(self: Any, wallet: str) -> PeerRecord | None:
        return self.directory.get(wallet)

    async def ask(question: Any, block: Any = "latest") -> Any:
        return SimpleNamespace(record=record)

    monkeypatch.setattr(Duty, "renew", nowhere)
    duty.contracts = SimpleNamespace(doctors=SimpleNamespace(doctor=lambda wallet: wallet))  # type: ignore[assignment]
    duty.ask = ask  # type: ignore[method-assign]
    return duty


def signed() -> bytes:
    record = PeerRecord.sign(
        RING.sign_message,
        RING.address,
        role="doctor",
        addresses=("/ip4/127.0.0.1/tcp/4001",),
        tls="127.0.0.1:4002",
        sealing_key=RING.sealing_key,
        sequence=1,
    )
    return record.encode()


async def test_the_record_on_chain_is_taken_when_nobody_else_knows_the_doctor(monkeypatch):
    found = await patient(signed(), monkeypatch).renew(RING.address)
    assert found is not None
    assert found.tls == "127.0.0.1:4002"


async def test_a_record_on_chain_that_is_no_record_is_passed_over(monkeypatch):
    assert await patient(b"nonsense", monkeypatch).renew(RING.address) is None


async def test_a_forged_record_on_chain_is_passed_over(monkeypatch):
    forged = bytearray(signed())
    forged[-1] ^= 1
    try:
        PeerRecord.decode(bytes(forged))
    except ProtocolError:
        pass
    else:
        raise AssertionError("the forgery is not one")
    assert await patient(bytes(forged), monkeypatch).renew(RING.address) is None
