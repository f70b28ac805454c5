"""A voxel is found where a radiologist looks for it, in the sheets and on the montages, whatever its axis."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from agents.report.segmentation_montage import INFECTION, LABELS, LUNG, MOST, caption, montage, pick
from agents.report.segmentation_planes import (
    AXIAL,
    CORONAL,
    PLANES,
    SAGITTAL,
    Counts,
    Plane,
    Study,
    count,
    shrink,
    shrink_mask,
)
from agents.report.segmentation_sprites import ACROSS, ON_SHEET, Sheets, pack

SHAPE = (11, 13, 37)
SPACING = (1.0, 2.0, 0.5)


def study(
    shape: tuple[int, int, int] = SHAPE, at: tuple[int, int, int] = (2, 9, 30), labelled: bool = True
) -> Study:
    """One voxel of infection, bright on black; lung is all of its row along x, label all of its row along z."""
    grey = np.zeros(shape, np.uint8)
    lung, infection, labels = (np.zeros(shape, np.bool_) for _ in range(3))
    grey[at] = 255
    infection[at] = True
    lung[:, at[1], at[2]] = True
    labels[at[0], at[1], :] = True
    return Study(grey, lung, infection, labels if labelled else None, SPACING)


def tile(sheets: Sheets, kind: str, index: int) -> NDArray[np.uint8]:
    """What the page's script cuts out: slice `index` of the plane, as grey (h, w) or as colours (h, w, 3)."""
    parts, mode = (sheets.grey, "L") if kind == "grey" else (sheets.marks, "RGB")
    sheet, place = divmod(index // sheets.step, ON_SHEET)
    image = np.asarray(Image.open(io.BytesIO(parts[sheet])).convert(mode))
    top, left = place // ACROSS * sheets.pitch[1], place % ACROSS * sheets.pitch[0]
    cut: NDArray[np.uint8] = image[top : top + sheets.height, left : left + sheets.width]
    return cut


@pytest.mark.parametrize(
    ("plane", "row", "column"),
    [
        # patient's right (the far end of x) at the left, front (of y) or head (of z) at the top
        (AXIAL, 13 - 1 - 9, 11 - 1 - 2),
        (CORONAL, 37 - 1 - 30, 11 - 1 - 2),
        # front at the left, head at the top
        (SAGITTAL, 37 - 1 - 30, 13 - 1 - 9),
    ],
)
def test_a_known_voxel_is_found_in_every_plane(plane: Plane, row: int, column: int) -> None:
    made = study()
    sheets = pack(made, plane)
    index = (2, 9, 30)[plane.axis]
    marks = tile(sheets, "marks", index)
    assert np.argwhere(marks[..., 1] == 255).tolist() == [[row, column]]
    assert marks[row, column].tolist() == [255, 255, 255]
    grey = tile(sheets, "grey", index)
    assert np.unravel_index(grey.argmax(), grey.shape) == (row, column)
    for other in range(made.shape[plane.axis]):
        assert tile(sheets, "marks", other)[..., 1].any() == (other == index)


@pytest.mark.parametrize("plane", PLANES, ids=lambda plane: plane.name)
def test_every_slice_of_every_mask_comes_back_whole(plane: Plane) -> None:
    rng = np.random.default_rng(1)
    masks = [rng.random(SHAPE) > 0.5 for _ in range(3)]
    made = Study(rng.integers(0, 256, SHAPE, np.uint8), masks[0], masks[1], masks[2], SPACING)
    sheets = pack(made, plane)
    assert (sheets.step, sheets.factors) == (1, (1, 1))
    for index in range(SHAPE[plane.axis]):
        marks = tile(sheets, "marks", index)
        for channel, mask in enumerate(masks):
            assert np.array_equal(marks[..., channel] == 255, plane.picture(mask, index))
            assert set(np.unique(marks[..., channel])) <= {0, 255}


def test_grey_values_stay_near_and_neighbours_do_not_shine_in() -> None:
    """A slice of black between two of white; tiles whose sides are no multiple of eight."""
    shape = (21, 19, 3)
    grey = np.zeros(shape, np.uint8)
    grey[:, :, [0, 2]] = 250
    none = np.zeros(shape, np.bool_)
    sheets = pack(Study(grey, none, none, None, SPACING), AXIAL)
    for index, wanted in enumerate((250, 0, 250)):
        assert np.abs(tile(sheets, "grey", index).astype(int) - wanted).max() <= 2


def test_a_large_picture_is_made_smaller_and_loses_no_mark() -> None:
    shape, at = (601, 300, 2), (7, 299, 1)
    made = study(shape, at)
    sheets = pack(made, AXIAL)
    assert (sheets.width, sheets.height, sheets.factors) == (201, 150, (3, 2))
    marks = tile(sheets, "marks", 1)
    assert np.argwhere(marks[..., 1]).tolist() == [[0, (601 - 1 - 7) // 3]]
    assert marks[0, :, 0].all()
    assert not marks[1:].any()


@given(
    sides=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    steps=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    seed=st.integers(0, 999),
)
def test_making_smaller_is_a_mean_for_greys_and_any_for_marks(
    sides: tuple[int, int], steps: tuple[int, int], seed: int
) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, sides, np.uint8)
    small, marked = shrink(grey, *steps), shrink_mask(grey > 200, *steps)
    assert small.shape == marked.shape == tuple(-(-n // step) for n, step in zip(sides, steps, strict=True))
    for row, column in np.ndindex(small.shape):
        rows = np.minimum(np.arange(row * steps[0], (row + 1) * steps[0]), sides[0] - 1)
        columns = np.minimum(np.arange(column * steps[1], (column + 1) * steps[1]), sides[1] - 1)
        block = grey[np.ix_(rows, columns)]
        assert abs(float(small[row, column]) - block.mean()) <= 0.5
        assert marked[row, column] == (block > 200).any()


def test_what_a_slice_counts() -> None:
    counts = count(study(), AXIAL)
    assert counts.lung[30] == SHAPE[0]
    assert counts.infection.sum() == 1
    assert counts.labels.tolist() == [1] * SHAPE[2]
    percents = counts.percents()
    assert percents[30] == pytest.approx(100 / SHAPE[0])
    assert all(value is None for index, value in enumerate(percents) if index != 30)
    assert count(study(labelled=False), AXIAL).labels.sum() == 0


def test_a_share_never_passes_a_hundred() -> None:
    few = Counts(np.array([1, 4, 0]), np.array([5, 1, 3]), np.zeros(3, np.int64))
    assert few.percents() == [100.0, 25.0, None]


def counted(lung: list[int], infection: list[int]) -> Counts:
    return Counts(np.array(lung), np.array(infection), np.zeros(len(lung), np.int64))


def test_montage_takes_all_slices_with_lung_when_they_are_few() -> None:
    assert pick(counted([0, 3, 4, 0, 5, 0], [0, 0, 1, 9, 0, 0])) == [1, 2, 4]
    assert pick(counted([0, 0, 0], [0, 2, 0])) == [1]
    assert pick(counted([0] * 3, [0] * 3)) == [0, 1, 2]
    assert len(pick(counted([0] * 50, [0] * 50))) == MOST


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), min_size=1, max_size=200).filter(
        lambda slices: any(lung for lung, _ in slices)
    )
)
def test_montage_holds_the_slice_with_most_infection(slices: list[tuple[int, int]]) -> None:
    lung = [lung for lung, _ in slices]
    infection = [part if lung else 0 for lung, part in slices]
    chosen = pick(counted(lung, infection))
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(MOST, sum(1 for part in lung if part))
    assert all(lung[index] for index in chosen)
    if any(infection):
        assert max(infection) in [infection[index] for index in chosen]


def test_montage_spreads_over_the_lung() -> None:
    chosen = pick(counted([0] * 10 + [5] * 100 + [0] * 10, [0] * 63 + [9] + [0] * 56))
    assert (chosen[0], chosen[-1]) == (10, 109)
    assert 63 in chosen
    assert max(np.diff(chosen)) <= 18


@pytest.mark.parametrize("plane", PLANES, ids=lambda plane: plane.name)
def test_montage_shows_marks_in_their_colours_at_the_body_s_proportions(plane: Plane) -> None:
    shape = (40, 30, 20)
    masks = [np.zeros(shape, np.bool_) for _ in range(3)]
    masks[0][4:36, 4:26, 3:17] = True
    masks[1][6:14, 8:14, 5:11] = True
    masks[2][22:30, 8:14, 5:11] = True
    made = Study(np.full(shape, 90, np.uint8), masks[0], masks[1], masks[2], (1.0, 1.0, 4.0))
    sheet = np.asarray(montage(made, plane, count(made, plane)))
    for colour in (LUNG, INFECTION, LABELS):
        assert (sheet == colour).all(axis=2).any()
    anatomy = (sheet == 90).all(axis=2)
    wide, high = plane.size_mm(made.shape, made.spacing)
    columns, rows = (np.flatnonzero(anatomy.any(axis=axis)) for axis in (0, 1))
    first = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)[0].size
    tall = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)[0].size
    assert first / tall == pytest.approx(wide / high, rel=0.05)
    unlabelled = Study(made.grey, made.lung, made.infection, None, made.spacing)
    bare = np.asarray(montage(unlabelled, plane, count(unlabelled, plane)))
    assert not (bare == LABELS).all(axis=2).any()


def test_montage_of_an_axial_slice_has_the_patient_s_right_at_the_left() -> None:
    shape = (40, 40, 1)
    none = np.zeros(shape, np.bool_)
    infection = none.copy()
    infection[34:38, 30:38, 0] = True  # right and in front
    made = Study(np.zeros(shape, np.uint8), none, infection, None, (1.0, 1.0, 1.0))
    sheet = np.asarray(montage(made, AXIAL, count(made, AXIAL)))
    rows, columns = np.nonzero((sheet[80:] == INFECTION).all(axis=2))
    assert rows.size
    assert columns.max() < 8 + 150
    assert rows.max() < 150


def test_captions_count_from_one_and_measure_from_the_first_slice() -> None:
    assert caption(study(), AXIAL, 0) == "1 of 37, 0 mm"
    assert caption(study(), CORONAL, 12) == "13 of 13, 24 mm"
