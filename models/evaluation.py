"""How good a network is on labelled pictures, through any engine, with the plain network beside it.

cases = read_cases(Path("held-out"), card.labels)            # a folder for each class, or a CSV
told = evaluate(network, card, cases, "blind")               # accuracy, auc, ece, agreement, seconds, bytes, ...
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.engines.base import Engine, make_engine
from models.metrics import Labels, Logits, auc, calibration_error, called, class_figures, probabilities
from models.scans import prepare
from models.train_folders import load_any
from models.zoo import Card
from protocols.blind.network import Network
from protocols.errors import UserError

BATCH = 8
WORDS = (("0", "no", "n", "false", "negative", "neg"), ("1", "yes", "y", "true", "positive", "pos"))
"""What is taken for the first and the second of two labels, beside their names."""

_LAYOUT = "give a folder that holds one folder for each class, or a CSV with the columns file and label"


@dataclass(frozen=True, slots=True)
class Case:
    """A picture and its true label, an index into the card's labels."""

    path: Path
    label: int


def match(word: str, labels: Sequence[str]) -> int | None:
    """The label that a folder's name or a table's entry means, None when it is none of them.

    Equal names match whatever their case, spaces, dashes or underscores, and tumor is tumour. A number is the label's
    place, from 0. Of two labels, no, false, negative mean the first, and yes, true, positive the second.
    """
    plain = _plain(word)
    for index, label in enumerate(labels):
        if plain == _plain(label):
            return index
    if plain.isdecimal() and int(plain) < len(labels):
        return int(plain)
    found = [index for index, words in enumerate(WORDS) if plain in words]
    return found[0] if found and len(labels) == 2 else None


def _plain(word: str) -> str:
    return re.sub(r"[\W_]+", "", word.casefold()).replace("tumour", "tumor")


def _label(word: str, labels: Sequence[str], where: str) -> int:
    found = match(word, labels)
    if found is None:
        known = ", ".join([*map(repr, labels), *(("yes, no",) if len(labels) == 2 else ())])
        raise UserError(
            f"{where} {word!r} is no label of this network", f"its labels are {known}, or 0, 1, ..."
        )
    return found


def read_cases(source: Path, labels: Sequence[str], limit: int | None = None) -> list[Case]:
    """The pictures of a folder of class folders, or of a CSV. limit: as many of them, spread evenly over all.

    Raises `UserError` for whatever is not one of the two, an unknown label, and when no picture is left.
    """
    if not source.exists():
        raise UserError(f"there is no folder or file {source}", _LAYOUT)
    try:
        cases = _from_folder(source, labels) if source.is_dir() else _from_table(source, labels)
    except OSError as error:
        raise UserError(f"{source} cannot be read ({error.strerror})", "check its permissions") from error
    if not cases:
        raise UserError(f"there is no picture in {source}", _LAYOUT)
    if limit is not None and limit < len(cases):
        cases = [cases[i * len(cases) // limit] for i in range(limit)]
    return cases


def _from_folder(root: Path, labels: Sequence[str]) -> list[Case]:
    classes = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise UserError(f"{root} holds no class folder", _LAYOUT)
    cases = []
    for folder in classes:
        label = _label(folder.name, labels, "the class folder")
        for path in sorted(folder.rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if path.is_file() and not hidden:
                cases.append(Case(path, label))
    return cases


def _from_table(table: Path, labels: Sequence[str]) -> list[Case]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(_rows(stream.read(), table))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} is not a CSV", _LAYOUT) from error
    cases = []
    for line, file, word in rows:
        where = f"in line {line} of {table.name}, the label"
        cases.append(Case(table.parent / file, _label(word, labels, where)))
        if not file or not cases[-1].path.is_file():
            raise UserError(
                f"line {line} of {table.name} names {file!r}, and there is no such file",
                "give paths relative to the CSV",
            )
    return cases


def _rows(text: str, table: Path) -> Iterator[tuple[int, str, str]]:
    """(line, file, label) of a table whose columns are parted by commas, semicolons or tabs."""
    head = text.partition("\n")[0]
    parted = max(",;\t", key=head.count)
    reader = csv.DictReader(text.splitlines(), delimiter=parted)
    names = {str(name).strip().casefold(): name for name in reader.fieldnames or []}
    lacking = [name for name in ("file", "label") if name not in names]
    if lacking:
        raise UserError(f"{table} has no column {' and no column '.join(lacking)}", _LAYOUT)
    for row in reader:
        yield reader.line_num, (row[names["file"]] or "").strip(), (row[names["label"]] or "").strip()


def evaluate(
    network: Network,
    card: Card,
    cases: Sequence[Case],
    engine: str,
    said: Callable[[int, int], None] = lambda done, total: None,
    batch: int = BATCH,
    dealer: str = "local",
) -> dict[str, Any]:
    """Figures of the engine on these pictures, and how it compares with the plain network; see `figures`.

    Raises `UserError` for a picture that cannot be read, which it names, and for an engine that cannot run.
    """
    costs = {"seconds": 0.0, "seconds_ahead": 0.0, "bytes": 0, "bytes_ahead": 0, "rounds": 0}
    told, right = [], []
    with make_engine(engine, network, dealer) as ready, make_engine("plain", network) as plain:
        for start in range(0, len(cases), batch):
            scans = [load_any(case.path) for case in cases[start : start + batch]]
            images = np.stack([prepare(scan, card.channels, card.side, card.preparation) for scan in scans])
            told.append(_asked(ready, images, costs))
            right.append(plain.predict(images).logits)
            said(min(start + batch, len(cases)), len(cases))
    labels = np.array([case.label for case in cases])
    made = figures(labels, np.concatenate(told), np.concatenate(right), card.labels)
    costs = {name: round(value, 4) for name, value in costs.items()}
    made.update(costs, network=card.name, network_hash=card.network_hash, engine=engine, batch=batch)
    return made


def _asked(engine: Engine, images: np.ndarray[Any, np.dtype[np.int8]], costs: dict[str, Any]) -> Logits:
    made = engine.predict(images)
    costs["seconds"] += made.seconds
    costs["seconds_ahead"] += made.seconds_ahead
    costs["bytes"] += made.bytes_online
    costs["bytes_ahead"] += made.bytes_ahead
    costs["rounds"] += made.rounds
    return made.logits


def figures(labels: Labels, logits: Logits, plain: Logits, names: Sequence[str]) -> dict[str, Any]:
    """Of logits (n, L) and those of the plain network.

    accuracy: share of right classes. auc: area under the ROC curve, of more than two classes the mean of one against
    the rest; None when no two classes are there. ece: expected calibration error, ten steps; calibration is the same.
    agreement: share of pictures to which both engines give the same class. notes: what to bear in mind.
    """
    winners = called(logits)
    present = sorted(set(labels.tolist()))
    notes = []
    if len(present) < 2:
        notes.append(f"all pictures are {names[present[0]]!r}, so there is no AUC")
    ece = round(calibration_error(labels, logits), 4)
    return {
        "n": len(labels),
        "accuracy": round(float(np.mean(winners == labels)), 4),
        "auc": _auc(labels, logits),
        "ece": ece,
        "calibration": ece,
        "agreement": round(float(np.mean(winners == called(plain))), 4),
        "largest_logit_difference": round(float(np.abs(logits - plain).max()), 4),
        "plain": {
            "accuracy": round(float(np.mean(called(plain) == labels)), 4),
            "auc": _auc(labels, plain),
            "ece": round(calibration_error(labels, plain), 4),
        },
        "mean_confidence": round(float(probabilities(logits).max(axis=1).mean()), 4),
        "classes": [
            {"label": names[c], "n": int(np.sum(labels == c)), "right": _share(winners[labels == c] == c)}
            for c in range(len(names))
        ],
        "notes": notes,
    }


def _auc(labels: Labels, logits: Logits) -> float | None:
    if len(set(labels.tolist())) < 2:
        return None
    if logits.shape[1] == 1:
        return round(auc(labels, logits[:, 0]), 4)
    told: float | None = class_figures(labels, logits)["auc"]
    return told


def _share(right: np.ndarray[Any, np.dtype[np.bool_]]) -> float | None:
    return round(float(right.mean()), 4) if len(right) else None
