"""The patient's side of the predictor: each scan is read blind by a model and a dealer in processes of their own.

Theory of operation: a *bench* is one model process and one dealer process with three socket pairs: patient-model,
patient-dealer, model-dealer. The third is handed to the two and closed here, so what they say to one another never
passes through this process, which holds neither weights nor their seeds. A bench serves one scan; the next one is
started while the scan's doctor still looks, and one that dies while it waits is replaced. A scan whose bench died
is read again on a fresh one: another session, other randomness.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from agents.classic.party import SESSION_BYTES, read_offer
from agents.classic.pipe import Pipe, attach
from agents.engine.blind import pump
from agents.engine.dealing import read_seed
from agents.pages.classic import Prediction
from models.scans import Scan, load_scan, prepare, require_modality
from models.zoo import Card, load_card
from protocols.blind.messages import Role
from protocols.blind.patient import PatientParty
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.errors import ProtocolError, UserError, WireError

ATTEMPTS = 4
PAUSE = 0.5
OFFER_PATIENCE = 120.0
_ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONUNBUFFERED"), "1")

Say = Callable[[str], None]


@dataclass(eq=False)
class Bench:
    """One model process and one dealer process that wait for one scan."""

    model: asyncio.subprocess.Process
    dealer: asyncio.subprocess.Process
    to_model: Pipe
    to_dealer: Pipe
    card: Card | None = None
    topology: Topology | None = None
    network: bytes = b""

    async def fallen(self) -> str:
        """Waits until one of the two ends other than well; says which. They end well after their scan."""

        async def end(role: str, process: asyncio.subprocess.Process) -> str:
            if await process.wait() == 0:
                await asyncio.Event().wait()
            return role

        ends = [asyncio.create_task(end(*one)) for one in (("model", self.model), ("dealer", self.dealer))]
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in ends:
                task.cancel()

    async def close(self) -> None:
        """Ends both processes: closing their channels is enough, unless they hang."""
        await self.to_model.close()
        await self.to_dealer.close()
        for process in (self.model, self.dealer):
            try:
                await asyncio.wait_for(process.wait(), 2)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


async def start_bench(which: str) -> Bench:
    """Start the two processes. which: a network's name or file."""
    pairs = [socket.socketpair() for _ in range(3)]  # patient-model, patient-dealer, model-dealer
    (mine_m, theirs_m), (mine_d, theirs_d), (model_end, dealer_end) = pairs
    try:
        model = await _spawn("model", which, theirs_m, model_end)
        dealer = await _spawn("dealer", "", theirs_d, dealer_end)
    finally:
        for end in (theirs_m, theirs_d, model_end, dealer_end):
            end.close()
    return Bench(model, dealer, await attach(mine_m, "model"), await attach(mine_d, "dealer"))


async def _spawn(role: str, which: str, *ends: socket.socket) -> asyncio.subprocess.Process:
    numbers = [end.fileno() for end in ends]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agents.classic.party", role, which, *map(str, numbers)),
        pass_fds=numbers,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        env=os.environ | _ENVIRONMENT,
        start_new_session=True,  # a Ctrl-C at the terminal is for the service, which ends them
    )


class BlindPredictor:
    """Answers scans one at a time. Use as `async with`; entering waits until the model has its network.

    which: a name of `models.zoo.NETWORKS` or a .safetensors file. say: told what a person should know.
    Raises `UserError` when there is no such network or it is damaged.
    """

    def __init__(self, which: str, say: Say) -> None:
        self.card: Card = load_card(which)
        self._which = which
        self._say = say
        self._bench: asyncio.Task[Bench] | None = None
        self._warden: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._bench = asyncio.create_task(self._ready())
        try:
            await self._bench
        except (WireError, ProtocolError) as error:
            raise UserError(f"the model's process ended at its start ({error.fault})", "try again") from None
        self._warden = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._warden, self._bench):
            if task is not None and not task.done():
                task.cancel()
        if self._bench is not None:
            with contextlib.suppress(BaseException):
                await (await self._bench).close()

    @property
    def processes(self) -> dict[str, int]:
        """Process ids of the bench that waits, by role; for whoever wants to see (or end) them."""
        if self._bench is None or not self._bench.done() or self._bench.exception() is not None:
            return {}
        bench = self._bench.result()
        return {"model": bench.model.pid, "dealer": bench.dealer.pid}

    def check(self, scan: Scan) -> None:
        """Raises `ScanError` for a scan that this network does not read."""
        require_modality(scan, self.card.modalities)

    async def predict(self, data: bytes) -> Prediction:
        """The answer on one scan. Raises `ScanError` when it cannot be read, `WireError` after too many tries."""
        scan = await asyncio.to_thread(load_scan, data)
        self.check(scan)
        trouble = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self._say(f"{trouble}; the scan is read again")
                await asyncio.sleep(PAUSE * attempt)
            try:
                return await self._session(scan)
            except (WireError, ProtocolError) as error:
                trouble = error.fault
        raise WireError(f"no answer after {ATTEMPTS} tries ({trouble})", "start the service again")

    async def _session(self, scan: Scan) -> Prediction:
        """One session on the bench that waits."""
        bench = await self._take()
        work = asyncio.create_task(self._read(bench, scan))
        fall = asyncio.create_task(bench.fallen())
        try:
            await asyncio.wait({work, fall}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise WireError(
                    f"the {fall.result()}'s process ended in the middle", "the scan is read again"
                )
            return work.result()
        finally:
            for task in (work, fall):
                task.cancel()
            await asyncio.gather(work, fall, return_exceptions=True)
            await bench.close()

    async def _read(self, bench: Bench, scan: Scan) -> Prediction:
        card, topology = bench.card, bench.topology
        assert card is not None
        assert topology is not None
        image = await asyncio.to_thread(prepare, scan, card.channels, card.side, card.preparation)
        session = secrets.token_bytes(SESSION_BYTES)
        await bench.to_dealer.send(b"scan")
        await bench.to_model.send(session)
        tape, seed, batch = read_seed(await bench.to_dealer.recv())
        if batch != 1:
            raise ProtocolError("the dealer's tape is for several scans")
        used = UsedSessions()
        party = await asyncio.to_thread(
            PatientParty, topology, bench.network, image[None], session, tape, seed, used
        )
        await pump(party, {Role.MODEL: bench.to_model})
        logit = float(party.result.values.reshape(-1)[0])
        return Prediction(is_cancer=logit > 0, probability=card.probability(logit))

    # ---- benches
    async def _take(self) -> Bench:
        """The bench that waits; another is started at once for the next scan."""
        assert self._bench is not None
        try:
            bench = await asyncio.shield(self._bench)
        finally:
            self._bench = asyncio.create_task(self._ready())
        return bench

    async def _ready(self) -> Bench:
        """A bench whose model has told its network."""
        bench = await start_bench(self._which)
        try:
            bench.topology, bench.network = read_offer(await bench.to_model.recv(OFFER_PATIENCE))
            bench.card = load_card(self._which)  # again: the files may have been renewed since the start
            if bench.network.hex() != bench.card.network_hash:
                raise UserError("the network and its card do not belong together", "restore the files")
        except BaseException:
            await bench.close()
            raise
        return bench

    async def _watch(self) -> None:
        """Replaces a bench that dies while it waits."""
        told = ""
        while True:
            current = self._bench
            assert current is not None
            try:
                bench = await asyncio.shield(current)
                told = ""
                fall = asyncio.create_task(bench.fallen())
                while not fall.done() and self._bench is current:
                    await asyncio.wait({fall}, timeout=0.2)
                if self._bench is current:
                    self._say(f"the {fall.result()}'s process ended; starting another")
                    self._bench = asyncio.create_task(self._ready())
                    await bench.close()
                fall.cancel()
            except (WireError, ProtocolError, UserError) as error:
                if self._bench is current:
                    if told != (told := str(error)):
                        self._say(f"the model cannot be started: {error}")
                    await asyncio.sleep(2)
                    self._bench = asyncio.create_task(self._ready())
