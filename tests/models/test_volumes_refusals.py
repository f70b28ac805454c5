"""What is not a readable volume is one `ScanError`: fault and remedy, and nothing else ever escapes."""

from __future__ import annotations

import contextlib
import gzip
import os
import random
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scan_files import dicom, png
from volume_files import affine_of, chest, raw_header, write_enhanced, write_nii, write_series

from models.volumes import read_labels, read_volume, write_dicom_seg
from protocols.errors import ScanError, UserError


def nii(values: Any = None, affine: Any = None, **fields: Any) -> Any:
    """Writes a .nii; `fields` overwrite its header."""

    def write(path: Path) -> None:
        whole = write_nii(path.with_name("whole.nii"), chest() if values is None else values, affine)
        raw_header(whole, **fields)
        whole.rename(path)

    return write


def held(data: bytes) -> Any:
    return lambda path: path.write_bytes(data)


def zipped(cut: int) -> Any:
    def write(path: Path) -> None:
        whole = write_nii(path.with_name("whole.nii"), chest())
        path.write_bytes(gzip.compress(whole.read_bytes())[:cut])

    return write


def with_nan(count: int) -> np.ndarray:
    values = chest().astype(np.float32)
    values.reshape(-1)[10 : 10 + count] = np.nan
    values[5, 5, 5] = np.inf
    return values


def with_peak(peak: float) -> np.ndarray:
    values = chest().astype(np.float64)
    values[3, 3, 3] = peak
    return values


def singular() -> Any:
    affine = affine_of()
    affine[:3, 1] = affine[:3, 0]
    return affine


COLOURS = np.zeros((5, 5, 5), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
BAD: dict[str, tuple[Any, str]] = {
    "missing": (lambda path: None, "there is no such file"),
    "empty": (held(b""), "it is empty"),
    "text": (held(b"dear doctor, my chest hurts"), "not a volume that CrypDoc knows"),
    "pdf": (held(b"%PDF-1.7 ..."), "it is a PDF document"),
    "png": (held(png()), "one slice is not a volume"),
    "dicom slice": (held(dicom(Modality="CT")), "does not say where its slice lies"),
    "npy": (held(b"\x93NUMPY\x01\x00"), "bare NumPy array"),
    "damaged zip": (held(b"PK\x03\x04" + bytes(100)), "damaged or cut short"),
    "gzip of text": (held(gzip.compress(b"hello" * 200)), "something else than NIfTI"),
    "cut gzip": (zipped(700), "damaged or cut short"),
    "gzip cut in its header": (zipped(30), "damaged or cut short"),
    "gzip cut at its start": (zipped(3), "damaged or cut short"),
    "cut nifti": (
        lambda path: path.write_bytes(write_nii(path, chest()).read_bytes()[:900]),
        "damaged or cut short",
    ),
    "header half": (nii(magic=b"ni1"), "header half of a NIfTI pair"),
    "two dimensions": (nii(chest()[:, :, 0]), "one slice is not a volume; give the whole series"),
    "one slice": (nii(chest()[:, :, :1]), "one slice is not a volume"),
    "one row": (nii(chest()[:1]), "1x10x8 voxels, and a side has at least 2"),
    "four dimensions": (
        nii(np.zeros((4, 4, 4, 3), np.int16)),
        r"4 dimensions \(4x4x4x3\); give one 3-D volume",
    ),
    "no side": (nii(dim=[3, 12, 0, 8, 1, 1, 1, 1]), "12x0x8 voxels"),
    "negative side": (nii(dim=[3, 12, -7, 8, 1, 1, 1, 1]), "12x-7x8 voxels"),
    "too long": (nii(dim=[3, 1025, 2, 2, 1, 1, 1, 1]), "1025x2x2 voxels, and the limit is 1024 a side"),
    "too large": (
        nii(np.zeros((3, 3, 3), np.float64), dim=[3, 1000, 1000, 1000, 1, 1, 1, 1]),
        "limit is 2048 MiB",
    ),
    "complex": (nii(np.zeros((5, 5, 5), np.complex64)), "colours or complex numbers"),
    "colours": (nii(COLOURS), "colours or complex numbers"),
    "unknown type": (nii(datatype=1234), "damaged or cut short"),
    "constant": (nii(np.full((4, 4, 4), 7, np.int16)), "every voxel has the same value"),
    "all nan": (nii(np.full((4, 4, 4), np.nan, np.float32)), "no number at all"),
    "some nan": (nii(with_nan(6)), "7 of its 960 voxels are not numbers .*replace them, in CT by -1024"),
    "beyond float32": (nii(with_peak(1e300)), "1 of its 960 voxels are not numbers"),
    "scaled to infinity": (nii(scl_slope=3e38, scl_inter=0), "scales the values beyond all numbers"),
    "intercept nan": (nii(scl_slope=1.0, scl_inter=np.nan), "damaged or cut short"),
    "singular": (nii(affine=singular()), "singular or unreadable affine"),
    "affine nan": (nii(srow_x=[np.nan, 0, 0, 0]), "singular or unreadable affine"),
    "voxels nowhere": (nii(vox_offset=1e9), "damaged or cut short"),
    "voxels in the header": (nii(vox_offset=16), "damaged or cut short"),
    "pipe": (os.mkfifo, "not an ordinary file"),
    "empty folder": (Path.mkdir, "no DICOM pictures"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_with_fault_and_remedy(tmp_path: Path, name: str) -> None:
    write, fault = BAD[name]
    write(tmp_path / "given.nii")
    with pytest.raises(ScanError, match=fault) as caught:
        read_volume(tmp_path / "given.nii")
    assert str(caught.value).startswith("given.nii cannot be read as a volume: ")
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_paths_that_are_none() -> None:
    for path in ("a\0b.nii", "x" * 5000, "/dev/null"):
        with pytest.raises(ScanError):
            read_volume(Path(path))


def test_a_stated_size_is_not_believed_before_the_voxels_are_there(tmp_path: Path) -> None:
    """A kilobyte that states half a gigabyte ends in one error and not in a filled memory."""
    path = raw_header(write_nii(tmp_path / "a.nii", chest()), dim=[3, 600, 600, 600, 1, 1, 1, 1])
    with pytest.raises(ScanError, match="damaged or cut short"):
        read_volume(path)


def fuzzed(data: bytes, rounds: int, seed: int) -> bytes:
    rng, spoilt = random.Random(seed), bytearray(data)
    for _ in range(rounds):
        spoilt[rng.randrange(min(len(spoilt), 700))] = rng.randrange(256)
    return bytes(spoilt[: rng.randrange(1, len(spoilt) + 1)] if seed % 3 == 0 else spoilt)


def refusal(path: Path) -> UserError | None:
    try:
        read_volume(path)
    except UserError as error:
        return error
    return None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["nii", "gz", "npz", "dcm", "series", "seg"]), seed=st.integers(0, 10**9))
def test_garbage_reads_or_raises_one_error(tmp_path: Path, kind: str, seed: int) -> None:
    """Invariant: spoilt bytes give a volume, or a UserError of one printable line; never anything else."""
    small = chest((5, 4, 3), seed % 7)
    target = tmp_path / f"x.{kind}"
    if kind in ("nii", "gz"):
        whole = write_nii(tmp_path / "whole.nii", small).read_bytes()
        target.write_bytes(fuzzed(whole, 3, seed) if kind == "nii" else gzip.compress(fuzzed(whole, 3, seed)))
    elif kind == "npz":
        np.savez(tmp_path / "whole.npz", array=small)
        target.write_bytes(fuzzed((tmp_path / "whole.npz").read_bytes(), 3, seed))
    elif kind == "dcm":
        target.write_bytes(fuzzed(write_enhanced(tmp_path / "whole.dcm", small).read_bytes(), 3, seed))
    else:
        paths = write_series(tmp_path / "series", small)
        volume = read_volume(tmp_path / "series")
        if kind == "seg":
            write_dicom_seg({"lung": np.ones(volume.values.shape, bool)}, volume, tmp_path / "seg.dcm")
            target.write_bytes(fuzzed((tmp_path / "seg.dcm").read_bytes(), 6, seed))
            with contextlib.suppress(UserError):
                assert read_labels(target, volume).shape == volume.values.shape
            return
        paths[1].write_bytes(fuzzed(paths[1].read_bytes(), 4, seed))
        target = tmp_path / "series"
    fault = refusal(target)
    if fault is not None:
        assert fault.remedy
        assert str(fault).isprintable()
        return
    volume = read_volume(target)
    assert volume.values.ndim == 3
    assert np.isfinite(volume.affine).all()
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
