#!/usr/bin/env python3
"""What a case costs: gas of every call and of whole cases, on py-evm; seconds and bytes of each step, of the demo.

python benchmarks/case.py                    both, as Markdown; the demo runs three times
python benchmarks/case.py --quick            gas alone
python benchmarks/case.py --json FILE        writes the figures, too
python benchmarks/case.py --snapshot         writes gas-snapshot.json, which a test compares exactly

A figure is {name, value, unit, bar, holds}: bar is what was aimed at, as text, None where the figure is only told.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from eth_utils.crypto import keccak  # noqa: E402

from benchmarks.meter import Machine  # noqa: E402
from benchmarks.tell import figure, markdown  # noqa: E402
from protocols.crypto.bls import add_keys, add_signatures  # noqa: E402
from tests.contracts import world as world_module  # noqa: E402
from tests.contracts.evm import Chain, Receipt  # noqa: E402
from tests.contracts.world import (  # noqa: E402
    CERTIFICATE_DOMAIN,
    COMMIT,
    GWEI,
    SETTLED,
    Actor,
    Ballot,
    CaseHandle,
    World,
)

SNAPSHOT = HERE / "gas-snapshot.json"
DOCTORS = 32  # registered: the draw's trees have four levels, leaves included
BLOCK = 30_000_000
KLEROS_DRAW = {16: 477_000, 32: 487_000}  # gas of a draw by jurors, their lowest of each
PROTOTYPE = {"commit": 30_900, "reveal": 57_000, "round": 887_000}  # of a bare five-doctor round
Gas = dict[str, int]


# ------------------------------------------------------------------------------------------------------- gas


class MeteredChain(Chain):
    """A chain on py-evm, which meters gas as chains do."""

    def __init__(self) -> None:
        super().__init__()
        self.evm: Any = Machine()
        self._set_block()

    def _set_block(self) -> None:
        if isinstance(self.evm, Machine):
            self.evm.set_block(self.number, self.time)


@contextmanager
def metered() -> Iterator[None]:
    """Worlds made inside stand on a `MeteredChain`."""
    plain = world_module.Chain
    world_module.Chain = MeteredChain  # type: ignore[misc]
    try:
        yield
    finally:
        world_module.Chain = plain  # type: ignore[misc]


class Meter(World):
    """A world that notes the gas of each transaction on the way of a case."""

    def __init__(self) -> None:
        self.spent: dict[str, list[int]] = defaultdict(list)
        self.label = ""
        with metered():
            super().__init__()

    def send(self, who: Actor, contract: Any, name: str, *arguments: Any, value: int = 0) -> Receipt:
        receipt = super().send(who, contract, name, *arguments, value=value)
        self.spent[self.label or f"{contract.name}.{name}"].append(receipt.gas)
        return receipt

    def named(self, label: str) -> None:
        """From now on transactions go under this name; under their own, when empty."""
        self.label = label

    def total(self) -> int:
        """Gas of all transactions noted since the last `fresh`."""
        return sum(sum(gas) for gas in self.spent.values())

    def fresh(self) -> None:
        """Forgets what was noted."""
        self.spent.clear()


def play_round(world: Meter, case: CaseHandle, codes: list[int | None], seats: int) -> None:
    """A round, drawn to settled or hung; None: accepts and is not seen again."""
    world.named(f"Cases.advance: draw of {seats}")
    world.draw(case)
    world.named("")
    panel = world.at_step(case, 1)
    assert len(panel) == seats == len(codes)
    for doctor in panel:
        world.accept(case, doctor)
    voters = [(d, Ballot(code)) for d, code in zip(panel, codes, strict=True) if code is not None]
    for doctor, ballot in voters:
        world.commit(case, doctor, ballot)
    if world.view(case).phase == COMMIT:
        world.chain.mine(1, world.terms.commit_seconds + 1)
        world.named("Cases.advance: close the commit phase")
        world.advance(case)
        world.named("")
    for doctor, _ in voters:
        world.reveal(case, doctor)
    world.named(f"Cases.advance: close a round of {seats}")
    world.advance(case)
    world.named("")


def whole_case(world: Meter, size: int, rounds: list[list[int | None]]) -> tuple[int, Gas]:
    """Gas of a case from opening to its end, and of each kind of call in it (the dearest of each)."""
    world.fresh()
    case = world.open_case(f"patient {size} {rounds}", bucket=1, panel_size=size)
    for codes in rounds:
        play_round(world, case, codes, len(codes))
    assert world.view(case).phase == SETTLED
    return world.total(), {name: max(gas) for name, gas in world.spent.items()}


def other_calls(world: Meter) -> Gas:
    """Gas of the calls around a case: registration, purchase, withdrawal, certificate, data market."""
    world.fresh()
    world.add_doctors(1, "late doctor")
    case = world.prepare("patient", bucket=1, panel_size=5)
    consent = (keccak(text="consent"), 10 * GWEI, 0)
    quote, signature = world.quote(case)
    world.send(case.account, world.models, "purchase", quote, signature, value=4 * GWEI)
    world.named("Cases.open: releasing the purchase")
    asked = world.chain.view(world.market, "consentHashOf", case.account.address, consent)
    world.open(case, consentHash=asked)
    world.named("")
    panel = world.round(case, [7] * 5)
    for doctor in panel:
        world.send(doctor, world.cases, "withdraw")
    gas = {name: max(spent) for name, spent in world.spent.items()}
    label, date = keccak(text="tumour"), 1_800_000_000
    message = world.chain.view(world.certificates, "messageOf", case.id, label, date)
    key = add_keys(d.bls.public.g2 for d in panel)
    signed = add_signatures(d.bls.sign(CERTIFICATE_DOMAIN, message) for d in panel)
    given = (case.id, label, date, 0b11111, signed, key)
    gas["Certificates.check: 5 signers (a view)"] = world.chain.gas_of_view(
        world.certificates, "check", *given
    )
    assert world.chain.view(world.certificates, "check", *given)
    world.fresh()
    world.send(case.account, world.market, "list", case.id, keccak(text="record"), 100 * GWEI, consent)
    world.send(world.funded("researcher"), world.market, "buy", [case.id], value=100 * GWEI)
    gas |= {name: max(spent) for name, spent in world.spent.items()}
    kept = ("Doctors.register", "Models.purchase", "Cases.open: releasing the purchase", "Cases.withdraw")
    return {
        name: cost
        for name, cost in gas.items()
        if name in kept or name.startswith(("Certificates", "DataMarket"))
    }


def gas_snapshot() -> dict[str, Gas]:
    """Gas of every call and of whole cases. The same on every machine."""
    world = Meter()
    world.add_doctors(DOCTORS)
    calls = other_calls(world)
    cases: Gas = {}
    stories: dict[str, tuple[int, list[list[int | None]]]] = {
        "3 doctors, one round": (3, [[7] * 3]),
        "5 doctors, one round": (5, [[7] * 5]),
        "9 doctors, one round": (9, [[7] * 9]),
        "3 doctors, no agreement, then 7": (3, [[7, 8, 9], [7] * 7]),
        "7 doctors, no agreement, then 15": (7, [[7, 8, 9, 7, 8, 9, 0], [7] * 15]),
        "9 doctors, no agreement, then 19": (9, [[7, 8, 9] * 3, [7] * 19]),
        "5 doctors, one does not show up": (5, [[7, 7, 7, 7, None]]),
        "3 doctors, one does not show up": (3, [[7, 7, None]]),
    }
    for name, (size, rounds) in stories.items():
        cases[name], met = whole_case(world, size, rounds)
        calls |= {call: max(gas, calls.get(call, 0)) for call, gas in met.items()}
    return {"calls": dict(sorted(calls.items())), "cases": cases}


def gas_figures(gas: dict[str, Gas]) -> list[dict[str, Any]]:
    """The snapshot as figures, and as ratios to others' figures."""
    calls, cases = gas["calls"], gas["cases"]
    figures = [figure(f"gas of {name}", value, "gas") for name, value in (calls | cases).items()]
    seats = 15
    ours, theirs = calls[f"Cases.advance: draw of {seats}"] / seats, KLEROS_DRAW[16] / 16
    figures.append(
        figure(
            "draw a seat, over Kleros' draw a juror (15 seats, 16 jurors)", round(ours / theirs, 3), "ratio"
        )
    )
    for call in ("commit", "reveal"):
        ratio = round(calls[f"Cases.{call}"] / PROTOTYPE[call], 3)
        figures.append(figure(f"{call}, over the bare five-doctor round", ratio, "ratio"))
    whole = round(cases["5 doctors, one round"] / PROTOTYPE["round"], 3)
    figures.append(figure("case of five in one round, over the bare five-doctor round", whole, "ratio"))
    dearest = max(calls.values())
    figures.append(figure("dearest call", dearest, "gas", f"below a block's {BLOCK}", dearest < BLOCK))
    return figures


# ------------------------------------------------------------------------------------------ seconds and bytes


def demo_run(folder: Path, number: int) -> dict[str, Any]:
    """One run of the demo: its JSON."""
    told = folder / f"demo-{number}.json"
    command = [str(HERE.parent / "scripts" / "demo"), "--json", str(told)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=300)
    answer: dict[str, Any] = json.loads(told.read_text())
    return answer


def demo_figures(runs: int) -> list[dict[str, Any]]:
    """Median seconds and bytes of each step over so many runs of the demo."""
    with tempfile.TemporaryDirectory() as folder:
        answers = [demo_run(Path(folder), number) for number in range(runs)]
    figures = []
    for kind, unit in (("seconds", "s"), ("bytes", "B")):
        for step in answers[0][kind]:
            values = [
                answer[kind][step] for answer in answers if isinstance(answer[kind].get(step), int | float)
            ]
            if values:
                middle = statistics.median(values)
                figures.append(figure(f"{kind} of {step}", round(middle, 3), unit))
    settled = sum(answer["case"]["state"] == "settled" for answer in answers)
    figures.append(figure("demo runs that settled", settled, f"of {runs}", "all", settled == runs))
    return figures


# ---------------------------------------------------------------------------------------------------- command


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 1 when a bar does not hold."""
    parser = argparse.ArgumentParser(prog="benchmarks/case.py", description="What a case costs.")
    parser.add_argument("--quick", action="store_true", help="gas alone, no demo")
    parser.add_argument("--runs", type=int, default=3, help="runs of the demo (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--snapshot", action="store_true", help=f"write {SNAPSHOT.name}")
    given = parser.parse_args(arguments)
    gas = gas_snapshot()
    if given.snapshot:
        SNAPSHOT.write_text(json.dumps(gas, indent=1) + "\n")
    figures = gas_figures(gas)
    if not given.quick:
        figures += demo_figures(given.runs)
    print(markdown(figures))
    if given.json:
        given.json.write_text(json.dumps({"figures": figures}, indent=1) + "\n")
    return 0 if all(f["holds"] is not False for f in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
