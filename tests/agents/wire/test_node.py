"""The libp2p node: Noise or nothing, and whatever a peer does, the host goes on."""

from __future__ import annotations

import asyncio
import random

import pytest
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from multiaddr import Multiaddr
from wire_harness import PATIENCE, free_port, ring, until

from agents.wire.identity import split_multiaddr
from agents.wire.limits import Limits
from agents.wire.node import Node
from protocols.errors import WireError
from protocols.records import PeerRecord

ASK, TELL, CHANNEL = "/test/ask/1", "/test/tell/1", "/test/channel/1"
QUICK = Limits(dial_timeout=2.0, request_timeout=2.0, backoff_first=0.05, backoff_most=0.2)


class Host:
    """A node that answers questions backwards, fails on `fail`, and keeps what it is told."""

    def __init__(self, number: int, port: int = 0, limits: Limits = QUICK) -> None:
        self.ring = ring(number)
        self.wallet = self.ring.address
        self.node = Node(self.ring, "127.0.0.1", port, rng=random.Random(number), limits=limits)
        self.told: list[tuple[str, bytes]] = []
        self.node.serve_requests(ASK, self.answer)
        self.node.serve_messages(TELL, self.tell)

    async def answer(self, wallet: str, question: bytes) -> bytes:
        if question == b"fail":
            raise ValueError("a bug of the application")
        if question == b"sleep":
            await asyncio.sleep(60)
        return question[::-1]

    def tell(self, wallet: str, data: bytes, taken) -> None:
        if data == b"fail":
            raise ValueError("a bug of the application")
        self.told.append((wallet, data))
        taken()

    @property
    def address(self) -> str:
        return f"{self.node.addresses[0]}/p2p/{self.node.peer_id}"

    @property
    def port(self) -> int:
        return int(self.node.addresses[0].rsplit("/", 1)[1])


@pytest.fixture
async def host():
    running: list[Host] = []

    async def start(*arguments, **named) -> Host:
        made = Host(*arguments, **named)
        running.append(made)
        await made.node.start()
        return made

    yield start
    for made in reversed(running):
        await made.node.stop()


async def test_questions_and_messages_with_proved_wallets(host):
    a, b = await host(1), await host(2)
    assert a.node.learn_address(b.address) == b.wallet
    assert await a.node.request(b.wallet, ASK, b"abc") == b"cba"
    a.node.send(b.wallet, TELL, b"k", b"hello")
    await until(lambda: b.told == [(a.wallet, b"hello")])
    b.node.send(a.wallet, TELL, b"k", b"over your connection")  # without ever having learnt an address
    await until(lambda: a.told == [(b.wallet, b"over your connection")])


async def test_plaintext_is_refused(host):
    """A libp2p host that offers no encryption does not get in; one with Noise does (the other tests)."""
    a = await host(1)
    info = info_from_p2p_addr(Multiaddr(a.address))

    async def knock() -> str:
        keys = create_new_key_pair()
        plain = new_host(key_pair=keys, sec_opt={PLAINTEXT_PROTOCOL_ID: InsecureTransport(keys)})
        async with plain.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]):
            try:
                with trio.fail_after(5):
                    await plain.get_network().dial_addr(info.addrs[0], info.peer_id)
            except Exception as error:
                return type(error).__name__
        return "accepted"

    assert await asyncio.to_thread(trio.run, knock) in ("SwarmException", "TooSlowError")
    assert a.node._core.host.get_network().connections == {}


async def test_a_node_key_that_is_no_wallet_is_refused(host):
    a = await host(1)
    info = info_from_p2p_addr(Multiaddr(a.address))

    async def knock() -> bool:
        stranger = new_host(key_pair=create_new_key_pair())
        async with stranger.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]):
            try:
                with trio.fail_after(5):
                    await stranger.connect(info)
                    await stranger.new_stream(info.peer_id, [ASK])
            except Exception:
                return False
        return True

    assert not await asyncio.to_thread(trio.run, knock)
    b = await host(2)
    b.node.learn_address(a.address)
    assert await b.node.request(a.wallet, ASK, b"abc") == b"cba"


async def test_the_wrong_wallet_at_an_address_is_refused(host):
    a, b, c = await host(1), await host(2), await host(3)
    lie = f"{b.node.addresses[0]}/p2p/{c.node.peer_id}"
    assert a.node.learn_address(lie) == c.wallet
    with pytest.raises(WireError):
        await a.node.request(c.wallet, ASK, b"abc")
    assert c.told == b.told == []


@pytest.mark.parametrize(
    "garbage", [b"", b"\0" * 500, b"GET / HTTP/1.1\r\n\r\n", b"\x13/multistream/1.0.0\n", b"\xff" * 70000]
)
async def test_raw_sockets_with_garbage_are_survived(host, garbage):
    a, b = await host(1), await host(2)
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", a.port)
        writer.write(garbage)
        writer.close()
    _, silent = await asyncio.open_connection("127.0.0.1", a.port)
    b.node.learn_address(a.address)
    assert await b.node.request(a.wallet, ASK, b"abc") == b"cba"
    silent.close()


async def test_a_handler_that_fails_ends_its_stream_alone(host, caplog):
    a, b = await host(1), await host(2)
    b.node.learn_address(a.address)
    with pytest.raises(WireError, match="did not answer"):
        await b.node.request(a.wallet, ASK, b"fail")
    b.node.send(a.wallet, TELL, b"1", b"fail")
    await until(lambda: caplog.text.count("a bug of the application") == 2)
    assert await b.node.request(a.wallet, ASK, b"abc") == b"cba"
    await asyncio.sleep(0.2)
    b.node.send(a.wallet, TELL, b"2", b"works")
    await until(lambda: a.told == [(b.wallet, b"works")])
    assert a.node.stats["node_restarts"] == 0


async def test_an_unknown_protocol_is_refused(host):
    a, b = await host(1), await host(2)
    b.node.learn_address(a.address)
    with pytest.raises(WireError, match="does not take"):
        await b.node.request(a.wallet, "/test/unknown/1", b"")
    assert await b.node.request(a.wallet, ASK, b"abc") == b"cba"


async def test_silence_is_bounded_and_cancelling_is_clean(host):
    a, b = await host(1), await host(2, limits=Limits(request_timeout=0.5))
    b.node.learn_address(a.address)
    with pytest.raises(WireError, match="did not answer"):
        await b.node.request(a.wallet, ASK, b"sleep")
    waiting = asyncio.create_task(b.node.request(a.wallet, ASK, b"sleep"))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await b.node.request(a.wallet, ASK, b"abc") == b"cba"


async def test_inbound_slots_come_back_when_connections_close(host):
    """py-libp2p keeps them until it stops: after `connections` visitors nobody would get in."""
    a = await host(1, limits=Limits(connections=3))
    for number in range(2, 10):
        visitor = Host(number)
        await visitor.node.start()
        visitor.node.learn_address(a.address)
        assert await visitor.node.request(a.wallet, ASK, b"abc") == b"cba"
        await visitor.node.stop()
        await until(lambda: not a.node._core.host.get_network().connections)


async def test_streams_of_one_peer_are_bounded(host):
    limits = Limits(streams_per_peer=4)
    a, b, c = await host(1, limits=limits), await host(2), await host(3)
    for other in (b, c):
        other.node.learn_address(a.address)
    streams = [await b.node.open_stream(a.wallet, TELL) for _ in range(4)]
    for _ in range(3):
        with pytest.raises(WireError):
            await b.node.request(a.wallet, ASK, b"abc")
    assert a.node.stats["streams_refused"] == 3
    assert await c.node.request(a.wallet, ASK, b"abc") == b"cba"
    for stream in streams:
        await stream.close()
    await until(lambda: not a.node._core._open)
    assert await b.node.request(a.wallet, ASK, b"abc") == b"cba"


async def test_a_sender_that_ignores_flow_control_is_cut(host):
    """Yamux takes what exceeds its window with a shrug; the watchman does not."""
    limits = Limits(muxed_backlog=1 << 20, inbound_messages=1)
    b, c = await host(2), await host(3)
    stuck = Host(4, limits=limits)
    stuck.tell = lambda wallet, data, taken: stuck.told.append((wallet, data))  # never takes
    stuck.node._wiring.clear()
    stuck.node.serve_messages(TELL, stuck.tell)
    stuck.node.serve_requests(ASK, stuck.answer)
    await stuck.node.start()
    try:
        for other in (b, c):
            other.node.learn_address(stuck.address)
        stream = await b.node.open_stream(stuck.wallet, TELL)

        async def pour() -> None:
            stream._raw.muxed_stream.send_window = 1 << 30
            for _ in range(40):
                await stream._raw.write((100).to_bytes(4, "big") + bytes(100))
                await stream._raw.write(bytes(200_000))

        pouring = asyncio.create_task(b.node._demand().call(pour))
        await until(lambda: stuck.node.stats["connections_cut"] > 0)
        await asyncio.gather(pouring, return_exceptions=True)
        assert await c.node.request(stuck.wallet, ASK, b"abc") == b"cba"
    finally:
        await stuck.node.stop()


async def test_a_fault_of_the_host_restarts_it_on_its_port(host, caplog):
    a, b = await host(1), await host(2)
    b.node.learn_address(a.address)
    assert await b.node.request(a.wallet, ASK, b"abc") == b"cba"
    before = a.address

    async def fault() -> None:
        raise ZeroDivisionError("py-libp2p fell over")

    a.node._post(a.node._core.nursery.start_soon, fault)
    await until(lambda: a.node.stats["node_restarts"] == 1)

    async def answers() -> bool:
        try:
            return await b.node.request(a.wallet, ASK, b"abc") == b"cba"
        except WireError:
            return False

    end = asyncio.get_running_loop().time() + PATIENCE
    while not await answers():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.1)
    assert a.address == before
    assert "starts again" in caplog.text


async def test_a_taken_port(host):
    a = await host(1)
    other = Host(2, port=a.port)
    with pytest.raises(WireError, match="cannot listen"):
        await other.node.start()
    await other.node.stop()


async def test_a_port_is_free_again_after_stop(host):
    port = free_port()
    for number in (1, 2, 3):
        made = Host(number, port=port)
        await made.node.start()
        assert made.port == port
        await made.node.stop()
        assert not made.node.running


async def test_use_before_start_and_after_stop(host):
    a, b = Host(1), await host(2)
    with pytest.raises(WireError, match="does not run yet"):
        await a.node.request(b.wallet, ASK, b"")
    await a.node.start()
    with pytest.raises(WireError, match="only once"):
        await a.node.start()
    await a.node.stop()
    await a.node.stop()
    with pytest.raises(WireError, match="has stopped"):
        await a.node.request(b.wallet, ASK, b"")
    a.node.send(b.wallet, TELL, b"k", b"nobody hears it")


async def test_stop_while_things_are_under_way(host):
    a, b = await host(1), await host(2)
    b.node.learn_address(a.address)
    waiting = [asyncio.create_task(b.node.request(a.wallet, ASK, b"sleep")) for _ in range(3)]
    await asyncio.sleep(0.1)
    await b.node.stop()
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, WireError)


async def test_a_full_outbox_drops_and_counts(host):
    a, b = await host(1, limits=Limits(outbound_messages=5)), await host(2)
    a.node.learn_address(b.address)
    await b.node.stop()
    for number in range(8):
        a.node.send(b.wallet, TELL, b"%d" % number, b"x")
        a.node.send(b.wallet, TELL, b"0", b"the same key is queued once")
    await until(lambda: a.node.stats["messages_dropped"] == 3)
    a.node.send(ring(9).address, TELL, b"k", b"to nobody known")
    await until(lambda: a.node.stats["messages_dropped"] == 4)


async def test_outboxes_end_when_idle_and_make_room(host):
    a = await host(1, limits=Limits(peers=2, idle=60))
    others = [await host(number) for number in (2, 3, 4)]
    for other in others:
        a.node.learn_address(other.address)
        a.node.send(other.wallet, TELL, b"k", b"hello")
        await until(lambda other=other: len(other.told) == 1)
    assert len(a.node._core._outboxes) == 2
    c = await host(5, limits=Limits(idle=0.2))
    c.node.learn_address(others[0].address)
    c.node.send(others[0].wallet, TELL, b"k", b"hello")
    await until(lambda: len(others[0].told) == 2)
    await until(lambda: not c.node._core._outboxes)
    c.node.send(others[0].wallet, TELL, b"k", b"again")
    await until(lambda: len(others[0].told) == 3)


async def test_a_record_with_nonsense_in_it_is_harmless(host):
    a, b = await host(1), await host(2)
    record = PeerRecord.sign(
        b.ring.sign_message,
        b.wallet,
        role="doctor",
        addresses=("/ip4/999.9.9.9/tcp/1", b.node.addresses[0]),
        sealing_key=b.ring.sealing_key,
        sequence=1,
    )
    a.node.learn(record)
    assert await a.node.request(b.wallet, ASK, b"abc") == b"cba"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/127.0.0.1/udp/1/p2p/16Uiu2HAmHzBkRq62mG95vsjKMuYQBezZCtjPXYWUoyVxMxi71aB3",
        "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X",
        "/ip4/127.0.0.1/tcp/1/p2p/Qm",
    ],
)
def test_addresses_that_are_none(text):
    with pytest.raises(WireError, match="is not the address of an agent"):
        split_multiaddr(text)
