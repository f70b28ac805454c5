"""What a finished case looks like to its patient and to machines: the JSON that reports are made of."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from protocols.case.patient import PatientCase
from protocols.case.patient.session import COSTS
from protocols.codec import encode
from protocols.specialty import INSUFFICIENT

HOW_TO_CHECK = (
    "crypdoc verify certificate.json (needs no chain); with --rpc and --book the contract is asked too"
)
FINAL = {"done": "settled", "refunded": "refunded", "failed": "failed"}


def case_result(case: PatientCase, sizes: dict[str, int] | None = None) -> dict[str, Any]:
    """Everything that the patient's agent knows of a case, plain. Holds the verdict: it is the patient's."""
    result = case.result or {}
    inference = case.inference or {}
    card = case.quotes[case.model]["card"] if case.model else {}
    quote = case.quote if case.model else {}
    probability = inference.get("probability")
    panel = [_seat(s) for s in result.get("panel", []) if s["status"] not in ("invited",)]
    calls = {m["call"] for m in case.moves}
    bought = "Models.purchase" in calls and "Models.reclaim" not in calls
    price, fee = (int(quote.get(k, 0)) if bought else 0 for k in ("price", "dealer_fee"))
    return {
        "case": {
            "id": hex(case.case_id),
            "key": case.key,
            "state": FINAL.get(case.phase, case.phase),
            "rounds": result.get("rounds", 1),
            "account": case.account,
            "specialty": case.specialty,
        },
        "outcome": FINAL.get(case.phase, case.phase),
        "trouble": case.trouble,
        "diagnosis": {"label": result.get("label") or None, "probability": probability},
        "confidence_bucket": None if case.volume else inference.get("bucket"),
        "bounty_wei": result.get("bounty_wei", 0),
        "model": {
            "name": card.get("name", ""),
            "address": case.model,
            "probability": probability,
            "label": _model_label(card, probability),
            "paid_wei": price,
        }
        | _standing(case),
        "panel": panel,
        "certificate": _certificate(case),
        "dataset_records": 1 if case.listed else 0,
        "transactions": [
            {
                "hash": m["hash"],
                "block": m["block"],
                "from": m["sender"],
                "call": m["call"],
                "gas": m["gas"],
                "wei": m["value"],
            }
            for m in case.moves
        ],
        "spent": {
            "prediction_wei": price,
            "dealer_wei": fee,
            "panel_wei": sum(s["paid_wei"] for s in panel),
            "gas_wei": sum(m["fee"] for m in case.moves),
        },
        "bytes": {"blind inference": inference.get("bytes", 0)} | (sizes or {}),
        "seconds": {"blind inference": inference.get("seconds", 0.0)},
        **segmentation(case),
        "blind": {k: inference[k] for k in ("rounds", *COSTS) if k in inference}
        | {"quoted": dict(case.quotes[case.model]["costs"]) if case.model else {}},
    }


def segmentation(case: PatientCase) -> dict[str, Any]:
    """What a suite found in a volume: the case's `severity` and, under `segmentation`, figures and files."""
    if not case.volume:
        return {}
    found, plan = case.findings or {}, case.volume["plan"]
    told = {
        "suite": case.quotes[case.model]["card"].get("name", "") if case.model else "",
        "images": case.volume["images"],
        "shape": case.volume["shape"],
        "spacing_mm": case.volume["spacing"],
        "axes": plan["axes"],
        "grid": plan["grid"],
        "lung_ml": found.get("lung_ml"),
        "infection_ml": found.get("infection_ml"),
        "infection_percent_of_lung": found.get("percent"),
        "severity": found.get("severity"),
        "shown_to": len(case.shown),
        "folder": "segmentation",
        "notes": list(found.get("notes", [])),
    }
    return {"severity": found.get("severity"), "segmentation": told}


def _seat(seat: dict[str, Any]) -> dict[str, Any]:
    """A seat as it is shown: who did not reveal gave no verdict; a confidence goes with a label alone."""
    if not seat["revealed"]:
        return seat | {"verdict": None, "confidence": None}
    return seat | {"confidence": None} if seat["verdict"] == INSUFFICIENT else seat


def _certificate(case: PatientCase) -> dict[str, Any]:
    if not case.certificate:
        return {"valid": False}
    return dict(case.certificate) | ({"how": HOW_TO_CHECK} if case.certificate.get("valid") else {})


def _standing(case: PatientCase) -> dict[str, int]:
    return dict(zip(("reputation_before", "reputation_after"), case.model_reputation, strict=False))


def _model_label(card: dict[str, Any], probability: float | None) -> str | None:
    if probability is None or "labels" not in card:
        return None
    return str(card["labels"][int(probability > 0.5)])


def write_result(case: PatientCase, folder: Path, sizes: dict[str, int]) -> Path:
    """Write `result.json`, and `certificate.json` when there is one, into the case's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    result = case_result(case, sizes)
    if result["certificate"]["valid"]:
        _write(folder / "certificate.json", result["certificate"])
    return _write(folder / "result.json", result)


def _write(path: Path, content: Any) -> Path:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    fresh.replace(path)
    return path


def market_record(case: PatientCase, result: dict[str, Any]) -> bytes:
    """The bare metadata that is sold: no picture, no address, a day and not an hour."""
    inference = case.inference or {}
    severity = {"severity": case.findings["severity"]} if case.findings else {}
    return encode(
        severity
        | {
            "form": "CrypDoc record v1",
            "date": result["date"],
            "modality": case.modality,
            "specialty": case.specialty,
            "verdict": result["label"],
            "confidence_bucket": inference.get("bucket", 0),
            "panel": sum(s["round"] == result["rounds"] for s in result["panel"]),
            "agreeing": result["agreeing"],
            "rounds": result["rounds"],
            "salt": secrets.token_bytes(16),
        }
    )
