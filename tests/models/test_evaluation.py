"""`crypdoc evaluate` on a few drawn pictures: figures under their names, and for every bad input one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import engine_samples as samples
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.numpy import save

from agents.cli.evaluate import evaluate as command
from models.evaluation import figures, match, read_cases
from models.zoo import Card
from protocols.blind.layers import Affine, Clip, Conv, Dense, Flatten, SumPool
from protocols.blind.network import Network
from protocols.blind.topology import Topology
from protocols.errors import UserError

LABELS = ("no tumour", "tumour")


def tiny() -> Network:
    nodes = (
        Affine((Conv(0, 4, 5),)),
        Clip(1, 8, 5),
        SumPool(2),
        Flatten(3),
        Affine((Dense(4, 1),)),
    )
    topology = Topology((1, 16, 16), nodes, 22, -127, 127, logit_scale=0.002, thresholds=(10, 200, 900))
    return samples.random_network(topology)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    made = tiny()
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(save({"network": np.frombuffer(made.encode(), np.uint8)}))
    hash_ = made.network_hash().hex()
    none: dict[str, object] = {}
    card = Card(
        *("Tiny", "a test", "none", LABELS, ("MR",), 1, 16, 0.002, (0.6, 0.7, 0.8)),
        *(none, none, none, none, none, "none", hash_),
    )
    path.with_suffix(".card.json").write_text(card.to_json())
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """no/ and yes/, three pictures each, and a table of them beside."""
    root, rng = tmp_path / "data", np.random.default_rng(3)
    lines = ["\ufeffFile,Age,Label"]
    for label, name in enumerate(("no", "yes")):
        (root / name).mkdir(parents=True)
        for number in range(3):
            file = f"{name}/{number} scan.png"
            Image.fromarray(rng.integers(0, 255, (40, 50 + number)).astype(np.uint8)).save(root / file)
            lines.append(f"{file},{30 + number},{label}")
    (root / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def run(network: Path, data: Path, *more: str, engine: str = "plain") -> Result:
    arguments = ["--network", str(network), "--data", str(data), "--engine", engine, *more]
    return CliRunner().invoke(command, arguments)


def sentence(result: Result, code: int = 2) -> str:
    """The one sentence of a refusal."""
    assert result.exit_code == code, result.output
    (line,) = [line for line in result.output.splitlines() if line]
    assert line.startswith("crypdoc: ")
    return line


def test_figures_stand_under_their_names(network: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "told.json"
    result = run(network, pictures, "--json", str(out))
    assert result.exit_code == 0, result.output
    told = json.loads(out.read_text())
    assert told["n"] == 6
    assert told["network"] == "Tiny"
    assert told["engine"] == "plain"
    assert told["agreement"] == 1
    assert told["bytes"] == 0
    assert told["seconds"] > 0
    assert 0 <= told["accuracy"] <= 1
    assert 0 <= told["auc"] <= 1
    assert told["ece"] == told["calibration"]
    assert [row["n"] for row in told["classes"]] == [3, 3]
    assert told["data"] == "data"


@pytest.mark.parametrize("batch", [1, 4])
def test_a_table_says_what_the_folders_say(network: Path, pictures: Path, tmp_path: Path, batch: int) -> None:
    names = ("accuracy", "auc", "ece", "n")
    made = []
    for source in (pictures, pictures / "table.csv"):
        out = tmp_path / "told.json"
        assert run(network, source, "--json", str(out), "--batch", str(batch)).exit_code == 0
        told = json.loads(out.read_text())
        made.append([told[name] for name in names])
    assert made[0] == made[1]


def test_the_blind_engine_agrees(network: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "told.json"
    result = run(network, pictures, "--json", str(out), "--batch", "6", engine="blind")
    assert result.exit_code == 0, result.output
    told = json.loads(out.read_text())
    assert told["bytes"] > 1000
    assert told["bytes_ahead"] > 1000
    assert told["rounds"] > 1
    assert told["agreement"] >= 5 / 6
    assert told["largest_logit_difference"] < 0.2


def test_a_limit_takes_from_all_classes(pictures: Path) -> None:
    assert [case.label for case in read_cases(pictures, LABELS, 4)] == [0, 0, 1, 1]
    assert len(read_cases(pictures, LABELS, 99)) == 6


def test_one_class_has_no_auc(network: Path, pictures: Path, tmp_path: Path) -> None:
    for path in (pictures / "yes").iterdir():
        path.unlink()
    out = tmp_path / "told.json"
    result = run(network, pictures, "--json", str(out))
    assert result.exit_code == 0, result.output
    assert "all pictures are 'no tumour'" in result.output
    assert json.loads(out.read_text())["auc"] is None


@pytest.mark.parametrize(
    ("word", "label"),
    [
        *(
            ("tumour", 1),
            ("Tumor", 1),
            ("NO_TUMOR", 0),
            ("no-tumour", 0),
            ("no tumour", 0),
            ("yes", 1),
            ("No", 0),
        ),
        *(("0", 0), ("1", 1), ("2", None), ("positive", 1), ("glioma", None), ("", None), ("²", None)),
    ],
)
def test_words_for_labels(word: str, label: int | None) -> None:
    assert match(word, LABELS) == label


def test_yes_means_nothing_among_three() -> None:
    assert match("yes", ("a", "b", "c")) is None
    assert match("2", ("a", "b", "c")) == 2


def test_figures_of_three_classes() -> None:
    logits = np.eye(3)[[0, 1, 2, 0]] * 5.0
    told = figures(np.array([0, 1, 2, 1]), logits, logits, ("a", "b", "c"))
    assert told["accuracy"] == 0.75
    assert told["auc"] is not None
    assert told["classes"][1]["right"] == 0.5


def test_bad_sources_are_refused(network: Path, pictures: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "there is no folder or file" in sentence(run(network, tmp_path / "nowhere"))
    assert "holds no class folder" in sentence(run(network, empty))
    (empty / "yes").mkdir()
    assert "there is no picture" in sentence(run(network, empty))
    (pictures / "glioma").mkdir()
    assert "'glioma' is no label of this network" in sentence(run(network, pictures))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,name\na.png,1\n", "has no column label"),
        ("a\n", "has no column file and no column label"),
        ("", "has no column file"),
        ("file,label\n", "there is no picture"),
        ("file,label\na.png,1\n", "line 2 of bad.csv names 'a.png'"),
        ("file,label\n,1\n", "line 2 of bad.csv names ''"),
        ("file,label\na.png,perhaps\n", "'perhaps' is no label"),
        ("file;label\na.png\n", "'' is no label"),
    ],
)
def test_bad_tables_are_refused(network: Path, tmp_path: Path, text: str, said: str) -> None:
    table = tmp_path / "bad.csv"
    table.write_text(text)
    assert said in sentence(run(network, table))


def test_a_table_that_is_no_text_is_refused(network: Path, pictures: Path) -> None:
    assert "is not a CSV" in sentence(run(network, pictures / "yes" / "0 scan.png"))


def test_a_picture_that_cannot_be_read_is_named(network: Path, pictures: Path) -> None:
    (pictures / "yes" / "notes.txt").write_text("a remark")
    assert "notes.txt" in sentence(run(network, pictures))


def test_a_bad_target_is_refused_before_the_work(network: Path, pictures: Path, tmp_path: Path) -> None:
    assert "cannot be written" in sentence(run(network, pictures, "--json", str(tmp_path)))
    assert "cannot be written" in sentence(run(network, pictures, "--json", str(tmp_path / "no" / "x.json")))


def test_an_unknown_network_is_refused(pictures: Path) -> None:
    assert "there is no network" in sentence(run(Path("VGG"), pictures))


def test_no_label_means_an_error_not_a_guess() -> None:
    with pytest.raises(UserError):
        read_cases(Path(__file__).parent, LABELS)
