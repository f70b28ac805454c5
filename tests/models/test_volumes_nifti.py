"""NIfTI volumes: turned to the patient's axes with the affine following, and masks back in the file's own frame."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volume_files import affine_of, chest, raw_header, write_nii

from models.volumes import Volume, read_labels, read_volume, write_nifti
from protocols.errors import UserError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
COVID = SHARED / "covid-ct-seg-16vol" / "vol128"
SMALL = SHARED / "ct-mr-nifti-small"
TURNS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def turned_affine(axes: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    affine = np.zeros((4, 4))
    for column, (row, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[row, column] = sign * (0.7 + 0.4 * column)
    affine[:, 3] = (-31.0, 12.5, 400.0, 1.0)
    return affine


def real(volume: Volume) -> np.ndarray:
    return volume.values * np.float64(volume.slope) + volume.intercept


@pytest.mark.parametrize(("axes", "signs"), TURNS)
def test_every_orientation_there_and_back(
    tmp_path: Path, axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    stored, affine = chest((5, 6, 7)), turned_affine(axes, signs)
    volume = read_volume(write_nii(tmp_path / "ct.nii.gz", stored, affine))
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
    canonical = nib.as_closest_canonical(nib.Nifti1Image(stored, affine))
    assert np.array_equal(volume.values, np.asarray(canonical.dataobj))
    assert np.allclose(volume.affine, canonical.affine, atol=1e-4)
    mask = (volume.values > 300).astype(np.uint8)
    write_nifti(mask, volume, tmp_path / "mask.nii.gz")
    written = nib.load(tmp_path / "mask.nii.gz")
    assert written.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(written.dataobj), stored > 300)
    assert np.allclose(written.affine, affine, atol=1e-4)
    assert np.array_equal(read_labels(tmp_path / "mask.nii.gz", volume), mask == 1)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tilt=st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    sides=st.tuples(*[st.floats(0.3, 6.0)] * 3),
    shear=st.floats(-0.3, 0.3),
    shape=st.tuples(*[st.integers(2, 6)] * 3),
)
def test_a_voxel_keeps_its_place_in_the_patient(
    tmp_path: Path,
    tilt: tuple[float, float, float],
    sides: tuple[float, float, float],
    shear: float,
    shape: tuple[int, int, int],
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = (
        nib.eulerangles.euler2mat(*tilt) @ (np.eye(3) + np.diag([shear, 0.0], 1)) @ np.diag(sides)
    )
    affine[:3, 3] = (10.0, -20.0, 30.0)
    stored = np.arange(np.prod(shape)).reshape(shape).astype(np.int16)
    volume = read_volume(write_nii(tmp_path / "ct.nii", stored, affine))
    kept = nib.load(tmp_path / "ct.nii").affine
    at = np.argwhere(np.ones(shape, dtype=bool))
    home = {int(stored[tuple(one)]): kept[:3, :3] @ one + kept[:3, 3] for one in at}
    for one in np.argwhere(np.ones(volume.values.shape, dtype=bool)):
        here = volume.affine[:3, :3] @ one + volume.affine[:3, 3]
        assert np.allclose(here, home[int(volume.values[tuple(one)])], atol=1e-3)
    assert volume.voxel_ml == pytest.approx(np.prod(sides) / 1000, rel=1e-3)


@pytest.mark.parametrize("kind", [1, 2])
def test_both_versions_and_their_codes_come_back(tmp_path: Path, kind: int) -> None:
    path = write_nii(
        tmp_path / "ct.nii", chest(), affine_of(), kind=kind, sform_code=4, qform_code=1, descrip=b"Jane Doe"
    )
    volume = read_volume(path)
    write_nifti(np.ones(volume.values.shape, np.uint8), volume, tmp_path / "mask.nii")
    written = nib.load(tmp_path / "mask.nii")
    assert type(written).__name__ == f"Nifti{kind}Image"
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (4, 1)
    assert b"Jane" not in (tmp_path / "mask.nii").read_bytes()


def test_whole_numbers_keep_their_scale_beside_them(tmp_path: Path) -> None:
    stored = (chest().astype(np.int32) + 1024).astype(np.uint16)
    path = raw_header(write_nii(tmp_path / "ct.nii", stored), scl_slope=2.0, scl_inter=-1024.0)
    volume = read_volume(path)
    assert (volume.values.dtype, volume.slope, volume.intercept) == (np.uint16, 2.0, -1024.0)
    assert volume.units == "HU"
    assert np.allclose(real(volume), nib.load(path).get_fdata())


def test_floats_are_scaled_in_place_and_at_most_32_bits(tmp_path: Path) -> None:
    path = raw_header(
        write_nii(tmp_path / "ct.nii", chest().astype(np.float64)), scl_slope=0.5, scl_inter=3.0
    )
    volume = read_volume(path)
    assert (volume.values.dtype, volume.slope, volume.intercept) == (np.float32, 1.0, 0.0)
    assert np.allclose(volume.values, nib.load(path).get_fdata())


def test_big_endian_and_64_bit_wholes(tmp_path: Path) -> None:
    for dtype in (">i2", "<i8", ">f4", "<u4"):
        stored = np.abs(chest()).astype(dtype)
        nib.Nifti1Image(
            stored, affine_of(), nib.Nifti1Header(endianness=dtype[0]), dtype=dtype[1:]
        ).to_filename(tmp_path / "ct.nii")
        volume = read_volume(tmp_path / "ct.nii")
        assert np.array_equal(volume.values, stored)
        assert volume.values.dtype.isnative
        assert volume.values.dtype.itemsize <= 4


def test_units_are_told_by_values_that_only_hounsfield_units_reach(tmp_path: Path) -> None:
    assert read_volume(write_nii(tmp_path / "a.nii", chest())).units == "HU"
    shifted = read_volume(write_nii(tmp_path / "b.nii", np.clip(chest(), -199, None)))
    assert shifted.units == "grey"
    assert any("greys" in note for note in shifted.notes)


def test_no_orientation_is_taken_as_stored_with_a_note(tmp_path: Path) -> None:
    stored = chest()
    path = raw_header(write_nii(tmp_path / "ct.nii", stored, affine_of()), sform_code=0, qform_code=0)
    volume = read_volume(path)
    assert np.array_equal(volume.values, stored)
    assert volume.spacing == pytest.approx((0.7, 0.8, 2.5))
    assert any("no orientation" in note for note in volume.notes)
    write_nifti((volume.values > 0).astype(np.uint8), volume, tmp_path / "mask.nii")
    written = nib.load(tmp_path / "mask.nii")
    assert int(written.header["sform_code"]) == 0
    assert np.array_equal(np.asarray(written.dataobj), stored > 0)
    assert np.array_equal(read_labels(tmp_path / "mask.nii", volume), stored > 0)


def test_tilted_and_sheared_volumes_are_noted(tmp_path: Path) -> None:
    tilted = affine_of()
    tilted[:3, :3] = nib.eulerangles.euler2mat(0.0, 0.0, 0.2) @ tilted[:3, :3]
    assert any("tilted" in note for note in read_volume(write_nii(tmp_path / "a.nii", chest(), tilted)).notes)
    sheared = affine_of()
    sheared[1, 2] = 0.6
    assert any(
        "right angles" in note for note in read_volume(write_nii(tmp_path / "b.nii", chest(), sheared)).notes
    )
    assert not any("til" in note for note in read_volume(write_nii(tmp_path / "c.nii", chest())).notes)


def test_a_fourth_side_of_one_and_lengths_in_metres(tmp_path: Path) -> None:
    stored = chest()
    path = write_nii(tmp_path / "ct.nii", stored[..., None], affine_of((7e-4, 8e-4, 2.5e-3)), xyzt_units=1)
    volume = read_volume(path)
    assert volume.spacing == pytest.approx((0.7, 0.8, 2.5))
    assert any("meters" in note for note in volume.notes)
    write_nifti((volume.values > 0).astype(np.uint8), volume, tmp_path / "mask.nii")
    assert nib.load(tmp_path / "mask.nii").header.get_xyzt_units()[0] == "meter"
    assert np.array_equal(read_labels(tmp_path / "mask.nii", volume), stored > 0)


def test_an_extension_before_the_voxels_is_passed_over(tmp_path: Path) -> None:
    image = nib.Nifti1Image(chest(), affine_of())
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 3000))
    image.to_filename(tmp_path / "ct.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "ct.nii.gz").values, chest())


def test_a_volume_shows_and_lends_nothing(tmp_path: Path) -> None:
    volume = read_volume(write_nii(tmp_path / "ct.nii", chest()))
    assert repr(volume) == "<Volume 12x10x8, unknown, HU, from NIfTI>"
    assert not volume.values.flags.writeable
    with pytest.raises(TypeError, match="not pickled"):
        volume.__reduce__()


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    volume = read_volume(write_nii(tmp_path / "ct.nii", chest()))
    mask = np.zeros(volume.values.shape, np.uint8)
    for shape, path, fault in (
        ((3, 3, 3), tmp_path / "m.nii", "the mask is 3x3x3 voxels, and the volume is 12x10x8"),
        (mask.shape, tmp_path / "m.png", "does not end in"),
        (mask.shape, tmp_path / "nowhere" / "m.nii", "cannot be written"),
    ):
        with pytest.raises(UserError, match=fault):
            write_nifti(np.zeros(shape, np.uint8), volume, path)
    (tmp_path / "m.nii").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        write_nifti(mask, volume, tmp_path / "m.nii")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["ct.nii", "m.nii"]


def test_the_same_mask_gives_the_same_bytes(tmp_path: Path) -> None:
    volume = read_volume(write_nii(tmp_path / "ct.nii", chest()))
    mask = (volume.values > 0).astype(np.uint8)
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(mask, volume, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes())[352:] == mask.tobytes(order="F")


@pytest.mark.data
@pytest.mark.skipif(not COVID.is_dir(), reason="the CT volumes (../shared/data) are not beside the project")
@pytest.mark.parametrize("name", ["vol01", "vol08", "vol16"])
def test_real_volumes_with_their_labels(tmp_path: Path, name: str) -> None:
    volume = read_volume(COVID / f"{name}_ct.nii.gz")
    assert (volume.units, volume.spacing) == ("grey", (2.0, 2.0, 1.0))
    for what in ("lung", "infection"):
        labels = read_labels(COVID / f"{name}_{what}.nii.gz", volume)
        assert np.array_equal(labels, nib.load(COVID / f"{name}_{what}.nii.gz").get_fdata() > 0)
        write_nifti(labels.astype(np.uint8), volume, tmp_path / "mask.nii.gz")
        assert np.array_equal(read_labels(tmp_path / "mask.nii.gz", volume), labels)


@pytest.mark.data
@pytest.mark.skipif(
    not SMALL.is_dir(), reason="the NIfTI volumes (../shared/data) are not beside the project"
)
@pytest.mark.parametrize("name", ["CT_AVM", "CT_pitch", "MR_Gd", "ct_brain_atlas_1mm"])
def test_real_volumes_as_nibabel_reads_them(name: str) -> None:
    volume = read_volume(SMALL / f"{name}.nii.gz")
    canonical = nib.as_closest_canonical(nib.load(SMALL / f"{name}.nii.gz"))
    assert np.allclose(real(volume), np.asarray(canonical.dataobj), atol=1e-3)
    assert np.allclose(volume.affine, canonical.affine)
