"""Agents for the wire tests: in this process (`Agent`) or in one of their own (`Peer`)."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import socket
import sys
import time
from pathlib import Path
from typing import Any

from aea.configurations.base import PublicId
from aea.identity.base import Identity
from aea.mail.base import Envelope

from agents.keyring import Keyring
from agents.wire.connection import WireConnection
from agents.wire.directory import Directory
from agents.wire.envelopes import envelope_id
from agents.wire.limits import Limits
from agents.wire.node import Node

CHAT = PublicId.from_str("crypdoc/quote:1.0.0")
ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 60.0
"""Seconds a test waits for what takes milliseconds: the machine may be busy."""


def ring(number: int) -> Keyring:
    return Keyring(bytes([number]) * 32)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(condition: Any, timeout: float = PATIENCE) -> None:
    """Waits until `condition()` is true."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.02)


class Agent:
    """Node, directory and connection of wallet number `number`."""

    def __init__(
        self,
        number: int,
        bootstrap: tuple[str, ...] = (),
        *,
        role: str = "doctor",
        port: int = 0,
        limits: Limits | None = None,
        announce: bool = True,
        interval: float = 60.0,
    ) -> None:
        self.ring = ring(number)
        self.wallet = self.ring.address
        self.node = Node(self.ring, "127.0.0.1", port, rng=random.Random(number), limits=limits)
        self.directory = Directory(
            self.node,
            self.ring,
            role=role,
            clock=time.time,
            rng=random.Random(number),
            bootstrap=bootstrap,
            announce=announce,
            interval=interval,
        )
        self.acked: list[bytes] = []
        self.connection = WireConnection(
            self.node,
            self.directory,
            self.ring,
            identity=Identity("agent", address=self.wallet, public_key=self.ring.public_key.hex()),
            random_bytes=secrets.token_bytes,
            on_ack=self.acked.append,
        )

    @property
    def address(self) -> str:
        return f"{self.node.addresses[0]}/p2p/{self.node.peer_id}"

    def knows(self, *others: Agent) -> None:
        """Puts the others' records into this agent's directory."""
        for other in others:
            self.directory.add(other.directory.own.encode())

    def letter(self, to: str, text: str | bytes) -> Envelope:
        message = text.encode() if isinstance(text, str) else text
        return Envelope(to=to, sender=self.wallet, message=message, protocol_specification_id=CHAT)

    async def send(self, to: str, text: str | bytes) -> bytes:
        envelope = self.letter(to, text)
        await self.connection.send(envelope)
        return envelope_id(envelope)

    async def receive(self, timeout: float = PATIENCE, ack: bool = True) -> Envelope:
        envelope = await asyncio.wait_for(self.connection.receive(), timeout)
        assert envelope is not None
        if ack:
            self.connection.ack(envelope.sender, envelope_id(envelope))
        return envelope

    async def repeat(self, to: str, text: str, condition: Any) -> None:
        """Sends the same envelope until `condition()` is true (one still in the outbox is not queued twice)."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, "it did not come about"
            await self.send(to, text)
            await asyncio.sleep(0.1)

    async def deliver(self, to: str, text: str, timeout: float = PATIENCE) -> None:
        """Sends as the engine does: again and again until it is acknowledged."""
        end = time.monotonic() + timeout
        while True:
            identity = await self.send(to, text)
            for _ in range(25):
                if identity in self.acked:
                    return
                await asyncio.sleep(0.02)
            assert time.monotonic() < end, f"{text!r} was not acknowledged"


class Peer:
    """An agent in a process of its own: echoes `echo ...`, acknowledges all but `mute ...`."""

    def __init__(
        self, number: int, bootstrap: tuple[str, ...] = (), port: int = 0, role: str = "doctor"
    ) -> None:
        self.number, self.bootstrap, self.port, self.role = number, bootstrap, port, role
        self.wallet = ring(number).address
        self.address = ""
        self.process: asyncio.subprocess.Process

    async def start(self) -> Peer:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            json.dumps([self.number, self.bootstrap, self.port, self.role]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        self.address = (await self.said("up"))["up"]
        self.port = int(self.address.split("/")[4])
        return self

    async def said(self, what: str) -> dict[str, Any]:
        """The next line of the process that has `what`."""
        assert self.process.stdout is not None
        while True:
            line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)
            assert line, f"process {self.number} ended"
            value: dict[str, Any] = json.loads(line)
            if what in value:
                return value

    async def kill(self) -> None:
        """SIGKILL: no goodbye."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def _serve(number: int, bootstrap: list[str], port: int, role: str) -> None:
    agent = Agent(number, tuple(bootstrap), role=role, port=port)
    await agent.connection.connect()
    print(json.dumps({"up": agent.address}), flush=True)
    while True:
        envelope = await agent.connection.receive()
        if envelope is None:
            return
        text = envelope.message_bytes.decode()
        print(json.dumps({"got": text, "from": envelope.sender}), flush=True)
        if not text.startswith("mute"):
            agent.connection.ack(envelope.sender, envelope_id(envelope))
        if text.startswith("echo"):
            await agent.send(envelope.sender, text[5:])


if __name__ == "__main__":
    asyncio.run(_serve(*json.loads(sys.argv[1])))
