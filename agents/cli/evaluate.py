"""`crypdoc evaluate`: how good a network is on labelled pictures, through any engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from agents.cli.common import engine_options, guarded
from protocols.errors import UserError


@click.command()
@click.option("--network", default="", metavar="NAME|FILE", help="A network. [the best one for brain MRI]")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR|CSV",
    help="Labelled pictures: a folder for each class, or a table.",
)
@engine_options
@click.option(
    "--json", "out", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures there, too."
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="N pictures only, spread evenly over all."
)
@click.option(
    "--batch", default=8, show_default=True, type=click.IntRange(1, 256), help="Pictures at a time."
)
@guarded
def evaluate(
    network: str, data: Path, engine: str, dealer: str, out: Path | None, limit: int | None, batch: int
) -> None:
    """Accuracy, AUC and calibration on labelled pictures, encrypted and plain side by side, and what it cost.

    \b
    The pictures, either way:
        held-out/tumour/*.jpg     held-out/no tumour/*.jpg          --data held-out
        table.csv with the columns file,label                       --data table.csv
    Paths in a table are relative to it; columns may be parted by commas, semicolons or tabs, and more of them do no
    harm.

    A class folder's name, or a label in a table, means the network's label of the same name: upper and lower case,
    spaces, dashes and underscores make no difference, nor do tumor and tumour. A number is the label's place from 0.
    Of two labels, no, false, negative mean the first, and yes, true, positive the second. Anything else is an error.

    \b
    The JSON holds
        n accuracy auc ece agreement seconds bytes network engine

    ece is the expected calibration error (also under the name calibration); agreement the share of pictures to which
    the plain network gives the same class. seconds and bytes are online, for all pictures; beside them stand
    seconds_ahead, bytes_ahead, rounds, largest_logit_difference, plain, classes and notes. With pictures of one class
    only, auc is null.
    """
    from agents.cli.screen import TrainingScreen
    from models.engines.base import check_engine
    from models.evaluation import evaluate as run
    from models.evaluation import read_cases
    from models.zoo import BEST, load_network

    check_engine(engine, dealer)
    if out is not None:
        _check_target(out)
    chosen, card = load_network(network or BEST)
    cases = read_cases(data, card.labels, limit)
    with TrainingScreen() as screen:
        told = run(
            chosen,
            card,
            cases,
            engine,
            lambda done, total: screen.step(f"{engine} engine", done, total),
            batch,
            dealer,
        )
    told["data"] = data.name
    click.echo(report(told))
    if out is not None:
        try:
            out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{out} cannot be written ({error.strerror})", "name another file") from error
        click.echo(f"written: {out}")


def _check_target(out: Path) -> None:
    """Before the work, not after it."""
    if out.is_dir() or not out.parent.is_dir():
        raise UserError(f"{out} cannot be written", "name a file in a folder that is there")


def report(told: dict[str, Any]) -> str:
    """The figures, for a person."""
    area, plain = told["auc"], told["plain"]
    lines = [
        f"network      {told['network']}, engine {told['engine']}, {told['n']} pictures",
        f"accuracy     {told['accuracy']:.4f}   plain {plain['accuracy']:.4f}",
        f"AUC          {_number(area)}   plain {_number(plain['auc'])}",
        f"calibration  {told['ece']:.4f}   plain {plain['ece']:.4f}   expected calibration error",
        f"agreement    {told['agreement']:.2%} same class; largest difference of a logit "
        f"{told['largest_logit_difference']:.4f}",
        f"online       {told['seconds']:.2f} s, {told['bytes'] / 1e6:.2f} MB, {told['rounds']} rounds",
        f"ahead        {told['seconds_ahead']:.2f} s, {told['bytes_ahead'] / 1e6:.2f} MB",
    ]
    lines += [
        f"  {row['label']:<20} {row['n']:>6}   {_number(row['right'])} right" for row in told["classes"]
    ]
    lines += [f"note: {note}" for note in told["notes"]]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "none  " if value is None else f"{value:.4f}"
