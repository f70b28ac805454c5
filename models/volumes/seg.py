"""DICOM Segmentation objects (PS3.3 A.51): masks tied to the very slices of their series, and read back.

The object carries the patient and study of the source's own headers, as the standard asks, and nothing of this
machine: no user, no host, no path.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

from models.scans.dicom import _decode
from models.scans.load import _QUIET
from models.volumes.volume import SliceSource, Volume, check_mask, to_stored
from models.volumes.write import write_whole
from protocols.errors import ScanError, UserError

MAKER, MODEL = "CrypDoc", "CrypDoc blind U-Net"
_SEG = "1.2.840.10008.5.1.4.1.1.66.4"
_ON_GRID = 0.1  # voxels: how far a frame may lie off the volume's own grid
_KINDS: dict[str, tuple[Any, Any, str]] = {  # SNOMED CT: category, type
    "lung": (codes.SCT.AnatomicalStructure, codes.SCT.Lung, "Lung"),
    "infection": (codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion, "Infection"),
}
_MAY_BE_EMPTY = (  # type 2 of the modules that are copied: a source without them gets them empty
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)


def write_dicom_seg(masks: Mapping[str, NDArray[np.bool_]], volume: Volume, path: Path) -> None:
    """Writes masks (X, Y, Z), named 'lung' and 'infection', as one binary DICOM SEG of the volume's series.

    A frame refers to the slice that it covers; slices without a voxel of a segment have no frame. Raises
    UserError: the volume is not from DICOM, no mask or another name, another shape, source files that have moved
    or changed, a folder that cannot be written.
    """
    if volume.source.form != "DICOM":
        raise UserError(
            f"a DICOM SEG refers to a DICOM series, and the volume is {volume.source.form}",
            "take the NIfTI mask",
        )
    names = [name for name in _KINDS if name in masks]
    if not names or len(names) != len(masks):
        raise UserError(f"a DICOM SEG has the segments {' and '.join(_KINDS)} here", "name the masks so")
    for mask in masks.values():
        check_mask(mask, volume)
    frames = [to_stored(masks[name], volume.source).transpose(2, 1, 0) for name in names]
    pixels = np.stack([np.asarray(frame != 0, dtype=np.uint8) for frame in frames], axis=-1)
    if volume.source.slices[0].frame is not None:  # a multi-frame source: its own order of frames
        pixels = pixels[np.argsort([one.frame or 0 for one in volume.source.slices])]
    gap = float(np.linalg.norm(volume.source.affine[:3, 2]))
    sources = _headers(volume.source.slices, gap)
    try:
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on the source's headers are not for the person
            segmentation = _segmentation(sources, pixels, names)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            "the series' headers lack what a DICOM SEG has to repeat of them", "take the NIfTI mask"
        ) from error

    def write(out: IO[bytes]) -> None:
        segmentation.save_as(out, enforce_file_format=True)

    write_whole(path, write)


def _segmentation(sources: list[Dataset], pixels: NDArray[np.uint8], names: list[str]) -> hd.seg.Segmentation:
    release = version("crypdoc")
    algorithm = hd.AlgorithmIdentificationSequence(
        name=MODEL, family=codes.DCM.ArtificialIntelligence, version=release
    )
    described = []
    for number, name in enumerate(names, start=1):
        category, kind, label = _KINDS[name]
        described.append(
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=label,
                segmented_property_category=category,
                segmented_property_type=kind,
                algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=algorithm,
                anatomic_regions=[codes.SCT.Lung] if name == "infection" else None,
                tracking_uid=hd.UID(),
                tracking_id=f"CrypDoc {name}",
            )
        )
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=hd.UID(),
        series_number=100,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MODEL,
        software_versions=release,
        device_serial_number="none",
        content_description="Lung and infection, computed",
        content_label="CRYPDOC",
        series_description="CrypDoc segmentation (computed, not confirmed)",
    )


def _headers(slices: tuple[SliceSource, ...], gap: float) -> list[Dataset]:
    """The source's headers in the order of the slices; a multi-frame file once. What highdicom misses is filled in."""
    headers: list[Dataset] = []
    for path in dict.fromkeys(one.path for one in slices):
        try:
            headers.append(dcmread(path, stop_before_pixels=True, force=True))
        except Exception as error:
            raise UserError(
                f"{path.name} of the series can no longer be read",
                "leave the series in its place until the end",
            ) from error
    uids = dict.fromkeys(one.uid for one in slices)
    if [str(header.get("SOPInstanceUID") or "") for header in headers] != list(uids):
        raise UserError("the series' files have changed since they were read", "segment the series again")
    for header in headers:
        if "ImageOrientationPatient" in header:  # equal to three digits: highdicom wants it to the last
            header.ImageOrientationPatient = headers[0].ImageOrientationPatient
        for word in _MAY_BE_EMPTY:
            if word not in header:
                setattr(header, word, "")
        if header.get("SliceThickness") is None and "SharedFunctionalGroupsSequence" not in header:
            header.SliceThickness = round(gap, 4)
    return headers


def read_seg(path: Path, volume: Volume, segment: str | None) -> NDArray[np.bool_]:
    """One segment of a DICOM SEG file, on the volume's own grid: bool (X, Y, Z).

    Raises ScanError: no SEG, a fractional one. UserError: several segments and none named, a frame off the grid.
    """
    dataset = dcmread(path, force=True)
    if str(dataset.get("SOPClassUID") or "") != _SEG:
        raise ScanError("it is DICOM and no segmentation (SEG)", "give labels as NIfTI, .npz or DICOM SEG")
    if str(dataset.get("SegmentationType") or "") != "BINARY":
        raise ScanError("it is a fractional segmentation", "give a binary one")
    number = _segment_number(dataset, segment)
    frames = int(dataset.get("NumberOfFrames") or 1)
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    if frames != len(groups):
        raise ValueError("frames and their groups differ in number")
    labels = np.zeros(volume.values.shape, dtype=np.bool_)
    to_index = np.linalg.inv(volume.affine) @ np.diag([-1.0, -1.0, 1.0, 1.0])  # from LPS mm
    for frame, group in enumerate(groups):
        if int(_macro(group, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber) == number:
            _place(
                labels,
                _decode(dataset, None if frames == 1 else frame),
                to_index @ _frame_affine(group, shared),
            )
    return labels


def _segment_number(dataset: Dataset, segment: str | None) -> int:
    """The segment of that label; else the only one, unless its label is the word of another task."""
    held = [(str(one.get("SegmentLabel") or ""), int(one.SegmentNumber)) for one in dataset.SegmentSequence]
    asked = (segment or "").lower()
    for label, number in held:
        if segment is not None and label.lower() == asked:
            return number
    others = set(_KINDS) - {asked}
    if len(held) == 1 and (segment is None or held[0][0].lower().removesuffix("s") not in others):
        return held[0][1]
    wish = "which one was not said" if segment is None else f"'{segment}' was asked for"
    labels = ", ".join(label or "one without a name" for label, _ in held) or "none"
    raise UserError(f"it holds the segments {labels}, and {wish}", "give a file with one segment")


def _macro(group: Dataset, shared: Dataset, name: str) -> Dataset:
    found: Dataset = (group[name] if name in group else shared[name]).value[0]
    return found


def _frame_affine(group: Dataset, shared: Dataset) -> NDArray[np.float64]:
    """(column, row, 0) of a frame to mm in LPS, (4, 4)."""
    orientation = np.asarray(
        _macro(group, shared, "PlaneOrientationSequence").ImageOrientationPatient, dtype=float
    )
    spacing = _macro(group, shared, "PixelMeasuresSequence").PixelSpacing
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * float(spacing[1])
    affine[:3, 1] = orientation[3:] * float(spacing[0])
    affine[:3, 3] = np.asarray(
        _macro(group, shared, "PlanePositionSequence").ImagePositionPatient, dtype=float
    )
    return affine


def _place(labels: NDArray[np.bool_], plane: NDArray[Any], index: NDArray[np.float64]) -> None:
    """Sets the voxels of one frame. index: (column, row, 0, 1) to voxel. Raises UserError off the grid."""
    rows, columns = np.nonzero(plane)
    if not len(rows):
        return
    at = index[:3, :1] * columns + index[:3, 1:2] * rows + index[:3, 3:]
    voxels = np.rint(at).astype(np.int64)
    limits = np.array(labels.shape)[:, None]
    if float(np.abs(at - voxels).max()) > _ON_GRID or bool(((voxels < 0) | (voxels >= limits)).any()):
        raise UserError(
            "its frames do not lie on the volume's slices and pixels",
            "give the labels that were made on this volume",
        )
    labels[tuple(voxels)] = True
