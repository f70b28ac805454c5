"""Peers that misbehave, and parts that go away, while agents live: the agents go on living."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Callable

import pytest
from aea.configurations.base import PublicId
from aea.identity.base import Identity
from aea.mail.base import Envelope
from conftest import Command

from agents.keyring import Keyring
from agents.wire.connection import PROTOCOL, WireConnection
from agents.wire.directory import Directory
from agents.wire.envelopes import ENVELOPE_TAG, PURPOSE, encode_envelope, envelope_id
from agents.wire.limits import MAX_FRAME
from agents.wire.node import Node
from models.scans import sample_scan_path
from protocols.crypto.seal import seal
from protocols.dialogues import Said
from protocols.errors import CrypDocError
from protocols.records import PeerRecord
from tests.kill.run import Cell, run_cell
from tests.kill.stage import Actor, Stage, wallet

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
DELIVERY = PublicId.from_str("crypdoc/delivery:1.0.0")


class Rogue:
    """A peer with a wallet of its own that says whatever it likes to one agent."""

    def __init__(self, stage: Stage) -> None:
        self.ring = Keyring(secrets.token_bytes(32))
        self.node = Node(self.ring, "127.0.0.1", 0, rng=random.Random(1))
        self.directory = Directory(
            self.node,
            self.ring,
            role="patient",
            clock=time.time,
            rng=random.Random(1),
            bootstrap=(stage.join,),
        )
        self.acked: list[bytes] = []
        identity = Identity("rogue", address=self.ring.address, public_key=self.ring.public_key.hex())
        self.connection = WireConnection(
            self.node,
            self.directory,
            self.ring,
            identity=identity,
            random_bytes=secrets.token_bytes,
            on_ack=self.acked.append,
        )

    async def record(self, to: str) -> PeerRecord:
        for _ in range(100):
            found = self.directory.get(to) or await self.directory.find(to)
            if found is not None:
                return found
            await asyncio.sleep(0.1)
        raise AssertionError("the rogue does not find its victim")

    def envelope(self, to: str, sender: str, message: bytes) -> Envelope:
        return Envelope(to=to, sender=sender, message=message, protocol_specification_id=DELIVERY)

    async def seal_and_send(self, record: PeerRecord, plain: bytes) -> None:
        """A frame with anything at all inside a proper seal."""
        sealed = seal(
            plain,
            record.sealing_key,
            secrets.token_bytes(32),
            sender=self.ring.wallet,
            recipient=record.wallet_bytes,
            purpose=PURPOSE,
        )
        self.raw(record.wallet, bytes([ENVELOPE_TAG]) + sealed)
        await asyncio.sleep(0.1)

    def raw(self, to: str, frame: bytes) -> None:
        self.node.send(to, PROTOCOL, secrets.token_bytes(8), frame)


async def _misbehave(stage: Stage, victim: Actor) -> list[bytes]:
    """Everything that a peer can do wrong with envelopes; what was acknowledged."""
    rogue = Rogue(stage)
    await rogue.connection.connect()
    try:
        to = victim.keyring.address
        record = await rogue.record(to)
        for frame in (
            b"",
            b"\x00",
            b"\xff" * 200,
            bytes([ENVELOPE_TAG]),
            bytes([2]) + bytes(31),
            secrets.token_bytes(5000),
        ):
            rogue.raw(to, frame)
            await asyncio.sleep(0.05)
        for plain in (b"", b"\xa0", b"not cbor at all", secrets.token_bytes(1000)):
            await rogue.seal_and_send(record, plain)
        body = {"case_id": 7, "round": 1, "scan": b"x", "codes": [1, 2], "modality": "MR", "nonce": b""}
        body |= {"code_commitments": [], "code_salt": b"", "authority": b""}
        good = Said("delivery", "thread", 1, "deliver", body).encode()
        other = stage.actors["patient"].keyring.address if "patient" in stage.actors else "0x" + "11" * 20
        await rogue.seal_and_send(record, encode_envelope(rogue.envelope(to, other, good)))  # forged sender
        await rogue.seal_and_send(record, encode_envelope(rogue.envelope(other, rogue.ring.address, good)))
        unknown = rogue.envelope(to, rogue.ring.address, good)
        for _ in range(5):  # a replay of one about a case that nobody knows
            await rogue.seal_and_send(record, encode_envelope(unknown))
        certify = Said("delivery", "thread", 3, "certify", {"label": "tumour", "date": 0}).encode()
        await rogue.connection.send(rogue.envelope(to, rogue.ring.address, certify))
        with contextlib.suppress(CrypDocError):
            await rogue.connection.send(rogue.envelope(to, rogue.ring.address, bytes(MAX_FRAME)))
        rogue.raw(to, bytes([ENVELOPE_TAG]) + secrets.token_bytes(1 << 20))
        await asyncio.sleep(3)
        assert envelope_id(unknown) not in rogue.acked
        return list(rogue.acked)
    finally:
        await rogue.connection.disconnect()


def wait(done: Callable[[], bool], patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while not done():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)


@pytest.mark.parametrize("name", ["doctor 1", "model", "dealer"])
def test_bad_envelopes(name: str, stage: Stage) -> None:
    victim = stage.actors[name]
    assert asyncio.run(_misbehave(stage, victim)) == []
    assert victim.process is not None
    assert victim.process.is_alive()
    assert "Traceback" not in victim.log.read_text()


def test_the_stage_is_whole_after_the_rogues(stage: Stage) -> None:
    outcome = run_cell(stage, Cell("an ordinary case", ()))
    assert outcome.verdict == "ok", outcome.wrong


def test_a_chain_that_goes_away_and_comes_back(stage: Stage) -> None:
    """Nobody ends; the trouble is told once, and that it is over."""
    doctor, chain = stage.actors["doctor 2"], stage.actors["chain"]
    before = len(doctor.steps())
    stage.stop(chain)
    wait(lambda: any(s["step"] == "trouble" for s in doctor.steps()[before:]), 90)
    assert doctor.process is not None
    assert doctor.process.is_alive()
    stage.run(chain)
    wait(lambda: any(s["step"] == "trouble.over" for s in doctor.steps()[before:]), 90)
    told = [s["text"] for s in doctor.steps()[before:] if s["step"] == "trouble"]
    assert len(told) <= 3, told
    assert "Traceback" not in doctor.log.read_text()


def test_too_few_doctors_for_the_panel(stage: Stage, command: Command) -> None:
    """A panel of nine among three doctors is drawn in vain: the bounty comes back and the patient is told."""
    folder = stage.folder / "lonely"
    patient = Actor("lonely", "patient", folder, wallet(folder / "keystore.json", stage._password))
    stage.ledger.grant(patient.keyring.address, 3 * 10**18)
    ended = command(
        "patient",
        str(sample_scan_path()),
        "--panel",
        "9",
        *stage.common(patient),
        CRYPDOC_PASSWORD_FILE=str(stage._password_file),
        patience=350,
    )
    assert ended.code == 0, ended.text
    assert "Traceback" not in ended.text
    assert any("refund" in line for line in ended.text.splitlines()), ended.text
    spent = 3 * 10**18 - stage.ledger.balance(patient.keyring.address)
    assert spent < 3 * 10**16, "all but the prediction (four audit slots) and gas is back"


def test_a_bootstrap_peer_that_is_gone(stage: Stage, command: Command) -> None:
    """The patient is told that no model was found, and nothing is spent."""
    folder = stage.folder / "alone"
    patient = Actor("alone", "patient", folder, wallet(folder / "keystore.json", stage._password))
    stage.ledger.grant(patient.keyring.address, 3 * 10**18)
    gone = stage.join.replace(stage.join.split("/")[4], "1")
    options = [o if o != stage.join else gone for o in stage.common(patient)]
    ended = command(
        "patient",
        str(sample_scan_path()),
        *options,
        CRYPDOC_PASSWORD_FILE=str(stage._password_file),
        patience=200,
    )
    assert ended.code == 1, ended.text
    assert "Traceback" not in ended.text
    assert "no model" in ended.text
    assert stage.ledger.balance(patient.keyring.address) == 3 * 10**18
