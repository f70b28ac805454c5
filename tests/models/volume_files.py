"""Volumes of every kind that they come in, made up here: nothing is read from outside the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def chest(shape: tuple[int, int, int] = (12, 10, 8), seed: int = 0) -> NDArray[np.int16]:
    """Made-up Hounsfield units, no two orders of which look alike."""
    values = np.random.default_rng(seed).integers(-1000, 900, shape).astype(np.int16)
    values[0, 0, 0] = -1000
    return values


def affine_of(
    spacing: tuple[float, ...] = (0.7, 0.8, 2.5), start: tuple[float, ...] = (-30.0, 12.0, 5.0)
) -> Any:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = start
    return affine


def write_nii(path: Path, values: NDArray[Any], affine: Any = None, **header: Any) -> Path:
    """A NIfTI file by nibabel; `header` sets its fields raw. kind=2 for NIfTI-2."""
    kind = nib.Nifti2Image if header.pop("kind", 1) == 2 else nib.Nifti1Image
    image = kind(values, affine_of() if affine is None else affine)
    for name, value in header.items():
        image.header[name] = value
    image.to_filename(path)
    return path


def raw_header(path: Path, **fields: Any) -> Path:
    """Overwrites header fields of an uncompressed .nii in place, whatever they say."""
    data = path.read_bytes()
    header = nib.Nifti1Header(data[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + data[348:])
    return path


def slice_dataset(stored: NDArray[Any], position: Any, series: str, number: int, **tags: Any) -> Dataset:
    """One CT slice; stored (rows, columns). A tag given as None is left out."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = tags.pop("syntax", ExplicitVRLittleEndian)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CT
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Doe^Jane", "4711", "CT"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "F"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3.4", series
    dataset.FrameOfReferenceUID = "1.2.3.4.5"
    dataset.SeriesDescription, dataset.InstanceNumber = "LUNG 1.0", number
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = [float(f"{x:.6f}") for x in position]
    dataset.ImageOrientationPatient, dataset.PixelSpacing = list(AXIAL), [0.8, 0.7]
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = stored.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    data = stored.tobytes()
    dataset.PixelData = (
        encapsulate([data]) if UID(dataset.file_meta.TransferSyntaxUID).is_compressed else data
    )
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def write_series(
    folder: Path,
    hounsfield: NDArray[np.int16],
    *,
    orientation: tuple[float, ...] = AXIAL,
    spacing: tuple[float, float] = (0.8, 0.7),
    gap: float = 2.5,
    start: tuple[float, float, float] = (-20.0, -30.0, 100.0),
    heights: list[float] | None = None,
    shuffle: int = 1,
    series: str | None = None,
    **tags: Any,
) -> list[Path]:
    """A CT series: hounsfield (columns, rows, slices), the slices along the normal of the orientation.

    The files' names and instance numbers are shuffled: neither tells the order. Returns the paths in the slices' order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ways = np.array(orientation).reshape(2, 3)
    normal = np.cross(ways[0], ways[1])
    count = hounsfield.shape[2]
    up = heights or [gap * index for index in range(count)]
    names = np.random.default_rng(shuffle).permutation(count)
    uid = series or generate_uid()
    paths = []
    for index in range(count):
        stored = (hounsfield[:, :, index].T.astype(np.int32) + 1024).astype(np.uint16)
        said = {"ImageOrientationPatient": list(orientation), "PixelSpacing": list(spacing), **tags}
        dataset = slice_dataset(
            stored, np.array(start) + up[index] * normal, uid, int(names[index]) + 1, **said
        )
        paths.append(folder / f"im{names[index]:04}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def series_affine(
    orientation: tuple[float, ...] = AXIAL,
    spacing: tuple[float, float] = (0.8, 0.7),
    gap: float = 2.5,
    start: tuple[float, float, float] = (-20.0, -30.0, 100.0),
) -> Any:
    """(column, row, slice) to mm in RAS+, written from the standard and not from the reader."""
    along_row, along_column = np.array(orientation).reshape(2, 3)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along_row * spacing[1], along_column * spacing[0]
    affine[:3, 2], affine[:3, 3] = np.cross(along_row, along_column) * gap, start
    affine[:2] *= -1
    return affine


def write_enhanced(path: Path, hounsfield: NDArray[np.int16], gap: float = 2.5) -> Path:
    """One multi-frame enhanced CT file; its frames lie in a shuffled order."""
    count = hounsfield.shape[2]
    order = np.random.default_rng(3).permutation(count)
    stack = np.stack([hounsfield[:, :, index].T for index in order]).astype(np.int16)
    dataset = slice_dataset(stack, (0, 0, 0), generate_uid(), 1, ImagePositionPatient=None, RescaleSlope=None)
    for name in ("ImageOrientationPatient", "PixelSpacing", "RescaleIntercept"):
        delattr(dataset, name)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = ENHANCED_CT
    dataset.NumberOfFrames = count
    shared, measures, plane, scale = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.8, 0.7], gap
    plane.ImageOrientationPatient = list(AXIAL)
    scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = 1, 0, "HU"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    shared.PixelValueTransformationSequence = [scale]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for index in order:
        group, place = Dataset(), Dataset()
        place.ImagePositionPatient = [-20.0, -30.0, 100.0 + gap * float(index)]
        group.PlanePositionSequence = [place]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.save_as(path, enforce_file_format=True)
    return path
