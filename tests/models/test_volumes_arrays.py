"""Volumes as .npz, and labels that do or do not fit their volume."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from volume_files import affine_of, chest, write_nii, write_series

from models.volumes import read_labels, read_volume, write_nifti
from protocols.errors import ScanError, UserError


def npz(path: Path, **held: Any) -> Path:
    np.savez_compressed(path, **held)
    return path


def kaust(hounsfield: np.ndarray) -> np.ndarray:
    """The scale of BUNET's data."""
    return ((hounsfield.astype(np.float64) + 600) / 1600).astype(np.float32)


def test_an_array_in_bunets_layout(tmp_path: Path) -> None:
    folder = tmp_path / "case7"
    folder.mkdir()
    volume = read_volume(npz(folder / "case7.npz", array=chest()))
    assert np.array_equal(volume.values, chest())
    assert (volume.units, volume.spacing, volume.source.form) == ("HU", (1.0, 1.0, 1.0), "npz")
    assert any("no orientation" in note for note in volume.notes)
    assert any("no spacing" in note for note in volume.notes)
    labels = read_labels(npz(folder / "case7_label.npz", array=chest() > 100), volume)
    assert np.array_equal(labels, chest() > 100)
    write_nifti(labels.astype(np.uint8), volume, tmp_path / "mask.nii.gz")
    written = nib.load(tmp_path / "mask.nii.gz")
    assert np.array_equal(written.affine, np.eye(4))
    assert np.array_equal(read_labels(tmp_path / "mask.nii.gz", volume), labels)


def test_the_scale_of_bunets_data_is_turned_back_into_hounsfield_units(tmp_path: Path) -> None:
    volume = read_volume(npz(tmp_path / "a.npz", array=kaust(chest())))
    assert volume.units == "HU"
    assert (volume.values.dtype, volume.slope, volume.intercept) == (np.float32, 1.0, 0.0)
    assert np.abs(volume.values - chest()).max() < 0.01
    assert any("(HU + 600) / 1600" in note for note in volume.notes)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-0.05, 1.0), (-3.0, 3.0)])
def test_other_floats_stay_greys_of_no_known_scale(tmp_path: Path, low: float, high: float) -> None:
    values = np.linspace(low, high, 5 * 6 * 7, dtype=np.float32).reshape(5, 6, 7)
    volume = read_volume(npz(tmp_path / "a.npz", array=values))
    assert volume.units == "grey"
    assert np.array_equal(volume.values, values)


@pytest.mark.parametrize("planes", [1, 2])
def test_a_fourth_axis_of_picture_and_label(tmp_path: Path, planes: int) -> None:
    both = np.stack([kaust(chest()), chest() > 100], axis=-1)[..., :planes]
    path = npz(tmp_path / "a.npz", array=both)
    volume = read_volume(path)
    assert np.abs(volume.values - chest()).max() < 0.01
    expected = chest() > 100 if planes == 2 else kaust(chest()) > 0
    assert np.array_equal(read_labels(path, volume), expected)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=arrays.arrays(
        st.sampled_from(["i1", "u1", "<i2", ">i2", "<u2", "<i4", "<i8"]), st.tuples(*[st.integers(2, 5)] * 3)
    ),
    by_column=st.booleans(),
)
def test_every_whole_number_comes_back(tmp_path: Path, values: np.ndarray, by_column: bool) -> None:
    stored = np.asfortranarray(values) if by_column else np.ascontiguousarray(values)
    path = npz(tmp_path / "a.npz", array=stored)
    if values.min() == values.max():
        with pytest.raises(ScanError, match="the same value"):
            read_volume(path)
        return
    volume = read_volume(path)
    assert np.allclose(volume.values, values, rtol=1e-6)
    assert volume.values.dtype.itemsize <= 4


class Unpickled:
    ran = False

    def __reduce__(self) -> Any:
        return exec, ("import test_volumes_arrays as t; t.Unpickled.ran = True",)


def test_nothing_in_an_archive_is_unpickled(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", array=np.array([Unpickled()], dtype=object))
    with pytest.raises(ScanError, match="not plain numbers"):
        read_volume(path)
    assert not Unpickled.ran


def bomb(path: Path, header: bytes) -> Path:
    """An archive whose array states `header` and unzips to hundreds of megabytes of zeros."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("array.npy", "w", force_zip64=True) as out,
    ):
        out.write(header)
        for _ in range(40):
            out.write(bytes(10**7))
    return path


def described(shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '<i2', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def test_a_zip_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="limit is 1024 a side"):
        read_volume(bomb(tmp_path / "a.npz", described((20000, 20000, 20000))))
    with pytest.raises(ScanError, match="2048 MiB"):
        read_volume(bomb(tmp_path / "b.npz", described((1024, 1024, 1024, 2))))
    endless = b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little")
    with pytest.raises(ScanError, match="damaged or cut short"):
        read_volume(bomb(tmp_path / "c.npz", endless))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "another key": ({"arr_0": chest()}, "holds `arr_0`, and not the key `array`"),
    "nothing": ({}, "no array at all"),
    "two dimensions": ({"array": chest()[:, :, 0]}, "one slice is not a volume"),
    "one slice": ({"array": chest()[:, :, :1]}, "one slice is not a volume"),
    "five planes": ({"array": np.zeros((5, 5, 5, 5), np.int16)}, "4 dimensions"),
    "five dimensions": ({"array": np.zeros((5, 5, 5, 2, 2), np.int16)}, "5 dimensions"),
    "a mask": ({"array": chest() > 0}, "mask"),
    "complex": ({"array": chest().astype(np.complex64)}, "not plain numbers"),
    "text": ({"array": np.full((3, 3, 3), "a")}, "not plain numbers"),
    "constant": ({"array": np.full((3, 3, 3), 7)}, "the same value"),
    "nan": ({"array": np.full((3, 3, 3), np.nan)}, "no number at all"),
}


@pytest.mark.parametrize("name", BAD)
def test_archives_that_are_no_volume(tmp_path: Path, name: str) -> None:
    held, fault = BAD[name]
    with pytest.raises(ScanError, match=fault) as caught:
        read_volume(npz(tmp_path / "a.npz", **held))
    assert str(caught.value).startswith("a.npz cannot be read as a volume: ")
    assert caught.value.remedy


def test_labels_in_another_order_are_turned(tmp_path: Path) -> None:
    volume = read_volume(write_nii(tmp_path / "ct.nii", chest()))
    mask = volume.values > 100
    affine = volume.affine @ np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[:3, 3] = (volume.affine @ [volume.values.shape[0] - 1, volume.values.shape[1] - 1, 0, 1])[:3]
    other = write_nii(tmp_path / "lps.nii", mask[::-1, ::-1].astype(np.float32), affine)
    assert np.array_equal(read_labels(other, volume), mask)


def test_labels_without_orientation_take_the_order_of_the_volumes_file(tmp_path: Path) -> None:
    affine = affine_of() @ np.diag([-1.0, 1.0, 1.0, 1.0])
    volume = read_volume(write_nii(tmp_path / "ct.nii", chest(), affine))
    labels = read_labels(npz(tmp_path / "l.npz", array=(chest() > 100).astype(np.uint8)), volume)
    assert np.array_equal(labels, volume.values > 100)


def test_empty_labels_are_labels(tmp_path: Path) -> None:
    volume = read_volume(write_nii(tmp_path / "ct.nii", chest()))
    assert not read_labels(write_nii(tmp_path / "l.nii", np.zeros((12, 10, 8), np.uint8)), volume).any()


def test_labels_that_do_not_fit_say_both_sides(tmp_path: Path) -> None:
    volume = read_volume(write_nii(tmp_path / "ct.nii", chest()))
    mask = np.ones((12, 10, 8), np.uint8)
    for held, affine, fault in (
        (mask[:-1], None, "they are 11x10x8 voxels, and the volume is 12x10x8"),
        (
            mask,
            affine_of(start=(-30.0, 12.0, 7.5)),
            r"from -30.0, 12.0, 7.5\) than the volume .*from -30.0, 12.0, 5.0",
        ),
        (mask, affine_of((0.7, 0.8, 3.0)), r"0.7 x 0.8 x 3 mm .*0.7 x 0.8 x 2.5 mm"),
        (np.full((12, 10, 8), np.nan, np.float32), None, "no number at all"),
    ):
        with pytest.raises(UserError, match=fault) as caught:
            read_labels(write_nii(tmp_path / "l.nii", held, affine), volume)
        assert str(caught.value).startswith("l.nii cannot be read as labels of this volume: ")
    with pytest.raises(ScanError, match="no such file"):
        read_labels(tmp_path / "none.nii", volume)
    with pytest.raises(ScanError, match="is a folder"):
        read_labels(tmp_path, volume)


def test_labels_of_a_dicom_series_have_to_say_how_they_lie(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", chest())
    volume = read_volume(tmp_path / "ct")
    with pytest.raises(UserError, match="name no orientation"):
        read_labels(npz(tmp_path / "l.npz", array=chest() > 0), volume)


def test_labels_in_another_order_than_a_volume_of_no_orientation(tmp_path: Path) -> None:
    volume = read_volume(write_nii(tmp_path / "ct.nii", chest(), np.eye(4)))
    mask = (chest() > 100).astype(np.uint8)
    to_the_left = affine_of() @ np.diag([-1.0, -1.0, 1.0, 1.0])
    with pytest.raises(UserError, match="the volume's names none, and they would lie otherwise"):
        read_labels(write_nii(tmp_path / "lps.nii", mask, to_the_left), volume)
    for affine in (affine_of(), np.eye(4)):
        same = read_labels(write_nii(tmp_path / "l.nii", mask, affine), volume)
        assert np.array_equal(same, mask > 0)
    bare = read_volume(npz(tmp_path / "ct.npz", array=chest()))
    assert np.array_equal(read_labels(tmp_path / "lps.nii", bare), mask > 0)
