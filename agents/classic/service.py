"""`scripts/predictor.py`: the patient's service on one port, the doctor's on the next, blind inference behind."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import click
from aiohttp import web

from agents.classic.prediction import BlindPredictor
from agents.pages.classic import CSV_COLUMNS, classic_apps
from agents.pages.serving import Served, serve
from models.zoo import NETWORKS
from protocols.errors import CrypDocError, UserError, WireError


def say(text: str) -> None:
    """A word to the person; stdout is for the CSV lines alone."""
    click.echo(f"predictor: {text}", err=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(1, 65534),
    help="The patient's service; the doctor's is on the next port.",
)
@click.option(
    "--model-name",
    type=click.Choice(list(NETWORKS), case_sensitive=False),
    help="The network that reads. [LeNet]",
)
@click.option(
    "--model-file",
    type=click.Path(path_type=Path),
    help="A .safetensors network instead, with its .card.json beside it.",
)
def predictor(port: int, model_name: str | None, model_file: Path | None) -> None:
    """Read scans with a doctor and a model that never sees them, and compare.

    \b
    Send a scan:   curl -X POST -F "file=@scan.jpg" localhost:8080/image
    Decide on it:  http://localhost:8081/decision

    Each finished scan is one line on stdout: input_time,decision_time,doctor_is_cancer,predictor_is_cancer. Times are
    UTC; the third column is the doctor's diagnosis itself, the fourth the model's, True or False (empty when the model
    had no answer). The model's answer comes from blind inference among three processes: this one holds the scan, one
    holds the network, one deals randomness. Ctrl-C ends it.
    """
    try:
        sys.exit(asyncio.run(run(port, network_named(model_name, model_file))))
    except CrypDocError as error:
        say(f"{error}.")
        sys.exit(error.exit_code)


def network_named(name: str | None, file: Path | None) -> str:
    """What `models.zoo` is asked for. Raises `UserError` when name and file contradict each other."""
    if file is None:
        return name or "LeNet"
    from models.zoo import load_card

    held = load_card(file).name
    if name is not None and held.lower() != name.lower():
        raise UserError(f"{file.name} holds {held} and not {name}", "leave one of the two options out")
    return str(file)


async def run(port: int, network: str) -> int:
    """Serve until told to stop; the exit code. Raises `WireError` when a port is taken, `UserError`."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def emit(line: str) -> None:
        try:
            print(line, flush=True)
        except BrokenPipeError:  # nobody reads the lines any more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            stop.set()

    predictor = BlindPredictor(network, say)
    patient, doctor = classic_apps(predictor.predict, emit, check=predictor.check)
    doors: list[Served] = []
    try:
        for app, at in ((patient, port), (doctor, port + 1)):
            doors.append(await _open(app, at))
        async with predictor:
            say(f"{predictor.card.summary()}; it reads blind, between three processes")
            say(f'send a scan: curl -X POST -F "file=@scan.jpg" localhost:{port}/image')
            say(f"decide on it: http://localhost:{port + 1}/decision")
            emit(CSV_COLUMNS)
            await stop.wait()
            for door in reversed(
                doors
            ):  # gives the lines of decided scans a moment, while the model still is there
                await door.close()
    finally:
        for door in reversed(doors):
            await door.close()
    return 0


async def _open(app: web.Application, port: int) -> Served:
    try:
        return await serve(app, port)
    except WireError as error:
        raise WireError(error.fault, "stop what holds it, or choose another --port") from None


def main() -> None:
    """The script."""
    logging.basicConfig(level=logging.WARNING, format="predictor: %(message)s")
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    predictor()
