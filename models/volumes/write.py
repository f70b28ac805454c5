"""A mask as a NIfTI file in the frame of the file that the volume came from."""

from __future__ import annotations

import gzip
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from models.volumes.nifti import mask_header
from models.volumes.volume import Source, Volume, check_mask, to_stored
from protocols.errors import UserError


def write_nifti(mask: NDArray[np.uint8], volume: Volume, path: Path) -> None:
    """Writes a mask (X, Y, Z) as uint8 NIfTI (.nii or .nii.gz).

    A volume that came as NIfTI gets its own voxel order, affine, codes and version back (a fourth side of 1 is
    dropped); one that came as .npz its own order and the identity; one that came as DICOM the RAS+ order. Nothing
    else of the source's header is written. The file appears whole or not at all. Raises UserError: another shape,
    a name that ends otherwise, a folder that cannot be written.
    """
    check_mask(mask, volume)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise UserError(f"{path.name} does not end in .nii or .nii.gz", "name the mask so")
    source = volume.source
    voxels = mask if source.form == "DICOM" else to_stored(mask, source)
    block = source.header or _plain_header(volume, source)

    def write(out: IO[bytes]) -> None:
        if not path.name.endswith(".gz"):
            _write_image(out, block, voxels)
            return
        with gzip.GzipFile(filename="", fileobj=out, mode="wb", compresslevel=6, mtime=0) as packed:
            _write_image(packed, block, voxels)

    write_whole(path, write)


def write_whole(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Writes a file under a passing name in the same folder, then renames it. Raises UserError."""
    passing = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with passing.open("xb") as out:
            write(out)
            out.flush()
            os.fsync(out.fileno())
        passing.replace(path)
    except OSError as error:
        reason = error.strerror or "the path is not valid"
        raise UserError(
            f"{path.name} cannot be written ({reason})", "check the folder and its space"
        ) from error
    finally:
        passing.unlink(missing_ok=True)


def _write_image(out: Any, block: bytes, voxels: NDArray[Any]) -> None:
    out.write(block)
    out.write(b"\x00" * 4)  # no extension follows
    for index in range(voxels.shape[2]):
        out.write(np.asarray(voxels[:, :, index], dtype=np.uint8).tobytes(order="F"))


def _plain_header(volume: Volume, source: Source) -> bytes:
    """A NIfTI-1 header for a volume that came otherwise. Codes: scanner for DICOM, aligned for .npz."""
    dicom = source.form == "DICOM"
    header = mask_header(nib.Nifti1Header, volume.values.shape if dicom else source.shape)
    header.set_xyzt_units("mm")
    affine = volume.affine if dicom else source.affine
    header.set_sform(affine, code=1 if dicom else 2)
    header.set_qform(affine, code=0, strip_shears=True)
    block: bytes = header.binaryblock
    return block
