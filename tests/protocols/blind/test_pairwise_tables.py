"""A clip's tables made by two: what a dealer would deal, by shares of which each side's are noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from blind_samples import draw
from blind_statistics import Field, View, differences, findings
from pairwise_samples import chunk_talks, patient_mask, steps_of

from protocols.blind.kernels.interface import ClipSize, Mask
from protocols.blind.kernels.portable import PortableKernels
from protocols.blind.pairwise import extension
from protocols.blind.pairwise.talk import Talk
from protocols.blind.prg import Stream
from protocols.errors import ProtocolError

SIZES = [(b, h) for b in range(3, 11) for h in range(1, 9) if b + h <= 16]
SMALL = ClipSize(20, 4, 2, 14)
COUNT = 1 << 12


def made(talk: Talk[None], other: Talk[Mask]) -> Mask:
    """What M ends with."""
    next(talk)
    words = next(other)
    while True:
        try:
            words = talk.send(words)
        except StopIteration as end:
            words = end.value[0]
        try:
            words = other.send(words)
        except StopIteration as end:
            result: Mask = end.value[1]
            return result


@pytest.mark.parametrize(("b", "h"), SIZES)
def test_it_is_what_a_dealer_deals(b: int, h: int) -> None:
    """Given r and the five bits that came out, M's share is, byte for byte, the portable kernels' own."""
    clip = ClipSize(24, b, h, 24 - b - h)
    count = 45
    mask = patient_mask(clip, count, f"mask {b} {h}")
    got = made(*chunk_talks(clip, mask, f"chunk {b} {h}"))
    width = np.uint32((1 << clip.width) - 1)
    r = (mask.index.astype(np.uint32) + got.index) & width
    words = (mask.words + got.words) & np.uint32(0xFFFFFF)
    c0, c1, g0, g1 = words[4:]
    assert all(set(np.unique(bit)) == {0, 1} for bit in (c0, c1, g0, g1))
    up = words[0] + (r & np.uint32(clip.ceiling))  # 2^b d
    d = (up >> np.uint32(b)) & np.uint32(1)
    fresh = r.astype(np.uint64)
    for place, bit in enumerate((d, c0, c1, g0, g1)):
        fresh |= bit.astype(np.uint64) << np.uint64(clip.width + place)
    want = Mask.blank(clip, count)
    short = fresh.astype(np.uint32)
    PortableKernels().deal(clip, mask, short, want)
    np.testing.assert_array_equal((want.index ^ got.index) & width, 0)
    np.testing.assert_array_equal(want.words & np.uint32(0xFFFFFF), got.words & np.uint32(0xFFFFFF))
    np.testing.assert_array_equal(want.rows, got.rows)


def view(name: str, index: int | None = None) -> tuple[View, View]:
    """All that P and M hear in one chunk, byte by byte; and M's share. index: P's, the same for all elements."""
    mask = patient_mask(SMALL, COUNT, name)
    if index is not None:
        mask = Mask(SMALL, np.full(COUNT, index, np.uint16), mask.data)
    talks = chunk_talks(SMALL, mask, name)
    heard: tuple[View, View] = {}, {}
    for number, (speaker, words) in enumerate(steps_of(*talks)):
        values = np.frombuffer(words, np.uint8).astype(np.int64)[None]
        heard[1 - speaker][f"message {number}"] = {"byte": Field(values, 8)}
    return heard


@pytest.mark.parametrize("index", [None, 0, 0xFFFF])
def test_each_side_hears_noise(index: int | None) -> None:
    for heard in view("noise", index):
        assert len(heard) == 3
        assert findings(heard, 1) == []


def test_two_secrets_look_alike() -> None:
    for one, two in zip(view("one", 0), view("two", 0x5A5A), strict=True):
        assert differences(one, two) == []


def test_weak_pads_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """The statistic sees pads that repeat."""
    right: Callable[..., np.ndarray] = extension.pads

    def weak(keys: np.ndarray, call: bytes, size: int) -> np.ndarray:
        return right(keys, call, size) & np.uint8(0x7F)

    monkeypatch.setattr(extension, "pads", weak)
    assert findings(view("weak")[1], 1) != []


def test_the_share_of_the_model_is_noise() -> None:
    """Its rows and words, bit by bit and in pairs, though r and the bits that it drew are fixed."""
    mask = patient_mask(SMALL, COUNT, "share")
    got = made(*chunk_talks(SMALL, mask, "share"))
    rows = {f"row {i}": Field(got.rows[:, i][None].astype(np.int64), 8) for i in range(SMALL.row_bytes)}
    words = {f"word {i}": Field(got.words[i][None].astype(np.int64), 24) for i in range(8)}
    assert findings({"share": rows | words}, 1) == []


@pytest.mark.parametrize("change", ["cut", "longer", "empty"])
@pytest.mark.parametrize("step", range(6))
def test_a_message_of_another_length_is_refused(step: int, change: str) -> None:
    talks = chunk_talks(SMALL, patient_mask(SMALL, 24, "m"), "m")
    next(talks[0])
    words, to = next(talks[1]), 0
    for number in range(6):
        if number == step:
            words = {"cut": words[:-1], "longer": words + b"\0", "empty": b""}[change]
            with pytest.raises(ProtocolError, match="wrong length"):
                talks[to].send(words)
            return
        try:
            words = talks[to].send(words)
        except StopIteration as end:
            words = end.value[0]
        to = 1 - to


def test_garbage_of_the_right_length_ends_well() -> None:
    """It spoils the share, no more: a passive protocol does not notice lies."""
    talks = chunk_talks(SMALL, patient_mask(SMALL, 24, "g"), "g")
    *lengths, last = [len(words) for speaker, words in steps_of(*talks) if speaker == 0]
    _, model = chunk_talks(SMALL, patient_mask(SMALL, 24, "g"), "g")
    next(model)
    for length in lengths:
        assert model.send(Stream(draw("garbage"), b"").octets(length).tobytes())
    with pytest.raises(StopIteration) as end:
        model.send(Stream(draw("garbage"), b"").octets(last).tobytes())
    assert isinstance(end.value.value[1], Mask)


def test_the_model_draws_its_own_part() -> None:
    """Two chunks with other streams of M's have other r."""
    one, two = (made(*chunk_talks(SMALL, patient_mask(SMALL, 64, "same"), name)) for name in ("x", "y"))
    assert (one.index != two.index).any()
