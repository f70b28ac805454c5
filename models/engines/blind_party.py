"""The model's or the dealer's process of the blind engine: `python -m models.engines.blind_party ROLE KERNELS FDS`.

It inherits two ends of socket pairs, to the patient and to the other one, and serves sessions until the patient's end
closes. The patient never holds the pair between model and dealer, nor the weights.

model:  patient -> its network once; then session, tape, batch (frames of the session follow); dealer -> tape's frames.
dealer: model -> topology, network hash, seed, once; then patient -> tape, seed, batch; its frames go to the model.
"""

from __future__ import annotations

import json
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from models.engines.link import Link, drive
from models.engines.memory import keep_freed_memory
from protocols.blind.dealer import TapeSeeds, deal_tape
from protocols.blind.kernels import Kernels
from protocols.blind.messages import Role
from protocols.blind.model import ModelParty
from protocols.blind.network import Network
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.blind.weights import ModelWeights, Pads
from protocols.codec import decode, encode
from protocols.errors import CrypDocError, ProtocolError, WireError

IDLE = 10.0 * 365 * 86_400
MAX_ORDER = 1 << 20


@contextmanager
def spared() -> Iterator[None]:
    """What is started within does not see Ctrl-C, which a terminal sends to all: not even while it still imports."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def choose_kernels(name: str) -> Kernels:
    """The kernels of that name: `best`, `portable`, `torch`, or a level of the native ones, such as `avx2`.

    Raises `ProtocolError` for a name that this machine does not have.
    """
    from protocols.blind.kernels import PortableKernels, best_kernels

    if name == "best":
        return best_kernels()
    if name == "portable":
        return PortableKernels()
    if name == "torch":
        from models.kernels_torch import TorchKernels

        return TorchKernels()
    try:
        from protocols.blind.kernels.native import NativeKernels
    except ImportError:
        raise ProtocolError(f"there are no native kernels here for {name!r}", "use `best`") from None
    return NativeKernels(level=name)


def serve_model(kernels: Kernels, patient: Link, dealer: Link) -> None:
    """M, for one network and any number of sessions."""
    size = int.from_bytes(patient.receive(), "big")
    network = Network.decode(b"".join(patient.receive() for _ in range(size)))
    seed = secrets.token_bytes(32)
    weights, used = ModelWeights(network, seed, kernels), UsedSessions()
    dealer.send(encode([network.topology.encode(), network.network_hash(), seed]))
    patient.send(b"ready")
    while True:
        session, tape, batch = _order(patient.receive(IDLE), 3)
        party = ModelParty(weights, session, tape, used, batch, clock=time.perf_counter)
        drive(party, {Role.PATIENT: patient, Role.DEALER: dealer})
        laps = [[lap.place, lap.at] for lap in party.laps]
        patient.send(json.dumps({"laps": laps}).encode())


def serve_dealer(kernels: Kernels, patient: Link, model: Link) -> None:
    """D, for one network and any number of tapes."""
    topology, name, seed = _order(model.receive(), 3)
    pads = Pads(Topology.decode(topology), name, seed, kernels)
    patient.send(b"ready")
    while True:
        tape, theirs, batch = _order(patient.receive(IDLE), 3)
        begun, spent = time.perf_counter(), 0.0
        for frame in deal_tape(pads, TapeSeeds(tape, theirs, secrets.token_bytes(32)), batch):
            spent += time.perf_counter() - begun
            model.send(frame)
            begun = time.perf_counter()
        patient.send(json.dumps({"seconds": spent}).encode())


def _order(frame: bytes, count: int) -> list[Any]:
    value = decode(frame, limit=MAX_ORDER)
    if not isinstance(value, list) or len(value) != count:
        raise ProtocolError("not an order that this process knows")
    return value


def main(arguments: list[str]) -> int:
    """The process; its exit code. It ends quietly when the patient's end closes, with one line otherwise."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the patient, whose end then closes
    role, kernels, patient_fd, other_fd = arguments
    keep_freed_memory()
    patient, other = (Link(socket.socket(fileno=int(fd))) for fd in (patient_fd, other_fd))
    try:
        (serve_model if role == "model" else serve_dealer)(choose_kernels(kernels), patient, other)
    except WireError:
        return 0
    except CrypDocError as error:
        print(f"{role}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
