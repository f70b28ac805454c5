"""The AEA connection between processes: what arrives, what does not, and who stays alive."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time

import pytest
from aea.connections.base import ConnectionStates
from wire_harness import PATIENCE, Agent, free_port, ring, until

from agents.wire import connection as wire
from agents.wire.envelopes import ACK_TAG, ENVELOPE_TAG, PURPOSE, encode_envelope
from agents.wire.limits import MAX_FRAME, Limits
from protocols.crypto.seal import seal
from protocols.errors import WireError


async def test_two_processes_talk_and_acknowledge(agent, peer):
    other = await peer(2)
    me = await agent(1, (other.address,))
    await until(lambda: me.directory.get(other.wallet))
    await me.deliver(other.wallet, "echo hello")
    assert (await other.said("got"))["from"] == me.wallet
    answer = await me.receive()
    assert (answer.sender, answer.message) == (other.wallet, b"hello")


async def test_three_processes_find_each_other_and_outlive_the_bootstrap(agent, peer, caplog):
    bootstrap = await peer(1)
    other = await peer(2, (bootstrap.address,), role="model")
    me = await agent(3, (bootstrap.address,), interval=0.3)
    await until(lambda: me.directory.get(other.wallet))
    await bootstrap.kill()
    await me.deliver(other.wallet, "echo without it")
    assert (await me.receive()).message == b"without it"
    await until(lambda: "is gone" in caplog.text)
    await asyncio.sleep(0.5)
    assert caplog.text.count("is gone") == 1
    await peer(1, port=bootstrap.port)
    await until(lambda: "is back" in caplog.text)


async def test_a_killed_peer_that_comes_back_gets_what_was_sent_meanwhile(agent, peer):
    other = await peer(2)
    me = await agent(1, (other.address,))
    await until(lambda: me.directory.get(other.wallet))
    await me.deliver(other.wallet, "before")
    await other.kill()
    sending = asyncio.create_task(me.deliver(other.wallet, "while it was down"))
    await asyncio.sleep(0.5)
    assert not sending.done()
    again = await peer(2, port=other.port)
    await sending
    assert (await again.said("got"))["got"] == "while it was down"
    await me.deliver(other.wallet, "echo after")
    assert (await me.receive()).message == b"after"


async def test_an_envelope_is_delivered_once_and_acknowledged_each_time(agent):
    me, other = await agent(1), await agent(2)
    me.knows(other)
    other.knows(me)
    identity = await me.send(other.wallet, "pay me")
    envelope = await other.receive(ack=False)
    repeated = other.connection.stats
    await me.repeat(other.wallet, "pay me", lambda: repeated["envelopes_repeated"])  # before the commit
    assert me.acked == []
    other.connection.ack(envelope.sender, identity)
    await until(lambda: me.acked == [identity])
    await me.repeat(other.wallet, "pay me", lambda: len(me.acked) > 1)  # as if the ack had been lost
    assert set(me.acked) == {identity}
    with pytest.raises(TimeoutError):
        await other.receive(timeout=0.3)
    assert other.connection.stats["envelopes_received"] == 1


async def test_an_envelope_that_came_too_early_is_delivered_when_it_is_repeated(agent):
    me, other = await agent(1), await agent(2)
    me.knows(other)
    other.knows(me)
    identity = await me.send(other.wallet, "reveal")
    envelope = await other.receive(ack=False)
    other.connection.not_yet(envelope.sender, identity)
    stats = other.connection.stats
    await me.repeat(other.wallet, "reveal", lambda: stats["envelopes_received"] == 2)
    assert (await other.receive()).message == b"reveal"
    await until(lambda: me.acked)
    other.connection.not_yet(envelope.sender, identity)  # after the commit it means nothing
    me.acked.clear()
    await me.repeat(other.wallet, "reveal", lambda: me.acked)
    assert stats["envelopes_received"] == 2


async def test_an_ack_works_from_another_thread(agent):
    me, other = await agent(1), await agent(2)
    me.knows(other)
    other.knows(me)
    identity = await me.send(other.wallet, "hello")
    envelope = await other.receive(ack=False)
    await asyncio.to_thread(other.connection.ack, envelope.sender, identity)
    await until(lambda: me.acked == [identity])


async def test_an_ack_counts_only_from_the_recipient(agent):
    me, other, stranger = await agent(1), await agent(2), await agent(3)
    me.knows(other, stranger)
    stranger.knows(me)
    identity = await me.send(other.wallet, "hello")
    await other.receive(ack=False)
    stranger.node.send(me.wallet, wire.PROTOCOL, b"a", bytes([ACK_TAG]) + identity)
    stranger.node.send(me.wallet, wire.PROTOCOL, b"b", bytes([ACK_TAG]) + bytes(32))
    await until(lambda: me.connection.stats["stray_acks"] == 2)
    assert me.acked == []


async def test_a_peer_that_is_not_announced_to_all_still_gets_answers(agent):
    bootstrap = await agent(1)
    doctor = await agent(2, (bootstrap.address,))
    patient = await agent(3, (bootstrap.address,), role="patient", announce=False)
    await until(lambda: patient.directory.get(doctor.wallet))
    sending = asyncio.create_task(patient.deliver(doctor.wallet, "will you read it?"))
    assert (await doctor.receive()).sender == patient.wallet
    await sending
    await until(lambda: doctor.directory.get(patient.wallet))
    await doctor.send(patient.wallet, "yes")
    assert (await patient.receive()).message == b"yes"
    assert bootstrap.directory.get(patient.wallet) is None


async def test_a_large_envelope(agent):
    me, other = await agent(1), await agent(2)
    me.knows(other)
    scan = secrets.token_bytes(8 << 20)
    await me.send(other.wallet, scan)
    assert (await other.receive()).message == scan


async def test_an_envelope_over_the_limit_is_not_sent_and_nobody_falls(agent, caplog):
    me, other = await agent(1), await agent(2)
    me.knows(other)
    await me.connection.send(me.letter(other.wallet, bytes(9 << 20)))
    assert "over the limit" in caplog.text
    await me.send(other.wallet, "small")
    assert (await other.receive()).message == b"small"


# -- peers that misbehave ----------------------------------------------------------------------------------


def raw(me: Agent, to: Agent, frame: bytes) -> None:
    """Sends bytes of our choice with our own, true node key."""
    me.node.send(to.wallet, wire.PROTOCOL, secrets.token_bytes(8), frame)


def sealed(me: Agent, to: Agent, plain: bytes, purpose: str = PURPOSE) -> bytes:
    blob = seal(
        plain,
        to.ring.sealing_key,
        secrets.token_bytes(32),
        sender=me.ring.wallet,
        recipient=to.ring.wallet,
        purpose=purpose,
    )
    return bytes([ENVELOPE_TAG]) + blob


async def test_forged_and_misdirected_envelopes(agent):
    victim, mallory, honest = await agent(1), await agent(2), await agent(3)
    mallory.knows(victim)
    honest.knows(victim)
    forged = honest.letter(victim.wallet, "from honest, says mallory")
    raw(mallory, victim, sealed(mallory, victim, encode_envelope(forged)))
    misdirected = mallory.letter(ring(9).address, "for somebody else")
    raw(mallory, victim, sealed(mallory, victim, encode_envelope(misdirected)))
    await until(lambda: victim.connection.stats["forged"] == 2)
    await honest.send(victim.wallet, "really from honest")
    assert (await victim.receive()).message == b"really from honest"


async def test_a_sealed_body_cannot_be_carried_to_another_conversation(agent):
    victim, mallory, honest = await agent(1), await agent(2), await agent(3)
    mallory.knows(victim)
    stolen = sealed(honest, victim, encode_envelope(honest.letter(victim.wallet, "hello")))
    raw(mallory, victim, stolen)
    raw(mallory, victim, sealed(mallory, victim, b"x", purpose="channel/1"))
    await until(lambda: victim.connection.stats["garbage"] == 2)
    assert victim.connection.stats["envelopes_received"] == 0


async def test_garbage_is_counted_and_survived(agent):
    victim, mallory = await agent(1), await agent(2)
    mallory.knows(victim)
    frames = [
        b"",
        b"\0",
        b"\xff" * 100,
        bytes([ACK_TAG]) + b"short",
        bytes([ENVELOPE_TAG]),
        bytes([ENVELOPE_TAG]) + secrets.token_bytes(400),
        sealed(mallory, victim, b"\x80not an envelope"),
        sealed(mallory, victim, b"\x84\x01\x02\x03\x04"),
    ]
    for frame in frames:
        raw(mallory, victim, frame)
    await until(lambda: victim.connection.stats["garbage"] == len(frames))
    await mallory.send(victim.wallet, "sorry")
    assert (await victim.receive()).message == b"sorry"


@pytest.mark.parametrize("size", [MAX_FRAME + 1, 0xFFFFFFFF])
async def test_a_frame_announced_over_the_limit_cuts_the_stream_before_its_bytes(agent, size):
    victim, mallory = await agent(1), await agent(2)
    mallory.knows(victim)
    stream = await mallory.node.open_stream(victim.wallet, wire.PROTOCOL)
    await mallory.node._demand().call(stream._raw.write, size.to_bytes(4, "big") + bytes(1000))
    await until(lambda: victim.connection.stats["frames_refused"] == 1)
    await mallory.send(victim.wallet, "sorry")
    assert (await victim.receive()).message == b"sorry"


async def test_a_truncated_frame_ends_with_its_stream(agent):
    victim, mallory = await agent(1, limits=Limits(frame_timeout=0.3)), await agent(2)
    mallory.knows(victim)
    for cut in (True, False):
        stream = await mallory.node.open_stream(victim.wallet, wire.PROTOCOL)
        await mallory.node._demand().call(stream._raw.write, (500).to_bytes(4, "big") + bytes(100))
        if cut:
            await stream.close(clean=False)
    await until(lambda: victim.connection.stats["frames_refused"] == 1)  # the one that stayed silent
    await mallory.send(victim.wallet, "sorry")
    assert (await victim.receive()).message == b"sorry"


async def test_a_flood_is_slowed_and_others_pass(agent):
    limits = Limits(messages_per_second=100, burst=50, inbound_messages=20)
    victim = await agent(1, limits=limits)
    mallory = await agent(2, limits=Limits(outbound_messages=10_000))
    honest = await agent(3)
    mallory.knows(victim)
    honest.knows(victim)
    for number in range(3000):
        raw(mallory, victim, number.to_bytes(300, "big"))
    await until(lambda: victim.connection.stats["garbage"] > 0)
    start = time.monotonic()
    await asyncio.gather(*(honest.send(victim.wallet, f"letter {n}") for n in range(10)))
    for _ in range(10):
        await victim.receive()
    took = time.monotonic() - start
    taken = victim.connection.stats["garbage"]
    assert taken < 50 + 100 * (took + 3)  # the bucket, not the 3000
    assert took < 5


async def test_an_application_that_takes_nothing_holds_no_more_than_the_limit(agent):
    victim = await agent(1, limits=Limits(inbound_messages=5, burst=1000, messages_per_second=1000))
    mallory = await agent(2)
    mallory.knows(victim)
    for number in range(60):
        await mallory.send(victim.wallet, f"letter {number}")
    await until(lambda: victim.connection.stats["envelopes_received"] == 5)
    await asyncio.sleep(0.3)
    assert victim.connection.stats["envelopes_received"] == 5
    for number in range(60):  # and nothing is lost
        assert (await victim.receive()).message == f"letter {number}".encode()


async def test_a_busy_aea_takes_no_more(agent):
    me, other = await agent(1), await agent(2)
    me.knows(other)
    waiting = 1000
    other.connection.depth = lambda: waiting
    await me.send(other.wallet, "hello")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(other.connection.receive(), 0.5)
    waiting = 0
    assert (await other.receive()).message == b"hello"


# -- peers that are not there ------------------------------------------------------------------------------


async def test_a_peer_out_of_reach_is_reported_once(agent, caplog):
    me, other = await agent(1), await agent(2)
    me.knows(other)
    await other.connection.disconnect()
    caplog.set_level(logging.WARNING)
    changes = []
    me.node.on_state.append(lambda wallet, up, why: changes.append((wallet, up)))
    for _ in range(20):
        await me.send(other.wallet, "are you there?")
        await asyncio.sleep(0.05)
    assert changes == [(other.wallet, False)]
    assert caplog.text.count("out of reach") == 1


async def test_an_unknown_wallet_is_searched_and_reported_once(agent, caplog, monkeypatch):
    monkeypatch.setattr(wire, "_SEARCH_SECONDS", 0.3)
    me = await agent(1)
    for _ in range(5):
        await me.send(ring(7).address, "who are you?")
        await asyncio.sleep(wire._SEARCH_SECONDS / 3)
    assert me.connection.stats["envelopes_unroutable"] == 5
    assert caplog.text.count("no record yet") == 1


async def test_what_was_written_to_an_unknown_wallet_goes_when_it_is_found(agent):
    bootstrap = await agent(1)
    me = await agent(2, (bootstrap.address,))
    other = await agent(3)
    bootstrap.knows(other)
    assert me.directory.get(other.wallet) is None
    await me.send(other.wallet, "one")
    await me.send(other.wallet, "two")
    assert {(await other.receive()).message for _ in range(2)} == {b"one", b"two"}


async def test_an_address_that_is_no_wallet_is_reported(agent, caplog):
    me = await agent(1)
    await me.connection.send(me.letter("somewhere", "hello"))
    await me.connection.send(me.letter(me.wallet, "hello"))
    assert caplog.text.count("was not sent") == 2


async def test_a_taken_port_is_one_sentence(agent):
    me = await agent(1)
    port = int(me.node.addresses[0].rsplit("/", 1)[1])
    other = Agent(2, port=port)
    with pytest.raises(WireError, match=f"cannot listen on 127.0.0.1 port {port}") as error:
        await other.connection.connect()
    assert "choose another port" in str(error.value)
    assert "\n" not in str(error.value)
    assert other.connection.state == ConnectionStates.disconnected


async def test_an_address_of_another_machine_is_one_sentence():
    other = Agent(2)
    other.node._host = "203.0.113.1"
    with pytest.raises(WireError, match=r"cannot listen on 203\.0\.113\.1"):
        await other.connection.connect()


async def test_the_same_port_after_a_restart(agent):
    port = free_port()
    first = await agent(1, port=port)
    other = await agent(2)
    other.knows(first)
    await other.send(first.wallet, "one")
    await first.receive()
    await first.connection.disconnect()
    second = await agent(1, port=port)
    assert second.address == first.address
    sending = asyncio.create_task(other.deliver(second.wallet, "two"))
    second.knows(other)
    assert (await second.receive()).message == b"two"
    await sending


async def test_disconnect_writes_what_is_queued_and_receive_ends(agent):
    me, other = await agent(1), await agent(2)
    me.knows(other)
    await me.send(other.wallet, "first")
    await other.receive()
    for number in range(50):
        await me.send(other.wallet, f"last words {number}")
    waiting = asyncio.create_task(me.connection.receive())
    await asyncio.sleep(0)
    await me.connection.disconnect()
    assert await asyncio.wait_for(waiting, PATIENCE) is None
    for number in range(50):
        assert (await other.receive()).message == f"last words {number}".encode()


async def test_last_words_reach_a_slow_reader(agent):
    """Closing a connection throws away what the peer has not read: stopping waits for it."""
    me, other = await agent(1), await agent(2, limits=Limits(messages_per_second=50, burst=1))
    me.knows(other)
    for number in range(30):
        await me.send(other.wallet, f"last words {number}")
    await until(lambda: other.connection.stats["envelopes_received"] > 0)
    await me.connection.disconnect()
    for number in range(30):
        assert (await other.receive()).message == f"last words {number}".encode()


async def test_stopping_does_not_wait_for_those_who_do_not_read(agent):
    me, other = await agent(1), await agent(2, limits=Limits(inbound_messages=1))
    me.knows(other)
    for number in range(5):
        await me.send(other.wallet, f"letter {number}")
    await until(lambda: other.connection.stats["envelopes_received"] == 1)
    start = time.monotonic()
    await me.connection.disconnect()
    assert time.monotonic() - start < 10
