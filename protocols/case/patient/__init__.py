r"""The patient's side of a case: from a scan to a diagnosis with a certificate.

    quoting -> funding -> buying -> arranging -> inferring -> opening -> panel -> certifying -> collecting -> done
                                                                            \-> collecting -> refunded
                     any step before `opening` can end in `failed`, with nothing lost but fees of the chain

What the reducer may see: everything, it runs on the patient's machine. The scan itself stays in the agent's
blob store and is named here by its hash. Randomness came in with the first event: the case secret.
"""

from __future__ import annotations

from protocols.case.patient.late import is_late, went_on
from protocols.case.patient.market import access, collected, requested
from protocols.case.patient.panel import attested, certified, certify_tick, panel_view, received
from protocols.case.patient.quotes import best_quote, proposed, quote_of, quote_refused, quote_tick, started
from protocols.case.patient.session import (
    arrange_tick,
    bought,
    funded,
    infer_failed,
    inferred,
    opened,
    progressed,
    ready,
    receipted,
    session_refused,
    setup_reverted,
)
from protocols.case.patient.state import Out, PatientCase, label_of, note
from protocols.effects import Event, Machine, stay

__all__ = ["MACHINE", "PatientCase", "best_quote", "label_of", "quote_of"]


def _on_mined(case: PatientCase, event: Event) -> Out:
    step = str(event.body["step"])
    if is_late(step):
        return went_on(case, event)
    if case.phase == "funding" and step == f"fund/{case.model}":
        return funded(case, event)
    if case.phase == "buying" and step == f"purchase/{case.model}":
        return bought(case, event)
    if case.phase == "opening" and step == f"open/{case.model}":
        return opened(case, event)
    if case.phase == "collecting":
        return collected(case, event)
    return note(case, event), []


def _on_reverted(case: PatientCase, event: Event) -> Out:
    if is_late(str(event.body["step"])):
        return went_on(case, event)
    if case.phase in ("funding", "buying", "opening"):
        return setup_reverted(case, event)
    if case.phase == "collecting":
        return collected(case, event)
    return case, []


def _on_tick(case: PatientCase, event: Event) -> Out:
    if case.phase == "quoting":
        return quote_tick(case, event)
    if case.phase in ("arranging", "inferring"):
        return arrange_tick(case, event)
    return certify_tick(case, event)


_SETUP = ("funding", "arranging", "opening", "failed")


def _told(phase: str) -> dict[str, frozenset[str]]:
    """Answers of doctors who were shown a mask: nothing follows from them."""
    return {"disclosure.seen": stay(phase), "disclosure.refuse": stay(phase)}


MACHINE: Machine[PatientCase] = Machine(
    role="patient",
    state=PatientCase,
    table={
        "quoting": {
            "started": stay("quoting"),
            "quote.propose": stay("quoting"),
            "quote.refuse": stay("quoting"),
            "tick": stay("quoting", "funding", "failed"),
        },
        "funding": {
            "mined": stay("funding", "buying"),
            "reverted": stay("funding", "failed"),
            "quote.propose": stay("funding"),
        },
        "buying": {"mined": stay("buying", "arranging"), "reverted": stay("buying", "funding", "failed")},
        "arranging": {
            "session.ready": stay("arranging", "inferring"),
            "session.refuse": stay(*_SETUP),
            "tick": stay(*_SETUP),
            "mined": stay("arranging"),
            "reverted": stay("arranging"),
        },
        "inferring": {
            "progressed": stay("inferring"),
            "inferred": stay("inferring", *_SETUP),
            "infer_failed": stay("inferring", *_SETUP),
            "session.receipt": stay("inferring", *_SETUP),
            "session.refuse": stay("inferring", *_SETUP),
            "tick": stay("inferring", *_SETUP),
            "mined": stay("inferring"),
        },
        "opening": {"mined": stay("opening", "panel"), "reverted": stay("opening", "funding", "failed")},
        "panel": {
            "view": stay("panel", "certifying", "collecting"),
            "delivery.received": stay("panel"),
            "delivery.refuse": stay("panel"),
            "mined": stay("panel"),
            "reverted": stay("panel"),
            **_told("panel"),
        },
        "certifying": {
            "delivery.received": stay("certifying"),
            "delivery.attest": stay("certifying"),
            "delivery.refuse": stay("certifying"),
            "tick": stay("certifying", "collecting"),
            "certified": stay("certifying", "collecting"),
            "mined": stay("certifying"),
            "reverted": stay("certifying"),
            **_told("certifying"),
        },
        "collecting": {
            "mined": stay("collecting", "done", "refunded"),
            "reverted": stay("collecting", "done", "refunded"),
            "purchase.request": stay("collecting"),
            "access": stay("collecting"),
            **_told("collecting"),
        },
        "done": {
            "purchase.request": stay("done"),
            "access": stay("done"),
            "mined": stay("done"),
            "reverted": stay("done"),
        },
        "refunded": {"mined": stay("refunded"), "reverted": stay("refunded")},
        "failed": {"mined": stay("failed"), "reverted": stay("failed")},
    },
    handlers={
        "started": started,
        "quote.propose": proposed,
        "quote.refuse": quote_refused,
        "tick": _on_tick,
        "mined": _on_mined,
        "reverted": _on_reverted,
        "session.ready": ready,
        "session.refuse": session_refused,
        "session.receipt": receipted,
        "progressed": progressed,
        "inferred": inferred,
        "infer_failed": infer_failed,
        "view": panel_view,
        "delivery.received": received,
        "delivery.refuse": lambda case, event: (case, []),
        "delivery.attest": attested,
        "disclosure.seen": lambda case, event: (case, []),
        "disclosure.refuse": lambda case, event: (case, []),
        "certified": certified,
        "purchase.request": requested,
        "access": access,
    },
    final=frozenset({"done", "refunded", "failed"}),
)
