"""Every kind of file that holds a scan gives the same picture."""

from __future__ import annotations

import io
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scan_files import GREY, dicom, nifti, picture, png

from models.scans import MAX_SIDE, Scan, load_scan, make_scan, scan_bytes, scan_from_bytes, to_png
from protocols.errors import ScanError

TRUE = GREY / 255


def error_of(scan: Scan) -> float:
    return float(np.abs(scan.pixels - TRUE).mean())


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_png_of_every_mode_gives_the_same_greys(mode: str) -> None:
    scan = load_scan(png(mode))
    assert scan.shape == GREY.shape
    assert (scan.source_format, scan.modality) == ("PNG", "unknown")
    assert error_of(scan) < (0.02 if mode == "P" else 0.003)


def test_one_bit_png() -> None:
    scan = load_scan(png("1"))
    assert set(np.unique(scan.pixels)) == {0.0, 1.0}


@pytest.mark.parametrize("top", [4095, 65535])
def test_sixteen_bit_png_is_stretched_to_its_own_white(top: int) -> None:
    stored = np.rint(TRUE * top / TRUE.max()).astype(np.uint16)
    scan = load_scan(picture(Image.fromarray(stored)))
    assert float(scan.pixels.max()) == 1.0
    assert float(np.abs(scan.pixels - TRUE / TRUE.max()).max()) < 1e-3
    assert "16-bit" in scan.notes[0]


def test_transparent_parts_are_black() -> None:
    layers = np.dstack([GREY, GREY, GREY, np.where(np.arange(224) < 112, 255, 0)[None].repeat(256, 0)])
    scan = load_scan(picture(Image.fromarray(layers.astype(np.uint8))))
    assert float(scan.pixels[:, 112:].max()) == 0.0
    assert float(np.abs(scan.pixels[:, :112] - TRUE[:, :112]).max()) < 0.01


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg(mode: str) -> None:
    scan = load_scan(picture(Image.fromarray(GREY).convert(mode), "JPEG", quality=95))
    assert scan.source_format == "JPEG"
    assert error_of(scan) < 0.02


def test_jpeg_is_turned_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, to be shown turned by 90 degrees
    lying = Image.fromarray(np.rot90(GREY).copy())
    scan = load_scan(picture(lying, "JPEG", quality=95, exif=exif))
    assert scan.shape == GREY.shape
    assert error_of(scan) < 0.02


def test_dicom_through_its_window() -> None:
    stored = GREY.astype(np.int16) - 100
    scan = load_scan(
        dicom(stored, RescaleSlope=2, RescaleIntercept=200, WindowCenter=[255.5, 0], WindowWidth=[511, 1])
    )
    assert (scan.source_format, scan.modality) == ("DICOM", "MR")
    assert float(np.abs(scan.pixels - GREY / 255).max()) < 0.01
    assert "window that the file names" in scan.notes[0]


def test_dicom_without_a_window_and_with_one_that_does_not_fit() -> None:
    spread = (TRUE - TRUE.min()) / (TRUE.max() - TRUE.min())
    for tags in ({}, {"WindowCenter": 40000, "WindowWidth": 400}):
        scan = load_scan(dicom(**tags))
        assert float(np.abs(scan.pixels - spread).max()) < 0.01


def test_monochrome1_is_inverted() -> None:
    scan = load_scan(dicom((255 - GREY).astype(np.uint8), photometric="MONOCHROME1"))
    spread = (TRUE - TRUE.min()) / (TRUE.max() - TRUE.min())
    assert float(np.abs(scan.pixels - spread).max()) < 0.01


def test_dicom_in_colour() -> None:
    scan = load_scan(dicom(np.dstack([GREY] * 3), photometric="RGB"))
    assert error_of(scan) < 0.003


def test_dicom_of_several_frames_wants_one_chosen() -> None:
    data = dicom(np.stack([GREY // 2, GREY]))
    with pytest.raises(ScanError, match="2 frames") as caught:
        load_scan(data)
    assert "frame=0 to 1" in caught.value.remedy
    assert "Frame 1 of 2" in load_scan(data, frame=1).notes[-1]
    with pytest.raises(ScanError, match="it has 2"):
        load_scan(data, frame=2)


def test_dicom_header_leaves_nothing_behind() -> None:
    scan = load_scan(dicom(), "Doe_Jane_1950.dcm")
    visible = repr(scan) + " ".join(scan.notes) + scan.source_format + scan.modality
    assert "Doe" not in visible
    assert "4711" not in visible
    assert b"Doe" not in scan_bytes(scan) + to_png(scan)


def test_unknown_modality_words_are_not_carried() -> None:
    assert load_scan(dicom(modality="JANE")).modality == "unknown"


def radiological() -> np.ndarray[tuple[int, int, int], np.dtype[np.int16]]:
    """A volume in RAS+ order whose middle slice, shown as radiologists do, is GREY."""
    plane = GREY[::-1, ::-1].T.astype(np.int16)
    return np.stack([plane // 3, plane, plane // 2], axis=2)


@pytest.mark.parametrize("zipped", [False, True])
def test_nifti_volume_shows_its_middle_axial_slice_upright(zipped: bool) -> None:
    affine = np.diag([0.9, 0.9, 5.0, 1.0])
    scan = load_scan(nifti(radiological(), affine, zipped))
    assert scan.notes == ("Axial slice 1 of 3, counted from 0.",)
    assert float(np.corrcoef(scan.pixels.ravel(), TRUE.ravel())[0, 1]) > 0.99


def test_nifti_axial_axis_is_found_in_the_affine() -> None:
    turned = np.transpose(radiological(), (2, 0, 1))  # first axis now runs to the head
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = 5.0, 0.9, 0.9, 1.0
    scan = load_scan(nifti(turned, affine))
    assert float(np.corrcoef(scan.pixels.ravel(), TRUE.ravel())[0, 1]) > 0.99


def test_nifti_slice_option_and_its_bounds() -> None:
    data = nifti(radiological(), np.diag([0.9, 0.9, 5.0, 1.0]))
    assert "slice 2 of 3" in load_scan(data, slice=2).notes[0]
    with pytest.raises(ScanError, match="it has 3"):
        load_scan(data, slice=3)


def test_nifti_without_orientation_is_taken_as_stored() -> None:
    scan = load_scan(nifti(GREY.astype(np.float32)))
    assert float(np.corrcoef(scan.pixels.ravel(), TRUE.ravel())[0, 1]) > 0.99
    assert "as stored" in scan.notes[-1]


def test_nifti_with_some_nan_is_black_there() -> None:
    values = GREY.astype(np.float32)
    values[:50] = np.nan
    assert float(load_scan(nifti(values)).pixels[:50].max()) == 0.0


def test_a_path_and_its_bytes_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "slice.dat"  # the format is told from the content
    path.write_bytes(png())
    assert scan_bytes(load_scan(path)) == scan_bytes(load_scan(png())) == scan_bytes(load_scan(str(path)))


def test_canonical_bytes_come_back_bit_for_bit() -> None:
    scan = load_scan(dicom())
    again = scan_from_bytes(scan_bytes(scan))
    assert np.array_equal(again.pixels, scan.pixels)
    assert (again.modality, scan_bytes(again)) == ("MR", scan_bytes(scan))
    assert scan_bytes(load_scan(scan_bytes(scan))) == scan_bytes(scan)


def test_every_sixteen_bit_grey_survives() -> None:
    grid = np.arange(65536).reshape(256, 256) / 65535
    scan = make_scan(grid)
    assert np.array_equal(scan_from_bytes(scan_bytes(scan)).pixels, scan.pixels)
    assert np.array_equal(np.rint(scan.pixels.astype(np.float64) * 65535), np.arange(65536).reshape(256, 256))


def test_a_very_large_picture_is_averaged_down() -> None:
    scan = make_scan(np.tile(np.linspace(0, 1, 4100), (100, 1)))
    assert max(scan.shape) <= MAX_SIDE
    assert "Averaged down" in scan.notes[-1]


def test_pixels_are_read_only_and_hidden() -> None:
    scan = load_scan(png())
    with pytest.raises(ValueError, match="read-only"):
        scan.pixels[0, 0] = 1
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(scan)
    assert repr(scan) == "<Scan 224x256, unknown, from PNG>"


@pytest.mark.parametrize("max_side", [64, 1024])
def test_png_for_people_is_bounded_and_says_nothing(max_side: int) -> None:
    scan = load_scan(dicom())
    shown = Image.open(io.BytesIO(to_png(scan, max_side)))
    assert max(shown.size) == min(max_side, 256)
    assert not shown.info


def test_loading_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_scan(dicom(WindowCenter=40000, WindowWidth=1))
        load_scan(nifti(GREY.astype(np.float64)))
