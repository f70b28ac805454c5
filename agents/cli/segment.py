"""`crypdoc segment`: lung and infection of a CT volume, by networks that never see it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agents.cli.common import engine_options, guarded
from agents.cli.results import check_earlier, check_targets, claimed, on_disk, write_json
from protocols.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.segmentation.run import Outcome
    from models.volumes import Volume


@click.command()
@click.argument("volume", type=click.Path(path_type=Path), required=False)
@click.option("--sample", is_flag=True, help="Segment a drawn chest, to see how it works.")
@engine_options
@click.option("--axes", default="xyz", show_default=True, help="Axes along which slices are read.")
@click.option(
    "--grid",
    default="128",
    show_default=True,
    type=click.Choice(["128", "256", "512"]),
    help="Side of the slice images; the networks that come with CrypDoc learnt at 128.",
)
@click.option("--batch", type=click.IntRange(1, 16), help="Slices at a time. [4 on a grid of 128, else 1]")
@click.option(
    "--skip-empty",
    is_flag=True,
    help="Leave out slices of one grey; the model then learns which they are.",
)
@click.option(
    "--networks", type=click.Path(path_type=Path), metavar="DIR", help="A folder of networks. [CrypDoc's own]"
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Infection as it was drawn, to compare with.",
)
@click.option(
    "--lung-labels", type=click.Path(path_type=Path), metavar="FILE", help="The lung as it was drawn."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where results go. [NAME-segmentation, here]",
)
@click.option(
    "--json", "figures", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures there, too."
)
@guarded
def segment(
    volume: Path | None,
    sample: bool,
    engine: str,
    dealer: str,
    axes: str,
    grid: str,
    batch: int | None,
    skip_empty: bool,
    networks: Path | None,
    labels: Path | None,
    lung_labels: Path | None,
    out: Path | None,
    figures: Path | None,
) -> None:
    """Find lung and infection in a CT VOLUME: a NIfTI file, a folder of DICOM files, or an .npz with the key array.

    \b
        crypdoc segment --sample
        crypdoc segment chest.nii.gz
        crypdoc segment dicom-folder --out result
        crypdoc segment chest.nii.gz --axes z --labels infection.nii.gz --json figures.json

    Three processes on this machine do what patient, model owner and dealer do in the network: the slices stay with the
    first, the networks with the second, and only the first learns the masks. What comes out is compared with the
    same networks in the clear.

    \b
    In the folder --out:
        infection.nii.gz lung.nii.gz   masks in the volume's own frame; segmentation.dcm for a DICOM series
        index.html                     a page to scroll through the slices; overlay-x, -y, -z.png
        result.json                    the figures
    \b
    The JSON holds, among others
        dice_against_labels dice_against_plain     of the infection; under "lung" those of the lung
        seconds bytes                              in all; seconds_per_image and bytes_per_image of a 2-D image
        infection_ml infection_percent_of_lung severity

    A run that was interrupted goes on where it was when the same command is given again.
    """
    from agents.cli.screen import TrainingScreen
    from models.segmentation.job import fingerprint
    from models.segmentation.run import Wishes, clean
    from models.segmentation.run import segment as run
    from models.segmentation.samples import chest
    from models.segmentation.suite import load_suite
    from models.volumes import read_labels, read_volume

    wishes = Wishes(engine, dealer, axes, int(grid), batch or (4 if grid == "128" else 1), skip_empty)
    wishes.check()
    if sample == (volume is not None):
        raise UserError("there is no volume", "name a file or a folder, or give --sample")
    folder = out or Path(f"{name_of(volume) if volume else 'sample'}-segmentation")
    check_targets(folder, figures, (volume, labels, lung_labels))
    suite = load_suite(networks)
    with on_disk(folder), claimed(folder):
        if volume is None:
            volume = chest().save(folder, "sample")
            labels = labels or folder / "sample_infection.nii.gz"
            lung_labels = lung_labels or folder / "sample_lung.nii.gz"
        scan = read_volume(volume)
        check_earlier(folder, fingerprint(scan))
        drawn = None if labels is None else read_labels(labels, scan, segment="infection")
        drawn_lung = None if lung_labels is None else read_labels(lung_labels, scan, segment="lung")
        with TrainingScreen() as screen:
            outcome = run(scan, suite, wishes, folder, screen, drawn, drawn_lung)
            screen.step("writing results", 0, 1)
            told = write_results(folder, volume, scan, outcome, drawn)
        clean(folder, wishes)
    click.echo(report(told))
    click.echo(f"page         {folder / 'index.html'}")
    if figures is not None:
        write_json(figures, told)
        click.echo(f"written      {figures}")


def name_of(volume: Path) -> str:
    """A volume's name without what tells its kind."""
    name = volume.resolve().name
    for ending in (".nii.gz", ".nii", ".npz", ".gz"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def write_results(
    folder: Path, path: Path, volume: Volume, outcome: Outcome, labels: NDArray[np.bool_] | None
) -> dict[str, Any]:
    """Masks, pages and result.json; returns what result.json holds."""
    import numpy as np

    from agents.report.segmentation import write_pages
    from models.segmentation.grid import whole
    from models.volumes import write_dicom_seg, write_nifti

    masks = outcome.masks
    (folder / "segmentation.dcm").unlink(missing_ok=True)
    told: dict[str, Any] = {"volume": path.resolve().name, **outcome.told}
    files: dict[str, Any] = {"mask_nifti": "infection.nii.gz", "lung_nifti": "lung.nii.gz", "dicom_seg": None}
    write_nifti(masks.infection.astype(np.uint8), volume, folder / files["mask_nifti"])
    write_nifti(masks.lung.astype(np.uint8), volume, folder / files["lung_nifti"])
    if volume.source.form == "DICOM":
        found = {"lung": masks.lung, "infection": masks.infection}
        try:
            write_dicom_seg(found, volume, folder / "segmentation.dcm")
            files["dicom_seg"] = "segmentation.dcm"
        except (
            UserError
        ) as error:  # the series lacks what a segmentation must name; the NIfTI masks are there
            told["notes"] = [*told["notes"], f"No DICOM segmentation was written: {error}."]
    told["files"] = files
    pages = write_pages(folder, told, whole(volume), masks.lung, masks.infection, volume.spacing, labels)
    files["page"] = "index.html"
    files["overlays"] = sorted(page.name for page in pages if page.suffix == ".png")
    write_json(folder / "result.json", told)
    return told


def report(told: dict[str, Any]) -> str:
    """The figures, for a person."""
    share = told["infection_percent_of_lung"]
    lung = told["lung"]
    engine = told["engine"] + (" without a dealer" if told["dealer"] == "none" else "")
    lines = [
        f"volume       {told['volume']}, {'x'.join(map(str, told['shape']))} voxels",
        f"lung         {told['lung_ml']:.0f} ml",
        f"infection    {told['infection_ml']:.1f} ml, "
        + ("no lung was found" if share is None else f"{share:.1f} % of the lung: {told['severity']}"),
        f"against plain   Dice {told['dice_against_plain']:.4f} infection, {lung['dice_against_plain']:.4f} lung",
    ]
    drawn = [
        f"Dice {value:.4f} {what}"
        for what, value in (
            ("infection", told["dice_against_labels"]),
            ("lung", lung["dice_against_labels"]),
        )
        if value is not None
    ]
    if drawn:
        lines.append(f"against labels  {', '.join(drawn)}")
    lines += [
        f"engine       {engine}, {told['images']} images: {told['seconds']:.1f} s, "
        f"{told['bytes'] / 1e6:.1f} MB",
        f"an image     {told['seconds_per_image']:.3f} s, {told['bytes_per_image'] / 1e6:.2f} MB",
    ]
    return "\n".join(lines + [f"note: {note}" for note in told["notes"]])
