"""The pages of a segmented volume: a picture for each axis, and one HTML file to scroll through it.

    overlay-z.png overlay-y.png overlay-x.png   up to twelve slices each
    index.html                                  every slice, the figures, what was computed and who learnt what

The page asks the network for nothing, and its own policy forbids it; the one script in it is this package's, named
there by its hash. Both show the patient's body, so the files are readable by their owner alone.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agents.report.report import replace_whole
from agents.report.segmentation_montage import montage
from agents.report.segmentation_page import render
from agents.report.segmentation_planes import PLANES, Spacing, Study, count
from agents.report.segmentation_sprites import pack
from protocols.errors import UserError


def write_pages(
    folder: Path,
    result: Mapping[str, Any],
    grey: NDArray[np.uint8],
    lung: NDArray[np.bool_],
    infection: NDArray[np.bool_],
    spacing: Spacing,
    labels: NDArray[np.bool_] | None = None,
) -> list[Path]:
    """Writes the pictures and the page into `folder` (made if need be) and returns their paths, the page last.

    grey, lung, infection and labels are (X, Y, Z), axes to the patient's right, front and head; spacing is in mm.
    result: the `result.json` of the run; what is missing in it is shown as unknown. Beside the arrays this takes
    memory for one slice and for the finished page, at most about 25 MB. Each file is replaced whole or not at all.
    UserError when the folder cannot be written; ValueError when arrays do not fit one another.
    """
    study = Study(grey, lung, infection, labels, spacing)
    counts = [count(study, plane) for plane in PLANES]
    made: list[Path] = []
    embedded: list[bytes] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for plane, counted in zip(PLANES, counts, strict=True):
            sheet = montage(study, plane, counted)
            made.append(replace_whole(folder / f"overlay-{plane.key}.png", _packed(sheet, "PNG")))
            embedded.append(_packed(sheet, "JPEG"))
        sheets = [pack(study, plane) for plane in PLANES]
        page = render(result, study, counts, sheets, embedded)
        made.append(replace_whole(folder / "index.html", page.encode("utf-8")))
    except OSError as error:
        raise UserError(
            f"the pages cannot be written to {folder} ({error.strerror})",
            "name a folder that you may write to",
        ) from error
    return made


def _packed(image: Image.Image, form: str) -> bytes:
    packed = io.BytesIO()
    options: dict[str, Any] = {"quality": 82, "optimize": True} if form == "JPEG" else {"compress_level": 3}
    image.save(packed, form, **options)
    return packed.getvalue()
