"""Where a training run stands, on disk after each epoch: an older checkpoint stays until the new one is whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from models.train_files import write_together
from models.train_loop import Trainer
from protocols.errors import UserError

_VERSION = 1


class Checkpoint:
    """The checkpoint of one run in `path`. fingerprint: what the run was told; another run's file is refused."""

    def __init__(self, path: Path, fingerprint: dict[str, Any]) -> None:
        self.path, self.fingerprint = path, fingerprint

    def write(self, trainer: Trainer, history: list[dict[str, Any]]) -> None:
        """Raises `UserError` when it cannot be written; the one before is kept."""
        held = io.BytesIO()
        whole = {
            "version": _VERSION,
            "told": self.fingerprint,
            "trainer": trainer.state(),
            "history": history,
        }
        torch.save(whole, held)
        write_together({self.path: held.getvalue()})

    def read(self, trainer: Trainer) -> list[dict[str, Any]]:
        """Puts the trainer where the checkpoint left it and returns the history; an empty one without checkpoint.

        Raises `UserError` on a damaged checkpoint or one of another run.
        """
        remedy = f"give the options it was begun with, or remove {self.path} and start anew"
        if not self.path.exists():
            return []
        try:
            held = torch.load(self.path, map_location="cpu", weights_only=True)
            told, state, history = held["told"], held["trainer"], list(held["history"])
            if held["version"] != _VERSION:
                raise ValueError("another version")
        except OSError as error:
            raise UserError(
                f"the checkpoint {self.path} cannot be read ({error.strerror})", remedy
            ) from error
        except Exception as error:  # torch raises nearly anything on a damaged file
            raise UserError(
                f"the checkpoint {self.path} is damaged", f"remove {self.path} and start anew"
            ) from error
        for name, value in self.fingerprint.items():
            if told.get(name) != value:
                raise UserError(f"the checkpoint {self.path} is of a run with other {name}", remedy)
        trainer.restore(state)
        return history
