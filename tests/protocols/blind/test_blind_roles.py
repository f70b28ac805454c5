"""Who holds what: the object graph of each party, walked at every step of a session."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from types import FrameType, GeneratorType

import numpy as np
import pytest
from blind_samples import fill, images, seeds, session, tiny
from numpy.typing import NDArray

from protocols.blind.local import Parties, make_parties, run_local
from protocols.blind.messages import Role
from protocols.blind.network import Network
from protocols.blind.prg import Stream
from protocols.blind.ring import mod, pack
from protocols.blind.secret import Secret
from protocols.blind.weights import mask_weights

TOP = tiny(22, 10, 100)


def reachable(root: object) -> Iterator[object]:
    """Everything that can be reached from an object: attributes, slots, containers, generators' locals, closures."""
    seen: set[int] = set()
    todo = [root]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, type | str | int | float | type(None)):
            continue
        seen.add(id(thing))
        yield thing
        if isinstance(thing, dict):
            todo += [*thing.keys(), *thing.values()]
        elif isinstance(thing, list | tuple | set | frozenset) or type(thing).__name__ == "deque":
            todo += list(thing)  # type: ignore[call-overload]
        elif isinstance(thing, GeneratorType):
            todo += [thing.gi_frame, thing.gi_yieldfrom]
        elif isinstance(thing, FrameType):
            todo += list(thing.f_locals.values())
        elif callable(thing) and getattr(thing, "__closure__", None):
            todo += [cell.cell_contents for cell in thing.__closure__]  # type: ignore[attr-defined]
        if isinstance(thing, np.ndarray):
            todo.append(thing.base)
        todo += list(getattr(thing, "__dict__", {}).values())
        for cls in type(thing).__mro__:
            names = getattr(cls, "__slots__", ())
            todo += [getattr(thing, n, None) for n in ([names] if isinstance(names, str) else names)]


def holds(party: object, secret: NDArray[np.generic]) -> bool:
    """Whether the secret's numbers are anywhere in reach: as an array of any shape, signed or mod 2^K, or as bytes."""
    k = TOP.ring_bits
    want = secret.astype(np.int64).reshape(-1)
    forms = {bytes(pack(mod(want, k), k)), want.astype("<i4").tobytes(), secret.tobytes()}
    for thing in reachable(party):
        if isinstance(thing, np.ndarray) and thing.dtype.kind in "iuf" and thing.size >= want.size:
            flat = mod(thing.astype(np.int64).reshape(-1), k)
            if thing.size == want.size and (flat == mod(want, k)).all():
                return True
        if isinstance(thing, bytes | bytearray) and any(form in bytes(thing) for form in forms):
            return True
    return False


def at_every_step(network: Network, image: NDArray[np.int8]) -> Iterator[Parties]:
    parties = make_parties(network, image, seeds(3), session(3))
    by_role = parties.by_role()
    yield parties
    queue = [(role, out) for role, party in by_role.items() for out in party.start()]
    while queue:
        here, out = queue.pop(0)
        queue += [(out.to, o) for o in by_role[out.to].receive(here, out.frame)]
        yield parties


def test_each_party_holds_its_own_secret_alone() -> None:
    network, image = fill(TOP, 8), images(TOP.input_shape, 8)["random"]
    weights = [w for layer in network.weights for w in layer] + [b for b in network.biases if b.size > 1]
    found_weights = found_image = False
    for parties in at_every_step(network, image):
        for w in weights:
            assert not holds(parties.patient, w)
            assert not holds(parties.dealer, w)
            found_weights |= holds(parties.model, w)
        assert not holds(parties.model, image)
        assert not holds(parties.dealer, image)
        found_image |= holds(parties.patient, image)
    assert found_weights, "the walk would not find weights"
    assert found_image, "the walk would not find the image"
    assert not any(holds(p, w) for p in parties.by_role().values() for w in weights), "dropped when done"
    assert not any(holds(p, image) for p in parties.by_role().values()), "dropped when done"


def test_no_party_but_its_owner_holds_a_seed() -> None:
    network, image, keys = fill(TOP, 8), images(TOP.input_shape, 8)["random"], seeds(3)
    owners = {
        keys.patient_dealer: {Role.PATIENT, Role.DEALER},
        keys.model_dealer: {Role.DEALER},  # M needs E alone once it is made
        keys.dealer: {Role.DEALER},
    }
    found: dict[bytes, set[Role]] = {seed: set() for seed in owners}
    for parties in at_every_step(network, image):
        for role, party in parties.by_role().items():
            for thing in reachable(party):
                if isinstance(thing, bytes) and thing in found:
                    found[thing].add(role)
    assert found == owners


def test_secrets_refuse_to_be_shown() -> None:
    network, image = fill(TOP, 8), images(TOP.input_shape, 8)["random"]
    parties = make_parties(network, image, seeds(3), session(3))
    result = run_local(network, image, seeds(4), session(4))[0]
    stream = Stream(bytes(32), b"x")
    kept = mask_weights(network, bytes(32))
    for thing in (network, *parties.by_role().values(), result, seeds(3), stream, kept, parties):
        assert isinstance(thing, Secret)
        for act in (repr, str, bool, pickle.dumps, copy.copy, "{}".format):
            with pytest.raises(TypeError, match="secret"):
                act(thing)
