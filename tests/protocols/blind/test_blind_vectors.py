"""The committed test vectors hold, with every implementation of the arithmetic, and from their file alone."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from blind_samples import every_kernels
from vectors import FILE, everything

from protocols.blind.dealer import TapeSeeds, deal_tape
from protocols.blind.local import Parties, run_parties
from protocols.blind.messages import Role
from protocols.blind.model import ModelParty
from protocols.blind.network import Network
from protocols.blind.patient import PatientParty
from protocols.blind.session import UsedSessions
from protocols.blind.weights import ModelWeights, Pads

VECTORS = json.loads(FILE.read_text())
KERNELS = every_kernels()


@pytest.mark.parametrize("level", KERNELS)
def test_vectors_are_what_is_made_today(level: str) -> None:
    """If this fails, the protocol's bytes changed: raise `messages.VERSION`, then run vectors.py."""
    assert json.loads(json.dumps(everything(KERNELS[level]))) == VECTORS


@pytest.mark.parametrize("name", [v["name"] for v in VECTORS["sessions"]])
def test_a_session_can_be_replayed_from_the_file_alone(name: str) -> None:
    v = next(v for v in VECTORS["sessions"] if v["name"] == name)
    seeds = {who: bytes.fromhex(seed) for who, seed in v["seeds"].items()}
    network = Network.decode(bytes.fromhex(v["network"]))
    session, tape = bytes.fromhex(v["session"]), bytes.fromhex(v["tape"])
    images = np.array(v["images"], np.int8)
    pads = Pads(network.topology, network.network_hash(), seeds["model"])
    frames = list(deal_tape(pads, TapeSeeds(tape, seeds["patient"], seeds["fresh"]), len(images)))
    patient = PatientParty(
        network.topology, network.network_hash(), images, session, tape, seeds["patient"], UsedSessions()
    )
    model = ModelParty(ModelWeights(network, seeds["model"]), session, tape, UsedSessions(), len(images))
    transcript = run_parties(Parties(patient, model, frames))
    assert patient.result.logits.tolist() == v["opened_logits"]
    assert model.result.bucket == v["bucket_of_the_first"]
    for link in ((Role.DEALER, Role.MODEL), (Role.PATIENT, Role.MODEL), (Role.MODEL, Role.PATIENT)):
        made = [hashlib.blake2b(f, digest_size=32).hexdigest() for s, t, f in transcript if (s, t) == link]
        said = [f["blake2b"] for f in v["frames"] if (Role(f["from"]), Role(f["to"])) == link]
        assert made == said
