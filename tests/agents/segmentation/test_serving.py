"""What a suite's owner accepts and serves, and what the two sides of a session refuse of one another."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from chests import SIDE, write_suite

from agents.engine import dealing
from agents.engine.lanes import Lanes
from agents.model.suite import MOST_BATCH, Serving, SuiteDuty, is_suite
from agents.wire.channel import Channel, ChannelClosed
from models.segmentation.plan import Plan, make_plan
from models.segmentation.suite import load_suite
from protocols.blind.estimate import Speed
from protocols.blind.messages import Kind, encode_frames
from protocols.blind.topology import Topology
from protocols.case.volume import MAX_IMAGES, allowance, networks_of, suite_identity
from protocols.codec import encode
from protocols.errors import ProtocolError, WireError


class Pipe(Channel):
    """Two ends in memory."""

    def __init__(self) -> None:
        super().__init__("0x" + "11" * 20, "blind/test")
        self.frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.other: Pipe | None = None

    async def close(self) -> None:
        assert self.other is not None
        self.other.frames.put_nowait(None)

    async def _write(self, frame: bytes, timeout: float) -> None:
        assert self.other is not None
        self.other.frames.put_nowait(frame)

    async def _read(self, maximum: int, timeout: float) -> bytes:
        frame = await self.frames.get()
        if frame is None:
            raise ChannelClosed
        return frame


def pipe() -> tuple[Pipe, Pipe]:
    one, other = Pipe(), Pipe()
    one.other, other.other = other, one
    return one, other


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_suite(tmp_path_factory.mktemp("suite"))


@pytest.fixture
def owner(folder: Path) -> Any:
    """A suite's owner without wire and chain: what it says and refuses."""
    duty = SuiteDuty.__new__(SuiteDuty)
    duty.load(str(folder))
    duty.most = 64
    duty._speed = Speed(1e-11, 1e-11, 1e-8, 1e-8, 1e-8)
    return duty


def asked(plan: Plan, **more: Any) -> dict[str, Any]:
    return {"volume": plan.to_plain(), "slots": 0, **more}


# ---- the wish
def test_a_volume_within_the_limits_is_offered(owner: SuiteDuty) -> None:
    why, images, volume = owner.wish(asked(make_plan(8, "z")))
    assert (why, images) == ("", 16)
    assert volume == {"plan": make_plan(8, "z").to_plain(), "images": 16, "batches": 4}


WISHES: dict[str, tuple[dict[str, Any], str]] = {
    "too many images": (asked(make_plan(33, "z")), "66 images, and the limit is 64"),
    "an axis that the suite has not": (asked(make_plan(8, "xz")), "no network for lung along x"),
    "another side": (asked(make_plan(8, "z", 256)), f"not evaluated here, but of {SIDE}"),
    "a batch that is too large": (asked(make_plan(8, "z", batch=MOST_BATCH + 1)), f"1 to {MOST_BATCH}"),
    "audit slots": (asked(make_plan(8, "z"), slots=4), "audit slots are not offered"),
    "a picture": ({"slots": 0}, "volumes, not pictures"),
    "every image left out": (
        {"volume": {**make_plan(4, "z").to_plain(), "skipped": {"z": [0, 1, 2, 3]}}, "slots": 0},
        "leaves out every image",
    ),
    "no plan": ({"volume": {"grid": 128}, "slots": 0}, "not a plan"),
    "a plan of lies": (
        {"volume": {**make_plan(8, "z").to_plain(), "slices": -5}, "slots": 0},
        "2 to 2048 slices",
    ),
    "a plan of words": ({"volume": {**make_plan(8, "z").to_plain(), "batch": "4"}, "slots": 0}, "not a plan"),
    "not even a plan": ({"volume": 7, "slots": 0}, "not a plan"),
}


@pytest.mark.parametrize("name", WISHES)
def test_a_wish_out_of_bounds_is_refused_with_the_bound(owner: SuiteDuty, name: str) -> None:
    body, words = WISHES[name]
    why, images, volume = owner.wish(body)
    assert words in why
    assert (images, volume) == (1, {})


def test_the_owner_cannot_raise_the_limit_of_all(folder: Path) -> None:
    assert MAX_IMAGES == 4096
    assert is_suite("chest-ct-suite")
    assert is_suite(str(folder))
    assert not is_suite("LeNet")


def test_the_proposal_proves_what_its_id_stands_for(owner: SuiteDuty, folder: Path) -> None:
    case: Any = SimpleNamespace(volume=owner.wish(asked(make_plan(8, "z")))[2])
    told = owner.proposal(case)
    found = networks_of(told["suite"])
    identity = suite_identity({place: name for place, (name, _) in found.items()})
    assert identity == owner.network_id == load_suite(folder).identity
    assert told["images"] == 16
    assert told["card"]["dice"] == pytest.approx(0.9)
    for _, topology in found.values():
        assert Topology.decode(topology).input_shape == (5, SIDE, SIDE)
    assert told["costs"]["bytes"] == told["costs"]["bytes_ahead"] + told["costs"]["bytes_online"] > 10**6
    assert told["costs"]["seconds_online"] > 0


# ---- batches
def serving(owner: Any, served: int = 0) -> Serving:
    plan = make_plan(6, "z", batch=4)
    volume = {"plan": plan.to_plain(), "images": plan.images, "batches": 4}
    state = SimpleNamespace(served=served, session="s", phase="hosting")
    owner.core = SimpleNamespace(state=lambda key: state)
    body = {"session": "s", "dealer": "0x" + "22" * 20, "volume": volume}
    nobody: Any = None
    return Serving(owner, "key", body, plan, nobody, nobody)


def test_batches_of_the_plan_are_served(owner: Any) -> None:
    work = serving(owner)
    assert [work._number(["batch", n, count]) for n, count in enumerate((4, 2, 4, 2))] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "word",
    [
        ["batch", 1, 4],
        ["batch", 0, 2],
        ["batch", 4, 4],
        ["batch", -1, 2],
        ["batch", True, 4],
        ["batch", 0],
        ["batch", 0, 4, 4],
        ["batch", "0", 4],
        ["image", 0, 4],
    ],
)
def test_a_batch_of_another_size_or_place_is_refused(owner: Any, word: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        serving(owner)._number(word)


def test_more_batches_than_were_paid_for_are_refused(owner: Any) -> None:
    most = allowance({"batches": 4})
    assert serving(owner, most - 1)._number(["batch", 0, 4]) == 0
    with pytest.raises(ProtocolError, match="more batches were asked for than were paid for"):
        serving(owner, most)._number(["batch", 0, 4])


# ---- orders to the dealer
def test_orders_for_a_suite_go_there_and_back() -> None:
    members = {("lung", "z"): b"l" * 32, ("infection", "z"): b"i" * 32}
    frame = dealing.suite_order(members)
    assert dealing.is_suite_order(frame)
    assert dealing.read_suite_order(frame) == members
    assert not dealing.is_suite_order(dealing.take_order(b"t" * 32, b"n" * 32, 4))
    assert dealing.read_next_order(dealing.over()) is None
    order = dealing.Order(b"topology", b"n" * 32, b"s" * 32, 4)
    assert dealing.read_next_order(dealing.deal_order(order)) == order


@pytest.mark.parametrize(
    "value",
    [
        ["suite", 5],
        ["suite", [["lung", "z"]]],
        ["suite", [["lung", "z", b"short"]]],
        ["suite", [[1, 2, b"h" * 32]]],
        ["suite", [["lung", "z", b"h" * 32], ["noise", "z", b"h" * 32]]],
        ["suite", [["lung", "z", b"h" * 32], ["lung", "xy", b"h" * 32]]],
        ["suite", [["lung", "z", b"h" * 32], ["lung", "z", b"i" * 32]]],
        ["suite"],
    ],
)
def test_an_order_that_is_malformed_is_refused(value: Any) -> None:
    with pytest.raises(ProtocolError):
        dealing.read_suite_order(encode(value))


# ---- lanes
def frame(name: bytes, body: bytes = b"body") -> bytes:
    return next(encode_frames(Kind.HELLO, name, 0, body))


async def test_frames_find_their_lane_and_words_pass_between() -> None:
    near, far = pipe()
    async with Lanes(near) as lanes:
        first, second = b"1" * 32, b"2" * 32
        await far.send(encode(["tape", first]))
        await far.send(frame(first, b"one"))
        await far.send(frame(second, b"two"))
        await far.send(encode(["done"]))
        assert await lanes.hear("tape", 2) == ["tape", first]
        one, two = lanes.open(first), lanes.open(second)
        assert (await two.recv()).endswith(b"two")
        assert (await one.recv()).endswith(b"one")
        assert await lanes.word() == ["done"]


async def test_a_lane_that_is_slow_keeps_nothing_of_the_next() -> None:
    """What comes after a session's end, for the next one, is there when its lane opens."""
    near, far = pipe()
    async with Lanes(near) as lanes:
        name, later = b"1" * 32, b"2" * 32
        lane = lanes.open(name)
        for n in range(100):
            await far.send(frame(name, b"%d" % n))
        await far.send(frame(later, b"next"))
        for n in range(50):
            assert (await lane.recv()).endswith(b"%d" % n)
        lanes.close(name)
        assert (await lanes.open(later).recv(5)).endswith(b"next")


async def test_what_ends_the_channel_ends_every_lane() -> None:
    near, far = pipe()
    async with Lanes(near) as lanes:
        lane = lanes.open(b"1" * 32)
        await far.close()
        with pytest.raises(ChannelClosed):
            await lane.recv(5)
        with pytest.raises(ChannelClosed):
            await lanes.word(5)
        with pytest.raises(ChannelClosed):
            await lanes.open(b"2" * 32).recv(5)


async def test_a_name_is_used_once() -> None:
    near, _ = pipe()
    async with Lanes(near) as lanes:
        lanes.open(b"1" * 32)
        with pytest.raises(ProtocolError, match="used twice"):
            lanes.open(b"1" * 32)


@pytest.mark.parametrize("sent", [b"\xff\xff", encode(7), encode([]), encode([1, 2]), encode({"a": 1})])
async def test_a_word_that_is_none_is_refused(sent: bytes) -> None:
    near, far = pipe()
    async with Lanes(near) as lanes:
        await far.send(sent)
        with pytest.raises(ProtocolError):
            await lanes.word(5)


async def test_another_word_than_the_one_that_is_due_is_refused() -> None:
    near, far = pipe()
    async with Lanes(near) as lanes:
        await far.send(encode(["sorry", "no tape is left"]))
        with pytest.raises(ProtocolError, match="no tape is left"):
            await lanes.hear("tape", 2, 5)
        await far.send(encode(["batch", 1]))
        with pytest.raises(ProtocolError, match="'tape'"):
            await lanes.hear("tape", 2, 5)
        with pytest.raises(WireError, match="silent"):
            await lanes.word(0.05)
