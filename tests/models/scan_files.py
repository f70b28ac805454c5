"""Files of every format that scans come in, drawn here: nothing is read from outside the project."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image
from pydicom import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from models.scans import synthetic_scan

GREY = np.rint(synthetic_scan().pixels * 255).astype(np.uint8)  # 256 rows, 224 columns


def picture(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format=kind, **options)
    return out.getvalue()


def png(mode: str = "L") -> bytes:
    return picture(Image.fromarray(GREY).convert(mode))


def png_claiming(columns: int, rows: int) -> bytes:
    """A PNG whose header states a size and whose body is next to nothing."""
    head = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\x00" * 64)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def dicom(
    stored: np.ndarray[Any, Any] | None = None,
    *,
    modality: str = "MR",
    photometric: str = "MONOCHROME2",
    syntax: str = ExplicitVRLittleEndian,
    **tags: Any,
) -> bytes:
    values = GREY.astype(np.uint16) * 4 if stored is None else stored
    bits = values.dtype.itemsize * 8
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Doe^Jane", "4711", modality
    colour = photometric == "RGB"
    dataset.Rows, dataset.Columns = values.shape[-3:-1] if colour else values.shape[-2:]
    if values.ndim == (4 if colour else 3):
        dataset.NumberOfFrames = values.shape[0]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = (3 if colour else 1), photometric
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, int(values.dtype.kind == "i")
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = encapsulate([values.tobytes()]) if UID(syntax).is_compressed else values.tobytes()
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def nifti(
    values: np.ndarray[Any, Any], affine: np.ndarray[Any, Any] | None = None, zipped: bool = False
) -> bytes:
    data: bytes = nib.Nifti1Image(values, np.eye(4) if affine is None else affine).to_bytes()
    return gzip.compress(data, mtime=0) if zipped else data


def every_format() -> dict[str, bytes]:
    """One small good file of each kind, for the fuzz."""
    small = Image.fromarray(GREY).resize((40, 48))
    values = np.asarray(small)
    volume = np.repeat(values[:, :, None], 3, axis=2).astype(np.int16)
    return {
        "png": picture(small),
        "palette": picture(small.convert("P")),
        "jpeg": picture(small.convert("RGB"), "JPEG"),
        "dicom": dicom(values.astype(np.uint16)),
        "nifti": nifti(volume),
        "nifti.gz": nifti(volume, zipped=True),
    }
