"""Who holds what: the object graph of each party, walked at every step of a session."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from blind_reach import holds, reachable
from blind_samples import fill, images, seeds, session, tape_of, tiny
from numpy.typing import NDArray

from protocols.blind.dealer import TapeSeeds, deal_tape
from protocols.blind.kernels import PortableKernels
from protocols.blind.local import Seeds, make_parties, run_local
from protocols.blind.masks import PatientMasks
from protocols.blind.messages import Role
from protocols.blind.model import ModelParty
from protocols.blind.network import Network
from protocols.blind.patient import PatientParty
from protocols.blind.prg import Stream
from protocols.blind.secret import Secret
from protocols.blind.session import UsedSessions
from protocols.blind.walk import affine_steps, clip_steps
from protocols.blind.weights import ModelWeights, Pads

TOP = tiny(22, 7, 3)
K = TOP.ring_bits
KERNELS = PortableKernels()  # whose arrays can be walked
NETWORK = fill(TOP, 8)
BATCH = np.stack([images(TOP.input_shape, 8)[kind] for kind in ("random", "smooth")])
WEIGHTS = [w for layer in NETWORK.weights for w in layer]


@dataclass
class Trio:
    """All three at one moment; dealer: its generator and what it was given."""

    patient: PatientParty
    model: ModelParty
    dealer: tuple[object, ...]

    def of(self, role: Role) -> object:
        return {Role.PATIENT: self.patient, Role.MODEL: self.model, Role.DEALER: self.dealer}[role]


def at_every_step(network: Network, batch: NDArray[np.int8], keys: Seeds, name: bytes) -> Iterator[Trio]:
    """A whole session, frame by frame, the dealer dealing as M takes its frames."""
    top, tape, net = network.topology, tape_of(name), network.network_hash()
    pads, own = Pads(top, net, keys.model_dealer, KERNELS), TapeSeeds(tape, keys.patient_dealer, keys.dealer)
    dealing = deal_tape(pads, own, len(batch))
    weights = ModelWeights(network, keys.model_dealer, KERNELS)
    patient = PatientParty(top, net, batch, name, tape, keys.patient_dealer, UsedSessions(), kernels=KERNELS)
    model = ModelParty(weights, name, tape, UsedSessions(), len(batch))
    trio = Trio(patient, model, (pads, own, dealing))
    yield trio
    model.start()
    queue = [(Role.PATIENT, out) for out in patient.start()]
    for dealt in dealing:
        queue += [(Role.MODEL, out) for out in model.receive(Role.DEALER, dealt)]
        yield trio
        while queue:
            frm, out = queue.pop(0)
            party = patient if out.to is Role.PATIENT else model
            queue += [(out.to, o) for o in party.receive(frm, out.frame)]
            yield trio
    assert patient.done
    assert model.done


def test_each_party_holds_its_own_secret_alone() -> None:
    found_weights = found_image = False
    for trio in at_every_step(NETWORK, BATCH, seeds(3), session(3)):
        for w in WEIGHTS:
            assert not holds(w, K, trio.patient, *trio.dealer)
            found_weights |= holds(w, K, trio.model)
        for secret in (BATCH, BATCH[0], BATCH[1]):
            assert not holds(secret, K, trio.model, *trio.dealer)
            found_image |= holds(secret, K, trio.patient)
    assert found_weights, "the walk would not find weights"
    assert found_image, "the walk would not find the image"
    assert not any(holds(w, K, trio.patient, trio.model) for w in WEIGHTS), "dropped when done"
    assert not holds(BATCH, K, trio.patient, trio.model), "dropped when done"


def test_the_model_holds_no_mask_of_the_patient() -> None:
    """r of the image, s of the layers, the masks of the wires: at P and at times at D, never at M."""
    keys = seeds(3)
    masks = PatientMasks(TOP, NETWORK.network_hash(), tape_of(session(3)), keys.patient_dealer, len(BATCH))
    hidden = [
        masks.image,
        *(masks.linear(s) for s in affine_steps(TOP)),
        *(masks.wire(s) for s in clip_steps(TOP)),
    ]
    seen = 0
    for trio in at_every_step(NETWORK, BATCH, keys, session(3)):
        for mask in hidden:
            assert not holds(mask, K, trio.model)
            seen += holds(mask, K, trio.patient)
    assert seen, "the walk would not find masks"


def test_no_party_but_its_owner_holds_a_seed() -> None:
    keys = seeds(3)
    owners = {
        keys.patient_dealer: {Role.PATIENT, Role.DEALER},
        keys.model_dealer: set(),  # spent once the pads are made: M keeps W and E, D keeps A
        keys.dealer: {Role.DEALER},
    }
    found: dict[bytes, set[Role]] = {seed: set() for seed in owners}
    for trio in at_every_step(NETWORK, BATCH, keys, session(3)):
        for role in Role:
            for thing in reachable(trio.of(role)):
                if isinstance(thing, bytes) and thing in found:
                    found[thing].add(role)
    assert found == owners


def test_secrets_refuse_to_be_shown() -> None:
    keys = seeds(3)
    parties = make_parties(NETWORK, BATCH, keys, session(3))
    result = run_local(NETWORK, BATCH, seeds(4), session(4))[0]
    weights = ModelWeights(NETWORK, keys.model_dealer)
    own = TapeSeeds(session(3), keys.patient_dealer, keys.dealer)
    masks = PatientMasks(TOP, NETWORK.network_hash(), session(3), keys.patient_dealer, 1)
    step = clip_steps(TOP)[0]
    things = (
        *(NETWORK, parties.patient, parties.model, parties, result, keys, own, Stream(bytes(32), b"x")),
        *(weights, weights.masked, weights.linear, Pads(TOP, NETWORK.network_hash(), keys.model_dealer)),
        *(masks, masks.mask(step, slice(0, step.size)), masks.bucket()),
    )
    for thing in things:
        assert isinstance(thing, Secret)
        for act in (repr, str, bool, pickle.dumps, copy.copy, "{}".format):
            with pytest.raises(TypeError, match="secret"):
                act(thing)
