"""Five machines' worth of separation: agents in network namespaces of their own, joined by one bridge.

Nothing is shared but the chain's URL, the address book (public) and the bootstrap address. Afterwards every folder is
searched for what its owner must not have.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.cli.credentials import write_credential
from agents.demo.run import FIELD, PURSE
from agents.keyring import Keyring
from agents.keystore import create
from contracts.bindings.doctors import SignedCredential
from contracts.chain.address_book import AddressBook
from models.scans import load_scan, sample_scan_path, scan_bytes, to_png
from protocols.crypto.eip712 import Credential, doctors_domain
from protocols.specialty import specialty

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
HOSTS = {"chain": 1, "backers": 2, "doctors": 3, "patient": 4, "researcher": 5}
PORT = "8545"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


class Country:
    """Namespaces on one bridge: `chain`, `backers` (dealer, model), `doctors`, `patient`, `researcher`."""

    def __init__(self) -> None:
        self.tag = f"cd{os.getpid() % 100000}"
        self.spaces: list[str] = []

    def space(self, host: str) -> str:
        return f"{self.tag}-{host}"

    def __enter__(self) -> Country:
        try:
            self._make("hub")
            hub = self.space("hub")
            ip("-n", hub, "link", "add", "br0", "type", "bridge")
            ip("-n", hub, "link", "set", "br0", "up")
            for host, number in HOSTS.items():
                self._make(host)
                space = self.space(host)
                ip(
                    "link",
                    "add",
                    f"v{number}",
                    "netns",
                    hub,
                    "type",
                    "veth",
                    "peer",
                    "name",
                    "e0",
                    "netns",
                    space,
                )
                ip("-n", hub, "link", "set", f"v{number}", "master", "br0", "up")
                ip("-n", space, "addr", "add", f"{self.address(host)}/24", "dev", "e0")
                ip("-n", space, "link", "set", "e0", "up")
                ip("-n", space, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self, host: str) -> None:
        ip("netns", "add", self.space(host))
        self.spaces.append(self.space(host))

    @staticmethod
    def address(host: str) -> str:
        return f"10.77.0.{HOSTS[host]}"

    def __exit__(self, *_: object) -> None:
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True, timeout=20)


@pytest.fixture(scope="module")
def country() -> Iterator[Country]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    try:
        made = Country().__enter__()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not permitted here: {error.stderr.decode().strip()}")
    try:
        yield made
    finally:
        made.__exit__()


class Town:
    """Everybody's folder, wallet and process."""

    def __init__(self, country: Country, folder: Path) -> None:
        self.country, self.folder = country, folder
        self.password = secrets.token_urlsafe(20)
        self.password_file = folder / "password"
        self.password_file.touch(0o600)
        self.password_file.write_text(self.password)
        self.book = folder / "public" / "addresses.json"
        self.book.parent.mkdir()
        self.rings: dict[str, Keyring] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.command_lines: list[bytes] = []
        self.rpc = f"http://{country.address('chain')}:{PORT}"

    def data(self, name: str) -> Path:
        return self.folder / "homes" / name

    def wallet(self, name: str) -> Keyring:
        self.data(name).mkdir(parents=True)
        self.rings[name] = create(self.data(name) / "keystore.json", self.password)
        return self.rings[name]

    def _command(self, host: str, arguments: tuple[str, ...]) -> list[str]:
        return [
            "ip",
            "netns",
            "exec",
            self.country.space(host),
            sys.executable,
            "-m",
            "agents.cli",
            *arguments,
        ]

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CRYPDOC")}
        return kept | {"CRYPDOC_PASSWORD_FILE": str(self.password_file), "OMP_NUM_THREADS": "1"}

    def run(self, host: str, name: str, *arguments: str) -> None:
        self.data(name).mkdir(parents=True, exist_ok=True)
        with (self.data(name) / "log.txt").open("ab") as log:
            self.running[name] = subprocess.Popen(
                self._command(host, arguments),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                env=self.environment(),
            )

    def once(self, host: str, *arguments: str) -> str:
        done = subprocess.run(
            self._command(host, arguments),
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=self.environment(),
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def agent(self, host: str, name: str, role: str, *arguments: str) -> None:
        here = self.country.address(host)
        common = ["--data", str(self.data(name)), "--name", name, "--rpc", self.rpc, "--book", str(self.book)]
        self.run(host, name, role, *arguments, *common, "--host", here)

    def said(self, name: str, step: str) -> bool:
        path = self.data(name) / "progress.jsonl"
        return path.exists() and f'"step":"{step}"' in path.read_text()

    def until(self, name: str, step: str, patience: float = 150.0) -> None:
        deadline = time.monotonic() + patience
        while not self.said(name, step):
            log = (self.data(name) / "log.txt").read_text("utf-8", "replace")
            assert self.running[name].poll() in (None, 0), f"{name} ended: {log}"
            assert time.monotonic() < deadline, f"{name} never told {step}: {log}"
            time.sleep(0.1)

    def note_command_lines(self) -> None:
        for process in self.running.values():
            for path in (Path(f"/proc/{process.pid}/cmdline"), Path(f"/proc/{process.pid}/environ")):
                if path.exists():
                    self.command_lines.append(path.read_bytes())

    def stop(self) -> None:
        for process in self.running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def town(country: Country, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A whole case, lived by ten processes in five namespaces; stopped when this is there."""
    made = Town(country, tmp_path_factory.mktemp("town"))
    try:
        _live(made)
        yield made
    finally:
        made.stop()


def _live(town: Town) -> None:
    names = ["attester", "dealer", "model", "doctor-1", "doctor-2", "doctor-3", "patient", "researcher"]
    rings = {name: town.wallet(name) for name in names}
    purse = PURSE | {"attester": 10**19}
    gifts = [f"--fund={r.address}={purse[n.split('-')[0]]}wei" for n, r in rings.items()]
    where = ["--host", town.country.address("chain"), "--port", PORT, "--data", str(town.data("chain"))]
    town.run("chain", "chain", "chain", *where, *gifts)
    deadline = time.monotonic() + 60
    while "chain:" not in (town.data("chain") / "log.txt").read_text():
        assert time.monotonic() < deadline, "the chain does not start"
        time.sleep(0.2)
    keystore = str(town.data("attester") / "keystore.json")
    attester = rings["attester"]
    town.once(
        "chain", "deploy", "--rpc", town.rpc, "--keystore", keystore, "--terms", "demo",
        "--attester", attester.address, "--out", str(town.book),
    )  # fmt: skip
    town.agent("backers", "dealer", "dealer")
    town.until("dealer", "up")
    lines = (town.data("dealer") / "progress.jsonl").read_text().splitlines()
    join = next(json.loads(line)["multiaddrs"][0] for line in lines if '"up"' in line)
    assert town.country.address("backers") in join
    town.agent("backers", "model", "model", "--join", join)
    field, book = specialty(FIELD), AddressBook.load(town.book)
    for name in ("doctor-1", "doctor-2", "doctor-3"):
        until = int(time.time()) + 86_400
        domain = doctors_domain(book.chain_id, book.address("Doctors"))
        signature = attester.sign_digest(domain.digest(Credential(rings[name].address, field.id, until)))
        credential = town.data(name) / "credential.json"
        signed = SignedCredential(field.id, attester.address, until, signature)
        write_credential(credential, rings[name].address, FIELD, signed)
        town.agent(
            "doctors", name, "doctor", "--join", join, "--reader", "auto", "--credential", str(credential)
        )
    for name in ("model", "doctor-1", "doctor-2", "doctor-3"):
        town.until(name, "ready")
    town.agent("patient", "patient", "patient", str(sample_scan_path()), "--stay", "--join", join)
    town.agent("researcher", "researcher", "researcher", "--join", join, "--patience", "200")
    town.until("patient", "reading.sent")
    town.note_command_lines()
    town.until("researcher", "market.done")
    town.stop()


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def chunks(data: bytes, size: int = 40) -> list[bytes]:
    """Pieces of a file that nothing else has, and that a database's pages do not cut all at once."""
    return [data[i : i + size] for i in range(len(data) // 4, len(data) * 3 // 4, max(1, len(data) // 40))]


def test_the_case_settled(town: Town) -> None:
    found = list((town.data("patient") / "cases").glob("*/result.json"))
    assert len(found) == 1
    result = json.loads(found[0].read_text())
    assert result["outcome"] == "settled"
    assert result["certificate"]["valid"]
    assert len(list((town.data("researcher") / "records").iterdir())) == 1


def test_only_patient_and_panel_have_the_scan(town: Town) -> None:
    scan = load_scan(sample_scan_path())
    pieces = chunks(to_png(scan)) + chunks(scan_bytes(scan)) + chunks(sample_scan_path().read_bytes())
    pieces = [p for p in pieces if len(set(p)) > 12]
    assert len(pieces) > 10
    holders = set()
    for home in (town.folder / "homes").iterdir():
        content = b"\0".join(everything(home).values())
        if any(piece in content or piece.hex().encode() in content for piece in pieces):
            holders.add(home.name)
    assert holders == {"patient", "doctor-1", "doctor-2", "doctor-3"}


def test_no_secret_lies_about(town: Town) -> None:
    """No wallet key and no password in any folder, on any command line or in any environment."""
    secret = {name: ring.wallet_key() for name, ring in town.rings.items()}
    for path, content in everything(town.folder / "homes").items():
        assert town.password.encode() not in content, path
        for name, key in secret.items():
            assert key not in content, (name, path)
            assert key.hex().encode() not in content.lower(), (name, path)
    assert len(town.command_lines) >= 9
    for line in town.command_lines:
        assert town.password.encode() not in line
        assert not any(key.hex().encode() in line for key in secret.values())


def test_keystores_are_encrypted_and_private(town: Town) -> None:
    for name in town.rings:
        path = town.data(name) / "keystore.json"
        content = json.loads(path.read_text())
        assert content["crypto"]["kdf"] == "scrypt"
        assert content["crypto"]["kdfparams"]["n"] >= 1 << 15
        assert path.stat().st_mode & 0o077 == 0


def test_logs_belong_to_their_owner_alone(town: Town) -> None:
    """Scans, verdicts and results are in them."""
    for name in ("patient", "doctor-1", "doctor-2", "doctor-3"):
        for path in everything(town.data(name)):
            if path.suffix in (".sqlite", ".jsonl") or path.name in ("result.json", "certificate.json"):
                assert path.stat().st_mode & 0o077 == 0, path


def test_nobody_printed_a_traceback(town: Town) -> None:
    for path, content in everything(town.folder / "homes").items():
        if path.name == "log.txt":
            assert b"Traceback" not in content, content.decode("utf-8", "replace")


def test_the_namespaces_are_apart(country: Country) -> None:
    """What a doctor's machine listens on cannot be had on the patient's own loopback; the bridge leads there."""
    probe = "import socket; s = socket.socket(); s.settimeout(2); print(s.connect_ex(('127.0.0.1', 8545)))"
    there = subprocess.run(
        ["ip", "netns", "exec", country.space("patient"), sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert there.stdout.strip() != "0"
