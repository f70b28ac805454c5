"""`crypdoc verify`: checks a certificate, by itself and by the contract."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from agents.cli.common import guarded
from contracts.bindings import Contracts
from contracts.chain.address_book import AddressBook
from contracts.chain.client import ChainClient
from contracts.chain.errors import Reverted
from protocols.case.view import CaseView, Phase
from protocols.crypto.certificate import Certificate
from protocols.crypto.commitment import label_hash
from protocols.errors import ProtocolError, UserError

MAX_BYTES = 1 << 20
MAX_BRACKETS = 500
_REMEDY = "name the certificate.json that the patient's agent wrote"


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--rpc", default="", envvar="CRYPDOC_RPC", help="Ask the contract too, on this chain.")
@click.option(
    "--book",
    type=click.Path(path_type=Path),
    default=Path("addresses.json"),
    envvar="CRYPDOC_BOOK",
    show_default=True,
    help="Address book of that chain, from whom you trust.",
)
@guarded
def verify(file: Path, rpc: str, book: Path) -> None:
    """Check the certificate of a diagnosis.

    Without --rpc nothing is asked of anybody: the panel's aggregated signature is checked against the keys that the
    certificate names. That those are the keys of the doctors who sat on the case, and that enough of them signed, is
    known to the chain alone: give --rpc and --book.

    \b
    Exit code 0: everything that was checked holds. 1: something does not.
    """
    made = read_certificate(file)
    click.echo(f"case        {hex(made.case_id)}")
    click.echo(f"verdict     {made.label}, {_day(made.date)}")
    click.echo(f"signed by   {len(made.signers)} doctors: {', '.join(made.signers)}")
    good = made.valid()
    click.echo(
        _line(good, "signature", "the keys named signed this verdict", "it is not theirs, or was altered")
    )
    if not rpc:
        click.echo("not asked   whether those are the panel's keys; give --rpc and --book to ask the chain")
    elif good:
        good = asyncio.run(_ask_chain(made, rpc, AddressBook.load(book)))
    words = ("valid" if rpc else "the signature is valid") if good else "NOT valid"
    click.echo(words)
    sys.exit(0 if good else 1)


def read_certificate(file: Path) -> Certificate:
    """The certificate in a file. Raises `UserError` when there is none."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        proper = len(data) <= MAX_BYTES and data.count(b"[") + data.count(b"{") <= MAX_BRACKETS
        found = json.loads(data) if proper else None
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror})", _REMEDY) from None
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and isinstance(found.get("certificate"), dict):
        found = found["certificate"]  # a whole result.json will do
    try:
        return Certificate.from_json(found if isinstance(found, dict) else {})
    except ProtocolError:
        raise UserError(f"{file} is not a certificate", _REMEDY) from None


async def _ask_chain(made: Certificate, rpc: str, book: AddressBook) -> bool:
    """What the chain adds: the case settled, and these are its agreeing doctors, in number enough."""
    if (made.chain_id, made.cases) != (book.chain_id, book.address("Cases")):
        click.echo(_line(False, "chain", "", f"it is for chain {made.chain_id}, contract {made.cases}"))
        return False
    async with await ChainClient.connect(rpc, book) as client:
        contracts = Contracts(book)
        block, now = await client.head()
        question = contracts.certificates.check(
            made.case_id, label_hash(made.label), made.date, made.seats, made.signature, made.keys
        )
        try:
            view: CaseView | None = await client.read(contracts.cases.view(made.case_id, block, now), block)
            good = await client.read(question, block)
        except Reverted:
            view, good = None, False
    settled = view is not None and view.phase is Phase.SETTLED
    click.echo(_line(settled, "case", f"settled, as of block {block}", f"not settled, as of block {block}"))
    told = "the contract finds enough of the panel's agreeing doctors behind it"
    click.echo(_line(good, "contract", told, "the contract does not accept it"))
    return settled and good


def _line(good: bool, what: str, yes: str, no: str) -> str:
    return f"{what:<12}{'holds: ' + yes if good else 'FAILS: ' + no}"


def _day(date: int) -> str:
    try:
        return datetime.fromtimestamp(date, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return f"second {date}"
