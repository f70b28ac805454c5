"""Every level of the native kernels computes what the portable ones do, to the bit, and refuses what does not fit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from protocols.blind.kernels import ClipSize, Kernels, Mask, PortableKernels, Words, packed_size
from protocols.blind.layers import Conv, ConvTranspose, Dense, Scale, Shape, Term
from protocols.errors import ProtocolError

native = pytest.importorskip(
    "protocols.blind.kernels.native", reason="the native kernels were not built", exc_type=ImportError
)
PORTABLE = PortableKernels()
LEVELS = native.levels()
EDGES = np.array([0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFF, 0x800000, 0xFFFFFF, 0xFFFFFFFF], np.uint32)


@pytest.fixture(params=LEVELS)
def kernels(request: pytest.FixtureRequest) -> Kernels:
    made: Kernels = native.NativeKernels(request.param)
    return made


def words(rng: np.random.Generator, shape: tuple[int, ...], bits: int = 32) -> Words:
    """Uniform words, a fifth of them extreme."""
    made = rng.integers(0, 1 << bits, shape, dtype=np.uint32)
    edge = rng.choice(EDGES & np.uint32((1 << bits) - 1), shape)
    return np.where(rng.random(shape) < 0.2, edge, made).astype(np.uint32)


def weights_of(rng: np.random.Generator, shape: tuple[int, ...], bits: int, wide: bool) -> np.ndarray:
    if wide:
        return (
            rng.choice([0, 1, (1 << bits) - 1, -1, 1 << (bits - 1)], shape)
            if rng.random() < 0.2
            else (rng.integers(0, 1 << bits, shape))
        )
    return rng.choice([-32767, 32767, 0], shape) if rng.random() < 0.3 else rng.integers(-32767, 32768, shape)


def agree(kernels: Kernels, term: Term, shape: Shape, n: int, bits: int, wide: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    want, target = native._shapes(term, shape)
    w, x, start = weights_of(rng, want, bits, wide), words(rng, (n, *shape)), words(rng, (n, *target))
    expected, got = start.copy(), start.copy()
    PORTABLE.prepare(term, shape, w, bits, wide).apply(x, expected)
    kernels.prepare(term, shape, w, bits, wide).apply(x, got)
    np.testing.assert_array_equal((got ^ expected) & np.uint32((1 << bits) - 1), 0)


CONVS = [
    (Conv(0, 6, 5), (3, 28, 28), 1),
    (Conv(0, 16, 5), (6, 12, 12), 2),
    (Conv(0, 64, 7, 2, 3), (3, 64, 64), 1),
    (Conv(0, 64, 3, 1, 1), (64, 16, 16), 1),
    (Conv(0, 128, 3, 2, 1), (64, 16, 16), 1),
    (Conv(0, 64, 1, 2), (70, 15, 17), 1),
    (Conv(0, 33, 3, 1, 1), (65, 2, 2), 1),
    (Conv(0, 48, 3, 1, 1), (40, 2, 2), 3),
    (Conv(0, 17, 1), (130, 1, 1), 1),
    (Conv(0, 16, 3, 1, 1), (1, 128, 128), 1),
    (Conv(0, 3, 3, 1, 1), (40, 96, 130), 1),
    (Conv(0, 5, 3, 1, 1, 1), (4, 1, 300), 1),
    (Conv(0, 5, 3, 2, 1, 1), (4, 300, 1), 2),
    (Conv(0, 2, 2, 3), (3, 31, 50), 3),
    (Conv(0, 32, 3, 1, 1, 0, 32), (32, 14, 14), 1),
    (Conv(0, 24, 5, 2, 2, 1, 24), (24, 31, 33), 2),
    (Conv(0, 12, 3, 1, 1, 0, 4), (8, 9, 65), 1),
]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(("term", "shape", "n"), CONVS)
def test_convolution(kernels: Kernels, term: Conv, shape: Shape, n: int, wide: bool) -> None:
    agree(kernels, term, shape, n, 20 if n == 1 else 24, wide, seed=n)


@pytest.mark.parametrize("seed", range(40))
def test_convolution_of_any_shape(kernels: Kernels, seed: int) -> None:
    rng = np.random.default_rng(seed)
    k, stride, trailing = (int(rng.integers(*r)) for r in ((1, 8), (1, 4), (0, 2)))
    groups = int(rng.integers(1, 5)) if seed % 4 == 0 else 1
    shape = (groups * int(rng.integers(1, 71 // groups)), *(int(s) for s in rng.integers(k, k + 34, 2)))
    out = groups * int(rng.integers(1, 40))
    term = Conv(0, out, k, stride, int(rng.integers(0, k)), trailing, groups)
    agree(kernels, term, shape, int(rng.integers(1, 4)), int(rng.integers(12, 25)), seed % 2 == 1, seed)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(
    ("term", "shape"),
    [
        (ConvTranspose(0, 8, 2, 2), (16, 8, 8)),
        (ConvTranspose(0, 3, 3, 2, 1, 1), (5, 7, 20)),
        (ConvTranspose(0, 4, 5, 1, 2), (3, 6, 6)),
        (ConvTranspose(0, 1, 1, 3, 0, 2), (2, 4, 5)),
        (ConvTranspose(0, 2, 7, 4, 3, 3), (70, 3, 2)),
        (Dense(0, 10), (84, 1, 1)),
        (Dense(0, 120), (400, 1, 1)),
        (Dense(0, 1), (1, 1, 1)),
        (Scale(0), (7, 5, 9)),
    ],
)
def test_other_terms(kernels: Kernels, term: Term, shape: Shape, wide: bool) -> None:
    for n in (1, 3, 20):
        agree(kernels, term, shape, n, 22, wide, seed=n)


def test_the_worst_sums_wrap_rightly(kernels: Kernels) -> None:
    """All operands at their ends: the longest sums of the largest products."""
    for weight in (-32767, 32767):
        w = np.full((17, 512, 3, 3), weight, np.int64)
        for value in (0, 0xFFFFFF, 0x7FFFFF, 0xFFFFFFFF, 0x808080):
            x, out = np.full((1, 512, 3, 3), value, np.uint32), np.zeros((1, 17, 1, 1), np.uint32)
            kernels.prepare(Conv(0, 17, 3), (512, 3, 3), w, 24, False).apply(x, out)
            assert ((out.astype(np.int64) - weight * value * 4608) % (1 << 24) == 0).all()


@pytest.mark.parametrize("width", range(1, 33))
def test_packing(kernels: Kernels, width: int) -> None:
    rng = np.random.default_rng(width)
    for count in (0, 1, 7, 8, 15, 16, 17, 63, 64, 65, 333):
        values = rng.integers(0, 1 << 32, count, dtype=np.uint32)
        kept = values & np.uint32((1 << width) - 1)
        number = sum(int(v) << (i * width) for i, v in enumerate(kept))
        packed = kernels.pack(values, width)
        assert packed == number.to_bytes(packed_size(count, width), "little")
        for data in (packed, bytearray(packed), memoryview(packed)):
            np.testing.assert_array_equal(kernels.unpack(data, count, width), kept)
        with pytest.raises(ProtocolError, match="length"):
            kernels.unpack(packed + b"\0", count, width)
        if count:
            with pytest.raises(ProtocolError, match="length"):
                kernels.unpack(packed[:-1], count, width)
        if count * width % 8:
            with pytest.raises(ProtocolError, match="tail"):
                kernels.unpack(packed[:-1] + bytes([packed[-1] | 0x80]), count, width)


def mask_of(rng: np.random.Generator, clip: ClipSize, n: int) -> Mask:
    index = rng.integers(0, 1 << clip.width, n, dtype=np.uint32)
    rows = rng.integers(0, 256, (n, clip.row_bytes), dtype=np.uint8)
    return Mask.of(clip, index, rng.integers(0, 1 << 24, (8, n), dtype=np.uint32), rows)


def dealt(kernels: Kernels, clip: ClipSize, patient: Mask, fresh: Words) -> Mask:
    model = Mask.blank(clip, fresh.size)
    kernels.deal(clip, patient, fresh, model)
    return model


CLIPS = [
    ClipSize(20, 9, 4, 7),
    ClipSize(20, 8, 1, 0),
    ClipSize(24, 10, 6, 8, -512),
    ClipSize(16, 3, 1, 12),
    ClipSize(12, 3, 2, 7, -4),
    ClipSize(22, 10, 5, 7),
    ClipSize(20, 8, 8, 4, -128),
    ClipSize(24, 9, 7, 8),
    ClipSize(20, 6, 6, 8, -32),
    ClipSize(20, 10, 1, 0),
]


@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize("n", [1, 15, 16, 17, 19, 40, 66, 1000, 8192, 9001])
def test_clip_steps(kernels: Kernels, clip: ClipSize, n: int) -> None:
    rng = np.random.default_rng(n)
    patient = mask_of(rng, clip, n)
    model, again = (
        dealt(k, clip, patient, words(np.random.default_rng(n + 1), (n,))) for k in (PORTABLE, kernels)
    )
    assert model.encode() == again.encode() == Mask.read(clip, n, model.encode()).encode()
    np.testing.assert_array_equal(model.index, again.index)
    np.testing.assert_array_equal(model.words, again.words)
    np.testing.assert_array_equal(model.rows, again.rows)
    z0, ahead, wire = words(rng, (n,)), words(rng, (n,), clip.width), words(rng, (n,))
    message, opened = PORTABLE.open(clip, z0, ahead, model)
    mine, kept = kernels.open(clip, z0, ahead, again)
    assert mine == message
    np.testing.assert_array_equal(kept, opened)
    reply = PORTABLE.answer(clip, message, patient, wire)
    assert kernels.answer(clip, message, patient, wire) == reply
    np.testing.assert_array_equal(
        kernels.close(clip, opened, reply, again), PORTABLE.close(clip, opened, reply, model)
    )


@pytest.mark.parametrize("clip", [CLIPS[0], CLIPS[2]], ids=str)
def test_a_clip_clips(kernels: Kernels, clip: ClipSize) -> None:
    """The three parties of one clip, on every value near its ends: the shares add up to the clipped value."""
    rng = np.random.default_rng(5)
    half = 1 << (clip.width - 1)
    top = np.arange(-half, half, max(1, half // 2048)) + clip.low
    v, n = top << clip.shift, top.size
    patient = mask_of(rng, clip, n)
    model = dealt(kernels, clip, patient, words(rng, (n,)))
    ring = (1 << clip.ring_bits) - 1
    z1, wire = words(rng, (n,), clip.ring_bits), words(rng, (n,), clip.ring_bits)
    z0 = ((v - z1) & ring).astype(np.uint32)
    ahead = (z1 >> np.uint32(clip.shift)) + np.uint32(clip.shift > 0) + patient.index
    message, opened = kernels.open(clip, z0, ahead & np.uint32((1 << clip.width) - 1), model)
    made = kernels.close(clip, opened, kernels.answer(clip, message, patient, wire), model)
    value = (made.astype(np.int64) + wire - clip.low) & ring
    exact = np.clip(top - clip.low, 0, clip.ceiling)
    slack = 1 if clip.shift else 0  # local shifting rounds up or down
    assert (np.abs(value - exact) <= slack).all()


def test_misuse_is_refused(kernels: Kernels) -> None:
    term, shape, clip = Conv(0, 4, 3), (3, 8, 8), CLIPS[0]
    w = np.ones((4, 3, 3, 3), np.int64)
    good = kernels.prepare(term, shape, w, 20, False)
    x, out = np.zeros((1, 3, 8, 8), np.uint32), np.zeros((1, 4, 6, 6), np.uint32)
    for bad_x, bad_out in [
        (x[:, :2], out),
        (x, out[:, :, :5]),
        (x.astype(np.int64), out),
        (x[..., ::-1], out),
        (x[:0], out[:0]),
        (np.concatenate([x, x]), out),
    ]:
        with pytest.raises(ProtocolError):
            good.apply(bad_x, bad_out)
    for bad in (w[:3], w * 32768, -w * 32768):
        with pytest.raises(ProtocolError):
            kernels.prepare(term, shape, bad, 20, False)
    with pytest.raises(ProtocolError):
        kernels.prepare(term, shape, w, 25, False)
    with pytest.raises(ProtocolError):
        kernels.prepare(Conv(0, 4, 9), shape, np.ones((4, 3, 9, 9), np.int64), 20, False)
    rng = np.random.default_rng(0)
    mask, some = mask_of(rng, clip, 20), np.zeros(20, np.uint32)
    message, opened = kernels.open(clip, some, some, mask)
    reply = kernels.answer(clip, message, mask, some)
    short = mask_of(rng, clip, 19)
    with pytest.raises(ProtocolError):
        kernels.open(clip, some, some[:5], mask)
    with pytest.raises(ProtocolError):
        kernels.open(clip, some, some, short)
    for data in (b"", message[:-1], message + b"\0"):
        with pytest.raises(ProtocolError):
            kernels.answer(clip, data, mask, some)
    with pytest.raises(ProtocolError):
        kernels.answer(clip, message, short, some)
    for data in (b"", reply[:-1], reply + b"\0"):
        with pytest.raises(ProtocolError):
            kernels.close(clip, opened, data, mask)
    with pytest.raises(ProtocolError):
        kernels.deal(clip, mask, some[:3], mask)
    with pytest.raises(ProtocolError):
        Mask.read(clip, 20, b"\0" * 5)


def test_hostile_words_stay_in_bounds(kernels: Kernels) -> None:
    """Any bits that a peer can send, and any that a caller can hold, read inside the tables."""
    for clip in CLIPS:
        for n in (1, 17, 33):
            mask = mask_of(np.random.default_rng(n), clip, n)
            used = n * clip.open_bits % 8
            message = b"\xff" * (packed_size(n, clip.open_bits) - 1) + bytes(
                [(1 << used) - 1 if used else 255]
            )
            full = np.full(n, 0xFFFFFFFF, np.uint32)
            assert kernels.answer(clip, message, mask, full) == PORTABLE.answer(clip, message, mask, full)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ProtocolError, match="no kernels"):
        native.NativeKernels("sse")


def test_the_extension_checks_its_own_sizes() -> None:
    """Beneath the wrapper too a wrong size is an error, never a crash."""
    raw, four = native._native, np.zeros(4, np.uint32)
    layer = raw.conv(0, False, (1, 2, 2, 1, 1, 1, 0, 0), np.ones(1, np.int32))
    for call in (
        lambda: raw.conv(9, False, (1, 2, 2, 1, 1, 1, 0, 0), np.ones(1, np.int32)),
        lambda: raw.conv(0, False, (1, 2, 2, 1, 3, 1, 0, 0), np.ones(9, np.int32)),
        lambda: raw.conv(0, False, (1, 2, 2, 1, 1, 0, 0, 0), np.ones(1, np.int32)),
        lambda: raw.conv(0, False, (1, 2, 2, 1, 1, 1, -1, 0), np.ones(1, np.int32)),
        lambda: raw.conv_apply(layer, 2, four, four),
        lambda: raw.conv_apply(layer, -1, four, four),
        lambda: raw.conv_apply(layer, 1 << 62, four, four),
        lambda: raw.conv_apply(object(), 1, four, four),
        lambda: raw.grouped(0, (3, 2, 2, 1, 1, 1, 0, 0, 2), 1, four, four, four),
        lambda: raw.transposed(layer, (2, 2, 0, 1, 4, 4), 1, four, four),
        lambda: raw.transposed(layer, (1, 1, 0, 1, 3, 2), 1, four, four),
        lambda: raw.scale(1, 2, 3, four, four, four),
        lambda: raw.pack(0, 33, four),
        lambda: raw.unpack(0, 8, b"123", four),
        lambda: raw.clip_open(0, (20, 11, 1, 0, 0), four, four, four, four, four),
        lambda: raw.clip_deal(0, (20, 9, 4, 7, 0), four, four, four, four, four),
    ):
        with pytest.raises(ValueError, match=r"size|range|level|PyCapsule"):
            call()


def test_one_operator_serves_many_threads(kernels: Kernels) -> None:
    """Calls give up the interpreter lock, and share neither scratch memory nor tile registers."""
    rng = np.random.default_rng(8)
    operators = [
        kernels.prepare(
            Conv(0, 20, k, 1, k // 2), (30, 20, 20), rng.integers(-99, 99, (20, 30, k, k)), 20, False
        )
        for k in (1, 3, 5)
    ]
    inputs = [words(rng, (1, 30, 20, 20)) for _ in range(4)]

    def run(job: int) -> Words:
        out = np.zeros((1, 20, 20, 20), np.uint32)
        operators[job % 3].apply(inputs[job % 4], out)
        return out

    expected = [run(job) for job in range(12)]
    with ThreadPoolExecutor(12) as pool:
        for job, got in enumerate(pool.map(run, range(240))):
            np.testing.assert_array_equal(got, expected[job % 12])
