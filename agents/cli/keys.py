"""`crypdoc keys`: make, show and change wallets; attest doctors."""

from __future__ import annotations

import time
from pathlib import Path

import click

from agents.cli.chain import checked_address
from agents.cli.common import guarded

KEYSTORE = click.option(
    "--keystore", type=click.Path(path_type=Path), required=True, help="Encrypted key file (V3, scrypt)."
)


@click.group()
def keys() -> None:
    """Wallets: one encrypted file each, from which every other key is derived. Back it up.

    Passwords are asked for, or read from the file that CRYPDOC_PASSWORD_FILE names (readable by you alone).
    """


@keys.command()
@KEYSTORE
@guarded
def new(keystore: Path) -> None:
    """Make a new wallet."""
    from agents.keystore import create

    click.echo(create(keystore).address)


@keys.command()
@KEYSTORE
@guarded
def show(keystore: Path) -> None:
    """Show a wallet's public parts."""
    from agents.keystore import load

    keyring = load(keystore)
    click.echo(f"address      {keyring.address}")
    click.echo(f"sealing key  {keyring.sealing_key.hex()}")


@keys.command()
@KEYSTORE
@guarded
def password(keystore: Path) -> None:
    """Change the password."""
    from agents.keystore import change_password

    change_password(keystore)
    click.echo("changed")


@keys.command()
@KEYSTORE
@click.argument("doctor")
@click.option("--specialty", default="neuroradiology", show_default=True)
@click.option("--days", default=365, show_default=True, type=click.IntRange(1, 3650))
@click.option(
    "--book", type=click.Path(path_type=Path), default=Path("addresses.json"), envvar="CRYPDOC_BOOK"
)
@click.option("--out", type=click.Path(path_type=Path), help="[credential-DOCTOR.json]")
@guarded
def attest(keystore: Path, doctor: str, specialty: str, days: int, book: Path, out: Path | None) -> None:
    """Attest that a wallet is a doctor's: the attester's signature, which the registry demands.

    Check the person and the licence first; that is what your word is worth.
    """
    from agents.cli.credentials import write_credential
    from agents.keystore import load
    from contracts.bindings.doctors import SignedCredential
    from contracts.chain.address_book import AddressBook
    from protocols.crypto.eip712 import Credential, doctors_domain
    from protocols.specialty import specialty as find

    field, who = find(specialty), checked_address(doctor, "DOCTOR")
    keyring, places = load(keystore), AddressBook.load(book)
    until = int(time.time()) + days * 86_400
    domain = doctors_domain(places.chain_id, places.address("Doctors"))
    signature = keyring.sign_digest(domain.digest(Credential(who, field.id, until)))
    target = out or Path(f"credential-{who[2:10].lower()}.json")
    write_credential(target, who, field.name, SignedCredential(field.id, keyring.address, until, signature))
    click.echo(f"{target}")
