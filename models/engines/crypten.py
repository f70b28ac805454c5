"""The same network through CrypTen 0.4.1 with its third-party provider: for comparison, on one machine.

Who learns what: the patient the logits, the model and the provider nothing, as long as the provider sides with
neither; passive security. Not for use between agents: CrypTen's sockets have no TLS, its generators are Mersenne
Twisters with seeds of eight bytes, and two-party truncation fails outright for about one element in 2^31. The
*first-party* provider, CrypTen's default, gives the image away; it has no place here and cannot be asked for.

Its provider works during the inference: `seconds` has its work in it, `seconds_ahead` is 0; `bytes_ahead` is what
the provider sent, `bytes_online` what went between patient and model, both ways. All as CrypTen counts itself.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.engines.base import Closing, LayerCost, Prediction, buckets, check_images
from models.engines.crypten_party import MODEL, PATIENT, PROVIDER, ROLES, Opened, run_party
from models.engines.plain import IMAGE_UNIT, real_logit, units
from protocols.blind.layers import Concat, sources_of
from protocols.blind.network import Network
from protocols.errors import UserError

TIMEOUT = 1800.0
_BEGIN_TIMEOUT = 300.0
_REMEDY = "try again, or use the engine blind"


class _Parties:
    """The three processes of one engine. Made: they have met. Any failure ends all of them."""

    def __init__(self, network: Network) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="crypdoc-crypten-")
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        meeting = Path(self._folder.name) / "meeting"
        topology = network.topology.encode()
        try:
            for rank, role in enumerate(ROLES):
                ours, theirs = context.Pipe()
                secret = network.encode() if rank == MODEL else None
                process = context.Process(
                    target=run_party,
                    args=(rank, meeting, topology, secret, theirs),
                    name=f"crypten-{role}",
                    daemon=True,
                )
                process.start()
                theirs.close()
                self._pipes.append(ours)
                self._processes.append(process)
            self._hear((MODEL, PATIENT, PROVIDER), _BEGIN_TIMEOUT)
        except BaseException:
            self.end()
            raise

    def alive(self) -> bool:
        """Whether all three still run; gloo gives up after half an hour without work."""
        return all(process.is_alive() for process in self._processes)

    def ask(self, images: NDArray[np.float32], timeout: float) -> tuple[Opened, Opened]:
        """What model and patient tell of one batch."""
        try:
            self._pipes[MODEL].send(("ask", len(images)))
            self._pipes[PATIENT].send(("ask", images))
        except OSError as error:
            raise UserError("a process of the CrypTen engine is gone", _REMEDY) from error
        told = self._hear((MODEL, PATIENT), timeout)
        return told[MODEL], told[PATIENT]

    def _hear(self, ranks: tuple[int, ...], timeout: float) -> dict[int, Any]:
        """One word from each of those parties. Raises `UserError` when one fails, dies or is late."""
        told: dict[int, Any] = {}
        until = time.monotonic() + timeout
        while len(told) < len(ranks):
            missing = [rank for rank in ranks if rank not in told]
            ready = wait([self._pipes[rank] for rank in missing], max(0.0, until - time.monotonic()))
            if not ready:
                late = ", ".join(ROLES[rank] for rank in missing)
                raise UserError(f"CrypTen's {late} did not answer within {timeout:.0f} s", _REMEDY)
            for rank in [rank for rank in missing if self._pipes[rank] in ready]:
                told[rank] = self._word(rank)
        return told

    def _word(self, rank: int) -> Any:
        try:
            kind, value = self._pipes[rank].recv()
        except (EOFError, OSError):
            kind, value = "failed", "its process ended"
        if kind == "failed":
            raise UserError(f"CrypTen's {ROLES[rank]} failed ({value})", _REMEDY)
        return value

    def end(self) -> None:
        """Kill our three processes, by handle; they hold nothing on disk."""
        for process in self._processes:
            if process.is_alive():
                process.kill()
        for process in self._processes:
            process.join(10)
        for pipe in self._pipes:
            pipe.close()
        self._folder.cleanup()


class CryptenEngine(Closing):
    """CrypTen on this machine: three processes of one thread each, started at the first prediction.

    Raises `UserError` when the extra is not installed.
    """

    name = "crypten"

    def __init__(self, network: Network, timeout: float = TIMEOUT) -> None:
        if any(importlib.util.find_spec(package) is None for package in ("crypten", "onnx", "omegaconf")):
            raise UserError("the engine crypten is not installed", "install it: scripts/setup crypten")
        repeats = [n for n in network.topology.nodes if len(set(sources_of(n))) < len(sources_of(n))]
        if any(isinstance(node, Concat) for node in repeats):
            raise UserError("CrypTen cannot concatenate a wire with itself", "use the engine blind")
        self._network, self._timeout = network, timeout
        self._parties: _Parties | None = None
        self._unit = real_logit(network.topology) / units(network.topology)[-1]

    def predict(self, images: NDArray[np.int8]) -> Prediction:
        """See `Engine`. The first call starts the processes and shares the weights, which is not counted."""
        topology = self._network.topology
        check_images(topology, images)
        if self._parties is not None and not self._parties.alive():
            self.close()
        try:
            if self._parties is None:
                self._parties = _Parties(self._network)
            model, patient = self._parties.ask(
                images.astype(np.float32) * np.float32(IMAGE_UNIT), self._timeout
            )
        except BaseException:
            self.close()
            raise
        assert patient.last is not None
        logits = patient.last.reshape(len(images), -1).astype(np.float64) * self._unit
        kinds = [type(node).__name__ for node in topology.nodes]
        layers = tuple(LayerCost(f"{i} {kinds[i]}", *patient.layers[i]) for i in sorted(patient.layers))
        return Prediction(
            logits=logits,
            bucket=buckets(topology, logits),
            seconds=patient.seconds,
            seconds_ahead=0.0,
            bytes_online=patient.bytes,
            bytes_ahead=model.bytes - patient.bytes,
            rounds=patient.rounds,
            layers=layers,
        )

    def close(self) -> None:
        """End the three processes; a later prediction starts them anew."""
        if self._parties is not None:
            self._parties.end()
            self._parties = None
