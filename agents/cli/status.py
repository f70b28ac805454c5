"""`crypdoc status`: what the chain shows of cases, panels, money and reputations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agents.cli.census import Census, DoctorLine, Enumerator, ModelLine
from agents.cli.common import guarded
from agents.cli.tapes import read_tapes, tape_lines
from agents.report.result import BUCKETS
from agents.report.words import moment, money, plural, reputation, seconds, short_id
from contracts.bindings import Contracts
from contracts.chain.address_book import AddressBook
from contracts.chain.client import ChainClient
from protocols.case.view import CaseView, Phase, Seat
from protocols.specialty import specialty_of

Row = Sequence[str]
PLAIN_GAP = "  "


@click.command()
@click.option(
    "--rpc", default="http://127.0.0.1:8545", envvar="CRYPDOC_RPC", show_default=True, help="Chain."
)
@click.option(
    "--book",
    type=click.Path(path_type=Path),
    default=Path("addresses.json"),
    envvar="CRYPDOC_BOOK",
    show_default=True,
    help="Address book that `crypdoc deploy` wrote.",
)
@click.option("--case", "prefix", default="", help="Only cases whose id begins so (closed ones too).")
@click.option("--doctor", default="", help="Only this doctor, and cases with a seat of this doctor.")
@click.option("--all", "closed", is_flag=True, help="Closed cases too.")
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1), help="Newest cases, best doctors."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of a model owner on this machine: its tapes are shown alone.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines: everything, unshortened.")
@guarded
def status(
    rpc: str,
    book: Path,
    prefix: str,
    doctor: str,
    closed: bool,
    limit: int,
    data: Path | None,
    as_json: bool,
) -> None:
    """Show open cases with their panels, and the money and reputation of doctors and models.

    Everything is read at one block, so it belongs together, and is public: verdicts are secret codes here, which only
    a case's patient and panel can tell apart. Needs no key.
    """
    if data is not None:
        tapes = read_tapes(data)
        click.echo(json.dumps({"tapes": tapes}, indent=1) if as_json else "\n".join(tape_lines(tapes)))
        return
    places = AddressBook.load(book)
    prefix = prefix.lower()
    if prefix and not prefix.startswith("0x"):
        prefix = "0x" + prefix
    found = asyncio.run(_census(rpc, places, limit, closed or bool(prefix), prefix))
    found = _only(found, doctor) if doctor else found
    if as_json:
        click.echo(json.dumps(census_json(found), indent=1))
    else:
        show(found, limit, Console())


async def _census(rpc: str, places: AddressBook, limit: int, closed: bool, prefix: str) -> Census:
    async with await ChainClient.connect(rpc, places) as client:
        block, now = await client.head()
        return await Enumerator(client, Contracts(places), block, now).census(limit, closed, prefix)


def _only(found: Census, doctor: str) -> Census:
    """What concerns one doctor."""
    from dataclasses import replace

    from agents.cli.chain import checked_address

    who = checked_address(doctor, "--doctor")
    return replace(
        found,
        cases=tuple(case for case in found.cases if case.seat_of(who) is not None),
        doctors=tuple(line for line in found.doctors if line.address == who),
        models=(),
    )


def census_json(found: Census) -> dict[str, Any]:
    """Plain values; ids and hashes as hex, money in wei."""
    return {
        "chain_id": found.chain_id,
        "block": found.block,
        "time": found.now,
        "cases": {"total": found.total, "settled": found.settled, "refunded": found.refunded},
        "records_listed": found.records,
        "shown": [_case_json(case) for case in found.cases],
        "doctors": [asdict(line) for line in found.doctors],
        "models": [asdict(line) for line in found.models],
    }


def _case_json(case: CaseView) -> dict[str, Any]:
    plain = {
        f.name: _plain(getattr(case, f.name)) for f in fields(case) if f.name not in ("seats", "block", "now")
    }
    seats = [{f.name: _plain(getattr(seat, f.name)) for f in fields(seat)} for seat in case.seats]
    return plain | {"case_id": hex(case.case_id), "specialty": _field(case.specialty), "seats": seats}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return value.name.lower() if isinstance(value, Phase) or hasattr(value, "lost") else value


def _field(identifier: bytes) -> str:
    known = specialty_of(identifier)
    return known.name if known else "0x" + identifier.hex()


# ---- for people
def show(found: Census, limit: int, console: Console) -> None:
    """Print it: tables on a terminal, aligned plain lines elsewhere, which are unshortened."""
    full = not (console.is_terminal and not console.is_dumb_terminal)
    running = found.total - found.settled - found.refunded
    counts = f"{running} open, {found.settled} settled, {found.refunded} refunded"
    head = f"Chain {found.chain_id}, block {found.block}, {moment(found.now)}"
    tail = f"{plural(found.total, 'case')}: {counts}. {plural(found.records, 'record')} on the market."
    print(f"{head}\n{tail}", file=console.file)
    _cases(found, console, full)
    _table(console, full, "Doctors", DOCTOR_HEADS, [_doctor(d, full) for d in found.doctors[:limit]])
    _more(console, len(found.doctors) - limit, "doctor")
    _table(console, full, "Models", MODEL_HEADS, [_model(m, full) for m in found.models[:limit]])
    _more(console, len(found.models) - limit, "model")


CASE_HEADS = ("Case", "Phase", "Until", "Round", "Panel", "Bounty", "Model was", "Specialty")
SEAT_HEADS = ("Case", "Round", "Doctor", "Status", "Paid", "Reputation")
DOCTOR_HEADS = ("Doctor", "State", "Reputation", "Scored", "Open seats", "Wallet", "Owed", "Specialty")
MODEL_HEADS = ("Network", "Name", "State", "Reputation", "Price", "Claims", "Owner", "Wallet", "Owed")


def _cases(found: Census, console: Console, full: bool) -> None:
    _table(console, full, "Cases", CASE_HEADS, [_case(case, full) for case in found.cases])
    seats = [_seat(case, seat, full) for case in found.cases for seat in case.seats]
    if seats:
        _table(console, full, "Panels", SEAT_HEADS, seats)


def _case(case: CaseView, full: bool) -> Row:
    return (
        _id(hex(case.case_id), full),
        case.phase.name.lower(),
        _until(case),
        str(case.round),
        _progress(case),
        money(case.bounty_wei),
        BUCKETS[case.bucket] if case.bucket < len(BUCKETS) else str(case.bucket),
        _field(case.specialty),
    )


def _until(case: CaseView) -> str:
    if case.phase.over:
        return "over"
    if case.phase is Phase.DRAWING:
        return f"block {case.seed_block}"
    left = case.deadline - case.now
    return f"{seconds(left)} left" if left > 0 else "due: anyone may move it on"


def _progress(case: CaseView) -> str:
    if case.phase is Phase.SETTLED:
        return f"{case.agreeing} agree"
    if case.phase is Phase.REFUNDED:
        return "no agreement"
    if case.phase is Phase.REVEAL:
        return f"{case.revealed} of {case.committed} revealed"
    if case.phase is Phase.COMMIT:
        return f"{case.committed} of {case.seated} committed"
    return f"{case.seated} of {case.wanted or case.panel_size} seated"


def _seat(case: CaseView, seat: Seat, full: bool) -> Row:
    moved = f"{reputation(seat.reputation_before)} → {reputation(seat.reputation_after)}"
    return (
        _id(hex(case.case_id), full),
        str(seat.round),
        _id(seat.doctor, full),
        seat.status.name.lower().replace("_", " "),
        money(seat.paid_wei),
        moved if case.phase.over else reputation(seat.reputation_before),
    )


def _doctor(line: DoctorLine, full: bool) -> Row:
    return (
        _id(line.address, full),
        line.state,
        reputation(line.reputation),
        str(line.scored),
        str(line.open_seats),
        money(line.balance_wei),
        money(line.credit_wei),
        line.specialty,
    )


def _model(line: ModelLine, full: bool) -> Row:
    claims = f"AUC {line.auc:.3f}" if line.auc else "nothing"
    return (
        _id(line.network, full),
        line.name or "no name",
        "active" if line.active else "withdrawn",
        reputation(line.reputation),
        money(line.price_wei),
        claims,
        _id(line.owner, full),
        money(line.balance_wei),
        money(line.credit_wei),
    )


def _id(text: str, full: bool) -> str:
    return text if full else short_id(text)


def _table(console: Console, full: bool, title: str, heads: Row, rows: Sequence[Row]) -> None:
    if full:
        print(f"\n{title}" + ("" if rows else ": none"), file=console.file)
        if rows:
            _print_plain(console, [tuple(h.lower() for h in heads), *rows])
        return
    if not rows:
        console.print(Text(f"\n{title}: none", style="bold"))
        return
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in heads:
        table.add_column(name, justify="right" if name in ("Reputation", "Scored", "Paid") else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _print_plain(console: Console, rows: Sequence[Row]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        line = PLAIN_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(f"  {line.rstrip()}", file=console.file)


def _more(console: Console, count: int, noun: str) -> None:
    if count > 0:
        print(f"and {plural(count, 'more ' + noun)} (--limit)", file=console.file)
