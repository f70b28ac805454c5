"""The engine `blind`: patient here, model and dealer in processes of their own, joined by socket pairs.

What is measured is real: the frames of `protocols.blind` between three processes of one machine, without TLS.
The dealer deals while the patient does its part ahead; the image goes out when both are done, as it would with a
tape at hand. With `overlap` it goes out when the patient is ready, and the dealer deals on while the model computes:
less time in all, more after the image.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.engines.base import Closing, LayerCost, Prediction, check_images
from models.engines.blind_party import choose_kernels, spared
from models.engines.link import BACKLOG, Link, drive
from protocols.blind.messages import PART_BYTES, Role
from protocols.blind.network import Network
from protocols.blind.patient import PatientParty
from protocols.blind.schedule import bytes_by_place, costs
from protocols.blind.session import UsedSessions
from protocols.blind.weights import MaskedWeights
from protocols.codec import encode
from protocols.errors import CrypDocError, UserError

ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


Ends = tuple[socket.socket, socket.socket]


class BlindEngine(Closing):
    """See `models.engines.base.Engine`.

    kernels: as `choose_kernels` names them. between: makes the pair that joins patient and model; a benchmark puts
    an emulated network there. overlap: see above; may be set between calls.
    """

    name = "blind"
    overlap = False

    def __init__(
        self, network: Network, kernels: str = "best", between: Callable[[], Ends] = socket.socketpair
    ) -> None:
        self._topology, self._hash = network.topology, network.network_hash()
        self._kernels = choose_kernels(kernels)
        self._used = UsedSessions()
        self._known: MaskedWeights | None = None
        pairs = between(), socket.socketpair(), socket.socketpair()  # patient-model, -dealer, model-dealer
        (mine_m, theirs_m), (mine_d, theirs_d), (model_end, dealer_end) = pairs
        self._processes = [
            _spawn("model", kernels, theirs_m, model_end),
            _spawn("dealer", kernels, theirs_d, dealer_end),
        ]
        for end in (theirs_m, theirs_d, model_end, dealer_end):
            end.close()
        self._model, self._dealer = Link(mine_m), Link(mine_d)
        self._begin(network)

    def _begin(self, network: Network) -> None:
        encoded = network.encode()
        parts = [encoded[i : i + PART_BYTES] for i in range(0, len(encoded), PART_BYTES)]
        try:
            self._model.send(len(parts).to_bytes(4, "big"))
            for part in parts:
                self._model.send(part)
            self._model.receive()
            self._dealer.receive()
        except CrypDocError as error:
            raise self._broken(error) from None

    def predict(self, images: NDArray[np.int8]) -> Prediction:
        """See `Engine.predict`."""
        check_images(self._topology, images)
        begun = time.perf_counter()
        try:
            return self._predict(images, begun)
        except CrypDocError as error:
            raise self._broken(error) from None

    def _predict(self, images: NDArray[np.int8], begun: float) -> Prediction:
        batch, session, tape, seed = len(images), *(secrets.token_bytes(32) for _ in range(3))
        bill = costs(self._topology, batch, self._known is not None)
        self._dealer.send(encode([tape, seed, batch]))
        self._model.send(encode([session, tape, batch]))
        party = PatientParty(
            self._topology,
            self._hash,
            batch,
            session,
            tape,
            seed,
            self._used,
            self._known,
            kernels=self._kernels,
            clock=time.perf_counter,
        )
        links = {Role.MODEL: self._model}
        drive(party, links)
        whole = not self.overlap and bill.tape <= BACKLOG  # else the model takes the rest while it computes
        if whole:
            self._dealer.receive()
        drive(party, links, party.begin(images))
        self._known = party.masked_weights
        image, opened = party.laps[0].at, party.laps[-1].at
        if not whole:
            self._dealer.receive()
        laps = json.loads(self._model.receive())["laps"]
        result = party.result
        return Prediction(
            logits=result.values.reshape(batch, -1),
            bucket=result.buckets,
            seconds=opened - image,
            seconds_ahead=image - begun,
            bytes_online=bill.bytes_online,
            bytes_ahead=bill.bytes_ahead,
            rounds=bill.rounds,
            layers=self._layers(laps, batch),
        )

    def _layers(self, laps: list[list[float]], batch: int) -> tuple[LayerCost, ...]:
        """What each node took, by the model's clock; waiting for the patient included."""
        spent = bytes_by_place(self._topology, batch)
        made = []
        for (_, before), (place, at) in pairwise(laps):
            node = self._topology.nodes[int(place)] if place >= 0 else None
            name = f"{int(place)} {type(node).__name__}" if node is not None else "logits"
            made.append(LayerCost(name, at - before, spent.get(int(place), 0)))
        return tuple(made)

    def _broken(self, error: CrypDocError) -> UserError:
        self.close()
        return UserError(f"the blind engine stopped ({error.fault})", error.remedy or "start it again")

    @property
    def kernels(self) -> str:
        """The name of the kernels that were chosen."""
        return self._kernels.name

    @property
    def processes(self) -> dict[str, int]:
        """The process numbers of model and dealer."""
        return {"model": self._processes[0].pid, "dealer": self._processes[1].pid}

    def close(self) -> None:
        """Ends both processes; safe to repeat."""
        self._model.close()
        self._dealer.close()
        for process in self._processes:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Waits for a party whose sockets are closed; two seconds later it is killed."""
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _spawn(role: str, kernels: str, *ends: socket.socket) -> subprocess.Popen[bytes]:
    numbers = [end.fileno() for end in ends]
    with spared():
        return subprocess.Popen(  # noqa: S603 (our own interpreter and module)
            [sys.executable, "-m", "models.engines.blind_party", role, kernels, *map(str, numbers)],
            pass_fds=numbers,
            stdin=subprocess.DEVNULL,
            env=os.environ | ENVIRONMENT,
        )
