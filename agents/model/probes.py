"""The probes that a network's card promises: those written in the card, or made here once and kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from protocols.blind.audit import Probes, publish_probes
from protocols.blind.network import Network
from protocols.errors import ProtocolError


def probes_of(network: Network, card: Any, folder: Path) -> dict[str, Any] | None:
    """`Probes.to_plain` of a network, or None when it can have none. Heavy the first time."""
    written = getattr(card, "probes", None)
    if written is not None:
        return Probes.from_plain(written).to_plain()
    name = network.network_hash()
    path = folder / f"probes-{name.hex()[:16]}.json"
    with contextlib.suppress(OSError, ValueError, ProtocolError):
        return Probes.from_plain(json.loads(path.read_text("utf-8"))).to_plain()
    seed = hashlib.blake2b(name, digest_size=32, person=b"crypdoc/probes").digest()
    try:
        made = publish_probes(network, seed, np.random.default_rng()).to_plain()
    except ProtocolError:
        return None
    with contextlib.suppress(OSError):
        path.write_text(json.dumps(made), "utf-8")
    return made
