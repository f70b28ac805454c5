"""The patient's side around a session: tapes used once, masked weights kept, costs by layer."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest

from agents.engine.calibrate import measure
from agents.engine.dealing import seed_given
from agents.engine.layers import layer_costs, online_seconds
from agents.engine.store import Store
from agents.patient.blind import BlindReader, seconds_told
from agents.patient.masked import MaskedCache
from protocols.blind.audit import AuditedPatient, publish_probes
from protocols.blind.party import Lap
from protocols.blind.schedule import bytes_by_place
from protocols.blind.weights import ModelWeights
from protocols.errors import ProtocolError
from tests.agents.engine.blind_pairs import Stage
from tests.protocols.blind.blind_samples import draw, fill, tiny

NETWORK = fill(tiny(logit_scale=0.001), 1)
TOP, NAME = NETWORK.topology, NETWORK.network_hash()
PROBES = publish_probes(NETWORK, bytes(32), np.random.default_rng(0), 4).to_plain()
IMAGE = np.zeros(TOP.input_shape, np.int8)
BODY = {
    "topology": TOP.encode(),
    "network": NAME,
    "model": "0x1",
    "dealer": "0x2",
    "slots": 4,
    "card": {"probes": PROBES},
}


def reader(folder: Path) -> BlindReader:
    return BlindReader(Store(None), MaskedCache(folder / "masked", 1 << 20))


def test_a_tape_is_taken_once_and_for_the_agreed_batch(tmp_path: Path) -> None:
    blind = reader(tmp_path)
    given = seed_given(draw("tape"), draw("seed"), 4)
    assert blind.take(BODY, given) == (draw("tape"), draw("seed"))
    with pytest.raises(ProtocolError, match="used before"):
        blind.take(BODY, given)
    with pytest.raises(ProtocolError, match="agreed"):
        blind.take(BODY, seed_given(draw("other"), draw("seed"), 1))


def test_its_party_has_the_slots_that_were_asked_for(tmp_path: Path) -> None:
    blind = reader(tmp_path)
    party = blind.party(BODY, draw("s"), IMAGE, draw("t"), draw("seed"))
    assert isinstance(party, AuditedPatient)
    assert party.batch == 4
    alone = blind.party(BODY | {"slots": 0}, draw("s"), IMAGE, draw("t"), draw("seed"))
    assert not isinstance(alone, AuditedPatient)
    assert alone.batch == 1
    with pytest.raises(ProtocolError, match="probes"):
        blind.party(BODY | {"card": {}}, draw("s"), IMAGE, draw("t"), draw("seed"))


def test_masked_weights_are_kept_within_bounds(tmp_path: Path) -> None:
    weights = ModelWeights(NETWORK, bytes(32)).masked
    size = len(weights.encode())
    cache = MaskedCache(tmp_path / "masked", 2 * size)
    for number in range(3):
        cache.put(NAME, f"model {number}", "dealer", weights)
        for path in (tmp_path / "masked").iterdir():
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 10))
    found = cache.get(TOP, NAME, "model 2", "dealer")
    assert found is not None
    assert found.digest == weights.digest
    assert cache.get(TOP, NAME, "model 0", "dealer") is None
    assert sum(p.stat().st_size for p in (tmp_path / "masked").iterdir()) <= 2 * size
    for path in (tmp_path / "masked").iterdir():
        assert path.stat().st_mode & 0o077 == 0
        path.write_bytes(b"short")
    assert cache.get(TOP, NAME, "model 2", "dealer") is None
    nothing = MaskedCache(tmp_path / "none", 0)
    nothing.put(NAME, "model", "dealer", weights)
    assert nothing.get(TOP, NAME, "model", "dealer") is None
    assert not (tmp_path / "none").exists()


def test_costs_by_layer() -> None:
    laps = [Lap(-1, 10.0), Lap(1, 10.5), Lap(1, 10.75), Lap(-1, 11.0)]
    layers = layer_costs(TOP, 4, laps)
    assert [one["name"] for one in layers] == ["2 Clip", "image and result"]
    assert [one["seconds"] for one in layers] == [0.75, 0.25]
    assert [one["bytes"] for one in layers] == [bytes_by_place(TOP, 4)[place] for place in (1, -1)]
    assert online_seconds(laps) == 1.0
    assert online_seconds([]) == 0


def test_what_a_session_kept(tmp_path: Path) -> None:
    stage = Stage(NETWORK, np.zeros((1, *TOP.input_shape), np.int64))
    traffic, _ = asyncio.run(stage.run())
    blind = reader(tmp_path)
    outcome = blind.outcome(BODY | {"slots": 0}, stage.patient, traffic)  # type: ignore[arg-type]
    assert outcome["bucket"] == stage.model.result.bucket
    assert outcome["logit"] == stage.patient.result.values.item()
    assert blind._cache.get(TOP, NAME, "0x1", "0x2") is not None


def test_what_the_quote_said() -> None:
    told = {"seconds_ahead": 1.0, "seconds_online": 0.5, "bytes": 2_000_000, "rounds": 7}
    assert "1.5 s, 2.0 MB and 7 rounds" in seconds_told(told)
    for nonsense in (None, {}, {"seconds_ahead": "x"}, told | {"bytes": None}):
        assert seconds_told(nonsense) == ""


def test_the_machine_is_measured_in_a_moment() -> None:
    speed = measure()
    assert all(0 < s < 1e-4 for s in (speed.narrow, speed.wide, speed.deal, speed.ahead, speed.online))
    assert measure() is speed
