"""The stage of the matrix: one chain, one deployment, and a process for every participant, up for many cases."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from eth_keyfile import create_keyfile_json

from agents.cli.credentials import write_credential
from agents.demo.run import FIELD, PURSE, free_port
from agents.keyring import Keyring
from contracts.bindings.doctors import SignedCredential
from contracts.chain.address_book import AddressBook
from contracts.chain.client import ChainClient
from contracts.chain.deploy import deploy
from contracts.chain.signer import LocalSigner
from contracts.chain.terms import profile
from models.scans import sample_scan_path
from protocols.crypto.eip712 import Credential, doctors_domain
from protocols.errors import ChainError
from protocols.specialty import specialty
from tests.kill.ledger import Ledger

PATIENCE = 90.0
DOCTORS = 3


class StageError(Exception):
    """The stage could not be set, or fell over."""


@dataclass
class Actor:
    """One participant: its wallet, its folder, and its process while it has one."""

    name: str
    role: str
    data: Path
    keyring: Keyring
    arguments: list[str] = field(default_factory=list)
    process: BaseProcess | None = None
    mark: int = 0
    kills: int = 0

    @property
    def log(self) -> Path:
        return self.data / "log.txt"

    def steps(self, since_start: bool = True) -> list[dict[str, Any]]:
        """The progress lines of this run (or of all)."""
        path = self.data / "progress.jsonl"
        if not path.exists():
            return []
        data = path.read_bytes()[self.mark if since_start else 0 :]
        found = []
        for line in data.splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # a line that the kill cut
        return found

    def said(self, *steps: str, since_start: bool = True) -> bool:
        return any(s.get("step") in steps for s in self.steps(since_start))

    @property
    def killed(self) -> bool:
        return self.process is not None and self.process.exitcode == -signal.SIGKILL

    @property
    def fell(self) -> bool:
        """Ended by itself, with an error."""
        return self.process is not None and self.process.exitcode not in (None, 0, -signal.SIGKILL)


def wallet(path: Path, password: str) -> Keyring:
    """A fresh wallet in a keystore that opens quickly: a weak scrypt, for tests alone."""
    secret = secrets.token_bytes(32)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = create_keyfile_json(secret, password.encode(), kdf="scrypt", iterations=2)
    path.touch(0o600)
    path.write_text(json.dumps(content))
    return Keyring(secret)


class Stage:
    """A context: entering sets it, leaving stops every process. field, network: what the doctors read and the model
    sells."""

    field = FIELD
    network = "LeNet"

    def __init__(self, folder: Path, births: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.births = births or {}
        self.actors: dict[str, Actor] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._password = secrets.token_urlsafe(12)
        self._password_file = folder / ".password"
        self._password_file.touch(0o600)
        self._password_file.write_text(self._password)
        self._forks = multiprocessing.get_context("forkserver")
        self._forks.set_forkserver_preload(["tests.kill.actor"])
        self.book_file = folder / "addresses.json"
        self.chain_port = free_port()
        self.rpc = f"http://127.0.0.1:{self.chain_port}"
        self.join = ""
        self.cases = 0
        self.ledger: Ledger

    def __enter__(self) -> Stage:
        try:
            self.set()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self.actors.values():
            if actor.process is not None and actor.process.is_alive():
                actor.process.kill()
        for actor in self.actors.values():
            if actor.process is not None:
                actor.process.join(10)
        self._password_file.unlink(missing_ok=True)

    # ---- processes
    def add(self, name: str, role: str, folder: Path | None = None) -> Actor:
        data = (folder or self.folder) / name.replace(" ", "-")
        before = self.actors.get(name) if role == "researcher" else None
        if before is not None:
            # One wallet for all cases: what it bought before it does not buy again from a patient who has gone.
            data.mkdir(parents=True)
            shutil.copy2(before.data / "keystore.json", data)
        keyring = before.keyring if before is not None else wallet(data / "keystore.json", self._password)
        actor = Actor(name, role, data, keyring)
        self.actors[name] = actor
        return actor

    def run(self, actor: Actor, *arguments: str, kill_at: str = "") -> None:
        """Start a participant (again), armed with a kill point or not."""
        from tests.kill.actor import act

        if arguments:
            actor.arguments = list(arguments)
        progress = actor.data / "progress.jsonl"
        actor.mark = progress.stat().st_size if progress.exists() else 0
        environment = {
            "CRYPDOC_PASSWORD_FILE": str(self._password_file),
            "CRYPDOC_KILL_AT": kill_at,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        process = self._forks.Process(  # type: ignore[attr-defined]
            target=act, args=(actor.arguments, environment, str(actor.log)), daemon=True
        )
        process.start()
        actor.process = process

    def stop(self, actor: Actor, hard: bool = True) -> None:
        """Stop a participant: `kill -9`, or asked to stop."""
        if actor.process is None or not actor.process.is_alive():
            return
        assert actor.process.pid is not None
        os.kill(actor.process.pid, signal.SIGKILL if hard else signal.SIGTERM)
        actor.process.join(30)
        if actor.process.is_alive():
            raise StageError(f"{actor.name} does not stop")

    def ask_where(self) -> None:
        """Every process writes into its log where it stands."""
        for actor in self.actors.values():
            if actor.process is not None and actor.process.is_alive() and actor.process.pid:
                os.kill(actor.process.pid, signal.SIGUSR1)
        time.sleep(1)

    def until(self, done: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not done():
            if (fallen := next((a for a in self.actors.values() if a.fell), None)) is not None:
                raise StageError(f"{fallen.name} ended: {last_line(fallen.log)}")
            if time.monotonic() > deadline:
                raise StageError(f"{what} did not happen within {patience:.0f} s")
            time.sleep(0.05)

    # ---- setting
    def set(self) -> None:
        """Chain, contracts, money, dealer, model, doctors; all are ready when this returns."""
        chain = Actor("chain", "chain", self.folder / "chain", Keyring(secrets.token_bytes(32)))
        chain.data.mkdir()
        self.actors["chain"] = chain
        self.run(chain, "chain", "--port", str(self.chain_port), "--data", str(chain.data))
        attester = wallet(self.folder / "attester" / "keystore.json", self._password)
        asyncio.run(self._deploy(attester))
        self.ledger = Ledger(self.rpc, AddressBook.load(self.book_file))
        dealer, model = self.add("dealer", "dealer"), self.add("model", "model")
        doctors = [self.add(f"doctor {i + 1}", "doctor") for i in range(DOCTORS)]
        for actor in (dealer, model, *doctors):
            self.ledger.grant(actor.keyring.address, PURSE[actor.role])
        self.run(dealer, "dealer", *self.common(dealer), "--port", str(free_port()))
        self.until(lambda: dealer.said("up"), "the dealer's start")
        up = next(s for s in dealer.steps() if s["step"] == "up")
        self.join = up["multiaddrs"][0]
        self._born(model, "model", *self.common(model), "--network", self.network)
        for doctor in doctors:
            credential = self._credential(attester, doctor)
            self._born(
                doctor,
                "doctor",
                *self.common(doctor),
                "--specialty",
                self.field,
                "--credential",
                str(credential),
                "--reader",
                "auto",
            )
        for actor in (model, *doctors):
            self._grown(actor)

    def _born(self, actor: Actor, *arguments: str) -> None:
        self.run(actor, *arguments, kill_at=self.births.get(actor.name, ""))

    def _grown(self, actor: Actor) -> None:
        """Wait until it is ready; one that was to be killed at its birth is started again."""
        if actor.name in self.births:
            self.until(lambda: actor.killed, f"{self.births[actor.name]} of {actor.name}", 60)
            actor.kills += 1
            self.run(actor)
        self.until(lambda: actor.said("ready"), f"the start of {actor.name}")

    async def _deploy(self, attester: Keyring) -> None:
        client = None
        deadline = time.monotonic() + PATIENCE
        while client is None:
            try:
                client = await ChainClient.connect(self.rpc)
            except ChainError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)
        try:
            await client.rpc.request("crypdoc_grant", attester.address, hex(10 * 10**18))
            signer = LocalSigner([attester.wallet_key()])
            book = await deploy(client, signer, attester.address, profile("demo"), [attester.address])
            book.save(self.book_file)
        finally:
            await client.close()

    def common(self, actor: Actor) -> list[str]:
        join = ["--join", self.join] if self.join else []
        named = ["--data", str(actor.data), "--name", actor.name]
        return [*named, "--rpc", self.rpc, "--book", str(self.book_file), *join]

    def _credential(self, attester: Keyring, doctor: Actor) -> Path:
        field_, book = specialty(self.field), AddressBook.load(self.book_file)
        until = int(time.time()) + 30 * 86_400
        domain = doctors_domain(book.chain_id, book.address("Doctors"))
        signature = attester.sign_digest(domain.digest(Credential(doctor.keyring.address, field_.id, until)))
        path = doctor.data / "credential.json"
        signed = SignedCredential(field_.id, attester.address, until, signature)
        write_credential(path, doctor.keyring.address, self.field, signed)
        return path

    # ---- a case's own participants
    def newcomers(self) -> tuple[Actor, Actor]:
        """A fresh patient and a fresh researcher, with money and without processes."""
        self.cases += 1
        folder = self.folder / f"case-{self.cases:03d}"
        patient, researcher = (self.add(name, name, folder) for name in ("patient", "researcher"))
        for actor in (patient, researcher):
            self.ledger.grant(actor.keyring.address, PURSE[actor.role])
        patient.arguments = ["patient", str(sample_scan_path()), "--panel", "3", "--stay"]
        patient.arguments += self.common(patient)
        researcher.arguments = ["researcher", *self.common(researcher), "--records", "1"]
        researcher.arguments += ["--patience", "240"]
        return patient, researcher

    @property
    def doctors(self) -> list[Actor]:
        return [a for a in self.actors.values() if a.role == "doctor"]


def last_line(path: Path) -> str:
    try:
        lines = [line for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return lines[-1] if lines else ""
