"""The model's process of the engine without a dealer: `python -m models.engines.dealerless_party KERNELS FD`.

It inherits one end of a socket pair, to the patient, and serves sessions until the patient's end closes. patient ->
its network once (so that one program can be measured and tested; the patient's protocol needs its topology and hash
alone); then the first transfers; then, for each session: its names and the batch, the talks that make the tape, the
session itself.
"""

from __future__ import annotations

import json
import secrets
import signal
import socket
import sys
import time
from typing import Any

from models.engines.blind_party import choose_kernels
from models.engines.link import Link, drive
from models.engines.memory import keep_freed_memory
from models.engines.talking import carry, hold
from models.homomorphic.base import model_setup
from models.homomorphic.seal import SealModel
from protocols.blind.kernels import Kernels
from protocols.blind.messages import Role
from protocols.blind.model import ModelParty
from protocols.blind.network import Network
from protocols.blind.pairwise.own import OwnWeights
from protocols.blind.pairwise.tape import model_talks
from protocols.blind.schedule import MAX_BATCH
from protocols.blind.session import UsedSessions
from protocols.codec import decode
from protocols.errors import CrypDocError, ProtocolError, WireError

IDLE = 10.0 * 365 * 86_400
_MAX_ORDER = 1 << 10


def serve(kernels: Kernels, patient: Link) -> None:
    """M, for one network and any number of sessions."""
    size = int.from_bytes(patient.receive(), "big")
    network = Network.decode(b"".join(patient.receive() for _ in range(size)))
    weights, used = OwnWeights(network, kernels), UsedSessions()
    ends, public = hold(model_setup(secrets.token_bytes), patient)
    evaluator = SealModel(network.topology.ring_bits, public)
    patient.send(b"ready")
    while True:
        session, tape, batch = _order(patient.receive(IDLE))
        party = ModelParty(
            weights, session, tape, used, batch, clock=time.perf_counter
        )  # claims both names first
        frames: list[bytes] = []
        fresh = secrets.token_bytes(32)
        carry(model_talks(weights, tape, batch, ends, evaluator, fresh, frames.append), patient)
        outs = party.start()
        for frame in frames:
            outs += party.receive(Role.DEALER, frame)
        del frames
        drive(party, {Role.PATIENT: patient}, outs)
        patient.send(json.dumps({"leak": evaluator.leak}).encode())


def _order(frame: bytes) -> list[Any]:
    value = decode(frame, limit=_MAX_ORDER)
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[2], int):
        raise ProtocolError("not an order that this process knows", "start the engine again")
    if not 1 <= value[2] <= MAX_BATCH:
        raise ProtocolError(f"a batch is not within 1..{MAX_BATCH}", "send fewer at once")
    return value


def main(arguments: list[str]) -> int:
    """The process; its exit code. It ends quietly when the patient's end closes, with one line otherwise."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the patient, whose end then closes
    kernels, fd = arguments
    keep_freed_memory()
    patient = Link(socket.socket(fileno=int(fd)))
    try:
        serve(choose_kernels(kernels), patient)
    except WireError:
        return 0
    except CrypDocError as error:
        print(f"model: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
