"""What a session will take: counted work, and how it adds up."""

from __future__ import annotations

import pytest

from protocols.blind.estimate import Link, Speed, estimate, work
from protocols.blind.layers import Affine, Clip, Conv, ConvTranspose, Scale
from protocols.blind.schedule import costs
from tests.protocols.blind.blind_samples import lenet, tiny, topology

SPEED = Speed(1e-9, 2e-9, 3e-9, 4e-9, 5e-9, 1e-3)


def test_work_is_counted_by_hand() -> None:
    # 2 x 2 outputs of 9 taps in 2 channels; 8 elements; 8 inputs to one logit.
    assert work(tiny()).multiply_adds == 2 * 2 * 2 * 9 + 8
    assert work(tiny()).elements == 8
    nodes = (
        Affine((ConvTranspose(0, 4, 2, 2),)),
        Clip(1, 4, 3),
        Affine((Conv(2, 4, 3, 1, 1, 0, 4), Scale(2))),
    )
    top = topology(nodes, (3, 5, 5), 20)
    assert work(top).multiply_adds == 3 * 25 * 4 * 4 + 4 * 100 * 9 + 4 * 100
    assert work(top).elements == 400


def test_seconds_add_up_and_grow_with_the_batch_and_the_link() -> None:
    top, near, far = lenet(32), Link(0.0, 1e12), Link(0.04, 12.5e6)
    todo, bill = work(top), costs(top)
    told = estimate(top, 1, SPEED, near)
    online = todo.multiply_adds * 1e-9 + todo.elements * 5e-9 + bill.rounds * 1e-3
    assert told.online == pytest.approx(online, rel=1e-3)
    assert told.dealing == pytest.approx(todo.multiply_adds * 2e-9 + todo.elements * 3e-9, rel=1e-2)
    assert told.bill == bill
    wide = estimate(top, 1, SPEED, far)
    assert wide.online - told.online == pytest.approx(
        bill.rounds * 0.08 + bill.bytes_online / 12.5e6, rel=1e-3
    )
    assert estimate(top, 8, SPEED, near).dealing == pytest.approx(8 * told.dealing, rel=1e-2)
    assert estimate(top, 1, SPEED, far, known=True).ahead < wide.ahead
