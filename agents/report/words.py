"""Numbers in words that a patient reads: money, times, sizes, shares, short ids."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal


def money(wei: float, currency: str = "ETH") -> str:
    """0.0125 ETH, 40 gwei, 7 wei: the largest unit that keeps the number short."""
    amount = Decimal(int(wei))
    if amount == 0:
        return f"0 {currency}"
    if abs(amount) >= 10**12:
        return f"{_short(amount / 10**18)} {currency}"
    if abs(amount) >= 10**6:
        return f"{_short(amount / 10**9)} gwei"
    return f"{amount} wei"


def _short(value: Decimal) -> str:
    rounded = round(value, max(2, 5 - value.adjusted()))
    text = f"{rounded:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def seconds(value: float) -> str:
    """0.04 s, 3.2 s, 2 min 5 s, 1 h 3 min."""
    if value < 1:
        return f"{value:.2f} s"
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: float) -> str:
    """812 B, 1.4 kB, 12.0 MB (powers of 1000)."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000 or unit == "GB":
            return f"{count:.1f} {unit}"
    raise AssertionError


def percent(share: float) -> str:
    """93 %; never rounds to certainty what is not certain."""
    value = share * 100
    if 0 < value < 1:
        return "under 1 %"
    if 99 < value < 100:
        return f"{min(value, 99.9):.1f} %"
    return f"{value:.0f} %"


def reputation(points: int | None) -> str:
    return "—" if points is None else f"{points:,}"


def short_id(text: str, keep: int = 6) -> str:
    """0x1234…abcd of a long hexadecimal id; short texts as they are."""
    return text if len(text) <= 2 * keep + 4 else f"{text[: keep + 2]}…{text[-4:]}"


def words(key: str) -> str:
    """A machine key as words: `case_open_wei` is "Case open"."""
    for tail in ("_wei", "_s", "_bytes"):
        key = key.removesuffix(tail)
    text = key.replace("_", " ").replace(".", " ").strip()
    return text[:1].upper() + text[1:]


def moment(t: float) -> str:
    """A Unix time as date and time, UTC."""
    try:
        return datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{t:.0f}"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
