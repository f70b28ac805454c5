"""The direct channel: TLS 1.3, and a wallet signature of each side over the session it negotiated.

1. TLS 1.3 with a self-made server certificate that means nothing by itself (a fresh key for each server).
   `binding = client's Finished || SHA-256(server certificate)`, RFC 5929's tls-unique and end-point bindings
2. server -> client: wallet, signature over ("server", binding, wallet)
3. client, when that is the wallet it wants -> server: wallet, purpose, and a signature over ("client",
   binding, both wallets, purpose)
4. server -> client: welcome

Why not client certificates: Python's `ssl` cannot ask for a self-signed one. Why this is as good: a man in
the middle ends two TLS sessions with two certificates, so a signature made for one binding does not fit the
other; the Finished value (a MAC over the whole handshake) makes each signature good for one session only, and
the purpose is signed too. The certificate digest alone already pins the server's TLS key, whose possession
TLS proves. No session tickets, so no resumption and no early data. Who learns what: an observer sees
addresses and sizes; a server that is not the wanted wallet learns nothing of the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import logging
import secrets
import ssl
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import NameOID
from eth_utils.address import to_checksum_address

from agents.keyring import Keyring
from agents.wire.channel import DEADLINE, MAX_HELLO, Channel, ChannelClosed, check_purpose, hello, read_hello
from agents.wire.host import cannot_listen
from agents.wire.limits import MAX_CHANNEL_FRAME
from protocols.codec import encode
from protocols.errors import CrypDocError, ProtocolError, WireError
from protocols.records import PeerRecord, message_digest, recover_signer, wallet_of_key

log = logging.getLogger(__name__)

OPENING_SECONDS = 10.0
MAX_CHANNELS = 64
MAX_CHANNELS_OF_ONE = 8
_DOMAIN = "crypdoc/v1/channel"
_BUFFER = 1 << 20

OnChannel = Callable[[Channel], Awaitable[None]]


class TlsChannel(Channel):
    """A channel over one TLS connection. Made by `connect` and `serve`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_frame: int = MAX_CHANNEL_FRAME
    ) -> None:
        super().__init__("", "", max_frame)
        self._reader, self._writer = reader, writer

    async def close(self) -> None:
        """Flushes, says goodbye, closes."""
        with contextlib.suppress(OSError, TimeoutError):
            self._writer.close()
            async with asyncio.timeout(3):
                await self._writer.wait_closed()

    def cut(self) -> None:
        """Drops the connection at once."""
        self._writer.transport.abort()

    async def _write(self, frame: bytes, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(len(frame).to_bytes(4, "big"))
                view = memoryview(frame)
                for start in range(0, len(view), _BUFFER):  # `drain` notices a full pipe one write late
                    self._writer.write(view[start : start + _BUFFER])
                    await self._writer.drain()
        except TimeoutError:
            self.cut()
            raise WireError(f"the peer took nothing for {timeout:.0f} seconds", "try again") from None
        except OSError:
            self.cut()
            raise ChannelClosed() from None

    async def _read(self, maximum: int, timeout: float) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                length = int.from_bytes(await self._reader.readexactly(4), "big")
                if length > maximum:
                    raise ProtocolError(f"a frame of {length} bytes is over the limit of {maximum}")
                return await self._reader.readexactly(length)
        except TimeoutError:
            self.cut()
            raise WireError(f"the peer was silent for {timeout:.0f} seconds", "try again") from None
        except (asyncio.IncompleteReadError, OSError):
            self.cut()
            raise ChannelClosed() from None
        except ProtocolError:
            self.cut()
            raise

    def binding(self, certificate: bytes) -> bytes:
        """What both sides sign: this session and this certificate, nothing else in the world."""
        session = self._writer.get_extra_info("ssl_object")
        finished = session.get_channel_binding("tls-unique")
        if session.version() != "TLSv1.3" or not finished:
            raise WireError("the TLS session is not what was asked for", "use a Python built with OpenSSL 3")
        return bytes(finished) + hashlib.sha256(certificate).digest()


async def connect(
    record: PeerRecord,
    keyring: Keyring,
    purpose: str,
    *,
    timeout: float = OPENING_SECONDS,
    max_frame: int = MAX_CHANNEL_FRAME,
) -> Channel:
    """A channel to the record's wallet. Raises `WireError` when it cannot be reached, `ProtocolError` when
    who answers is not that wallet or does not keep to the protocol."""
    check_purpose(purpose)
    if not record.tls:
        raise WireError(f"{record.wallet} offers no direct channel", "use a libp2p channel")
    host, _, port = record.tls.rpartition(":")
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(
                host.strip("[]"), int(port), ssl=_client_context(), limit=_BUFFER, ssl_shutdown_timeout=2
            )
    except ssl.SSLError as error:
        raise ProtocolError(
            f"{record.tls} does not speak our TLS ({error.reason or 'no handshake'})"
        ) from None
    except (OSError, TimeoutError) as error:
        why = getattr(error, "strerror", None) or "no answer"
        raise WireError(f"{record.wallet} cannot be reached at {record.tls} ({why})", "try again") from None
    channel = TlsChannel(reader, writer, max_frame)
    try:
        await _open_as_client(channel, record.wallet, keyring, purpose, timeout)
    except BaseException:
        channel.cut()
        raise
    return channel


async def _open_as_client(
    channel: TlsChannel, wanted: str, keyring: Keyring, purpose: str, timeout: float
) -> None:
    certificate = channel._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    binding = channel.binding(certificate)
    server, signature = read_hello(await channel._read(MAX_HELLO, timeout), bytes, bytes)
    _check(signature, server, encode([_DOMAIN, "server", binding, server]))
    if to_checksum_address(server) != wanted:
        raise ProtocolError(f"{to_checksum_address(server)} answers where {wanted} was expected")
    statement = encode([_DOMAIN, "client", binding, keyring.wallet, server, purpose])
    await channel._write(hello(keyring.wallet, purpose, keyring.sign_message(statement)), timeout)
    if read_hello(await channel._read(MAX_HELLO, timeout), bool) != [True]:
        raise ProtocolError("the peer does not want this channel")
    channel.peer, channel.purpose = wanted, purpose


class TlsServer:
    """A listening TLS channel server. Made by `serve`."""

    def __init__(self, keyring: Keyring, on_channel: OnChannel, timeout: float, max_frame: int) -> None:
        self._keyring, self._on_channel = keyring, on_channel
        self._timeout, self._max_frame = timeout, max_frame
        self._context, self._certificate = _server_context()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: Counter[str] = Counter()
        self._server: asyncio.Server
        self.port = 0
        self.refused = 0
        """How many connections failed to open a channel."""

    async def _listen(self, host: str, port: int) -> None:
        try:
            self._server = await asyncio.start_server(
                self._accept,
                host,
                port,
                ssl=self._context,
                limit=_BUFFER,
                ssl_handshake_timeout=self._timeout,
                ssl_shutdown_timeout=2,
            )
        except OSError as error:
            raise cannot_listen(host, port, error.strerror or str(error)) from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stops listening and ends the channels that are open."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        channel = TlsChannel(reader, writer, self._max_frame)
        if task is None or len(self._tasks) >= MAX_CHANNELS:
            self.refused += 1
            channel.cut()
            return
        self._tasks.add(task)
        try:
            await self._attend(channel)
        except asyncio.CancelledError:  # by `close`; asyncio's own callback would stumble over it
            log.debug("a channel ends with its server")
        finally:
            self._tasks.discard(task)
            await channel.close()

    async def _attend(self, channel: TlsChannel) -> None:
        """One connection from opening to end. Whatever happens ends this connection alone."""
        try:
            await self._open_as_server(channel)
        except (CrypDocError, OSError) as error:
            self.refused += 1
            log.warning("a TLS channel was not opened: %s", error)
            channel.cut()
            return
        self._open[channel.peer] += 1
        try:
            await self._on_channel(channel)
        except ChannelClosed:
            log.debug("%s closed the %s channel", channel.peer, channel.purpose)
        except CrypDocError as error:
            log.warning("the %s channel of %s ended: %s", channel.purpose, channel.peer, error)
        except Exception:
            log.exception("the %s channel of %s failed here", channel.purpose, channel.peer)
        finally:
            self._open[channel.peer] -= 1
            if not self._open[channel.peer]:
                del self._open[channel.peer]

    async def _open_as_server(self, channel: TlsChannel) -> None:
        binding, own = channel.binding(self._certificate), self._keyring.wallet
        statement = encode([_DOMAIN, "server", binding, own])
        await channel._write(hello(own, self._keyring.sign_message(statement)), self._timeout)
        opening = await channel._read(MAX_HELLO, self._timeout)
        client, purpose, signature = read_hello(opening, bytes, str, bytes)
        _check(signature, client, encode([_DOMAIN, "client", binding, client, own, check_purpose(purpose)]))
        channel.peer, channel.purpose = to_checksum_address(client), purpose
        if self._open[channel.peer] >= MAX_CHANNELS_OF_ONE:
            raise ProtocolError(f"{channel.peer} has {MAX_CHANNELS_OF_ONE} channels open already")
        await channel._write(hello(True), self._timeout)


async def serve(
    host: str,
    port: int,
    keyring: Keyring,
    on_channel: OnChannel,
    *,
    timeout: float = OPENING_SECONDS,
    max_frame: int = MAX_CHANNEL_FRAME,
) -> TlsServer:
    """Serves channels on `host:port` (0: a free port, see `.port`): `await on_channel(channel)` for each,
    which is closed when that returns. Raises `WireError` when the port is taken."""
    server = TlsServer(keyring, on_channel, timeout, max_frame)
    await server._listen(host, port)
    return server


def _check(signature: bytes, wallet: bytes, statement: bytes) -> None:
    if len(wallet) != 20:
        raise ProtocolError("a wallet has 20 bytes")
    if wallet_of_key(recover_signer(message_digest(statement), signature)) != to_checksum_address(wallet):
        raise ProtocolError("the channel's opening is not signed by the wallet it names")


def _client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the wallet signature over the session takes the place of a name
    context.verify_mode = ssl.CERT_NONE
    return context


def _server_context() -> tuple[ssl.SSLContext, bytes]:
    """A TLS 1.3 context with a fresh self-signed certificate, and the certificate's bytes."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "crypdoc")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2120, 1, 1))
        .sign(key, None)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    password = secrets.token_bytes(32).hex()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
    with tempfile.TemporaryDirectory() as folder:  # `ssl` loads from files only; the key in it is encrypted
        path = Path(folder) / "tls.pem"
        path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
        context.load_cert_chain(path, password=password)
    return context, certificate.public_bytes(Encoding.DER)


__all__ = ["DEADLINE", "OnChannel", "TlsChannel", "TlsServer", "connect", "serve"]
