"""Packed bits, and transfers made from few: right for any input, and each side's view noise."""

from __future__ import annotations

import numpy as np
import pytest
from blind_samples import draw
from blind_statistics import Field, findings
from pairwise_samples import keys

from protocols.blind.pairwise import bits
from protocols.blind.pairwise.bits import Cut
from protocols.blind.pairwise.extension import (
    BLOCKS,
    Choices,
    Offers,
    Receiver,
    ReceiverKeys,
    Sender,
    SenderKeys,
    pads,
    transfer_bytes,
)
from protocols.errors import ProtocolError

COUNT = 1 << 12


def random(number: int) -> np.random.Generator:
    return np.random.default_rng(number)


def test_a_matrix_of_bits_is_turned() -> None:
    rows = random(1).integers(0, 256, (128, 37)).astype(np.uint8)
    wide = np.unpackbits(rows, axis=1, bitorder="little")
    np.testing.assert_array_equal(bits.transposed(rows), np.packbits(wide.T, axis=1, bitorder="little"))


@pytest.mark.parametrize("width", [2, 4, 8, 16, 128, 1024])
def test_rows_of_bits(width: int) -> None:
    """Turned, cut, summed: as on unpacked ones; what lies beyond a short row in its byte does not count."""
    flags = random(width).integers(0, 2, (50, width)).astype(np.uint8)
    rows = np.packbits(flags, axis=1, bitorder="little")
    by = 1
    while by < width:
        dirty = rows | np.uint8(0xFF & ~((1 << width) - 1)) if width < 8 else rows
        turned = bits.entries(bits.rotated(dirty, width, by), width)
        np.testing.assert_array_equal(turned, np.roll(flags, by, axis=1))
        np.testing.assert_array_equal(bits.parity(bits.top(rows, width, by)), flags[:, -by:].sum(1) % 2)
        by *= 2
    beyond = (np.cumsum(flags[:, ::-1], axis=1)[:, ::-1] - flags) % 2
    np.testing.assert_array_equal(bits.entries(bits.above(rows), width), beyond)
    at = random(2).integers(0, width, 50)
    np.testing.assert_array_equal(np.argmax(bits.entries(bits.unit(at, width), width), 1), at)


def test_words_of_three_bytes() -> None:
    words = random(3).integers(0, 1 << 32, (3, 9)).astype(np.uint32)
    np.testing.assert_array_equal(bits.from_three(bits.to_three(words)), words & np.uint32(0xFFFFFF))


def extended(
    name: str, choices: np.ndarray, call: bytes = b"call"
) -> tuple[bytes, np.ndarray, np.ndarray, Sender]:
    sender_keys, receiver_keys = keys(name)
    sender = Sender(sender_keys)
    message, v = Receiver(receiver_keys).extend(np.packbits(choices, bitorder="little"), call)
    assert len(message) == transfer_bytes(len(choices))
    w = sender.extend(np.frombuffer(message, np.uint8).reshape(BLOCKS, -1), call)
    return message, v, w, sender


def test_a_transfer_is_the_choice_times_delta() -> None:
    choices = random(4).integers(0, 2, COUNT).astype(np.uint8)
    _, v, w, sender = extended("a", choices)
    np.testing.assert_array_equal(w ^ v, choices[:, None] * sender.delta)
    assert len(np.unique(v, axis=0)) == COUNT


def test_the_seed_at_delta_is_not_needed() -> None:
    """What the sender must not have, it does not use."""
    sender_keys, receiver_keys = keys("a")
    other = [list(row) for row in sender_keys.seeds]
    for block, row in enumerate(other):
        assert row[sender_keys.leaf(block)] != receiver_keys.seeds[block][sender_keys.leaf(block)]
        row[sender_keys.leaf(block)] = bytes(32)
    message, _ = Receiver(receiver_keys).extend(np.zeros(8, np.uint8), b"x")
    body = np.frombuffer(message, np.uint8).reshape(BLOCKS, -1)
    one = Sender(sender_keys).extend(body, b"x")
    np.testing.assert_array_equal(one, Sender(SenderKeys(sender_keys.delta, other)).extend(body, b"x"))


@pytest.mark.parametrize("chosen", [0, 1])
def test_the_sender_sees_noise(chosen: int) -> None:
    """The receiver's message, whatever it chooses; and no call repeats another."""
    message, v, _, _ = extended("b", np.full(COUNT, chosen, np.uint8))
    again, other, _, _ = extended("b", np.full(COUNT, chosen, np.uint8), b"another")
    for noise in (message, v.tobytes(), bytes(a ^ b for a, b in zip(message, again, strict=True))):
        values = np.frombuffer(noise, np.uint8)[None].astype(np.int64)
        assert findings({"said": {"byte": Field(values, 8)}}, 1) == []
    assert not (v == other).all(1).any()


def test_choices_without_a_mask_would_show() -> None:
    """The statistic sees a receiver whose seeds are all alike: then what it adds cancels."""
    receiver = Receiver(ReceiverKeys([[draw("one")] * 16] * BLOCKS))
    message, _ = receiver.extend(np.full(COUNT // 8, 255, np.uint8), b"call")
    values = np.frombuffer(message, np.uint8)[None].astype(np.int64)
    assert findings({"said": {"byte": Field(values, 8)}}, 1) != []


@pytest.mark.parametrize("size", [3, 16, 17, 40])
def test_pads_and_products(size: int) -> None:
    """Shares of choice x offer, XOR and additive; the receiver has one pad of the two."""
    choices = random(5).integers(0, 2, (2, 512)).astype(np.uint8)
    _, v, w, sender = extended("c", choices.reshape(-1))
    offers = Offers(sender, w.reshape(2, 512, 16), b"p", size)
    taken = Choices(choices, v.reshape(2, 512, 16), b"p", size)
    for slot in range(2):
        what = random(6).integers(0, 256, (512, size)).astype(np.uint8)
        message, mine = offers.xor(what, slot)
        np.testing.assert_array_equal(mine ^ taken.xor(message, slot), what * choices[slot][:, None])
        number = random(7).integers(0, 1 << 32, 512).astype(np.uint32)
        told, share = offers.add(number, slot)
        total = (share + taken.add(told, slot)) & np.uint32(0xFFFFFF)
        np.testing.assert_array_equal(total, (number * choices[slot]) & np.uint32(0xFFFFFF))
    mine = pads(v, b"p", size).reshape(2, 512, size)
    right = np.where(choices[..., None] == 1, offers.one, offers.zero)
    np.testing.assert_array_equal(mine, right)
    assert not (np.where(choices[..., None] == 1, offers.zero, offers.one) == mine).all(-1).any()
    assert not (pads(v, b"q", size) == pads(v, b"p", size)).all(-1).any()


def test_lengths() -> None:
    with pytest.raises(ProtocolError, match="wrong length"):
        Cut(bytes(3), "it").take(4)
    cut = Cut(bytes(3), "it")
    cut.take(2)
    with pytest.raises(ProtocolError, match="wrong length"):
        cut.end()
    with pytest.raises(ProtocolError, match="wrong length"):
        Sender(keys("a")[0]).extend(np.zeros((BLOCKS - 1, 4), np.uint8), b"x")


def test_keys_are_secrets() -> None:
    for thing in (*keys("a"), Sender(keys("a")[0]), Receiver(keys("a")[1])):
        with pytest.raises(TypeError):
            repr(thing)
