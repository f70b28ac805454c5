from __future__ import annotations

import pytest

from agents.report import words


@pytest.mark.parametrize(
    ("wei", "text"),
    [
        (0, "0 ETH"),
        (7, "7 wei"),
        (40 * 10**9, "40 gwei"),
        (10**12, "0.000001 ETH"),
        (12_500_000_000_000_000, "0.0125 ETH"),
        (123_456_789_123_456_789_123, "123.457 ETH"),
        (10**24, "1,000,000 ETH"),
        (-3 * 10**15, "-0.003 ETH"),
    ],
)
def test_money(wei: int, text: str) -> None:
    assert words.money(wei) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (0.0004, "under 1 %"),
        (0.931, "93 %"),
        (0.9996, "99.9 %"),
        (0.9912, "99.1 %"),
        (1, "100 %"),
    ],
)
def test_percent_never_rounds_to_certainty(share: float, text: str) -> None:
    assert words.percent(share) == text


def test_times_and_sizes() -> None:
    assert [words.seconds(v) for v in (0.04, 3.21, 125, 3780)] == [
        "0.04 s",
        "3.2 s",
        "2 min 5 s",
        "1 h 3 min",
    ]
    assert [words.size(v) for v in (812, 1400, 12e6, 5e12)] == ["812 B", "1.4 kB", "12.0 MB", "5000.0 GB"]
    assert words.moment(0) == "1970-01-01 00:00:00 UTC"
    assert words.moment(1e300) == f"{1e300:.0f}"


def test_keys_and_ids() -> None:
    assert words.words("case_open_wei") == "Case open"
    assert words.short_id("0x" + "ab" * 20) == "0xababab…abab"
    assert words.short_id("Ann") == "Ann"
    assert words.plural(1, "doctor") == "1 doctor"
    assert words.plural(1200, "doctor") == "1,200 doctors"
