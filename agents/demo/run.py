"""One demo from start to end: the stage is set, the case runs, the result is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import shutil
import socket
import sys
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from agents.cli.credentials import write_credential
from agents.demo.cast import READER_OF, Actor, Cast, Play, Watch
from agents.demo.heartbeat import Heartbeat
from agents.demo.screen import Screen, show_summary
from agents.keyring import Keyring
from agents.patient.duty import PANEL_SIDE, PICTURE_SIDE
from agents.progress import ProgressEvent, phase_of
from agents.report.report import write_report
from contracts.bindings.doctors import SignedCredential
from contracts.chain.address_book import AddressBook
from contracts.chain.client import ChainClient
from contracts.chain.deploy import deploy
from contracts.chain.faucet import fund
from contracts.chain.signer import LocalSigner
from contracts.chain.terms import profile
from models.scans import Scan, load_scan, require_modality, sample_scan_path, synthetic_scan, to_png
from protocols.crypto.eip712 import Credential, doctors_domain
from protocols.errors import ChainError, WireError
from protocols.specialty import specialty

FIELD = "neuroradiology"
PURSE = {"patient": 3 * 10**18, "doctor": 10**18, "model": 10**18, "dealer": 10**17, "researcher": 10**18}
CREDENTIAL_DAYS = 30
LINGER, LINGER_UNSEEN = 600.0, 5.0


def run_demo(play: Play) -> int:
    """Run it; the exit code. Raises `CrypDocError` when the stage cannot be set."""
    play.check()
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")[:-3]
    folder = play.runs / stamp
    scan_path = play.volume or play.scan or _sample(play.seed, folder)
    scan = _loaded(play, scan_path)
    start = time.time()
    cast_list = [("chain", "chain"), ("dealer", "dealer"), *((name, "model") for name in model_names(play))]
    cast_list += [(f"doctor {i + 1}", "doctor") for i in range(play.doctors)]
    cast_list += [("patient", "patient"), ("researcher", "researcher")]
    with Cast(folder) as cast, Screen(cast_list, title="CrypDoc: a case from scan to certificate") as screen:
        person = (
            Person(screen, cast.folder / "agents" / "doctor-1" / "page.url") if play.interactive else None
        )
        watch = Watch(cast, person.show if person else screen.feed)
        screen.say(_who_reads(play))
        stage = _Stage(play, cast, watch, screen, scan_path)
        with Heartbeat(play.rpc) if play.rpc else contextlib.nullcontext():
            stage.set()
            result = stage.perform()
            if person:
                person.linger()
    if result["outcome"] == "failed":
        raise WireError(
            f"the case ended before it was opened: {result['trouble']}", f"the logs are in {folder}"
        )
    result["seconds"] = _seconds(watch, start)
    result["scan"] = {
        "name": scan_path.name,
        "rows": scan.shape[0],
        "columns": scan.shape[1],
        "modality": scan.modality,
        "synthetic": play.scan is None and play.volume is None,
    }
    _take_pages(cast.folder / "agents" / "patient", folder)
    names = {actor.keyring.address: name for name, actor in cast.actors.items()}
    result["panel"] = [seat | {"name": names.get(seat["doctor"], "")} for seat in result["panel"]]
    result["automatic_readers"] = True
    result["people"] = ["doctor 1"] if play.interactive else []
    result["wished_outcome"] = play.outcome
    result["notices"] = ["Money is play money of a test chain."]
    result["timeline"] = [e.as_dict() for e in watch.events if e.step != "tx"]
    result["transactions"] = [
        {name: e.extra[name] for name in ("hash", "block", "from", "call", "gas", "wei")} | {"who": e.who}
        for e in watch.events
        if e.step == "tx"
    ]
    report = write_report(result, to_png(scan, PANEL_SIDE if play.volume else PICTURE_SIDE), folder)
    if play.json_file is not None:
        play.json_file.parent.mkdir(parents=True, exist_ok=True)
        play.json_file.write_text(json.dumps(result, indent=1, default=str) + "\n", "utf-8")
    show_summary(result, report)
    return 0 if as_it_should(result, play) else 1


def _loaded(play: Play, path: Path) -> Scan:
    """What the panel will read. Raises `UserError` when it cannot be."""
    if play.volume:
        from agents.patient.volume import prepare_volume

        return prepare_volume(path, play.axes).picture
    scan = load_scan(path, slice=play.slice_)
    require_modality(scan, specialty(play.field).modalities)
    return scan


def _take_pages(patient: Path, folder: Path) -> None:
    """Of a volume: its masks and pages beside the report."""
    for pages in (patient / "cases").glob("*/segmentation"):
        shutil.copytree(pages, folder / "segmentation", dirs_exist_ok=True)


def _sample(seed: int, folder: Path) -> Path:
    """The slice that ships with CrypDoc, or, by another seed, a fresh synthetic one with a lesion."""
    if not seed:
        return sample_scan_path()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"SYNTHETIC-brain-mri-{seed}.png"
    path.write_bytes(to_png(synthetic_scan(seed)))
    return path


def model_names(play: Play) -> list[str]:
    """What the model agents are called."""
    return ["model" if i == 0 else f"model {i + 1}" for i in range(len(play.networks))]


def as_it_should(result: dict[str, Any], play: Play) -> bool:
    """Whether the case ended the way that was asked for."""
    settled = result["outcome"] == "settled" and bool(result["certificate"]["valid"])
    if play.interactive:  # the person may think otherwise, and then all is well too
        return settled or result["outcome"] == "refunded"
    if play.outcome == "disagree":
        return result["case"]["rounds"] == 2 and (settled or result["outcome"] == "refunded")
    if play.outcome == "no-show":
        absent = any(seat["status"] == "no_show" for seat in result["panel"])
        return settled and absent
    return settled and result["case"]["rounds"] == 1


def _who_reads(play: Play) -> str:
    if not play.interactive:
        return "doctors are played by automatic readers, which are no physicians"
    seated = (
        f"{play.doctors} doctors are registered for {play.panel} seats, so you will be drawn"
        if play.doctors == play.panel
        else f"{play.panel} of {play.doctors} doctors are drawn, so it may not be you"
    )
    return f"you are doctor 1, the others are automatic readers, which are no physicians; {seated}"


class Person:
    """Keeps the person at the keyboard told of what is to be done on doctor 1's page."""

    def __init__(self, screen: Screen, page: Path) -> None:
        self._screen = screen
        self._page = page
        self._pinned = ""

    def show(self, events: list[ProgressEvent]) -> None:
        """Pass the events on, and pin the page's address, with what waits there."""
        self._screen.feed(events)
        steps = [e.step for e in events if e.who == "doctor 1"]
        if not self._pinned and self._page.exists() and (url := self._page.read_text("utf-8").strip()):
            self._pin(f"You are doctor 1. Your page: {url}")
        if "reading" in steps:
            url = self._page.read_text("utf-8").strip()
            self._pin(f"YOUR SCAN WAITS, doctor 1. The case goes on when you have decided at {url}")
        if "commit" in steps:
            self._pin("Thank you, doctor 1: your verdict is sealed. Your page shows what comes of it.")
        if "seat.lost" in steps:
            self._pin("Doctor 1's seat is lost: its time was over. The case goes on without it.")

    def linger(self) -> None:
        """Leave the page up until the person has seen the end, when there is someone to say so."""
        if not sys.stdin.isatty():
            time.sleep(LINGER_UNSEEN)
            return
        self._pin("The case is over and your page shows what came of it. Press Enter here to end.")
        select.select([sys.stdin], [], [], LINGER)

    def _pin(self, text: str) -> None:
        if text != self._pinned:
            self._pinned = text
            self._screen.pin(text)


def free_port() -> int:
    """A port that nobody holds at the moment."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Stage:
    """Sets the stage and runs the case."""

    def __init__(self, play: Play, cast: Cast, watch: Watch, screen: Screen, scan: Path) -> None:
        self.play, self.cast, self.watch, self.screen, self.scan = play, cast, watch, screen, scan
        self.book = cast.folder / "addresses.json"
        self.rpc = play.rpc

    # ---- setting
    def set(self) -> None:
        """Chain, contracts, wallets with money, credentials, and every agent but the patient and the researcher."""
        if not self.rpc:
            self._start_chain()
        attester = self.cast.add("attester", "attester").keyring
        dealer = self.cast.add("dealer", "dealer")
        models = [self.cast.add(name, "model") for name in model_names(self.play)]
        doctors = [self.cast.add(f"doctor {i + 1}", "doctor") for i in range(self.play.doctors)]
        others = [self.cast.add("patient", "patient"), self.cast.add("researcher", "researcher")]
        asyncio.run(self._deploy(attester, [dealer, *models, *doctors, *others]))
        self.cast.start(dealer, "dealer", *self._common(dealer))
        self.watch.until(lambda: self.watch.said("dealer", "up"), 60, "the dealer's start")
        up = self.watch.step("dealer", "up")
        assert up is not None
        self.join = str(next(iter(up.extra["multiaddrs"])))  # type: ignore[call-overload]
        for number, (model, network) in enumerate(zip(models, self.play.networks, strict=True)):
            price = f"{20_000 * (1 + number)}gwei" if self.play.volume else f"{5 + 3 * number}finney"
            self.cast.start(model, "model", *self._common(model), "--network", network, "--price", price)
        for number, doctor in enumerate(doctors):
            self._start_doctor(doctor, number, attester)
        ready = [*models, *doctors]
        self.watch.until(
            lambda: all(self.watch.said(a.name, "ready") for a in ready), 180, "the agents' start"
        )

    def _start_chain(self) -> None:
        port = free_port()
        self.rpc = f"http://127.0.0.1:{port}"
        log = self.cast.folder / "agents" / "chain" / "log.txt"
        arguments = ["chain", "--port", str(port), "--data", str(log.parent)]
        self.cast.chain = self.cast.spawn(log, *arguments)
        self.screen.say(f"an embedded chain answers at {self.rpc}")

    async def _deploy(self, attester: Keyring, actors: list[Actor]) -> None:
        client = await self._connect()
        try:
            await fund(client, attester.address, 10 * 10**18)
            signer = LocalSigner([attester.wallet_key()])
            terms = "attended" if self.play.interactive else "demo"
            book = await deploy(client, signer, attester.address, profile(terms), [attester.address])
            book.save(self.book)
            for actor in actors:
                await fund(client, actor.keyring.address, PURSE[actor.role])
        finally:
            await client.close()
        self.screen.say("the contracts are deployed, the wallets hold play money")

    async def _connect(self) -> ChainClient:
        deadline = time.monotonic() + (30 if self.cast.chain is not None else 3)
        while True:
            try:
                return await ChainClient.connect(self.rpc)
            except ChainError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)

    def _common(self, actor: Actor) -> list[str]:
        join = ["--join", self.join] if hasattr(self, "join") else []
        named = ["--data", str(actor.data), "--name", actor.name]
        return [*named, "--rpc", self.rpc, "--book", str(self.book), *join]

    def _start_doctor(self, doctor: Actor, number: int, attester: Keyring) -> None:
        field, book = specialty(self.play.field), AddressBook.load(self.book)
        until = int(time.time()) + CREDENTIAL_DAYS * 86_400
        domain = doctors_domain(book.chain_id, book.address("Doctors"))
        signature = attester.sign_digest(domain.digest(Credential(doctor.keyring.address, field.id, until)))
        credential = doctor.data / "credential.json"
        signed = SignedCredential(field.id, attester.address, until, signature)
        write_credential(credential, doctor.keyring.address, field.name, signed)
        person = self.play.interactive and number == 0
        reader = "page" if person else READER_OF[self.play.outcome]
        look = ["--look", str(self.play.seed)] if self.play.seed else []
        shown = ["--specialty", field.name, "--credential", str(credential), "--reader", reader, *look]
        self.cast.start(doctor, "doctor", *self._common(doctor), *shown)

    # ---- the case
    def perform(self) -> dict[str, Any]:
        """Start the patient, then the researcher; the result as the patient's agent wrote it, completed."""
        patient, researcher = self.cast.actors["patient"], self.cast.actors["researcher"]
        wishes = [str(self.scan), "--panel", str(self.play.panel), "--stay"]
        wishes += ["--specialty", self.play.field, "--axes", self.play.axes]
        if self.play.slice_ is not None:
            wishes += ["--slice", str(self.play.slice_)]
        self.cast.start(patient, "patient", *wishes, *self._common(patient))
        over = ("end", "refunded", "failed")
        self.watch.until(
            lambda: any(self.watch.said("patient", step) for step in over),
            self.play.timeout,
            "the end of the case",
        )
        result = self._result(patient)
        if result["dataset_records"]:
            self.cast.start(researcher, "researcher", *self._common(researcher), *self._wanted())
            self.watch.until(lambda: self._researched(researcher), 60, "the researcher's purchase")
            result["dataset_records"] = self._records(researcher)
        else:
            result["dataset_records"] = []
        return result

    def _wanted(self) -> list[str]:
        return ["--records", "1", "--specialty", self.play.field]

    @staticmethod
    def _result(patient: Actor) -> dict[str, Any]:
        found = sorted((patient.data / "cases").glob("*/result.json"))
        if not found:
            raise WireError("the patient's agent wrote no result", f"see {patient.data / 'log.txt'}")
        result: dict[str, Any] = json.loads(found[-1].read_text("utf-8"))
        return result

    def _researched(self, researcher: Actor) -> bool:
        ended = researcher.process is not None and researcher.process.poll() is not None
        return (
            ended
            or self.watch.said("researcher", "market.done")
            or self.watch.said("researcher", "market.nothing")
        )

    @staticmethod
    def _records(researcher: Actor) -> list[dict[str, Any]]:
        files = sorted((researcher.data / "records").glob("*.json"))
        return [json.loads(file.read_text("utf-8")) | {"case": "0x" + file.stem} for file in files]


def _seconds(watch: Watch, start: float) -> dict[str, float]:
    """Seconds by phase, from the first event of one phase to the first of the next."""
    firsts: dict[str, float] = {}
    for event in watch.events:
        phase = phase_of(event.step)
        if phase is not None and event.role in ("patient", "doctor"):
            firsts.setdefault(phase, event.t)
    ordered = sorted(firsts.items(), key=lambda item: item[1])
    found = {"setting the stage": round(ordered[0][1] - start, 3)} if ordered else {}
    for (phase, t), (_, following) in pairwise(ordered):
        found[phase] = round(following - t, 3)
    return found
