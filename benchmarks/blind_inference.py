#!/usr/bin/env python3
"""Blind inference against its peers: CrypTen (third-party provider), SPU (semi2k) and plain float32, in the same run.

python benchmarks/blind_inference.py                     everything, a quarter of an hour
python benchmarks/blind_inference.py --quick             LeNet alone, without SPU and growth
python benchmarks/blind_inference.py --json FILE         writes the figures, too; --plots FOLDER draws them; --page FILE
                                                         puts the table between the marks of a page
python benchmarks/blind_inference.py --no-spu            leaves SPU out

Each measurement is a process of its own, one thread a party, nothing else running; the best of several runs for all.
A figure is {name, value, unit, bar, holds}: bar is what was aimed at, as text, None where the figure is only told.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.accuracy import accuracy_figures  # noqa: E402
from benchmarks.growth import growth  # noqa: E402
from benchmarks.tell import Figure, machine, markdown, measured, plots, put_in_page  # noqa: E402

Told = dict[str, Any]
LOW_BITS, HIGH_BITS = 7, 5  # of a clip in the benchmark networks; `error` says what it costs

# least total speed over CrypTen; most online time over plain float32
FASTER = {
    "lenet-1x32x32": 100.0,
    "lenet-1x128x128": 100.0,
    "resnet18-3x64x64": 70.0,
    "resnet18-3x224x224": 100.0,
    "unet-1x128x128": 60.0,
}
OVER_PLAIN = {
    "resnet18-3x64x64": 2.0,
    "resnet18-3x224x224": 2.0,
    "unet-1x128x128": 3.0,
    "unet-1x256x256": 3.0,
}
LEAST_BYTES = 50.0
LENET_MILLISECONDS = 5.0
MOST_MEMORY = 1 << 30
WAN = ("40", "100")  # milliseconds there and back, Mbit/s each way
QUICK = ("lenet-1x32x32",)


def pooling(name: str) -> str:
    """ResNet18 has its usual stem, which pools by the maximum; the other networks pool as they are."""
    return "max" if name.startswith("resnet") else ""


def asked(name: str, *more: str) -> tuple[str, ...]:
    """A peer's arguments for a network."""
    return name, *(("--pooling", pooling(name)) if pooling(name) else ()), *more


def run(module: str, *arguments: str, timeout: float = 1800) -> Told:
    """What a peer's process printed last, as JSON; {"unavailable": why} when it could not run."""
    command = [sys.executable, "-m", f"benchmarks.peers.{module}", *arguments]
    print(f"  {module} {' '.join(arguments)}", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            command, cwd=HERE.parent, capture_output=True, text=True, timeout=timeout, check=False
        )
        told: Told = json.loads(done.stdout.strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError):
        return {"unavailable": f"{module} ended without an answer"}
    return told


def compiled(name: str, folder: Path) -> Path:
    """The benchmark network as an integer network, in a file."""
    file = folder / f"{name}.net"
    if not file.exists():
        from benchmarks.peers import networks
        from models.compile import Settings, compile_network

        module = networks.folded(networks.make(name, pooling(name)))
        made = compile_network(
            module,
            networks.image(name, 4),
            1 / 31,
            settings=Settings(low_bits=LOW_BITS, max_high_bits=HIGH_BITS),
        )
        file.write_bytes(made.network.encode())
    return file


def error_of(name: str, file: Path) -> float:
    """Mean absolute logit error over the mean absolute logit, of the integer network, rounding and all."""
    import numpy as np
    import torch

    from benchmarks.peers import networks
    from protocols.blind.network import Network
    from protocols.blind.reference import run_reference, stochastic

    network, image = Network.decode(file.read_bytes()), networks.image(name, 1)
    with torch.inference_mode():
        right = networks.folded(networks.make(name, pooling(name)))(image).double().numpy().ravel()
    steps = torch.round(image * 31).to(torch.int64).numpy()
    opened = run_reference(network, steps, stochastic(np.random.default_rng(1))).logits.ravel()
    return float(np.abs(opened * network.topology.logit_scale - right).mean() / np.abs(right).mean())


def compare(name: str, folder: Path, quick: bool, spu: bool) -> tuple[Told, list[Figure]]:
    """One network: ours, plain, and, where there is a mark for it, CrypTen and SPU."""
    few = ("--quick",) if quick else ()
    file = compiled(name, folder)
    plain = run("plain_peer", *asked(name, *few))
    ours = run("blind_peer", str(file), *(("--seconds", "3") if quick else ()))
    told: Told = {"plain": plain, "blind": ours, "error": error_of(name, file)}
    made = [
        measured(f"{name}: online", ours["seconds_online"] * 1e3, "ms"),
        measured(f"{name}: in all, dealer included", ours["seconds"] * 1e3, "ms"),
        measured(f"{name}: plain float32", plain["seconds"] * 1e3, "ms"),
        measured(f"{name}: relative logit error", told["error"], "ratio"),
    ]
    ratio, most = ours["seconds_online"] / plain["seconds"], OVER_PLAIN.get(name)
    told["online over plain"] = ratio
    made.append(
        measured(
            f"{name}: online over plain", ratio, "times", most and f"at most {most:g}", most and ratio <= most
        )
    )
    if name == "lenet-1x32x32":
        online = ours["seconds_online"] * 1e3
        bar = f"below {LENET_MILLISECONDS:g}"
        made.append(measured("lenet on loopback, online", online, "ms", bar, online < LENET_MILLISECONDS))
    if name == "resnet18-3x224x224":
        most_held = max(ours["memory"].values())
        made.append(
            measured(
                f"{name}: peak memory of a party", most_held, "B", "below 1 GiB", most_held < MOST_MEMORY
            )
        )
    if name in FASTER:
        told["crypten"] = run("crypten_peer", *asked(name, *few))
        made += against_crypten(name, ours, told["crypten"])
        if "seconds" in told["crypten"]:
            told["times faster than CrypTen"] = told["crypten"]["seconds"] / ours["seconds"]
            told["times fewer bytes than CrypTen"] = told["crypten"]["bytes_online"] / ours["bytes_online"]
        if spu:
            told["spu"] = run("spu_peer", *asked(name, *few))
            if "seconds" in told["spu"]:
                made.append(
                    measured(
                        f"{name}: over SPU semi2k", told["spu"]["seconds"] / ours["seconds"], "times faster"
                    )
                )
    return told, made


def against_crypten(name: str, ours: Told, theirs: Told) -> list[Figure]:
    """Speed in all and bytes online, over CrypTen's; no figure holds when CrypTen could not run."""
    if "seconds" not in theirs:
        return [measured(f"{name}: over CrypTen", 0.0, "times faster", theirs["unavailable"], False)]
    faster, least = theirs["seconds"] / ours["seconds"], FASTER[name]
    fewer = theirs["bytes_online"] / ours["bytes_online"]
    return [
        measured(f"{name}: CrypTen", theirs["seconds"] * 1e3, "ms"),
        measured(f"{name}: over CrypTen", faster, "times faster", f"at least {least:g}", faster >= least),
        measured(
            f"{name}: bytes online under CrypTen",
            fewer,
            "times fewer",
            f"at least {LEAST_BYTES:g}",
            fewer >= LEAST_BYTES,
        ),
    ]


def wide_area(name: str, file: Path) -> tuple[Told, list[Figure]]:
    """Over an emulated wide-area network between patient and model."""
    told = run("blind_peer", str(file), "--wan", *WAN, "--seconds", "5", "--runs", "5")
    words = f"{name}: online over {WAN[0]} ms and {WAN[1]} Mbit/s"
    made = [
        measured(words, told["seconds_online"], "s"),
        measured(f"{name}: round trips", told["rounds"], ""),
    ]
    return told, made


def without_native(name: str, file: Path, best: Told) -> tuple[Told, list[Figure]]:
    """The other kernels on the same network: right to the bit is a test's to say; here is what they cost."""
    told: Told = {}
    made = []
    for kernels in ("avx512-vnni", "avx2", "c", "portable", "torch"):
        answer = run("blind_peer", str(file), "--kernels", kernels, "--seconds", "3", "--runs", "5")
        told[kernels] = answer
        if "seconds" in answer:
            ratio = answer["seconds_online"] / best["seconds_online"]
            made.append(measured(f"{name}: online with {kernels} kernels", ratio, f"times {best['kernels']}"))
            made.append(measured(f"{name}: in all with {kernels} kernels", answer["seconds"] * 1e3, "ms"))
    return told, made


def measure(quick: bool, spu: bool) -> Told:
    """Everything: {"figures", "machine", "networks", ...}."""
    names = QUICK if quick else tuple(dict.fromkeys((*FASTER, *OVER_PLAIN)))
    answer: Told = {"figures": [], "machine": machine(), "networks": {}, "wan": {}, "kernels": {}}
    begun = time.time()
    with tempfile.TemporaryDirectory(prefix="crypdoc-bench-") as place:
        folder = Path(place)
        for name in names:
            answer["networks"][name], made = compare(name, folder, quick, spu and not quick)
            answer["figures"] += made
            if name in FASTER and (quick or name != "resnet18-3x224x224"):
                answer["wan"][name], made = wide_area(name, compiled(name, folder))
                answer["figures"] += made
            if name in ("lenet-1x32x32", "resnet18-3x64x64") and not quick:
                best = answer["networks"][name]["blind"]
                answer["kernels"][name], made = without_native(name, compiled(name, folder), best)
                answer["figures"] += made
        if not quick:
            answer["growth"] = growth(folder, run, LOW_BITS, HIGH_BITS)
            answer["accuracy"], made = accuracy_figures()
            answer["figures"] += made
    answer["minutes"] = round((time.time() - begun) / 60, 1)
    for told in answer["networks"].values():
        for peer in told.values():
            if isinstance(peer, dict):
                peer.pop("logits", None)
    return answer


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 1 when a bar does not hold."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/blind_inference.py", description="Blind inference against its peers."
    )
    parser.add_argument("--quick", action="store_true", help="LeNet alone, under a minute")
    parser.add_argument("--no-spu", action="store_true", help="leave SPU out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw them there, as PNG")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the table between its marks")
    given = parser.parse_args(arguments)
    answer = measure(given.quick, not given.no_spu)
    print(markdown(answer["figures"]))
    if given.json:
        given.json.write_text(json.dumps(answer, indent=1) + "\n")
    if given.page:
        put_in_page(given.page, "benchmarks/blind_inference.py", markdown(answer["figures"]))
    if given.plots:
        plots(answer, given.plots)
    return 0 if all(f["holds"] is not False for f in answer["figures"]) else 1


if __name__ == "__main__":
    sys.exit(main())
