"""The part of `spu_peer.py` that runs in SPU's own environment, with jax and without torch.

Images and features are (n, height, width, channels) here, as SPU's convolution wants them.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import resource
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np

PARTIES = 2
LINK = re.compile(r"[Ll]ink details: total send bytes (\d+), recv bytes (\d+), send actions (\d+)")


def network(steps: list[dict[str, Any]]) -> Any:
    """The steps of `networks.steps` as a function of (image, weights) for jax."""
    import jax.numpy as jnp
    from jax import lax

    def conv(step: dict[str, Any], x: Any, w: Any, bias: Any) -> Any:
        sides = [(step["padding"],) * 2] * 2
        axes = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, w, (step["stride"],) * 2, sides, dimension_numbers=axes) + bias

    def transposed(step: dict[str, Any], x: Any, w: Any, bias: Any) -> Any:
        """Kernel and stride are the same: each point becomes a square, w is (in, stride * stride * out)."""
        n, h, width, channels = x.shape
        s = step["stride"]
        made = (x.reshape(-1, channels) @ w).reshape(n, h, width, s, s, -1)
        return jnp.transpose(made, (0, 1, 3, 2, 4, 5)).reshape(n, s * h, s * width, -1) + bias

    def pool(step: dict[str, Any], x: Any) -> Any:
        k, s, p = step["kernel"], step["stride"], step["padding"]
        sides = [(0, 0), (p, p), (p, p), (0, 0)]
        if step["kind"] == "max":  # of activations, so that 0 is a neutral border
            return lax.reduce_window(x, 0.0, lax.max, (1, k, k, 1), (1, s, s, 1), sides)
        return lax.reduce_window(x, 0.0, lax.add, (1, k, k, 1), (1, s, s, 1), sides) * (1 / k**2)

    def forward(image: Any, weights: dict[str, Any]) -> Any:
        made: list[Any] = []
        for step in steps:
            kind, sources = step["kind"], [made[i] for i in step["inputs"]]
            if kind in ("conv", "transposed", "dense"):
                w, bias = weights[step["name"] + ".weight"], weights[step["name"] + ".bias"]
            if kind == "image":
                made.append(image)
            elif kind == "conv":
                made.append(conv(step, sources[0], w, bias))
            elif kind == "transposed":
                made.append(transposed(step, sources[0], w, bias))
            elif kind == "dense":
                made.append(sources[0] @ w + bias)
            elif kind == "relu":
                made.append(jnp.maximum(sources[0], 0))
            elif kind in ("max", "average"):
                made.append(pool(step, sources[0]))
            elif kind == "mean":
                made.append(jnp.mean(sources[0], (1, 2), keepdims=True))
            elif kind == "flatten":
                made.append(jnp.transpose(sources[0], (0, 3, 1, 2)).reshape(len(sources[0]), -1))
            else:
                made.append(jnp.concatenate(sources, 3) if kind == "concat" else sources[0] + sources[1])
        return made[-1]

    return forward


def arranged(steps: list[dict[str, Any]], stored: dict[str, Any]) -> dict[str, Any]:
    """torch's weights in the order of axes that `network` wants."""
    kinds = {step["name"]: step["kind"] for step in steps if "name" in step}
    orders = {"conv": (2, 3, 1, 0), "transposed": (0, 2, 3, 1), "dense": (1, 0)}
    made = {}
    for name, value in stored.items():
        kind = kinds[name.rpartition(".")[0]]
        moved = value.transpose(orders[kind]) if name.endswith(".weight") else value
        if kind == "transposed" and name.endswith(".weight"):
            moved = moved.reshape(len(moved), -1)
        made[name] = np.ascontiguousarray(moved.astype(np.float32))
    return made


def config() -> Any:
    """semi2k over 64 bits, one thread."""
    from spu import libspu

    made = libspu.RuntimeConfig(
        protocol=libspu.ProtocolKind.SEMI2K, field=libspu.FieldType.FM64, fxp_fraction_bits=16
    )
    made.enable_pphlo_profile = made.enable_hal_profile = True
    made.max_concurrency = 1
    made.experimental_enable_colocated_optimization = False
    return made


def party(
    rank: int, ports: list[int], code: tuple[Any, ...], shares: list[Any], folder: str, answers: Any
) -> None:
    """One process: every run over a link of its own. Sends (rank, [(seconds, shares of the output)], memory)."""
    from spu import api, libspu

    options = libspu.logging.LogOptions()
    options.enable_console_logger = False
    options.system_log_path = f"{folder}/spu-{rank}.log"
    options.trace_log_path = f"{folder}/spu-{rank}.trace"
    libspu.logging.setup_logging(options)
    name, inputs, outputs, body = code
    program = libspu.Executable(name=name, input_names=inputs, output_names=outputs, code=body)
    told = []
    for run in range(len(ports) // PARTIES):
        desc = libspu.link.Desc()
        desc.recv_timeout_ms = 900_000
        for other in range(PARTIES):
            desc.add_party(f"party{other}", f"127.0.0.1:{ports[run * PARTIES + other]}")
        link = libspu.link.create_brpc(desc, rank)
        runtime = api.Runtime(link, config())
        for key, share in zip(inputs, shares, strict=True):
            runtime.set_var(key, share)
        begun = time.perf_counter()
        runtime.run(program)
        seconds = time.perf_counter() - begun
        told.append((seconds, [runtime.get_var(key) for key in outputs]))
        link.stop_link()
    answers.put((rank, told, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def free_ports(count: int) -> list[int]:
    """As many free ports of this machine; SPU takes no other meeting place."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def work(folder: str) -> None:
    """Run FOLDER/task.json; writes FOLDER/told.json and FOLDER/opened.npy, (n, channels, height, width)."""
    import jax
    import spu.utils.frontend as frontend
    from spu import api, libspu

    task = json.loads((Path(folder) / "task.json").read_text())
    stored = dict(np.load(task["network"]))
    image = np.ascontiguousarray(stored.pop("image").transpose(0, 2, 3, 1))
    weights = arranged(task["steps"], {name[2:]: value for name, value in stored.items()})
    flat, tree = jax.tree_util.tree_flatten((image, weights))
    forward = network(task["steps"])

    def flattened(*values: Any) -> Any:
        return forward(*jax.tree_util.tree_unflatten(tree, values))

    def out_names(out: list[Any]) -> list[str]:
        return [f"out{i}" for i in range(len(out))]

    names = [f"in{i}" for i in range(len(flat))]
    secret = libspu.Visibility.VIS_SECRET
    visibility = [secret] * len(flat)
    program, _ = frontend.compile(frontend.Kind.JAX, flattened, flat, {}, names, visibility, out_names)
    io = api.Io(PARTIES, config())
    shares = [io.make_shares(value, secret) for value in flat]
    code = (program.name, list(program.input_names), list(program.output_names), program.code)
    told = run_parties(task["runs"], code, shares, folder)
    outputs = [told[rank][0][-1][1][0] for rank in range(PARTIES)]
    opened = np.array(io.reconstruct(outputs))
    np.save(Path(folder) / "opened.npy", opened.transpose(0, 3, 1, 2) if opened.ndim == 4 else opened)
    counts = LINK.findall((Path(folder) / "spu-0.log").read_text())
    figures: dict[str, Any] = {
        "runs": [max(told[rank][0][run][0] for rank in range(PARTIES)) for run in range(task["runs"])],
        "memory": {f"party{rank}": told[rank][1] for rank in range(PARTIES)},
    }
    if counts:
        sent, received, sendings = (int(count) for count in counts[-1])
        figures |= {"bytes_online": sent + received, "rounds": sendings}
    (Path(folder) / "told.json").write_text(json.dumps(figures))


def run_parties(runs: int, code: tuple[Any, ...], shares: list[Any], folder: str) -> dict[int, Any]:
    """Both processes, to the end; rank -> (runs, memory)."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    ports = free_ports(PARTIES * runs)
    parties = [
        context.Process(
            target=party, args=(rank, ports, code, [s[rank] for s in shares], folder, answers), daemon=True
        )
        for rank in range(PARTIES)
    ]
    for one in parties:
        one.start()
    try:
        heard = [answers.get(timeout=880) for _ in parties]
    finally:
        for one in parties:
            one.kill()
            one.join()
    return {rank: (told, memory) for rank, told, memory in heard}
