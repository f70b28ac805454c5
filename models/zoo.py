"""The networks that come with CrypDoc, loaded without torch.

    network, card = load_network("LeNet")
    image = prepare(scan, card.channels, card.side)
    card.probability(opened * network.topology.logit_scale)      # calibrated probability of tumour

A network is a pair of files: `NAME.safetensors` (its float weights where it is small, and under "network" the bytes
of the quantised `Network`, as they are or compressed as .xz) and `NAME.card.json` (what it is, how good, what it was
trained on). The card names the network's hash, and a pair that does not belong together is refused.
"""

from __future__ import annotations

import json
import lzma
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from protocols.blind.network import Network
from protocols.errors import CrypDocError, UserError

WEIGHTS = Path(__file__).with_name("weights")
NETWORKS = {
    "LeNet": "lenet-brain-mri",
    "BigLeNet": "biglenet-brain-mri",
    "ResNet18": "resnet18-brain-mri",
    "EfficientNet-Lite0": "efficientnet-lite0-brain-mri",
    "EfficientNet-Lite0-skin": "efficientnet-lite0-skin",
}
BEST = "EfficientNet-Lite0"  # for brain MRI, by cross-validation
_MAX_CARD_BYTES = 64 * 1024
MAX_NETWORK_BYTES = 256 << 20  # of a network unpacked
_XZ, _XZ_MEMORY = b"\xfd7zXZ\x00", 128 << 20  # how .xz begins, and what unpacking may take (preset 9: 65 MB)
_REMEDY = "restore the file, or name one of: " + ", ".join(NETWORKS)


@dataclass(frozen=True, slots=True)
class Card:
    """What a network says of itself, as committed beside its weights; public.

    labels[0] is read from a negative logit, labels[1] from a positive one; a network of more labels has a logit
    for each, and the largest wins. modalities: DICOM codes it reads. held_out, cross_validation, quantisation,
    calibration, training_data: figures, as `models/train.py` wrote them. thresholds: least calibrated probability
    of the winning label for confidence buckets 1, 2, 3; empty: no buckets. network_hash: hex. preparation:
    how `models.scans.prepare` makes its input. domain: what it is for, in a word or two.
    """

    name: str
    task: str
    specialty: str
    labels: tuple[str, ...]
    modalities: tuple[str, ...]
    channels: int
    side: int
    logit_scale: float
    thresholds: tuple[float, ...]
    held_out: dict[str, Any]
    cross_validation: dict[str, Any]
    quantisation: dict[str, Any]
    calibration: dict[str, Any]
    training_data: dict[str, Any]
    licence: str
    network_hash: str
    preparation: str = "views"
    domain: str = "brain MRI"

    def probability(self, logit: float) -> float:
        """Calibrated probability of labels[1]. logit: the real logit, an opened one times `logit_scale`.

        Platt's scale and offset were folded into the last layer, so this is the logistic function and no
        more.
        """
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))

    def label(self, logit: float) -> str:
        """The winning label; a logit of 0 says labels[0]."""
        return self.labels[int(logit > 0)]

    def read(self, logits: Sequence[float]) -> tuple[str, float]:
        """The winning label and its calibrated probability. logits: as many as the network has, in real units."""
        if len(logits) == 1:
            told = self.probability(logits[0])
            return self.label(logits[0]), max(told, 1 - told)
        powers = [math.exp(max(-60.0, value - max(logits))) for value in logits]
        winner = powers.index(max(powers))
        return self.labels[winner], powers[winner] / sum(powers)

    def summary(self) -> str:
        """One line for a quote or a directory, at most about 120 characters."""
        figures = self.held_out
        return (
            f"{self.name}: {self.task}, {self.channels}x{self.side}x{self.side}, held-out accuracy "
            f"{figures['accuracy']:.3f}, AUC {'none' if figures['auc'] is None else format(figures['auc'], '.3f')}, "
            f"n={figures['n']}"
        )

    def to_json(self) -> str:
        """The card as its file holds it."""
        return json.dumps({field.name: getattr(self, field.name) for field in fields(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Card:
        """The card of a card file's text. Raises UserError when a field is missing, unknown or of a wrong
        type."""
        try:
            values = json.loads(text)
            for name in ("labels", "modalities", "thresholds"):
                values[name] = tuple(values[name])
            card = cls(**values)
            two = len(card.labels) >= 2 and all(isinstance(label, str) for label in card.labels)
            three = len(card.thresholds) in ((0, 3) if len(card.labels) == 2 else (0,))
            sizes = isinstance(card.channels, int) and isinstance(card.side, int)
            scale = isinstance(card.logit_scale, float) and card.logit_scale > 0
            if not (two and three and sizes and scale and isinstance(card.network_hash, str)):
                raise ValueError("a field is of the wrong type")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError("the model card is damaged or of another version", _REMEDY) from error
        return card


def load_network(which: str | Path) -> tuple[Network, Card]:
    """The quantised network and its card. which: a name of `NETWORKS` in any case, or the path of a
    .safetensors file.

    Raises UserError: no such network, a damaged or foreign file, or a card that belongs to another network.
    """
    path = _path(which)
    try:
        from safetensors.numpy import load

        tensors = load(path.read_bytes())
        network = Network.decode(unpacked(np.asarray(tensors["network"], dtype=np.uint8).tobytes()))
    except OSError as error:
        raise UserError(f"the network file {path.name} cannot be read ({error.strerror})", _REMEDY) from error
    except (Exception, CrypDocError) as error:  # the safetensors parser has its own, undeclared errors
        raise UserError(
            f"the network file {path.name} is damaged or not a CrypDoc network", _REMEDY
        ) from error
    card = _card(path)
    if card.network_hash != network.network_hash().hex():
        raise UserError(f"{path.name} and its card do not belong together", _REMEDY)
    return network, card


def load_card(which: str | Path) -> Card:
    """The card alone, without reading the weights. Raises UserError as `load_network` does."""
    return _card(_path(which))


def unpacked(stored: bytes) -> bytes:
    """A network's bytes, from .xz if they are. Raises ValueError: it is cut, has a tail, or unpacks to too much."""
    if stored.startswith(_XZ):
        reader = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        stored = reader.decompress(stored, MAX_NETWORK_BYTES + 1)
        if len(stored) <= MAX_NETWORK_BYTES and (not reader.eof or reader.unused_data):
            raise ValueError("the compressed network is cut or has a tail")
    if len(stored) > MAX_NETWORK_BYTES:
        raise ValueError("the network unpacks to too much")
    return stored


def _path(which: str | Path) -> Path:
    for name, stem in NETWORKS.items():
        if str(which).lower() in (name.lower(), stem):
            return WEIGHTS / f"{stem}.safetensors"
    path = Path(which)
    if not path.is_file():
        raise UserError(
            f"there is no network {str(which)!r}",
            f"name one of {', '.join(NETWORKS)}, or a .safetensors file",
        )
    return path


def _card(path: Path) -> Card:
    beside = path.with_suffix(".card.json")
    try:
        with beside.open("rb") as file:
            data = file.read(_MAX_CARD_BYTES + 1)
        if len(data) > _MAX_CARD_BYTES:
            raise UserError(f"the model card {beside.name} is too long", _REMEDY)
        return Card.from_json(data.decode("utf-8"))
    except OSError as error:
        raise UserError(f"the model card {beside.name} cannot be read ({error.strerror})", _REMEDY) from error
    except UnicodeDecodeError as error:
        raise UserError(f"the model card {beside.name} is not text", _REMEDY) from error
