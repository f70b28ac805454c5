"""Preprocessing serves once: names are claimed, no two purposes share a stream, a crash leaves the tape claimed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from blind_samples import every_topology, fill, image, seeds, session, tape_of, tiny

from protocols.blind import prg
from protocols.blind.dealer import TapeSeeds, deal_tape
from protocols.blind.local import Parties, Seeds, make_parties, run_local, run_parties
from protocols.blind.messages import Role
from protocols.blind.model import ModelParty
from protocols.blind.party import Party
from protocols.blind.patient import PatientParty
from protocols.blind.session import UsedSessions
from protocols.blind.weights import ModelWeights, Pads
from protocols.errors import ProtocolError

NETWORK = fill(tiny(), 1)
TOP, NAME = NETWORK.topology, NETWORK.network_hash()
BATCH, KEYS = image(TOP, "random"), seeds(1)
WEIGHTS = ModelWeights(NETWORK, KEYS.model_dealer)


def patient(name: bytes, tape: bytes, used: UsedSessions) -> PatientParty:
    return PatientParty(TOP, NAME, BATCH, name, tape, KEYS.patient_dealer, used)


def model(name: bytes, tape: bytes, used: UsedSessions) -> ModelParty:
    return ModelParty(WEIGHTS, name, tape, used)


MAKERS: list[Callable[[bytes, bytes, UsedSessions], Party]] = [patient, model]


@pytest.mark.parametrize("make", MAKERS)
def test_a_session_and_a_tape_serve_once(make: Callable[[bytes, bytes, UsedSessions], Party]) -> None:
    used = UsedSessions()
    make(session(1), session(2), used)
    for name, tape in ((1, 2), (1, 3), (3, 2), (2, 4), (4, 1)):  # a name of one sort is none of the other
        with pytest.raises(ProtocolError, match="used before"):
            make(session(name), session(tape), UsedSessions(used.all()))
    make(session(5), session(6), used)
    with pytest.raises(ProtocolError, match="used before"):
        make(session(7), session(7), used)


def test_names_are_of_one_length() -> None:
    for bad in (b"", bytes(31), bytes(33), "x" * 32, None):
        with pytest.raises(ProtocolError):
            UsedSessions().claim(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", MAKERS)
def test_a_party_starts_once(make: Callable[[bytes, bytes, UsedSessions], Party]) -> None:
    party = make(session(1), session(2), UsedSessions())
    party.start()
    with pytest.raises(ProtocolError, match="started before"):
        party.start()


def test_a_crash_anywhere_leaves_session_and_tape_claimed() -> None:
    """What an agent stores before its first frame is enough to refuse the tape after any number of frames."""
    honest = run_parties(make_parties(NETWORK, BATCH, KEYS, session(1)))
    for until in range(len(honest) + 1):
        stored: list[frozenset[bytes]] = []
        ledgers = {Role.PATIENT: UsedSessions(), Role.MODEL: UsedSessions()}
        parties: dict[Role, Party] = {
            Role.PATIENT: patient(session(1), tape_of(session(1)), ledgers[Role.PATIENT]),
            Role.MODEL: model(session(1), tape_of(session(1)), ledgers[Role.MODEL]),
        }
        stored = [ledger.all() for ledger in ledgers.values()]  # before any frame
        for party in parties.values():
            party.start()
        for sender, to, frame in honest[:until]:
            parties[to].receive(sender, frame)
        del parties
        for make, kept in zip(MAKERS, stored, strict=True):
            with pytest.raises(ProtocolError, match="used before"):
                make(session(99), tape_of(session(1)), UsedSessions(kept))
            with pytest.raises(ProtocolError, match="used before"):
                make(session(1), session(98), UsedSessions(kept))


def test_a_tape_is_refused_even_when_its_party_could_not_be_made() -> None:
    used = UsedSessions()
    with pytest.raises(ProtocolError, match="prepare the scan"):
        PatientParty(TOP, NAME, BATCH[:, :, :2], session(1), session(2), KEYS.patient_dealer, used)
    with pytest.raises(ProtocolError, match="used before"):
        patient(session(3), session(2), used)


class Streams:
    """Every stream that is opened: seed and context."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.opened: list[tuple[bytes, ...]] = []
        made = prg.Stream.__init__

        def init(stream: prg.Stream, seed: bytes, *context: bytes) -> None:
            self.opened.append((seed, *context))
            made(stream, seed, *context)

        patch.setattr(prg.Stream, "__init__", init)

    def since(self, start: int = 0) -> list[tuple[bytes, ...]]:
        return self.opened[start:]


@pytest.mark.parametrize("name", every_topology())
def test_no_two_purposes_share_a_stream(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a tape the dealer opens each stream once; P opens the same of its seed and no other.

    P draws the bucket's share when it sends p and again when it answers; all else once.
    """
    top = every_topology()[name]
    network, keys = fill(top, 2), seeds(2)
    streams = Streams(monkeypatch)
    pads = Pads(top, network.network_hash(), keys.model_dealer)
    made = len(streams.opened)
    own = TapeSeeds(tape_of(session(2)), keys.patient_dealer, keys.dealer)
    frames = list(deal_tape(pads, own, 2))
    dealt = streams.since(made)
    assert max(Counter(dealt).values()) == 1
    assert {seed for seed, *_ in dealt} <= {keys.patient_dealer, keys.dealer}

    batch = image(top, "random").repeat(2, axis=0)
    start = len(streams.opened)
    party = PatientParty(
        top,
        network.network_hash(),
        batch,
        session(2),
        tape_of(session(2)),
        keys.patient_dealer,
        UsedSessions(),
    )
    weights = ModelWeights(network, keys.model_dealer)
    party_streams = [s for s in streams.since(start) if s[0] == keys.patient_dealer]
    start = len(streams.opened)
    run_parties(
        Parties(party, ModelParty(weights, session(2), tape_of(session(2)), UsedSessions(), 2), frames)
    )
    party_streams += streams.since(start)
    assert {stream[-1] for stream, count in Counter(party_streams).items() if count > 1} <= {b"bucket"}
    assert set(party_streams) == {s for s in dealt if s[0] == keys.patient_dealer}


def test_different_tapes_sessions_networks_and_batches_never_share_a_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even were all seeds the same. Only the pads of a network serve again: that is what they are for."""
    streams, sets = Streams(monkeypatch), []
    other = fill(tiny(thresholds=(3, 40, 901)), 1)
    for network, tape, batch in (
        (NETWORK, session(1), 1),
        (NETWORK, session(2), 1),
        (NETWORK, session(1), 2),
        (other, session(1), 1),
        (fill(tiny(), 2), session(1), 1),
    ):
        top = network.topology
        pads = Pads(top, network.network_hash(), KEYS.model_dealer)
        start = len(streams.opened)
        list(deal_tape(pads, TapeSeeds(tape, KEYS.patient_dealer, KEYS.dealer), batch))
        sets.append(set(streams.since(start)))
        assert len(sets[-1]) == len(streams.since(start))
    for i, one in enumerate(sets):
        assert all(one.isdisjoint(two) for two in sets[:i])


def test_seeds_of_one_value_for_two_purposes_still_never_share_a_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mistake that the key derivation forgives: the three seeds are one."""
    streams = Streams(monkeypatch)
    one = bytes(range(32))
    run_local(NETWORK, BATCH, Seeds(one, one, one), session(1))
    by_purpose: dict[tuple[bytes, ...], int] = Counter(streams.opened)
    twice = {context[1] for context, count in by_purpose.items() if count > 1}
    assert twice <= {b"tape", b"weights", b"epoch"}  # what P and D, or M and D, expand alike
    assert max(count for context, count in by_purpose.items() if context[-1] != b"bucket") == 2


def test_the_same_seeds_make_the_same_tape_and_another_name_another() -> None:
    pads = Pads(TOP, NAME, KEYS.model_dealer)
    one, again, other = (
        list(deal_tape(pads, TapeSeeds(tape, KEYS.patient_dealer, KEYS.dealer)))
        for tape in (session(1), session(1), session(2))
    )
    assert one == again
    assert all(a[40:] != b[40:] for a, b in zip(one, other, strict=True))
