"""What each layer of a session cost, from a party's laps and the schedule."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from protocols.blind.party import Lap
from protocols.blind.schedule import bytes_by_place
from protocols.blind.topology import Topology


def layer_costs(topology: Topology, batch: int, laps: Sequence[Lap]) -> list[dict[str, Any]]:
    """In order: `name`, `seconds` on this party's clock after the image went out, `bytes` on the wire.

    Time is that until a layer was done since the one before: a patient's clip holds the model's sums before it.
    """
    seconds: dict[int, float] = {}
    for before, lap in itertools.pairwise(laps):
        seconds[lap.place] = seconds.get(lap.place, 0.0) + lap.at - before.at
    moved = bytes_by_place(topology, batch)
    places = sorted(set(seconds) | set(moved), key=lambda place: (place < 0, place))
    return [
        {"name": _name(topology, p), "seconds": round(seconds.get(p, 0.0), 6), "bytes": moved.get(p, 0)}
        for p in places
    ]


def _name(topology: Topology, place: int) -> str:
    return "image and result" if place < 0 else f"{place + 1} {type(topology.nodes[place]).__name__}"


def online_seconds(laps: Sequence[Lap]) -> float:
    """Seconds from the image to the result; 0 without laps."""
    return laps[-1].at - laps[0].at if laps else 0.0
