"""Whether a case ended as it should, by the chain, the files and the logs of everyone."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass
from typing import Any

from agents.demo.run import PURSE
from agents.patient.duty import Wishes
from tests.kill.ledger import Tx
from tests.kill.stage import Actor, Stage

DUST = 10**14
RECORD_SHARE = Wishes().record_price // 2
"""Wei that the patient gets for the record."""
ONCE = {
    "Models.purchase",
    "Cases.open",
    "Cases.accept",
    "Cases.commit",
    "Cases.reveal",
    "DataMarket.list",
    "DataMarket.buy",
}


@dataclass
class Case:
    """One case of the matrix while it is judged."""

    stage: Stage
    patient: Actor
    researcher: Actor
    first_block: int


def result_of(patient: Actor) -> dict[str, Any] | None:
    """What the patient's agent wrote in the end."""
    found = sorted((patient.data / "cases").glob("*/result.json"))
    return json.loads(found[-1].read_text("utf-8")) if found else None


def judge(case: Case) -> list[str]:
    """What is wrong, as short sentences; [] when all is well."""
    result = result_of(case.patient)
    if result is None:
        return ["the patient has no result"]
    if result["outcome"] != "settled":
        return [f"the case ended as {result['outcome']}: {result['trouble']}"]
    wrong = []
    if not result["certificate"].get("valid"):
        wrong.append("the certificate is not valid")
    if result["case"]["rounds"] != 1 or not result["diagnosis"]["label"]:
        wrong.append(f"{result['case']['rounds']} rounds, diagnosis {result['diagnosis']['label']!r}")
    if len(list((case.patient.data / "cases").iterdir())) != 1:
        wrong.append("the patient has more than one case")
    case_id = int(result["case"]["id"], 16)
    txs = case.stage.ledger.transactions(case.first_block)
    wrong += _events(case, case_id)
    wrong += _calls(case, txs, result)
    wrong += _money(case, txs, result)
    wrong += _record(case, case_id, txs)
    wrong += _logs(case)
    return wrong


def _events(case: Case, case_id: int) -> list[str]:
    """One opening, one settlement, one commit and one reveal a doctor, and no seat lost."""
    events = case.stage.ledger.case_events(case_id, case.first_block)
    names = Counter(name for name, _ in events)
    wrong = []
    for name, wanted in {"CaseOpened": 1, "Settled": 1, "Refunded": 0, "SeatLost": 0, "Drawn": 3}.items():
        if names[name] != wanted:
            wrong.append(f"{names[name]} x {name}, not {wanted}")
    for name in ("SeatAccepted", "Committed", "Revealed"):
        by_doctor = Counter(values["doctor"] for found, values in events if found == name)
        if sorted(by_doctor.values()) != [1, 1, 1]:
            wrong.append(f"{name} by doctor: {sorted(by_doctor.values())}")
    return wrong


def _calls(case: Case, txs: list[Tx], result: dict[str, Any]) -> list[str]:
    """Nothing that counts was mined twice, nobody wasted a transaction."""
    wrong = []
    for tx, n in Counter((t.sender, t.name, t.data) for t in txs if t.ok and t.name in ONCE).items():
        if n != 1:
            wrong.append(f"{tx[1]} of {tx[0]} was mined {n} times")
    mine = {case.patient.keyring.address.lower(), result["case"]["account"].lower()}
    by_patient = Counter(t.name for t in txs if t.ok and t.sender in mine)
    for name in ("Models.purchase", "Cases.open", "Cases.withdraw", "DataMarket.list", "DataMarket.withdraw"):
        if by_patient[name] != 1:
            wrong.append(f"the patient has {by_patient[name]} x {name}")
    wrong += [f"{t.name} was mined and reverted" for t in txs if not t.ok and t.name != "Cases.advance"]
    return wrong


def _money(case: Case, txs: list[Tx], result: dict[str, Any]) -> list[str]:
    """To the wei: what the patient had is what it has and what it owed."""
    ledger = case.stage.ledger
    wallet, account = case.patient.keyring.address, result["case"]["account"]
    held = ledger.balance(wallet) + ledger.balance(account)
    gas = sum(t.fee for t in txs if t.sender in (wallet.lower(), account.lower()))
    spent = result["spent"]
    owed = spent["prediction_wei"] + spent["dealer_wei"] + spent["panel_wei"] + gas
    wrong = []
    if held + owed != PURSE["patient"] + RECORD_SHARE:
        wrong.append(f"the patient's books miss {PURSE['patient'] + RECORD_SHARE - held - owed} wei")
    if ledger.balance(account) > DUST:
        wrong.append(f"{ledger.balance(account)} wei are left in the case account")
    panel = result["panel"]
    if sum(seat["paid_wei"] > 0 for seat in panel) != 3:
        wrong.append("not every doctor who agreed was paid")
    return wrong


def _record(case: Case, case_id: int, txs: list[Tx]) -> list[str]:
    """The record was bought once and came."""
    buyer = case.researcher.keyring.address
    wrong = []
    bought = sum(t.ok and t.name == "DataMarket.buy" and t.sender == buyer.lower() for t in txs)
    if bought != 1:
        wrong.append(f"the researcher bought {bought} times")
    if not case.stage.ledger.ask(case.stage.ledger.contracts.market.has_access(buyer, case_id)):
        wrong.append("the researcher has no access to the record")
    if not (case.researcher.data / "records" / f"{case_id:x}.json").exists():
        wrong.append("the record did not reach the researcher")
    return wrong


def _logs(case: Case) -> list[str]:
    """No traceback anywhere."""
    everyone = case.stage.actors.values()
    return [
        f"{a.name} printed a traceback"
        for a in everyone
        if a.log.exists() and b"Traceback" in a.log.read_bytes()
    ]


def settled(case: Case) -> bool:
    """Whether the patient's late errands are done too: its share of the record's price is home."""
    result = result_of(case.patient)
    if result is None or result["outcome"] != "settled":
        return True
    ledger, account = case.stage.ledger, result["case"]["account"]
    owed = ledger.ask(ledger.contracts.market.credit_of(account))
    return bool(owed == 0 and ledger.balance(account) <= DUST)


def accounts(patient: Actor, txs: list[Tx], account: str) -> list[str]:
    """After the patient has stopped: its allowance counts what was spent, every effect was mined once, none is left."""
    mine = {patient.keyring.address.lower(), account.lower()}
    spent = sum(t.value + t.fee for t in txs if t.sender in mine and t.name != "pay")
    wrong = []
    with sqlite3.connect(f"file:{patient.data / 'allowance.sqlite'}?mode=ro", uri=True) as db:
        entered = sum(int(row[0]) for row in db.execute("SELECT wei FROM spent"))
    if entered != spent:
        wrong.append(f"the allowance counts {entered} wei and {spent} were spent")
    with sqlite3.connect(f"file:{patient.data / 'cases.sqlite'}?mode=ro", uri=True) as db:
        left = [
            row[0]
            for row in db.execute("SELECT id FROM effects WHERE done = 0 AND kind IN ('transact', 'pay')")
        ]
        query = "SELECT count(*) FROM effects WHERE kind IN ('transact', 'pay') AND scratch IS NOT NULL"
        signed = db.execute(query).fetchone()[0]
    mined = sum(t.sender in mine for t in txs)
    if left:
        wrong.append(f"the patient has left undone: {', '.join(left)}")
    if signed != mined:
        wrong.append(f"the patient signed {signed} transactions and {mined} were mined")
    return wrong
