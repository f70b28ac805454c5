"""Every word of every binding exists in the artifacts, takes what it says and understands what comes back."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.address import to_checksum_address

from contracts.abi import CONTRACTS, _split, artifact, explain_revert
from contracts.bindings import (
    Application,
    Cases,
    Certificates,
    Consent,
    DataMarket,
    Doctors,
    Models,
    OpenCase,
    Read,
    Reputation,
    SignedCredential,
    Terms,
)
from contracts.bindings.base import Binding, EventSearch, word
from contracts.bindings.events import KINDS, typed_event
from contracts.chain.terms import PROFILES, profile
from contracts.chain.values import Call, Log, UnsignedTx
from protocols.codec import decode
from protocols.codec import encode as to_cbor
from protocols.crypto.bls import BlsPublic
from protocols.crypto.eip712 import Quote, Receipt
from protocols.errors import ChainError, UserError

ADDRESS = "0x" + "Ab" * 20
WORD = b"\x07" * 32
SAMPLES: dict[Any, Any] = {
    int: 3,
    bool: True,
    str: ADDRESS,
    bytes: WORD,
    bytes | None: WORD,
    str | bytes: ADDRESS,
    Quote: Quote(WORD, ADDRESS, 1, ADDRESS, 2, ADDRESS, 3, 4),
    Receipt: Receipt(1, WORD, 2, 3),
    Consent: Consent(WORD, 1, 2),
    OpenCase: OpenCase(WORD, WORD, 3, WORD, WORD, WORD, WORD),
    BlsPublic: BlsPublic((1, 2), (1, 2, 3, 4)),
    SignedCredential: SignedCredential(WORD, ADDRESS, 1, b"signature"),
    tuple[int, int]: (1, 2),
    tuple[int, int, int, int]: (1, 2, 3, 4),
}
SAMPLES[Application] = Application((SAMPLES[SignedCredential],), WORD, SAMPLES[BlsPublic], (1, 2), b"record")


def words() -> Iterator[tuple[Binding, str]]:
    """Each public method of each binding."""
    for kind in (Cases, Certificates, DataMarket, Doctors, Models, Reputation):
        for name, _ in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_") and name != "search":
                yield kind(ADDRESS), name


def zero(kind: str) -> Any:
    """A value of an ABI type, all nothing but for one item in each list."""
    if kind.endswith("[]"):
        return [zero(kind[:-2])]
    if kind.endswith("]"):
        return [zero(kind[: kind.rindex("[")])] * int(kind[kind.rindex("[") + 1 : -1])
    if kind.startswith("("):
        return tuple(zero(part) for part in _split(kind))
    plain = {"address": ADDRESS, "bool": False, "bytes": b"", "string": ""}
    return plain.get(kind, b"" if kind.startswith("bytes") else 0)


def arguments(method: Any) -> list[Any]:
    """A sample argument for each parameter, by its annotation."""
    hints = typing.get_type_hints(method)
    names = list(inspect.signature(method).parameters)
    return [[1, 2] if name == "case_ids" else SAMPLES[hints[name]] for name in names]


@pytest.mark.parametrize(
    ("binding", "name"), list(words()), ids=lambda value: getattr(value, "contract", value)
)
def test_every_word_encodes_and_understands_the_answer(binding: Binding, name: str) -> None:
    method = getattr(binding, name)
    made = method(*arguments(method))
    if isinstance(made, Call):
        entry = binding.abi.functions[made.function]
        assert len(made.args) == len(entry.inputs)
        assert Call.from_wire(decode(to_cbor(made.to_wire()))) == made
    elif isinstance(made, Read):
        selectors = {entry.hash[:4]: entry for entry in binding.abi.functions.values()}
        outputs = selectors[made.data[:4]].outputs
        answer = encode(outputs, [zero(kind) for kind in outputs])
        made.decode(answer)
        with pytest.raises(ChainError, match="does not decode"):
            made.decode(b"\x01")
    else:
        assert isinstance(made, EventSearch)
        assert all(topic is None or len(topic) == 32 for topic in made.topics)


def test_each_event_of_the_contracts_has_its_class() -> None:
    known = set()
    for name in CONTRACTS:
        abi = artifact(name).abi
        for topic, entry in abi.events.items():
            indexed = [
                kind for kind, is_indexed in zip(entry.inputs, entry.indexed, strict=True) if is_indexed
            ]
            plain = [
                kind for kind, is_indexed in zip(entry.inputs, entry.indexed, strict=True) if not is_indexed
            ]
            topics = (topic, *(bytes(32) for _ in indexed))
            log = Log(ADDRESS, topics, encode(plain, [zero(kind) for kind in plain]), 4, 5, "0x06")
            event = typed_event(abi, log)
            assert type(event).__name__ == entry.name
            assert (event.block, event.index) == (4, 5)
            assert len(fields(event)) == 4 + len(entry.inputs)
            known.add(entry.name)
    assert known == set(KINDS)


def test_a_foreign_event_is_passed_over() -> None:
    assert typed_event(artifact("Cases").abi, Log(ADDRESS, (WORD,), b"", 1, 1, "0x")) is None
    assert typed_event(artifact("Cases").abi, Log(ADDRESS, (), b"", 1, 1, "0x")) is None


def test_reverts_are_named() -> None:
    entry = next(e for e in artifact("Cases").abi.errors.values() if e.name == "TooLate")
    assert explain_revert(entry.hash[:4] + encode(["uint64"], [9])) == ("TooLate", (9,))
    assert explain_revert(b"") == ("reverted without a reason", ())
    assert (
        explain_revert(bytes.fromhex("4e487b71") + (0x11).to_bytes(32, "big"))[0]
        == "panic: arithmetic overflow"
    )
    text = encode(["string"], ["no luck"])
    assert explain_revert(bytes.fromhex("08c379a0") + text) == ("no luck", ())
    assert explain_revert(b"\x01\x02\x03\x04")[0] == "unknown error 0x01020304"


def test_arguments_that_do_not_fit_are_refused_when_the_call_is_made() -> None:
    cases = Cases(ADDRESS)
    with pytest.raises(ValueError, match=r"Cases\.commit"):
        cases.commit(ADDRESS, 1, b"x" * 33)
    with pytest.raises(ValueError, match=r"Cases\.commit"):
        cases.commit(ADDRESS, -1, WORD)
    with pytest.raises(ValueError, match="takes 1 arguments, not 0"):
        cases.abi.encode_call("advance", ())


def test_addresses_come_back_checksummed_wherever_they_are() -> None:
    abi = artifact("Doctors").abi
    raw = encode(["address[]"], [["0x" + "ab" * 20]])
    assert abi.decode_result("membersPage", raw) == ((to_checksum_address("0x" + "ab" * 20),),)


def test_words() -> None:
    assert word(5) == bytes(31) + b"\x05"
    assert word(ADDRESS) == bytes(12) + bytes.fromhex("ab" * 20)
    assert word(WORD) == WORD


def test_terms_survive_json() -> None:
    for terms in PROFILES.values():
        assert Terms.from_json(json.loads(json.dumps(terms.to_json()))) == terms
    with pytest.raises(UserError, match="do not fit"):
        Terms.from_json({"seat_fee": [1, 2, 3, 4]})
    with pytest.raises(UserError, match="no profile 'fast'"):
        profile("fast")


def test_unsigned_transactions_survive_the_log() -> None:
    tx = UnsignedTx(ADDRESS, None, b"\x01", 2, 3, 4, 5, None, 6, 7)
    assert UnsignedTx.from_wire(decode(to_cbor(tx.to_wire()))) == tx
    assert "to" not in tx.to_dict()
    assert tx.max_cost_wei == 2 + 4 * 6
    legacy = UnsignedTx(ADDRESS, ADDRESS, b"", 2, 3, 4, 5, gas_price=9)
    assert legacy.to_dict()["gasPrice"] == 9
    assert "type" not in legacy.to_dict()
