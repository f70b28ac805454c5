"""The engine `blind` without a dealer: patient here, model in a process of its own, and no third party.

    with make_dealerless(network) as engine:
        told = engine.predict(images)

The two make the tape themselves (`protocols.blind.pairwise`, `models.homomorphic`), then run the same online phase on
it as with a dealer. `Prediction.seconds_ahead` and `bytes_ahead` count that preprocessing: nearly the whole cost.
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

import numpy as np
from numpy.typing import NDArray

from models.engines.base import Closing, Engine, Prediction, check_images
from models.engines.blind import ENVIRONMENT, Ends, end
from models.engines.blind_party import choose_kernels, spared
from models.engines.link import Link, drive
from models.engines.talking import carry, hold
from models.homomorphic import import_seal, import_sodium
from models.homomorphic.base import patient_setup
from models.homomorphic.seal import SealPatient
from protocols.blind.messages import PART_BYTES, Role
from protocols.blind.network import Network
from protocols.blind.pairwise.tape import patient_talks
from protocols.blind.patient import PatientParty
from protocols.blind.schedule import costs
from protocols.blind.session import UsedSessions
from protocols.blind.weights import MaskedWeights
from protocols.codec import encode
from protocols.errors import CrypDocError, UserError

MOST_TAPE = 1 << 30  # bytes of a tape, which the model holds whole: larger batches are cut, down to one image


class DealerlessEngine(Closing):
    """See `models.engines.base.Engine`. kernels, between: as for `BlindEngine`.

    seconds_begun, bytes_begun: what the keys and first transfers took, once. leak: a bound on what all answers so
    far told of the weights by their noise (`models/homomorphic/seal.py`). Raises `UserError` where the extra `he` is
    missing.
    """

    name = "dealerless"

    def __init__(
        self, network: Network, kernels: str = "best", between: Callable[[], Ends] = socket.socketpair
    ) -> None:
        import_seal()
        import_sodium()
        self._topology, self._hash = network.topology, network.network_hash()
        self._kernels = choose_kernels(kernels)
        self._used = UsedSessions()
        self._known: MaskedWeights | None = None
        self.leak = 0.0
        mine, theirs = between()
        with spared():
            self._process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
                [sys.executable, "-m", "models.engines.dealerless_party", kernels, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | ENVIRONMENT,
            )
        theirs.close()
        self._link = Link(mine)
        try:
            self._begin(network)
        except CrypDocError as error:
            raise self._broken(error) from None

    def _begin(self, network: Network) -> None:
        encoded = network.encode()
        parts = [encoded[i : i + PART_BYTES] for i in range(0, len(encoded), PART_BYTES)]
        self._link.send(len(parts).to_bytes(4, "big"))
        for part in parts:
            self._link.send(part)
        begun, moved = time.perf_counter(), self._moved
        self._holder = SealPatient(network.topology.ring_bits)
        self._ends = hold(patient_setup(secrets.token_bytes, self._holder.public), self._link)
        self.seconds_begun, self.bytes_begun = time.perf_counter() - begun, self._moved - moved
        self._link.receive()

    @property
    def _moved(self) -> int:
        return self._link.sent + self._link.received

    def predict(self, images: NDArray[np.int8]) -> Prediction:
        """See `Engine.predict`."""
        check_images(self._topology, images)
        size = max(1, MOST_TAPE // costs(self._topology, 1, known=True).tape)
        try:
            return together([self._predict(images[at : at + size]) for at in range(0, len(images), size)])
        except CrypDocError as error:
            raise self._broken(error) from None

    def _predict(self, images: NDArray[np.int8]) -> Prediction:
        begun, top, batch = time.perf_counter(), self._topology, len(images)
        session, tape, seed, fresh = (secrets.token_bytes(32) for _ in range(4))
        bill = costs(top, batch, self._known is not None)
        party = PatientParty(
            *(top, self._hash, batch, session, tape, seed, self._used, self._known),
            kernels=self._kernels,
            clock=time.perf_counter,
        )
        self._link.send(encode([session, tape, batch]))
        moved = self._moved
        talks = patient_talks(top, self._hash, tape, seed, batch, self._ends, self._holder, fresh)
        carry(talks, self._link)
        moved = self._moved - moved
        links = {Role.MODEL: self._link}
        drive(party, links)
        drive(party, links, party.begin(images))
        self._known = party.masked_weights
        image, opened = party.laps[0].at, party.laps[-1].at
        self.leak = float(json.loads(self._link.receive())["leak"])
        result = party.result
        return Prediction(
            logits=result.values.reshape(batch, -1),
            bucket=result.buckets,
            seconds=opened - image,
            seconds_ahead=image - begun,
            bytes_online=bill.bytes_online,
            bytes_ahead=moved + bill.bytes_ahead - bill.tape,
            rounds=bill.rounds + talks.rounds,
        )

    def _broken(self, error: CrypDocError) -> UserError:
        self.close()
        return UserError(
            f"the engine without a dealer stopped ({error.fault})", error.remedy or "start it again"
        )

    @property
    def process(self) -> int:
        """The number of the model's process."""
        return self._process.pid

    def close(self) -> None:
        """Ends the model's process; safe to repeat."""
        self._link.close()
        end(self._process)


def together(parts: list[Prediction]) -> Prediction:
    """What was evaluated in parts, as one: at least one part."""
    if len(parts) == 1:
        return parts[0]
    buckets = None if parts[0].bucket is None else tuple(b for part in parts for b in part.bucket or ())
    return Prediction(
        logits=np.concatenate([part.logits for part in parts]),
        bucket=buckets,
        seconds=sum(part.seconds for part in parts),
        seconds_ahead=sum(part.seconds_ahead for part in parts),
        bytes_online=sum(part.bytes_online for part in parts),
        bytes_ahead=sum(part.bytes_ahead for part in parts),
        rounds=sum(part.rounds for part in parts),
    )


def make_dealerless(network: Network) -> Engine:
    """The engine for `--dealer none`, as `models.engines.make_engine` gives the others.

    Runs every network that `blind` runs, those with thresholds too.
    Raises `UserError` naming `scripts/setup he` where TenSEAL or PyNaCl is not installed.
    """
    return DealerlessEngine(network)
