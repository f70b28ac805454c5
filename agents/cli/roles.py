"""`crypdoc patient | doctor | model | dealer | researcher`: one agent each, in this process."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import click

from agents.cli.common import WEI, guarded, make_setup, network_options, run_duty


def _hours(text: str) -> tuple[int, int]:
    start, _, end = text.partition("-")
    if not (start.isdigit() and end.isdigit() and int(start) <= 24 and int(end) <= 24):
        raise click.BadParameter("write hours like 8-20 (UTC)", param_hint="--hours")
    return int(start), int(end)


@click.command()
@click.argument("scan", required=False, type=click.Path(path_type=Path))
@network_options
@click.option(
    "--specialty", help="Whose panel reads it. [chest radiology for a CT volume, else neuroradiology]"
)
@click.option(
    "--panel", default=3, show_default=True, type=click.IntRange(3, 9), help="Doctors in round one (odd)."
)
@click.option(
    "--consent/--no-consent", default=True, show_default=True, help="Sell the bare metadata of the case."
)
@click.option("--price-cap", type=WEI, default="0.1ether", show_default=True, help="Most for a prediction.")
@click.option("--slice", "slice_", type=int, help="Slice of a NIfTI volume. [the middle one]")
@click.option(
    "--axes", default="xyz", show_default=True, help="Of a volume: axes along which it is segmented."
)
@click.option(
    "--batch", default=4, show_default=True, type=click.IntRange(1, 16), help="Of a volume: images at a time."
)
@click.option(
    "--skip-empty", is_flag=True, help="Of a volume: leave out slices of one grey; models learn which."
)
@click.option("--language", default="en", show_default=True, help="What the panel should read in.")
@click.option(
    "--dealer",
    "dealers",
    multiple=True,
    help="Wallet of a dealer you trust not to side with the model. [any dealer]",
)
@click.option(
    "--audit-slots",
    default=4,
    show_default=True,
    type=click.IntRange(0, 18),
    help="Images computed at once to notice a model that cheats: your scan twice, the rest public probes. N times "
    "the price, time and traffic; what was changed shows with probability 1 - 2/(N(N-1)). 0: your scan alone.",
)
@click.option("--stay", is_flag=True, help="Go on serving after the case is over (records that are bought).")
@click.option("--page-port", default=8080, show_default=True, help="Port of the local page, without SCAN.")
@guarded
def patient(scan: Path | None, **options: Any) -> None:
    """Get a scan read by a model that never sees it and by a blind panel.

    With SCAN (JPEG, PNG, DICOM, NIfTI) one case is run to its end and its result is written to
    DATA/cases/KEY/result.json. Without, a local page takes scans. A case that was begun before and is not over goes on
    either way.

    
    With --specialty "chest radiology", SCAN is a CT volume: NIfTI, .npz, or a folder of DICOM files (without the option
    it is one if it is in Hounsfield units). A model segments lung and infection without seeing a slice; masks and
    severity are yours alone until the panel's votes are sealed:
        crypdoc patient chest.nii.gz --price-cap 0.2ether
    """
    from agents.patient.duty import PatientDuty, Wishes
    from agents.patient.session import read_given, serve_page, wait_for_case
    from protocols.errors import UserError

    if options["audit_slots"] in (1, 2):
        raise UserError("one or two audit slots notice nothing", "choose 0 for none, or 3 and more")
    if options["panel"] % 2 == 0:
        raise UserError(f"a panel of {options['panel']} could be tied", "choose 3, 5, 7 or 9")
    field, picture = read_given(scan, options) if scan else (options["specialty"] or Wishes.specialty, None)
    wishes = Wishes(
        specialty=field,
        panel=options["panel"],
        consent=options["consent"],
        price_cap=options["price_cap"],
        language=options["language"],
        dealers=tuple(options["dealers"]),
        slots=options["audit_slots"],
        axes=options["axes"],
        batch=options["batch"],
        skip_empty=options["skip_empty"],
    )
    setup = make_setup("patient", options, {"wishes": wishes})

    async def work(duty: PatientDuty) -> int:
        if picture is None:
            return await serve_page(duty, wishes, options["page_port"], options["specialty"])
        return await wait_for_case(duty, picture, wishes, stay=options["stay"])

    sys.exit(run_duty(lambda: PatientDuty(setup), work))


@click.command()
@network_options
@click.option("--specialty", "specialties", multiple=True, default=("neuroradiology",), show_default=True)
@click.option("--language", "languages", multiple=True, default=("en",), show_default=True)
@click.option("--hours", default="0-24", show_default=True, help="When you read, in UTC.")
@click.option("--least-bounty", type=WEI, default="0", show_default=True, help="Least for a seat.")
@click.option("--max-cases", default=3, show_default=True, help="Cases at once.")
@click.option(
    "--credential",
    "credentials",
    multiple=True,
    type=click.Path(path_type=Path),
    help="File from `crypdoc keys attest`.",
)
@click.option(
    "--reader",
    default="page",
    show_default=True,
    type=click.Choice(["page", "terminal", "auto", "auto-split", "auto-absent"]),
    help="Who reads: you, on the local page or here; or an automatic reader that is no physician (demonstrations).",
)
@click.option("--look", type=int, help="Which of its looks an automatic reader has. [their average]")
@click.option("--page-port", default=0, help="Port of the local page, 0 for a free one.")
@guarded
def doctor(**options: Any) -> None:
    """Read scans blind and be paid for agreeing on the truth.

    Your agent takes seats by your policy, shows you the scan on a page of your own machine, commits to your verdict
    and reveals it when the time comes.
    """
    from agents.cli.credentials import read_credential
    from agents.doctor.desk import make_reader, serve_desk
    from agents.doctor.duty import DoctorDuty
    from protocols.case.doctor import DoctorPolicy

    policy = DoctorPolicy(
        tuple(options["specialties"]),
        tuple(options["languages"]),
        _hours(options["hours"]),
        options["least_bounty"],
        options["max_cases"],
    )
    credentials = [read_credential(path) for path in options["credentials"]]
    setup = make_setup("doctor", options, {"policy": policy, "credentials": credentials})
    reader = make_reader(options["reader"], options["look"])

    async def work(duty: DoctorDuty) -> int:
        return await serve_desk(duty, reader, options["page_port"])

    sys.exit(run_duty(lambda: DoctorDuty(setup, reader), work))


@click.command()
@network_options
@click.option(
    "--network",
    default="LeNet",
    show_default=True,
    help="LeNet, BigLeNet, or a .safetensors file; to segment CT volumes: chest-ct-suite, or a folder of networks.",
)
@click.option("--price", type=WEI, help="Of a prediction, or of one slice image. [5finney; 20000gwei]")
@click.option("--dealer-fee", type=WEI, help="What the dealer gets for one. [1finney; 5000gwei]")
@click.option(
    "--max-images",
    default=4096,
    show_default=True,
    type=click.IntRange(1, 4096),
    help="Of a suite: slice images of one volume, at most.",
)
@click.option("--dealer", default="", help="Wallet of the dealer. [the first one announced]")
@click.option(
    "--tape-budget",
    default=4096,
    show_default=True,
    type=click.IntRange(0),
    help="MB of disk for tapes that the dealer makes ahead of time; 0 has every session dealt live.",
)
@guarded
def model(**options: Any) -> None:
    """Sell predictions on scans that you cannot see.

    You learn that somebody wanted a prediction, and in the end how sure it was: never the scan, never the answer. Of a
    volume you learn how many slices it has.
    """
    from agents.model.duty import ModelDuty
    from agents.model.suite import SuiteDuty, is_suite

    suite = is_suite(options["network"])
    extra = {name: options[name] for name in ("network", "price", "dealer_fee", "dealer", "max_images")}
    extra["tape_budget"] = options["tape_budget"] * 1_000_000
    for name, single, image in (("price", 5 * 10**15, 2 * 10**13), ("dealer_fee", 10**15, 5 * 10**12)):
        if extra[name] is None:
            extra[name] = image if suite else single
    setup = make_setup("model", options, extra)
    duty = SuiteDuty if suite else ModelDuty
    sys.exit(run_duty(lambda: duty(setup)))


@click.command()
@network_options
@click.option(
    "--unpaid-tapes",
    default=8192,
    show_default=True,
    type=click.IntRange(0),
    help="MB a day dealt ahead for one model beyond what its paid sessions bring in.",
)
@guarded
def dealer(**options: Any) -> None:
    """Hand out correlated randomness for blind inference, seeing neither scan nor weights nor result."""
    from agents.dealer.duty import DealerDuty

    setup = make_setup("dealer", options, {"unpaid": options["unpaid_tapes"] * 1_000_000})
    sys.exit(run_duty(lambda: DealerDuty(setup)))


@click.command()
@network_options
@click.option("--specialty", default="neuroradiology", show_default=True)
@click.option("--records", default=1, show_default=True, type=click.IntRange(1, 16), help="How many to buy.")
@click.option("--budget", type=WEI, default="0.1ether", show_default=True, help="Most to spend.")
@click.option("--patience", default=60.0, show_default=True, help="Seconds to wait for records to be listed.")
@guarded
def researcher(**options: Any) -> None:
    """Buy bare metadata of settled cases; what you pay is split among patient, panel and model."""
    from agents.researcher.duty import ResearcherDuty

    extra = {
        "specialty": options["specialty"],
        "wanted": options["records"],
        "budget": options["budget"],
        "patience": options["patience"],
    }
    setup = make_setup("researcher", options, extra)

    async def work(duty: ResearcherDuty) -> int:
        while True:
            await asyncio.sleep(0.2)
            order = duty.order
            if order is not None and order.phase in duty.machine.final:
                held = {name: _plain(fields) for name, fields in order.records.items()}
                click.echo(json.dumps({"records": held}, indent=1))
                duty.handed_over(order.key)
                return 0 if held else 1

    sys.exit(run_duty(lambda: ResearcherDuty(setup), work))


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: v.hex() if isinstance(v, bytes) else v for k, v in fields.items()}
