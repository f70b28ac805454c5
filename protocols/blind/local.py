"""All three parties in one process: for tests and for a service on one machine."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.blind.dealer import DealerParty
from protocols.blind.messages import Role
from protocols.blind.model import ModelParty, ModelResult
from protocols.blind.network import Network
from protocols.blind.party import Party
from protocols.blind.patient import PatientParty, PatientResult
from protocols.blind.secret import Secret
from protocols.blind.session import UsedSessions
from protocols.blind.weights import MaskedWeights, mask_weights

Transcript = list[tuple[Role, Role, bytes]]  # sender, receiver, frame


@dataclass(frozen=True, repr=False, eq=False)
class Seeds(Secret):
    """32 bytes each, fresh: shared by patient and dealer, by model and dealer, and the dealer's own."""

    patient_dealer: bytes
    model_dealer: bytes
    dealer: bytes


@dataclass(frozen=True, repr=False, eq=False)
class Parties(Secret):
    """The three parties of one session."""

    patient: PatientParty
    model: ModelParty
    dealer: DealerParty

    def by_role(self) -> dict[Role, Party]:
        return {Role.PATIENT: self.patient, Role.MODEL: self.model, Role.DEALER: self.dealer}


def make_parties(
    network: Network,
    image: NDArray[np.generic],
    seeds: Seeds,
    session: bytes,
    known: MaskedWeights | None = None,
) -> Parties:
    """Three parties of one session, each with a ledger of its own."""
    top, name = network.topology, network.network_hash()
    masked = mask_weights(network, seeds.model_dealer)
    return Parties(
        PatientParty(top, name, image, session, seeds.patient_dealer, UsedSessions(), known),
        ModelParty(network, masked, session, UsedSessions()),
        DealerParty(
            top, name, session, seeds.patient_dealer, seeds.model_dealer, seeds.dealer, UsedSessions()
        ),
    )


def run_parties(parties: Parties) -> Transcript:
    """Carries frames until all are done; returns them in the order sent."""
    by_role = parties.by_role()
    transcript: Transcript = []
    queue: deque[tuple[Role, Role, bytes]] = deque()
    for role in (Role.MODEL, Role.DEALER, Role.PATIENT):
        queue.extend((role, out.to, out.frame) for out in by_role[role].start())
    while queue:
        sender, to, frame = queue.popleft()
        transcript.append((sender, to, frame))
        queue.extend((to, out.to, out.frame) for out in by_role[to].receive(sender, frame))
    return transcript


def run_local(
    network: Network,
    image: NDArray[np.generic],
    seeds: Seeds,
    session: bytes = bytes(32),
    known: MaskedWeights | None = None,
) -> tuple[PatientResult, ModelResult, Transcript]:
    """One whole inference; raises `ProtocolError` as the parties do."""
    parties = make_parties(network, image, seeds, session, known)
    transcript = run_parties(parties)
    return parties.patient.result, parties.model.result, transcript
