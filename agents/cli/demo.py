"""`crypdoc demo`: a whole case on this machine, with a process for every participant."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from agents.cli.common import guarded


@click.command()
@click.argument("scan", required=False, type=click.Path(path_type=Path))
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write the result here, for machines."
)
@click.option("--rpc", default="", help="A chain that runs already (Ganache, anvil, ...). [an embedded one]")
@click.option(
    "--doctors",
    type=click.IntRange(1, 40),
    help="Registered doctors. [5; 10 for disagree; as many as seats for --interactive]",
)
@click.option(
    "--panel", default=3, show_default=True, type=click.IntRange(3, 9), help="Seats in round one (odd)."
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**31),
    help="Which synthetic slice is read when no SCAN is given, and which look the automatic readers have.",
)
@click.option(
    "--outcome",
    default="agree",
    show_default=True,
    type=click.Choice(["agree", "disagree", "no-show"]),
    help="What the automatic readers do: agree; split, so that a larger panel is drawn; one of them never reveals.",
)
@click.option("--interactive", is_flag=True, help="You are doctor 1 and read on the local page.")
@click.option(
    "--network",
    "networks",
    multiple=True,
    help="LeNet or BigLeNet, or a suite for --volume; once for every model agent that is to make an offer. "
    "[LeNet; chest-ct-suite]",
)
@click.option(
    "--volume",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A CT volume to be segmented, instead of SCAN: NIfTI, .npz, or a folder of DICOM files.",
)
@click.option(
    "--axes", default="xyz", show_default=True, help="Of a volume: axes along which it is segmented."
)
@click.option("--slice", "slice_", type=int, help="Slice of a NIfTI volume. [the middle one]")
@click.option(
    "--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="For reports."
)
@click.option(
    "--timeout", type=float, help="Give up after so many seconds. [600; 3600 for --interactive and --volume]"
)
@guarded
def demo(scan: Path | None, json_file: Path | None, **options: object) -> None:
    """Run a case from a scan to a diagnosis: chain, dealer, model, doctors, patient and researcher, each in its own
    process with its own keys, joined by one address.

    SCAN is a JPEG, PNG, DICOM or NIfTI file; without one, a synthetic slice that ships with CrypDoc is read. With
    --volume, lung and infection of a CT volume are segmented instead. The report is written under runs/. Doctors are
    played by automatic readers, which are no physicians.

    \b
    Exit code 0: the case settled or was refunded, as it should have.
    """
    from agents.demo.cast import Play
    from agents.demo.run import run_demo

    alone = options["panel"] if options["interactive"] else 5
    doctors = options.pop("doctors") or (10 if options["outcome"] == "disagree" else alone)
    timeout = options.pop("timeout") or (3600.0 if options["interactive"] or options["volume"] else 600.0)
    networks = options.pop("networks") or (("chest-ct-suite",) if options["volume"] else ("LeNet",))
    options |= {"doctors": doctors, "timeout": timeout, "networks": networks}
    play = Play(scan=scan, json_file=json_file, **options)  # type: ignore[arg-type]
    sys.exit(run_demo(play))
