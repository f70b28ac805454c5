"""The slices of a DICOM folder: which files hold pictures, and what each header says of place and scale.

Read are the headers alone; of each only what orders, places and scales a slice is kept.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import UID

from models.scans.dicom import _DEFLATED
from protocols.errors import ScanError

MAX_FILES = 20_000
_GROUP_8 = (b"\x08\x00\x05\x00", b"\x08\x00\x08\x00", b"\x08\x00\x16\x00")
_NO_PICTURES = frozenset(
    {"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "PR", "KO", "REG", "FID", "PLAN", "DOC"}
)


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One slice: where it is stored, where it lies (mm, LPS, as DICOM has it) and what its numbers mean."""

    path: Path
    frame: int | None
    uid: str
    series: str
    description: str
    modality: str
    place: str  # frame of reference
    rows: int
    columns: int
    position: NDArray[np.float64]
    along_row: NDArray[np.float64]  # the way columns count
    along_column: NDArray[np.float64]  # the way rows count
    spacing: tuple[float, float]  # between rows, between columns
    bits: int
    signed: bool
    slope: float
    intercept: float
    rescaled: str  # what the rescaled values are: 'HU', another word, or '' when the file does not rescale


@dataclass(slots=True)
class Found:
    """What a folder holds: slices, and counts of what was left aside."""

    slices: list[Slice] = field(default_factory=list)
    aside: Counter[str] = field(default_factory=Counter)


def is_dicom(head: bytes) -> bool:
    """Whether a file begins as DICOM, with its preamble or without."""
    return head[128:132] == b"DICM" or head[:4] in _GROUP_8


def find_slices(path: Path) -> Found:
    """The slices of a folder (and of the folders in it), or of one DICOM file.

    Files that are not DICOM, objects that are no pictures (reports, segmentations) and localizers are counted and
    left aside. Raises ScanError: too many files, no picture, a picture that does not say where it lies.
    """
    found = Found()
    seen: set[tuple[str, int | None]] = set()
    unplaced: list[tuple[str, ScanError]] = []
    for file in _files(path):
        dataset = _header(file)
        if dataset is None:
            found.aside["not DICOM"] += 1
            continue
        series = str(dataset.get("SeriesInstanceUID") or "")
        try:
            slices = _slices(file, dataset, found.aside)
        except ScanError as error:
            unplaced.append((series, error))
            continue
        for one in slices:
            if (one.uid, one.frame) in seen:
                found.aside["the same slice once more"] += 1
                continue
            seen.add((one.uid, one.frame))
            found.slices.append(one)
    _settle(found, unplaced)
    return found


def _header(file: Path) -> Dataset | None:
    """The header of a DICOM file, without its pixels; None when it is another kind of file."""
    with file.open("rb") as raw:
        head = raw.read(4096)
    if not is_dicom(head):
        return None
    if _DEFLATED in head:  # would inflate without bound before its size is known
        raise ScanError(
            f"{file.name} is a deflated DICOM file", "export it uncompressed (Explicit VR Little Endian)"
        )
    damaged = ScanError(f"{file.name} is damaged or cut short", "export or copy it again")
    try:
        dataset = dcmread(file, stop_before_pixels=True, force=True)
        told = dataset.file_meta.get("MediaStorageSOPClassUID") or dataset.get("SOPClassUID") or ""
    except Exception as error:
        raise damaged from error
    if "Rows" not in dataset and UID(str(told)).name.endswith("Image Storage"):
        raise damaged
    return dataset


def _settle(found: Found, unplaced: list[tuple[str, ScanError]]) -> None:
    """Pictures that cannot be slices (colour, no place) count only in the slices' own series, or where all are so."""
    series = {one.series for one in found.slices}
    for whose, error in unplaced:
        if not series or whose in series:
            raise error
        found.aside["of another series and no slices"] += 1
    if not found.slices:
        raise ScanError(
            "it holds no DICOM pictures" + _counted(found.aside), "give the folder of a CT series"
        )


def aside_notes(found: Found) -> tuple[str, ...]:
    """A sentence on the files that were left aside, if any."""
    return (f"Left aside{_counted(found.aside)}.",) if found.aside else ()


def _counted(aside: Counter[str]) -> str:
    said = ", ".join(f"{count} {what}" for what, count in sorted(aside.items()))
    return f" ({said})" if said else ""


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    count = 0
    for folder, inner, names in os.walk(path):
        inner.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if name.startswith(".") or not file.is_file():
                continue
            count += 1
            if count > MAX_FILES:
                raise ScanError(f"it holds more than {MAX_FILES} files", "give the folder of one series")
            yield file


def _slices(file: Path, dataset: Dataset, aside: Counter[str]) -> list[Slice]:
    """The slices of one object: one, or as many as it has frames."""
    modality = _text(dataset.get("Modality"))
    if modality in _NO_PICTURES or "Rows" not in dataset or "Columns" not in dataset:
        aside["DICOM without a picture"] += 1
        return []
    frames = int(dataset.get("NumberOfFrames") or 1)
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if _localizer(dataset):
        aside["localizer"] += 1
        return []
    if frames == 1 and not groups:
        return [_slice(file, dataset, None, [dataset])]
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])
    if not groups or len(groups) != frames:
        raise ScanError(
            f"{file.name} holds {frames} frames that do not say where they lie",
            "export the series slice by slice",
        )
    common = _flat(shared[0])
    return [_slice(file, dataset, frame, [_flat(groups[frame]), common, dataset]) for frame in range(frames)]


def _flat(group: Dataset) -> Dataset:
    """The attributes inside a functional group's macros (each a sequence of one item), side by side."""
    flat = Dataset()
    for element in group:
        if element.VR == "SQ" and len(element.value) == 1:
            for inner in element.value[0]:
                flat[inner.tag] = inner
    return flat


def _localizer(dataset: Dataset) -> bool:
    kind = dataset.get("ImageType") or []
    return "LOCALIZER" in ([kind] if isinstance(kind, str) else list(kind))


def _slice(file: Path, dataset: Dataset, frame: int | None, places: list[Dataset]) -> Slice:
    def word(name: str) -> Any:
        return next(
            (held[name].value for held in places if name in held and held[name].value is not None), None
        )

    photometric = _text(dataset.get("PhotometricInterpretation"))
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ScanError(
            f"{file.name} is a picture in colour ({photometric})", "give the series of grey slices"
        )
    modality = _text(dataset.get("Modality"))
    if photometric == "MONOCHROME1" and modality != "CT":
        raise ScanError(f"{file.name} stores its greys inverted (MONOCHROME1)", "export it as MONOCHROME2")
    numbers = [word(name) for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")]
    position, orientation, spacing = (_numbers(value) for value in numbers)
    if len(position) != 3 or len(orientation) != 6 or len(spacing) != 2 or spacing.min() <= 0:
        raise ScanError(
            f"{file.name} does not say where its slice lies", "export the series with its headers"
        )
    slope, intercept = word("RescaleSlope"), word("RescaleIntercept")
    rescaled = _text(word("RescaleType") or "HU") if intercept is not None else ""
    return Slice(
        path=file,
        frame=frame,
        uid=str(dataset.get("SOPInstanceUID") or file),
        series=str(dataset.get("SeriesInstanceUID") or ""),
        description=_text(dataset.get("SeriesDescription")),
        modality=modality,
        place=_text(dataset.get("FrameOfReferenceUID")),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        position=position,
        along_row=orientation[:3],
        along_column=orientation[3:],
        spacing=(float(spacing[0]), float(spacing[1])),
        bits=int(dataset.get("BitsAllocated") or 0),
        signed=bool(dataset.get("PixelRepresentation") or 0),
        slope=float(1.0 if slope is None else slope),
        intercept=float(0.0 if intercept is None else intercept),
        rescaled=rescaled,
    )


def _text(value: Any) -> str:
    """What a header says, fit for one line of an error: printable and short."""
    return "".join(letter for letter in str(value or "") if letter.isprintable())[:64]


def _numbers(value: Any) -> NDArray[np.float64]:
    """Finite numbers of a multi-valued attribute; none when it is missing or no list of numbers."""
    try:
        numbers = np.asarray([float(one) for one in value], dtype=np.float64)
    except (TypeError, ValueError):
        return np.empty(0)
    return numbers if bool(np.isfinite(numbers).all()) else np.empty(0)
