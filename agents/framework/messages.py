"""CrypDoc's conversations as AEA protocols: one `Message` class each, made from the tables in `protocols.dialogues`.

AEA carries performative, dialogue reference, message number and target; our bytes are those of
`protocols.dialogues.Said`, so the rules are checked in one place, whichever way a message came.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from aea.configurations.base import ProtocolConfig, PublicId
from aea.protocols.base import Message, Protocol, Serializer

from protocols.dialogues import CONVERSATIONS, Conversation, Said

AEA_VERSION = ">=2.0.0, <3.0.0"


class SaidMessage(Message):  # type: ignore[misc]
    """The base of the four message classes; `said` is the message as the rules know it."""

    conversation: Conversation

    @property
    def said(self) -> Said:
        """The message as `protocols.dialogues` knows it."""
        thread, _ = self.dialogue_reference
        return Said(
            self.conversation.name, thread, self.message_id, self.performative.value, self.get("body")
        )


def _make(conversation: Conversation) -> type[SaidMessage]:
    public_id = PublicId.from_str(conversation.protocol_id)

    class _Serializer(Serializer):  # type: ignore[misc]
        @staticmethod
        def encode(msg: Message) -> bytes:
            return msg.said.encode()  # type: ignore[no-any-return]

        @staticmethod
        def decode(obj: bytes) -> Message:
            return to_message(Said.decode(obj))

    class _Slots:
        __slots__ = ("body", "dialogue_reference", "message_id", "performative", "target")

    names = {p.upper(): p for p in conversation.rules}
    performatives = Enum("Performative", names, type=Message.Performative)  # type: ignore[misc]
    return type(
        f"{conversation.name.title()}Message",
        (SaidMessage,),
        {
            "protocol_id": public_id,
            "protocol_specification_id": public_id,
            "serializer": _Serializer,
            "Performative": performatives,
            "_SlotsCls": _Slots,
            "conversation": conversation,
            "__doc__": f"A message of the {conversation.name} conversation.",
        },
    )


MESSAGES: dict[str, type[SaidMessage]] = {name: _make(c) for name, c in CONVERSATIONS.items()}


def to_message(said: Said, *, to: str = "", sender: str = "") -> SaidMessage:
    """The AEA message that carries `said`."""
    kind = MESSAGES[said.conversation]
    message: Any = kind(
        performative=kind.Performative(said.performative),
        dialogue_reference=(said.thread, ""),
        message_id=said.number,
        target=said.number - 1,
        body=dict(said.body),
    )
    if to:
        message.to = to
    if sender:
        message.sender = sender
    return message  # type: ignore[no-any-return]


def aea_protocol(conversation: Conversation) -> Protocol:
    """The AEA protocol component of a conversation."""
    config = ProtocolConfig(
        conversation.name,
        "crypdoc",
        "1.0.0",
        protocol_specification_id=conversation.protocol_id,
        aea_version=AEA_VERSION,
    )
    return Protocol(config, MESSAGES[conversation.name])
