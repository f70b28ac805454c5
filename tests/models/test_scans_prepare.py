"""The head is found whatever surrounds it, and the networks get the same three views of it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scan_files import GREY

from models.scans import load_scan, make_scan, prepare, scan_bytes, scan_from_bytes, synthetic_scan
from models.scans.head import head_box
from models.scans.prepare import prepare_sides
from models.scans.resample import resample
from models.scans.scan import Pixels

HEAD = synthetic_scan().pixels


def away(left: np.ndarray, right: np.ndarray) -> float:
    """Mean difference in int8 steps."""
    return float(np.abs(left.astype(np.int64) - right.astype(np.int64)).mean())


@pytest.mark.parametrize(("channels", "side"), [(1, 32), (3, 32), (3, 64), (2, 128)])
def test_shape_and_range(channels: int, side: int) -> None:
    image = prepare(synthetic_scan(), channels, side)
    assert image.shape == (channels, side, side)
    assert image.dtype == np.int8
    assert image.min() >= -127


@pytest.mark.parametrize(("channels", "side"), [(0, 32), (4, 32), (3, 7), (3, 256)])
def test_other_shapes_are_the_callers_fault(channels: int, side: int) -> None:
    with pytest.raises(ValueError, match="no network takes"):
        prepare(synthetic_scan(), channels, side)


@pytest.mark.parametrize("colour", [0.0, 1.0])
def test_margins_and_white_frames_do_not_matter(colour: float) -> None:
    plain = prepare(make_scan(HEAD), 3, 32)
    framed = np.full((400, 500), 0.0, np.float32)
    framed[100:356, 80:304] = HEAD
    framed = np.pad(framed, 30, constant_values=colour)
    assert away(prepare(make_scan(framed), 3, 32), plain) < 4


def test_size_does_not_matter() -> None:
    plain = prepare(make_scan(HEAD), 3, 32)
    for rows, columns in ((128, 112), (700, 600), (512, 300)):
        assert away(prepare(make_scan(resample(HEAD, rows, columns)), 3, 32), plain) < 5


def test_brightness_and_contrast_do_not_matter() -> None:
    plain = prepare(make_scan(HEAD), 3, 32)
    assert away(prepare(make_scan(HEAD * 0.5 + 0.02), 3, 32), plain) < 5


def test_burned_in_text_does_not_move_the_box() -> None:
    written = HEAD.copy()
    written[2:12:2, 2:40] = 1.0  # thin strokes in a corner
    assert np.allclose(head_box(written), head_box(HEAD), atol=3)


@pytest.mark.parametrize("picture", [np.eye(64), np.tile(np.linspace(0, 1, 64), (64, 1))])
def test_pictures_without_a_head_are_still_prepared(picture: Pixels) -> None:
    assert prepare(make_scan(picture), 3, 32).shape == (3, 32, 32)


def test_mirroring_flips_the_views_and_turns_the_asymmetry_over() -> None:
    plain, mirrored = prepare(make_scan(HEAD), 3, 64), prepare(make_scan(HEAD[:, ::-1]), 3, 64)
    assert away(mirrored[:, :, ::-1], plain) < 3


def test_a_lesion_shows_in_the_asymmetry_where_it_is() -> None:
    sick, healthy = (prepare(synthetic_scan(7, lesion), 3, 64)[1] for lesion in (True, False))
    assert sick.max() > 60
    assert healthy.max() < 30
    lesion = np.abs(synthetic_scan(7, True).pixels - synthetic_scan(7, False).pixels) > 0.3
    on_left = lesion[:, :112].sum() > lesion[:, 112:].sum()
    assert (np.argmax(sick.max(axis=0)) < 32) == on_left


def test_preparing_is_repeatable() -> None:
    assert np.array_equal(prepare(make_scan(GREY / 255), 3, 32), prepare(make_scan(GREY / 255), 3, 32))


def test_colour_reaches_the_network_and_not_the_panel() -> None:
    hues = np.zeros((60, 80, 3), dtype=np.uint8)
    hues[:, :40, 0], hues[:, 40:, 2] = 200, 200
    held = io.BytesIO()
    Image.fromarray(hues).save(held, "PNG")
    scan = load_scan(held.getvalue())
    assert scan.colour is not None
    assert scan.colour.shape == (60, 80, 3)
    red, green, blue = prepare(scan, 3, 33, "rgb")
    assert red[:, :12].min() > 50
    assert red[:, -12:].max() == green.max() == -127
    assert blue[:, -12:].min() > 50
    assert scan_from_bytes(scan_bytes(scan)).colour is None
    assert prepare(scan_from_bytes(scan_bytes(scan)), 3, 33, "rgb").shape == (3, 33, 33)


def test_a_grey_picture_stored_in_colour_is_grey() -> None:
    grey = np.random.default_rng(0).integers(0, 255, (60, 80, 1), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(np.repeat(grey, 3, axis=2)).save(held, "PNG")
    scan = load_scan(held.getvalue())
    assert scan.colour is None
    planes = prepare(scan, 3, 40, "grey3")
    assert np.array_equal(planes[0], planes[1])
    assert int(planes.max()) - int(planes.min()) > 200
    with pytest.raises(ValueError, match="no preparation"):
        prepare(scan, 3, 40, "sepia")


def test_several_sides_at_once_are_the_same_as_one_by_one() -> None:
    scan = synthetic_scan(3, lesion=True)
    for side, image in prepare_sides(scan, (32, 64, 129)).items():
        assert np.array_equal(image, prepare(scan, 3, side))
