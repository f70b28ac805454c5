"""A person on the panel and a patient at the page: a whole case through both pages, with a crash between."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage_play import played_stage, until

from agents.report.result import REPUTATION_MAX
from models.scans import sample_scan_path

pytestmark = pytest.mark.e2e


def test_a_case_through_both_pages_with_a_crash_between(tmp_path: Path) -> None:
    with played_stage(tmp_path) as stage:
        patient = stage.start_patient()
        status, refused = patient.upload(b"not a scan")
        assert status == 415, refused
        status, begun = patient.upload(sample_scan_path().read_bytes())
        assert status == 202, begun

        doctor = stage.cast.actors["doctor 1"]
        page = stage.page(doctor)
        case = until(lambda: _waiting(page), "the scan on the doctor's page")
        assert page.ask(f"/api/cases/{case['id']}/image")[1].startswith(b"\x89PNG")
        assert case["result"] is None

        stage.kill(doctor)
        old, page = page, stage.restart(doctor)
        again = until(lambda: _waiting(page), "the same scan after the crash")
        assert again["id"] == case["id"]
        assert page.ask("/api/desk")[0] == 200
        assert page.base != old.base or old.ask("/api/desk")[0] == 403

        assert page.decide(case["id"], "glioma", 80)[0] == 400
        status, answer = page.decide(case["id"], "tumour", 80)
        assert status == 200, answer
        settled = until(lambda: _state(page, case["id"], "settled"), "the end of the case")
        assert settled["own_label"] == "tumour"
        assert settled["result"]["verdict"] == "tumour"
        assert settled["result"]["agreed"]
        assert int(settled["result"]["paid_wei"]) > 0
        result = settled["result"]
        assert result["reputation_before"] < result["reputation_after"] <= REPUTATION_MAX
        assert page.decide(case["id"], "no tumour", 80)[0] == 409

        mine = until(lambda: _state(patient, begun["case"], "settled"), "the patient's result")
        assert mine["diagnosis"] == "tumour"
        status, report = patient.ask(mine["report"])
        assert status == 200
        assert b"umour" in report


def _waiting(page: object) -> dict[str, object] | None:
    cases = page.desk()["cases"]  # type: ignore[attr-defined]
    return next((c for c in cases if c["state"] == "waiting" and c["image_available"]), None)


def _state(page: object, case: str, state: str) -> dict[str, object] | None:
    cases = page.desk()["cases"]  # type: ignore[attr-defined]
    return next((c for c in cases if c["id"] == case and c["state"] == state), None)
