"""The first transfers: what either side ends with, and what it refuses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from models.homomorphic.base import POINT, Choosing, Offering, model_setup, patient_setup
from protocols.blind.pairwise.extension import BLOCKS, KEY_BITS, LEAVES, ReceiverKeys, SenderKeys
from protocols.errors import ProtocolError

pytestmark = pytest.mark.he


def drawn(name: str) -> Callable[[int], bytes]:
    """A source that a name makes repeat."""
    number = 0

    def draw(count: int) -> bytes:
        nonlocal number
        number += 1
        return hashlib.shake_256(f"{name} {number}".encode()).digest(count)

    return draw


def assert_all_but_one(sender: SenderKeys, receiver: ReceiverKeys) -> None:
    for block in range(BLOCKS):
        same = [sender.seeds[block][leaf] == receiver.seeds[block][leaf] for leaf in range(LEAVES)]
        assert same == [leaf != sender.leaf(block) for leaf in range(LEAVES)]


def test_the_one_who_will_offer_gets_all_seeds_but_one() -> None:
    """In both directions at once, and the public key arrives."""
    patient, model = patient_setup(drawn("p"), b"public"), model_setup(drawn("m"))
    said = next(patient)
    assert next(model) == b""
    said = patient.send(model.send(said))
    with pytest.raises(StopIteration) as theirs:
        model.send(said)
    last, (model_ends, public) = theirs.value.value
    with pytest.raises(StopIteration) as mine:
        patient.send(last)
    assert public == b"public"
    assert_all_but_one(mine.value.value[1].sender, model_ends.receiver)
    assert_all_but_one(model_ends.sender, mine.value.value[1].receiver)
    assert mine.value.value[1].sender.delta != model_ends.sender.delta


def test_the_points_do_not_show_the_choice() -> None:
    """All are of the group's prime order, all differ, and other Deltas make other points of the same kind."""
    first = Offering(drawn("a")).first
    for name in ("b", "c"):
        choosing = Choosing(drawn(name))
        points = choosing.choose(first)
        several = {choosing.point(points[i : i + POINT], "it") for i in range(0, len(points), POINT)}
        assert len(several) == KEY_BITS


def test_what_is_no_point_is_refused() -> None:
    """Not of the curve, of small order, of a mixed order, too short."""
    offering = Offering(drawn("a"))
    right = Choosing(drawn("b")).choose(offering.first)
    identity = b"\1" + bytes(31)
    for wrong in (bytes(32), identity, b"\xff" * 32, (2).to_bytes(32, "little"), bytes(31)):
        with pytest.raises(ProtocolError):
            Choosing(drawn("c")).choose(wrong)
        with pytest.raises(ProtocolError):
            offering.answer(wrong + right[len(wrong) :] if len(wrong) == POINT else right[:-1])
    with pytest.raises(ProtocolError):
        offering.answer(offering.first * KEY_BITS + b"\0")
    choosing = Choosing(drawn("d"))
    sealed = offering.answer(choosing.choose(offering.first))
    with pytest.raises(ProtocolError):
        choosing.take(sealed[:-1])
