"""What may be said after what: every rule of every conversation, and messages that are none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.codec import encode
from protocols.dialogues import CONVERSATIONS, Said, follow
from protocols.errors import ProtocolError


def said(conversation: str, performative: str, number: int = 1, **more: Any) -> Said:
    body = dict.fromkeys(CONVERSATIONS[conversation].fields[performative], b"x")
    return Said(conversation, "thread", number, performative, body | more)


@pytest.mark.parametrize("name", sorted(CONVERSATIONS))
def test_the_rules_are_whole(name: str) -> None:
    talk = CONVERSATIONS[name]
    assert set(talk.rules) == set(talk.fields), "what may be said says what it carries"
    assert talk.opening in talk.rules
    reached, todo = {talk.opening}, [talk.opening]
    while todo:
        answers = talk.rules[todo.pop()]
        assert answers <= set(talk.rules)
        todo += answers - reached
        reached |= answers
    assert reached == set(talk.rules), "everything can be said"
    assert any(not answers for answers in talk.rules.values()), "it can end"


@pytest.mark.parametrize("name", sorted(CONVERSATIONS))
def test_every_message_after_every_message(name: str) -> None:
    talk = CONVERSATIONS[name]
    for performative in talk.rules:
        for last in (None, *talk.rules):
            fits = performative == talk.opening if last is None else performative in talk.rules[last]
            message = said(name, performative, 3)
            if fits:
                follow(last, 3, message)
            else:
                with pytest.raises(ProtocolError, match="may not follow"):
                    follow(last, 3, message)
            with pytest.raises(ProtocolError, match="was due"):
                follow(last, 2, message)
            with pytest.raises(ProtocolError, match="was due"):
                follow(last, 4, message)


@pytest.mark.parametrize("name", sorted(CONVERSATIONS))
def test_messages_survive_the_wire(name: str) -> None:
    for performative in CONVERSATIONS[name].rules:
        message = said(name, performative, 2)
        assert Said.decode(message.encode()) == message
        assert message.encode() == said(name, performative, 2).encode(), "the same message, the same envelope"


@pytest.mark.parametrize(
    "value",
    [
        7,
        [],
        [1, "quote", "t", 1, "cfp"],
        [2, "quote", "t", 1, "refuse", {"reason": ""}],
        [1, "gossip", "t", 1, "refuse", {"reason": ""}],
        [1, ["quote"], "t", 1, "refuse", {"reason": ""}],
        [1, "quote", "", 1, "refuse", {"reason": ""}],
        [1, "quote", "t" * 129, 1, "refuse", {"reason": ""}],
        [1, "quote", 5, 1, "refuse", {"reason": ""}],
        [1, "quote", "t", 0, "refuse", {"reason": ""}],
        [1, "quote", "t", 17, "refuse", {"reason": ""}],
        [1, "quote", "t", True, "refuse", {"reason": ""}],
        [1, "quote", "t", 1.0, "refuse", {"reason": ""}],
        [1, "quote", "t", 1, "refuse", {}],
        [1, "quote", "t", 1, "refuse", ["reason"]],
        [1, "quote", "t", 1, "shout", {"reason": ""}],
        [1, "quote", "t", 1, ["refuse"], {"reason": ""}],
        [1, "quote", "t", 1, "refuse", {"reason": ""}, 0],
    ],
)
def test_malformed_messages_are_refused(value: object) -> None:
    with pytest.raises(ProtocolError):
        Said.decode(encode(value))


PARTS = (
    st.none()
    | st.integers()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.lists(st.integers(), max_size=2)
)


@given(
    st.lists(PARTS, max_size=8)
    | st.tuples(
        st.just(1),
        st.sampled_from(sorted(CONVERSATIONS)) | PARTS,
        st.text(max_size=5) | PARTS,
        st.integers(0, 20) | PARTS,
        st.sampled_from(sorted({p for c in CONVERSATIONS.values() for p in c.rules})) | PARTS,
        st.dictionaries(st.sampled_from(["reason", "session", "case_id", "record"]), PARTS) | PARTS,
    )
)
def test_anything_is_a_message_or_a_protocol_error(value: Any) -> None:
    try:
        message = Said.decode(encode(list(value)))
    except ProtocolError:
        return
    assert message.body.keys() >= CONVERSATIONS[message.conversation].fields[message.performative]
