"""DICOM series: slices found, ordered by where they lie, refused where they make no one stack."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless, RLELossless
from volume_files import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    chest,
    series_affine,
    slice_dataset,
    write_enhanced,
    write_nii,
    write_series,
)

from models.volumes import Volume, read_labels, read_volume, write_nifti
from protocols.errors import ScanError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "dicom-deid-misc"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"  # no decoder with a free licence comes with the project
REPORT = "1.2.840.10008.5.1.4.1.1.88.11"
TILTED = (1.0, 0.0, 0.0, 0.0, 0.98796, -0.154709)


def real(volume: Volume) -> np.ndarray:
    return volume.values * np.float64(volume.slope) + volume.intercept


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, SAGITTAL, TILTED, (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)])
def test_a_series_lies_where_the_standard_says(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    write_series(tmp_path / "ct", chest(), orientation=orientation)
    volume = read_volume(tmp_path / "ct")
    canonical = nib.as_closest_canonical(nib.Nifti1Image(chest(), series_affine(orientation)))
    assert np.array_equal(real(volume), np.asarray(canonical.dataobj))
    assert np.allclose(volume.affine, canonical.affine, atol=1e-3)
    assert (volume.modality, volume.units, volume.values.dtype) == ("CT", "HU", np.uint16)
    mask = (real(volume) > 100).astype(np.uint8)
    write_nifti(mask, volume, tmp_path / "mask.nii.gz")
    written = nib.load(tmp_path / "mask.nii.gz")
    assert nib.aff2axcodes(written.affine) == ("R", "A", "S")
    assert np.allclose(written.affine, volume.affine, atol=1e-4)
    assert np.array_equal(read_labels(tmp_path / "mask.nii.gz", volume), mask == 1)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shuffle=st.integers(0, 10**6), down=st.booleans())
def test_names_and_numbers_do_not_order_slices(tmp_path: Path, shuffle: int, down: bool) -> None:
    shutil.rmtree(tmp_path / "ct", ignore_errors=True)
    hounsfield = chest((4, 3, 6))
    heights = [2.5 * index for index in range(6)]
    stored = hounsfield[:, :, ::-1] if down else hounsfield
    write_series(tmp_path / "ct", stored, shuffle=shuffle, heights=heights[::-1] if down else heights)
    volume = read_volume(tmp_path / "ct")
    assert np.array_equal(real(volume)[::-1, ::-1], hounsfield)


def test_files_of_other_kinds_are_left_aside_with_a_note(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "ct" / "deep" / "er", chest())
    (tmp_path / "ct" / "README.txt").write_text("dear doctor")
    (tmp_path / "ct" / ".DS_Store").write_text("x")
    shutil.copy(paths[0], tmp_path / "ct" / "copy.dcm")
    slice_dataset(
        np.zeros((10, 12), np.uint16), (0, 0, 0), "9.9", 1, Modality="SR", Rows=None, SOPClassUID=REPORT
    ).save_as(tmp_path / "ct" / "report.dcm", enforce_file_format=True)
    scout = slice_dataset(
        np.zeros((64, 64), np.uint16), (0, 0, 0), "9.8", 1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    scout.save_as(tmp_path / "ct" / "scout.dcm", enforce_file_format=True)
    shown = slice_dataset(np.zeros((64, 64), np.uint16), (0, 0, 0), "9.7", 1, ImagePositionPatient=None)
    shown.save_as(tmp_path / "ct" / "dose.dcm", enforce_file_format=True)
    volume = read_volume(tmp_path / "ct")
    assert volume.values.shape == (12, 10, 8)
    assert volume.notes == (
        "Left aside (1 DICOM without a picture, 1 localizer, 1 not DICOM, 1 of another series and no slices, "
        "1 the same slice once more).",
    )


def test_one_multi_frame_file_is_a_series(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "e.dcm", chest())
    canonical = nib.as_closest_canonical(nib.Nifti1Image(chest(), series_affine()))
    for source in (path, tmp_path):
        volume = read_volume(source)
        assert np.array_equal(real(volume), np.asarray(canonical.dataobj))
        assert np.allclose(volume.affine, canonical.affine)
        assert volume.units == "HU"


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_series_that_can_be_decoded(tmp_path: Path, syntax: str) -> None:
    for path in write_series(tmp_path / "ct", chest()):
        dataset = dcmread(path)
        dataset.compress(syntax)
        dataset.save_as(path)
    assert np.array_equal(real(read_volume(tmp_path / "ct"))[::-1, ::-1], chest())


def test_slices_of_different_rescaling_become_floats(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "ct", chest())
    dataset = dcmread(paths[3])
    dataset.RescaleSlope, dataset.RescaleIntercept = 0.5, -200
    dataset.save_as(paths[3])
    volume = read_volume(tmp_path / "ct")
    assert volume.values.dtype == np.float32
    expected = chest().astype(np.float64)
    expected[:, :, 3] = (expected[:, :, 3] + 1024) * 0.5 - 200
    assert np.allclose(real(volume)[::-1, ::-1], expected)


def test_signed_unsigned_and_unused_bits(tmp_path: Path) -> None:
    hounsfield = np.clip(chest(), -1000, 900)
    paths = write_series(tmp_path / "ct", hounsfield)
    for index, path in enumerate(paths):
        dataset = dcmread(path)
        plane = hounsfield[:, :, index].T
        if index % 2:  # signed, an overlay's bits above the stored twelve
            dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 12, 11
            dataset.PixelData = ((plane.astype(np.int32) & 0x0FFF) | 0x3000).astype(np.uint16).tobytes()
        else:
            dataset.PixelData = plane.astype(np.int32).astype(np.uint16).tobytes()
            dataset.PixelRepresentation = 1
        dataset.RescaleIntercept = 0
        dataset.save_as(path)
    assert np.array_equal(real(read_volume(tmp_path / "ct"))[::-1, ::-1], hounsfield)


def test_slightly_uneven_gaps_are_noted_and_the_median_counts(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", chest(), heights=[0, 2.5, 5, 7.5, 10.2, 12.5, 15, 17.5])
    volume = read_volume(tmp_path / "ct")
    assert volume.spacing[2] == pytest.approx(2.5)
    assert volume.notes == (
        "The gaps between slices run from 2.30 to 2.70 mm; the median, 2.50 mm, counts for all.",
    )


def test_a_tilted_gantry_keeps_its_shear(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "ct", chest())
    for index, path in enumerate(paths):
        dataset = dcmread(path)
        dataset.ImagePositionPatient = [-20, -30 + 0.5 * index, 100 + 2.5 * index]
        dataset.save_as(path)
    volume = read_volume(tmp_path / "ct")
    assert np.allclose(volume.affine[:3, 2], [0, -0.5, 2.5])
    assert any("right angles" in note for note in volume.notes)
    assert volume.voxel_ml == pytest.approx(0.7 * 0.8 * 2.5 / 1000)


def test_other_modalities_are_read_and_said(tmp_path: Path) -> None:
    write_series(tmp_path / "mr", chest(), Modality="MR", RescaleSlope=None, RescaleIntercept=None)
    volume = read_volume(tmp_path / "mr")
    assert (volume.modality, volume.units) == ("MR", "grey")
    assert any("not CT" in note for note in volume.notes)


def test_ct_without_rescaling_lets_the_values_tell(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", chest(), RescaleSlope=None, RescaleIntercept=None)
    volume = read_volume(tmp_path / "ct")
    assert volume.units == "grey"
    assert any("names no units" in note for note in volume.notes)


@pytest.mark.parametrize(("word", "units"), [("US", "HU"), ("HU", "HU"), (None, "HU")])
def test_ct_of_unspecified_units_lets_the_values_tell(tmp_path: Path, word: str | None, units: str) -> None:
    tags = {} if word is None else {"RescaleType": word}
    write_series(tmp_path / "ct", chest(), **tags)
    volume = read_volume(tmp_path / "ct")
    assert (volume.modality, volume.units) == ("CT", units)
    told = any("run from -1000 to" in note and "Hounsfield" in note for note in volume.notes)
    assert told == (word == "US")


def test_ct_of_unspecified_units_without_air_stays_grey(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", np.abs(chest()), RescaleType="US")
    assert read_volume(tmp_path / "ct").units == "grey"


def changed(index: int, **tags: Any) -> Callable[[list[Path]], None]:
    def change(paths: list[Path]) -> None:
        dataset = dcmread(paths[index])
        for name, value in tags.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
        dataset.save_as(paths[index])

    return change


def all_changed(**tags: Any) -> Callable[[list[Path]], None]:
    def change(paths: list[Path]) -> None:
        for index in range(len(paths)):
            changed(index, **tags)(paths)

    return change


def second_series(paths: list[Path]) -> None:
    write_series(paths[0].parent / "b", chest((12, 10, 3)), SeriesDescription="MEDIASTINUM")


def second_phase(paths: list[Path]) -> None:
    series = str(dcmread(paths[0]).SeriesInstanceUID)
    write_series(paths[0].parent / "b", chest(), series=series)


def without(*indices: int) -> Callable[[list[Path]], None]:
    return lambda paths: [paths[index].unlink() for index in indices] and None


def only_localizers(paths: list[Path]) -> None:
    all_changed(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])(paths)


def deflated(paths: list[Path]) -> None:
    data = paths[0].read_bytes()
    paths[0].write_bytes(data.replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.1.99"))


def undecodable(paths: list[Path]) -> None:
    for path in paths:
        dataset = dcmread(path)
        position, stored = dataset.ImagePositionPatient, dataset.pixel_array
        slice_dataset(stored, position, dataset.SeriesInstanceUID, 1, syntax=JPEG_LOSSLESS).save_as(
            path, enforce_file_format=True
        )


def cut(paths: list[Path]) -> None:
    paths[2].write_bytes(paths[2].read_bytes()[:-50])


def cut_header(paths: list[Path]) -> None:
    paths[2].write_bytes(paths[2].read_bytes()[:400])


BAD: dict[str, tuple[Callable[[list[Path]], None], str]] = {
    "two series": (
        second_series,
        "2 series .8 slices of 'LUNG 1.0'; 3 slices of 'MEDIASTINUM'.*one of them alone",
    ),
    "two phases": (second_phase, "16 slices lie at 8 places: it is more than one volume"),
    "a missing slice": (without(4), "slices are missing: a gap of 5.00 mm where the others are 2.50 mm"),
    "one slice": (without(*range(1, 8)), "one slice is not a volume"),
    "nothing": (without(*range(8)), "no DICOM pictures"),
    "localizers": (only_localizers, r"no DICOM pictures \(8 localizer\)"),
    "sizes": (changed(3, Rows=12, Columns=10), "differ in size .12x10 pixels, but 10x12 pixels in im"),
    "spacings": (
        changed(3, PixelSpacing=[0.8, 0.9]),
        "differ in pixel spacing .0.8 x 0.7 mm, but 0.8 x 0.9 mm",
    ),
    "directions": (changed(3, ImageOrientationPatient=list(CORONAL)), "differ in direction"),
    "frames of reference": (changed(3, FrameOfReferenceUID="1.9"), "differ in frame of reference"),
    "modalities": (changed(3, Modality="PT"), "differ in modality .CT, but PT"),
    "a skewed slice": (changed(3, ImagePositionPatient=[-10, -30, 107.5]), "not stacked in a straight line"),
    "no place": (changed(3, ImagePositionPatient=None), "does not say where its slice lies"),
    "no spacing": (all_changed(PixelSpacing=None), "does not say where its slice lies"),
    "colour": (all_changed(PhotometricInterpretation="RGB", SamplesPerPixel=3), "picture in colour"),
    "bent directions": (all_changed(ImageOrientationPatient=[1, 0, 0, 0.7, 0.7, 0]), "not at right angles"),
    "no pixels": (changed(3, PixelData=None), "holds no picture"),
    "odd bits": (all_changed(BitsAllocated=12), "stores 12 bits a pixel"),
    "deflated": (deflated, "is a deflated DICOM file"),
    "undecodable": (undecodable, "no decoder here reads its compression"),
    "cut short": (cut, "damaged or cut short"),
    "cut header": (cut_header, "is damaged or cut short"),
    "huge": (all_changed(Rows=20000, Columns=20000), "limit is 1024 a side"),
    "inverted": (
        all_changed(Modality="MR", PhotometricInterpretation="MONOCHROME1"),
        "stores its greys inverted",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_series_that_are_no_volume(tmp_path: Path, name: str) -> None:
    spoil, fault = BAD[name]
    folder = tmp_path / "ct"
    spoil(write_series(folder, chest()))
    with pytest.raises(ScanError, match=fault) as caught:
        read_volume(folder)
    assert str(caught.value).startswith("ct cannot be read as a volume: ")
    assert caught.value.remedy


def test_all_of_one_value_and_a_single_file(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", np.full((12, 10, 8), -1000, np.int16))
    with pytest.raises(ScanError, match="every voxel has the same value"):
        read_volume(tmp_path / "ct")
    with pytest.raises(ScanError, match="one slice is not a volume; give the whole series"):
        read_volume(tmp_path / "ct" / "im0000.dcm")


def test_links_and_pipes_in_a_folder_do_not_hang(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", chest())
    (tmp_path / "ct" / "loop").symlink_to(tmp_path / "ct")
    os.mkfifo(tmp_path / "ct" / "pipe")
    assert read_volume(tmp_path / "ct").values.shape == (12, 10, 8)


def test_a_folder_without_dicom(tmp_path: Path) -> None:
    write_nii(tmp_path / "ct.nii", chest())
    with pytest.raises(
        ScanError, match=r"it holds no DICOM pictures \(1 not DICOM\); give the folder of a CT series"
    ):
        read_volume(tmp_path)


@pytest.mark.data
@pytest.mark.skipif(not SHARED.is_dir(), reason="the DICOM files (../shared/data) are not beside the project")
def test_real_files_that_are_no_volume() -> None:
    for name, fault in (
        ("humans_ctbrain1.dcm", "picture in colour"),
        ("ultrasounds_RGB_IMAGE.dcm", "picture in colour"),
        ("ultrasounds_GREYSCALE_IMAGE.dcm", "does not say where its slice lies"),
        ("", "picture in colour"),
    ):
        with pytest.raises(ScanError, match=fault):
            read_volume(SHARED / name)
