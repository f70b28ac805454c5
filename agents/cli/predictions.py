"""What `scripts/prediction.py` does: every volume of a folder in BUNET's layout."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from agents.cli.common import guarded
from agents.cli.results import check_earlier, claimed, earlier, on_disk, write_json
from agents.cli.segment import write_results
from protocols.errors import ScanError, UserError

if TYPE_CHECKING:
    from models.segmentation.run import Wishes
    from models.segmentation.suite import Suite

_LAYOUT = "give a folder that holds ID/ID.npz, and ID/ID_label.npz where there is a label"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--model_infection_dir", required=True, type=click.Path(path_type=Path), metavar="D", help="Networks."
)
@click.option(
    "--model_lung_dir", required=True, type=click.Path(path_type=Path), metavar="D", help="Networks."
)
@click.option(
    "--test_data_dir", required=True, type=click.Path(path_type=Path), metavar="D", help="ID/ID.npz ..."
)
@click.option(
    "--out", default="predictions", show_default=True, type=click.Path(path_type=Path), metavar="DIR"
)
@click.option(
    "--engine", default="blind", show_default=True, type=click.Choice(["blind", "crypten", "plain"])
)
@click.option("--axes", default="xyz", show_default=True, help="Axes along which slices are read.")
@click.option("--batch", default=4, show_default=True, type=click.IntRange(1, 16), help="Slices at a time.")
@guarded
def predictions(
    model_infection_dir: Path,
    model_lung_dir: Path,
    test_data_dir: Path,
    out: Path,
    engine: str,
    axes: str,
    batch: int,
) -> None:
    """Segment every volume of a folder laid out as BUNET's: ID/ID.npz, with ID/ID_label.npz beside it.

    Results of each go to OUT/ID as `crypdoc segment` writes them, all figures to OUT/predictions.json.
    """
    from models.segmentation.run import Wishes, check_axes
    from models.segmentation.suite import load_suite

    wishes = Wishes(engine, "local", axes, batch=batch)
    wishes.check()
    suite = load_suite(model_lung_dir, model_infection_dir)
    check_axes(suite, axes)
    found = volumes_in(test_data_dir)
    with on_disk(out):
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    for number, volume in enumerate(found):
        name = volume.stem
        try:
            told = _one(volume, out / name, suite, wishes)
        except ScanError as error:
            failed.append(name)
            click.echo(f"{name}: {error}", err=True)
            continue
        rows.append({"id": name, **told})
        click.echo(f"{number + 1}/{len(found)} {line(name, told)}")
        write_json(out / "predictions.json", {"volumes": rows, "failed": failed, **means(rows)})
    write_json(out / "predictions.json", {"volumes": rows, "failed": failed, **means(rows)})
    if rows:
        click.echo(line("mean", means(rows)["mean"]))
    if failed:
        raise UserError(
            f"{len(failed)} of {len(found)} volumes could not be read: {', '.join(failed)}", "see above"
        )


def volumes_in(folder: Path) -> list[Path]:
    """ID/ID.npz of a folder, in order. Raises `UserError`: no such folder, or none in it."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}", _LAYOUT)
    found = sorted(path for path in folder.glob("*/*.npz") if path.stem == path.parent.name)
    if not found:
        raise UserError(f"{folder} holds no ID/ID.npz", _LAYOUT)
    return found


def _one(volume: Path, folder: Path, suite: Suite, wishes: Wishes) -> dict[str, Any]:
    """One volume's figures; those of an earlier run with the same volume, label, networks and wishes are taken."""
    from agents.cli.screen import TrainingScreen
    from models.segmentation.job import fingerprint
    from models.segmentation.run import clean, segment
    from models.volumes import read_labels, read_volume

    scan = read_volume(volume)
    beside = volume.with_name(f"{volume.stem}_label.npz")
    drawn = read_labels(beside, scan) if beside.is_file() else None
    before = earlier(folder)
    asked = {
        "volume_hash": fingerprint(scan),
        "suite_identity": suite.identity.hex(),
        "engine": wishes.engine,
        "axes": wishes.axes,
        "label_hash": None if drawn is None else hashlib.sha256(np.packbits(drawn).tobytes()).hexdigest(),
    }
    if before is not None and all(before.get(name, "") == value for name, value in asked.items()):
        click.echo(f"{volume.stem}: done before", err=True)
        return before
    with on_disk(folder), claimed(folder):
        check_earlier(folder, asked["volume_hash"] or "")
        with TrainingScreen() as screen:
            outcome = segment(scan, suite, wishes, folder, screen, drawn)
        outcome.told["label_hash"] = asked["label_hash"]
        told = write_results(folder, volume, scan, outcome, drawn)
        clean(folder, wishes)
    return told


_FIGURES = (
    "dice_against_plain",
    "dice_against_labels",
    "dice_plain_against_labels",
    "infection_percent_of_lung",
    "seconds",
    "bytes",
    "seconds_per_image",
    "bytes_per_image",
)


def means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of every figure over the volumes that have it; None where none has."""
    made = {}
    for name in _FIGURES:
        values = [row[name] for row in rows if row.get(name) is not None]
        made[name] = sum(values) / len(values) if values else None
    return {"mean": made}


def line(name: str, told: dict[str, Any]) -> str:
    """One volume in one line."""
    drawn, share = told["dice_against_labels"], told["infection_percent_of_lung"]
    return (
        f"{name}: Dice {told['dice_against_plain']:.4f} against plain, "
        f"{'no label' if drawn is None else f'{drawn:.4f} against the label'}; "
        f"{'no lung' if share is None else f'{share:.1f} % of the lung'}; {told['seconds']:.1f} s, "
        f"{told['bytes'] / 1e6:.0f} MB ({told['seconds_per_image']:.3f} s, "
        f"{told['bytes_per_image'] / 1e6:.1f} MB an image)"
    )
