"""DICOM SEG: frames on the right slices, nothing said that the source does not say, read back the same."""

from __future__ import annotations

import getpass
import platform
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from volume_files import AXIAL, CORONAL, SAGITTAL, chest, write_enhanced, write_nii, write_series

from models.volumes import Volume, read_labels, read_volume, write_dicom_seg
from protocols.errors import ScanError, UserError

ORIENTATIONS = [AXIAL, CORONAL, SAGITTAL, (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)]


def masks_of(volume: Volume) -> dict[str, np.ndarray]:
    real = volume.values * np.float64(volume.slope) + volume.intercept
    return {"lung": real < -300, "infection": real < -800}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_frames_land_on_the_slices_they_refer_to(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    hounsfield = chest()
    hounsfield[:, :, 5] = np.maximum(hounsfield[:, :, 5], -700)  # a slice without infection: no frame
    paths = write_series(tmp_path / "ct", hounsfield, orientation=orientation)
    volume = read_volume(tmp_path / "ct")
    write_dicom_seg(masks_of(volume), volume, tmp_path / "seg.dcm")

    found = hd.seg.segread(tmp_path / "seg.dcm")
    assert [found.get_segment_description(n).segment_label for n in (1, 2)] == ["Lung", "Infection"]
    sources = [dcmread(path) for path in paths]
    frames = found.pixel_array
    assert len(frames) == 15
    for frame, group in zip(frames, found.PerFrameFunctionalGroupsSequence, strict=True):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        place = group.PlanePositionSequence[0].ImagePositionPatient
        index = next(i for i, one in enumerate(sources) if np.allclose(one.ImagePositionPatient, place))
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        assert image.ReferencedSOPInstanceUID == sources[index].SOPInstanceUID
        plane = hounsfield[:, :, index].T
        assert np.array_equal(frame == 1, plane < {1: -300, 2: -800}[number])

    uids = [one.SOPInstanceUID for one in sources]
    again = found.get_pixels_by_source_instance(
        uids, segment_numbers=[1, 2], assert_missing_frames_are_empty=True
    )
    assert np.array_equal(again[..., 0] == 1, hounsfield.transpose(2, 1, 0) < -300)
    assert np.array_equal(again[..., 1] == 1, hounsfield.transpose(2, 1, 0) < -800)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_read_back_on_the_volumes_grid(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    write_series(tmp_path / "ct", chest(), orientation=orientation)
    volume = read_volume(tmp_path / "ct")
    masks = masks_of(volume)
    write_dicom_seg(masks, volume, tmp_path / "seg.dcm")
    for name, mask in masks.items():
        assert np.array_equal(read_labels(tmp_path / "seg.dcm", volume, name), mask)
    with pytest.raises(UserError, match="holds the segments Lung, Infection, and which one was not said"):
        read_labels(tmp_path / "seg.dcm", volume)
    write_dicom_seg({"infection": masks["infection"]}, volume, tmp_path / "one.dcm")
    assert np.array_equal(read_labels(tmp_path / "one.dcm", volume), masks["infection"])


def test_a_multi_frame_source_whose_frames_lie_in_no_order(tmp_path: Path) -> None:
    volume = read_volume(write_enhanced(tmp_path / "e.dcm", chest()))
    masks = masks_of(volume)
    write_dicom_seg(masks, volume, tmp_path / "seg.dcm")
    for name, mask in masks.items():
        assert np.array_equal(read_labels(tmp_path / "seg.dcm", volume, name), mask)


def test_a_segmentation_beside_its_series_is_no_slice_of_it(tmp_path: Path) -> None:
    write_series(tmp_path, chest())
    volume = read_volume(tmp_path)
    write_dicom_seg(masks_of(volume), volume, tmp_path / "seg.dcm")
    assert np.array_equal(read_volume(tmp_path).values, volume.values)


@pytest.mark.parametrize("empty", [("infection",), ("lung", "infection")])
def test_empty_masks(tmp_path: Path, empty: tuple[str, ...]) -> None:
    write_series(tmp_path / "ct", chest())
    volume = read_volume(tmp_path / "ct")
    masks = masks_of(volume)
    for name in empty:
        masks[name] = np.zeros_like(masks[name])
    write_dicom_seg(masks, volume, tmp_path / "seg.dcm")
    for name, mask in masks.items():
        assert np.array_equal(read_labels(tmp_path / "seg.dcm", volume, name), mask)


def test_it_names_patient_and_study_as_the_source_does_and_nothing_of_this_machine(tmp_path: Path) -> None:
    paths = write_series(
        tmp_path / "ct",
        chest(),
        OperatorsName="Nurse^Secret",
        InstitutionName="St Secret",
        StationName="SECRET1",
    )
    source = dcmread(paths[0])
    volume = read_volume(tmp_path / "ct")
    write_dicom_seg(masks_of(volume), volume, tmp_path / "seg.dcm")
    dataset = dcmread(tmp_path / "seg.dcm")
    for word in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset[word].value == source[word].value
    assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
    assert (dataset.Modality, dataset.SegmentationType) == ("SEG", "BINARY")
    data = (tmp_path / "seg.dcm").read_bytes().lower()
    for word in ("secret", str(tmp_path), platform.node(), f"^{getpass.getuser()}"):
        assert word.lower().encode() not in data


def test_headers_that_lack_what_may_be_empty_or_waver_in_the_last_digit(tmp_path: Path) -> None:
    tags: dict[str, Any] = {
        "PatientName": None,
        "PatientID": None,
        "PatientBirthDate": None,
        "PatientSex": None,
    }
    paths = write_series(tmp_path / "ct", chest(), **tags)
    dataset = dcmread(paths[2])
    dataset.ImageOrientationPatient = [1, 0, 0.00001, 0, 1, 0]
    dataset.save_as(paths[2])
    volume = read_volume(tmp_path / "ct")
    masks = masks_of(volume)
    write_dicom_seg(masks, volume, tmp_path / "seg.dcm")
    assert np.array_equal(read_labels(tmp_path / "seg.dcm", volume, "lung"), masks["lung"])


def test_refusals(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "ct", chest())
    volume = read_volume(tmp_path / "ct")
    masks = masks_of(volume)
    nifti = read_volume(write_nii(tmp_path / "ct.nii", chest()))
    out = tmp_path / "seg.dcm"
    for wrong, of, fault in (
        (masks, nifti, "refers to a DICOM series, and the volume is NIfTI"),
        ({}, volume, "has the segments lung and infection"),
        ({"liver": masks["lung"]}, volume, "has the segments lung and infection"),
        ({"lung": masks["lung"][1:]}, volume, "the mask is 11x10x8 voxels, and the volume is 12x10x8"),
    ):
        with pytest.raises(UserError, match=fault):
            write_dicom_seg(wrong, of, out)
    data = paths[1].read_bytes()
    paths[1].write_bytes(paths[0].read_bytes())
    with pytest.raises(UserError, match="files have changed"):
        write_dicom_seg(masks, volume, out)
    paths[1].unlink()
    with pytest.raises(UserError, match="can no longer be read"):
        write_dicom_seg(masks, volume, out)
    paths[1].write_bytes(data)
    for path in paths:
        dataset = dcmread(path)
        del dataset.StudyInstanceUID
        dataset.save_as(path)
    with pytest.raises(UserError, match="headers lack"):
        write_dicom_seg(masks, volume, out)
    assert not out.exists()


def renamed(path: Path, out: Path, *labels: str) -> Path:
    dataset = dcmread(path)
    for one, label in zip(dataset.SegmentSequence, labels, strict=True):
        one.SegmentLabel = label
    dataset.save_as(out)
    return out


@pytest.mark.parametrize("label", ["COVID-19 lesions", "Segment_1", "", "INFECTION"])
def test_the_only_segment_of_a_foreign_file_is_taken_whatever_its_label(tmp_path: Path, label: str) -> None:
    write_series(tmp_path / "ct", chest())
    volume = read_volume(tmp_path / "ct")
    mask = masks_of(volume)["infection"]
    write_dicom_seg({"infection": mask}, volume, tmp_path / "seg.dcm")
    foreign = renamed(tmp_path / "seg.dcm", tmp_path / "foreign.dcm", label)
    assert np.array_equal(read_labels(foreign, volume, "infection"), mask)


@pytest.mark.parametrize(
    ("label", "asked"), [("Lung", "infection"), ("Lungs", "infection"), ("infection", "lung")]
)
def test_a_segment_of_the_other_task_is_not_taken_for_it(tmp_path: Path, label: str, asked: str) -> None:
    write_series(tmp_path / "ct", chest())
    volume = read_volume(tmp_path / "ct")
    write_dicom_seg({"lung": masks_of(volume)["lung"]}, volume, tmp_path / "seg.dcm")
    other = renamed(tmp_path / "seg.dcm", tmp_path / "other.dcm", label)
    with pytest.raises(UserError, match=f"holds the segments {label}, and '{asked}' was asked for"):
        read_labels(other, volume, asked)
    lungs = renamed(tmp_path / "seg.dcm", tmp_path / "lungs.dcm", "Lungs")
    assert np.array_equal(read_labels(lungs, volume, "lung"), masks_of(volume)["lung"])


def test_two_segments_of_one_label_are_two(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", chest())
    volume = read_volume(tmp_path / "ct")
    write_dicom_seg(masks_of(volume), volume, tmp_path / "seg.dcm")
    twice = renamed(tmp_path / "seg.dcm", tmp_path / "twice.dcm", "mask", "mask")
    for asked in (None, "infection"):
        with pytest.raises(UserError, match="holds the segments mask, mask, and "):
            read_labels(twice, volume, asked)


def test_labels_that_are_no_binary_segmentation_of_this_volume(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "ct", chest())
    volume = read_volume(tmp_path / "ct")
    write_dicom_seg({"lung": masks_of(volume)["lung"]}, volume, tmp_path / "seg.dcm")
    with pytest.raises(ScanError, match="no segmentation"):
        read_labels(paths[0], volume)
    with pytest.raises(UserError, match="'liver' was asked for"):
        read_labels(tmp_path / "seg.dcm", volume, "liver")
    write_series(tmp_path / "far", chest(), start=(-20.0, -30.0, 101.0))
    with pytest.raises(UserError, match="do not lie on the volume's slices"):
        read_labels(tmp_path / "seg.dcm", read_volume(tmp_path / "far"))
    dataset = dcmread(tmp_path / "seg.dcm")
    dataset.SegmentationType = "FRACTIONAL"
    dataset.save_as(tmp_path / "fractional.dcm")
    with pytest.raises(ScanError, match="fractional"):
        read_labels(tmp_path / "fractional.dcm", volume)
