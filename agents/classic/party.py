"""The model's or the dealer's process of one blind inference: `python -m agents.classic.party ROLE ... FDS`.

It holds its own secrets and two ends of socket pairs that it inherited, serves one session, and ends. The patient's
process never holds the pair between model and dealer, nor the weights. When the patient's process is gone, so is the
other end of the pair, and this one ends too.

1. model -> patient: topology, network hash (public), or why there is none
2. patient -> model: session; patient -> dealer: a word that there is a scan
3. model -> dealer: its order with the seed that these two share; dealer -> patient: the tape's name and seed;
   dealer -> model: the tape's name, then the tape, dealt while it is sent
4. the frames of `protocols.blind`
"""

from __future__ import annotations

import asyncio
import socket
import sys

from agents.classic.pipe import Pipe, attach
from agents.engine.blind import fresh_seed, pump, stream
from agents.engine.dealing import (
    Order,
    deal_order,
    read_session_order,
    read_tape_named,
    seed_given,
    tape_named,
)
from agents.wire.channel import ChannelClosed
from protocols.blind.dealer import TapeSeeds, deal_tape
from protocols.blind.messages import Role
from protocols.blind.model import ModelParty
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.blind.weights import ModelWeights, Pads
from protocols.codec import decode, encode
from protocols.errors import CrypDocError, ProtocolError, UserError

IDLE = 10.0 * 365 * 86_400
"""Seconds to wait for a scan: until there is one, or the service is gone."""

SESSION_BYTES = 32


def offer(topology: bytes, network: bytes) -> bytes:
    """The model's first frame to the patient."""
    return encode(["offer", topology, network])


def sorry(error: CrypDocError) -> bytes:
    """What the model says instead when it has no network."""
    return encode(["sorry", error.fault, error.remedy])


def read_offer(frame: bytes) -> tuple[Topology, bytes]:
    """(topology, network hash) of an offer. Raises `UserError` when the model has none, else `ProtocolError`."""
    value = decode(frame, limit=1 << 20)
    if not isinstance(value, list) or len(value) != 3:
        raise ProtocolError("not an offer of a network")
    word, first, second = value
    if word == "sorry" and isinstance(first, str) and isinstance(second, str):
        raise UserError(first, second)
    if word != "offer" or not isinstance(first, bytes) or not isinstance(second, bytes) or len(second) != 32:
        raise ProtocolError("not an offer of a network")
    return Topology.decode(first), second


async def serve_model(which: str, patient: Pipe, dealer: Pipe) -> None:
    """M of one session. Raises `CrypDocError` when the session breaks."""
    from models.zoo import load_network

    try:
        network, _ = load_network(which)
    except CrypDocError as error:
        await patient.send(sorry(error))
        return
    topology, name, seed = network.topology.encode(), network.network_hash(), fresh_seed()
    weights = ModelWeights(network, seed)
    await patient.send(offer(topology, name))
    session = await _scan_comes(patient)
    if session:
        await dealer.send(deal_order(Order(topology, name, seed, 1)))
        tape = read_tape_named(await dealer.recv())
        party = ModelParty(weights, session, tape, UsedSessions())
        await pump(party, {Role.PATIENT: patient, Role.DEALER: dealer})


async def serve_dealer(patient: Pipe, model: Pipe) -> None:
    """D of one session. Raises `CrypDocError` when the session breaks."""
    if not await _scan_comes(patient):
        return
    order = read_session_order(await model.recv())
    if not isinstance(order, Order):
        raise ProtocolError("no tape is kept here")
    topology = Topology.decode(order.topology)
    pads = await asyncio.to_thread(Pads, topology, order.network, order.seed)
    seeds = TapeSeeds(fresh_seed(), fresh_seed(), fresh_seed())
    await model.send(tape_named(seeds.name))
    await patient.send(seed_given(seeds.name, seeds.patient, order.batch))
    await stream(deal_tape(pads, seeds, order.batch), model)


async def _scan_comes(patient: Pipe) -> bytes:
    """The patient's first frame, or nothing when the service is over before there was a scan."""
    try:
        return await patient.recv(IDLE)
    except ChannelClosed:
        return b""


async def serve(role: str, which: str, patient_fd: int, other_fd: int) -> None:
    """Attach the two ends and serve one session."""
    patient = await attach(socket.socket(fileno=patient_fd), "patient")
    other = await attach(socket.socket(fileno=other_fd), "other")
    try:
        await (serve_model(which, patient, other) if role == "model" else serve_dealer(patient, other))
    finally:
        await patient.close()
        await other.close()


def main(arguments: list[str]) -> int:
    """The process; its exit code. One line on stderr when it fails."""
    role, which, patient_fd, other_fd = arguments
    try:
        asyncio.run(serve(role, which, int(patient_fd), int(other_fd)))
    except CrypDocError as error:
        print(f"{role}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
