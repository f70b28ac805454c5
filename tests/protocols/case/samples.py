"""States and events of every role, for walks through the machines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

from coincurve import PrivateKey
from eth_utils.crypto import keccak

from protocols.blind.layers import Affine, Conv
from protocols.blind.topology import Topology
from protocols.case import dealer, doctor, model, patient, researcher
from protocols.case.binding import code_commitment, opening_of
from protocols.case.dealer import DealerCase
from protocols.case.doctor import DoctorCase
from protocols.case.model import ModelCase
from protocols.case.patient import PatientCase
from protocols.case.researcher import Order
from protocols.case.view import CaseView, Phase, Seat, SeatStatus
from protocols.case.volume import PNG, suite_identity
from protocols.codec import encode
from protocols.crypto.commitment import record_hash, scan_commitment
from protocols.crypto.eip712 import Quote, Receipt, models_domain, sign
from protocols.effects import Event, Machine
from protocols.records import wallet_of_key
from protocols.specialty import specialty

MACHINES: dict[str, Machine[Any]] = {
    "patient": patient.MACHINE,
    "model": model.MACHINE,
    "dealer": dealer.MACHINE,
    "doctor": doctor.MACHINE,
    "researcher": researcher.MACHINE,
}
NOW = 1_800_000_000.0
FIELD = specialty("neuroradiology")
CASE_ID = 12345
SCAN, NONCE = b"picture", b"o" * 32
SALTS = [b"1" * 32, b"2" * 32]
BOUND = [code_commitment(salt, codes) for salt, codes in zip(SALTS, ([7, 9], [11, 5]), strict=True)]
COMMITMENT = scan_commitment(SCAN, opening_of(NONCE, BOUND))
CASES = "0x" + "c5" * 20
MODELS = "0x" + "30" * 20
FINDINGS = {"severity": "mild", "percent": 3.0, "lung_ml": 4000.0, "infection_ml": 120.0}
VOLUME = {
    "plan": {"grid": 16, "slices": 4, "axes": "z", "batch": 4, "skipped": {}},
    "images": 8,
    "batches": 2,
    "side": 16,
    "sweeps": [["lung", "z", 4], ["infection", "z", 4]],
}
RECORD = encode({"form": "CrypDoc record v1", "verdict": "tumour"})


@lru_cache
def key(name: str) -> PrivateKey:
    return PrivateKey(keccak(text=name))


@lru_cache
def address(name: str) -> str:
    return wallet_of_key(key(name).public_key.format())


ME, DOCTOR, MODEL, OTHER, ACCOUNT = (address(n) for n in ("patient", "doctor", "model", "other", "account"))
DEALER = address("dealer")


def proposal(name: str = "model", price: int = 10**15, auc: float = 0.9, **changes: Any) -> dict[str, Any]:
    """A signed offer as a model says it."""
    fields = {
        "network": keccak(text=name),
        "model": address(name),
        "case_id": CASE_ID,
        "patient": ACCOUNT,
        "price": price,
        "dealer": DEALER,
        "dealer_fee": 10**14,
        "valid_until": int(NOW) + 3600,
    } | changes
    signature = sign(key(name), models_domain(1, MODELS).digest(Quote(**fields)))
    card = {"auc": auc, "labels": list(FIELD.labels)}
    return {
        "quote": fields,
        "signature": signature,
        "card": card,
        "topology": b"t",
        "costs": {},
        "dealer": DEALER,
    }


def picture(columns: int, rows: int) -> bytes:
    """The beginning of a PNG of that size."""
    return (
        PNG
        + (13).to_bytes(4, "big")
        + b"IHDR"
        + columns.to_bytes(4, "big")
        + rows.to_bytes(4, "big")
        + b"rest"
    )


def unet(side: int = 16, thresholds: tuple[int, ...] = (), channels: int = 5) -> bytes:
    """The topology of a network of a suite."""
    nodes = (Affine((Conv(0, 1, 3, 1, 1),)),)
    return Topology((channels, side, side), nodes, thresholds=thresholds).encode()


def offer(name: str = "model", price: int = 10**15, **changes: Any) -> dict[str, Any]:
    """A signed offer for `VOLUME`; changes: of the proposal's parts."""
    suite = [[task, "z", keccak(text=f"{name}/{task}"), unet()] for task in ("lung", "infection")]
    network = suite_identity({(t, a): h for t, a, h, _ in suite})
    body = proposal(name, price, network=network)
    card = {"name": "suite", "dice": 0.8}
    return {**body, "card": card, "topology": b"", "suite": suite, "images": 8, **changes}


def volume_case(phase: str = "quoting", **changes: Any) -> PatientCase:
    """A case of a volume."""
    base = patient_case(phase, specialty="chest radiology", modality="CT", volume=VOLUME)
    if phase != "quoting":
        base = replace(base, quotes={MODEL: offer()}, asked=[MODEL])
    return replace(base, **changes)


def receipt(bucket: int = 1, name: str = "model", **changes: Any) -> dict[str, Any]:
    """A signed receipt as a model says it."""
    fields = {
        "case_id": CASE_ID,
        "network": keccak(text=name),
        "bucket": bucket,
        "valid_until": int(NOW) + 9999,
    }
    fields |= changes
    return {
        "receipt": fields,
        "signature": sign(key(name), models_domain(1, MODELS).digest(Receipt(**fields))),
    }


def patient_case(phase: str = "quoting", **changes: Any) -> PatientCase:
    """A case with two offers, one taken."""
    base = PatientCase(
        key="ab" * 16,
        phase=phase,
        case_id=CASE_ID,
        account=ACCOUNT,
        account_index="ab" * 16,
        wallet=ME,
        specialty=FIELD.name,
        panel_size=3,
        modality="MR",
        scan=b"s" * 32,
        pixels=b"p" * 32,
        nonce=NONCE,
        code_salts=SALTS,
        code_commitments=BOUND,
        commitment=COMMITMENT,
        secret=b"z" * 32,
        codes=[[7, 9], [11, 5]],
        sealing_key=b"k" * 32,
        contact=b"c" * 32,
        authority=b"a" * 65,
        consent=b"y" * 32,
        consent_terms=[b"t" * 32, 0, 0],
        record_price=10**15,
        chain_id=1,
        models=MODELS,
        escrow_by_bucket=[40, 30, 20, 10],
        gas_reserve=10**16,
        reclaim_after=60,
        started=NOW,
        quote_window=2.0,
        price_cap=10**17,
    )
    if phase != "quoting":
        quotes = {MODEL: proposal(), OTHER: proposal("other", auc=0.8)}
        base = replace(base, asked=[MODEL, OTHER], quotes=quotes, model=MODEL, waiting_since=NOW)
    if phase not in ("quoting", "funding", "buying"):
        base = replace(base, sessions={MODEL: 1}, bought={MODEL: int(NOW) + 3600})
    if phase in ("certifying", "collecting", "done"):
        result = {"label": "tumour", "date": 0, "rounds": 1, "panel": [], "agreeing": 3}
        base = replace(base, outcome="settled", result=result, asked_attest=[DOCTOR, OTHER], record=RECORD)
    return replace(base, **changes)


def doctor_case(phase: str = "invited", **changes: Any) -> DoctorCase:
    """A seat."""
    base = DoctorCase(
        key=f"{CASE_ID:x}/1",
        phase=phase,
        case_id=CASE_ID,
        round=1,
        doctor=DOCTOR,
        chain_id=1,
        contract=CASES,
        specialty=FIELD.id.hex(),
        seat_fee=10,
        seat_deposit=5,
        case_account=ACCOUNT,
        commitment=COMMITMENT,
    )
    if phase in ("reading", "committing", "committed", "revealing", "revealed", "settled"):
        base = replace(
            base,
            size=[64, 32],
            scan=b"h" * 32,
            codes=[7, 9],
            labels=list(FIELD.labels),
            patient=ME,
            thread="d",
            salt=b"s" * 32,
        )
    if phase in ("committing", "committed", "revealing", "revealed", "settled"):
        base = replace(base, label="tumour", code=9, confidence=80)
    return replace(base, **changes)


def model_case(phase: str = "asked", **changes: Any) -> ModelCase:
    """A prediction that was asked for."""
    quote = proposal()["quote"] if phase != "asked" else {}
    base = ModelCase(
        "c/p", phase, CASE_ID, ACCOUNT, ME, FIELD.name, b"n" * 32, DEALER, "q", quote=quote, session="s1"
    )
    return replace(base, **changes)


def dealer_case(phase: str = "asked", **changes: Any) -> DealerCase:
    """A session to deal for."""
    return replace(DealerCase("m/s1", phase, "s1", CASE_ID, b"n" * 32, MODEL, ME, "s1/deal"), **changes)


def order(phase: str = "browsing", **changes: Any) -> Order:
    """A wish for records."""
    base = Order("0123", phase, ME, FIELD.name, 1, 10**18, 600.0, NOW)
    if phase in ("buying", "fetching", "done"):
        listing = {"case_id": 5, "price": 10, "record_hash": record_hash(RECORD), "holders": [OTHER]}
        base = replace(base, listings={"5": listing})
    return replace(base, **changes)


STATES: dict[str, Any] = {
    "patient": patient_case,
    "doctor": doctor_case,
    "model": model_case,
    "dealer": dealer_case,
    "researcher": order,
}


def view(
    phase: Phase, status: SeatStatus = SeatStatus.ACCEPTED, round_: int = 1, code: int = 9, **more: Any
) -> CaseView:
    """A case of one round with our doctor on a seat of round 1."""
    commitment = b"x" * 32 if status in (SeatStatus.COMMITTED, SeatStatus.REVEALED) else bytes(32)
    seats = (Seat(DOCTOR, 1, status, commitment, code, 80), Seat(OTHER, 1, status, commitment, code, 70))
    fields: dict[str, Any] = {
        "case_id": CASE_ID,
        "phase": phase,
        "round": round_,
        "panel_size": 3,
        "case_account": ACCOUNT,
        "specialty": FIELD.id,
        "scan_commitment": COMMITMENT,
        "network": b"n" * 32,
        "bucket": 1,
        "bounty_wei": 30,
        "seat_fee": 10,
        "seed_block": 10,
        "deadline": int(NOW) + 50,
        "code": code,
        "agreeing": 2,
        "seats": seats,
        "block": 20,
        "now": int(NOW),
    }
    return CaseView(**(fields | more))


def _said(kind: str) -> Iterator[dict[str, Any]]:
    """Bodies of a peer's message, fitting and not."""
    bodies: dict[str, list[dict[str, Any]]] = {
        "quote.cfp": [{"case_id": CASE_ID, "patient": ACCOUNT, "specialty": FIELD.name}],
        "quote.propose": [proposal(), proposal("other"), {**proposal(), "signature": b"x" * 65}],
        "quote.decline": [{"reason": "no"}],
        "quote.refuse": [{"reason": "no"}],
        "session.begin": [{"case_id": CASE_ID, "session": "s2"}, {"case_id": CASE_ID, "session": "other"}],
        "session.ready": [{"session": "s1"}],
        "session.receipt": [
            {"session": "s", **receipt()},
            {"session": "s", **receipt(3)},
            {"session": 0, "receipt": 0, "signature": 0},
        ],
        "session.refuse": [{"reason": "no"}],
        "delivery.deliver": [
            {
                "case_id": CASE_ID,
                "round": 1,
                "scan": SCAN,
                "nonce": NONCE,
                "code_commitments": BOUND,
                "code_salt": SALTS[0],
                "authority": b"a" * 65,
                "codes": codes,
                "modality": "MR",
            }
            for codes in ([7, 9], [7, 7], 3)
        ],
        "delivery.received": [{}],
        "delivery.refuse": [{"reason": "no"}],
        "delivery.certify": [{"label": "tumour", "date": 0}, {"label": "no tumour", "date": "x"}],
        "delivery.attest": [{"signature": b"g" * 64}],
        "disclosure.show": [
            {"case_id": CASE_ID, "round": 1, "mask": mask, "findings": findings}
            for mask, findings in (
                (picture(64, 32), FINDINGS),
                (picture(64, 33), FINDINGS),
                (picture(64, 32), {**FINDINGS, "percent": 101.0}),
                (5, None),
            )
        ],
        "disclosure.seen": [{}],
        "disclosure.refuse": [{"reason": "no"}],
        "purchase.request": [{"case_id": CASE_ID, "buyer": OTHER}],
        "purchase.records": [{"record": RECORD}, {"record": b"other"}, {"record": 5}],
        "purchase.refuse": [{"reason": "no"}],
    }
    yield from bodies[kind]


def bodies(role: str, kind: str, state: Any) -> Iterator[dict[str, Any]]:
    """Bodies with which an event of that kind may come, as the engine and the duties make them."""
    session = getattr(state, "session", "") if role != "patient" or state.model else ""
    late = NOW + 100_000
    if "." in kind:
        threads = [session, "s2", "d", f"{session}/deal", "0123:5"]
        for body in _said(kind):
            for sender in (ME, MODEL, DOCTOR, DEALER, OTHER):
                for thread in threads:
                    yield {
                        "from": sender,
                        "thread": thread,
                        "number": 1,
                        "body": body,
                        "now": NOW,
                        "blob": b"h" * 32,
                    }
        return
    told = {"hash": "0x", "block": 1, "gas": 1, "fee": 1, "sender": ME, "call": "x", "value": 0, "now": NOW}
    if kind in ("mined", "reverted"):
        steps = [
            "accept",
            "decline",
            "commit",
            "reveal",
            "withdraw",
            "sweep",
            "list",
            "buy",
            "advance/1/reveal/3",
        ]
        steps += [f"fund/{MODEL}", f"purchase/{MODEL}", f"open/{MODEL}", f"reclaim/{MODEL}", "release/1"]
        steps += [
            "gas/reclaim",
            "gas/market/t",
            "gas/again/sweep",
            "market/t",
            "unbuy",
            "sweep/unbuy",
            "collect",
        ]
        for step in steps:
            yield {"step": step, "reason": "refused", **told}
        return
    if kind in ("view", "seated"):
        for phase in Phase:
            if phase is Phase.NONE:
                continue
            for status in SeatStatus:
                for round_ in (1, 2):
                    yield {"view": view(phase, status, round_), "now": NOW}
        return
    for named in (session, "another"):
        yield from _answers(kind, named, late)


def _answers(kind: str, session: str, late: float) -> Iterator[dict[str, Any]]:
    outcome = {"session": session, "logit": 1.0, "probability": 0.7, "bucket": 1, "bytes": 1, "seconds": 1.0}
    found: dict[str, list[dict[str, Any]]] = {
        "tick": [{"now": NOW, "models": [MODEL, OTHER]}, {"now": late, "models": []}],
        "started": [{"now": NOW, "models": [MODEL]}],
        "progressed": [{"session": session, "images": 4, "bytes": 10, "seconds": 1.0, "now": NOW}],
        "inferred": [{**outcome, "rounds": 3, "now": NOW, "findings": FINDINGS, "mask": b"m" * 32}],
        "infer_failed": [{"session": session, "reason": "cut", "now": NOW}],
        "certified": [
            {"certificate": {"valid": valid}, "record": RECORD, "now": NOW} for valid in (True, False)
        ],
        "access": [{"granted": g, "buyer": OTHER, "from": OTHER, "thread": "0123:5"} for g in (True, False)],
        "was_read": [
            {"label": label, "confidence": 80, "salt": b"s" * 32, "withhold": False, "now": NOW}
            for label in (*FIELD.labels, "")
        ],
        "recovered": [{"found": False}, {"found": True, "code": 9, "confidence": 80, "salt": b"s" * 32}],
        "attested": [{"signature": b"g" * 64, "thread": "d", "to": ME}],
        "quoted": [{"proposal": proposal(), "now": NOW}],
        "purchase": [
            {"paid": paid, "released": paid and said == "look", "reclaimable": False, "session": said}
            for paid in (True, False)
            for said in (session, "look")
        ],
        "reserved": [{"session": session}],
        "hosted": [{"session": session, "bucket": 1, "bytes": 5}],
        "host_failed": [{"session": session, "reason": "cut", "now": NOW}],
        "receipt_signed": [{"session": session, **receipt(), "claim_after": 90.0, "now": NOW}],
        "dealt": [{"bytes": 5, "seconds": 1.0}],
        "deal_failed": [{"reason": "cut"}],
        "listed": [
            {
                "listings": [{"case_id": 5, "price": 10, "record_hash": b"h" * 32, "holders": [OTHER]}] * n,
                "final": f,
                "now": NOW,
            }
            for n in (0, 1)
            for f in (True, False)
        ],
    }
    yield from found[kind]


def events(role: str, kind: str, state: Any) -> Iterator[Event]:
    """Events of one kind."""
    for i, body in enumerate(bodies(role, kind, state)):
        yield Event(kind, body, f"{kind}/{i}")
