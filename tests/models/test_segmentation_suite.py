"""The networks that come with CrypDoc: files and cards, and that engines agree on them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from models.engines.base import make_engine
from models.segmentation.cardpage import page
from models.segmentation.material import load as load_labelled
from models.segmentation.measure import dice
from models.segmentation.plan import AXES, TASKS, make_plan
from models.segmentation.run import Wishes, segment
from models.segmentation.samples import chest, sample_volume
from models.segmentation.suite import BUILT_IN, NAME, load_suite
from models.volumes import read_volume
from protocols.errors import UserError

DATA = Path(__file__).parents[3] / "shared" / "data" / "covid-ct-seg-16vol" / "vol128"
QUICK = Wishes(engine="plain", axes="z")


class Silent:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.stages: list[str] = []

    def step(self, stage: str, done: int, total: int) -> None:
        if stage not in self.stages:
            self.stages.append(stage)

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A suite along z alone, to be damaged."""
    for task in TASKS:
        (tmp_path / "suite" / task).mkdir(parents=True)
        for ending in ("safetensors", "card.json"):
            shutil.copy(BUILT_IN / task / f"z.{ending}", tmp_path / "suite" / task)
    return tmp_path / "suite"


def test_the_built_in_suite_has_a_network_for_each_task_and_axis() -> None:
    suite = load_suite()
    assert suite.axes == AXES
    assert suite.identity == load_suite(NAME).identity
    for (task, axis), one in suite.networks.items():
        assert (one.card.task, one.card.axis) == (task, axis)
        assert one.network.topology.thresholds == ()
        assert one.network.topology.output_shape == (1, 128, 128)
        assert one.path.stat().st_size < 4 << 20


def test_a_part_of_a_suite_has_another_identity(copied: Path) -> None:
    part = load_suite(copied)
    assert part.axes == "z"
    assert part.identity != load_suite().identity
    with pytest.raises(UserError, match="no networks along x, y"):
        segment(
            sample_volume(copied.parent / "v", 128, 4), part, Wishes("plain"), copied.parent / "o", Silent()
        )


def test_lung_and_infection_in_folders_of_their_own(copied: Path) -> None:
    assert load_suite(copied / "lung", copied / "infection").identity == load_suite(copied).identity


def test_damaged_and_exchanged_files_are_refused(copied: Path) -> None:
    lung, infection = copied / "lung", copied / "infection"
    card = json.loads((lung / "z.card.json").read_text())
    (lung / "z.card.json").write_text(json.dumps(card | {"network_hash": "00" * 32}))
    with pytest.raises(UserError, match="do not belong together"):
        load_suite(copied)
    (lung / "z.card.json").write_text(json.dumps(card | {"surprise": 1}))
    with pytest.raises(UserError, match="card is damaged"):
        load_suite(copied)
    for ending in ("safetensors", "card.json"):
        shutil.copy(infection / f"z.{ending}", lung)
    with pytest.raises(UserError, match="is a network for infection along z"):
        load_suite(copied)
    half = load_file(infection / "z.safetensors")
    save_file({"network": half["network"]}, infection / "z.safetensors")
    for ending in ("safetensors", "card.json"):
        shutil.copy(BUILT_IN / "lung" / f"z.{ending}", lung)
    with pytest.raises(UserError, match="float weights"):
        load_suite(copied).networks["infection", "z"].plain()
    (lung / "z.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(UserError, match="damaged or not a CrypDoc network"):
        load_suite(copied)
    (lung / "z.safetensors").unlink()
    with pytest.raises(UserError, match="no axis has a network for both"):
        load_suite(copied)
    with pytest.raises(UserError, match="no folder"):
        load_suite(copied / "nowhere")


def test_the_same_weights_serve_other_sides(copied: Path) -> None:
    one = load_suite(copied).networks["infection", "z"]
    large = one.at(256)
    assert large.topology.input_shape == (5, 256, 256)
    assert large.network_hash() != one.network.network_hash()
    assert one.at(256).network_hash() == large.network_hash()
    images = np.zeros((1, 5, 256, 256), np.int8)
    images[:, :, 64:192, 64:192] = np.random.default_rng(0).integers(-100, 100, (1, 5, 128, 128))
    with make_engine("plain", large) as wide, make_engine("plain", one.network) as narrow:
        told = wide.predict(images).logits.reshape(256, 256)[112:144, 112:144]
        alone = narrow.predict(np.ascontiguousarray(images[:, :, 64:192, 64:192])).logits.reshape(128, 128)[
            48:80, 48:80
        ]
    assert np.abs(told - alone).max() < 0.1 * max(1.0, np.abs(alone).max())  # the middle does not see the rim


def test_integer_and_float_network_say_the_same(copied: Path) -> None:
    drawn = chest(128, 8)
    images = np.stack([drawn.greys[:, :, n + np.arange(-2, 3)].transpose(2, 1, 0) for n in (2, 4, 5)])
    steps = np.clip(images.astype(np.int16) - 128, -127, 127).astype(np.int8)
    for one in load_suite(copied).networks.values():
        with torch.inference_mode():
            plain = one.plain()(torch.from_numpy(steps).float() * one.card.input_scale)[:, 0].numpy()
        with make_engine("plain", one.network) as engine:
            told = engine.predict(steps).logits.reshape(plain.shape)
        assert dice(told > 0, plain > 0) > 0.99


def test_a_drawn_chest_has_lungs(tmp_path: Path) -> None:
    volume, drawn = sample_volume(tmp_path, 128, 10), chest(128, 10)
    outcome = segment(volume, load_suite(), QUICK, tmp_path / "out", Silent(), drawn.infection, drawn.lung)
    told = outcome.told
    assert told["lung"]["dice_against_labels"] > 0.8
    assert told["images"] == 20
    assert told["bytes"] == 0
    assert 0 <= told["infection_percent_of_lung"] <= 100
    assert outcome.masks.infection.shape == volume.values.shape
    assert not (outcome.masks.infection & ~_grown(outcome.masks.lung)).any()


def test_blind_and_plain_masks_agree_and_a_stop_costs_nothing_twice(tmp_path: Path) -> None:
    """The blind engine, three processes; stopped after the first sweep, and again with the same folder."""
    volume = sample_volume(tmp_path, 128, 4)

    class Stopping(Silent):
        def step(self, stage: str, done: int, total: int) -> None:
            super().step(stage, done, total)
            if done == 4 and stage.startswith("blind engine"):
                raise KeyboardInterrupt

    wishes = Wishes(axes="z", batch=2)
    with pytest.raises(KeyboardInterrupt):
        segment(volume, load_suite(), wishes, tmp_path / "out", Stopping())
    screen = Silent()
    told = segment(volume, load_suite(), wishes, tmp_path / "out", screen).told
    assert any("4 of 8 images were done before" in line for line in screen.said)
    assert told["dice_against_plain"] >= 0.99
    assert told["lung"]["dice_against_plain"] >= 0.995
    assert told["bytes"] == told["bytes_online"] + told["bytes_ahead"] > 8 * 50e6
    assert told["rounds"] > 0


def test_wishes_that_cannot_be() -> None:
    for wishes, words in (
        (Wishes(engine="magic"), "no engine"),
        (Wishes(dealer="remote"), "no dealer"),
        (Wishes(engine="plain", dealer="none"), "only the blind engine"),
    ):
        with pytest.raises(UserError, match=words):
            wishes.check()
    assert make_plan(4, "z").axes == "z"


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="the labelled volumes beside the checkout are absent")
def test_held_out_volumes_reach_the_marks_in_the_clear(tmp_path: Path) -> None:
    """Mean Dice over the validation fold, the integer networks without encryption: lung 0.95, infection 0.75."""
    suite = load_suite()
    names = list(suite.networks["infection", "z"].card.held_out["volumes"])
    assert len(names) >= 3
    found: dict[str, list[float]] = {"lung": [], "infection": []}
    for name in names:
        assert name not in suite.networks["infection", "z"].card.training_data["volumes"]
        volume = read_volume(DATA / f"{name}_ct.nii.gz")
        masks = segment(volume, suite, Wishes("plain"), tmp_path / name, Silent()).masks
        drawn = load_labelled(DATA, name, "z")["z"]
        for task, mask in (("lung", masks.lung), ("infection", masks.infection)):
            marks = drawn.label(task, torch.arange(volume.values.shape[2]))[:, 0].numpy() > 0
            found[task].append(dice(mask.transpose(2, 1, 0), marks))
    assert np.mean(found["lung"]) >= 0.95, found
    assert np.mean(found["infection"]) >= 0.75, found


def _grown(mask: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    return np.stack([ndimage.binary_dilation(mask[:, :, n]) for n in range(mask.shape[2])], 2)


def test_the_page_says_what_the_cards_say() -> None:
    assert BUILT_IN.with_suffix(".md").read_text(encoding="utf-8") == page(load_suite())
