"""The automatic reader: repeatable, honest about what it is, and right about the samples."""

from __future__ import annotations

import numpy as np
import pytest

from models import reader
from models.reader import Reading, features, members, read
from models.scans import load_scan, make_scan, prepare, sample_scan_path, synthetic_scan
from protocols.errors import UserError


def test_the_sample_is_read_as_tumour_by_every_member() -> None:
    scan = load_scan(sample_scan_path())
    for member in (None, *range(members())):
        reading = read(scan, member)
        assert reading.label == "tumour"
        assert 50 <= reading.confidence_percent <= 99


@pytest.mark.parametrize("seed", range(7, 13))
def test_synthetic_slices_are_told_apart(seed: int) -> None:
    assert read(synthetic_scan(seed, lesion=True)).label == "tumour"
    assert read(synthetic_scan(seed, lesion=False)).label == "no tumour"


def test_members_are_colleagues_and_not_copies() -> None:
    found = {read(synthetic_scan(8, lesion=False), member).confidence_percent for member in range(members())}
    assert members() >= 5
    assert len(found) > 1
    assert read(synthetic_scan(8, lesion=False), members() + 2) == read(synthetic_scan(8, lesion=False), 2)


def test_it_says_that_it_is_automatic() -> None:
    assert read(synthetic_scan()).automatic is True
    assert "not a physician" in reader.DISCLAIMER
    assert reader.card()["warning"] == reader.DISCLAIMER
    assert Reading("tumour", 80).automatic


def test_a_mirrored_scan_is_read_alike() -> None:
    scan = synthetic_scan(9)
    mirrored = make_scan(scan.pixels[:, ::-1])
    assert abs(read(scan).confidence_percent - read(mirrored).confidence_percent) <= 3


def test_features_of_many_are_those_of_each() -> None:
    images = np.stack([prepare(synthetic_scan(seed), 3, reader.SIDE) for seed in (1, 2)])
    assert np.allclose(features(images)[1], features(images[1]))


def test_damaged_weights_are_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(reader, "WEIGHTS", tmp_path)
    reader._weights.cache_clear()
    try:
        with pytest.raises(UserError, match="missing or damaged"):
            read(synthetic_scan())
    finally:
        reader._weights.cache_clear()
