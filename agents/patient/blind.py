"""The patient's side of one blind session: its party, with audit slots where they were asked for, and what came out."""

from __future__ import annotations

import math
import secrets
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.engine.blind import Traffic
from agents.engine.dealing import read_seed
from agents.engine.layers import layer_costs, online_seconds
from agents.engine.store import Store
from agents.engine.used import use_tape
from agents.patient.masked import MaskedCache
from protocols.blind.audit import AuditedPatient, Probes, plan_slots
from protocols.blind.patient import PatientParty
from protocols.blind.schedule import costs
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.errors import ProtocolError


class BlindReader:
    """Makes parties. store: the patient's log, which remembers tapes; cache: masked weights of earlier sessions."""

    def __init__(self, store: Store, cache: MaskedCache) -> None:
        self._store, self._cache = store, cache

    def take(self, body: dict[str, Any], given: bytes) -> tuple[bytes, bytes]:
        """(tape, seed) of the dealer's word, noted as used. body: of the `infer` effect.

        Raises `ProtocolError` when the tape is for another batch or was used.
        """
        tape, seed, batch = read_seed(given)
        due = max(1, int(body.get("slots", 0)))
        if batch != due:
            raise ProtocolError(
                f"the dealer's tape is for {batch} images, {due} were agreed", "the session is tried again"
            )
        use_tape(self._store, tape, body["dealer"], body["network"], batch)
        return tape, seed

    def party(
        self, body: dict[str, Any], session: bytes, image: NDArray[np.generic], tape: bytes, seed: bytes
    ) -> PatientParty:
        """The party of one session. Heavy: not on the event loop. Raises `ProtocolError` on a bad topology or card."""
        topology, network, slots = (
            Topology.decode(body["topology"]),
            body["network"],
            int(body.get("slots", 0)),
        )
        known = self._cache.get(topology, network, body["model"], body["dealer"])
        used, clock = UsedSessions(), time.perf_counter
        if not slots:
            images = image[None]
            return PatientParty(topology, network, images, session, tape, seed, used, known, clock=clock)
        plan = plan_slots(slots, Probes.from_plain(body["card"].get("probes")), secrets.randbelow)
        return AuditedPatient(topology, network, image, plan, session, tape, seed, used, known, clock=clock)

    def outcome(self, body: dict[str, Any], party: PatientParty, traffic: Traffic) -> dict[str, Any]:
        """What the case log keeps: the answer, and what it cost. Raises `ProtocolError` without a bucket."""
        topology, result = Topology.decode(body["topology"]), party.result
        if result.buckets is None:
            raise ProtocolError("the network has no confidence thresholds", "another model is tried")
        if (weights := party.masked_weights) is not None:
            self._cache.put(body["network"], body["model"], body["dealer"], weights)
        own = party.counts
        logit = float(result.values.reshape(party.batch, -1)[own, 0])
        bill = costs(topology, party.batch)
        return {
            "logit": logit,
            "bucket": result.buckets[own],
            "probability": _logistic(logit),
            "bytes": traffic.sent + traffic.received,
            "bytes_ahead": bill.bytes_ahead,
            "bytes_online": bill.bytes_online,
            "rounds": bill.rounds,
            "seconds_online": online_seconds(party.laps),
            "slots": int(body.get("slots", 0)),
            "layers": layer_costs(topology, party.batch, party.laps),
        }


def seconds_told(told: Any) -> str:
    """What the quote said that a session takes, as the end of a sentence; "" when it said nothing sensible."""
    try:
        seconds = float(told["seconds_ahead"]) + float(told["seconds_online"])
        size, rounds = int(told["bytes"]), int(told["rounds"])
    except (KeyError, TypeError, ValueError):
        return ""
    return f": about {max(seconds, 0.001):.2g} s, {size / 1e6:.1f} MB and {rounds} rounds as quoted"


def _logistic(logit: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))
