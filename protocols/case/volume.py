"""A volume that is segmented: what patient and model agree on before any of it, and what is told of it after.

A model sells a *suite*, one network for each task and axis, under one id on chain. The patient names public sizes:
the side of an image, how many there are along which axis, how many go together. It pays for all of them at once; the
batches then are blind sessions, each with a tape of its own, whose logits the patient alone opens.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from protocols.blind.topology import Topology
from protocols.errors import ProtocolError

TASKS, AXES = ("lung", "infection"), "xyz"
NEIGHBOURS = 5
"""Slices that an image of a volume holds: the one that is segmented between two on either side."""

MAX_IMAGES = 4096
"""Images of one volume, at most: what one purchase can be for."""

SPARE = 8
"""Batches beyond those paid for that a model evaluates again, for sessions that broke in the middle of one: so many,
or a quarter when that is more, and never more than were paid for."""

MAX_DEALT = MAX_IMAGES + MAX_IMAGES // 4 + 16 * SPARE
"""Images for which a dealer makes tapes in one session: a whole volume, and what broken batches may cost."""

SEVERITIES = ("none", "mild", "moderate", "severe", "critical", "unknown")
FINDINGS = ("severity", "percent", "lung_ml", "infection_ml")
"""What a doctor is told of a mask."""

PNG = b"\x89PNG\r\n\x1a\n"


def suite_identity(networks: Mapping[tuple[str, str], bytes]) -> bytes:
    """32 bytes that name a suite on chain: a hash over its networks' hashes by (task, axis), or zeros."""
    hashed = hashlib.sha256(b"crypdoc/segmentation-suite/1")
    for task in TASKS:
        for axis in AXES:
            hashed.update(networks.get((task, axis), bytes(32)))
    return hashed.digest()


def allowance(volume: Mapping[str, Any]) -> int:
    """Batches that a purchase pays for, with those that broken sessions may cost."""
    batches = int(volume["batches"])
    return batches + max(min(SPARE, batches), batches // 4)


def check_offer(volume: Mapping[str, Any], body: Mapping[str, Any], identity: bytes) -> None:
    """Whether a proposal for a volume is whole. Raises `ProtocolError`, KeyError, TypeError or ValueError if not.

    volume: as in `PatientCase.volume`. body: the proposal. identity: what its owner signed as the network.
    """
    found = networks_of(body["suite"])
    if suite_identity({place: name for place, (name, _) in found.items()}) != identity:
        raise ProtocolError("the suite's networks are not those that its signed id stands for")
    if body["images"] != volume["images"]:
        raise ProtocolError("the offer is for another number of images than was asked for")
    side = int(volume["side"])
    for task, axis, _ in volume["sweeps"]:
        _, topology = found[task, axis]
        shape = Topology.decode(topology)
        if shape.input_shape != (NEIGHBOURS, side, side) or shape.output_shape != (1, side, side):
            raise ProtocolError("a network of the suite reads images of another size than was asked for")
        if shape.thresholds:
            raise ProtocolError("a network of the suite would open confidence buckets of single slices")


def networks_of(suite: Any) -> dict[tuple[str, str], tuple[bytes, bytes]]:
    """(task, axis) -> (hash, topology) of a proposal's suite. Raises `ProtocolError` when it is malformed."""
    if not isinstance(suite, list) or not 1 <= len(suite) <= len(TASKS) * len(AXES):
        raise ProtocolError("a suite is a list of networks")
    found = {}
    for entry in suite:
        whole = isinstance(entry, list) and len(entry) == 4
        if not whole or entry[0] not in TASKS or entry[1] not in tuple(AXES):
            raise ProtocolError("a network of a suite lacks its task, axis, hash or topology")
        task, axis, name, topology = entry
        if not isinstance(name, bytes) or len(name) != 32 or not isinstance(topology, bytes):
            raise ProtocolError("a network's hash is 32 bytes, and its topology bytes")
        found[task, axis] = (name, topology)
    if len(found) != len(suite):
        raise ProtocolError("a suite has two networks for one task and axis")
    return found


def png_size(picture: bytes) -> tuple[int, int] | None:
    """(columns, rows) that a PNG says of itself, None for what is no PNG."""
    if not picture.startswith(PNG) or picture[12:16] != b"IHDR" or len(picture) < 24:
        return None
    return int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")


def shows(size: list[int], mask: object, findings: object) -> bool:
    """Whether a mask and what is said of it fit the picture, (columns, rows), that was read."""
    whole = isinstance(mask, bytes) and bool(size) and png_size(mask) == tuple(size)
    return whole and proper_findings(findings)


def layout_of(told: Any) -> dict[str, int]:
    """How a volume's slices lie in the picture that the panel reads: columns, rows, shown, of; {} for anything else."""
    if not isinstance(told, dict) or not isinstance(told.get("slices"), list):
        return {}
    sizes = {"columns": told.get("columns"), "rows": told.get("rows"), "of": told.get("of")}
    sizes["shown"] = len(told["slices"])
    found = {name: n for name, n in sizes.items() if type(n) is int and 1 <= n <= MAX_IMAGES}
    return found if len(found) == 4 and found["shown"] <= found["columns"] * found["rows"] else {}


def proper_findings(findings: Any) -> bool:
    """Whether what a patient says of a mask has the right form: severity, ml of lung and infection, percent or None."""
    if not isinstance(findings, dict) or findings.get("severity") not in SEVERITIES:
        return False
    percent = findings.get("percent")
    sizes = [findings.get("lung_ml"), findings.get("infection_ml"), *([] if percent is None else [percent])]
    numbers = all(isinstance(n, int | float) and not isinstance(n, bool) for n in sizes)
    return numbers and all(math.isfinite(n) and n >= 0 for n in sizes) and (percent is None or percent <= 100)
