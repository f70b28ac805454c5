"""Saying and hearing: a message is said until the peer has committed it, and applied once.

Small messages are envelopes over libp2p, acknowledged after the commit. Large ones (a scan) go over the direct
channel, one a channel, sealed all the same; the answer on it is `taken` after the commit, `later` when the case is not
ready, `refused` when nobody wants it. A peer without a direct way gets an envelope of any size.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any

from aea.configurations.base import PublicId
from aea.mail.base import Envelope

from agents.engine.channels import SAID
from agents.engine.core import NotYet
from agents.engine.faults import label, point
from agents.engine.store import Pending
from agents.wire.channel import Channel
from agents.wire.envelopes import envelope_id
from protocols.crypto.seal import seal
from protocols.dialogues import CONVERSATIONS, Said
from protocols.errors import ProtocolError, WireError

if TYPE_CHECKING:
    from agents.engine.duty import Duty

log = logging.getLogger(__name__)

ACK_PATIENCE = 4.0
SEAL_PURPOSE = "said/1"
BLOBS = {"deliver": "scan", "show": "mask"}
"""Performative -> the part of its body that the log holds as a blob."""

LARGE = 16 << 10
"""Bytes from which a message takes the direct channel."""


class Mail:
    """The mouth and the ears of one duty."""

    def __init__(self, duty: Duty[Any]) -> None:
        self._duty = duty
        self._acks: dict[bytes, asyncio.Future[None]] = {}

    @staticmethod
    def envelope(sender: str, to: str, said: Said) -> bytes:
        """The id that the wire gives the envelope of this message; it names the message on either way."""
        protocol = PublicId.from_str(CONVERSATIONS[said.conversation].protocol_id)
        return envelope_id(
            Envelope(to=to, sender=sender, message=said.encode(), protocol_specification_id=protocol)
        )

    # ---- hearing
    def hear(self, sender: str, said: Said) -> None:
        """A message that came as an envelope. Raises `ProtocolError` when it is not wanted."""
        name = self.envelope(sender, self._duty.address, said)
        what = f"{said.conversation}.{said.performative}"
        try:
            self._commit(sender, name, said)
        except NotYet:
            log.debug("%s from %s came early; it will come again", what, sender)
            self._duty.wire.not_yet(sender, name)
            return
        self._duty.wire.ack(sender, name)
        point("after-send", what)

    def _commit(self, sender: str, name: bytes, said: Said) -> None:
        what = f"{said.conversation}.{said.performative}"
        point("before-write", what)
        self._duty.core.hear(sender, name.hex(), said, time.time(), self._duty.accept)
        point("after-write", what)

    async def serve(self, channel: Channel) -> None:
        """A message that came over a channel; whose it is the channel has proved."""
        duty = self._duty
        sealed = await channel.recv()
        sender, answer = bytes.fromhex(channel.peer[2:]), b"taken"
        try:
            said = Said.decode(duty.keyring.open(sealed, sender=sender, purpose=SEAL_PURPOSE))
            self._commit(channel.peer, self.envelope(channel.peer, duty.address, said), said)
        except NotYet:
            answer = b"later"
        except ProtocolError as error:
            log.info("a message from %s was refused: %s", channel.peer, error)
            answer = b"refused"
        await channel.send(answer)
        if answer == b"taken":
            point("after-send", f"{said.conversation}.{said.performative}")

    # ---- saying
    def acked(self, envelope: bytes) -> None:
        """The peer has committed an envelope."""
        future = self._acks.get(envelope)
        if future is not None and not future.done():
            future.set_result(None)

    async def say(self, pending: Pending) -> None:
        """Say one message. Raises `WireError` when the peer has not committed it yet: say it again."""
        duty, body = self._duty, pending.effect.body
        content = dict(body["body"])
        if (kept := BLOBS.get(body["performative"])) is not None:
            content[kept] = duty.store.blob(content[kept])
        said = Said(body["conversation"], body["thread"], body["number"], body["performative"], content)
        what = label("say", dict(body))
        if (
            len(said.encode()) >= LARGE
            and (record := duty.directory.get(body["to"])) is not None
            and record.tls
        ):
            await self._send_large(record.wallet, await duty.sealing_key_of(record), said, what)
            return
        name = self.envelope(duty.address, body["to"], said)
        future = self._acks.setdefault(name, asyncio.get_running_loop().create_future())
        try:
            duty.runtime.put(body["to"], said)
            point("after-send", what)
            async with asyncio.timeout(ACK_PATIENCE):
                await asyncio.shield(future)
        except TimeoutError:
            await duty.renew(body["to"])
            raise _unanswered(body["to"]) from None
        finally:
            if future.done():
                self._acks.pop(name, None)

    async def _send_large(self, to: str, sealing_key: bytes, said: Said, what: str) -> None:
        duty = self._duty
        sealed = seal(
            said.encode(),
            sealing_key,
            secrets.token_bytes(32),
            sender=duty.keyring.wallet,
            recipient=bytes.fromhex(to[2:]),
            purpose=SEAL_PURPOSE,
        )
        try:
            async with await duty.dial(to, SAID) as channel:
                await channel.send(sealed)
                point("after-send", what)
                answer = await channel.recv()
        except ProtocolError as error:
            raise WireError(str(error), "the message is repeated") from None
        if answer != b"taken":
            raise _unanswered(to)


def _unanswered(to: str) -> WireError:
    return WireError(f"{to} has not answered", "the message is repeated until it does")
