"""Results as `crypdoc demo --json` prints them, and a scan that shows nobody."""

from __future__ import annotations

from typing import Any

from models.scans import synthetic_scan, to_png

ETHER = 10**18
START = 1_795_000_000.0
NAMES = ("Dr. Ada", "Dr. Ben", "Dr. Chen", "Dr. Dora", "Dr. Emil", "Dr. Faye", "Dr. Gus")


def scan_png() -> bytes:
    return to_png(synthetic_scan())


def address(seed: int) -> str:
    return "0x" + f"{seed * 0x9E3779B97F4A7C15:040x}"[-40:]


def seat(index: int, verdict: str | None = "tumour", **more: Any) -> dict[str, Any]:
    agrees = verdict == "tumour"
    return {
        "doctor": address(index + 1),
        "name": NAMES[index],
        "round": 1,
        "status": "Revealed" if verdict else "NoShow",
        "committed": verdict is not None,
        "revealed": verdict is not None,
        "verdict": verdict,
        "confidence": None if verdict is None else 70 + 4 * index,
        "paid_wei": 2 * ETHER // 1000 if agrees else 0,
        "reputation_before": 5000 + 310 * index,
        "reputation_after": 5000 + 310 * index + (140 if agrees else -60),
        **more,
    }


def _timeline() -> list[dict[str, Any]]:
    plan = [
        (0.0, "Pat", "patient", "prepare.loaded", "Loaded the scan and took out what names a person"),
        (0.3, "Pat", "patient", "quotes.asked", "Asked 2 models for a quote"),
        (0.6, "LeNet", "model", "quotes.given", "Offered a reading for 0.001 ETH"),
        (1.0, "Pat", "patient", "quotes.accepted", "Accepted the quote of LeNet"),
        (1.4, "Dealer", "dealer", "blind.start", "Deals correlated randomness"),
        (1.6, "LeNet", "model", "blind.layer", "Layer 1 of 5"),
        (2.9, "LeNet", "model", "blind.layer", "Layer 4 of 5"),
        (3.4, "Pat", "patient", "receipt.got", "Holds the signed receipt"),
        (3.9, "Pat", "patient", "open.sent", "Opened the case"),
        (4.4, "chain", "chain", "drawn", "Drew 3 doctors"),
        *((4.8 + i / 5, NAMES[i], "doctor", "seat.accepted", "Took the seat") for i in range(3)),
        *((5.9 + i / 3, NAMES[i], "doctor", "reading", "Reads the scan") for i in range(3)),
        *((7.5 + i / 2, NAMES[i], "doctor", "commit.sent", "Sealed a verdict") for i in range(3)),
        *((9.4 + i / 4, NAMES[i], "doctor", "reveal.sent", "Revealed the verdict") for i in range(3)),
        (10.6, "chain", "chain", "settled", "The case is settled"),
        (11.2, "Pat", "patient", "certificate.made", "Three signatures make one certificate"),
        (12.0, "Res", "researcher", "market.bought", "Bought one record"),
    ]
    return [
        {"t": START + t, "who": w, "role": r, "step": s, "text": x, "case": "0x1"} for t, w, r, s, x in plan
    ]


def _transactions() -> list[dict[str, Any]]:
    calls = (
        ("Models.purchase", "Pat", 121_300, ETHER // 1000),
        ("Cases.open", "Pat", 412_008, 20 * ETHER // 1000),
        *(("Cases.accept", name, 71_220, ETHER // 1000) for name in NAMES[:3]),
        *(("Cases.commit", name, 34_120, 0) for name in NAMES[:3]),
        *(("Cases.reveal", name, 57_940, 0) for name in NAMES[:3]),
        ("Cases.advance", "Pat", 238_551, 0),
    )
    return [
        {
            "hash": "0x" + f"{(i + 3) * 0xC2B2AE3D27D4EB4F165667B19E3779F9:064x}"[-64:],
            "block": 40 + i,
            "from": address(90 + i),
            "who": who,
            "call": call,
            "gas": gas,
            "wei": wei,
        }
        for i, (call, who, gas, wei) in enumerate(calls)
    ]


def settled(**change: Any) -> dict[str, Any]:
    result: dict[str, Any] = {
        "outcome": "settled",
        "case": {"id": "0x" + "5f" * 32, "state": "Settled", "rounds": 1, "specialty": "neuroradiology"},
        "diagnosis": {"label": "tumour", "probability": 0.9312},
        "confidence_bucket": 3,
        "bounty_wei": 6 * ETHER // 1000,
        "model": {
            "name": "LeNet",
            "address": address(77),
            "label": "tumour",
            "paid_wei": ETHER // 1000,
            "reputation_before": 5000,
            "reputation_after": 5110,
        },
        "panel": [seat(0), seat(1), seat(2, "no tumour")],
        "certificate": {
            "valid": True,
            "label": "tumour",
            "date": "2026-11-21",
            "signers": [address(1), address(2)],
            "message": "0x" + "ab" * 32,
            "signature": ["0x" + "1f" * 32, "0x" + "2e" * 32],
        },
        "dataset_records": [
            {
                "listed": True,
                "price_wei": ETHER // 500,
                "record": {"date": "2026-11", "modality": "MR", "verdict": "tumour", "panel": 3, "agreed": 2},
                "shares": {
                    "patient_wei": ETHER // 1000,
                    "panel_wei": ETHER // 2000,
                    "model_wei": ETHER // 2000,
                },
            }
        ],
        "bytes": {
            "quotes": 4_212,
            "blind_inference": 18_442_112,
            "scan_to_panel": 129_004,
            "certificate": 2_200,
        },
        "blind": {
            "rounds": 5,
            "slots": 4,
            "layers": [
                {"name": "2 Clip", "seconds": 0.003, "bytes": 1200},
                {"name": "image and result", "seconds": 0.5, "bytes": 90_000},
            ],
        },
        "seconds": {"prepare": 0.3, "quotes": 0.7, "blind_inference": 2.4, "panel": 6.9, "certificate": 0.6},
        "scan": {"file": "scan.png", "modality": "MR", "width": 192, "height": 192, "synthetic": True},
        "timeline": _timeline(),
        "transactions": _transactions(),
        "spent": {"bounty_wei": 6 * ETHER // 1000, "model_wei": ETHER // 1000, "gas_wei": 41 * 10**12},
        "automatic_readers": True,
    }
    return {**result, **change}


def refunded() -> dict[str, Any]:
    """No agreement in two rounds: the money goes back."""
    first = [seat(0), seat(1, "no tumour"), seat(2, "insufficient evidence")]
    votes = ("tumour", "no tumour", "tumour", "no tumour", "insufficient evidence", None, "no tumour")
    second = [seat(i, vote, round=2, paid_wei=0) for i, vote in enumerate(votes)]
    steps = [*_timeline()[:-3], {**_timeline()[-3], "step": "refunded", "text": "The case is refunded"}]
    return settled(
        outcome="refunded",
        timeline=steps,
        case={"id": "0x" + "7a" * 32, "state": "Refunded", "rounds": 2, "specialty": "neuroradiology"},
        diagnosis={"label": None, "probability": 0.5402},
        confidence_bucket=0,
        panel=first + second,
        certificate=None,
        dataset_records=[],
        spent={"bounty_wei": 20 * ETHER // 1000, "returned_wei": 19 * ETHER // 1000, "gas_wei": 52 * 10**12},
    )


def disagree() -> dict[str, Any]:
    """Settled in the second round, after the first could not agree."""
    first = [seat(0), seat(1, "no tumour"), seat(2, "insufficient evidence")]
    second = [seat(i, "no tumour" if i == 3 else "tumour", round=2) for i in range(7)]
    case = {"id": "0x" + "3c" * 32, "state": "Settled", "rounds": 2, "specialty": "neuroradiology"}
    return settled(case=case, panel=first + second)


def no_show() -> dict[str, Any]:
    """One doctor declined and was replaced, another never revealed."""
    gone = seat(3, None, status="Declined", reputation_after=5930)
    silent = seat(2, None, status="NoShow", committed=True)
    return settled(panel=[gone, seat(0), seat(1), silent])


def volume(**change: Any) -> dict[str, Any]:
    """A settled case of a CT volume."""
    found = {
        "suite": "chest-ct-suite",
        "images": 672,
        "shape": [512, 512, 80],
        "lung_ml": 3840.4,
        "infection_ml": 480.25,
        "infection_percent_of_lung": 12.505,
        "severity": "moderate",
        "shown_to": 3,
        "folder": "segmentation",
    }
    case = {"id": "0x" + "4d" * 32, "state": "Settled", "rounds": 1, "specialty": "chest radiology"}
    panel = [seat(i, "infiltrate") for i in range(3)]
    diagnosis = {"label": "infiltrate", "probability": None}
    fields = {"case": case, "panel": panel, "diagnosis": diagnosis, "confidence_bucket": None}
    return settled(**fields, severity="moderate", segmentation={**found, **change})
