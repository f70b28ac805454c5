"""A folder for each class, pictures of any size and colour in it: what the training command learns from.

    pictures = read_folder(Path("train"))        # train/cat/*.png, train/dog/**/*.jpg
    images = pictures.prepared("rgb", 3, 64)     # int8 (n, 3, 64, 64)

Classes are the folders' names in sorted order. Whatever is wrong is one `UserError` that names it.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from models.metrics import Labels
from models.scans import Scan, load_scan, prepare
from models.scans.raster import grey
from models.scans.resample import resample
from models.scans.scan import MAX_FILE_BYTES, MAX_PIXELS, MIN_SIDE
from protocols.errors import ScanError, UserError

_COLOURED = 0.1  # the part of the pictures from which a collection counts as one in colour
_WORKING = 256  # larger pictures are reduced to this while they are held


@dataclass(frozen=True)
class Folder:
    """Pictures with labels 0..len(classes) - 1; files: their paths relative to the folder, in reading order."""

    classes: tuple[str, ...]
    files: tuple[Path, ...]
    scans: tuple[Scan, ...]
    labels: Labels

    def coloured(self) -> bool:
        """Whether more than a tenth of the pictures are in colour."""
        return sum(scan.colour is not None for scan in self.scans) > _COLOURED * len(self.scans)

    def prepared(self, preparation: str, channels: int, side: int) -> NDArray[np.int8]:
        """int8 (n, channels, side, side)."""
        return np.stack([prepare(scan, channels, side, preparation) for scan in self.scans])

    def digest(self) -> str:
        """Hex; the same for the same pictures under the same names."""
        made = hashlib.blake2b(digest_size=16)
        for file, scan in zip(self.files, self.scans, strict=True):
            made.update(str(file).encode() + b"\x00" + scan.pixels.tobytes())
            made.update(b"" if scan.colour is None else scan.colour.tobytes())
        return made.hexdigest()


def read_folder(root: Path, said: Callable[[int, int], None] = lambda done, total: None) -> Folder:
    """Every picture of every class. said: told (read, all) after each.

    Raises `UserError`: no such folder, no or one class, a class without a picture, a file that is no picture.
    """
    classes = _classes(root)
    found = {name: _files(root / name) for name in classes}
    for name, paths in found.items():
        if not paths:
            raise UserError(
                f"the class folder {root / name} is empty", "put its pictures in, or remove the folder"
            )
    total = sum(len(paths) for paths in found.values())
    scans, labels, files = [], [], []
    for label, name in enumerate(classes):
        for path in found[name]:
            scans.append(_held(load_any(path)))
            labels.append(label)
            files.append(path.relative_to(root))
            said(len(scans), total)
    return Folder(classes, tuple(files), tuple(scans), np.array(labels))


def load_any(path: Path) -> Scan:
    """The picture in a file of any format that Pillow or `load_scan` reads, however small. Raises `UserError`."""
    try:
        return load_scan(path)
    except ScanError as error:
        made = _by_pillow(path)
        if made is None:
            raise UserError(str(error.fault), "mend or remove it, then run again") from error
        return made


def _classes(root: Path) -> tuple[str, ...]:
    if not root.exists():
        raise UserError(f"there is no folder {root}", "name a folder that holds one folder for each class")
    if not root.is_dir():
        raise UserError(f"{root} is not a folder", "name a folder that holds one folder for each class")
    try:
        names = sorted(
            path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
    except OSError as error:
        raise UserError(f"{root} cannot be read ({error.strerror})", "check its permissions") from error
    if len(names) < 2:
        fault = "no class folder" if not names else f"one class folder only ({names[0]})"
        raise UserError(f"{root} holds {fault}", "make a folder for each of two or more classes")
    return tuple(names)


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _by_pillow(path: Path) -> Scan | None:
    """Formats and sizes that no case may begin with, but a network may learn from; None when it is no picture."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    return None
                upright = ImageOps.exif_transpose(image)
                if upright.mode.startswith(("I", "F")):
                    return _scan(_from_deep(np.asarray(upright).astype(np.float32)))
                layers = np.asarray(upright.convert("RGBA"), dtype=np.float32) / 255
                return _scan(layers[..., :3] * layers[..., 3:])
    except Exception:  # decoders raise nearly anything on a damaged file
        return None


def _from_deep(values: NDArray[np.float32]) -> NDArray[np.float32]:
    top = max(float(np.nan_to_num(values).max()), 1e-6)
    return np.repeat(np.clip(np.nan_to_num(values) / top, 0, 1)[..., None], 3, axis=-1)


def _scan(colour: NDArray[Any]) -> Scan:
    rows, columns = (max(side, MIN_SIDE) for side in colour.shape[:2])
    if (rows, columns) != colour.shape[:2]:
        colour = np.stack([resample(colour[..., c], rows, columns) for c in range(3)], axis=-1)
    spread = float((colour.max(axis=-1) - colour.min(axis=-1)).mean())
    return Scan(grey(colour), "unknown", "picture", (), colour if spread > 0.03 else None)


def _held(scan: Scan) -> Scan:
    """Small enough that a thousand of them fit into memory."""
    factor = max(scan.shape) / _WORKING
    if factor <= 1:
        return scan
    rows, columns = (max(MIN_SIDE, round(side / factor)) for side in scan.shape)
    colour = scan.colour
    if colour is not None:
        colour = np.stack([resample(colour[..., c], rows, columns) for c in range(3)], axis=-1)
    return Scan(resample(scan.pixels, rows, columns), scan.modality, scan.source_format, scan.notes, colour)
