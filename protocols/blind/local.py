"""All three parties in one process: for tests and for a service on one machine."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.blind.dealer import TapeSeeds, deal_tape
from protocols.blind.kernels.interface import Buffer, Kernels
from protocols.blind.messages import Role
from protocols.blind.model import ModelParty, ModelResult
from protocols.blind.network import Network
from protocols.blind.patient import PatientParty, PatientResult
from protocols.blind.secret import Secret
from protocols.blind.session import UsedSessions
from protocols.blind.weights import MaskedWeights, ModelWeights, Pads

Transcript = list[tuple[Role, Role, Buffer]]  # sender, receiver, frame


@dataclass(frozen=True, repr=False, eq=False)
class Seeds(Secret):
    """32 bytes each, fresh: given to the patient for the tape, shared by model and dealer, the dealer's own."""

    patient_dealer: bytes
    model_dealer: bytes
    dealer: bytes


@dataclass(frozen=True, repr=False, eq=False)
class Parties(Secret):
    """The two parties of one session, and the dealer's frames."""

    patient: PatientParty
    model: ModelParty
    tape: list[Buffer]


def make_parties(
    network: Network,
    images: NDArray[np.generic],
    seeds: Seeds,
    session: bytes,
    known: MaskedWeights | None = None,
    kernels: Kernels | None = None,
) -> Parties:
    """Both parties of one session, each with a ledger of its own, and a tape for it. images: (n, C, H, W)."""
    top, name = network.topology, network.network_hash()
    weights = ModelWeights(network, seeds.model_dealer, kernels)
    tape = bytes(b ^ 0x55 for b in session)
    pads = Pads(top, name, seeds.model_dealer, kernels)
    frames = list(deal_tape(pads, TapeSeeds(tape, seeds.patient_dealer, seeds.dealer), len(images)))
    patient = PatientParty(
        top, name, images, session, tape, seeds.patient_dealer, UsedSessions(), known, kernels=kernels
    )
    return Parties(patient, ModelParty(weights, session, tape, UsedSessions(), len(images)), frames)


def run_parties(parties: Parties) -> Transcript:
    """Carries frames until all are done; returns them in the order sent."""
    transcript: Transcript = []
    queue: deque[tuple[Role, Role, Buffer]] = deque()
    patient, model = parties.patient, parties.model
    queue.extend((Role.MODEL, out.to, out.frame) for out in model.start())
    queue.extend((Role.DEALER, Role.MODEL, frame) for frame in parties.tape)
    queue.extend((Role.PATIENT, out.to, out.frame) for out in patient.start())
    while queue:
        sender, to, frame = queue.popleft()
        transcript.append((sender, to, frame))
        party = patient if to is Role.PATIENT else model
        queue.extend((to, out.to, out.frame) for out in party.receive(sender, frame))
    return transcript


def run_local(
    network: Network,
    images: NDArray[np.generic],
    seeds: Seeds,
    session: bytes = bytes(32),
    known: MaskedWeights | None = None,
    kernels: Kernels | None = None,
) -> tuple[PatientResult, ModelResult, Transcript]:
    """One whole inference on (n, C, H, W); raises `ProtocolError` as the parties do."""
    parties = make_parties(network, images, seeds, session, known, kernels)
    transcript = run_parties(parties)
    return parties.patient.result, parties.model.result, transcript
