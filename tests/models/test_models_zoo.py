"""The committed networks load without torch, say what they are, and read the committed sample rightly."""

from __future__ import annotations

import json
import lzma
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from models import zoo
from models.scans import load_scan, prepare, sample_scan_path, synthetic_scan
from models.scans.scan import Scan
from models.zoo import BEST, NETWORKS, WEIGHTS, Card, load_card, load_network
from protocols.blind.reference import nearest, run_reference, stochastic
from protocols.errors import UserError

BRAIN = [name for name in NETWORKS if load_card(name).domain == "brain MRI"]
SIDES = {
    "LeNet": 32,
    "BigLeNet": 64,
    "ResNet18": 64,
    "EfficientNet-Lite0": 129,
    "EfficientNet-Lite0-skin": 129,
}


def logit(name: str, scan: Scan, seed: int | None = None) -> float:
    network, card = load_network(name)
    rounding = nearest if seed is None else stochastic(np.random.default_rng(seed))
    image = prepare(scan, card.channels, card.side, card.preparation)
    return float(run_reference(network, image, rounding).logits.flat[0]) * card.logit_scale


@pytest.mark.parametrize("name", NETWORKS)
def test_card_and_network_belong_together(name: str) -> None:
    network, card = load_network(name)
    topology = network.topology
    assert card.name == name
    assert topology.input_shape == (card.channels, card.side, card.side)
    assert topology.output_shape == (1, 1, 1)
    assert card.network_hash == network.network_hash().hex()
    assert card.logit_scale == topology.logit_scale
    assert card.licence == "Apache-2.0"
    assert card.training_data["redistributed"] is False


@pytest.mark.parametrize("name", NETWORKS)
def test_buckets_are_floors_of_calibrated_probability(name: str) -> None:
    network, card = load_network(name)
    for floor, threshold in zip(card.thresholds, network.topology.thresholds, strict=True):
        assert card.probability(threshold * card.logit_scale) == pytest.approx(floor, abs=2e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_promised_elsewhere(name: str) -> None:
    assert load_network(name)[0].topology.input_shape == (3, SIDES[name], SIDES[name])


def test_the_best_for_brain_mri_is_best_by_cross_validation() -> None:
    assert max(BRAIN, key=lambda name: load_card(name).cross_validation["auc"]) == BEST


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_stays_under_a_few_megabytes(name: str) -> None:
    assert (WEIGHTS / f"{NETWORKS[name]}.safetensors").stat().st_size < 4 << 20


@pytest.mark.parametrize("name", BRAIN)
@pytest.mark.parametrize("seed", range(3))
def test_the_sample_is_read_as_tumour_whatever_the_rounding(name: str, seed: int) -> None:
    _, card = load_network(name)
    value = logit(name, load_scan(sample_scan_path()), seed)
    assert card.label(value) == "tumour"
    assert card.probability(value) > 0.65


@pytest.mark.parametrize("name", BRAIN)
@pytest.mark.parametrize("seed", range(7, 13))
def test_synthetic_slices_are_told_apart(name: str, seed: int) -> None:
    assert (
        logit(name, synthetic_scan(seed, lesion=True)) > 0 > logit(name, synthetic_scan(seed, lesion=False))
    )


def test_loading_does_not_import_torch() -> None:
    program = (
        "import sys; from models.zoo import load_network; from models.reader import read; import models.scans; "
        "load_network('LeNet'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_names_in_any_case_and_paths() -> None:
    by_path = load_network(WEIGHTS / "lenet-brain-mri.safetensors")[0]
    assert load_network("lenet")[0] == by_path
    assert load_card("BIGLENET").name == "BigLeNet"


def test_probability_is_the_logistic_function_and_never_overflows() -> None:
    card = load_card("LeNet")
    assert card.read([math.log(3)]) == ("tumour", pytest.approx(0.75))
    assert card.read([-math.log(3)]) == ("no tumour", pytest.approx(0.75))
    assert card.read([0.0, math.log(4)]) == ("tumour", pytest.approx(0.8))
    assert card.probability(0) == 0.5
    assert card.probability(math.log(3)) == pytest.approx(0.75)
    assert card.probability(-1e9) < 1e-20
    assert card.probability(1e9) == pytest.approx(1)
    assert (card.label(0), card.label(0.1)) == ("no tumour", "tumour")


def copied(tmp_path: Path) -> Path:
    for suffix in (".safetensors", ".card.json"):
        shutil.copy(WEIGHTS / f"lenet-brain-mri{suffix}", tmp_path / f"mine{suffix}")
    return tmp_path / "mine.safetensors"


def test_unknown_damaged_and_mismatched_files_are_the_persons_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no network 'VGG'"):
        load_network("VGG")
    path = copied(tmp_path)
    assert load_network(path)[1].name == "LeNet"

    whole = path.read_bytes()
    inner = lzma.decompress(load(whole)["network"].tobytes())
    foreign = save({"network": np.frombuffer(inner.replace(b"CDN2", b"CDN9", 1), np.uint8)})
    for damage in (b"", whole[:100], whole[:-5], b"\x00" * 500, foreign):
        path.write_bytes(damage)
        with pytest.raises(UserError, match="damaged or not a CrypDoc network"):
            load_network(path)
    path.write_bytes(whole)

    card_path = path.with_suffix(".card.json")
    good = card_path.read_text()
    for text in (
        "",
        "[]",
        "{}",
        good.replace('"side": 32', '"side": "32"'),
        good.replace('"task"', '"tusk"'),
    ):
        card_path.write_text(text)
        with pytest.raises(UserError, match="card is damaged"):
            load_network(path)
    card_path.write_text(good.replace(load_card("LeNet").network_hash, "00" * 32))
    with pytest.raises(UserError, match="do not belong together"):
        load_network(path)
    card_path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        load_network(path)


def test_a_network_is_read_plain_or_compressed_and_never_unpacks_without_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied(tmp_path)
    whole = load_network(path)[0].encode()

    def store(data: bytes) -> None:
        path.write_bytes(save({"network": np.frombuffer(data, np.uint8)}))

    packed = lzma.compress(whole)
    for good in (whole, packed, lzma.compress(whole, preset=9)):
        store(good)
        assert load_network(path)[0].encode() == whole
    flipped = packed[:-200] + bytes([packed[-200] ^ 1]) + packed[-199:]
    for bad in (packed[:-20], packed[:200], packed + b"x", packed + packed, flipped, lzma.compress(packed)):
        store(bad)
        with pytest.raises(UserError, match="damaged or not a CrypDoc network"):
            load_network(path)
    bomb = lzma.LZMACompressor()
    zeros = bytes(1 << 20)
    store(b"".join([*(bomb.compress(zeros) for _ in range(300)), bomb.flush()]))
    with pytest.raises(UserError, match="damaged or not a CrypDoc network"):
        load_network(path)
    for form in (whole, packed):
        store(form)
        monkeypatch.setattr(zoo, "MAX_NETWORK_BYTES", len(whole))
        assert load_network(path)[0].encode() == whole
        monkeypatch.setattr(zoo, "MAX_NETWORK_BYTES", len(whole) - 1)
        with pytest.raises(UserError, match="damaged or not a CrypDoc network"):
            load_network(path)


@pytest.mark.parametrize("name", NETWORKS)
def test_card_survives_its_text_and_fits_a_quote(name: str) -> None:
    card = load_card(name)
    assert Card.from_json(card.to_json()) == card
    assert json.loads(card.to_json())["name"] == name
    assert len(card.summary()) < 140
    page = (WEIGHTS / f"{NETWORKS[name]}.md").read_text()
    assert card.network_hash in page
    assert str(card.held_out["auc"]) in page
