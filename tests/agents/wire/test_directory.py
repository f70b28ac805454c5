"""The directory: what spreads, what is refused, and that nobody fills it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_harness import Agent, ring, until

from agents.wire import directory as module
from protocols.codec import encode
from protocols.errors import ProtocolError
from protocols.records import PeerRecord


def record(number: int, sequence: int = 1, role: str = "doctor", **change) -> PeerRecord:
    keyring = change.pop("by", ring(number))
    return PeerRecord.sign(
        keyring.sign_message,
        ring(number).address,
        role=role,
        addresses=("/ip4/127.0.0.1/tcp/9",),
        sealing_key=ring(number).sealing_key,
        sequence=sequence,
        **change,
    )


async def test_records_spread_through_a_bootstrap_peer(agent):
    bootstrap = await agent(1, role="dealer")
    first = await agent(2, (bootstrap.address,), role="model")
    second = await agent(3, (bootstrap.address,), role="doctor")
    await until(lambda: second.directory.get(first.wallet) and bootstrap.directory.get(second.wallet))
    assert second.directory.get(first.wallet) == first.directory.own
    assert [r.wallet for r in await first.directory.find_role("doctor")] == [second.wallet]
    assert [r.wallet for r in await first.directory.find_role("dealer")] == [bootstrap.wallet]
    assert await first.directory.find_role("nobody") == []
    assert (await first.directory.find(second.wallet)) == second.directory.own
    assert (await first.directory.find(ring(9).address)) is None


async def test_two_that_meet_swap_what_they_know(agent):
    first, second = await agent(1), await agent(2)
    first.directory.add(record(7).encode())
    second.directory.add(record(8).encode())
    first.node.learn_address(second.address)
    first.node.send(second.wallet, "/crypdoc/envelope/1", b"k", b"\x07anything")
    await until(lambda: first.directory.get(ring(8).address) and second.directory.get(ring(7).address))
    assert first.directory.get(second.wallet)
    assert second.directory.get(first.wallet)


async def test_an_update_is_announced_at_once_and_the_newer_holds(agent):
    bootstrap = await agent(1)
    other = await agent(2, (bootstrap.address,))
    await until(lambda: bootstrap.directory.get(other.wallet))
    old = bootstrap.directory.get(other.wallet)
    newer = other.directory.update(tls="127.0.0.1:4433", extra={"price": 7})
    assert newer.sequence > old.sequence
    await until(lambda: bootstrap.directory.get(other.wallet) == newer)
    assert not bootstrap.directory.add(old.encode())
    assert bootstrap.directory.get(other.wallet) == newer
    assert bootstrap.node.stats["records_stale"] == 1


async def test_a_clock_that_went_back_is_overtaken(agent):
    bootstrap = await agent(1)
    far = 1 << 50
    bootstrap.directory.add(record(2, sequence=far).encode())
    other = await agent(2, (bootstrap.address,))
    await until(lambda: bootstrap.directory.get(other.wallet).sequence > far)
    assert bootstrap.directory.get(other.wallet) == other.directory.own


async def test_forged_records_are_refused_and_counted(agent):
    victim, mallory = await agent(1), await agent(2)
    mallory.node.learn_address(victim.address)
    good = record(5)
    body = encode([1, ring(6).wallet, "doctor", [], "", bytes(32), 9, {}])
    bad = [encode([*module.decode(body), good.signature]), good.encode()[:-1] + b"\0", b"", b"\xff" * 99]
    question = encode(["swap", [*bad, good.encode()]])
    answer = await mallory.node.request(victim.wallet, module.PROTOCOL, question)
    assert PeerRecord.decode(module.decode(answer)[0]).wallet == victim.wallet
    assert victim.node.stats["records_forged"] == len(bad)
    assert victim.directory.get(ring(5).address) == good
    assert victim.directory.get(ring(6).address) is None


@pytest.mark.parametrize(
    "question",
    [
        b"",
        b"\xff",
        encode(7),
        encode(["swap"]),
        encode(["swap", 7]),
        encode(["swap", [b""] * (module.MAX_ANSWER + 1)]),
        encode(["find", b"short"]),
        encode(["find", "text"]),
        encode(["role", 7]),
        encode(["drop", b"everything"]),
        b"\0" * 200_000,
    ],
)
async def test_questions_that_are_none(agent, question):
    victim, mallory = await agent(1), await agent(2)
    mallory.node.learn_address(victim.address)
    with pytest.raises(Exception, match="did not answer"):
        await mallory.node.request(victim.wallet, module.PROTOCOL, question)
    mallory.knows(victim)
    await mallory.send(victim.wallet, "still there?")
    assert (await victim.receive()).message == b"still there?"


async def test_one_peer_introduces_so_many_and_no_more(agent, monkeypatch):
    monkeypatch.setattr(module, "MAX_FROM_ONE", 3)
    me = await agent(1)
    for number in range(10, 16):
        me.directory.add(record(number).encode(), source="0xMallory")
    assert len(me.directory.of_role("doctor")) == 3
    assert me.node.stats["records_refused"] == 3
    assert me.directory.add(record(20).encode(), source=ring(20).address)  # itself, not introduced
    assert me.directory.add(record(10, sequence=2).encode(), source="0xMallory")  # news of a known one


async def test_the_table_is_bounded_and_keeps_whom_we_need(agent, monkeypatch):
    monkeypatch.setattr(module, "MAX_TABLE", 4)
    me = await agent(1)
    me.directory.add(record(10).encode())
    assert await me.directory.find(ring(10).address)
    for number in range(11, 20):
        me.directory.add(record(number).encode())
    assert len(me.directory._table) == 4
    assert len(me.directory._raw) == 4
    assert sum(me.directory._introduced.values()) == 4
    assert me.directory.get(ring(10).address)
    assert me.directory.get(ring(19).address)


async def test_the_freshest_come_first(agent):
    me = await agent(1)
    for number, sequence in ((10, 5), (11, 9), (12, 7)):
        me.directory.add(record(number, sequence).encode())
    assert [r.sequence for r in me.directory.of_role("doctor")] == [9, 7, 5]


async def test_a_bootstrap_peer_that_is_gone_is_said_once_and_records_stay(agent, caplog):
    gone = Agent(1)
    await gone.connection.connect()
    me = await agent(2, (gone.address,))
    await until(lambda: me.directory.get(gone.wallet))
    await gone.connection.disconnect()
    me.directory.update()
    await until(lambda: "is gone" in caplog.text)
    await asyncio.sleep(0.8)
    assert caplog.text.count("is gone") == 1
    assert me.directory.get(gone.wallet)


async def test_where_others_reach_us_may_differ_from_where_we_listen(agent):
    for reach, expected in (("clinic.example", "/dns/"), ("198.51.100.7", "/ip4/"), ("2001:db8::1", "/ip6/")):
        made = Agent(1)
        made.directory._reach = reach
        await made.connection.connect()
        port = made.node.addresses[0].rsplit("/", 1)[1]
        assert made.directory.own.addresses == (f"{expected}{reach}/tcp/{port}",)
        await made.connection.disconnect()


@settings(deadline=None)
@given(st.binary(max_size=600))
def test_garbage_never_raises_anything_else(data):
    with pytest.raises(ProtocolError):
        Agent(1).directory.add(data)
