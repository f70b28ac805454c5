"""Whether fields of a view are uniform, independent of each other, and the same for two secrets.

A field has one value of `width` bits for each place (an element of a wire) in each sample (an image of a run).
For uniform, independent fields every sum of n signs below is a sum of n fair coins, so by Hoeffding's inequality
|sum| > LIMIT sqrt(n) has probability at most 2 exp(-LIMIT^2 / 2) = 1.3e-12. `findings` looks at fewer than 10^6
such sums a view: a false alarm has probability below 1.3e-6 (chi-square: below 1e-9 a histogram by Wilson and
Hilferty's approximation, of which there are under 10^3). The seeds are fixed, so a test that passes once passes always.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

LIMIT = 7.4
SIGMAS = 6.0
SMALL = 5  # fields of at most this many bits are looked at by threes as well


@dataclass(frozen=True)
class Field:
    """values: (samples, places), below 2^width."""

    values: NDArray[np.int64]
    width: int


Group: TypeAlias = dict[str, Field]  # fields of the same elements: looked at together
View: TypeAlias = dict[str, Group]


def stack(views: list[View]) -> View:
    """The samples of several runs one after the other."""
    return {
        group: {
            name: Field(np.concatenate([v[group][name].values for v in views]), field.width)
            for name, field in fields.items()
        }
        for group, fields in views[0].items()
    }


def _chance(statistic: float, freedom: int) -> bool:
    """Whether a chi-square statistic stays below SIGMAS by Wilson and Hilferty's approximation."""
    part = 2 / (9 * freedom)
    return statistic < freedom * (1 - part + SIGMAS * np.sqrt(part)) ** 3


def _histograms(field: Field) -> Iterator[NDArray[np.int64]]:
    """Counts of the values' upper and lower bits, at most six."""
    cut = min(6, field.width)
    for part in (field.values >> (field.width - cut), field.values & ((1 << cut) - 1)):
        yield np.bincount(part.reshape(-1), minlength=1 << cut)


def _signs(group: Group, widest: int = 32) -> tuple[NDArray[np.float32], list[str]]:
    """Every bit of every field as a sign, (samples, places, bits), with names."""
    columns, names = [], []
    for name, field in group.items():
        if field.width <= widest:
            for bit in range(field.width):
                columns.append(1 - 2 * ((field.values >> bit) & 1).astype(np.float32))
                names.append(f"{name}[{bit}]")
    shape = next(iter(group.values())).values.shape
    return (np.stack(columns, -1) if columns else np.zeros((*shape, 0), np.float32)), names


def _names(where: NDArray[np.bool_], names: list[str]) -> list[str]:
    return sorted({" ".join(names[i] for i in at) for at in np.argwhere(where)[:5]})


def _independence(group: Group) -> Iterator[str]:
    signs, names = _signs(group)
    by_place = np.abs(signs.sum(0)) > LIMIT * np.sqrt(len(signs))
    yield from (f"{n} at a place" for n in _names(by_place.any(0), names))
    flat = signs.reshape(-1, signs.shape[-1])
    far = LIMIT * np.sqrt(len(flat))
    pairs = np.abs(flat.T @ flat) > far
    np.fill_diagonal(pairs, False)
    yield from _names(pairs, names)
    few, names = _signs(group, SMALL)
    if not names:
        return
    flat = few.reshape(-1, few.shape[-1])
    for i in range(len(names)):
        threes = np.abs((flat[:, i + 1 :] * flat[:, i : i + 1]).T @ flat[:, i + 1 :]) > far
        np.fill_diagonal(threes, False)
        yield from (f"{names[i]} {found}" for found in _names(threes, names[i + 1 :]))


def _differences(group: Group, batch: int) -> Iterator[tuple[str, Group]]:
    """Each field less itself at the next place, in the next image, in the next run: masks used again show."""
    for what, axis, lag in (("next place", 1, 1), ("next image", 0, 1), ("next run", 0, batch)):
        made: Group = {}
        for name, field in group.items():
            count = field.values.shape[axis]
            if count > lag:
                ends = np.arange(lag, count), np.arange(count - lag)
                one, two = (field.values.take(end, axis) for end in ends)
                made[f"{name} less {what}"] = Field((one - two) % (1 << field.width), field.width)
        if made:
            yield what, made


def findings(view: View, batch: int) -> list[str]:
    """What is not as uniform, independent noise; empty when all is. batch: samples a run."""
    found = []
    for where, group in view.items():
        for name, field in group.items():
            for counts in _histograms(field):
                mean = counts.sum() / counts.size
                if not _chance(float(((counts - mean) ** 2 / mean).sum()), counts.size - 1):
                    found.append(f"{where}: values of {name}")
        found += [f"{where}: {what}" for what in _independence(group)]
        for _, lagged in _differences(group, batch):
            for name, field in lagged.items():
                # Consecutive differences of independent uniform values are independent and uniform themselves.
                signs = _signs({name: field})[0].reshape(-1, field.width)
                if (np.abs(signs.sum(0)) > LIMIT * np.sqrt(len(signs))).any():
                    found.append(f"{where}: {name}")
    return sorted(set(found))


def differences(one: View, two: View) -> list[str]:
    """In which fields, or pairs of bits, two views are distributed differently."""
    assert {g: list(f) for g, f in one.items()} == {g: list(f) for g, f in two.items()}
    found = []
    for where, group in one.items():
        for name, field in group.items():
            other = two[where][name]
            assert field.width == other.width
            assert field.values.shape == other.values.shape
            for a, b in zip(_histograms(field), _histograms(other), strict=True):
                filled = a + b > 0
                statistic = float(((a - b)[filled] ** 2 / (a + b)[filled]).sum())
                if filled.sum() > 1 and not _chance(statistic, int(filled.sum()) - 1):
                    found.append(f"{where}: values of {name}")
        (a, names), (b, _) = _signs(group), _signs(two[where])
        if (np.abs(a.sum(0) - b.sum(0)) > LIMIT * np.sqrt(2 * len(a))).any():
            found.append(f"{where}: a bit at a place")
        a, b = a.reshape(-1, len(names)), b.reshape(-1, len(names))
        far = np.abs(a.T @ a - b.T @ b) > LIMIT * np.sqrt(2 * len(a))
        found += [f"{where}: {what}" for what in _names(far, names)]
    return sorted(set(found))


def whole(view: View) -> list[str]:
    """Pairs of bits of all that was received for a sample, across places and groups; of wide fields the end bits.

    Fields that a party derives (groups named `opened`) are functions of the others and are left out.
    """
    columns = []
    for where, group in view.items():
        for name, field in group.items():
            if "opened" in where or name.startswith("~") or field.values.shape[0] < len(_first(view)):
                continue
            bits = range(field.width) if field.width <= SMALL else (0, field.width - 1)
            columns += [1 - 2 * ((field.values >> bit) & 1).astype(np.float32) for bit in bits]
    signs = np.concatenate(columns, 1)
    pairs = np.abs(signs.T @ signs) > LIMIT * np.sqrt(len(signs))
    np.fill_diagonal(pairs, False)
    return [f"bits {a} and {b} of {signs.shape[1]}" for a, b in np.argwhere(pairs)[:5]]


def _first(view: View) -> NDArray[np.int64]:
    """Some field with a value a sample: the group with most."""
    return max((f.values for g in view.values() for f in g.values()), key=len)
