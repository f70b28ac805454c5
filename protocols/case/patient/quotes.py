"""Asking models for their price, and choosing among the honest offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from protocols.blind.audit import Probes
from protocols.blind.topology import Topology
from protocols.case import steps
from protocols.case.patient.late import fail
from protocols.case.patient.state import QUOTE_PATIENCE, Out, PatientCase
from protocols.case.volume import check_offer
from protocols.crypto.eip712 import Quote, models_domain, signer_of
from protocols.effects import Effect, Event
from protocols.errors import ProtocolError


def ask(case: PatientCase, models: list[str]) -> Out:
    """Ask every model that was not asked yet for its price."""
    fresh = [m for m in models if m not in case.asked]
    body = {
        "case_id": case.case_id,
        "patient": case.account,
        "specialty": case.specialty,
        "dealers": case.dealers,
        "slots": case.slots,
    }
    if case.volume:
        body["volume"] = case.volume["plan"]
    effects = [steps.say(case.key, "quote", f"{case.key}:{m}", 1, "cfp", m, body, mine=True) for m in fresh]
    return replace(case, asked=[*case.asked, *fresh]), effects


def started(case: PatientCase, event: Event) -> Out:
    return ask(case, list(event.body["models"]))


def proposed(case: PatientCase, event: Event) -> Out:
    """An offer counts when its owner signed it for this case and its parts are what they should be."""
    model, body = str(event.body["from"]), event.body["body"]
    try:
        offer = quote_of(body["quote"])
        digest = models_domain(case.chain_id, case.models).digest(offer)
        honest = signer_of(digest, body["signature"]) == offer.model == model
        fits = offer.case_id == case.case_id and offer.patient == case.account
        # A dealer who is the model, or its friend, would see the scan: the patient says whom it trusts.
        fits = fits and offer.dealer != offer.model and (not case.dealers or offer.dealer in case.dealers)
        proper = 0 <= _skill(body["card"]) <= 1 and isinstance(body["topology"], bytes)
        if case.volume:
            check_offer(case.volume, body, offer.network)
        if case.slots:
            probes = Probes.from_plain(body["card"]["probes"])
            probes.fit(Topology.decode(body["topology"]))
            proper = proper and len(probes.logits) >= case.slots - 2
    except (ProtocolError, KeyError, TypeError, ValueError):
        honest = fits = proper = False
    if not (honest and fits and proper):
        return replace(case, refused=[*case.refused, model]), []
    return replace(case, quotes={**case.quotes, model: body}), []


def quote_of(fields: Mapping[str, Any]) -> Quote:
    """The signed struct in a proposal's body. Raises KeyError or TypeError when it is malformed."""
    if not isinstance(fields["network"], bytes) or len(fields["network"]) != 32:
        raise TypeError("a network's id is 32 bytes")
    numbers = ("case_id", "price", "dealer_fee", "valid_until")
    if any(isinstance(fields[n], bool) or not isinstance(fields[n], int) or fields[n] < 0 for n in numbers):
        raise TypeError("a quote's numbers are whole and not negative")
    return Quote(
        network=fields["network"],
        model=str(fields["model"]),
        case_id=fields["case_id"],
        patient=str(fields["patient"]),
        price=fields["price"],
        dealer=str(fields["dealer"]),
        dealer_fee=fields["dealer_fee"],
        valid_until=fields["valid_until"],
    )


def quote_refused(case: PatientCase, event: Event) -> Out:
    case = replace(case, refused=[*case.refused, str(event.body["from"])])
    if not case.volume:
        return case, []
    reason = str(event.body["body"].get("reason", ""))[:200]  # it may name the limit that the volume is over
    return replace(case, trouble=f"a model refused: {reason}"), []


def _skill(card: Mapping[str, Any]) -> float:
    """What a card says of its network, 0..1: the AUC, of a suite the Dice coefficient."""
    return float(card["dice"] if "dice" in card else card["auc"])


def _worth(body: Mapping[str, Any], reputation: float) -> float:
    """How good an offer is: accuracy and reputation against price. Higher is better.

    The card's AUC counts by its distance from chance (a suite's overlap with labels as it is), the reputation on
    chain (0..1) scales it, and a price in milliether is held against it, so that twice the price must buy clearly more.
    """
    card = body["card"]
    skill = _skill(card) if "dice" in card else max(0.0, 2.0 * _skill(card) - 1.0)
    price = (int(body["quote"]["price"]) + int(body["quote"]["dealer_fee"])) / 1e15
    return skill * (0.5 + reputation) - 0.02 * price


def best_quote(case: PatientCase) -> str:
    """The model to buy from, or "" when no offer is left that the owner's cap allows. Ties go by address."""
    able = [
        m
        for m, body in case.quotes.items()
        if m not in case.bad_models
        and int(body["quote"]["price"]) + int(body["quote"]["dealer_fee"]) <= case.price_cap
    ]
    return min(
        able, key=lambda m: (-_worth(case.quotes[m], float(case.reputations.get(m, 0.5))), m), default=""
    )


def quote_tick(case: PatientCase, event: Event) -> Out:
    """Time passed: ask models that turned up meanwhile, and choose when the window is over."""
    now = float(event.body["now"])
    case, effects = ask(case, list(event.body.get("models", [])))
    case = replace(case, reputations=dict(event.body.get("reputations", case.reputations)))
    answered = len(case.quotes) + len(case.refused)
    patient_enough = now - case.started >= case.quote_window
    if best_quote(case) and (patient_enough or answered >= len(case.asked)):
        after, more = choose(replace(case, trouble=""), now)  # what others refused matters no more
        return after, [*effects, *more]
    if now - case.started >= QUOTE_PATIENCE:
        checked = " that audit slots can check" if case.slots else ""
        checked = f" for {case.volume['images']} images" if case.volume else checked
        heard = f" ({case.trouble})" if case.trouble and case.volume else ""
        after, more = fail(case, f"no model made an offer within the price cap{checked}{heard}")
        return after, [*effects, *more]
    return case, effects


def choose(case: PatientCase, now: float) -> Out:
    """Take the best offer and send its price, the escrow and gas to the case account."""
    model = best_quote(case)
    if not model:
        return fail(case, case.trouble or "no model is left that could be bought from")
    case = replace(case, model=model, phase="funding", waiting_since=now, tries=0)
    price = int(case.quote["price"]) + int(case.quote["dealer_fee"])
    # A second model costs its price alone: escrow and gas were sent with the first.
    amount = price if case.bought else price + max(case.escrow_by_bucket) + case.gas_reserve
    return case, [steps.pay(case.key, f"fund/{model}", case.account, amount)]


def declines(case: PatientCase) -> list[Effect]:
    """Tell the models that were not needed. Only once the case is open: until then each may have to step in."""
    reason = {"reason": "another offer was taken"}
    return [
        steps.say(case.key, "quote", f"{case.key}:{m}", 3, "decline", m, reason, mine=True)
        for m in case.quotes
        if m not in (case.model, *case.bad_models)
    ]
