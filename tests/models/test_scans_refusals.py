"""What is not a readable scan is one `ScanError`: fault and remedy, and nothing else ever escapes."""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scan_files import GREY, dicom, every_format, nifti, picture, png, png_claiming

from models.scans import MAX_FILE_BYTES, load_scan, make_scan, require_modality, scan_bytes, scan_from_bytes
from protocols.errors import ScanError

JPEG_LS = "1.2.840.10008.1.2.4.80"
DEFLATED = "1.2.840.10008.1.2.1.99"


def huge_nifti() -> bytes:
    header = bytearray(nifti(np.zeros((40, 40, 2), np.int16)))
    header[40:48] = np.array([3, 30000, 30000, 30000], "<i2").tobytes()
    return bytes(header)


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "text": (b"dear doctor, my head hurts", "not an image"),
    "gif": (picture(Image.fromarray(GREY), "GIF"), "GIF"),
    "pdf": (b"%PDF-1.7 ...", "PDF"),
    "one pixel": (picture(Image.new("L", (1, 1))), "1x1 pixels, and the minimum is 32x32"),
    "bomb": (png_claiming(20000, 20000), "20000x20000 pixels, and the limit is 40 megapixels"),
    "truncated png": (png()[:2000], "damaged or cut short"),
    "truncated dicom": (dicom()[:2000], "damaged or cut short"),
    "truncated nifti": (nifti(GREY.astype(np.int16))[:2000], "damaged or cut short"),
    "blank": (picture(Image.new("L", (64, 64), 200)), "all of one grey"),
    "dicom without picture": (dicom().replace(b"\xe0\x7f\x10\x00", b"\xe1\x7f\x10\x10"), "without a picture"),
    "dicom bomb": (dicom(Rows=20000, Columns=20000), "limit is 40 megapixels"),
    "dicom without decoder": (dicom(syntax=JPEG_LS), "no decoder here reads its compression"),
    "deflated dicom": (dicom().replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.1.99"), "deflated"),
    "nan nifti": (nifti(np.full((64, 64), np.nan, np.float32)), "no number at all"),
    "4-D nifti": (nifti(np.zeros((40, 40, 3, 5), np.int16)), "4 dimensions"),
    "complex nifti": (nifti(np.zeros((40, 40), np.complex64)), "colours or complex"),
    "huge nifti": (huge_nifti(), "limit is 512 MiB"),
    "gzip of text": (gzip.compress(b"hello" * 200), "something else than NIfTI"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_with_fault_and_remedy(name: str) -> None:
    data, fault = BAD[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's bomb warning, for one, must not reach the terminal
        with pytest.raises(ScanError, match=fault) as caught:
            load_scan(data, "slice.png")
    assert str(caught.value).startswith("slice.png cannot be read as a scan: ")
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    for path, fault in (
        (tmp_path, "directory"),
        (tmp_path / "none.png", "no such file"),
        (Path("/dev/null"), "not an ordinary file"),
        (Path("bad\x00name"), "cannot be opened"),
    ):
        with pytest.raises(ScanError, match=fault):
            load_scan(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "locked.png"
    path.write_bytes(png())
    path.chmod(0)
    with pytest.raises(ScanError, match="cannot be opened"):
        load_scan(path)


def test_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "long.png"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # sparse: no disk is used
    with pytest.raises(ScanError, match="limit is 512 MiB"):
        load_scan(path)


def test_slice_and_frame_belong_to_their_formats() -> None:
    with pytest.raises(ScanError, match="a slice was asked for"):
        load_scan(png(), slice=1)
    with pytest.raises(ScanError, match="a frame was asked for"):
        load_scan(nifti(GREY.astype(np.int16)), frame=1)


def test_modality_that_a_network_does_not_read() -> None:
    with pytest.raises(ScanError, match="modality is CR, and this network reads MR only"):
        require_modality(load_scan(dicom(modality="CR")), ("MR",))
    require_modality(load_scan(dicom(modality="MR")), ("MR",))
    require_modality(load_scan(png()), ("MR",))


@pytest.mark.parametrize(
    "array", [np.full((64, 64), np.inf), np.zeros((64, 64, 3)), np.zeros((64, 64)), np.ones((8, 64))]
)
def test_arrays_that_are_no_scan(array: np.ndarray) -> None:
    with pytest.raises(ScanError):
        make_scan(array)


def test_canonical_bytes_are_strict() -> None:
    good = scan_bytes(make_scan(GREY / 255, "MR"))
    for bad in (good[:-1], good + b"\x00", good[:8] + b"JANE\x00\x00\x00\x00" + good[16:], b"", good[:20]):
        with pytest.raises(ScanError):
            scan_from_bytes(bad)


def survives(data: bytes) -> None:
    """Loads or raises `ScanError`; whatever else comes out fails the test."""
    with contextlib.suppress(ScanError):
        load_scan(data)


@pytest.mark.parametrize("kind", every_format())
def test_every_truncation(kind: str) -> None:
    data = every_format()[kind]
    for length in range(0, len(data), max(1, len(data) // 150)):
        survives(data[:length])


@pytest.mark.parametrize("kind", every_format())
def test_flipped_bytes(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = every_format()[kind]
    rng = random.Random(kind)
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 4, 30))):
            at = rng.randrange(min(len(data), rng.choice((400, len(data)))))
            changed[at] = rng.randrange(256)
        survives(bytes(changed))
    assert capfd.readouterr() == ("", "")  # decoders keep their remarks to themselves


MAGICS = [
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"\x00" * 128 + b"DICM",
    b"\x1f\x8b\x08",
    b"CDSCAN\x00\x01",
    b"",
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(MAGICS), st.binary(max_size=600))
def test_random_bytes(magic: bytes, rest: bytes) -> None:
    survives(magic + rest)
