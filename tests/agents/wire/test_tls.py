"""The TLS channel: who gets in, and what abuse leaves behind (nothing)."""

from __future__ import annotations

import asyncio
import ssl
import time

import pytest
from wire_harness import free_port, ring, until

from agents.wire import tls
from agents.wire.channel import Channel, ChannelClosed, hello, read_hello
from protocols.errors import ProtocolError, WireError
from protocols.records import PeerRecord

A, B, C = ring(1), ring(2), ring(3)


def record(keyring, port: int) -> PeerRecord:
    return PeerRecord.sign(
        keyring.sign_message,
        keyring.address,
        role="model",
        tls=f"127.0.0.1:{port}",
        sealing_key=keyring.sealing_key,
        sequence=1,
    )


class Echo:
    """Serves wallet A; echoes frames, keeps the channels it saw."""

    def __init__(self) -> None:
        self.channels: list[Channel] = []
        self.server: tls.TlsServer

    async def attend(self, channel: Channel) -> None:
        self.channels.append(channel)
        while True:
            frame = await channel.recv()
            if frame == b"fail":
                raise ValueError("a bug of the application")
            await channel.send(frame)

    @property
    def record(self) -> PeerRecord:
        return record(A, self.server.port)

    async def works(self) -> None:
        """Fails unless an honest client still gets its echo."""
        async with await tls.connect(self.record, B, "check") as channel:
            await channel.send(b"still there?")
            assert await channel.recv() == b"still there?"


@pytest.fixture
async def echo():
    made = Echo()
    made.server = await tls.serve("127.0.0.1", 0, A, made.attend, timeout=1.0, max_frame=1 << 20)
    yield made
    await made.server.close()


async def test_both_sides_know_each_other(echo):
    async with await tls.connect(echo.record, B, "session 7") as channel:
        assert (channel.peer, channel.purpose) == (A.address, "session 7")
        await channel.send(b"hello")
        assert await channel.recv() == b"hello"
        await channel.send(b"")
        assert await channel.recv() == b""
        assert (channel.sent, channel.received) == (13, 13)
        (seen,) = echo.channels
        assert (seen.peer, seen.purpose, seen.sent, seen.received) == (B.address, "session 7", 13, 13)


async def test_large_frames_and_many_at_once():
    echo = Echo()
    echo.server = await tls.serve("127.0.0.1", 0, A, echo.attend)
    try:

        async def talk(number: int) -> None:
            async with await tls.connect(echo.record, ring(10 + number), "bulk") as channel:
                frame = bytes([number]) * (4 << 20)
                await channel.send(frame)
                assert await channel.recv() == frame

        await asyncio.gather(*(talk(n) for n in range(4)))
        async with await tls.connect(echo.record, B, "scan") as channel:
            scan = bytes(32 << 20)
            await channel.send(scan)
            assert await channel.recv() == scan
    finally:
        await echo.server.close()


async def test_the_wrong_wallet_is_noticed_and_learns_nothing(echo):
    with pytest.raises(ProtocolError, match=f"{A.address} answers where {C.address} was expected"):
        await tls.connect(record(C, echo.server.port), B, "x")
    assert echo.channels == []
    await echo.works()


async def test_nobody_there():
    with pytest.raises(WireError, match="cannot be reached") as error:
        await tls.connect(record(A, free_port()), B, "x")
    assert "\n" not in str(error.value)


async def test_no_tls_place():
    made = PeerRecord.sign(B.sign_message, B.address, role="m", sealing_key=B.sealing_key, sequence=1)
    with pytest.raises(WireError, match="offers no direct channel"):
        await tls.connect(made, A, "x")


@pytest.mark.parametrize("purpose", ["", "x" * 201, "new\nline"])
async def test_purposes_that_are_none(echo, purpose):
    with pytest.raises(ProtocolError, match="purpose"):
        await tls.connect(echo.record, B, purpose)


async def test_a_taken_port(echo):
    with pytest.raises(WireError, match=f"cannot listen on 127.0.0.1 port {echo.server.port}"):
        await tls.serve("127.0.0.1", echo.server.port, A, echo.attend)


# -- servers that misbehave --------------------------------------------------------------------------------


async def serve_bytes(*chunks: bytes, context: ssl.SSLContext | None = None, hold: bool = False):
    """A server that says these bytes, then closes (or holds the line)."""

    async def say(reader, writer) -> None:
        for chunk in chunks:
            writer.write(chunk)
        if hold:
            await asyncio.sleep(30)
        writer.close()

    return await asyncio.start_server(say, "127.0.0.1", 0, ssl=context)


def port_of(server) -> int:
    return server.sockets[0].getsockname()[1]


async def test_a_server_without_tls():
    async with await serve_bytes(b"HTTP/1.1 200 OK\r\n\r\n") as server:
        with pytest.raises(ProtocolError, match="does not speak our TLS"):
            await tls.connect(record(A, port_of(server)), B, "x", timeout=1)


async def test_a_silent_server():
    async with await serve_bytes(hold=True) as server:
        with pytest.raises(WireError, match="cannot be reached"):
            await tls.connect(record(A, port_of(server)), B, "x", timeout=0.3)


async def test_a_server_of_tls_1_2():
    context, _ = tls._server_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with await serve_bytes(context=context) as server:
        with pytest.raises((ProtocolError, WireError), match=r"does not speak our TLS|cannot be reached"):
            await tls.connect(record(A, port_of(server)), B, "x", timeout=1)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", ChannelClosed),
        (b"\0\0", ChannelClosed),
        (b"\0\0\0\x09short", ChannelClosed),
        (b"\0\x10\0\0", ProtocolError),
        (b"\xff\xff\xff\xff", ProtocolError),
        (b"\0\0\0\x05hello", ProtocolError),
        (b"\0\0\0\0", ProtocolError),
    ],
)
async def test_tls_servers_that_do_not_open(said, error):
    context, _ = tls._server_context()
    async with await serve_bytes(said, context=context) as server:
        with pytest.raises(error):
            await tls.connect(record(A, port_of(server)), B, "x", timeout=1)


async def test_a_tls_server_that_is_silent():
    context, _ = tls._server_context()
    async with await serve_bytes(context=context, hold=True) as server:
        with pytest.raises(WireError, match="silent"):
            await tls.connect(record(A, port_of(server)), B, "x", timeout=0.3)


async def test_a_man_in_the_middle_can_carry_nothing_over(echo):
    """It ends TLS at both sides and passes every byte on unchanged: the binding does not fit."""
    context, _ = tls._server_context()

    async def pass_on(reader, writer) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", echo.server.port, ssl=tls._client_context())

        async def pump(source, sink) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    async with await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context) as server:
        with pytest.raises(ProtocolError, match="not signed by the wallet"):
            await tls.connect(record(A, port_of(server)), B, "x", timeout=2)
    assert echo.channels == []


async def test_not_even_with_a_client_that_trusts_it(echo):
    """The same, but the client's own check of the server is skipped: the server refuses the client's hello."""
    context, _ = tls._server_context()
    mallory = ring(6)

    async def pass_on(reader, writer) -> None:
        outer = tls.TlsChannel(reader, writer)
        binding = outer.binding(mallory_certificate)
        statement = tls.encode([tls._DOMAIN, "server", binding, mallory.wallet])
        await outer.send(hello(mallory.wallet, mallory.sign_message(statement)))
        stolen = await outer.recv()
        there, back = await asyncio.open_connection("127.0.0.1", echo.server.port, ssl=tls._client_context())
        inner = tls.TlsChannel(there, back)
        await inner.recv()
        await inner.send(stolen)
        with pytest.raises(ChannelClosed):
            await inner.recv()
        refused.append(True)
        outer.cut()

    refused: list[bool] = []
    context, mallory_certificate = tls._server_context()
    async with await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context) as server:
        with pytest.raises(WireError):
            await tls.connect(record(mallory, port_of(server)), B, "x", timeout=2)
        await until(lambda: refused)
    assert echo.channels == []
    assert echo.server.refused == 1


# -- clients that misbehave --------------------------------------------------------------------------------


async def tls_client(port: int) -> tls.TlsChannel:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls._client_context())
    return tls.TlsChannel(reader, writer)


async def opening(channel: tls.TlsChannel, keyring, named=None, purpose: str = "x") -> bytes:
    """A client hello, right unless it names another wallet than the one that signs."""
    wallet = keyring.wallet if named is None else named.wallet
    server, _ = read_hello(await channel.recv(), bytes, bytes)
    certificate = channel._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    binding = channel.binding(certificate)
    statement = tls.encode([tls._DOMAIN, "client", binding, wallet, server, purpose])
    return hello(wallet, purpose, keyring.sign_message(statement))


async def test_plain_bytes_to_a_tls_server(echo):
    for data in (b"", b"GET / HTTP/1.1\r\n\r\n", bytes(70_000), b"\x16\x03\x01\xff\xff" + bytes(100)):
        _, writer = await asyncio.open_connection("127.0.0.1", echo.server.port)
        writer.write(data)
        writer.close()
    await echo.works()


async def test_a_client_of_tls_1_2(echo):
    context = tls._client_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", echo.server.port, ssl=context)
    await echo.works()


async def test_clients_that_say_nothing_are_dropped(echo):
    _, plain = await asyncio.open_connection("127.0.0.1", echo.server.port)
    silent = await tls_client(echo.server.port)
    await silent.recv()
    start = time.monotonic()
    with pytest.raises(ChannelClosed):
        await silent.recv()
    assert time.monotonic() - start < 5
    await until(lambda: echo.server.refused == 1)
    await echo.works()
    plain.close()


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"x",
        b"\xff" * 900,
        hello(),
        hello(b"w", "p", b"s"),
        hello(B.wallet, "p", bytes(65)),
        hello(B.wallet, "", bytes(64) + b"\x1b"),
        hello(B.wallet, 7, bytes(65)),
        hello([[[[1]]]], {}, None),
    ],
)
async def test_clients_that_open_wrongly(echo, frame):
    client = await tls_client(echo.server.port)
    await client.recv()
    await client.send(frame)
    with pytest.raises(ChannelClosed):
        await client.recv()
    assert echo.server.refused == 1
    assert echo.channels == []
    await echo.works()


async def test_clients_that_are_not_who_they_say(echo):
    client = await tls_client(echo.server.port)
    await client.send(await opening(client, C, named=B))
    with pytest.raises(ChannelClosed):
        await client.recv()
    assert echo.channels == []


async def test_an_opening_is_good_for_one_session_only(echo):
    first = await tls_client(echo.server.port)
    frame = await opening(first, B)
    await first.send(frame)
    assert read_hello(await first.recv(), bool) == [True]
    second = await tls_client(echo.server.port)
    await second.recv()
    await second.send(frame)
    with pytest.raises(ChannelClosed):
        await second.recv()
    assert len(echo.channels) == 1
    first.cut()


async def test_an_oversized_opening_is_cut_before_it_comes(echo):
    client = await tls_client(echo.server.port)
    await client.recv()
    client._writer.write((1 << 20).to_bytes(4, "big"))
    with pytest.raises(ChannelClosed):
        await client.recv()
    await echo.works()


async def test_oversized_and_truncated_frames_end_the_channel_alone(echo, caplog):
    oversized = await tls.connect(echo.record, B, "oversized")
    await oversized.send(bytes((1 << 20) + 1))
    with pytest.raises(ChannelClosed):
        await oversized.recv()
    truncated = await tls.connect(echo.record, B, "truncated")
    truncated._writer.write((100).to_bytes(4, "big") + b"only this")
    await truncated.close()
    await until(lambda: "over the limit" in caplog.text)
    await echo.works()
    small = await tls.connect(echo.record, B, "small", max_frame=10)
    with pytest.raises(ProtocolError, match="over the limit"):
        await small.send(bytes(11))
    await small.close()


async def test_a_handler_that_fails_ends_its_channel_alone(echo, caplog):
    async with await tls.connect(echo.record, B, "x") as channel:
        await channel.send(b"fail")
        with pytest.raises(ChannelClosed):
            await channel.recv()
    assert "a bug of the application" in caplog.text
    await echo.works()


async def test_deadlines(echo):
    channel = await tls.connect(echo.record, B, "x")
    with pytest.raises(WireError, match="silent for 0 seconds"):
        await channel.recv(timeout=0.2)
    with pytest.raises(WireError):
        await channel.recv()

    async def deaf(channel: Channel) -> None:
        await asyncio.sleep(30)

    server = await tls.serve("127.0.0.1", 0, A, deaf)
    channel = await tls.connect(record(A, server.port), B, "x")
    with pytest.raises(WireError, match="took nothing"):
        await channel.send(bytes(64 << 20), timeout=0.3)
    await server.close()


async def test_one_wallet_has_so_many_channels_and_no_more(echo):
    channels = [await tls.connect(echo.record, B, f"{n}") for n in range(tls.MAX_CHANNELS_OF_ONE)]
    with pytest.raises(ChannelClosed):
        await tls.connect(echo.record, B, "one more")
    async with await tls.connect(echo.record, C, "somebody else"):
        pass
    for channel in channels:
        await channel.close()
    await until(lambda: not echo.server._open)
    await echo.works()


async def test_close_is_clean_and_twice_is_nothing(echo):
    channel = await tls.connect(echo.record, B, "x")
    for n in range(100):
        await channel.send(b"%d" % n)
    for n in range(100):
        assert await channel.recv() == b"%d" % n
    await channel.close()
    await channel.close()
    with pytest.raises(ChannelClosed):
        await channel.recv()
    await until(lambda: not echo.server._tasks)
    held = await tls.connect(echo.record, B, "held")
    await echo.server.close()
    with pytest.raises(ChannelClosed):
        await held.recv()
    with pytest.raises(WireError):
        await tls.connect(echo.record, B, "closed")
