from __future__ import annotations

import socket
from pathlib import Path

import aiohttp
import pytest
from desks import FakeDesk

from agents.pages.doctor import doctor_app
from agents.pages.guard import TOKEN, guarded_app
from agents.pages.serving import note_url, serve, serve_again
from protocols.errors import WireError


async def test_served_on_this_machine_alone_with_the_key_in_the_fragment() -> None:
    app = doctor_app(FakeDesk())
    served = await serve(app)
    try:
        assert served.url == f"http://127.0.0.1:{served.port}/#token={app[TOKEN]}"
        assert [address[0] for address in served.runner.addresses] == ["127.0.0.1"]
        async with aiohttp.ClientSession() as session, session.get(served.url) as answer:
            assert answer.status == 200
    finally:
        await served.close()


async def test_a_taken_port_is_a_wire_error_with_a_remedy() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(WireError, match=f"port {port} of this machine is taken; .*choose another port"):
            await serve(doctor_app(FakeDesk()), port)


@pytest.mark.parametrize("port", [70_000, -1])
async def test_a_port_that_is_none_is_a_wire_error(port: int) -> None:
    with pytest.raises(WireError, match="cannot be opened"):
        await serve(doctor_app(FakeDesk()), port)


async def test_raw_garbage_does_not_stop_the_server() -> None:
    served = await serve(doctor_app(FakeDesk()))
    try:
        for junk in (
            b"\x00" * 100,
            b"GET / HTTP/1.1\r\n\r\n",
            b"POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", served.port)) as line:
                line.sendall(junk)
        async with aiohttp.ClientSession() as session, session.get(served.url) as answer:
            assert answer.status == 200
    finally:
        await served.close()


async def test_a_page_comes_back_on_its_port_and_elsewhere_when_that_is_taken(tmp_path: Path) -> None:
    noted = tmp_path / "page.url"
    first = await serve_again(guarded_app(private=True), 0, noted)
    note_url(noted, first)
    assert noted.stat().st_mode & 0o077 == 0
    assert noted.read_text() == first.url + "\n"
    elsewhere = await serve_again(guarded_app(private=True), 0, noted)
    assert elsewhere.port != first.port
    await elsewhere.close()
    await first.close()
    back = await serve_again(guarded_app(private=True), 0, noted)
    assert back.port == first.port
    assert back.url != first.url
    await back.close()


async def test_a_damaged_note_is_as_good_as_none(tmp_path: Path) -> None:
    noted = tmp_path / "page.url"
    for text in ("", "http://127.0.0.1:99999/", "nonsense\n"):
        noted.write_text(text)
        served = await serve_again(guarded_app(private=True), 0, noted)
        assert served.port > 0
        await served.close()
