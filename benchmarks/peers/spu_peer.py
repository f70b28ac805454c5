#!/usr/bin/env python3
"""The benchmark networks through SPU 0.9.5, semi2k: two processes, one thread each, weights and image both secret.

python -m benchmarks.peers.spu_peer NETWORK                  one line of JSON
python -m benchmarks.peers.spu_peer NETWORK --quick --json FILE

SPU needs another numpy than CrypDoc, so it lives in an environment of its own, `.tools/spu`, which is made when it is
first needed. Its triples come from its default source, by which the first party draws them: a weaker trust than ours.
seconds: from shares of the image to shares of the result, the triples' making in it; the best of the runs.
bytes_online: both ways, as SPU counts; rounds: the sendings of one party.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers import networks
from benchmarks.peers.command import Unavailable, main

HERE = Path(__file__).resolve().parent
HOME = HERE.parents[1] / ".tools" / "spu"
VERSION = "0.9.5"
TIMEOUT = 900.0


def install() -> Path:
    """The Python of SPU's environment, which is made if it is not there. Raises Unavailable, with the reason."""
    python = HOME / "bin" / "python"
    if _works(python):
        return python
    try:
        # an environment that an earlier call left half made is made anew
        _run([sys.executable, "-m", "venv", "--clear", str(HOME)], 120)
        _run(
            [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-q", f"spu=={VERSION}"], 900
        )
    except Unavailable:
        shutil.rmtree(HOME, ignore_errors=True)
        raise
    if not _works(python):
        raise Unavailable(f"spu {VERSION} was installed and cannot be imported on this machine")
    return python


def _works(python: Path) -> bool:
    try:
        _run([str(python), "-c", "import jax, spu, spu.utils.frontend"], 120)
    except Unavailable:
        return False
    return True


def _run(command: list[str], timeout: float) -> str:
    """What the command printed. Raises Unavailable with the end of its complaint."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=True)
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        why = said[-1] if said else f"exit code {error.returncode}"
        raise Unavailable(f"{Path(command[0]).name} {' '.join(command[1:4])}: {why[:300]}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{Path(command[0]).name}: {error}") from None
    return done.stdout


def measure(name: str, quick: bool, pooling: str = "") -> dict[str, Any]:
    """Three runs, or two where a run takes long; --quick: one."""
    python = install()
    module = networks.folded(networks.make(name, pooling))
    image = networks.image(name)
    steps, weights = networks.steps(module)
    with torch.inference_mode():
        right = module(image).numpy()
    with tempfile.TemporaryDirectory(prefix="crypdoc-peer-") as folder:
        network = Path(folder) / "network.npz"
        np.savez(
            network, image=image.numpy(), **{f"w.{key}": value.numpy() for key, value in weights.items()}
        )
        runs = 1 if quick else 3 if name.startswith("lenet") else 2
        task = json.dumps({"network": str(network), "steps": steps, "runs": runs, "folder": folder})
        (Path(folder) / "task.json").write_text(task, encoding="utf-8")
        code = "import sys; sys.path.insert(0, sys.argv[1]); import spu_worker; spu_worker.work(sys.argv[2])"
        _run([str(python), "-c", code, str(HERE), folder], TIMEOUT)
        told: dict[str, Any] = json.loads((Path(folder) / "told.json").read_text(encoding="utf-8"))
        opened = np.load(Path(folder) / "opened.npy")
    return {
        "seconds": min(told["runs"]),
        **told,
        "largest_difference": float(np.abs(opened.reshape(right.shape) - right).max()),
        "largest_logit": float(np.abs(right).max()),
        "version": VERSION,
    }


if __name__ == "__main__":
    main("spu", measure, __doc__)
