"""What may be said, by whom, after what: the five conversations of CrypDoc.

Each conversation is a table `performative -> performatives that may answer it`. The first message must be
one of `opening`. AEA's own dialogues follow the same rules but live in memory; a `Thread` is a plain value,
so it is written to the case log together with the decision it led to and survives a crash.

* **quote**: a patient asks models for their price. *cfp, propose, accept, decline, refuse, ready.*
* **session**: blind inference is set up and receipted. *begin, ready, receipt, refuse.*
* **delivery**: a patient hands the sealed scan to a seated doctor and later collects the signature.
* **disclosure**: a patient shows a doctor whose vote is sealed what the model found in a volume.
* **purchase**: a researcher asks a patient for a record it has paid for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from protocols.codec import decode, encode
from protocols.errors import ProtocolError

VERSION = 1
Rules = Mapping[str, frozenset[str]]


def _rules(**table: str) -> Rules:
    return {said: frozenset(answers.split()) for said, answers in table.items()}


@dataclass(frozen=True, slots=True)
class Conversation:
    """The rules of one kind of dialogue. `fields` names, for each performative, the keys its body must have."""

    name: str
    opening: str
    rules: Rules
    fields: Mapping[str, frozenset[str]]

    @property
    def protocol_id(self) -> str:
        return f"crypdoc/{self.name}:1.0.0"


QUOTE = Conversation(
    "quote",
    "cfp",
    _rules(cfp="propose refuse", propose="decline", decline="", refuse=""),
    {
        "cfp": frozenset({"case_id", "patient", "specialty"}),
        "propose": frozenset({"quote", "signature", "card", "topology", "costs", "dealer"}),
        "decline": frozenset({"reason"}),
        "refuse": frozenset({"reason"}),
    },
)
SESSION = Conversation(
    "session",
    "begin",
    _rules(begin="ready refuse", ready="receipt refuse", receipt="", refuse=""),
    {
        "begin": frozenset({"case_id", "session"}),
        "ready": frozenset({"session"}),
        "receipt": frozenset({"session", "receipt", "signature"}),
        "refuse": frozenset({"reason"}),
    },
)
DELIVERY = Conversation(
    "delivery",
    "deliver",
    _rules(deliver="received refuse", received="certify", certify="attest refuse", attest="", refuse=""),
    {
        "deliver": frozenset(
            {
                "case_id",
                "round",
                "scan",
                "nonce",
                "code_commitments",
                "code_salt",
                "codes",
                "modality",
                "authority",
            }
        ),
        "received": frozenset(),
        "certify": frozenset({"label", "date"}),
        "attest": frozenset({"signature"}),
        "refuse": frozenset({"reason"}),
    },
)
DISCLOSURE = Conversation(
    "disclosure",
    "show",
    _rules(show="seen refuse", seen="", refuse=""),
    {
        "show": frozenset({"case_id", "round", "mask", "findings"}),
        "seen": frozenset(),
        "refuse": frozenset({"reason"}),
    },
)
PURCHASE = Conversation(
    "purchase",
    "request",
    _rules(request="records refuse", records="", refuse=""),
    {
        "request": frozenset({"case_id", "buyer"}),
        "records": frozenset({"record"}),
        "refuse": frozenset({"reason"}),
    },
)
CONVERSATIONS = {c.name: c for c in (QUOTE, SESSION, DELIVERY, DISCLOSURE, PURCHASE)}


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a conversation.

    thread: name given by whoever opened it, unique together with the opener's address. number: 1, 2, ...
    """

    conversation: str
    thread: str
    number: int
    performative: str
    body: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Canonical bytes; the envelope's id is their hash, so the same message sent twice counts once."""
        return encode(
            [VERSION, self.conversation, self.thread, self.number, self.performative, dict(self.body)]
        )

    @classmethod
    def decode(cls, data: bytes) -> Said:
        """The message in `data`, its form checked; whether it may be said now is `Thread`'s to tell."""
        value = decode(data)
        if not (isinstance(value, list) and len(value) == 6 and value[0] == VERSION):
            raise ProtocolError("not a message of this version", "both sides need the same CrypDoc version")
        _, name, thread, number, performative, body = value
        rules = CONVERSATIONS.get(name) if isinstance(name, str) else None
        if rules is None:
            raise ProtocolError("the message belongs to no known conversation")
        if not (isinstance(thread, str) and 0 < len(thread) <= 128 and isinstance(body, dict)):
            raise ProtocolError("the message's thread or body is malformed")
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 16:
            raise ProtocolError("the message's number is out of range")
        needed = rules.fields.get(performative) if isinstance(performative, str) else None
        if needed is None or not needed <= body.keys():
            raise ProtocolError(f"a {name} message lacks what its kind must carry")
        return cls(name, thread, number, performative, body)


def follow(last: str | None, number: int, said: Said) -> None:
    """Check that `said` may come now. last: the performative before it (None at the start); number: its own.

    Raises `ProtocolError` otherwise.
    """
    rules = CONVERSATIONS[said.conversation]
    if said.number != number:
        raise ProtocolError(f"message {said.number} of {said.thread} came when {number} was due")
    allowed = {rules.opening} if last is None else rules.rules.get(last, frozenset())
    if said.performative not in allowed:
        raise ProtocolError(
            f"{said.performative} may not follow {last or 'nothing'} in a {rules.name} conversation"
        )
