#!/usr/bin/env python3
"""Blind segmentation, measured: one image of 128, 256 and 512 beside CrypTen and plain float32, and whole volumes.

python benchmarks/blind_unet.py --data DIR                  everything; DIR: NAME_ct, _lung and _infection .nii.gz
python benchmarks/blind_unet.py --quick                     one image of 128 without CrypTen, a small made-up volume
python benchmarks/blind_unet.py --json FILE --page FILE     writes the figures, and puts the table in a page

Images and networks are those of the suite that comes with CrypDoc (its infection network along z, --networks for
another). Each measurement is processes of its own, one thread a party. The volumes of DIR that the suite's cards name
as held out are segmented through the blind engine and compared with the float networks and with their labels; without
DIR those figures are missing, and the report says so. A figure is {name, value, unit, bar, holds}.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402

from benchmarks.blind_inference import run  # noqa: E402
from benchmarks.tell import Figure, machine, markdown, measured, put_in_page  # noqa: E402

Told = dict[str, Any]
SIDES = (128, 256, 512)
OVER_PLAIN = {128: 3.0, 256: 3.0, 512: 4.0}  # most online time over plain float32
FASTER = {128: 60.0}  # least total speed over CrypTen
AGREES, LUNG, INFECTION = 0.995, 0.95, 0.75  # least Dice: encrypted with plain, and with labels
MOST_MEMORY = 6 * 10**9  # of a party, bytes
STRETCH = 6  # images of 512 that a whole axis is told from


def network_file(side: int, networks: Path | None, folder: Path) -> Path:
    """The integer network for images of a side, in a file."""
    from models.segmentation.suite import load_suite

    file = folder / f"unet-{side}.net"
    file.write_bytes(load_suite(networks).networks["infection", "z"].at(side).encode())
    return file


def one_image(side: int, networks: Path | None, folder: Path, quick: bool) -> tuple[Told, list[Figure]]:
    """Ours, plain, and CrypTen, on one image."""
    more = (*(("--networks", str(networks)) if networks else ()), *(("--quick",) if quick else ()))
    seconds = {128: "10", 256: "12", 512: "25"}[side]
    ours = run(
        "blind_peer", str(network_file(side, networks, folder)), "--seconds", "3" if quick else seconds
    )
    plain = run("unet_peer", "plain", str(side), *more)
    told: Told = {"blind": ours, "plain": plain}
    ours.pop("logits", None)
    name, most = f"image of {side}", OVER_PLAIN[side]
    ratio = ours["seconds_online"] / plain["seconds"]
    held = max(ours["memory"].values())
    made = [
        measured(f"{name}: online", ours["seconds_online"], "s"),
        measured(f"{name}: in all, dealer included", ours["seconds"], "s"),
        measured(f"{name}: online between patient and model", ours["bytes_online"] / 1e6, "MB"),
        measured(f"{name}: ahead, from the dealer", ours["bytes_ahead"] / 1e6, "MB"),
        measured(f"{name}: round trips", ours["rounds"], ""),
        measured(f"{name}: plain float32", plain["seconds"], "s"),
        measured(f"{name}: online over plain", ratio, "times", f"at most {most:g}", ratio <= most),
        measured(f"{name}: peak memory of a party", held / 1e6, "MB", "at most 6000", held <= MOST_MEMORY),
    ]
    if not quick:
        told["crypten"] = theirs = run("unet_peer", "crypten", str(side), *more)
        made += against_crypten(name, ours, theirs, FASTER.get(side))
    return told, made


def against_crypten(name: str, ours: Told, theirs: Told, least: float | None) -> list[Figure]:
    """Speed in all over CrypTen's; where there is a mark, it does not hold when CrypTen could not run."""
    bar = f"at least {least:g}" if least else None
    if "seconds" not in theirs:
        return [
            measured(
                f"{name}: over CrypTen", 0.0, "times faster", theirs["unavailable"], False if bar else None
            )
        ]
    faster = theirs["seconds"] / ours["seconds"]
    fewer = theirs["bytes_online"] / ours["bytes_online"]
    return [
        measured(f"{name}: CrypTen", theirs["seconds"], "s"),
        measured(f"{name}: CrypTen between patient and model", theirs["bytes_online"] / 1e6, "MB"),
        measured(f"{name}: CrypTen rounds", theirs["rounds"], ""),
        measured(f"{name}: over CrypTen", faster, "times faster", bar, faster >= least if least else None),
        measured(f"{name}: bytes online under CrypTen", fewer, "times fewer"),
    ]


def axis_of_512(networks: Path | None) -> tuple[Told, list[Figure]]:
    """A stretch of 512x512 images, one at a time, the dealer dealing while they flow; a whole axis told from it."""
    from benchmarks.peers.blind_peer import peak_memory
    from models.engines.blind import BlindEngine
    from models.segmentation.suite import load_suite

    network = load_suite(networks).networks["infection", "z"].at(512)
    rng = np.random.default_rng(5)
    images = rng.integers(-127, 128, (STRETCH + 1, *network.topology.input_shape)).astype(np.int8)
    with BlindEngine(network) as engine:
        engine.overlap = True
        engine.predict(images[:1])
        begun = time.perf_counter()
        told = [engine.predict(images[n : n + 1]) for n in range(1, STRETCH + 1)]
        seconds = (time.perf_counter() - begun) / STRETCH
        memory = {role: peak_memory(pid) for role, pid in engine.processes.items()}
    size = told[0].bytes_online + told[0].bytes_ahead
    made = [
        measured("512 slices of 512x512, one network, told from a stretch", 512 * seconds / 60, "minutes"),
        measured(
            "512 slices of 512x512, one network: sent in all, told from a stretch", 512 * size / 1e9, "GB"
        ),
    ]
    return {"images": STRETCH, "seconds_an_image": seconds, "bytes_an_image": size, "memory": memory}, made


def volumes(data: Path, networks: Path | None, folder: Path, names: list[str]) -> tuple[Told, list[Figure]]:
    """The held-out volumes, whole, through the blind engine."""
    from models.segmentation.measure import dice
    from models.segmentation.run import WORK, Wishes, segment
    from models.segmentation.suite import load_suite
    from models.volumes import read_labels, read_volume

    suite, told, made, bunet = load_suite(networks), {}, [], []
    for name in names:
        scan = read_volume(data / f"{name}_ct.nii.gz")
        drawn, lung = (read_labels(data / f"{name}_{task}.nii.gz", scan) for task in ("infection", "lung"))
        outcome = segment(scan, suite, Wishes(axes=suite.axes), folder / name, Quiet(name), drawn, lung)
        answer = outcome.told
        told[name] = answer
        bunet.append(dice(as_bunet(folder / name / WORK / "float", outcome.plain.lung), drawn))
        agrees = answer["dice_against_plain"], answer["lung"]["dice_against_plain"]
        for task, value in zip(("infection", "lung"), agrees, strict=True):
            words = f"{name}: {task}, Dice of encrypted and plain mask"
            made.append(exact(words, value, AGREES))
    rows = list(told.values())
    for task, least in (("infection", INFECTION), ("lung", LUNG)):
        values = [(row if task == "infection" else row["lung"])["dice_against_labels"] for row in rows]
        made.append(
            exact(f"{task}: Dice against labels, mean of {len(rows)} held-out volumes", mean(values), least)
        )
        plain = [(row if task == "infection" else row["lung"])["dice_plain_against_labels"] for row in rows]
        made.append(exact(f"{task}: the same of the plain networks", mean(plain), None))
    made.append(exact("infection: the same by BUNET's rule, a sum above 2", mean(bunet), None))
    largest = max(told, key=lambda name: told[name]["images"])
    row = told[largest]
    made += [
        measured(f"whole volume {largest}: images", row["images"], ""),
        measured(f"whole volume {largest}: in all", row["seconds"], "s"),
        measured(
            f"whole volume {largest}: from slices to logits, the dealer working meanwhile",
            row["seconds_online"],
            "s",
        ),
        measured(f"whole volume {largest}: sent in all", row["bytes"] / 1e9, "GB"),
    ]
    return told, made


def as_bunet(folder: Path, lung: Any) -> Any:
    """The infection by BUNET's fusion, from a finished job's probabilities: their sum over three axes above 2."""
    from models.segmentation.fuse import cut, fused
    from models.segmentation.job import Job

    job = Job.resume(folder)
    slices = job.plan.slices
    planes = fused(job.sweeps("infection"), slices, dict.fromkeys("xyz", 1.0))
    return cut(planes, job.geometry, slices, 2 / 3, lambda: None) & lung


def exact(name: str, value: float, least: float | None) -> Figure:
    """A Dice coefficient to four digits after the point, beside its mark."""
    return {
        "name": name,
        "value": round(value, 4),
        "unit": "Dice",
        "bar": f"at least {least:g}" if least else None,
        "holds": value >= least if least else None,
    }


def mean(values: list[float]) -> float:
    """Of at least one."""
    return sum(values) / len(values)


class Quiet:
    """Progress of a volume on standard error, a line a stage."""

    def __init__(self, name: str) -> None:
        self._name, self._stage = name, ""

    def step(self, stage: str, done: int, total: int) -> None:
        """See `models.segmentation.run.Screen`."""
        if stage != self._stage:
            self._stage = stage
            print(f"  {self._name}: {stage}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """See `models.segmentation.run.Screen`."""
        print(f"  {self._name}: {text}", file=sys.stderr, flush=True)


def made_up_volume(folder: Path, networks: Path | None) -> tuple[Told, list[Figure]]:
    """A drawn chest of six slices, along z: that the way through works."""
    from models.segmentation.run import Wishes, segment
    from models.segmentation.samples import sample_volume
    from models.segmentation.suite import load_suite

    told = segment(
        sample_volume(folder, 128, 6),
        load_suite(networks),
        Wishes(axes="z"),
        folder / "made-up",
        Quiet("made up"),
    ).told
    return told, [
        measured("made-up volume: images", told["images"], ""),
        measured("made-up volume: an image", told["seconds_per_image"], "s"),
        exact(
            "made-up volume: lung, Dice of encrypted and plain mask",
            told["lung"]["dice_against_plain"],
            AGREES,
        ),
    ]


def measure(quick: bool, data: Path | None, networks: Path | None) -> Told:
    """Everything: {"figures", "machine", "images", ...}."""
    from models.segmentation.suite import load_suite

    answer: Told = {"figures": [], "machine": machine(), "images": {}, "missing": []}
    begun = time.time()
    with tempfile.TemporaryDirectory(prefix="crypdoc-bench-") as place:
        folder = Path(place)
        for side in SIDES[:1] if quick else SIDES:
            answer["images"][str(side)], made = one_image(side, networks, folder, quick)
            answer["figures"] += made
        if quick:
            answer["made up"], made = made_up_volume(folder, networks)
            answer["figures"] += made
        else:
            answer["axis"], made = axis_of_512(networks)
            answer["figures"] += made
            held = load_suite(networks).networks["infection", "z"].card.held_out["volumes"]
            names = [name for name in held if data and (data / f"{name}_ct.nii.gz").is_file()]
            if names and data:
                answer["volumes"], made = volumes(data, networks, folder, names)
                answer["figures"] += made
            else:
                answer["missing"].append(f"volumes {', '.join(held)}: name their folder with --data")
    answer["minutes"] = round((time.time() - begun) / 60, 1)
    answer["by name"] = {told["name"]: told["value"] for told in answer["figures"]}
    return answer


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 1 when a bar does not hold or figures are missing."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/blind_unet.py", description="Blind segmentation, measured."
    )
    parser.add_argument("--quick", action="store_true", help="one image of 128, under a minute")
    parser.add_argument("--data", type=Path, metavar="DIR", help="labelled volumes")
    parser.add_argument("--networks", type=Path, metavar="DIR", help="another suite")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the table between its marks")
    given = parser.parse_args(arguments)
    answer = measure(given.quick, given.data, given.networks)
    print(markdown(answer["figures"]))
    for line in answer["missing"]:
        print(f"missing: {line}")
    if given.json:
        given.json.write_text(json.dumps(answer, indent=1) + "\n")
    if given.page:
        put_in_page(given.page, "benchmarks/blind_unet.py", markdown(answer["figures"]))
    return 1 if answer["missing"] or any(f["holds"] is False for f in answer["figures"]) else 0


if __name__ == "__main__":
    sys.exit(main())
