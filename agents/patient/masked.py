"""Masked weights of networks, kept by the patient so that they need not be sent again: noise without their pad."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from protocols.blind.topology import Topology
from protocols.blind.weights import MaskedWeights
from protocols.errors import ProtocolError


class MaskedCache:
    """A folder of at most `budget` bytes; what was used longest ago goes first. budget 0: nothing is kept."""

    def __init__(self, folder: Path, budget: int) -> None:
        self._folder, self._budget = folder, budget

    def _path(self, network: bytes, model: str, dealer: str) -> Path:
        name = hashlib.blake2b(network + model.encode() + dealer.encode(), digest_size=20).hexdigest()
        return self._folder / f"{name}.masked"

    def get(self, topology: Topology, network: bytes, model: str, dealer: str) -> MaskedWeights | None:
        """What was kept of a network as this model and dealer mask it."""
        if self._budget <= 0:
            return None
        path = self._path(network, model, dealer)
        try:
            found = MaskedWeights(topology, network, path.read_bytes())
            os.utime(path)
        except (OSError, ProtocolError):
            return None
        return found

    def put(self, network: bytes, model: str, dealer: str, weights: MaskedWeights) -> None:
        """Keeps it, if it fits; a full disk is no reason to fail."""
        data = weights.encode()
        if len(data) > self._budget:
            return
        path = self._path(network, model, dealer)
        with contextlib.suppress(OSError):
            if path.exists() and path.read_bytes() == data:
                return
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = path.with_suffix(".new")
            fresh.touch(0o600)
            fresh.write_bytes(data)
            fresh.replace(path)
            self._trim()

    def _trim(self) -> None:
        files = sorted(self._folder.glob("*.masked"), key=lambda p: p.stat().st_mtime, reverse=True)
        total = 0
        for path in files:
            total += path.stat().st_size
            if total > self._budget:
                path.unlink(missing_ok=True)
