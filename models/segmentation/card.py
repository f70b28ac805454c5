"""What a segmentation network says of itself, as committed beside its weights; public."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from models.segmentation.plan import AXES, TASKS
from protocols.errors import UserError

_REMEDY = "restore the files, or train them again: python -m models.segmentation.train"


@dataclass(frozen=True, slots=True)
class SegCard:
    """task, axis: what it finds, in slices across which axis. architecture: arguments of `models.networks.unet.UNet`.
    slices, side: of an input image. input_scale: real value of one grey step. dice: on held-out volumes, by volume's
    name: the float network against labels, and the integer network against the float one. training_data, licence,
    quantisation: as `train.py` wrote them. network_hash: hex, of the integer network at that side."""

    name: str
    task: str
    axis: str
    architecture: dict[str, Any]
    slices: int
    side: int
    input_scale: float
    held_out: dict[str, Any]
    training_data: dict[str, Any]
    quantisation: dict[str, Any]
    licence: str
    network_hash: str

    def to_json(self) -> str:
        """The card as its file holds it."""
        return json.dumps({field.name: getattr(self, field.name) for field in fields(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> SegCard:
        """The card of a file's text. Raises `UserError` when a field is missing, unknown or of a wrong type."""
        try:
            card = cls(**json.loads(text))
            sizes = (
                type(card.slices) is int and type(card.side) is int and isinstance(card.architecture, dict)
            )
            known = card.task in TASKS and card.axis in AXES and len(card.axis) == 1
            if not (sizes and known and isinstance(card.network_hash, str) and card.input_scale > 0):
                raise ValueError("a field is of the wrong type")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(
                "a segmentation network's card is damaged or of another version", _REMEDY
            ) from error
        return card
