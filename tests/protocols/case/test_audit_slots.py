"""The machines and audit slots: who is asked, what is offered, and a model that cheats is not tried again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocols.blind.audit import Probes
from protocols.blind.layers import Affine, Clip, Dense, Flatten
from protocols.blind.topology import Topology
from protocols.effects import Event
from tests.protocols.case.samples import MACHINES, MODEL, NOW, OTHER, model_case, patient_case, proposal

PATIENT, SELLER = MACHINES["patient"], MACHINES["model"]
TOPOLOGY = Topology(
    (1, 2, 2),
    (Flatten(0), Affine((Dense(1, 3),)), Clip(2, 4, 2), Affine((Dense(3, 1),))),
    ring_bits=16,
    thresholds=(3, 40, 900),
    logit_scale=0.001,
)
PROBES = Probes(bytes(32), ((5,), (7,)), 100)


def proposed(case: Any, probes: Any) -> Any:
    body = proposal() | {"topology": TOPOLOGY.encode()}
    body = body | {"card": dict(body["card"]) | ({"probes": probes} if probes is not None else {})}
    event = Event("quote.propose", {"from": MODEL, "thread": f"{case.key}:{MODEL}", "body": body}, "p")
    return PATIENT.reduce(case, event)[0]


@pytest.mark.parametrize(
    ("slots", "probes", "taken"),
    [
        (0, None, True),
        (4, PROBES.to_plain(), True),
        (4, None, False),
        (4, {"seed": "00"}, False),
        (5, PROBES.to_plain(), False),
        (4, replace(PROBES, tolerance=5000).to_plain(), False),
        (4, replace(PROBES, logits=((1, 2), (3, 4))).to_plain(), False),
    ],
)
def test_offers_that_can_be_checked_are_taken(slots: int, probes: Any, taken: bool) -> None:
    case = proposed(patient_case("quoting", slots=slots, quotes={}, refused=[]), probes)
    assert (MODEL in case.quotes, MODEL in case.refused) == (taken, not taken)


def failed(cheated: bool) -> Any:
    case = patient_case(
        "inferring", sessions={MODEL: 1}, quotes={MODEL: proposal(), OTHER: proposal("other")}
    )
    body = {"session": case.session, "reason": "why", "now": NOW, "cheated": cheated}
    return PATIENT.reduce(case, Event("infer_failed", body, "f"))[0]


def test_a_model_that_cheats_is_not_tried_again() -> None:
    case = failed(True)
    assert case.bad_models == [MODEL]
    assert case.model == OTHER
    assert case.trouble == "why"
    again = failed(False)
    assert (again.model, again.sessions[MODEL], again.bad_models) == (MODEL, 2, [])


def test_what_is_asked_for_reaches_the_session() -> None:
    asked = PATIENT.reduce(
        patient_case("quoting", slots=4, asked=[]), Event("started", {"models": [MODEL], "now": NOW})
    )[1]
    assert [effect.body["body"]["slots"] for effect in asked] == [4]
    case = patient_case("arranging", slots=4, sessions={MODEL: 1})
    ready = {"from": MODEL, "thread": case.session, "body": {"session": case.session}, "now": NOW}
    (infer,) = PATIENT.reduce(case, Event("session.ready", ready, "r"))[1]
    assert infer.body["slots"] == 4
    hosting = model_case("arranging", batch=4, session="s")
    ready = {"from": hosting.dealer, "thread": "s/deal", "body": {}, "now": NOW}
    effects = SELLER.reduce(hosting, Event("session.ready", ready, "r"))[1]
    assert [e.body["batch"] for e in effects if e.kind == "host"] == [4]
